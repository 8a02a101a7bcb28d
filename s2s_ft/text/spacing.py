"""Which of the spaces between words belong into a text of word pieces.

Word pieces do not tell whether a space stood between two words or the tokenizer cut there by
itself, as BERT's does around every Chinese character and every mark of punctuation. Scripts with
spaces between words get one everywhere, as the original toolkit wrote its outputs:

    do n't stop , he said ( twice )          stays as it is, in Latin, Cyrillic, Hangul, …

In scripts written without them the spaces of the tokenizer go and those of the text stay:

    東 京 タワーへ 行 く 。       東京タワーへ行く。
    カタカナ テスト             カタカナ テスト           kana beside kana: a space of the text
    2020 年 の python 入 門       2020年の python 入門      digits close up, Latin words do not
    今 天 ( 周 五 ) 很 好 !       今天 (周五) 很好!          ASCII marks as one sets them
    ไป กิน ข้าว                ไป กิน ข้าว              Thai beside Thai: a space of the text

Notable: "cuts by itself" is asked of the tokenizer, never assumed, so a tokenizer that keeps
Chinese characters together (tokenize_chinese_chars off) loses no space of its text. Whatever is
taken out here, the tokenizer puts back: the text gives the same ids again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

_OPENING, _CLOSING = set("([{<"), set(")]}>.,:;!?%")
_LETTERS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # 々〆〇
    (0x3040, 0x30FA),  # kana
    (0x30FC, 0x312F),  # more kana, Bopomofo
    (0x31F0, 0x31FF),  # small kana
    (0x3400, 0x4DBF),  # Chinese characters, here and below
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width kana
    (0x20000, 0x3FFFF),
)
_MARKS = (
    (0x3001, 0x3003),
    (0x3008, 0x3020),
    (0x3030, 0x3030),
    (0x30FB, 0x30FB),
    (0xFF01, 0xFF0F),  # full-width punctuation, here and below
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
)

Cuts = Callable[[str, str], bool]
"""Whether a tokenizer cuts between two characters that stand side by side."""


def join_words(words: Sequence[str], cuts: Cuts) -> str:
    """Words with the spaces that belong between them (examples at the top of this file).

    Args:
        words: As `join_word_pieces` gives them.
        cuts: What the tokenizer does without a space.

    Returns:
        One text.
    """
    parts = list(words[:1])
    for before, word in pairwise(words):
        left, right = before[-1:], word[:1]
        together = left and right and _closes_up(left, right) and cuts(left, right)
        parts.append(word if together else f" {word}")
    return "".join(parts)


def is_unspaced(text: str) -> bool:
    """Whether a text has a letter or a mark of a script that puts no spaces between words."""
    return any(_within(character, _LETTERS + _MARKS) for character in text)


def _closes_up(left: str, right: str) -> bool:
    """Whether two characters are written without a space where the tokenizer cut."""
    if _within(left, _MARKS) or _within(right, _MARKS):
        return True
    is_left, is_right = _within(left, _LETTERS), _within(right, _LETTERS)
    if is_left and is_right:
        return True
    if is_left:
        return right.isdigit() or not (right.isalnum() or right in _OPENING)
    if is_right:
        return left.isdigit() or not (left.isalnum() or left in _CLOSING)
    return False


def _within(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in ranges)
