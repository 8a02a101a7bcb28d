"""Every family and format that is tried, with the tokenizer it comes with and what it becomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import CONFIG_MAPPING

from s2s_ft.text import TextCodec
from tests.formats.encoders import (
    BERT_LIKE,
    ROBERTA_LIKE,
    SIZES,
    as_published,
    bert_by_name,
    body_only,
    discriminator,
    fine_tuned,
    in_shards,
    masked_lm,
    pretraining_bert,
)
from tests.unit.text.tokenizers_on_disk import byte_level, split_bytes, unigram, word_piece

Write = Callable[[Path, int], None]
UNILM = {"source_type_id": 4, "target_type_id": 5, "type_vocab_size": 6}
RELATIVE = {"rel_pos_bins": 32, "max_rel_pos": 16}
MODERN = {
    **SIZES,
    "model_type": "modernbert",
    "num_hidden_layers": 4,
    "global_attn_every_n_layers": 3,
    "local_attention": 8,
    "bos_token_id": 0,
    "cls_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
}
EURO = {
    **SIZES,
    "model_type": "eurobert",
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "mask_token_id": 4,
}


@dataclass(frozen=True)
class Format:
    """One family in one format.

    Attributes:
        name: As the table calls it.
        files: Its files, in words.
        tokenizer: Writes its tokenizer.
        encoder: Writes its config and weights.
        becomes: Class of transformers that it is in the end.
        vocabulary: Name of the vocabulary file where it is not one that transformers looks for.
        has_tokenizer: Whether the tokenizer lies beside the weights.
        needs_converting: Whether transformers and training cannot read it as it is.
    """

    name: str
    files: str
    tokenizer: Callable[[Path], Path]
    encoder: Write
    becomes: str
    vocabulary: str = ""
    has_tokenizer: bool = True
    needs_converting: bool = False

    def write(self, folder: Path) -> Path:
        """Write the checkpoint into `folder/in` and, if it has none, a tokenizer beside it."""
        place = folder / ("in" if self.has_tokenizer else "tokenizer")
        self.tokenizer(place)
        codec = TextCodec.load(place)
        self.encoder(folder / "in", codec.special.vocab_size)
        if self.vocabulary:
            (place / "vocab.txt").rename(place / self.vocabulary)
            (place / "tokenizer_config.json").unlink()
            (place / "config.json").unlink()
        return folder / "in"

    def flags(self, folder: Path) -> list[str]:
        """What `python -m s2s_ft.convert` has to be told."""
        return [] if self.has_tokenizer else ["--tokenizer_name", str(folder / "tokenizer")]


def lower_case(folder: Path) -> Path:
    """A bare `vocab.txt` in lower case, as MiniLM and uncased UniLM have it."""
    word_piece(folder)
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    lower = dict.fromkeys(line if line.startswith("[") else line.lower() for line in lines)
    (folder / "vocab.txt").write_text("\n".join(lower), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def bert_like(family: str, **changes: object) -> dict[str, object]:
    return {**BERT_LIKE, "model_type": family, **changes}


def roberta_like(family: str, **changes: object) -> dict[str, object]:
    return {**ROBERTA_LIKE, "model_type": family, **changes}


BIN, SAFE = "pytorch_model.bin", "model.safetensors"

FORMATS = [
    Format("BERT", "safetensors, old LayerNorm names", lower_case, pretraining_bert, "Bert"),
    Format("mBERT", ".bin, cased", word_piece, masked_lm(BIN, **BERT_LIKE), "Bert"),
    Format(
        "Chinese RoBERTa-wwm",
        ".bin, BERT's body and names",
        word_piece,
        masked_lm(BIN, **bert_like("bert", directionality="bidi", pooler_type="first_token")),
        "Bert",
    ),
    Format(
        "MiniLM-L12-H384",
        "NAME.bin, NAME-config.json, NAME-vocab.txt",
        lower_case,
        bert_by_name("minilm-l12-h384-uncased", model_type="minilm"),
        "Bert",
        vocabulary="minilm-l12-h384-uncased-vocab.txt",
        needs_converting=True,
    ),
    Format("Multilingual MiniLM", ".bin, BERT's body, XLM-R's tokens", unigram, body_only, "Bert"),
    Format("RoBERTa", ".bin", byte_level, masked_lm(BIN, **roberta_like("roberta")), "Roberta"),
    Format("XLM-R", "safetensors in shards", unigram, in_shards, "XLMRoberta"),
    Format("InfoXLM", ".bin", unigram, masked_lm(BIN, **roberta_like("xlm-roberta")), "XLMRoberta"),
    Format("CamemBERT", ".bin", unigram, masked_lm(BIN, **roberta_like("camembert")), "Camembert"),
    Format(
        "ERNIE",
        ".bin",
        word_piece,
        masked_lm(BIN, **bert_like("ernie", use_task_id=True, task_type_vocab_size=3)),
        "Ernie",
    ),
    Format(
        "ELECTRA generator",
        ".bin, factorised embeddings",
        word_piece,
        masked_lm(BIN, **bert_like("electra", embedding_size=16)),
        "Electra",
    ),
    Format("ELECTRA discriminator", ".bin, no head", word_piece, discriminator, "Electra"),
    Format("ModernBERT", "safetensors", split_bytes, masked_lm(SAFE, **MODERN), "ModernBert"),
    Format(
        "mmBERT, Ettin",
        "safetensors, ModernBERT's names",
        byte_level,
        masked_lm(SAFE, **{**MODERN, "num_hidden_layers": 3, "local_attention": 6}),
        "ModernBert",
    ),
    Format("EuroBERT", "safetensors, untied head", split_bytes, as_published(**EURO), "EuroBert"),
    Format(
        "UniLM v1",
        "unilm1-base-cased.bin, -config.json, -vocab.txt; 6 token types",
        word_piece,
        bert_by_name("unilm1-base-cased", model_type=None, **UNILM),
        "Bert",
        vocabulary="unilm1-base-cased-vocab.txt",
        needs_converting=True,
    ),
    Format(
        "UniLM v2",
        "unilm2-base-uncased.bin, …; fused weights, relative positions",
        lower_case,
        bert_by_name("unilm2-base-uncased", model_type="unilm", **UNILM, **RELATIVE),
        "Bert",
        vocabulary="unilm2-base-uncased-vocab.txt",
        needs_converting=True,
    ),
    *(
        Format(
            f"fine-tuned by the original: {title}",
            ".bin, BERT's names" + more,
            tokenizer,
            fine_tuned(family, mask_way, **changes),
            becomes,
            has_tokenizer=False,
            needs_converting=True,
        )
        for title, family, mask_way, tokenizer, becomes, more, changes in (
            ("BERT", "bert", "v2", word_piece, "Bert", "", {}),
            ("RoBERTa", "roberta", "v0", byte_level, "Roberta", ", no token types", {}),
            ("XLM-R", "xlm-roberta", "v1", unigram, "XLMRoberta", ", no token types", {}),
            ("UniLM v2", "unilm", "v2", word_piece, "Bert", "", {**UNILM, **RELATIVE}),
        )
    ),
]
"""In the order of the table."""

if "nomic_bert" in CONFIG_MAPPING:  # not in the oldest transformers that will do
    nomic = bert_like("nomic_bert")
    FORMATS.append(
        Format("NomicBERT", "safetensors, fused", word_piece, as_published(**nomic), "NomicBert")
    )
