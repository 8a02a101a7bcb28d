"""A file of 4-bit weights, as small as its format allows, becomes a transformers folder."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from benchmarks.multilingual_encoder import BLOCK, transformers_name
from tests.benchmarks.forked import run

WIDTH, LAYERS, INNER, POSITIONS = 32, 1, 64, 16
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁tool", "s", "<mask>"]
SCORES = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, 0.0]
PARTS = [
    *("emb.word", "emb.pos", "emb.type", "emb.ln.w", "emb.ln.b"),
    *(
        f"l0.{part}.{kind}"
        for part in ["q", "k", "v", "ao", "aln", "fi", "fo", "oln"]
        for kind in "wb"
    ),
]


def weights() -> dict[str, torch.Tensor]:
    """A random encoder whose matrices four bits can hold: whole numbers from -8 to 7, halved."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
    )
    shapes = BertModel(config, add_pooling_layer=False).state_dict()
    return {name: torch.randint(-8, 8, shapes[transformers_name(name)].shape) / 2 for name in PARTS}


def packed(values: np.ndarray) -> bytes:
    """Blocks of 32 weights of scale 1/2."""
    whole = (values.reshape(-1, 32) * 2 + 8).astype(np.uint8)
    blocks = np.zeros(len(whole), BLOCK)
    blocks["scale"], blocks["nibbles"] = 0.5, whole[:, :16] | whole[:, 16:] << 4
    return blocks.tobytes()


def write(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write the file as `multilingual_encoder.py` tells it."""
    sizes = (WIDTH, LAYERS, 2, INNER, len(PIECES), POSITIONS, 2)
    head = b"E5S1" + struct.pack("<I7ifi", 1, *sizes, 1e-12, 32)
    text = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, text)])
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, ends[-1])
    head += ends.astype("<u4").tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, 3) + b"xyz"  # a table that nobody reads
    data = {}
    for name, tensor in tensors.items():
        values = tensor.numpy()
        is_packed = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        data[name] = packed(values) if is_packed else values.astype("<f4").tobytes()
    place = len(head) + 4 + sum(2 + len(name) + 21 for name in data)
    listed, rest = struct.pack("<i", len(data)), b""
    for name, content in data.items():
        listed += struct.pack("<H", len(name)) + name.encode()
        listed += struct.pack("<BIQQ", 0, tensors[name].numel(), place + len(rest), len(content))
        rest += content
    file.write_bytes(head + listed + rest)


def test_weights_and_words_are_those_of_the_file(tmp_path: Path) -> None:
    expected = weights()
    write(tmp_path / "small.bin", expected)
    run("multilingual_encoder", tmp_path / "small.bin", tmp_path / "out", folder=tmp_path)
    found = AutoModel.from_pretrained(tmp_path / "out", add_pooling_layer=False).state_dict()
    for name, tensor in expected.items():
        assert torch.equal(found[transformers_name(name)], tensor), name
    assert len(found) == len(expected)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer(" a  tools")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁a", "▁tool", "s", "</s>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a tools"
    assert Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab_size() == 8


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(AssertionError, match=r"other\.bin is not the 4-bit file"):
        run("multilingual_encoder", tmp_path / "other.bin", tmp_path / "out", folder=tmp_path)
