"""What `POST /generate` takes and gives, checked by pydantic.

    {"text": "…" or ["…", ["token", …], …], "num_beams": 5, "max_new_tokens": 40}
 -> {"outputs": [[{"text": "…", "score": -3.1, "log_probability": -3.1, …}, …], …], …}

Notable: options are named as transformers names them; one that is left out is what the checkpoint's
`generation_config.json` says, as it is for the command line. Nothing is converted silently: `"5"`
is no number, and a name that is not known is an error that says which one may have been meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from s2s_ft.options.checks import TEMPERATURES
from s2s_ft.options.config_file import nearest
from s2s_ft.serve.backend import Generated, Settings, Work
from s2s_ft.serve.faults import HttpFault
from s2s_ft.serve.options import LimitOptions, ServeOptions

NOT_OPTIONS = ("text", "prefix")
MAX_TOLD = 3  # mistakes that one answer names


def _listed(value: Any) -> Any:
    """One text as a list of one."""
    return [value] if isinstance(value, str) else value


def _source(value: Any) -> str | list[str]:
    """One source of a list: a text, or a list of tokens."""
    is_list = isinstance(value, list) and all(isinstance(token, str) for token in value)
    if not (is_list or isinstance(value, str)):
        raise ValueError("should be a text, or a list of tokens")
    return value  # type: ignore[no-any-return]


Source = Annotated[str | list[str], PlainValidator(_source, json_schema_input_type=str | list[str])]
Sources = Annotated[
    list[Source],
    # A body of nothing but mistakes must not become a list of mistakes.
    Field(fail_fast=True),
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=str | list[str | list[str]]),
]
Texts = Annotated[
    list[str],
    Field(fail_fast=True),
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
]
Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


class GenerateCall(BaseModel):
    """The body of `POST /generate`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    text: Sources = Field(
        description="The source, or several; one of several may be a list of tokens, to be looked "
        "up and not cut."
    )
    prefix: Texts | None = Field(
        default=None,
        description="What the output must begin with: one for all texts, or one for each.",
    )
    num_beams: int | None = Field(default=None, ge=1, description="Beams; 1: greedy.")
    num_return_sequences: int | None = Field(
        default=None, ge=1, description="Best outputs that are returned for each text."
    )
    max_new_tokens: int | None = Field(default=None, ge=1, description="Longest output, in tokens.")
    min_new_tokens: int | None = Field(default=None, ge=0, description="Shortest output.")
    length_penalty: float | None = Field(
        default=None, description="Scores are divided by ((5 + length) / 6) to this power."
    )
    no_repeat_ngram_size: int | None = Field(
        default=None, ge=0, le=1000, description="No n-gram of this size comes twice; 0: any may."
    )
    do_sample: bool | None = Field(default=None, description="Draw tokens at random.")
    temperature: float | None = Field(
        default=None, ge=TEMPERATURES[0], le=TEMPERATURES[1], description="Divides the logits."
    )
    top_k: int | None = Field(
        default=None, ge=0, le=2**31, description="Draw among the k likeliest; 0: among all."
    )
    top_p: PositiveShare | None = Field(
        default=None, description="Draw among the likeliest that hold this share."
    )
    min_p: Share | None = Field(
        default=None, description="Draw among tokens at least this share as likely as the best."
    )
    typical_p: PositiveShare | None = Field(
        default=None, description="Draw among the most typical tokens that hold this share."
    )
    repetition_penalty: float | None = Field(
        default=None, gt=0, description="Factor on tokens that are there already; 1: none."
    )
    num_beam_groups: int | None = Field(
        default=None, ge=1, description="Groups of a diverse beam search."
    )
    diversity_penalty: float | None = Field(
        default=None, ge=0, description="Taken off tokens that another group chose."
    )
    bad_words: Words | None = Field(default=None, description="Words that must not appear.")
    force_words: Words | None = Field(default=None, description="Words that must appear.")
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="Of the random numbers of do_sample."
    )

    @model_validator(mode="before")
    @classmethod
    def _know_all_names(cls, value: Any) -> Any:
        """Refuse the first name that is not known."""
        if isinstance(value, dict):
            for name in value:
                if name not in cls.model_fields:
                    short = str(name)[:60]
                    raise ValueError(
                        f"unknown option {short!r}{nearest(short, list(cls.model_fields))}"
                    )
        return value


