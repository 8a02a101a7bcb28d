"""What is typed and what is answered, with a stand-in for the model."""

import io

import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.generator import Output
from s2s_ft.decode.ways.interactive import Session, talk


class Echo:
    """Gives the source back, and takes num_beams up to 4."""

    def check(self, num_beams=1, **options):
        if not isinstance(num_beams, int) or num_beams > 4:
            raise ValueError(f"num_beams is {num_beams}: give at most 4")

    def generate(self, sources, *, prefixes, num_beams=1, num_return_sequences=1, **options):
        if sources == ["bad"]:
            raise ValueError("no\nway")
        if sources == ["long"]:
            raise EnvironmentFault("no memory")
        source = "|".join(sources[0]) if isinstance(sources[0], list) else sources[0]
        text = f"{prefixes[0]}{source}{'!' * num_beams}"
        return [[Output(text, -1.5 - n) for n in range(num_return_sequences)]]


@pytest.fixture
def say():
    session = Session(Echo())
    return lambda line: list(session.answer(line))


def test_outputs_are_shown_with_scores_and_time(say):
    *outputs, seconds = say("  hello there ")
    assert outputs == ["1     -1.500  hello there!"]
    assert seconds.endswith(" s")


def test_tokenized_sources_are_lists_of_tokens():
    session = Session(Echo(), tokenized=True)
    assert next(session.answer(" data  ##s linux ")).endswith(" data|##s|linux!")
    list(session.answer(":prefix The end"))
    assert next(session.answer("a")).endswith(" The enda!")


def test_options_are_set_and_taken_back(say):
    assert say(":set num_beams 3") == []
    assert say(":set num_return_sequences 2") == []
    assert [line.split()[-1] for line in say("a")[:2]] == ["a!!!", "a!!!"]
    assert say(":options")[:2] == ["num_beams 3", "num_return_sequences 2"]
    assert say(":set num_beams") == []
    assert say("a")[0].endswith(" a!")


def test_a_mistake_changes_nothing(say):
    say(":set num_beams 2")
    assert say(":set num_beams 9") == ["error: num_beams is 9: give at most 4"]
    assert say(":set num_beams many") == ["error: num_beams is many: give at most 4"]
    assert say(":set nonsense 3") == ["no option nonsense; :options lists them"]
    assert say(":set") == ["no option (none named); :options lists them"]
    assert say(":nonsense") == ["no command :nonsense; :help lists them"]
    assert say("bad") == ["error: no way"]
    assert say("long") == ["error: no memory"]
    assert say("a")[0].endswith(" a!!")


@pytest.mark.parametrize("value", ["7" * 5000, "[" * 200_000], ids=["digits", "brackets"])
def test_what_json_cannot_hold_is_a_mistake_like_others(say, value):
    assert say(f":set num_beams {value}") == [f"error: num_beams is {value}: give at most 4"]
    assert say("a")[0].endswith(" a!")


def test_what_is_not_utf8_spoils_its_own_line_only(capsys, monkeypatch):
    typed = io.BytesIO(b"a \xff\n:prefix \xff\n:set \xff 1\nlinux\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(typed, encoding="utf-8"))
    talk(Echo())
    *mistakes, answer, _ = capsys.readouterr().out.splitlines()
    assert [line.split(" holds ")[0] for line in mistakes] == [
        r"error: 'a \udcff'",
        r"error: ':prefix \udcff'",
        r"error: ':set \udcff 1'",
    ]
    assert answer.endswith(" linux!")


def test_a_prefix_holds_until_it_is_taken_back(say):
    say(":prefix The end")
    assert say("a")[0].endswith(" The enda!")
    say(":prefix")
    assert say("a")[0].endswith(" a!")


def test_nothing_typed_is_nothing_answered(say):
    assert say("") == say("   ") == []


@pytest.mark.parametrize("word", [":quit", ":q", " :exit "])
def test_leaving(say, word):
    with pytest.raises(EOFError):
        say(word)


def test_help_names_every_command(say):
    (text,) = say(":help")
    assert all(word in text for word in (":set", ":options", ":prefix", ":help", ":quit"))
