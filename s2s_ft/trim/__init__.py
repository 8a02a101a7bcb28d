"""Cutting a model's vocabulary down to what a corpus needs (`python -m s2s_ft.trim`).

options.py          the flags
corpus.py           texts of the corpus, and how often they hold each token
kept.py             which tokens stay
tokenizer_file.py   a tokenizer with only these
run.py              the story of a run, with the weights and the figures
"""
