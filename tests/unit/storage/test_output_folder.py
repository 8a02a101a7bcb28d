"""A folder is there whole or not at all, and never in the place of another."""

from pathlib import Path

import pytest

from s2s_ft.storage.output_folder import written_whole


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


def test_a_neighbour_called_tmp_stays(tmp_path: Path) -> None:
    (tmp_path / "a.tmp").mkdir()
    (tmp_path / "a.tmp" / "precious").write_text("x", encoding="utf-8")
    with written_whole(tmp_path / "a") as folder:
        (folder / "file").write_text("x", encoding="utf-8")
        assert folder.name.startswith(".a.")
    assert names(tmp_path) == ["a", "a.tmp"]
    assert names(tmp_path / "a.tmp") == ["precious"]


@pytest.mark.parametrize("is_there", [False, True])
def test_links_are_followed(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "disk").mkdir()
    if is_there:
        (tmp_path / "disk" / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real")
    with written_whole(tmp_path / "link") as folder:
        (folder / "file").write_text("x", encoding="utf-8")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "disk" / "real") == ["file"]
    assert names(tmp_path / "disk") == ["real"]


def test_the_folder_that_one_is_in_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ValueError, match=r"--output_dir \.: is the folder that you are in; name"),
        written_whole("."),
    ):
        pass
    with written_whole("new") as folder:
        (folder / "file").touch()
    assert names(tmp_path / "new") == ["file"]


def test_a_mount_point_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(ValueError, match="is a mount point"), written_whole(tmp_path):
        pass


def test_a_place_that_cannot_be_written_names_its_flag(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"^--output_dir .*file/a cannot be written: File exists"),
        written_whole(tmp_path / "file" / "a"),
    ):
        pass
