"""s2s-ft: fine-tune any pretrained bidirectional encoder for text generation.

    from s2s_ft import Generator

    generator = Generator.from_pretrained("outputs/first/ckpt-32000")
    print(generator(["A long text that wants a headline."], num_beams=5))

Nothing is imported before it is asked for, so that ``import s2s_ft`` and the commands' ``--help``
answer at once. All the rest is imported from its module (`s2s_ft.options`, `s2s_ft.model`,
`s2s_ft.decode`, …).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2s_ft.decode.generator import Generator as Generator

__version__ = "0.1.0"

_HOMES = {"Generator": "s2s_ft.decode.generator"}
"""Modules of the names that the package itself offers."""


def __getattr__(name: str) -> Any:
    """What the package offers, imported when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
