"""Text files: whole or not at all, and never in the place of what is read."""

import os

import pytest

from s2s_ft.storage.output_file import checked_output, clear_partials, write_output, write_whole


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


def test_the_folder_of_an_output_is_made_and_a_fault_names_the_flag(tmp_path):
    write_output(tmp_path / "a" / "b" / "out", ["x\n"])
    assert (tmp_path / "a" / "b" / "out").read_text() == "x\n"
    with pytest.raises(OSError, match=r"^--output_file .*/out/x cannot be written: ") as caught:
        write_output(tmp_path / "a" / "b" / "out" / "x", ["x\n"])
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("name", ["in", "./in", "folder/../in", "soft", "hard", "dangling"])
def test_an_output_is_never_what_is_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "in").write_text("kept")
    os.symlink("in", "soft")
    os.link("in", "hard")
    os.symlink("later", "dangling")
    with pytest.raises(ValueError, match=r"^--output_file .*: is what --(gold|later) reads"):
        checked_output(name, [("--hub", None), ("--gold", "in"), ("--later", "later")])
    assert checked_output("other", [("--gold", "in")]).name == "other"


def test_an_output_is_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"^--output_file .*: is a folder"):
        checked_output(tmp_path, [])
    with pytest.raises(ValueError, match=r"^--output_file /dev/null: is a device"):
        checked_output("/dev/null", [])


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [("model.safetensors", True), ("vocab.txt", True), ("out.txt", False), ("new.json", False)],
)
def test_an_output_takes_the_place_of_no_file_of_a_checkpoint(tmp_path, name, is_refused):
    (tmp_path / "model").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "model")
    for each in ("model.safetensors", "vocab.txt", "out.txt"):
        (tmp_path / "model" / each).touch()
    reads = [("--model_path", tmp_path / "linked")]
    if is_refused:
        with pytest.raises(ValueError, match="belongs to the checkpoint that --model_path names"):
            checked_output(tmp_path / "model" / name, reads)
    else:
        checked_output(tmp_path / "model" / name, reads)
    checked_output(tmp_path / name, reads)


@pytest.mark.parametrize("target", ["kept/file", "kept/new"])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, target):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("before")
    (tmp_path / "out").symlink_to(target)
    write_whole(tmp_path / "out", ["after"])
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / target).read_text() == "after"
    assert [path.name for path in tmp_path.rglob("*partial*")] == []


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "out")
    with pytest.raises(ValueError, match=r"/out: is no file to write anew; name another place"):
        write_whole(tmp_path / "out", ["after"])
    assert (tmp_path / "out").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
