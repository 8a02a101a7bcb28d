"""Tiny random checkpoints of every family, written to disk in the family's real format."""
