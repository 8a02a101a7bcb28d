"""Families x methods: each checkpoint, written to disk in its real format, is converted, trained a
step, saved, reloaded and decoded with; what it decodes agrees with the full pass.

Notable: `scripts/families.py` runs this file and makes the table in docs/families.md of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from s2s_ft.convert.__main__ import main
from s2s_ft.corruption import CLEAN, USUAL
from s2s_ft.decode.search.beam_search import SearchSettings
from s2s_ft.decode.search.hypotheses import Hypothesis
from s2s_ft.decode.session import generate_batch
from s2s_ft.layout import Corrupted
from s2s_ft.methods import METHODS, Method
from s2s_ft.model.pretrained import load_finetuned, load_for_training, save
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.formats.catalogue import FORMATS, Format
from tests.unit.text.tokenizers_on_disk import SENTENCES

SOURCES = (SENTENCES["english"], SENTENCES["german"][:20], SENTENCES["french"])
TARGETS = ("the old network", "Der Server", "Une élève")

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Path]:
    """A function that converts a format's checkpoint, once."""
    made: dict[str, Path] = {}

    def convert(form: Format) -> Path:
        if form.name not in made:
            folder = tmp_path_factory.mktemp("format")
            source, output = form.write(folder), folder / "out"
            flags = ["--model_path", str(source), "--output_dir", str(output)]
            assert main([*flags, *form.flags(folder)]) == 0
            made[form.name] = output
        return made[form.name]

    return convert


def trainable(folder: Path, method: type[Method]) -> tuple[Seq2SeqModel, TextCodec]:
    codec = TextCodec.load(folder)
    options = ModelOptions(
        model_name_or_path=str(folder),
        fine_tuning_method=method.name,  # type: ignore[arg-type]
        dropout=0.0,
    )
    model = load_for_training(options, codec, max_source_length=60, max_target_length=10)
    return model, codec.with_vocab_size(model.encoder.config.vocab_size)


def pairs(codec: TextCodec) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for source, target in zip(codec.encode(SOURCES), codec.encode(TARGETS), strict=True):
        yield np.array(source), np.array(target[:8])


def train_a_step(model: Seq2SeqModel, method: Method, codec: TextCodec) -> None:
    """One update; the loss on the same batch goes down."""
    rng = np.random.default_rng(1)
    batch = method.lay_out([method.corrupt(*pair, rng) for pair in pairs(codec)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model.loss(batch, 0.1) / batch.num_supervised
    before.backward()
    assert torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) > 0
    optimizer.step()
    with torch.no_grad():
        assert model.loss(batch, 0.1) / batch.num_supervised < before


def scored_by_full_pass(
    model: Seq2SeqModel, method: Method, source: np.ndarray, found: Hypothesis
) -> float:
    """Summed log-probability of an output, its end included, each token from a full pass."""
    target = np.array(found.ids, dtype=np.int64)
    rng = np.random.default_rng(0)
    example = method.corrupt(source, target, rng)
    wanted = len(target) + found.finished
    if method.name != "masked":
        return sum(chosen(model, method, example)[:wanted])
    total = 0.0
    for step, token in enumerate([*target, method.special.sep][:wanted]):
        seen = np.append(target[:step], method.special.mask)
        read, label = np.array([step]), np.array([token])
        total += sum(
            chosen(model, method, Corrupted(example.source, seen, target[:0], read, label))
        )
    return total


def chosen(model: Seq2SeqModel, method: Method, example: Corrupted) -> list[float]:
    """Log-probabilities of an example's labels."""
    batch = method.lay_out([example])
    logits = model.logits(batch).log_softmax(-1)
    found: list[float] = logits.gather(1, batch.labels[:, None]).squeeze(1).tolist()
    return found


def assert_tokenizer_round_trip(codec: TextCodec, folder: Path) -> None:
    again = TextCodec.load(folder)
    for text, ids in zip(SENTENCES.values(), codec.encode(list(SENTENCES.values())), strict=True):
        assert again.encode([text]) == [ids]
        if codec.tokenizer.unk_token_id not in ids:
            assert codec.encode([codec.decode(ids)]) == [ids]


@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_whole_way(
    form: Format,
    method_class: type[Method],
    converted: Callable[[Format], Path],
    tmp_path: Path,
    record_property: Record,
) -> None:
    record_property("family", form.name)
    record_property("files", form.files)
    record_property("method", method_class.name)
    model, codec = trainable(converted(form), method_class)
    record_property("convert", "yes")
    assert type(model.encoder).__name__ == f"{form.becomes}ForMaskedLM"
    train_a_step(model, method_class(codec.special, 60, 10, USUAL), codec)
    record_property("train", "yes")
    save(model, codec, tmp_path)
    record_property("save", "yes")
    again = load_finetuned(str(tmp_path))
    assert same_weights(model, again)
    AutoModelForMaskedLM.from_pretrained(tmp_path)
    record_property("reload", "yes")
    decode_as_the_full_pass(again, method_class(codec.special, 60, 10, CLEAN), codec)
    record_property("decode", "yes")
    record_property("incremental = full", "yes")
    assert_tokenizer_round_trip(codec, tmp_path)
    record_property("tokenizer", "yes")


def same_weights(one: Seq2SeqModel, other: Seq2SeqModel) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(
        torch.equal(tensor, others[name]) for name, tensor in weights.items()
    )


@torch.no_grad()
def decode_as_the_full_pass(model: Seq2SeqModel, method: Method, codec: TextCodec) -> None:
    sources = [source for source, _ in pairs(codec)]
    settings = SearchSettings(beam_size=3, max_length=6, min_length=1, eos_id=codec.special.sep)
    framed = [method.source(source) for source in sources]
    for source, result in zip(
        sources, generate_batch(model, method, framed, settings), strict=True
    ):
        assert result.hypotheses
        for hypothesis in result.hypotheses:
            wanted = scored_by_full_pass(model, method, source, hypothesis)
            assert hypothesis.log_probability == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize(
    "form", [f for f in FORMATS if not f.needs_converting], ids=lambda f: f.name
)
def test_converting_changes_nothing(form: Format, converted: Callable[[Format], Path]) -> None:
    """What transformers can read trains the same, converted or not."""
    output = converted(form)
    direct, _ = trainable(output.parent / "in", METHODS[-1])
    through, _ = trainable(output, METHODS[-1])
    assert same_weights(direct, through)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_report_accounts_for_every_weight(
    form: Format, converted: Callable[[Format], Path]
) -> None:
    report = json.loads((converted(form) / "convert_report.json").read_text(encoding="utf-8"))
    unexplained = [
        entry["name"]
        for entry in [*report["dropped"], *report["initialised"]]
        if not entry["why"] or entry["why"] == "the model has no such weight"
    ]
    assert unexplained == []
    model = load_finetuned(str(converted(form)))
    reached = {name for entry in report["mapped"] for name in entry["to"]}
    begun = {entry["name"] for entry in report["initialised"]}
    if form.name != "NomicBERT":  # transformers cuts its weights by itself
        names = {name.removeprefix("encoder.") for name, _ in model.named_parameters()}
        tied = set(model.encoder.all_tied_weights_keys)
        assert names - tied - reached - begun == set()
