"""Attention for training on a CPU as one compiled kernel, where the machine has a C compiler."""
