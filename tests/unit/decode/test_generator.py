"""The Python interface: a loaded checkpoint, its options, and what it gives."""

import itertools
import math
import shutil
import threading
from dataclasses import replace

import pytest
import torch

import s2s_ft
from s2s_ft.decode.generator import Generator, Output
from s2s_ft.model.pretrained import load_finetuned, save
from s2s_ft.text import TextCodec

SOURCES = ["a free game for linux", "", "the gnu data tools", "python modules in debian"]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained")
    model = load_finetuned(str(tiny_checkpoint("bert")))
    model.settings = replace(
        model.settings, method="pseudo_mask", max_source_length=20, max_target_length=8
    )
    save(model, TextCodec.load(tiny_checkpoint("bert")), path)
    return path


@pytest.fixture(scope="module")
def generator(checkpoint):
    return Generator.from_pretrained(checkpoint, device="cpu")


def test_the_package_offers_it():
    assert s2s_ft.Generator is Generator
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = s2s_ft.nothing


def test_the_best_text_for_each_source(generator):
    texts = generator(SOURCES, num_beams=3)
    assert len(texts) == 4
    assert [bool(text) for text in texts] == [True, False, True, True]
    assert texts == [generator([source], num_beams=3)[0] for source in SOURCES]
    assert generator([]) == []


def test_outputs_have_scores_and_tokens(generator):
    found = generator.generate(SOURCES, num_beams=4, num_return_sequences=2, max_new_tokens=5)
    assert found[1] == [Output("")]
    for outputs in (found[0], *found[2:]):
        first, second = outputs
        assert first.score >= second.score
        for output in outputs:
            assert math.isclose(
                output.log_probability, sum(output.token_log_probabilities), rel_tol=1e-4
            )
            assert len(output.tokens) == len(output.token_log_probabilities) <= 5
            assert output.finished == (output.tokens[-1] == "[SEP]")


