"""The engine of the search: beams over a step function. It knows arrays, neither models nor words,
and of what steers it only the protocols in `requests.py`.
"""
