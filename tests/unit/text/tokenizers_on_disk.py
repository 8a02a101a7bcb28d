"""Tokenizers of every kind, trained on a few sentences and written as their families ship them."""

import json
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

BERT_ROLES = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
ROBERTA_ROLES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SENTENCES = {
    "english": "the old network server, which was slow, doesn't answer well-known calls (yet).",
    "german": "Der Server läuft über Nacht, aber größere Dateien müssen später kommen.",
    "french": "Une bibliothèque légère pour l'élève déçu : où est-elle ?",
    "russian": "Простая программа для чтения больших файлов.",
    "chinese": "今天天气很好，我们去公园。2020年的计划没有变化。",  # noqa: RUF001 (its comma)
    "japanese": "東京タワーへ行きました。漢字とひらがな、カタカナ。",
    "thai": "วันนี้อากาศดีมาก เราไปสวนสาธารณะกัน",
    "korean": "오늘은 날씨가 아주 좋습니다.",
}
CORPUS = list(SENTENCES.values())


def write(folder: Path, tokenizer: Tokenizer, family: str, roles: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": family}), encoding="utf-8")
    return folder


def word_piece(folder: Path, corpus: list[str] = CORPUS, size: int = 400) -> Path:
    """As cased multilingual BERT: `vocab.txt` and a configuration that says cased."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=BERT_SPECIALS, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    # A trained vocabulary has the pieces of its own corpus only; real ones know every character.
    pieces = [token for token, _ in vocabulary]
    characters = sorted({each for text in corpus for each in text if not each.isspace()})
    extra = [x for c in characters for x in (c, f"##{c}") if x not in set(pieces)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*pieces, *extra]) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    return folder


def _train_bytes(tokenizer: Tokenizer, corpus: list[str], size: int) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=ROBERTA_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)


def byte_level(folder: Path, corpus: list[str] = CORPUS, size: int = 420) -> Path:
    """As RoBERTa."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _train_bytes(tokenizer, corpus, size)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return write(folder, tokenizer, "roberta", ROBERTA_ROLES)


def split_bytes(folder: Path, corpus: list[str] = CORPUS, size: int = 420) -> Path:
    """As newer byte-level vocabularies: NFC, cut by a pattern of their own, then bytes."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    pattern = Regex(r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    _train_bytes(tokenizer, corpus, size)
    return write(folder, tokenizer, "modernbert", ROBERTA_ROLES)


def unigram(folder: Path, corpus: list[str] = CORPUS, size: int = 300) -> Path:
    """As XLM-R: its order of special tokens, cut at spaces, ▁ before a word."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=ROBERTA_SPECIALS,
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return write(folder, tokenizer, "xlm-roberta", ROBERTA_ROLES)


def sentence_piece_bpe(folder: Path, corpus: list[str] = CORPUS, size: int = 520) -> Path:
    """As vocabularies of sentence pieces by merges, with bytes for unknown characters."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*ROBERTA_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    content = json.loads(tokenizer.to_str())
    # Bytes are tokens of the model, not added ones.
    content["added_tokens"] = [x for x in content["added_tokens"] if x["id"] < 5]
    return write(folder, Tokenizer.from_str(json.dumps(content)), "llama", ROBERTA_ROLES)


KINDS = (word_piece, byte_level, split_bytes, unigram, sentence_piece_bpe)
