"""The teacher of a run: loaded, checked against the student, and known again when a run resumes."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from s2s_ft.model.distillation import Teacher
from s2s_ft.model.fingerprint import fingerprint
from s2s_ft.model.positions import num_positions
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.identity import NONE

logger = logging.getLogger(__name__)


def load_teacher(options: TrainOptions, codec: TextCodec, student: Seq2SeqModel) -> Teacher | None:
    """The teacher that the options name, on the CPU; None without one, or where it has no weight.

    Args:
        options: Everything the command line says.
        codec: The student's tokenizer.
        student: As it was loaded.

    Raises:
        ValueError: It cannot be loaded, or does not fit the student.
    """
    name, alpha = options.distillation.teacher_model, options.distillation.distill_alpha
    if name is None:
        return None
    if alpha == 0.0:
        logger.info("--distill_alpha 0: the teacher has no say and is not loaded")
        return None
    cache_dir = options.model.cache_dir
    flag = "--teacher_model"
    model = load_finetuned(name, cache_dir=cache_dir, flag=flag)
    _check_fit(name, model, options, student)
    lower = True if options.model.do_lower_case else model.settings.do_lower_case
    own = TextCodec.load(name, do_lower_case=lower, cache_dir=cache_dir, flag=flag)
    if own.fingerprint != codec.fingerprint:
        raise ValueError(
            f"--teacher_model {name} has another tokenizer than the student: a teacher's "
            "distributions are over its own tokens; take a teacher of the same family, or learn "
            "from its outputs instead (python -m s2s_ft.distill.rows)"
        )
    model.requires_grad_(requires_grad=False)
    weights = sum(each.numel() for each in model.parameters())
    logger.info(
        "learning from %s (%.0f million weights), weight %g, temperature %g",
        name,
        weights / 1e6,
        alpha,
        options.distillation.distill_temperature,
    )
    return Teacher(model, alpha, options.distillation.distill_temperature)


def identity_of(teacher: Teacher | None) -> dict[str, Any] | str:
    """What a resumed run must share, in plain JSON."""
    if teacher is None:
        return NONE
    return {
        "weights": fingerprint(teacher.model),
        "alpha": teacher.alpha,
        "temperature": teacher.temperature,
    }


def attach_teacher(model: Seq2SeqModel, teacher: Teacher | None, device: torch.device) -> None:
    """Have the student's loss ask its teacher."""
    if teacher is not None:
        teacher.model.to(device)
        model.teacher = teacher


def _check_fit(
    name: str, teacher: Seq2SeqModel, options: TrainOptions, student: Seq2SeqModel
) -> None:
    """Refuse a teacher whose predictions are no advice to the student."""
    method = options.model.method
    if teacher.settings.method != method:
        raise ValueError(
            f"--teacher_model {name} was fine-tuned by the method {teacher.settings.method}, and "
            f"is asked for predictions of {method}: give --fine_tuning_method "
            f"{teacher.settings.method}"
        )
    outputs, own = _num_outputs(teacher), _num_outputs(student)
    if outputs != own:
        raise ValueError(
            f"--teacher_model {name} predicts {outputs} tokens and the student {own}: both need "
            "the same vocabulary"
        )
    wanted = options.data.max_source_seq_length + options.data.max_target_seq_length
    room = num_positions(teacher.encoder)
    if room is not None and room < wanted:
        raise ValueError(
            f"--teacher_model {name} has {room} positions, and source and target need {wanted}: "
            "lower --max_source_seq_length or --max_target_seq_length"
        )


def _num_outputs(model: Seq2SeqModel) -> int:
    """Rows of the word embeddings, which are those of the output."""
    table = model.encoder.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table.num_embeddings
