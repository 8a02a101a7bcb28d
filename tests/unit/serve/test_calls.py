"""What a body may say, and what is said where it may not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from s2s_ft.serve.backend import Generated, Output, Work
from s2s_ft.serve.calls import OPTION_NAMES, answer_of, read_call, settings_of, works_of
from s2s_ft.serve.faults import HttpFault
from s2s_ft.serve.options import LimitOptions, ServedModelOptions, ServeOptions

LIMITS = LimitOptions(max_texts=3, max_source_chars=10, max_beams=8)
OPTIONS = ServeOptions(model=ServedModelOptions(model_path="x"), limits=LIMITS)
TOKENIZED = replace(OPTIONS, model=ServedModelOptions(model_path="x", tokenized_input=True))


def call(**content: Any) -> Any:
    return read_call(json.dumps(content).encode(), LIMITS)


def refusal(body: bytes) -> HttpFault:
    with pytest.raises(HttpFault) as caught:
        read_call(body, LIMITS)
    return caught.value


def test_one_text_is_a_list_of_one() -> None:
    assert call(text="a").text == ["a"]
    assert call(text=["a", "ü𝄞"]).text == ["a", "ü𝄞"]
    assert call(text="").text == [""]


def test_settings_hold_what_is_given_in_one_order() -> None:
    first = settings_of(call(text="a", num_beams=5, bad_words=["x", "y"], length_penalty=1))
    again = settings_of(call(bad_words=["x", "y"], length_penalty=1.0, text="b", num_beams=5))
    assert first == again
    assert hash(first) == hash(again)
    assert dict(first) == {"num_beams": 5, "length_penalty": 1.0, "bad_words": ("x", "y")}
    assert settings_of(call(text="a", num_beams=None)) == ()
    assert settings_of(call(text="a", do_sample=False)) == (("do_sample", False),)


def test_every_option_of_the_contract_is_there() -> None:
    assert set(OPTION_NAMES) == {
        *("num_beams", "num_return_sequences", "max_new_tokens", "min_new_tokens"),
        *("length_penalty", "no_repeat_ngram_size", "do_sample", "temperature", "top_k", "top_p"),
        *("min_p", "typical_p", "repetition_penalty", "num_beam_groups", "diversity_penalty"),
        *("bad_words", "force_words", "seed"),
    }


def test_works_are_cut_keyed_and_prefixed() -> None:
    works, was_cut = works_of(call(text=["a" * 11, "b"], prefix="p"), OPTIONS)
    assert works == [Work("a" * 10, 0, "p"), Work("b", 1, "p")]
    assert was_cut == [True, False]
    works, _ = works_of(call(text=["a", "b"], prefix=["p", ""]), OPTIONS)
    assert [work.prefix for work in works] == ["p", ""]


def test_a_list_in_the_list_holds_tokens() -> None:
    tokens = ["data", "##s", "linux"]
    works, was_cut = works_of(call(text=[tokens, "data ##s", []]), OPTIONS)
    assert [work.text for work in works] == [tokens[:2], "data ##s", []]  # within 10 characters
    assert was_cut == [True, False, False]


def test_with_tokenized_input_spaces_divide_tokens() -> None:
    works, was_cut = works_of(call(text=["data  ##s ", "aaaa bbbbb cc", ["a b"]]), TOKENIZED)
    assert [work.text for work in works] == [["data", "##s"], ["aaaa", "bbbbb"], ["a b"]]
    assert was_cut == [False, True, False]


def test_an_answer_tells_of_every_output() -> None:
    output = Output("x", -1.0, -2.0, 1, finished=True)
    results = [Generated((output, output)), Generated((output,), truncated=True), Generated(())]
    answer = answer_of(results, [True, False, False], {"seconds": 1})
    told = {"text": "x", "score": -1.0, "log_probability": -2.0, "tokens": 1, "finished": True}
    assert answer == {
        "outputs": [[told, told], [told], []],
        "truncated": [True, True, False],
        "seconds": 1,
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe{}", b'{"text": "\\ud800"}', b"[" * 100_000, b'{"text": "a"} x']
)
def test_what_is_no_json_is_400(body: bytes) -> None:
    fault = refusal(body)
    assert (fault.status, fault.code) == (400, "invalid_json")
    assert fault.message.startswith("the body is not JSON: ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", 'the body must be a JSON object such as {"text": "…"}'),
        (b"null", 'the body must be a JSON object such as {"text": "…"}'),
        (b"{}", "text is missing"),
        (b'{"text": 5}', "text: should be a text, or a list of texts"),
        (b'{"text": null}', "text: should be a text, or a list of texts"),
        (b'{"text": ["a", 5]}', "text[1]: should be a text, or a list of tokens"),
        (b'{"text": ["a", ["b", 5]]}', "text[1]: should be a text, or a list of tokens"),
        (b'{"text": ["a", "b", "c", "d"]}', "text: 4 texts; the server takes 3 at most"),
        (b'{"text": "a", "num_beans": 5}', "unknown option 'num_beans' (did you mean num_beams?)"),
        (b'{"text": "a", "num_beams": "5"}', "num_beams: should be a valid integer"),
        (b'{"text": "a", "num_beams": true}', "num_beams: should be a valid integer"),
        (b'{"text": "a", "num_beams": 2.5}', "num_beams: should be a valid integer"),
        (b'{"text": "a", "num_beams": 9}', "num_beams: the server allows 8 at most"),
        (b'{"text": "a", "num_return_sequences": 9}',
         "num_return_sequences: the server allows 8 at most"),
        (b'{"text": "a", "max_new_tokens": 513}', "max_new_tokens: the server allows 512 at most"),
        (b'{"text": "a", "temperature": NaN}', "temperature: should be a finite number"),
        (b'{"text": "a", "temperature": 1e-39}',
         "temperature: should be greater than or equal to 0.000001"),
        (b'{"text": "a", "temperature": 3.5e38}',
         "temperature: should be less than or equal to 1000000"),
        (b'{"text": "a", "top_p": 0}', "top_p: should be greater than 0"),
        (b'{"text": "a", "do_sample": 1}', "do_sample: should be a valid boolean"),
        (b'{"text": ["a", "b", "c"], "prefix": ["x", "y"]}',
         "prefix: 2 of them do not fit 3 texts: give one for all, or one for each"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_422_and_named(body: bytes, message: str) -> None:
    fault = refusal(body)
    assert (fault.status, fault.code, fault.message) == (422, "invalid_request", message)


def test_a_body_of_mistakes_gets_one_short_answer() -> None:
    for body in (
        {"text": [1] * 100_000},
        {"text": [[1] * 100_000]},
        {f"name{number}": 1 for number in range(50_000)},
        {"text": "a", "bad_words": [1] * 100_000},
        {"text": "a", "x" * 500_000: 1},
        {"text": "a", "num_beams": -1, "top_k": -1, "top_p": -1, "min_p": -1},
    ):
        assert len(refusal(json.dumps(body).encode()).message) < 300
