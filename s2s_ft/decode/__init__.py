"""Decoding: the story of a run (`run.py`), the search, its traces and what can be done with them.

Nothing is imported here, so that `--help` of the commands below this package answers without
loading torch.
"""
