"""What makes a decoding run the run it is: what must not change where it goes on.

Notable: everything that decides a byte of the output is part of it: the checkpoint, the rows as the
model gets them, what is searched for and how it is written; the size of a batch too, on which the
last digits of scores depend. How many processes share the work, and where the output lies, decides
nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from s2s_ft.decode.lines.sources import Item
from s2s_ft.decode.search.requests import Budget
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.model.described import CONFIG_NOISE
from s2s_ft.model.fingerprint import shortened
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import DecodeOptions
from s2s_ft.text import TextCodec

FLAGS = {
    "weights": "--model_path",
    "config": "--config_path or --model_path",
    "tokenizer": "--tokenizer_name or --do_lower_case",
    "method": "--model_path or --pos_shift",
    "input": "--input_file, --subset, --source_key, or what decides how long a source may be",
    "search": "--beam_size and the flags beside it",
    "output": "--output_format and the flags beside it",
    "computing": "--bf16, --fp16, --int8 or --no_cuda",
    "batch": "--batch_size or --max_tokens_per_batch",
}
"""Parts of a run's identity, and the flags that decide them."""


def identity_of(
    options: DecodeOptions,
    settings: SearchSettings,
    budget: Budget,
    codec: TextCodec,
    checkpoint: Mapping[str, str],
) -> dict[str, Any]:
    """The identity of a run but for its input, by the keys of `FLAGS`, in plain JSON.

    Args:
        options: All options of the run.
        settings: What is searched for.
        budget: How much at a time.
        codec: Of the checkpoint.
        checkpoint: Its `weights` (their `fingerprint`) and `config` (see `config_of`), its `method`
            and the `device`.
    """
    data, runtime = options.data, options.runtime
    search = {**asdict(settings), "mode": options.search.mode}
    del search["word_marks"]  # the tokenizer's
    kinds = [name for name in ("bf16", "fp16", "int8") if getattr(runtime, name)]
    identity = {
        "weights": checkpoint["weights"],
        "config": checkpoint["config"],
        "tokenizer": codec.fingerprint,
        "method": checkpoint["method"],
        "search": search,
        "output": {
            "format": data.output_format,
            "tokens": data.output_tokens,
            "traces": data.need_score_traces,
        },
        "computing": {"device": checkpoint["device"], "numbers": "".join(kinds) or "fp32"},
        "batch": asdict(budget),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))  # tuples are lists from here on
    return plain


def input_of(items: Iterable[Item]) -> str:
    """SHA-256 of an input as the model gets it."""
    digest = hashlib.sha256()
    for item in items:
        request = item.request
        about = [item.index, request.prefix, request.phrases, item.label, request.source.size]
        digest.update(json.dumps(about).encode("utf-8"))
        digest.update(np.ascontiguousarray(request.source, dtype="<i8").data)
    return digest.hexdigest()


def config_of(model: Seq2SeqModel) -> str:
    """SHA-256 of what a model's config says, our settings too, whoever wrote it and where."""
    config = model.encoder.config.to_dict()
    about = {name: value for name, value in config.items() if name not in CONFIG_NOISE}
    text = json.dumps([about, model.settings.to_dict()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check_same_run(journal: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with the journal of another run.

    Raises:
        ValueError: What differs, before and now, and the flags that decide it.
    """
    for part, flags in FLAGS.items():
        # Journals of earlier versions lack what those did not look at.
        for what, old, new in _differences(part, before.get(part, now.get(part)), now.get(part)):
            raise ValueError(
                f"--resume: cannot go on with {journal}: {what} was {old}, now {new}; undo the "
                f"change of {flags}, or leave --resume out to start anew"
            )


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """Name, old and new value of what differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(f"{name} {key}", before.get(key), now.get(key))
    elif before != now:
        yield name, shortened(before), shortened(now)
