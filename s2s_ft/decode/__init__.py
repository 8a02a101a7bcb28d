"""Decoding: the story of a run (`run.py`), and what it is made of.

    run.py                             flags in, exit code out
    ways/                              from file to file, line by line, by hand
    decoder.py  generator.py  session.py, and what they need: a checkpoint with all that is wanted
    lines/                             rows in, lines and traces out
    rules/                             what steers the search
    search/                            the engine

Arrows only go down. Nothing is imported here, so that `--help` of the commands below this package
answers without loading torch.
"""
