"""The content of a `tokenizer.json` with some of its tokens only, their ids without gaps.

Notable: nothing but ids and what goes with the tokens that went is changed, so normalisation,
cutting and decoding stay as they were, whatever the family.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from s2s_ft.trim.kept import merge_pairs


def trimmed_content(content: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """A tokenizer with the tokens that stay.

    Args:
        content: Of a `tokenizer.json` whose kind `kept.py` knows; it is not changed.
        kept: Ids that stay, in order; their index is the new id. Every added token is among them.

    Returns:
        A new content.
    """
    new_id = {old: new for new, old in enumerate(kept)}
    result = copy.deepcopy(dict(content))
    model = result["model"]
    if model["type"] == "Unigram":
        model["vocab"] = _unigram(model["vocab"], result["added_tokens"], kept)
        if model.get("unk_id") is not None:
            model["unk_id"] = new_id[model["unk_id"]]
    else:
        model["vocab"] = {
            token: new_id[old] for token, old in model["vocab"].items() if old in new_id
        }
    if model["type"] == "BPE":
        stays = model["vocab"].keys()
        model["merges"] = [
            [left, right]
            for left, right in merge_pairs(model)
            if {left, right, left + right} <= stays
        ]
    for token in result["added_tokens"]:
        token["id"] = new_id[token["id"]]
    if result.get("post_processor"):
        _renumber(result["post_processor"], new_id)
    return result


def _unigram(
    vocabulary: Sequence[list[Any]], added: Sequence[Mapping[str, Any]], kept: Sequence[int]
) -> list[list[Any]]:
    """The pieces that stay; an id is the place in the list, so none may be left out of it."""
    names = {token["id"] for token in added}
    # Added tokens behind the list stay behind it, as the order of ids is kept.
    assert all(old in names for old in kept if old >= len(vocabulary)), "no token of its own"
    return [vocabulary[old] for old in kept if old < len(vocabulary)]


def _renumber(processor: dict[str, Any], new_id: Mapping[int, int]) -> None:
    """New ids for the special tokens that a post-processor adds."""
    for each in processor.get("processors", ()):
        _renumber(each, new_id)
    for role in ("cls", "sep"):
        if role in processor:
            token, old = processor[role]
            processor[role] = [token, new_id[old]]
    special = processor.get("special_tokens") or {}
    for token in special.values():
        token["ids"] = [new_id[old] for old in token["ids"]]
