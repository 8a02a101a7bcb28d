"""A real checkpoint behind the server: it answers as the command line does, whoever else asks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.served import Served
from s2s_ft.commands import decode_main
from s2s_ft.serve.run import serve_main
from tests.conftest import WORDS

TEXTS = [" ".join(WORDS[(3 * row) % 30 : (3 * row) % 30 + 1 + row % 7]) + " ." for row in range(50)]
LONG = " ".join(WORDS * 3)
SETTINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    (
        {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 1.0},
        ["--beam_size=4", "--num_return_sequences=2", "--length_penalty=1"],
    ),
    (
        {"num_beams": 3, "no_repeat_ngram_size": 2, "bad_words": ["the", "of a"],
         "min_new_tokens": 3, "max_new_tokens": 6},
        ["--beam_size=3", "--forbid_duplicate_ngrams", "--ngram_size=2", "--bad_words=the|of a",
         "--min_len=3", "--max_tgt_length=6"],
    ),
]  # fmt: skip
SAMPLING: tuple[dict[str, Any], list[str]] = (
    {"do_sample": True, "temperature": 1.5, "top_k": 20, "seed": 7, "num_return_sequences": 3},
    ["--do_sample", "--temperature=1.5", "--top_k=20", "--seed=7", "--num_return_sequences=3"],
)


@pytest.fixture(scope="module")
def served(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    flags = ["--model_path", str(checkpoint), "--max_batch_size", "8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("log") / "server.log"
    with Served(flags, log, environment=environment) as served:
        yield served.wait_until_ready()


def by_command_line(
    checkpoint: Path, folder: Path, rows: list[dict[str, Any]], flags: list[str]
) -> list[list[dict[str, Any]]]:
    """What `decode_seq2seq.py` finds for rows."""
    source, target = folder / "rows.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--model_path", str(checkpoint), "--input_file", str(source), "--no_cuda"]
    arguments += ["--output_file", str(target), "--output_format", "jsonl"]
    assert decode_main([*arguments, *flags]) == 0
    lines = target.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["hypotheses"] for line in lines]


def is_same(outputs: list[dict[str, Any]], hypotheses: list[dict[str, Any]]) -> bool:
    """Equal texts in equal order; scores but for the rounding of sums."""
    assert len(outputs) == len(hypotheses)
    for output, hypothesis in zip(outputs, hypotheses, strict=True):
        assert output["text"] == hypothesis["text"]
        for name in ("score", "log_probability"):
            assert output[name] == pytest.approx(hypothesis[name], abs=1e-4)
    return True


def test_fifty_clients_get_what_the_command_line_gives(
    served: Served, checkpoint: Path, tmp_path: Path
) -> None:
    """One text a client, of three settings, and two clients that want samples of all texts."""
    rows = [{"src": text} for text in TEXTS]
    wanted = [by_command_line(checkpoint, tmp_path, rows, flags) for _, flags in SETTINGS]
    samples = by_command_line(checkpoint, tmp_path, rows, SAMPLING[1])

    def ask(number: int) -> bool:
        options, _ = SETTINGS[number % len(SETTINGS)]
        told = served.generate({"text": TEXTS[number], **options}).json
        return is_same(told["outputs"][0], wanted[number % len(SETTINGS)][number])

    def ask_samples(_: int) -> bool:
        told = served.generate({"text": TEXTS, **SAMPLING[0]}).json
        return all(map(is_same, told["outputs"], samples))

    with ThreadPoolExecutor(52) as clients:
        answers = [clients.submit(ask_samples, 0), clients.submit(ask_samples, 1)]
        answers += [clients.submit(ask, number) for number in range(50)]
        assert all(answer.result() for answer in answers)
    counts = served.health()["counts"]
    assert counts["texts"] == 150
    assert counts["batches"] + counts["joined"] < 150
    assert counts["joined"] > 8  # of the samples alone there are a dozen batches


def test_prefixes_phrases_and_empty_texts(served: Served, checkpoint: Path, tmp_path: Path) -> None:
    rows = [
        {"src": TEXTS[0], "prefix": "the game", "force_words": ["linux"]},
        {"src": "", "force_words": ["linux"]},
        {"src": TEXTS[2], "force_words": ["linux"]},
    ]
    wanted = by_command_line(checkpoint, tmp_path, rows, ["--beam_size=4"])
    content = {
        "text": [row["src"] for row in rows],
        "prefix": ["the game", "", ""],
        "force_words": ["linux"],
        "num_beams": 4,
    }
    told = served.generate(content).json
    assert all(map(is_same, told["outputs"], wanted))
    assert told["outputs"][0][0]["text"].startswith("the game")
    assert "linux" in told["outputs"][2][0]["text"]
    assert told["outputs"][1] == [
        {"text": "", "score": None, "log_probability": None, "tokens": 0, "finished": True}
    ]


def test_lists_of_tokens_are_looked_up(served: Served, checkpoint: Path, tmp_path: Path) -> None:
    tokens = ["data", "##s", "Python", "linux"]
    wanted = by_command_line(checkpoint, tmp_path, [{"src": tokens}, {"src": "linux"}], [])
    told = served.generate({"text": [tokens, "linux"]}).json
    assert all(map(is_same, told["outputs"], wanted))
    as_text = served.generate({"text": " ".join(tokens)}).json
    assert as_text["outputs"][0][0]["score"] != told["outputs"][0][0]["score"]


def test_sources_that_are_cut_are_told(served: Served) -> None:
    told = served.generate({"text": [LONG, TEXTS[0]]}).json
    assert told["truncated"] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences 3 is more than"),
        ({"max_new_tokens": 100}, "leaves no room for a source"),
        ({"num_beams": 4, "num_beam_groups": 3}, "num_beam_groups 3 does not divide"),
        ({"do_sample": True, "force_words": ["a"]}, "do_sample and force_words a exclude each"),
        (
            {"prefix": "the " * 30},
            "text[0]: its prefix and force_words have 30 tokens, and outputs 12",
        ),
        (
            {"prefix": "the game", "bad_words": ["game"]},
            "text[0]: its prefix holds what bad_words forbids: change one of them",
        ),
        ({"num_beams": 2, "length_penalty": 1e6}, "length_penalty is 1000000.0: give a number of"),
        ({"repetition_penalty": 1e300}, "repetition_penalty is 1e+300: give a number of at most"),
        (
            {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1e308},
            "diversity_penalty is 1e+308: give a number of at most",
        ),
        (
            {"force_words": ["the gnu data", *(f"linux {word}" for word in WORDS[:5])]},
            "force_words: the words have 13 tokens, and outputs 12 at most, the end token included",
        ),
        (
            {"prefix": "the game", "force_words": ["linux"], "max_new_tokens": 3},
            "text[0]: its prefix and force_words have 3 tokens, and outputs 3 at most",
        ),
        ({"prefix": "the zzz"}, "text[0]: prefix: the tokenizer cannot write 'the zzz'; spell it"),
        ({"force_words": ["[SEP]"]}, "force_words: '[SEP]' is a special token, not a word"),
    ],
)
def test_what_the_model_cannot_do_is_422(
    served: Served, options: dict[str, Any], message: str
) -> None:
    reply = served.generate({"text": "the game", **options})
    assert reply.status == 422, reply.body
    assert message in reply.json["error"]["message"]


def test_a_checkpoint_that_cannot_be_loaded_ends_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve_main(["--model_path", str(tmp_path / "none"), "--port", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_sigterm_ends_it(served: Served) -> None:
    """Last in this file: nothing is left to ask afterwards."""
    assert served.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert "Traceback" not in served.log()
