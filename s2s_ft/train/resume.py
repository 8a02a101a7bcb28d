"""Saving the state of a run, and going on from it exactly or not at all.

Notable: all ranks save and restore together. Rank 0 writes; where it cannot, all of them fail
alike. What is saved does not depend on how many ranks made it, or on how they shared the model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from s2s_ft.model import pretrained
from s2s_ft.model.files import read_weights
from s2s_ft.model.legacy import RELATIVE_BIAS
from s2s_ft.model.located import SAFETENSORS
from s2s_ft.model.model_card import write_model_card
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.storage.checkpoint_record import FORMAT, Record, read_record
from s2s_ft.storage.model_name import checkpoint_name
from s2s_ft.text import TextCodec
from s2s_ft.train.arithmetic import attention_of
from s2s_ft.train.card import (
    card_facts,
    generation_defaults,
    scores_of_look,
    scores_of_tracker,
)
from s2s_ft.train.checkpoint import BEST, OPTIMIZER, prune, read_optimizer, save_optimizer
from s2s_ft.train.distributed import World
from s2s_ft.train.failure import check_weights
from s2s_ft.train.folders import commit
from s2s_ft.train.identity import (
    RunFacts,
    check_format,
    check_same_run,
    still_finished,
    tell_changes,
)
from s2s_ft.train.overwriting import LAUNCH, launch_id
from s2s_ft.train.sharding import (
    full_model_state,
    full_optimizer_state,
    load_full_model_state,
    load_full_optimizer_state,
)
from s2s_ft.train.step import TrainState
from s2s_ft.train.window import Window

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint knows beside the state itself.

    Attributes:
        window: What the log had summed up towards its next line.
        validation: The tracker of the looks at held-out rows, as it was handed over; or None.
        finished: Why the run had ended before its last update, or None.
        is_changed: Whether it goes on in another way than it was begun; rank 0 alone knows.
    """

    window: Window
    validation: dict[str, Any] | None = None
    finished: str | None = None
    is_changed: bool = False


def save_checkpoint(  # noqa: PLR0913 (each of them is a part of what is saved)
    output_dir: Path,
    state: TrainState,
    codec: TextCodec,
    facts: RunFacts,
    window: Window,
    *,
    validation: dict[str, Any] | None,
    finished: str | None,
    keep: int,
) -> Path:
    """Save all that a resumed run needs and all that decoding needs, as `ckpt-<step>`.

    Every rank comes here after the same update.

    Args:
        output_dir: Folder of the checkpoints.
        state: What is saved.
        codec: The tokenizer of the model.
        facts: Of the run.
        window: What the log has summed up; only that of rank 0 counts.
        validation: The tracker of the looks at held-out rows, in plain JSON.
        finished: Why the run ends here although updates are left.
        keep: Newest checkpoints that stay; 0 = all.

    Raises:
        OSError: It could not be written; earlier checkpoints stand. The same on every rank.
        TrainingFault: The weights are not finite.
    """
    check_weights(state.model, state.world, state.step)
    final = output_dir / checkpoint_name(state.step)
    weights = full_model_state(state.model)
    moments = full_optimizer_state(state.model, state.optimizer)

    def write(folder: Path) -> None:
        generation = generation_defaults(facts)
        pretrained.save(state.model, codec, folder, weights, generation=generation, resumable=True)
        scores = scores_of_tracker(validation, state.step)
        write_model_card(folder, card_facts(facts, state, final, scores))
        save_optimizer(folder, moments)

    def save() -> None:
        record = _record_of(state, facts, window)
        record |= {"finished": finished, "validation": validation}
        commit(final, write, record)
        logger.info("saved %s", final)
        prune(output_dir, keep, saved=final)

    _on_main(state.world, save)
    return final


def _record_of(state: TrainState, facts: RunFacts, window: Window) -> Record:
    """How far a run is, and what makes it the run it is."""
    epoch, batch = state.schedule.locate(state.step)
    return {
        "format": FORMAT,
        "step": state.step,
        "epoch": epoch,
        "batch_in_epoch": batch,
        "schedule": asdict(state.schedule),
        **_numbers(state),
        LAUNCH: launch_id(),
        "attention": attention_of(state.model, state.precision.device),
        "identity": _identity(facts, state),
        "options": facts.options,
        "scaler": state.precision.scaler.state_dict(),
        "log_window": asdict(window),
        "versions": facts.versions,
    }


