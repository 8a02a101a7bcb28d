"""What makes a run the run it is, and what of it may change when it goes on.

Notable: what a resumed run must share with the one that saved is its *identity*: data, tokenizer,
method, corruption, lengths, seed, examples per update, the pretrained encoder, and which of its
weights are trained. Everything else (number of processes, micro-batch, learning rate and its decay
over the layers, number of updates, how often to save) may change from one start to the next; it is
said and taken up.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from s2s_ft.data.features import FeatureStore
from s2s_ft.model.described import CONFIG_NOISE
from s2s_ft.model.fingerprint import fingerprint, shortened
from s2s_ft.model.foreign import BLOCK
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions, as_dict
from s2s_ft.options.adapter import AdapterOptions
from s2s_ft.storage.checkpoint_record import FORMAT
from s2s_ft.text import TextCodec
from s2s_ft.train.arithmetic import TORCHS
from s2s_ft.train.checkpoint import read_from_checkpoint

logger = logging.getLogger(__name__)

FLAGS = {
    "tokenizer": "--model_name_or_path, --tokenizer_name, --do_lower_case or --additional_tokens",
    "training data": "--train_file, --num_train_examples, --source_key or --target_key",
    "method": "--fine_tuning_method",
    "corruption": "--target_mask_prob and the flags beside it",
    "longest source and target": "--max_source_seq_length or --max_target_seq_length",
    "seed": "--seed",
    "examples per update": "--global_batch_size, --per_gpu_train_batch_size, "
    "--gradient_accumulation_steps or the number of processes",
    "model config": "--model_name_or_path, --config_name or --dropout",
    "adapter": "--peft and the flags beside it",
    "trained word embeddings": "--fix_word_embedding",
    "pretrained weights": "--model_name_or_path or --fresh_head",
    "teacher": "--teacher_model, --distill_alpha or --distill_temperature",
}
"""Parts of a run's identity, and the flags that decide them."""

TOLD = ("optimization", "validation", "adapter", "checkpoint", "runtime")
"""Groups of options whose changes are told of and taken up."""

UNTOLD = ("checkpoint output_dir", "checkpoint overwrite_output_dir", "runtime local_rank")
"""Options in these groups that change nothing of a run that goes on."""

_DECIDE_THE_END = (
    "dev_file",
    "num_dev_examples",
    "eval_steps",
    "eval_metric",
    "eval_beam_size",
    "eval_length_penalty",
    "early_stopping_patience",
)
"""Options that decide whether a run has ended early."""

_LIBRARIES = ("numpy", "safetensors", "tokenizers", "torch", "transformers")

NONE = "none"
"""What stands for a part of the identity that a run has not got, or had not when it was saved."""

ELSEWHERE = "or name another --output_dir"
START_ANEW = "name another --output_dir, or give --overwrite_output_dir to start anew"
"""What to do where a run cannot be gone on with; the first where the second would remove what the
run is made from."""


@dataclass(frozen=True)
class RunFacts:
    """What stays the same from one checkpoint of a run to the next.

    Attributes:
        identity: By the keys of `FLAGS`, in plain JSON; the examples per update are not yet in it.
        options: Every option, as given.
        versions: Of Python and the libraries whose numbers matter.
        num_examples: Training rows.
        way_out: What to do beside going on, for messages.
    """

    identity: dict[str, Any]
    options: dict[str, Any]
    versions: dict[str, str]
    num_examples: int
    way_out: str = START_ANEW

    @classmethod
    def of(
        cls,
        options: TrainOptions,
        codec: TextCodec,
        store: FeatureStore,
        model: Seq2SeqModel,
        teacher: dict[str, Any] | str = NONE,
    ) -> RunFacts:
        """The facts of a run whose model is as it was made, and not spread over ranks yet.

        Args:
            options: Everything the command line says.
            codec: The tokenizer.
            store: The training rows.
            model: As it was made.
            teacher: What has to stay of the teacher, in plain JSON (`teacher.identity_of`).
        """
        config = model.encoder.config.to_dict()
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
            "model config": {
                key: value for key, value in config.items() if key not in {*CONFIG_NOISE, BLOCK}
            },
            "adapter": _shape_of(options.adapter),
            "trained word embeddings": not options.model.fix_word_embedding,
            "pretrained weights": fingerprint(model),
            "teacher": teacher,
        }
        versions = {name: metadata.version(name) for name in _LIBRARIES}
        return cls(
            identity,
            as_dict(options),
            {"python": platform.python_version(), **versions},
            len(store),
            START_ANEW if read_from_checkpoint(options) is None else ELSEWHERE,
        )


