"""Ways in and out of a run: from file to file with a journal, in one process or several
(`files.py`, `journal.py`, `workers.py`, `ranks.py`), line by line (`stream.py`), and by hand
(`interactive.py`).
"""
