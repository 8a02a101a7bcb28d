"""Scores of generated text: ROUGE, BLEU and chrF with intervals, beside simple baselines.

`python -m s2s_ft.evaluation --pred GENERATED --gold REFERENCES` prints a table and writes a JSON
file. Nothing is downloaded at run time, and text in any script is scored by its own letters.
"""
