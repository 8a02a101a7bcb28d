"""Tests of distillation's commands."""
