"""Small models out of large ones.

    python -m s2s_ft.distill.student    a student made of some layers of a checkpoint
    python -m s2s_ft.distill.rows       training rows whose targets are a teacher's outputs

How a student learns from a teacher's distributions while it trains is in `model/distillation.py`;
docs/distillation.md tells the whole way.
"""
