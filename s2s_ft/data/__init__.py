"""Rows of a data file, their token ids on disk, and the order in which training sees them."""
