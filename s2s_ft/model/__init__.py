"""The model: a borrowed encoder, an attention plan, a cache and a loss; it knows no data files and
no options of a run.
"""