OPTION_NAMES = tuple(name for name in GenerateCall.model_fields if name not in NOT_OPTIONS)


def read_call(body: bytes, limits: LimitOptions) -> GenerateCall:
    """The call in a body.

    Raises:
        HttpFault: 400 where it is no JSON, 422 where it says something that cannot be.
    """
    try:
        call = GenerateCall.model_validate_json(body)
    except ValidationError as fault:
        raise _refusal(fault) from None
    if len(call.text) > limits.max_texts:
        raise _unfit(f"text: {len(call.text)} texts; the server takes {limits.max_texts} at most")
    for name, most in {
        "num_beams": limits.max_beams,
        "num_return_sequences": limits.max_beams,
        "max_new_tokens": limits.max_output_tokens,
        "min_new_tokens": limits.max_output_tokens,
    }.items():
        if (getattr(call, name) or 0) > most:
            raise _unfit(f"{name}: the server allows {most} at most")
    if call.prefix is not None and len(call.prefix) not in (1, len(call.text)):
        raise _unfit(
            f"prefix: {len(call.prefix)} of them do not fit {len(call.text)} texts: "
            "give one for all, or one for each"
        )
    return call


def settings_of(call: GenerateCall) -> Settings:
    """The options that a call gives, in a form that can be compared."""
    given = ((name, getattr(call, name)) for name in OPTION_NAMES)
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in given
        if value is not None
    )


def works_of(call: GenerateCall, options: ServeOptions) -> tuple[list[Work], list[bool]]:
    """The texts of a call, and which of them were cut to `--max_source_chars`."""
    most, prefixes = options.limits.max_source_chars, call.prefix or [""]
    works, was_cut = [], []
    for key, given in enumerate(call.text):
        source = given
        if isinstance(given, str) and options.model.tokenized_input:
            source = given.split()
        cut = source[:most] if isinstance(source, str) else _first_tokens(source, most)
        works.append(Work(cut, key, prefixes[key % len(prefixes)]))
        was_cut.append(len(cut) < len(source))
    return works, was_cut


def _first_tokens(tokens: list[str], most: int) -> list[str]:
    """As many tokens as make a text of `most` characters at most, with spaces between them."""
    ends = accumulate(len(token) + 1 for token in tokens)
    return [token for token, end in zip(tokens, ends, strict=True) if end - 1 <= most]


def answer_of(
    results: Sequence[Generated], was_cut: Sequence[bool], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of the answer.

    Args:
        results: of each text.
        was_cut: of each text, whether it was cut before.
        facts: further entries.
    """
    outputs = [
        [
            {
                "text": output.text,
                "score": output.score,
                "log_probability": output.log_probability,
                "tokens": output.num_tokens,
                "finished": output.finished,
            }
            for output in result.outputs
        ]
        for result in results
    ]
    truncated = [cut or result.truncated for cut, result in zip(was_cut, results, strict=True)]
    return {"outputs": outputs, "truncated": truncated, **facts}


def _refusal(fault: ValidationError) -> HttpFault:
    """What pydantic found, in one sentence."""
    mistakes = fault.errors(include_url=False, include_input=False)
    first = mistakes[0]
    if first["type"] == "json_invalid":
        return HttpFault(400, "invalid_json", f"the body is not JSON: {first['ctx']['error']}")
    told = [_mistake(each["loc"], each["type"], each["msg"]) for each in mistakes[:MAX_TOLD]]
    more = len(mistakes) - len(told)
    return _unfit("; ".join(told) + (f"; and {more} more" if more else ""))


def _mistake(location: tuple[int | str, ...], kind: str, message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    if not location:
        is_ours = kind == "value_error"
        return message if is_ours else 'the body must be a JSON object such as {"text": "…"}'
    if location == ("text",) and kind == "list_type":
        return "text: should be a text, or a list of texts"
    name = _shown(location)
    if kind == "missing":
        return f"{name} is missing"
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _shown(location: tuple[int | str, ...]) -> str:
    """`text[3]` for ("text", 3)."""
    first, *rest = location
    return str(first) + "".join(f"[{part}]" for part in rest if isinstance(part, int))


def _unfit(message: str) -> HttpFault:
    return HttpFault(422, "invalid_request", message)
