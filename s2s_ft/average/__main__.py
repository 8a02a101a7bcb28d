"""`python -m s2s_ft.average`: write the mean of checkpoints as a checkpoint."""

from collections.abc import Sequence

from s2s_ft.average.options import DESCRIPTION, PROGRAM, AverageOptions
from s2s_ft.cli import parse, run


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and average; returns the exit code."""
    options = parse(AverageOptions, argv, PROGRAM, DESCRIPTION)
    from s2s_ft.average.run import average  # needs torch, which --help does not

    return average(options)


if __name__ == "__main__":
    raise SystemExit(run(main))
