"""Publishing: what goes to the hub and what stays, against a hub that is a process of this machine;
every trouble is one line.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from s2s_ft.cli import EnvironmentFault
from s2s_ft.push import PushOptions, addressed, published_files, push

CARD = 'Generator.from_pretrained("first")\n`s2s-decode --model_path first --input_file x`\n'

PUBLIC = {
    "config.json": "{}",
    "model.safetensors": "weights",
    "generation_config.json": "{}",
    "tokenizer.json": "{}",
    "tokenizer_config.json": "{}",
    "vocab.txt": "a",
    "README.md": CARD,
}
OURS = {
    "optimizer.safetensors": "moments",
    "trainable.safetensors": "adapter",
    "training_state.json": "{}",
    "train_options.json": "{}",
    "metrics.jsonl": "",
    ".hidden": "",
    "notes.txt": "",
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "ckpt-12"
    (folder / "features").mkdir(parents=True)
    for name, content in {**PUBLIC, **OURS}.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


class Hub:
    """What a hub of this machine knows and was told."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.status = 200
        self.address = ""


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does to those who create and commit."""

    @property
    def hub(self) -> Hub:
        found: Hub = self.server.hub  # type: ignore[attr-defined]
        return found

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        files = self.hub.files
        if self.hub.status != 200:
            return self.answer({"error": "no"}, self.hub.status)
        if "/tree/" not in self.path:
            siblings = [{"rfilename": name} for name in files]
            return self.answer({"id": "me/mine", "siblings": siblings, "sha": "0" * 40})
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in files.items()
        ]
        return self.answer(entries)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.status != 200:
            return self.answer({"error": "no"}, self.hub.status)
        if self.path == "/api/repos/create":
            self.hub.created.append(json.loads(body))
            return self.answer({"url": f"{self.hub.address}/me/mine", "name": "me/mine"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            modes = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            return self.answer({"files": modes})
        self.commit(body.decode())
        url = f"{self.hub.address}/me/mine/commit/0"
        return self.answer({"commitUrl": url, "commitOid": "0" * 40})

    def commit(self, lines: str) -> None:
        for line in map(json.loads, lines.splitlines()):
            if line["key"] == "header":
                self.hub.messages.append(line["value"]["summary"])
            else:
                content = base64.b64decode(line["value"]["content"])
                self.hub.files[line["value"]["path"]] = content


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that is a thread of this process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = state  # type: ignore[attr-defined]
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def run_push(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, online and with a home of its own."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))
    }
    return subprocess.run(
        [sys.executable, "-m", "s2s_ft.push", *arguments],
        capture_output=True,
        text=True,
        env={**inherited, "HF_HUB_DISABLE_XET": "1", **environment},
        check=False,
    )


def test_an_adapter_goes_where_its_encoder_can_be_had(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    config = checkpoint / "adapter_config.json"
    config.write_text('{"base_model_name_or_path": "FacebookAI/roberta-base"}', encoding="utf-8")
    assert config in published_files(checkpoint)
    config.write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"encoder in {tmp_path}.*--peft_save merged"):
        published_files(checkpoint)
    for broken in ("[]", "{", "{}"):
        config.write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match=r"adapter_config\.json does not name the encoder"):
            published_files(checkpoint)


def test_only_what_generates_is_published(checkpoint: Path) -> None:
    assert {path.name for path in published_files(checkpoint)} == PUBLIC.keys()


def test_a_dry_run_refuses_a_name_that_is_none(checkpoint: Path) -> None:
    options = PushOptions(model_path=str(checkpoint), repo_id="bad name/..", dry_run=True)
    with pytest.raises(ValueError, match=r"--repo_id bad name/.. is no name on the hub"):
        push(options)


def test_a_dry_run_lists_files_and_sizes_and_needs_no_hub(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_hub() -> HfApi:
        raise AssertionError("a dry run asks nobody")

    options = PushOptions(model_path=str(checkpoint), repo_id="me/mine", dry_run=True)
    assert push(options, no_hub) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "model.safetensors" in line] == [
        ["7", "model.safetensors"]
    ]
    assert f"in {len(PUBLIC)} files -> me/mine" in lines[-1]


def test_files_reach_the_hub_in_one_commit(checkpoint: Path, hub: Hub, tmp_path: Path) -> None:
    result = run_push(
        ["--model_path", str(checkpoint), "--repo_id", "mine", "--private"],
        HF_ENDPOINT=hub.address,
        HF_TOKEN="hf_test",
        HF_HOME=str(tmp_path),
    )
    assert result.returncode == 0, result.stderr
    assert hub.files.keys() == PUBLIC.keys()
    assert hub.files["model.safetensors"] == b"weights"
    assert len(hub.messages) == 1
    assert "private" in json.dumps(hub.created)
    assert b'from_pretrained("me/mine")' in hub.files["README.md"]
    assert b"--model_path me/mine --input_file" in hub.files["README.md"]
    assert "me/mine is on the hub" in result.stderr


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_in_the_repository(checkpoint: Path, hub: Hub, *, overwrite: bool) -> None:
    hub.files = {".gitattributes": b"", "README.md": b"", "pytorch_model.bin": b"other"}
    options = PushOptions(model_path=str(checkpoint), repo_id="me/mine", overwrite=overwrite)

    def api() -> HfApi:
        return HfApi(hub.address, token="hf_test")

    if overwrite:
        assert push(options, api) == 0
        assert hub.files["pytorch_model.bin"] == b"other"
        assert hub.files["config.json"] == b"{}"
        return
    with pytest.raises(
        ValueError, match=r"--repo_id me/mine holds other files \(pytorch_model.bin\)"
    ):
        push(options, api)
    assert not hub.messages


def test_not_logged_in_is_one_line(checkpoint: Path, hub: Hub, tmp_path: Path) -> None:
    hub.status = 401
    arguments = ["--model_path", str(checkpoint), "--repo_id", "me/mine"]
    result = run_push(arguments, HF_ENDPOINT=hub.address, HF_HOME=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "HF_TOKEN" in result.stderr
    assert "hf auth login" in result.stderr


def test_no_network_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--model_path", str(checkpoint), "--repo_id", "me/mine"]
    # A port that nothing listens on.
    result = run_push(
        arguments, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_test", HF_HOME=str(tmp_path)
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "error: the hub cannot be reached" in result.stderr.splitlines()[-1]
    offline = run_push(arguments, HF_HUB_OFFLINE="1", HF_TOKEN="hf_test", HF_HOME=str(tmp_path))
    assert offline.returncode == 1
    assert "HF_HUB_OFFLINE is set" in offline.stderr.splitlines()[-1]


def test_what_is_no_name_or_no_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--repo_id a/b/c is no name on the hub"):
        push(PushOptions(model_path=str(checkpoint), repo_id="a/b/c"))
    with pytest.raises(ValueError, match=r"--model_path .* is no folder"):
        published_files(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"holds no weights.*the checkpoints ckpt-12"):
        published_files(tmp_path)
    with pytest.raises(ValueError, match="--repo_id is empty"):
        PushOptions(model_path="x", repo_id=" ")


def test_an_unexpected_answer_is_one_line(checkpoint: Path, hub: Hub) -> None:
    hub.status = 500
    options = PushOptions(model_path=str(checkpoint), repo_id="me/mine")
    with pytest.raises(EnvironmentFault, match="the hub refused me/mine"):
        push(options, lambda: HfApi(hub.address, token="hf_test"))


def test_the_examples_of_a_card_name_the_repository() -> None:
    assert addressed("no example", "me/mine") == "no example"
    assert "first" not in addressed(CARD, "me/mine")
    adapter = addressed('PeftModel.from_pretrained(encoder, "first")', "me/mine")
    assert adapter == 'PeftModel.from_pretrained(encoder, "me/mine")'
