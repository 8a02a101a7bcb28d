"""The token store: what it holds, when it is used again, and what happens when it is damaged."""

import gzip
import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2s_ft.data import features
from s2s_ft.data.features import FeatureStore, build_or_open, length_report
from s2s_ft.text import TextCodec

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##x", "."]
ROWS: list[dict[str, Any]] = [
    {"src": "a b c", "tgt": "ax"},
    {"src": ["b", "##x", "nowhere"], "tgt": ""},
    {"src": "c.", "tgt": ["c", "."]},
    {"src": "\u0007", "tgt": "a"},  # a control character: no token at all
]
IDS = [([5, 6, 7], [5, 8]), ([6, 8, 1], []), ([7, 9], [7, 9]), ([], [5])]


def save_codec(folder: Path, vocabulary: list[str]) -> TextCodec:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return TextCodec.load(folder)


def save_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def content(store: FeatureStore) -> list[tuple[list[int], list[int]]]:
    return [(store.source(i).tolist(), store.target(i).tolist()) for i in range(len(store))]


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> TextCodec:
    return save_codec(tmp_path_factory.mktemp("codec"), VOCABULARY)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_rows(tmp_path / "train.jsonl", ROWS)


@pytest.fixture
def build(tmp_path: Path, data: Path, codec: TextCodec) -> Callable[..., FeatureStore]:
    def build_store(
        path: Path = data, with_codec: TextCodec = codec, **options: Any
    ) -> FeatureStore:
        return build_or_open(path, with_codec, **{"folder": tmp_path / "features", **options})

    return build_store


@pytest.fixture
def no_tokenising(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(features, "read_examples", refuse)


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


class TestReuse:
    def test_a_second_run_does_not_tokenise(
        self, build: Callable[..., FeatureStore], request: pytest.FixtureRequest
    ) -> None:
        first = build()
        request.getfixturevalue("no_tokenising")
        assert build().folder == first.folder
        assert content(build()) == IDS

    @pytest.mark.parametrize("packed", [False, True])
    def test_nor_does_a_copy_of_the_file(
        self,
        packed: bool,
        build: Callable[..., FeatureStore],
        data: Path,
        tmp_path: Path,
        request: pytest.FixtureRequest,
    ) -> None:
        build()
        copy = tmp_path / "copy.json"
        copy.write_bytes(gzip.compress(data.read_bytes()) if packed else data.read_bytes())
        request.getfixturevalue("no_tokenising")
        assert content(build(copy)) == IDS

    def test_a_changed_file_never_meets_the_old_store(
        self, build: Callable[..., FeatureStore], data: Path
    ) -> None:
        old = build()
        stamp = data.stat()
        save_rows(data, [{"src": "a b b", "tgt": "ax"}, *ROWS[1:]])
        os.utime(data, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert data.stat().st_size == stamp.st_size
        new = build()
        assert new.folder != old.folder
        assert new.source(0).tolist() == [5, 6, 6]
        assert content(old) == IDS

    @pytest.mark.parametrize("options", [{"limit": 2}, {"source_key": "tgt", "target_key": "src"}])
    def test_other_settings_are_another_store(
        self, options: dict[str, Any], build: Callable[..., FeatureStore], data: Path
    ) -> None:
        save_rows(data, ROWS[:1])
        assert build().folder != build(**options).folder

    def test_another_tokenizer_is_another_store(
        self, build: Callable[..., FeatureStore], data: Path, tmp_path: Path
    ) -> None:
        other = save_codec(tmp_path / "other", [*VOCABULARY[:5], "b", "a", *VOCABULARY[7:]])
        assert build(with_codec=other).folder != build().folder
        assert build(with_codec=other).source(0).tolist() == [6, 5, 7]

    def test_a_wider_model_uses_the_same_store(
        self, build: Callable[..., FeatureStore], codec: TextCodec
    ) -> None:
        assert build(with_codec=codec.with_vocab_size(100_000)).folder == build().folder


class TestDamage:
    @pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "meta.json"])
    @pytest.mark.parametrize("damage", ["absent", "empty", "shortened", "lengthened"])
    def test_a_damaged_store_is_built_again(
        self, name: str, damage: str, build: Callable[..., FeatureStore]
    ) -> None:
        folder = build().folder
        file = folder / name
        whole = file.read_bytes()
        changed = {"empty": b"", "shortened": whole[:-1], "lengthened": whole + b"xx"}
        if damage == "absent":
            file.unlink()
        else:
            file.write_bytes(changed[damage])
        with pytest.raises(ValueError, match="token store is damaged"):
            FeatureStore(folder)
        assert content(build()) == IDS
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]

    def test_offsets_that_make_no_sense(self, build: Callable[..., FeatureStore]) -> None:
        folder = build().folder
        offsets = np.fromfile(folder / "offsets.bin", "<i8")
        offsets[1:3] = [9, 1]
        offsets.tofile(folder / "offsets.bin")
        assert content(build()) == IDS

    def test_a_failed_build_leaves_nothing(
        self, build: Callable[..., FeatureStore], data: Path, tmp_path: Path
    ) -> None:
        save_rows(data, [*ROWS, {"src": "a"}])
        with pytest.raises(ValueError, match=r"train.jsonl, line 5: no 'tgt'"):
            build()
        assert list((tmp_path / "features").iterdir()) == []

    def test_a_file_that_changes_meanwhile(
        self,
        build: Callable[..., FeatureStore],
        data: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def read_and_change(*arguments: Any, **options: Any) -> Any:
            yield from read_examples(*arguments, **options)
            save_rows(data, ROWS * 2)

        read_examples = features.read_examples
        monkeypatch.setattr(features, "read_examples", read_and_change)
        with pytest.raises(ValueError, match="the file changed while it was read"):
            build()
        assert list((tmp_path / "features").iterdir()) == []

    def test_several_builders_at_once(
        self, build: Callable[..., FeatureStore], tmp_path: Path
    ) -> None:
        folder = build().folder
        (folder / "tokens.bin").write_bytes(b"damaged")
        with ThreadPoolExecutor(6) as threads:
            stores = [future.result() for future in [threads.submit(build) for _ in range(12)]]
        assert all(content(store) == IDS for store in stores)
        assert content(FeatureStore(folder)) == IDS
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]


class TestFaults:
    def test_a_cache_of_the_original(
        self, build: Callable[..., FeatureStore], tmp_path: Path
    ) -> None:
        file = tmp_path / "cached_features.pt"
        file.write_bytes(pickle.dumps([1, 2]))
        with pytest.raises(ValueError, match=r"--cached_train_features_file .*original.* not read"):
            build(folder=file)

    def test_negative_workers(self, build: Callable[..., FeatureStore]) -> None:
        with pytest.raises(ValueError, match="--num_workers must be 0"):
            build(num_workers=-1)

    def test_missing_file(self, build: Callable[..., FeatureStore], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no such file"):
            build(tmp_path / "nowhere")

    def test_an_unknown_token_names_its_line(
        self, build: Callable[..., FeatureStore], codec: TextCodec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(codec, "_unknown_id", None)
        with pytest.raises(ValueError, match=r"train.jsonl, line 2: token 'nowhere' is not in"):
            build()


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
