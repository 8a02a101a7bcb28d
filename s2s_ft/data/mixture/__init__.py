"""Draws the training rows of several languages in other shares than they have.

    p(language) is proportional to (its rows / all rows) ^ (1 / temperature)

shares   how many rows of each, which of them, and in which order
run      read and check, draw, write
"""
