"""What a run knows of the checkpoint it saves, as a model card and as defaults of decoding.

Notable: scores are told only where they were measured on these very weights. Decoding without
flags of its own then does what the looks at the held-out rows did.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2s_ft.model.adapters import adapter_of
from s2s_ft.model.model_card import CardFacts
from s2s_ft.model.parts import origin_of
from s2s_ft.options import TrainOptions, flags_of
from s2s_ft.train.identity import RunFacts
from s2s_ft.train.step import TrainState

GROUPS_TOLD = ("corruption", "optimization", "adapter", "distillation", "runtime")
ALWAYS_TOLD = ("learning_rate", "seed")
NEVER_TOLD = ("local_rank", "server_ip", "server_port", "no_cuda", "teacher_model")


def card_facts(
    facts: RunFacts,
    state: TrainState,
    folder: Path,
    scores: Mapping[str, float],
    num_dev_rows: int | None = None,
) -> CardFacts:
    """What is known of the model as it is.

    Args:
        facts: Of the run.
        state: The model and how far it is.
        folder: Where it will be; the name of the run's folder around it stands for the model.
        scores: Measured on these weights; empty where nothing was.
        num_dev_rows: Held-out rows that they were measured on.
    """
    options, settings = facts.options, state.model.settings
    name = folder.resolve().parent.name
    data, validation = options["data"], options["validation"]
    adapter = adapter_of(state.model)
    return CardFacts(
        name=name,
        folder=f"{name}/{folder.name}",
        model_type=state.model.encoder.config.model_type,
        method=settings.method,
        base_model=origin_of(state.model.encoder).name or options["model"]["model_name_or_path"],
        train_file=data["train_file"],
        num_train_rows=facts.num_examples,
        max_source_length=settings.max_source_length,
        max_target_length=settings.max_target_length,
        step=state.step,
        settings=_settings(options),
        dev_file=validation["dev_file"],
        num_dev_rows=num_dev_rows,
        scores=dict(scores),
        decoding=_decoding(validation) if scores.keys() - {"loss"} else "",
        notes=_notes(options),
        is_adapter=adapter is not None and adapter.save == "adapter",
        versions=facts.versions,
    )


def scores_of_look(look: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a look at the held-out rows (`dev_report.DevReport`, in plain JSON)."""
    return {"loss": look["loss"], **look.get("scores", {})}


def scores_of_tracker(tracker: Mapping[str, Any] | None, step: int) -> dict[str, float]:
    """The one score that a tracker (`best.Tracker`, in plain JSON) has for `step`, if it has."""
    if tracker is None or tracker["best_step"] != step:
        return {}
    return {tracker["metric"]: tracker["best_value"]}


def generation_defaults(facts: RunFacts) -> dict[str, Any]:
    """How held-out rows are decoded, by transformers' names; empty where that is greedily."""
    validation = facts.options["validation"]
    beams = validation["eval_beam_size"]
    if validation["dev_file"] is None or beams < 2:
        return {}
    return {"num_beams": beams, "length_penalty": validation["eval_length_penalty"]}


def _decoding(validation: Mapping[str, Any]) -> str:
    """The flags that decode as held-out rows are decoded."""
    penalty = validation["eval_length_penalty"]
    beams = f"--beam_size {validation['eval_beam_size']}"
    return f"{beams} --length_penalty {penalty}" if penalty else beams


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Flags that are not at their default, and those that everybody asks for."""
    told = {}
    for each in flags_of(TrainOptions):
        if each.group not in GROUPS_TOLD or each.name in NEVER_TOLD or each.obsolete:
            continue
        value = options[each.group][each.name]
        if value != each.default or each.name in ALWAYS_TOLD:
            told[each.name] = value
    return told


def _notes(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Whose distributions were learnt beside the labels."""
    teacher = options["distillation"]["teacher_model"]
    if teacher is None or options["distillation"]["distill_alpha"] == 0.0:
        return ()
    return (f"It learnt from the labels and from the distributions of `{Path(teacher).name}`.",)
