"""Scores of generated text: ROUGE, BLEU, chrF and METEOR with intervals, as benchmarks report them.

`python -m s2s_ft.evaluation --pred GENERATED --gold REFERENCES` prints a table and writes a JSON
file; `python -m s2s_ft.evaluation.sweep` picks a length penalty on a development set. Nothing is
downloaded at run time, and text in any script is scored by its own letters.
"""
