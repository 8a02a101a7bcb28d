"""What is deleted, and what a link keeps."""

from pathlib import Path

import pytest

from s2s_ft.storage.removal import discard


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_text("x", encoding="utf-8")
    return folder


def test_folders_and_files_go(elsewhere: Path) -> None:
    discard(elsewhere / "file")
    assert list(elsewhere.iterdir()) == []
    (elsewhere / "file").write_text("x", encoding="utf-8")
    discard(elsewhere)
    assert not elsewhere.exists()
    discard(elsewhere)


def test_of_a_link_only_the_link_goes(elsewhere: Path, tmp_path: Path) -> None:
    for target in (elsewhere, elsewhere / "file", tmp_path / "nowhere"):
        link = tmp_path / "link"
        link.symlink_to(target)
        discard(link)
        assert not link.is_symlink()
    assert (elsewhere / "file").read_text(encoding="utf-8") == "x"
