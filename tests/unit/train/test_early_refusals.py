"""What the models' configs and the packages tell is told before any row is tokenised."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from s2s_ft.cli import EnvironmentFault
from tests.unit.train.runs import Train


@pytest.mark.parametrize("flag", ["model_name_or_path", "teacher_model", "config_name"])
def test_a_family_that_cannot_be_fine_tuned(
    run: Train, output_dir: Path, tmp_path: Path, flag: str
) -> None:
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text(json.dumps({"model_type": "t5"}), "utf-8")
    named = "model_name_or_path" if flag == "config_name" else flag
    with pytest.raises(ValueError, match=rf"^--{named} .*'t5' .* have a decoder of their own"):
        run(**{flag: str(tmp_path / "t5")})
    assert not (output_dir / "features").exists()


@pytest.mark.parametrize("flag", ["model_name_or_path", "teacher_model"])
def test_a_folder_that_is_not_there(run: Train, output_dir: Path, flag: str) -> None:
    with pytest.raises(ValueError, match=f"^--{flag} nowhere/at/all: there is no such folder"):
        run(**{flag: "nowhere/at/all"})
    assert not (output_dir / "features").exists()


def test_a_package_that_is_missing(
    run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EnvironmentFault, match=r"--peft .* need the package peft"):
        run(peft="lora")
    assert not (output_dir / "features").exists()
