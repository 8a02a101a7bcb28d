"""Checkpoints of other formats, made transformers folders (`python -m s2s_ft.convert`)."""
