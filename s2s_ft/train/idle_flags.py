"""Flags that are given and do nothing in this run: told once, before it takes days.

What is wrong and not just idle is refused when the options are made (`s2s_ft.options`).
"""

from __future__ import annotations

import logging

from s2s_ft.methods import METHODS
from s2s_ft.options import TrainOptions, as_dict, flags_of

logger = logging.getLogger(__name__)


def tell_of_idle_flags(options: TrainOptions, num_ranks: int) -> None:
    """Warn of each flag that has no effect, though it is not at its default.

    Args:
        options: Everything the command line says.
        num_ranks: Processes that train together.
    """
    given = {name: value for group in as_dict(options).values() for name, value in group.items()}
    defaults = {flag.name: flag.default for flag in flags_of(TrainOptions)}
    for name, is_idle, reason in _conditions(options, num_ranks):
        # Levels are written in either case.
        if is_idle and str(given[name]).upper() != str(defaults[name]).upper():
            logger.warning("--%s has no effect %s", name, reason)


def _conditions(options: TrainOptions, num_ranks: int) -> list[tuple[str, bool, str]]:
    """Each flag, whether it would be idle now, and why."""
    caps_masks = any(each.caps_masks for each in METHODS if each.name == options.model.method)
    beams = options.validation.eval_beam_size
    no_search = "without a search: give --eval_beam_size 2 or more"
    no_output = "with --eval_beam_size 0, which decodes nothing"
    return [
        ("num_max_mask_token", not caps_masks, f"with --fine_tuning_method {options.model.method}"),
        ("fp16_opt_level", not options.runtime.fp16, "without --fp16"),
        ("fsdp", num_ranks == 1, "in one process: start several with torchrun"),
        ("eval_length_penalty", beams < 2, no_search),
        ("eval_batch_size", beams == 0, no_output),
        ("num_samples", beams == 0, no_output),
    ]
