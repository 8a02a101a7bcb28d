"""The page: one file, nothing from elsewhere, every field named and known to the server."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from s2s_ft.serve.calls import GenerateCall
from s2s_ft.serve.page import page, page_headers


class Elements(HTMLParser):
    """Every element with its attributes, and for each field the label around it or for it."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.labelled: set[str] = set()
        self._in_label = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "label":
            self._in_label = "for" not in attributes
            self.labelled.add(attributes.get("for") or "")
        elif tag in ("input", "textarea") and self._in_label:
            self.labelled.add(attributes["name"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_label = self._in_label and tag != "label"


def parsed() -> Elements:
    elements = Elements()
    elements.feed(page())
    return elements


def test_nothing_comes_from_elsewhere() -> None:
    assert not re.search(r"https?://|@import|url\(", page())
    for _, attributes in parsed().elements:
        assert not attributes.get("src")
        assert attributes.get("href") in (None, "data:,")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page())


def test_the_policy_fits_the_page() -> None:
    policy = page_headers()["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    for element in ("script", "style"):
        content = page().split(f"<{element}>")[1].split(f"</{element}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    names = {name for _, attributes in parsed().elements for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]  # all refused


def test_every_field_has_a_label_and_is_known_to_the_server() -> None:
    elements = parsed()
    fields = [attributes["name"] for tag, attributes in elements.elements
              if tag in ("input", "textarea")]  # fmt: skip
    assert len(fields) == len(set(fields)) > 10
    for name in fields:
        assert name in elements.labelled
        assert name in GenerateCall.model_fields


def test_it_can_be_read_aloud_and_on_narrow_screens() -> None:
    elements = parsed().elements
    assert ("html", {"lang": "en"}) in elements
    landmarks = [tag for tag, _ in elements if tag in ("h1", "main", "header")]
    assert landmarks == ["header", "h1", "main"]
    roles = [attributes.get("role") for _, attributes in elements]
    assert roles.count("alert") == 1
    assert "status" in roles
    assert any(attributes.get("name") == "viewport" for _, attributes in elements)
    assert "@media (max-width:" in page()