def _numbers(state: TrainState) -> dict[str, int]:
    """How many share the work, which decides how sums are rounded; a GPU's do not count threads."""
    numbers = {"processes": state.world.size}
    if state.precision.device.type == "cpu":
        numbers["threads"] = torch.get_num_threads()
    return numbers


def save_best(
    output_dir: Path,
    state: TrainState,
    codec: TextCodec,
    facts: RunFacts,
    report: Mapping[str, Any],
) -> Path:
    """Save the model as `best`, for decoding; it replaces the one before, whole or not at all.

    Every rank comes here after the same update.

    Args:
        output_dir: Folder of the checkpoints.
        state: Its model is saved.
        codec: The tokenizer of the model.
        facts: Of the run.
        report: What the look at the held-out rows found, in plain JSON.

    Raises:
        OSError: See `save_checkpoint`; the earlier best model stands, too.
        TrainingFault: The weights are not finite.
    """
    check_weights(state.model, state.world, state.step)
    final = output_dir / BEST
    weights = full_model_state(state.model)

    def write(folder: Path) -> None:
        generation = generation_defaults(facts)
        pretrained.save(state.model, codec, folder, weights, generation=generation)
        scores, rows = scores_of_look(report), report.get("num_examples")
        write_model_card(folder, card_facts(facts, state, final, scores, rows))

    def save() -> None:
        record: Record = {"format": FORMAT, "step": state.step, "look": dict(report)}
        commit(final, write, record)
        logger.info("saved %s, the best so far", final)

    _on_main(state.world, save)
    return final


def restore_checkpoint(folder: Path, state: TrainState, facts: RunFacts) -> Resumed:
    """Bring the state to where a checkpoint left it; every rank comes here.

    Args:
        folder: A checkpoint that `newest_valid` found whole.
        state: Of the same shapes; changed in place.
        facts: Of the run that resumes.

    Raises:
        ValueError: The checkpoint is of another run or another format; the message names the first
            difference and its flags.
    """
    record = read_record(folder)
    check_format(folder, record, facts.way_out)
    check_same_run(folder, record, _identity(facts, state), facts.way_out)
    is_changed = False
    if state.world.is_main:
        attention = attention_of(state.model, state.precision.device)
        is_changed = tell_changes(record, facts, numbers=_numbers(state), attention=attention)
    _load_weights(folder, state.model)
    _load_optimizer(folder, state, facts.way_out)
    if record["scaler"] and state.precision.scaler.is_enabled():
        state.precision.scaler.load_state_dict(record["scaler"])
    state.step = record["step"]
    logger.info(
        "resuming from %s, %d of %d updates done", folder, state.step, state.schedule.total_steps
    )
    return Resumed(
        Window.from_dict(record["log_window"]),
        record["validation"],
        still_finished(record, facts),
        is_changed,
    )


def _on_main(world: World, act: Callable[[], None]) -> None:
    """Have rank 0 write something; where the system does not let it, all ranks fail alike."""
    fault: OSError | None = None
    if world.is_main:
        try:
            act()
        except OSError as error:
            fault = error
    told = world.from_main(None if fault is None else str(fault))
    if told is not None:
        raise fault or OSError(told)


def _identity(facts: RunFacts, state: TrainState) -> dict[str, Any]:
    """The whole identity of a run."""
    return {**facts.identity, "examples per update": state.schedule.global_batch_size}


def _load_weights(folder: Path, model: Seq2SeqModel) -> None:
    """Put the weights of a checkpoint back, into a model that is spread over ranks, too."""
    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        pretrained.load_for_resume(model, folder)
        return
    weights = read_weights(folder / SAFETENSORS)
    load_full_model_state(
        model,
        {
            name if name == RELATIVE_BIAS else f"encoder.{name}": value
            for name, value in weights.items()
        },
    )


def _load_optimizer(folder: Path, state: TrainState, way_out: str) -> None:
    """Give the optimizer its state back."""
    try:
        load_full_optimizer_state(state.model, state.optimizer, read_optimizer(folder))
    except KeyError as error:
        raise ValueError(
            f"cannot resume from {folder}: {OPTIMIZER} has a state of {error.args[0]}, which is "
            f"not trained now; undo the change of flags or of the version, {way_out}"
        ) from error
