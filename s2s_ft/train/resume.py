"""Saving the state of a run, and going on from it exactly or not at all.

Notable: what a resumed run must share with the one that saved is the *identity* of the run: data,
tokenizer, method, corruption, lengths, seed, examples per update, and the pretrained encoder.
Everything else (learning rate, number of updates, how often to save) may change from one start to
the next; it is said and taken up. Random state is restored last of all, so that nothing draws
between it and the next update.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from s2s_ft.data.features import FeatureStore
from s2s_ft.model import pretrained
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions, as_dict
from s2s_ft.text import TextCodec
from s2s_ft.train.checkpoint import (
    Record,
    commit,
    load_optimizer,
    load_random_state,
    read_record,
    save_optimizer,
    save_random_state,
)
from s2s_ft.train.logs import Window
from s2s_ft.train.loop import TrainState

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of `training_state.json`."""

FLAGS = {
    "tokenizer": "--model_name_or_path, --tokenizer_name or --do_lower_case",
    "training data": "--train_file, --num_train_examples, --source_key or --target_key",
    "method": "--fine_tuning_method",
    "corruption": "--target_mask_prob and the flags beside it",
    "longest source and target": "--max_source_seq_length or --max_target_seq_length",
    "seed": "--seed",
    "examples per update": "--per_gpu_train_batch_size or --gradient_accumulation_steps",
    "model config": "--model_name_or_path, --config_name or --dropout",
    "pretrained weights": "--model_name_or_path",
}
"""Parts of a run's identity, and the flags that decide them."""

_CONFIG_NOISE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "s2s_ft",
}
"""Config entries that say where a model comes from, not what it computes."""

_LIBRARIES = ("numpy", "safetensors", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class RunFacts:
    """What stays the same from one checkpoint of a run to the next.

    Attributes:
        identity: By the keys of `FLAGS`, in plain JSON.
        options: Every option, as given.
        versions: Of Python and the libraries whose numbers matter.
    """

    identity: dict[str, Any]
    options: dict[str, Any]
    versions: dict[str, str]

    @classmethod
    def of(
        cls, options: TrainOptions, codec: TextCodec, store: FeatureStore, model: Seq2SeqModel
    ) -> RunFacts:
        """The facts of a run whose model is as the pretrained encoder left it."""
        config = model.encoder.config.to_dict()
        words = model.encoder.get_input_embeddings().get_parameter("weight")
        batch = options.optimization
        identity = {
            "tokenizer": codec.fingerprint,
            "training data": store.folder.name,
            "method": options.model.method,
            "corruption": asdict(options.corruption),
            "longest source and target": [
                options.data.max_source_seq_length,
                options.data.max_target_seq_length,
            ],
            "seed": options.runtime.seed,
            "examples per update": batch.per_gpu_train_batch_size
            * batch.gradient_accumulation_steps,
            "model config": {
                key: value for key, value in config.items() if key not in _CONFIG_NOISE
            },
            "pretrained weights": _fingerprint(words),
        }
        versions = {name: metadata.version(name) for name in _LIBRARIES}
        return cls(identity, as_dict(options), {"python": platform.python_version(), **versions})


def save_checkpoint(
    output_dir: Path, state: TrainState, codec: TextCodec, facts: RunFacts, window: Window
) -> Path:
    """Save all that a resumed run needs and all that decoding needs, as `ckpt-<step>`.

    Raises:
        OSError: It could not be written; earlier checkpoints stand.
    """

    def write(folder: Path) -> None:
        pretrained.save(state.model, codec, folder)
        save_optimizer(folder, state.model, state.optimizer)
        save_random_state(folder, state.precision.device)

    epoch, batch = state.schedule.locate(state.step)
    record: Record = {
        "format": FORMAT,
        "step": state.step,
        "epoch": epoch,
        "batch_in_epoch": batch,
        "schedule": asdict(state.schedule),
        "identity": facts.identity,
        "options": facts.options,
        "scaler": state.precision.scaler.state_dict(),
        "log_window": asdict(window),
        "versions": facts.versions,
    }
    folder = commit(output_dir, state.step, write, record)
    logger.info("saved %s", folder)
    return folder


def restore_checkpoint(folder: Path, state: TrainState, facts: RunFacts) -> Window:
    """Bring the state to where a checkpoint left it, the random state last.

    Args:
        folder: A checkpoint that `newest_valid` found whole.
        state: Of the same shapes; changed in place.
        facts: Of the run that resumes.

    Returns:
        What the log had summed up towards its next line.

    Raises:
        ValueError: The checkpoint is of another run; the message names the first difference and
        its flags.
    """
    record = read_record(folder)
    _check_same_run(folder, record, facts)
    _tell_changes(record, facts)
    pretrained.load_weights(state.model, folder)
    load_optimizer(folder, state.model, state.optimizer)
    if record["scaler"] and state.precision.scaler.is_enabled():
        state.precision.scaler.load_state_dict(record["scaler"])
    state.step = record["step"]
    window = Window.from_dict(record["log_window"])
    logger.info(
        "resuming from %s, %d of %d updates done", folder, state.step, state.schedule.total_steps
    )
    load_random_state(folder, state.precision.device)
    return window


def _fingerprint(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _check_same_run(folder: Path, record: Mapping[str, Any], facts: RunFacts) -> None:
    """Refuse a checkpoint whose run had another identity."""
    for part, flags in FLAGS.items():
        for what, before, now in _differences(part, record["identity"][part], facts.identity[part]):
            raise ValueError(
                f"cannot resume from {folder}: {what} was {before}, now {now}; undo the "
                f"change of {flags}, name another --output_dir, or give --overwrite_output_dir to "
                "start anew"
            )


def _tell_changes(record: Mapping[str, Any], facts: RunFacts) -> None:
    """Warn of options that a resume takes up, and of libraries that may round differently."""
    for group in ("optimization", "runtime"):
        differences = _differences(group, record["options"][group], facts.options[group])
        for what, before, now in differences:
            logger.warning(
                "resuming with another setting, %s: %s before, %s now", what, before, now
            )
    for what, before, now in _differences("version", record["versions"], facts.versions):
        logger.warning(
            "resuming with another %s: %s before, %s now; results may round differently",
            what,
            before,
            now,
        )


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """Name, old and new value of what differs, where both sides know it (libraries change)."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() & now.keys():
            yield from _differences(f"{name} {key}", before[key], now[key])
    elif _plain(before) != _plain(now):
        yield name, _short(before), _short(now)


def _plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists there."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    """A value for a message; fingerprints are cut."""
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
