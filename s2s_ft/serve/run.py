"""The command: flags first, then whatever needs packages that may be missing."""

from __future__ import annotations

from collections.abc import Sequence

from s2s_ft.cli import EnvironmentFault, parse, run
from s2s_ft.serve.options import ServeOptions

PROGRAM = "python -m s2s_ft.serve"
DESCRIPTION = "Answer requests over HTTP with a fine-tuned checkpoint."


def serve_main(argv: Sequence[str] | None = None) -> int:
    """Serve (``python -m s2s_ft.serve``, ``s2s-serve``).

    Args:
        argv: The arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    return run(lambda: _serve(argv))


def _serve(argv: Sequence[str] | None) -> int:
    options = parse(ServeOptions, argv, PROGRAM, DESCRIPTION)
    try:
        from s2s_ft.serve.server import serve
    except ModuleNotFoundError as fault:
        if (fault.name or "").split(".")[0] not in ("fastapi", "pydantic", "starlette", "uvicorn"):
            raise
        raise EnvironmentFault(
            f"the server needs the package {fault.name}: pip install 's2s-ft[serve]'"
        ) from fault
    return serve(options)
