"""Make a tiny random encoder with a vocabulary of some text, for `--smoke` runs of the recipes.

    python scripts/tiny_model.py --text train.jsonl --output_dir tiny

Notable: a BERT of two layers that knows nothing; made on the spot, so nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY_SIZE = 400


def texts(path: Path) -> Iterator[str]:
    """Sources and targets of a file of JSON lines."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            yield from (row["src"], row["tgt"])


def make(text: Path, folder: Path) -> None:
    """Write tokenizer and encoder into a folder."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(texts(text), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=160,
    )
    BertForMaskedLM(config).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a tiny random encoder.")
    parser.add_argument("--text", type=Path, required=True, help="JSON lines with src and tgt.")
    parser.add_argument("--output_dir", type=Path, required=True)
    given = parser.parse_args()
    make(given.text, given.output_dir)
