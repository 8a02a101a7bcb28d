"""What steers a search: rules change what the model says of the next token, selections choose the
next beams, and `assembly.py` makes both of the options of a run.
"""
