"""When a store is made anew: other data, other settings, damage, faults."""

import errno
import gzip
import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2s_ft.data import features
from s2s_ft.data.construction import under_construction
from s2s_ft.data.features import FeatureStore
from s2s_ft.text import TextCodec
from tests.unit.data.features.rows import IDS, ROWS, VOCABULARY, content, save_codec, save_rows


def without_checksums(folder: Path) -> None:
    """Makes a store as earlier versions wrote it."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    del meta["sha256"]
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


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

    @pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin"])
    def test_any_bit_that_flips_is_found(
        self, name: str, build: Callable[..., FeatureStore], caplog: pytest.LogCaptureFixture
    ) -> None:
        file = build().folder / name
        whole = file.read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1
            file.write_bytes(flipped)
            caplog.clear()
            assert content(build()) == IDS
            assert "are damaged: made again" in caplog.text, place
            assert file.read_bytes() == whole

    def test_a_store_of_an_earlier_version_is_used(
        self, build: Callable[..., FeatureStore], request: pytest.FixtureRequest
    ) -> None:
        without_checksums(build().folder)
        request.getfixturevalue("no_tokenising")
        assert content(build()) == IDS

    def test_ids_outside_the_vocabulary_need_no_checksum(
        self, build: Callable[..., FeatureStore], caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = build().folder
        without_checksums(folder)
        ids = np.fromfile(folder / "tokens.bin", "<u2")
        ids[-1] = len(VOCABULARY)
        ids.tofile(folder / "tokens.bin")
        assert content(build()) == IDS
        assert "are damaged: made again" in caplog.text

    def test_what_a_killed_start_left_goes(self, build: Callable[..., FeatureStore]) -> None:
        """Even where the tokenised data are there by now."""
        folder = build().folder
        child = os.fork()
        if child == 0:
            with under_construction(folder):
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(list(folder.parent.iterdir())) == 3
        build()
        assert list(folder.parent.iterdir()) == [folder]

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

    def test_another_builder_clears_a_damaged_store_away(
        self, build: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Just after it was found to lie in the way."""
        folder = build().folder
        (folder / "tokens.bin").write_bytes(b"damaged")
        rename = os.rename
        refused = []

        def rename_late(old: Path, new: Path) -> None:
            if new == folder and not refused:
                refused.append(old)
                shutil.rmtree(folder)
                raise OSError(errno.ENOTEMPTY, "Directory not empty")
            rename(old, new)

        monkeypatch.setattr(os, "rename", rename_late)
        assert content(build()) == IDS
        assert len(refused) == 1
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]

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

    def test_a_folder_that_cannot_be_made(
        self, build: Callable[..., FeatureStore], tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match=r"^--cached_train_features_file .* cannot be written: "):
            build(folder=tmp_path / "file" / "features")

    def test_a_disk_that_fills_up(
        self, build: Callable[..., FeatureStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_room(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", no_room)
        message = r"^--cached_train_features_file .* cannot be written: No space left on device"
        with pytest.raises(OSError, match=message):
            build()
        assert list((tmp_path / "features").iterdir()) == []

    def test_negative_workers(self, build: Callable[..., FeatureStore]) -> None:
        with pytest.raises(ValueError, match="--num_workers must be 0"):
            build(num_workers=-1)

    def test_missing_file(self, build: Callable[..., FeatureStore], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no such file"):
            build(tmp_path / "nowhere")

    def test_an_unknown_token_names_its_line(
        self, build: Callable[..., FeatureStore], codec: TextCodec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(codec, "unknown_id", None)
        with pytest.raises(ValueError, match=r"train.jsonl, line 2: token 'nowhere' is not in"):
            build()
