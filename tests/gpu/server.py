"""`python -m s2s_ft.serve` in a process that believes it has two GPUs."""

import sys

from s2s_ft.serve.run import serve_main
from tests.gpu.process import simulate_gpus

if __name__ == "__main__":
    simulate_gpus()
    sys.exit(serve_main())
