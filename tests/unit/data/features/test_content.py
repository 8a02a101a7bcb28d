"""What a store holds, and what is told of its lengths."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from s2s_ft.data import features
from s2s_ft.data.features import FeatureStore, length_report, unknown_report
from s2s_ft.text import TextCodec
from tests.unit.data.features.rows import IDS, ROWS, VOCABULARY, content, save_codec, save_rows


class TestContent:
    def test_ids_without_special_tokens(self, build: Callable[..., FeatureStore]) -> None:
        store = build()
        assert len(store) == len(ROWS)
        assert content(store) == IDS
        assert store.source_lengths.tolist() == [3, 3, 2, 0]
        assert store.target_lengths.tolist() == [2, 0, 2, 1]
        assert store.source(0).dtype == store.target(0).dtype == np.int64

    @pytest.mark.parametrize("index", [-1, 4])
    def test_a_row_out_of_range(self, index: int, build: Callable[..., FeatureStore]) -> None:
        store = build()
        with pytest.raises(IndexError):
            store.source(index)
        with pytest.raises(IndexError):
            store.target(index)

    def test_what_is_given_out_can_be_changed(self, build: Callable[..., FeatureStore]) -> None:
        store = build()
        store.source(0)[:] = 0
        assert store.source(0).tolist() == IDS[0][0]

    def test_no_token_at_all(self, build: Callable[..., FeatureStore], tmp_path: Path) -> None:
        file = save_rows(tmp_path / "odd.jsonl", [{"src": "\u0007", "tgt": ""}])
        assert content(build(file)) == [([], [])]

    def test_limit_and_keys(self, build: Callable[..., FeatureStore]) -> None:
        assert content(build(limit=2)) == IDS[:2]
        swapped = build(limit=1, source_key="tgt", target_key="src")
        assert content(swapped) == [IDS[0][::-1]]

    @pytest.mark.parametrize("num_workers", [0, 1, 3])
    def test_many_chunks_stay_in_order(
        self,
        num_workers: int,
        build: Callable[..., FeatureStore],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(features, "CHUNK_ROWS", 3)
        rows = [{"src": "a " * (i % 7 + 1), "tgt": "b " * (i % 5)} for i in range(100)]
        store = build(save_rows(tmp_path / "many.jsonl", rows), num_workers=num_workers)
        assert store.source_lengths.tolist() == [i % 7 + 1 for i in range(100)]
        assert store.target_lengths.tolist() == [i % 5 for i in range(100)]
        assert set(store.source(99).tolist()) == {5}

    @pytest.mark.parametrize(("num_words", "bytes_per_id"), [(1000, 2), (70_000, 4)])
    def test_ids_are_as_wide_as_the_vocabulary_asks(
        self, num_words: int, bytes_per_id: int, build: Callable[..., FeatureStore], tmp_path: Path
    ) -> None:
        vocabulary = [*VOCABULARY, *(f"w{i}" for i in range(num_words))]
        codec = save_codec(tmp_path / "wide", vocabulary)
        rows = [{"src": ["a", vocabulary[-1]], "tgt": ["b"]}]
        store = build(save_rows(tmp_path / "wide.jsonl", rows), codec)
        assert content(store) == [([5, len(vocabulary) - 1], [6])]
        assert (store.folder / "tokens.bin").stat().st_size == 3 * bytes_per_id

    def test_meta_is_for_people(self, build: Callable[..., FeatureStore], codec: TextCodec) -> None:
        meta = json.loads((build(limit=3).folder / "meta.json").read_text(encoding="utf-8"))
        assert (meta["num_rows"], meta["num_tokens"], meta["limit"]) == (3, 12, 3)
        assert meta["tokenizer_sha256"] == codec.fingerprint

    def test_the_environment_is_left_as_it_was(
        self, build: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
        build()
        assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
        monkeypatch.delenv("TOKENIZERS_PARALLELISM")
        build(limit=1)
        assert "TOKENIZERS_PARALLELISM" not in os.environ

    def test_progress_goes_to_the_error_stream(
        self, build: Callable[..., FeatureStore], capfd: pytest.CaptureFixture[str]
    ) -> None:
        build()
        captured = capfd.readouterr()
        assert "tokenise" in captured.err
        assert "4/4" in captured.err
        assert captured.out == ""


class TestLengthReport:
    def test_figures(self, build: Callable[..., FeatureStore], tmp_path: Path) -> None:
        rows = [{"src": "a " * length, "tgt": "b " * (length // 10)} for length in range(1, 101)]
        store = build(save_rows(tmp_path / "even.jsonl", rows))
        report = length_report(store, 92, 11)
        assert report.splitlines()[0].startswith("100 rows")
        figures = {line.split()[0]: line.split()[1:] for line in report.splitlines()[2:]}
        assert figures["source"] == ["52.5", "52", "97", "102", "92", "10", "(10.0%)"]
        assert figures["target"] == ["5.6", "6", "10", "11", "11", "0", "(0.0%)"]
        causal = length_report(store, 92, 11, source_specials=1)
        assert "9 (9.0%)" in causal


class TestUnknownReport:
    def test_how_much_cannot_be_read(
        self, build: Callable[..., FeatureStore], codec: TextCodec, tmp_path: Path
    ) -> None:
        rows = [{"src": "a \u6211 b a", "tgt": "b"}, {"src": "\u0007", "tgt": ""}] * 3
        rows.append({"src": "a", "tgt": "b \u6211 a a a"})
        store = build(save_rows(tmp_path / "foreign.jsonl", rows))
        assert codec.unknown_id is not None
        assert store.count(codec.unknown_id) == (3, 1)
        report = unknown_report(store, codec.unknown_id)
        assert "no token for 23.1% of the sources and 12.5% of the targets" in report
        assert unknown_report(store, None) == ""

    def test_one_in_a_hundred_targets_and_less_is_not_worth_a_word(
        self, build: Callable[..., FeatureStore], codec: TextCodec, tmp_path: Path
    ) -> None:
        rows = [{"src": "a " * 30 + "\u6211", "tgt": "b " * 200 + "\u6211"}]
        store = build(save_rows(tmp_path / "mostly.jsonl", rows))
        assert unknown_report(store, codec.unknown_id) == ""
