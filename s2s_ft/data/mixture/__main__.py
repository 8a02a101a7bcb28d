"""`python -m s2s_ft.data.mixture`: one training file of several languages."""

from collections.abc import Sequence

from s2s_ft.cli import parse, run
from s2s_ft.data.mixture.options import DESCRIPTION, PROGRAM, MixtureOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and mix; returns the exit code."""
    options = parse(MixtureOptions, argv, PROGRAM, DESCRIPTION)
    from s2s_ft.data.mixture.run import mix  # needs numpy, which --help does not

    return mix(options)


if __name__ == "__main__":
    raise SystemExit(run(main))
