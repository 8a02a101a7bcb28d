"""The decoder over graphs gives what decoding itself gives, for every family and method. The graphs
are run by torch here, unexported (`test_export.py` has onnxruntime run them).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from s2s_ft.decode.generator import Generator
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate_batch
from s2s_ft.export.graphs import EncodeGraph, StepGraph
from s2s_ft.export.manifest import Manifest, tensor_names
from s2s_ft.export.onnx_files import manifest_of, method_of
from s2s_ft.export.runtime import OnnxDecoder
from s2s_ft.methods import METHODS
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.text import TextCodec
from tests.conftest import FAMILIES
from tests.unit.export.conftest import TEXTS, FineTuned


class TorchSession:
    """Runs a graph's module in the place of onnxruntime."""

    def __init__(self, graph: nn.Module, num_layers: int) -> None:
        self.graph = graph
        self.num_layers = num_layers
        self.batches: list[int] = []

    def run(self, _outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        inputs = {name: torch.from_numpy(array) for name, array in feed.items()}
        arguments: list[Any] = []
        for name in ("source", "tokens", "parents", "source_lengths"):
            if name in inputs:
                arguments.append(inputs[name])
        if "tokens" in inputs:
            self.batches.append(len(inputs["tokens"]))
            for part in ("source", "target"):
                arguments.append(
                    tuple(inputs[name] for name in tensor_names(self.num_layers, part))
                )
        return [tensor.numpy() for tensor in self.graph(*arguments)]


@pytest.fixture
def decoder(fine_tuned: FineTuned) -> Callable[..., OnnxDecoder]:
    """A function that gives the decoder over a checkpoint's graphs."""

    def make(family: str, method: str, **known: Any) -> OnnxDecoder:
        folder = str(fine_tuned(family, method))
        model = load_finetuned(folder)
        codec = TextCodec.load(folder).with_vocab_size(model.encoder.config.vocab_size)
        found = method_of(model, codec)
        return OnnxDecoder(
            replace(manifest_of(model, codec, found), **known),
            codec,
            TorchSession(EncodeGraph(model), model.num_layers),
            TorchSession(StepGraph(model, found.num_unkept), model.num_layers),
            {},
        )

    return make


@pytest.mark.parametrize("method", [each.name for each in METHODS])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_hypotheses_as_decoding(
    decoder: Callable[..., OnnxDecoder], fine_tuned: FineTuned, family: str, method: str
) -> None:
    folder = str(fine_tuned(family, method))
    model, codec = load_finetuned(folder), TextCodec.load(folder)
    framed = replace(method_of(model, codec), max_source_length=20, max_target_length=8)
    sources = [framed.source(np.array(ids)) for ids in codec.encode(TEXTS)]
    over_graphs = decoder(family, method)
    for beams, penalty in ((1, 0.0), (3, 0.7)):
        settings = SearchSettings(
            beam_size=beams, max_length=8, eos_id=codec.special.sep, length_penalty=penalty
        )
        expected = generate_batch(model, framed, sources, settings)
        found = over_graphs.generate(
            TEXTS, num_beams=beams, length_penalty=penalty, batch_size=3, max_new_tokens=8
        )
        assert [each[0].ids for each in found] == [each.hypotheses[0].ids for each in expected]
        assert [each[0].score for each in found] == pytest.approx(
            [each.hypotheses[0].score for each in expected], abs=1e-4
        )


def test_options_of_generation_are_there(decoder: Callable[..., OnnxDecoder]) -> None:
    over_graphs = decoder("bert", "pseudo_mask")
    found = over_graphs.generate(TEXTS, num_beams=4, num_return_sequences=4, min_new_tokens=5)
    assert all(len(each) == 4 for each in found)
    assert all(len(each.ids) >= 4 for hypotheses in found for each in hypotheses)
    assert all(each[0].score >= each[-1].score for each in found)
    first = over_graphs.generate(TEXTS, do_sample=True)
    assert [each[0].ids for each in first] == [
        each[0].ids for each in over_graphs.generate(TEXTS, do_sample=True)
    ]


WISHES: list[dict[str, Any]] = [
    {"bad_words": "data|linux"},
    {"bad_words": ["data", "linux"], "num_beams": 3},
    {"force_words": "server", "num_beams": 3},
    {"force_words": ["server"], "num_beams": 3},
    {"prefixes": ["the", None, ["data"], ""]},
    {"phrases": [["server"], None, "data|linux", None], "num_beams": 3},
    {"do_sample": True},
    {"do_sample": True, "seed": 5},
    {"do_sample": True, "seed": None, "num_return_sequences": 2},
    {"max_seq_length": 12},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "num_return_sequences": 4},
]


