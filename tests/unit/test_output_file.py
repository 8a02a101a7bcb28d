"""Text files: whole or not at all."""

import pytest

from s2s_ft.output_file import clear_partials, write_whole


def test_the_parts_are_the_file(tmp_path):
    write_whole(tmp_path / "out", ["one\n", "zwei ü\n"])
    assert (tmp_path / "out").read_text(encoding="utf-8") == "one\nzwei ü\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failing_write_leaves_what_was_there(tmp_path):
    def parts():
        yield "first"
        raise OSError("disk full")

    (tmp_path / "out").write_text("before")
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "out", parts())
    assert (tmp_path / "out").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_killed_writers_left_goes(tmp_path):
    names = [".out.12.partial", ".out.7.partial", ".outer.7.partial", "out", ".out.partial"]
    for name in names:
        (tmp_path / name).touch()
    clear_partials(tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == set(names[2:])
