"""A training run: schedule, optimizer, precision, loop, checkpoints, logs; `run.train` tells it."""
