"""`python -m s2s_ft.data.prepare NAME`: a benchmark's files as JSON lines."""

import sys
from collections.abc import Sequence

from s2s_ft.cli import parse, run
from s2s_ft.data.prepare.options import DESCRIPTION, PROGRAM, PrepareOptions, with_name_flag


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and prepare; returns the exit code."""
    arguments = with_name_flag(sys.argv[1:] if argv is None else argv)
    options = parse(PrepareOptions, arguments, PROGRAM, DESCRIPTION)
    from s2s_ft.data.prepare.run import prepare

    return prepare(options)


if __name__ == "__main__":
    raise SystemExit(run(main))
