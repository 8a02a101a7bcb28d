"""A worker of a decoding run (`--workers`) in a process that believes it has two GPUs."""

import sys

from s2s_ft.decode.ways.workers import main
from tests.gpu.process import simulate_gpus

if __name__ == "__main__":
    simulate_gpus()
    sys.exit(main())
