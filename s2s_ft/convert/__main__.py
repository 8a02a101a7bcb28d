"""`python -m s2s_ft.convert`: make a transformers folder of any checkpoint."""

from collections.abc import Sequence

from s2s_ft.cli import parse, run
from s2s_ft.convert.options import DESCRIPTION, PROGRAM, ConvertOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and convert; returns the exit code."""
    options = parse(ConvertOptions, argv, PROGRAM, DESCRIPTION)
    from s2s_ft.convert.run import convert  # needs torch, which --help does not

    return convert(options)


if __name__ == "__main__":
    raise SystemExit(run(main))
