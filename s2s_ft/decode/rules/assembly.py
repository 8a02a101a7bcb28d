"""What the options of generation come to: the rules and the selection of a run.

Notable: what runs only for some requests (prefixes, phrases) is always there and costs nothing
until such a request comes: `ForcedPrefix.edits` then has nothing to change, and
`PhraseBeams.is_needed` says that plain beam search would choose the same beams.
"""

from __future__ import annotations

from typing import Any

import torch

from s2s_ft.decode.rules.constraints import BadWords, EarlyEnd, RepeatedNgrams, RepetitionPenalty
from s2s_ft.decode.rules.diverse import DiverseGroups
from s2s_ft.decode.rules.forced import ForcedPrefix
from s2s_ft.decode.rules.lexical import PhraseBeams
from s2s_ft.decode.rules.sampling import Sampling
from s2s_ft.decode.search.requests import AnyRule, Selection
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.options.search import SearchOptions


def rules_of(
    settings: SearchSettings, device: torch.device, vocabulary: int
) -> tuple[list[AnyRule], Selection]:
    """The rules of a run, in the order in which they apply, and its selection.

    The order is transformers' own: repetition, n-grams, forbidden words, minimum length; a forced
    prefix has the last word, and n-gram blocking knows what is forced.

    Args:
        settings: Of the run.
        device: Where the search runs.
        vocabulary: Width of the model's output.

    Raises:
        ValueError: A forbidden word has an id that the model's output does not have.
    """
    if any(token >= vocabulary for word in settings.bad_words for token in word):
        raise ValueError(f"--bad_words: a token is beyond the model's {vocabulary} outputs")
    prefix = ForcedPrefix(settings, vocabulary, device)
    phrases = PhraseBeams(settings, device)
    rules: list[AnyRule] = []
    if settings.repetition_penalty != 1.0:
        rules.append(RepetitionPenalty(settings.repetition_penalty))
    if settings.ngram_size > 0:
        rules.append(
            RepeatedNgrams(
                settings.ngram_size, settings.ignore_ids, device, exempt=(prefix, phrases)
            )
        )
    if settings.bad_words:
        rules.append(BadWords(settings.bad_words, settings.eos_id, device))
    if settings.min_length > 0:
        rules.append(EarlyEnd(settings.min_length, settings.eos_id))
    rules.append(prefix)
    return rules, _selection_of(settings, phrases, device)


def _selection_of(
    settings: SearchSettings, phrases: PhraseBeams, device: torch.device
) -> Selection:
    if settings.sample:
        return Sampling(settings, device)
    if settings.num_groups > 1:
        return DiverseGroups(settings)
    return phrases


def settings_of(search: SearchOptions, **others: Any) -> SearchSettings:
    """The settings of a search, as its options say.

    Args:
        search: With every flag known (`SearchOptions.filled`).
        others: What the options do not know: max_length and eos_id, and where there are any,
            ignore_ids, bad_words, word_marks, keep_trace and seed.
    """
    values: dict[str, Any] = {
        "beam_size": search.num_return_sequences if search.do_sample else search.beam_size,
        "num_return": search.num_return_sequences,
        "min_length": search.min_len,
        "length_penalty": search.length_penalty,
        "length_reward": search.length_reward,
        "ngram_size": search.ngram_size if search.forbid_duplicate_ngrams else 0,
        "repetition_penalty": search.repetition_penalty,
        "num_groups": search.num_beam_groups,
        "diversity_penalty": search.diversity_penalty,
        "sample": search.do_sample,
        "temperature": search.temperature,
        "top_k": search.top_k,
        "top_p": search.top_p,
        "min_p": search.min_p,
        "typical_p": search.typical_p,
    }
    return SearchSettings(**values, **others)
