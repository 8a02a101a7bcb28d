"""`python -m s2s_ft.evaluation`: score a file of predictions against a file of references."""

from s2s_ft.cli import run
from s2s_ft.evaluation.run import main

if __name__ == "__main__":
    raise SystemExit(run(main))