def test_options_reach_the_search(generator):
    plain = generator.generate(SOURCES[:1], num_beams=2)[0][0]
    assert len(generator.generate(SOURCES[:1], max_new_tokens=3)[0][0].tokens) <= 3
    (forced,) = generator(SOURCES[:1], num_beams=4, force_words=["server"])
    assert "server" in forced
    word = plain.tokens[0]
    assert word not in generator(SOURCES[:1], bad_words=[word])[0].split()
    (begun,) = generator.generate(SOURCES[:1], prefixes=["the code"])[0]
    assert begun.text.startswith("the code ")
    (held,) = generator.generate(SOURCES[:1], num_beams=4, phrases=[["perl modules"]])[0]
    assert "perl modules" in held.text
    drawn = [generator(SOURCES, do_sample=True, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert generator([SOURCES[0].split()]) == generator(SOURCES[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 3}, "beams is no option: know bad_words, .* max_seq_length, .* seed, "),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": "3"}, "num_beams: expected a whole number, found '3'"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences 3 is more than num_b"),
        ({"max_new_tokens": 500}, "leaves no room for a source"),
        ({"temperature": 2.0, "do_sample": False}, "temperature 2.0 needs"),
        ({"force_words": ["zzz"]}, "force_words: the tokenizer cannot write 'zzz'"),
        ({"force_words": ["linux"], "do_sample": True}, "do_sample and force_words linux exclude"),
        ({"batch_size": "4"}, "^Generator: batch_size: expected a whole number, found '4'"),
        ({"seed": "7"}, "^Generator: seed: expected a whole number, found '7'"),
        ({"seed": 1.5}, "^Generator: seed: expected a whole number, found 1.5"),
        ({"max_seq_length": 30.5}, "^Generator: max_seq_length: expected a whole number"),
        ({"max_new_tokens": 5, "min_new_tokens": 6}, "^min_new_tokens 6 .*max_new_tokens 5"),
        ({"min_new_tokens": 60}, "^min_new_tokens 60 .* or raise max_new_tokens \\(with"),
        ({"max_new_tokens": 63}, "^max_new_tokens 63 .* in max_seq_length, which is"),
        ({"prefixes": ["the"] * 4, "bad_words": ["the"]}, "what bad_words forbids"),
        ({"beams": None}, "beams is no option: know "),
        ({"bad_words": ["a\udcff"]}, r"^bad_words: 'a.udcff' holds half a character"),
        ({"batch_size": 0}, "^batch_size is 0"),
        ({"batch_size": 1.5}, "batch_size: expected a whole number, found 1.5"),
        ({"seed": -1}, "^seed is -1"),
        ({"seed": "x"}, "seed: expected a whole number, found 'x'"),
        ({"max_seq_length": 2}, "^max_seq_length 2 leaves no room .* beside max_new_tokens"),
        ({"length_penalty": 1e6}, "^length_penalty is 1000000.0: give a number of at most 30"),
        ({"repetition_penalty": 1e300}, r"^repetition_penalty is 1e\+300"),
        ({"diversity_penalty": 1e308}, r"^diversity_penalty is 1e\+308"),
        ({"bad_words": ["\ud800"]}, "^bad_words: .* holds half a character"),
        ({"force_words": "\ud800"}, "^force_words: .* holds half a character"),
        ({"prefixes": [None, 5, None, None]}, "prefix 1 is a int: give text or tokens"),
        ({"prefixes": "four"}, "prefixes is a str: give a list"),
        ({"prefixes": {"the", "a", "b", "c"}}, "prefixes is a set: give a list"),
        ({"phrases": dict.fromkeys(SOURCES)}, "phrases is a dict: give a list"),
        ({"phrases": 5}, "phrases is a int: give a list"),
        ({"phrases": [None, 5, None, None]}, "phrases of source 1 is a int"),
        ({"phrases": [["a", 5], None, None, None]}, "phrases of source 0 has 5 among"),
        ({"prefixes": ["a"]}, "prefixes has 1 entries for 4 sources"),
        ({"prefixes": ["the zzz"] * 4}, "line 1: prefix: the tokenizer cannot write 'the zzz'"),
        (
            {"force_words": ["linux", "data"], "max_new_tokens": 2},
            "^force_words: the words have 2 tokens, and outputs 2 at most, .* raise max_new_tokens",
        ),
        (
            {"prefixes": ["the"] * 4, "force_words": "linux", "max_new_tokens": 2},
            "line 1: its prefix and force_words have 2 tokens, and outputs 2 at most",
        ),
    ],
)
def test_a_mistake_is_named_as_it_was_made(generator, options, message):
    with pytest.raises(ValueError, match=message):
        generator.generate(SOURCES, **options)


def test_none_means_not_given(generator):
    nothing = {"seed": None, "max_seq_length": None, "num_beams": None, "bad_words": None}
    assert generator(SOURCES, do_sample=True, **nothing) == generator(SOURCES, do_sample=True)


def test_what_is_no_list_of_texts_is_refused(generator):
    with pytest.raises(ValueError, match="sources is one text"):
        generator("a text")
    with pytest.raises(ValueError, match="source 1 is a NoneType"):
        generator(["a", None])
    with pytest.raises(ValueError, match="sources is a int"):
        generator(5)
    with pytest.raises(ValueError, match="source 0 has 5 among its tokens"):
        generator([["a", 5]])
    with pytest.raises(ValueError, match=r"source 1: .* holds half a character"):
        generator(["a", "\ud800"])


def test_phrases_are_read_as_a_row_of_json_lines_has_them(generator):
    listed = generator.generate(SOURCES[:1], num_beams=4, phrases=[["perl", "server"]])
    assert generator.generate(SOURCES[:1], num_beams=4, phrases=["perl|server"]) == listed
    assert "perl" in listed[0][0].text