@pytest.mark.parametrize("options", WISHES, ids=str)
def test_wishes_mean_what_they_mean_to_the_generator(
    decoder: Callable[..., OnnxDecoder], fine_tuned: FineTuned, options: dict[str, Any]
) -> None:
    generator = Generator.from_pretrained(fine_tuned("bert", "pseudo_mask"), device="cpu")
    over_graphs = decoder("bert", "pseudo_mask")
    known = {"max_new_tokens": 6, **options}
    expected = [[each.text for each in outputs] for outputs in generator.generate(TEXTS, **known)]
    found = over_graphs.generate(TEXTS, batch_size=3, **known)
    assert [[over_graphs._codec.decode(e.ids) for e in outputs] for outputs in found] == expected


MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    ("the data", {}, "sources is one text"),
    ([5], {}, "source 0 is a int: give text or tokens"),
    (TEXTS, {"batch_size": 0}, "batch_size is 0"),
    (TEXTS, {"seed": "5"}, "^OnnxDecoder: seed: expected a whole number"),
    (TEXTS, {"bad_words": ["zzz"]}, "^bad_words: the tokenizer cannot write 'zzz'"),
    (TEXTS, {"force_words": ["data"], "do_sample": True}, "do_sample and force_words data excl"),
    (TEXTS, {"force_words": ["data"], "bad_words": ["data"]}, "line 1: its force_words holds what"),
    (TEXTS, {"force_words": ["data", "a"], "max_new_tokens": 2}, "^force_words: the words have 2"),
    (TEXTS, {"min_new_tokens": 9}, "^min_new_tokens 9 is more than the longest output, 8 tokens"),
]


@pytest.mark.parametrize(
    ("sources", "options", "message"), MISTAKES, ids=[each for *_, each in MISTAKES]
)
def test_a_mistake_is_named_as_it_was_made(
    decoder: Callable[..., OnnxDecoder], sources: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decoder("bert", "causal")(sources, **options)


def test_outputs_without_their_words_are_told_as_of_the_generator(
    decoder: Callable[..., OnnxDecoder], caplog: pytest.LogCaptureFixture
) -> None:
    words = ["data", "linux", "server"]
    apart = [" ".join(pair) for pair in itertools.permutations(words, 2)]
    over_graphs = decoder("bert", "pseudo_mask")
    over_graphs(TEXTS, force_words=words, bad_words=apart, max_new_tokens=4)
    told = f"{len(TEXTS)} outputs lack forced words, which had no room: raise max_new_tokens"
    assert caplog.messages[-1:] == [told]


def test_empty_sources_give_empty_texts(decoder: Callable[..., OnnxDecoder]) -> None:
    over_graphs = decoder("bert", "causal")
    assert over_graphs([]) == []
    texts = over_graphs(["", TEXTS[0]])
    assert texts[0] == ""
    assert texts[1:] == over_graphs(TEXTS[:1])


def test_what_is_decided_leaves_the_batch(decoder: Callable[..., OnnxDecoder]) -> None:
    over_graphs = decoder("bert", "causal")
    over_graphs(TEXTS * 4, max_new_tokens=20)
    session = over_graphs._graphs[1]
    assert isinstance(session, TorchSession)
    assert session.batches[0] == 16
    assert session.batches == sorted(session.batches, reverse=True)


def test_unknown_options_and_too_long_targets_are_told(
    decoder: Callable[..., OnnxDecoder],
) -> None:
    over_graphs = decoder("bert", "causal")
    with pytest.raises(ValueError, match="num_beans is no option"):
        over_graphs(TEXTS, num_beans=3)
    with pytest.raises(ValueError, match="num_return_sequences 3"):
        over_graphs.generate(TEXTS, num_return_sequences=3)
    with pytest.raises(ValueError, match=r"^max_new_tokens 62 leaves no room .* 64 positions at"):
        over_graphs(TEXTS, max_new_tokens=62)


def test_lengths_of_training_are_kept(decoder: Callable[..., OnnxDecoder]) -> None:
    over_graphs = decoder("bert", "causal")
    longest = max(len(each[0].ids) for each in over_graphs.generate(TEXTS * 2, min_new_tokens=7))
    assert longest <= 8
    unknown = decoder("bert", "causal", max_source_length=None, max_target_length=None)
    assert len(unknown(TEXTS, max_new_tokens=5)) == len(TEXTS)


def test_manifest_comes_back(decoder: Callable[..., OnnxDecoder], tmp_path: Any) -> None:
    manifest = decoder("roberta", "pseudo_mask")._manifest
    manifest.write(tmp_path)
    again = Manifest.read(tmp_path)
    assert again.special == manifest.special
    assert again.first_question == manifest.first_question
    assert again.versions == manifest.versions
    assert set(again.graphs["step.onnx"]["inputs"]) == set(manifest.graphs["step.onnx"]["inputs"])


def test_a_folder_that_is_no_export_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"has no s2s_ft_onnx.json"):
        OnnxDecoder.from_folder(tmp_path)
    (tmp_path / "s2s_ft_onnx.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is damaged"):
        OnnxDecoder.from_folder(tmp_path)
    (tmp_path / "s2s_ft_onnx.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="not of format"):
        OnnxDecoder.from_folder(tmp_path)
