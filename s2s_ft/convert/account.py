"""What became of a checkpoint's weights, key by key: mapped, dropped or initialised.

Notable: every weight of the files is in it once, and every weight of the model that the files do
not hold; names of the model are those that `AutoModelForMaskedLM` gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.model.heads import is_head_weight
from s2s_ft.model.legacy import RELATIVE_BIAS, Renamed
from s2s_ft.model.loading import Loaded, converts_by_itself, grouped, place_of

DROPPED = {
    "pooler.": "a sentence's vector, which generation does not need",
    "cls.seq_relationship": "the head of next-sentence prediction",
    "discriminator_predictions": "the head of ELECTRA's discriminator",
    "classifier": "the head of a classifier",
    "position_ids": "no weight but a list of numbers",
}
"""Parts of names -> why transformers' masked-LM classes have no place for such weights."""


@dataclass(frozen=True)
class Entry:
    """One weight.

    Attributes:
        name: In the checkpoint's files; of what was initialised, in the model.
        shape: There.
        to: Its names in the model; none for what was dropped or initialised.
        why: What was done, where that is not to take it as it is.
    """

    name: str
    shape: tuple[int, ...]
    to: tuple[str, ...] = ()
    why: str = ""


@dataclass
class Account:
    """What became of all weights."""

    mapped: list[Entry] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)
    initialised: list[Entry] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def summary(self) -> Iterator[str]:
        """A few lines: how many of each, and which were not simply taken."""
        renamed = [entry for entry in self.mapped if entry.why]
        yield f"mapped {len(self.mapped)} weights, {len(renamed)} of them under another name"
        for title, entries in (("dropped", self.dropped), ("initialised", self.initialised)):
            yield f"{title} {len(entries)}"
            reasons = dict.fromkeys(entry.why for entry in entries)
            for why in reasons:
                names = grouped(entry.name for entry in entries if entry.why == why)
                yield f"  {', '.join(names)}: {why}"

    def lines(self) -> Iterator[str]:
        """One line a weight."""
        for entry in self.mapped:
            names = ", ".join(entry.to)
            target = "" if entry.to == (entry.name,) else f" -> {names}" if names else ""
            why = f" ({entry.why})" if entry.why else ""
            yield f"mapped {entry.name} {list(entry.shape)}{target}{why}"
        for title, entries in (("dropped", self.dropped), ("initialised", self.initialised)):
            for entry in entries:
                yield f"{title} {entry.name} {list(entry.shape)} ({entry.why})"


def account_of(loaded: Loaded) -> Account:
    """The account of a checkpoint that was loaded with `rename_always`."""
    encoder, renamed = loaded.encoder, loaded.renamed
    assert renamed is not None, "loaded with an account"
    account = Account()
    expected = encoder.state_dict()
    for name, shape in loaded.shapes.items():
        entry = _entry(name, shape, renamed, loaded, expected)
        (account.mapped if entry.to or entry.why in _BY_ITSELF else account.dropped).append(entry)
    # What a released file leaves out on purpose goes before what had to be drawn.
    for name, how in renamed.made.items():
        account.initialised.append(Entry(name, tuple(expected[name].shape), (), how))
    words = encoder.get_input_embeddings()
    for name in sorted(loaded.missing):
        account.initialised.append(
            Entry(name, tuple(expected[name].shape), (), _start(encoder, name, expected, words))
        )
    return account


_BY_ITSELF = {"by transformers' own conversion for this family"}


def _entry(
    name: str,
    shape: tuple[int, ...],
    renamed: Renamed,
    loaded: Loaded,
    expected: dict[str, Tensor],
) -> Entry:
    """One weight of the files."""
    encoder = loaded.encoder
    new = renamed.became[name]
    why = renamed.why.get(name, "")
    if RELATIVE_BIAS in new:
        return Entry(name, shape, new, why)
    base = encoder.base_model_prefix
    places = tuple(place for each in new if (place := place_of(each, expected, base)))
    if places:
        below = "" if places == new else "below the encoder's body"
        return Entry(name, shape, places, why or below)
    if not new:
        return Entry(name, shape, (), why)
    if converts_by_itself(encoder.config) and not set(new) & loaded.unused:
        return Entry(name, shape, (), next(iter(_BY_ITSELF)))
    reason = next((reason for part, reason in DROPPED.items() if part in name), None)
    return Entry(name, shape, (), reason or "the model has no such weight")


def _start(
    encoder: PreTrainedModel, name: str, expected: dict[str, Tensor], words: nn.Module
) -> str:
    """How a weight that the files do not hold begins."""
    weight = expected[name]
    if weight.data_ptr() == words.get_parameter("weight").data_ptr():
        return "tied to the word embeddings"
    if not is_head_weight(encoder, name):
        return "as the family's class starts it"
    if name.endswith("bias"):
        return "a fresh head: zeros"
    norm = "norm" in name.lower()
    return "a fresh head: ones" if norm else "a fresh head: changes as little as it can"