@pytest.mark.parametrize("device", ["foo", "meta", 1.5, "cuda:99"])
def test_a_device_that_cannot_be_is_named(checkpoint, device):
    with pytest.raises(ValueError, match=r"^device "):
        Generator.from_pretrained(checkpoint, device=device)


def test_the_folder_of_downloads_may_be_a_path(checkpoint, generator, tmp_path):
    other = Generator.from_pretrained(checkpoint, device="cpu", cache_dir=tmp_path)
    assert other(SOURCES) == generator(SOURCES)


def test_the_random_numbers_of_the_caller_are_left_alone(checkpoint):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    generator = Generator.from_pretrained(checkpoint, device="cpu")
    generator(SOURCES, do_sample=True, seed=5)
    assert torch.equal(torch.rand(3), expected)


def test_the_checkpoints_defaults_hold_unless_an_option_is_given(checkpoint, generator, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "with_defaults")
    (folder / "generation_config.json").write_text('{"num_beams": 3, "max_new_tokens": 4}')
    other = Generator.from_pretrained(folder, device="cpu")
    assert other(SOURCES) == generator(SOURCES, num_beams=3, max_new_tokens=4)
    assert other(SOURCES, num_beams=1) == generator(SOURCES, max_new_tokens=4)


@pytest.mark.parametrize(
    "defaults",
    [
        '{"do_sample": true}',
        '{"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}',
    ],
)
@pytest.mark.parametrize("words", [["linux"], "linux"], ids=["list", "text"])
def test_what_the_checkpoint_says_is_not_blamed_on_the_call(checkpoint, tmp_path, defaults, words):
    folder = shutil.copytree(checkpoint, tmp_path / "with_defaults")
    (folder / "generation_config.json").write_text(defaults)
    other = Generator.from_pretrained(folder, device="cpu")
    with pytest.raises(ValueError, match=r"exclude each .* \(with what generation_config"):
        other(SOURCES, force_words=words)
    with pytest.raises(ValueError, match=r"line 1: .* \(given, or the checkpoint's default\)"):
        other(SOURCES[:1], phrases=[words])


def test_the_log_names_options_as_the_call_does(generator, caplog):
    generator(SOURCES[:1], max_new_tokens=60)
    words = ["linux", "data", "server"]
    apart = [" ".join(pair) for pair in itertools.permutations(words, 2)]
    generator(SOURCES[:1], max_new_tokens=4, force_words=words, bad_words=apart)
    assert caplog.messages == [
        "sources of 20 tokens and outputs of 60 are more than the 64 positions of the model: "
        "sources are cut to 4 tokens; lower max_new_tokens for longer ones",
        "1 outputs lack forced words, which had no room: raise max_new_tokens",
    ]


def test_calls_of_several_threads_take_turns(generator):
    expected = generator(SOURCES, num_beams=2)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(generator(SOURCES, num_beams=2)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_eight_bit_integers(checkpoint):
    generator = Generator.from_pretrained(checkpoint, device="cpu", int8=True)
    assert len(generator(SOURCES)) == 4
    with pytest.raises(ValueError, match="--fp16 needs a CUDA device"):
        Generator.from_pretrained(checkpoint, device="cpu", fp16=True)
    with pytest.raises(ValueError, match="--bf16 and --int8 exclude"):
        Generator.from_pretrained(checkpoint, bf16=True, int8=True)


def test_a_listed_word_is_never_the_name_of_a_file(generator, tmp_path):
    secret = tmp_path / "words"
    secret.write_text("linux\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the tokenizer cannot write"):
        generator(SOURCES[:1], force_words=[str(secret)])
    with pytest.raises(ValueError, match=r"bad_words: the tokenizer cannot write 'a\|b'"):
        generator(SOURCES[:1], bad_words=["a|b"])
    with pytest.raises(ValueError, match="force_words: 3 is no word; give strings"):
        generator(SOURCES[:1], force_words=["linux", 3])
    with pytest.raises(ValueError, match="the tokenizer cannot write"):
        generator(SOURCES[:1], force_words="z" * 5000)
