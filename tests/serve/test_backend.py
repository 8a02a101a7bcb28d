"""The server's model: texts that come and go, and what goes wrong with one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_ft.decode.search.requests import Request
from s2s_ft.decode.session import ModelStepper
from s2s_ft.serve.backend import Generated, ModelFault, Outcome, Settings, Task, Work
from s2s_ft.serve.model import GeneratorBackend
from s2s_ft.serve.options import ServedModelOptions
from tests.conftest import WORDS

TEXTS = [" ".join(WORDS[(3 * row) % 30 : (3 * row) % 30 + 1 + row % 7]) + " ." for row in range(20)]
SEARCHES: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "num_return_sequences": 2},
    {"do_sample": True, "temperature": 1.5, "top_k": 20, "seed": 7, "num_return_sequences": 3},
]


@pytest.fixture(scope="module")
def backend(checkpoint: Path) -> GeneratorBackend:
    return GeneratorBackend.load(ServedModelOptions(model_path=str(checkpoint), no_cuda=True))


def settings_of(options: dict[str, Any]) -> Settings:
    return tuple(sorted(options.items()))


def tasks_of(
    backend: GeneratorBackend, works: Sequence[Work], options: dict[str, Any]
) -> list[Task]:
    return [Task(each) for each in backend.prepare(works, settings_of(options))]


def decoded(
    backend: GeneratorBackend, works: Sequence[Work], options: dict[str, Any], size: int = 32
) -> list[Outcome]:
    """What comes of works that are all there from the beginning."""
    tasks = tasks_of(backend, works, options)
    found = dict(backend.decode(tasks, settings_of(options), size))
    return [found[task] for task in tasks]


def words(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Generated)
    return [output.text for output in outcome.outputs]


@pytest.mark.parametrize("options", SEARCHES)
def test_company_changes_no_result(backend: GeneratorBackend, options: dict[str, Any]) -> None:
    """Also where texts of several requests have the same keys."""
    works = [Work(text, key % 5) for key, text in enumerate(TEXTS)]
    alone = [words(decoded(backend, [work], options)[0]) for work in works]
    for size in (3, 32):
        assert list(map(words, decoded(backend, works, options, size))) == alone
    assert list(map(words, decoded(backend, works[::-1], options))) == alone[::-1]


def test_a_short_output_that_begins_later_is_there_first(backend: GeneratorBackend) -> None:
    """The long one is in the model before, between and after."""
    works = [Work(text, 0) for text in TEXTS]
    alone = decoded(backend, works, {})
    lengths = [outcome.outputs[0].num_tokens for outcome in alone if isinstance(outcome, Generated)]
    long, short = lengths.index(max(lengths)), lengths.index(min(lengths))
    assert lengths[short] + 4 < lengths[long]
    first, second = tasks_of(backend, [works[long], works[short]], {})
    came: list[Task] = []

    def coming() -> Iterator[Task | None]:
        yield first
        yield from [None] * 2
        assert not came
        yield second
        while len(came) < 2:
            yield None

    for task, outcome in backend.decode(coming(), (), 2):
        came.append(task)
        assert words(outcome) == words(alone[long if task is first else short])
    assert came == [second, first]


@pytest.mark.parametrize("options", SEARCHES)
def test_who_is_gone_leaves_and_nobody_notices(
    backend: GeneratorBackend, options: dict[str, Any]
) -> None:
    works = [Work(text, 0) for text in TEXTS]
    alone = [words(outcome) for outcome in decoded(backend, works, options)]
    tasks = tasks_of(backend, works, options)
    found: dict[Task, Outcome] = {}

    def coming() -> Iterator[Task | None]:
        for number, task in enumerate(tasks):
            yield task
            if number % 3 == 2:
                yield from [None] * 2
                task.is_wanted = task in found
        while any(task.is_wanted and task not in found for task in tasks):
            yield None

    for task, outcome in backend.decode(coming(), settings_of(options), 4):
        found[task] = outcome
    gone = [task for task in tasks if not task.is_wanted]
    assert len(gone) > 3
    assert found.keys() == set(tasks) - set(gone)
    for task, wanted in zip(tasks, alone, strict=True):
        assert task in gone or words(found[task]) == wanted


def has_word(request: Request, backend: GeneratorBackend, word: str) -> bool:
    (item,) = backend.prepare([Work([word], 0)], ())
    return bool(item.request.source[1] in request.source)


def test_scores_that_are_no_numbers_are_one_texts_fault(
    backend: GeneratorBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = decoded(backend, [Work(text, 0) for text in TEXTS], {})
    admit = ModelStepper.admit

    def spoilt(self: ModelStepper, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        logits = admit(self, requests, rows)
        bad = [has_word(request, backend, "linux") for request in requests]
        return logits.masked_fill(torch.tensor(bad)[:, None, None], torch.nan)

    monkeypatch.setattr(ModelStepper, "admit", spoilt)
    works = [Work(text, 0) for text in TEXTS]
    check_all_but("linux", alone, decoded(backend, works, {}, 4), "scores are no numbers")


def test_too_little_memory_is_one_texts_fault(
    backend: GeneratorBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = decoded(backend, [Work(text, 0) for text in TEXTS], {})
    admit = ModelStepper.admit

    def tight(self: ModelStepper, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        if any(has_word(request, backend, "linux") for request in requests):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return admit(self, requests, rows)

    monkeypatch.setattr(ModelStepper, "admit", tight)
    works = [Work(text, 0) for text in TEXTS]
    check_all_but("linux", alone, decoded(backend, works, {}, 4), "memory does not hold one text")


def check_all_but(word: str, alone: list[Outcome], found: list[Outcome], message: str) -> None:
    """The texts with a word have a fault of the model, the others what they have alone."""
    assert sum(word in text for text in TEXTS) > 1
    for text, wanted, outcome in zip(TEXTS, alone, found, strict=True):
        if word in text:
            assert isinstance(outcome, ModelFault)
            assert message in str(outcome)
        else:
            assert words(outcome) == words(wanted)


def test_words_are_never_names_of_files(backend: GeneratorBackend, tmp_path: Path) -> None:
    """The command line reads words from a file; a client must not have that done."""
    secret = tmp_path / "secret"
    secret.write_text("linux\n", encoding="utf-8")
    for name in ("bad_words", "force_words"):
        for word in (str(secret), "x" * 5000, "of\0/a", "a|b", " "):
            fault = "the tokenizer cannot write" if word.strip() else "' ' is no word"
            with pytest.raises(ValueError, match=f"{name}: {fault}"):
                backend.prepare([Work(TEXTS[4], 0)], settings_of({"num_beams": 4, name: (word,)}))


def test_empty_texts_need_no_model(backend: GeneratorBackend) -> None:
    empty, some, none = backend.prepare([Work("", 0), Work("linux", 1), Work([], 2)], ())
    assert isinstance(empty, Generated)
    assert not isinstance(some, Generated)
    assert empty == none
    assert words(empty) == [""]
