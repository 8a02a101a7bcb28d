"""The page to try a model in a browser: `page.html`, one file that needs nothing else.

Notable: its Content-Security-Policy names the one script and the one style it has, by their hashes,
and lets it talk to this server alone; whatever a model writes is shown as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path


@cache
def page() -> str:
    """The page."""
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


@cache
def page_headers() -> dict[str, str]:
    """What goes with the page."""
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "script-src": _hash_of("script"),
        "style-src": _hash_of("style"),
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _hash_of(element: str) -> str:
    """The source expression of the page's only inline element of a kind."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page(), flags=re.DOTALL)
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