def check_format(folder: Path, record: Mapping[str, Any], way_out: str) -> None:
    """Refuse a checkpoint that another version wrote."""
    found = record.get("format")
    if found == FORMAT:
        return
    newer = isinstance(found, int) and found > FORMAT
    raise ValueError(
        f"cannot resume from {folder}: it is in format {found} of "
        f"{'a newer' if newer else 'an older'} version of this tool, and this one knows format "
        f"{FORMAT}; finish that run with the version that began it, {way_out}"
    )


def check_same_run(
    folder: Path, record: Mapping[str, Any], identity: Mapping[str, Any], way_out: str
) -> None:
    """Refuse a checkpoint whose run had another identity."""
    for part, flags in FLAGS.items():
        saved = record["identity"].get(part, NONE)
        for what, before, now in _differences(part, saved, identity[part]):
            raise ValueError(
                f"cannot resume from {folder}: {what} was {before}, now {now}; undo the "
                f"change of {flags}, {way_out}"
            )


def tell_changes(
    record: Mapping[str, Any], facts: RunFacts, *, numbers: Mapping[str, int], attention: str
) -> bool:
    """Warn of options that a resume takes up, and of what may round differently.

    Args:
        record: Of the checkpoint.
        facts: Of the run that resumes.
        numbers: Of processes, and of each one's threads where those compute, now; what the record
            does not know of them is not told.
        attention: What computes it now.

    Returns:
        Whether anything was told: the updates from here on are not those of the run that saved.
    """
    is_changed = False
    for group in TOLD:
        decides = group != "checkpoint"  # when something is written
        differences = _differences(group, record["options"][group], facts.options[group])
        for what, before, now in differences:
            if what not in UNTOLD:
                is_changed = is_changed or decides
                logger.warning(
                    "resuming with another setting, %s: %s before, %s now", what, before, now
                )
    changes = [
        *_differences("number of", dict(record), dict(numbers)),
        *_differences("attention", record.get("attention", TORCHS), attention),
        *_differences("version", record["versions"], facts.versions),
    ]
    for what, before, now in changes:
        logger.warning(
            "resuming with another %s: %s before, %s now; results may round differently",
            what,
            before,
            now,
        )
    return is_changed or bool(changes)


def still_finished(record: Mapping[str, Any], facts: RunFacts) -> str | None:
    """Why the run had ended early, unless what decides that was changed since."""
    reason: str | None = record["finished"]
    before, now = record["options"]["validation"], facts.options["validation"]
    if reason is not None and any(before[key] != now[key] for key in _DECIDE_THE_END):
        logger.warning("the run had ended (%s); its new settings decide anew", reason)
        return None
    return reason


def _shape_of(adapter: AdapterOptions) -> dict[str, Any] | str:
    """What of the adapter's options decides its weights and what they compute."""
    if adapter.peft is None:
        return NONE
    return {key: value for key, value in asdict(adapter).items() if key != "peft_save"}


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """Name, old and new value of what differs, where both sides know it (libraries change)."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() & now.keys():
            yield from _differences(f"{name} {key}", before[key], now[key])
    elif _plain(before) != _plain(now):
        yield name, shortened(before), shortened(now)


def _plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists there."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
