"""The model: a borrowed encoder, an attention plan, a cache and a loss; it knows no data files, and
of a run's options those of the model and of its adapter alone.
"""
