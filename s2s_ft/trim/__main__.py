"""`python -m s2s_ft.trim`: cut a model's vocabulary down to a corpus."""

from collections.abc import Sequence

from s2s_ft.cli import parse, run
from s2s_ft.trim.options import DESCRIPTION, PROGRAM, TrimOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and trim; returns the exit code."""
    options = parse(TrimOptions, argv, PROGRAM, DESCRIPTION)
    from s2s_ft.trim.run import trim  # needs torch, which --help does not

    return trim(options)


if __name__ == "__main__":
    raise SystemExit(run(main))
