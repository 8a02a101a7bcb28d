"""Ways in which a checkpoint folder can be wrong: one line that names what and what to do, and an
exit code; no code in a folder is ever run.

Notable: `scripts/families.py` makes the second table in docs/families.md of this file's run.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from s2s_ft.cli import OUR_LOGGERS, EnvironmentFault, run
from s2s_ft.convert.__main__ import main
from s2s_ft.model.pretrained import load_finetuned, load_for_training
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.formats.broken import MARKER, malicious, weights_replaced
from tests.formats.encoders import BERT_LIKE, masked_lm
from tests.formats.faults import FAULTS, Fault
from tests.unit.text.tokenizers_on_disk import word_piece

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole BERT checkpoint."""
    folder = word_piece(tmp_path_factory.mktemp("good") / "bert")
    size = TextCodec.load(folder).special.vocab_size
    masked_lm("model.safetensors", **BERT_LIKE)(folder, size)
    return folder


def converted(folder: Path) -> int:
    """Exit code of a conversion."""
    arguments = ["--model_path", str(folder), "--output_dir", str(folder.parent / "out")]
    try:
        return run(lambda: main(arguments))
    finally:  # `run` writes its log to this test's stderr, which closes with it
        for name in OUR_LOGGERS:
            logging.getLogger(name).handlers.clear()


def said(captured: str, fault: Fault) -> str:
    """The line of the log or of stderr that tells of a fault."""
    mark = "error: " if fault.code else ""
    lines = [line for line in captured.splitlines() if line.startswith(mark)]
    return next(line for line in lines if re.search(pattern_of(fault, None), line))


def shown(line: str, folder: Path) -> str:
    """A line as the table has it: without the time of day and this test's folders."""
    line = re.sub(r"^\d\d:\d\d:\d\d ", "", line)
    return line.replace(str(folder), "FOLDER").replace(str(folder.parent / "out"), "OUT")


def pattern_of(fault: Fault, folder: Path | None) -> str:
    name = ".*" if folder is None else re.escape(str(folder))
    return fault.message.replace("{folder}", name)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_one_line_and_an_exit_code(
    fault: Fault,
    good: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    record_property: Record,
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    fault.spoil(folder)
    assert converted(folder) == fault.code
    captured = capfd.readouterr().err
    assert re.search(pattern_of(fault, folder), captured), captured
    line = said(captured, fault)
    if fault.code:
        errors = [each for each in captured.splitlines() if each.startswith("error: ")]
        assert errors == [line]
        assert "Traceback" not in captured
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".out.*"))
    assert not (folder / MARKER).exists()
    record_property("fault", fault.name)
    record_property("message", shown(line, folder))
    record_property("code", fault.code)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if not fault.model_loads], ids=lambda fault: fault.name
)
def test_decoding_and_training_say_the_same(fault: Fault, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    fault.spoil(folder)
    pattern = pattern_of(fault, folder).replace("--model_path ", "--model(_name_or)?_path ")
    with pytest.raises(ValueError, match=pattern) as decoding:
        load_finetuned(str(folder))
    options, codec = ModelOptions(model_name_or_path=str(folder)), TextCodec.load(good)
    with pytest.raises(ValueError, match=pattern) as training:
        load_for_training(options, codec, max_source_length=20, max_target_length=10)
    assert "\n" not in str(decoding.value) + str(training.value)
    assert not (folder / MARKER).exists()


def test_a_pickle_that_is_read_would_run_code(tmp_path: Path) -> None:
    """The tests above would notice: unpickled by pickle itself, it makes its file."""
    import pickle

    pickle.loads(malicious(tmp_path)).close()
    assert (tmp_path / MARKER).exists()


def test_a_malicious_shard_is_not_run_either(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    index = b'{"weight_map": {"a": "pytorch_model-1.bin"}}'
    weights_replaced("pytorch_model.bin.index.json", index)(folder)
    (folder / "pytorch_model-1.bin").write_bytes(malicious(folder))
    assert converted(folder) == 2
    assert not (folder / MARKER).exists()


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "sentencepiece.bpe.model", "vocab.json", "added_tokens.json"]
)
def test_a_pickle_as_a_tokenizer_file_is_not_run(file: str, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    (folder / "vocab.txt").unlink()
    (folder / file).write_bytes(malicious(folder))
    assert converted(folder) in {1, 2}  # 1 where the package that reads sentence pieces is missing
    assert not (folder / MARKER).exists()


def test_a_pickle_as_an_adapter_is_not_run(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    (folder / "model.safetensors").unlink()
    base = {"base_model_name_or_path": str(good), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(base), encoding="utf-8")
    (folder / "adapter_model.bin").write_bytes(malicious(folder))
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is not there"):
        load_finetuned(str(folder))
    assert not (folder / MARKER).exists()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_what_may_not_be_read_is_the_environments_fault(
    file: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1. The file system is played, since nothing is forbidden to root."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(good, folder)
    open_as_before = Path.open

    def forbidding(path: Path, *arguments: object, **keywords: object) -> object:
        if path == folder / file:
            raise PermissionError(13, "Permission denied")
        return open_as_before(path, *arguments, **keywords)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", forbidding)
    with pytest.raises(EnvironmentFault, match=rf"{file} cannot be read \(Permission denied\)"):
        load_finetuned(str(folder))
    assert converted(folder) == 1


def test_wrong_paths(tmp_path: Path, good: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert converted(tmp_path / "nowhere") == 2
    assert "nowhere: there is no such folder" in capfd.readouterr().err
    assert converted(good / "vocab.txt") == 2
    assert "vocab.txt is a file; give the folder that holds the" in capfd.readouterr().err


def test_nothing_is_overwritten(good: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "checkpoint", tmp_path / "out" / "precious"
    shutil.copytree(good, folder)
    other.parent.mkdir()
    other.write_text("kept", encoding="utf-8")
    assert converted(folder) == 2
    assert [path.name for path in other.parent.iterdir()] == ["precious"]
    assert other.read_text(encoding="utf-8") == "kept"
