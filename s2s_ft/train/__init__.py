"""A training run: schedule, optimizer, precision, updates, checkpoints, logs; `run.train` tells it.

Notable: torch's C++ side is told to speak of errors only, before torch is imported. Otherwise every
rank is advised to stop looking for unused parameters, which `distributed.wrap` does on purpose. Who
sets TORCH_CPP_LOG_LEVEL decides for themselves.
"""

import os

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
