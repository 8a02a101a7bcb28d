"""A folder is there whole or not at all, and never in the place of another."""

from pathlib import Path

import pytest

from s2s_ft.output_folder import written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("empty", [False, True])
def test_what_was_written_is_there_at_the_end(empty: bool, tmp_path: Path) -> None:
    final = tmp_path / "a" / "b"
    if empty:
        final.mkdir(parents=True)
    with written_whole(final) as folder:
        (folder / "file").write_text("x", encoding="utf-8")
        (folder / "file").chmod(0o600)
        assert not final.exists() or not names(final)
    assert names(final) == ["file"]
    assert names(tmp_path / "a") == ["b"]
    assert (final / "file").stat().st_mode & 0o777 == final.stat().st_mode & 0o666


def test_a_fault_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with written_whole(tmp_path / "a") as folder:
            (folder / "file").write_text("x", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert not names(tmp_path)


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("x", encoding="utf-8")
    (tmp_path / "b").write_text("x", encoding="utf-8")
    for name in ("a", "b"):
        with (
            pytest.raises(ValueError, match=r"--output_dir .*is there already"),
            written_whole(tmp_path / name),
        ):
            pass
    assert names(tmp_path / "a") == ["old"]


def test_what_an_earlier_try_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "a.tmp").mkdir()
    (tmp_path / "a.tmp" / "half").write_text("x", encoding="utf-8")
    with written_whole(tmp_path / "a") as folder:
        (folder / "file").write_text("x", encoding="utf-8")
    assert names(tmp_path / "a") == ["file"]
