"""Weights & Biases, with a stand-in for it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.lines import OPTIONS, write_json
from s2s_ft.train.wandb_run import require_wandb
from tests.unit.train.logs.told import found, open_log, report


class FakeWandb:
    """The few calls of Weights & Biases that are made."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0

    def init(self, **arguments: Any) -> FakeWandb:
        if self.fault is not None:
            raise self.fault
        self.started.append(arguments)
        return self

    def log(self, numbers: dict[str, Any], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.finished += 1

    def Table(self, columns: list[str], data: list[list[Any]]) -> Any:  # noqa: N802
        return [dict(zip(columns, row, strict=True)) for row in data]


def test_weights_and_biases_goes_on_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    write_json(tmp_path / OPTIONS, {"data": {"train_file": "train.jsonl"}})
    options = {"wandb_project": "summaries", "logging_steps": 1}
    with open_log(tmp_path, options=options) as log:
        log.update(report(1, 4.0))
        log.look(found(1), improved=True)
    with open_log(tmp_path, options=options, first_step=1):
        pass
    first, second = fake.started
    assert first == second
    assert (first["project"], first["resume"]) == ("summaries", "allow")
    assert first["config"] == {"data": {"train_file": "train.jsonl"}}
    assert fake.finished == 2
    numbers = {name: value for _, logged in fake.logged for name, value in logged.items()}
    assert (numbers["train/loss"], numbers["dev/rouge1"]) == (4.0, 31.5)
    assert numbers["dev/samples"] == [asdict(found(1).samples[0])]
    with open_log(tmp_path, options={"wandb_project": "other"}):
        pass
    assert fake.started[2]["id"] != first["id"]


def test_weights_and_biases_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(EnvironmentFault, match=r"--wandb_project .*pip install wandb"):
        open_log(tmp_path, options={"wandb_project": "summaries"})
    with pytest.raises(EnvironmentFault, match=r"--wandb_project .*pip install wandb"):
        require_wandb("summaries")
    require_wandb(None)


def test_weights_and_biases_that_turns_us_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(RuntimeError("no API key\nsecond line")))
    with pytest.raises(EnvironmentFault, match=r"\(no API key\).*WANDB_MODE=offline"):
        open_log(tmp_path, options={"wandb_project": "summaries"})
