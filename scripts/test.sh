#!/usr/bin/env bash
# Sets everything up in .venv (see environment.sh for what may be chosen) and checks the project: ruff, mypy, pytest.
# Arguments go to pytest:  scripts/test.sh tests/unit -k loss      one process, no workers:  scripts/test.sh -n 0
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

set_up dev
set_up_minilm
cd "$repository"

# One thread for each of pytest's workers; the tests ask no hub for anything.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

say "ruff check"
"$python" -m ruff check .
say "ruff format --check"
"$python" -m ruff format --check .
say "mypy --strict"
"$python" -m mypy
say "pytest"
"$python" -m pytest -n 2 --dist loadfile "$@"
