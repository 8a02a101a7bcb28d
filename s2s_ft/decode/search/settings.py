"""What a search looks for: one immutable value for a whole run.

Notable: it names every option of generation, whoever reads it: the engine (beams, lengths, ranking,
what is returned), or the rules and the selection that `rules/assembly.py` builds
from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from s2s_ft.text import NO_MARKS, WordMarks


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What to search for.

    Attributes:
        beam_size: Beams per example; 1 is greedy search.
        max_length: Most tokens of a hypothesis, the end token included.
        eos_id: The end token.
        min_length: Tokens before the end token may come.
        length_penalty: Exponent p; scores are divided by ((5 + length) / 6)^p if above 0.
        length_reward: Natural-log units added per token, the end token included, to what
            hypotheses are ranked by; not together with `length_penalty`.
        ngram_size: No n-gram of this size may come twice; 0 switches it off.
        ignore_ids: Tokens that do not count for n-grams.
        num_return: Hypotheses to return per example, at most `beam_size`.
        keep_trace: Record every step's beams, and search on until all of them have ended.
        repetition_penalty: Factor on the log-probability of tokens that the hypothesis holds
            already; 1 switches it off.
        bad_words: Token sequences that must not appear.
        word_marks: Where a word that must appear would go on, and be another one.
        num_groups: Groups of a diverse beam search; 1 switches it off.
        diversity_penalty: Taken off a token's score for each earlier group that chose it.
        sample: Draw tokens instead of searching the best ones; each beam is a sample of its own.
        temperature: Divides the logits before a draw.
        top_k: Draw among the k likeliest tokens; 0 switches it off.
        top_p: Draw among the likeliest tokens that hold this share of the probability.
        min_p: Draw among tokens at least this share as likely as the likeliest.
        typical_p: Draw among the most typical tokens that hold this share of the probability.
        seed: Of the random numbers.
    """

    beam_size: int
    max_length: int
    eos_id: int
    min_length: int = 1
    length_penalty: float = 0.0
    length_reward: float = 0.0
    ngram_size: int = 0
    ignore_ids: tuple[int, ...] = ()
    num_return: int = 1
    keep_trace: bool = False
    repetition_penalty: float = 1.0
    bad_words: tuple[tuple[int, ...], ...] = ()
    word_marks: WordMarks = NO_MARKS
    num_groups: int = 1
    diversity_penalty: float = 0.0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    seed: int = 0
