"""`python -m s2s_ft.train.report OUTPUT_DIR`: make `report.html` of a training run."""

from s2s_ft.cli import run
from s2s_ft.train.report.write import main

if __name__ == "__main__":
    raise SystemExit(run(main))
