"""The --config file is read as other files are: no command writes over it, whatever names it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from s2s_ft.data.mixture import __main__ as mixture
from s2s_ft.decode import rescore
from s2s_ft.decode.ways.files import output_file
from s2s_ft.distill import rows
from s2s_ft.evaluation import run as evaluation
from s2s_ft.evaluation import sweep
from s2s_ft.options import DecodeOptions
from s2s_ft.options.parser import parse
from s2s_ft.storage.output_file import checked_output

Main = Callable[[Sequence[str]], object]


def decode(argv: Sequence[str]) -> object:
    """As much of decoding as comes before the model."""
    return output_file("model", parse(DecodeOptions, argv, "decode", ""))


DECODE = ["--model_path", "model", "--input_file", "in.jsonl"]


@pytest.mark.parametrize(
    ("main", "arguments", "config"),
    [
        (decode, [*DECODE, "--output_file", "w.yaml"], "w.yaml"),
        (decode, [*DECODE, "--output_file", "w", "--need_score_traces"], "w.trace.jsonl"),
        (decode, DECODE, "model.in"),
        (rescore.main, ["--input", "out", "--output_file", "./w.yaml"], "w.yaml"),
        (evaluation.main, ["--pred", "out", "--gold", "out"], "out.scores.json"),
        (sweep.main, ["--input", "out", "--gold", "out", "--output_file", "w.yaml"], "w.yaml"),
        (mixture.main, ["--train_files", "en=in.jsonl", "--output_file", "link"], "w.yaml"),
        (
            rows.main,
            ["--train_file", "in.jsonl", "--outputs", "out", "--output_file", "w.yaml"],
            "w.yaml",
        ),
    ],
)
def test_no_output_takes_the_place_of_the_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: Main, arguments: list[str], config: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in.jsonl", "out", "out.trace.jsonl", config):
        Path(name).write_text("{}\n", encoding="utf-8")
    Path("link").symlink_to("w.yaml")
    with pytest.raises(ValueError, match=r"^--output_file .*: is what --config reads"):
        main([*arguments, "--config", config])
    assert Path(config).read_text(encoding="utf-8") == "{}\n"


def test_the_config_file_of_one_command_is_not_that_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text("{}\n", encoding="utf-8")
    parse(DecodeOptions, [*DECODE, "--config", "w.yaml"], "decode", "")
    with pytest.raises(ValueError, match="--config"):
        checked_output("w.yaml", [])
    parse(DecodeOptions, DECODE, "decode", "")
    assert checked_output("w.yaml", []) == Path("w.yaml")
