"""What comes in and what goes out: rows of an input, what the search is fed of them, and the lines
and traces that are written for its results.
"""
