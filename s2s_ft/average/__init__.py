"""The mean of checkpoints as a checkpoint (`python -m s2s_ft.average`).

options.py      the flags
checkpoints.py  which checkpoints, and whether they belong together
run.py          the story of a run, and the mean itself
"""
