"""The options of a call from Python, whatever decodes: under transformers' names, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from s2s_ft.decode.arguments import taken_words
from s2s_ft.decode.defaults import EVERY_OTHER_OPTION, as_flags, checked, with_defaults
from s2s_ft.options import DecodeOptions, build


def of_every_call(path: str, **options: Any) -> DecodeOptions:
    """The options that hold for every call of a model; its sources come with the call.

    Args:
        path: The model, for messages.
        options: Other flags.

    Raises:
        ValueError: One is out of range.
    """
    # A call gives a list for each source; of the formats of files, only JSON lines hold several.
    return build(
        DecodeOptions,
        {**options, "model_path": path, "input_file": "sources", "output_format": "jsonl"},
    )


@dataclass(frozen=True)
class Call:
    """What a call gives.

    Attributes:
        options: All options, every flag of the search known.
        bad_words: Words of a list, which are words whatever they look like.
        force_words: Likewise.
    """

    options: DecodeOptions
    bad_words: Sequence[str]
    force_words: Sequence[str]

    @classmethod
    def of(
        cls,
        base: DecodeOptions,
        known: Mapping[str, Any],
        named: Mapping[str, Any],
        *,
        batch_size: int | None,
        source: str,
    ) -> Call:
        """Take the options of a call; None among them means not given.

        Args:
            base: What `of_every_call` gives.
            known: The checkpoint's defaults, by flag.
            named: As given, by name.
            batch_size: As given.
            source: What is called, for messages.

        Raises:
            ValueError: One is unknown or out of range.
        """
        given = dict(named)
        others = {name: given.pop(name, None) for name in EVERY_OTHER_OPTION}
        others["batch_size"] = batch_size
        rest = {name: value for name, value in others.items() if value is not None}
        bad, forced = (taken_words(name, given) for name in ("bad_words", "force_words"))
        values = as_flags(given)
        checked({**values, **rest}, source)
        length = rest.pop("max_seq_length", base.data.max_seq_length)
        if wanted := "|".join(filter(None, map(str.strip, forced))):
            values["force_words"] = wanted  # for the checks alone: a list fits what the flag fits
        options = replace(
            base,
            search=replace(base.search, **values),
            data=replace(base.data, max_seq_length=length),
            runtime=replace(base.runtime, **rest),
        )
        options = with_defaults(options, known)
        if wanted:
            options = replace(options, search=replace(options.search, force_words=None))
        return cls(options, bad, forced)
