"""Spelling of tokens: what WordPiece took apart is put together, and the Penn Treebank's words.

Notable: data sets such as CNN/DM, XSum and the questions of Du et al. were cut into the Penn
Treebank's words (``-LRB-``, ``do n't``), and a model of another vocabulary writes them in its own
pieces (``( ``, ``do n ' t``). Scores compare words, so both sides are brought into one spelling.
All functions leave text that is in their spelling as it is.
"""

import re
from collections.abc import Sequence

from s2s_ft.evaluation.options import Brackets

_ROUND = {"(": "-LRB-", ")": "-RRB-"}
_ALL = {**_ROUND, "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_BRACKET_TOKENS: dict[Brackets, dict[str, str]] = {"off": {}, "round": _ROUND, "all": _ALL}

# Pairs of what is looked for and what is put there, one after the other.
_REJOINED = (
    (re.compile(r"\b(\w*n) ' t\b", re.IGNORECASE), r"\1't"),
    (re.compile(r" ' (s|m|d|re|ve|ll)\b", re.IGNORECASE), r" '\1"),
    (re.compile(r"(?<=\d) \. (?=\d)"), "."),
    (re.compile(r"(?<!\d\d\d\d)(?<=\d) , (?=\d\d\d(?!\d))"), ","),
    (re.compile(r"(?<!\S)([A-Za-z]) \. (?=[A-Za-z] \.)"), r"\1."),
    (re.compile(r"(?<=\.)([A-Za-z]) \.(?!\S)"), r"\1."),
    (re.compile(r"(?<!\S)\.(?: \.){2}(?!\S)"), "..."),
    (re.compile(r"(?<!\S)- -(?!\S)"), "--"),
    (re.compile(r"(?<=\w) - (?=\w)"), "-"),
)
# Those of questions only: what the Penn Treebank writes as one word and word pieces do not.
_ABBREVIATED = (
    "mr|mrs|ms|dr|prof|rev|hon|st|mt|ft|jr|sr|gen|gov|sen|rep|lt|sgt|capt|col|cmdr|adm|maj|pres"
    "|inc|corp|co|cos|bros|ltd|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|vs|etc|ave|blvd"
)
_REJOINED_WORDS = (
    (re.compile(rf"(?<!\S)({_ABBREVIATED}) \.(?!\S)"), r"\1."),
    (re.compile(r"(?<!\S)no \. (?=\d)"), "no. "),
    (re.compile(r"(?<!\S)ph \. d \.(?!\S)"), "ph.d."),
    (re.compile(r"(?<!\S)([dlo]) ' (?=[^\W\d])"), r"\1'"),
    (re.compile(r"(?<!\S)' (?=\d\ds(?!\S))"), "'"),
    (re.compile(r"(?<=\w) \\ / (?=\w)"), r"\\/"),
)
_CONTRACTED = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))(?!\w)")
_PENN_WORD = re.compile(
    r"-[lr][rsc]b-"  # brackets
    r"|``|''|\.\.\.|--"
    r"|n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)|'\d\ds(?!\w)"
    r"|(?:[a-z]{1,2}\.){2,}(?!\w)"  # u.s., ph.d.
    rf"|(?:{_ABBREVIATED})\.(?!\w)|no\.(?= \d)"
    r"|\d+(?:[.,:]\d+)+"
    r"|\w(?:(?:[\w\-&/']|\\/)*\w)?"
    r"|\S"
)
# What a text that was cut ends in, and what no word of it has.
_END = frozenset({"?", "!", ".", "''"})
_ALONE = re.compile(r"\W+|n't|'(?:s|m|d|re|ve|ll)")
_UNCUT = re.compile(r"[?!;\"()\[\]{}]|``|''|,(?!\d)|[:%']$|^\$|(?<=\w)(?:n't|'(?:s|m|d|re|ve|ll))$")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})


def rejoin_tokens(text: str) -> str:
    """Put together what WordPiece took apart: ``3 . 5``, ``u . s .``, ``do n ' t``, ``. . .``.

    Args:
        text: One sentence, with spaces between the tokens.

    Returns:
        The sentence, with single spaces.
    """
    text = " ".join(text.split())
    for pattern, replacement in _REJOINED:
        text = pattern.sub(replacement, text)
    return text


def bracket_tokens(text: str, which: Brackets) -> str:
    """Write brackets as the Penn Treebank's tokens, ``( )`` as ``-LRB- -RRB-``.

    Args:
        text: One sentence.
        which: Round brackets, all of them, or none (off).
    """
    tokens = _BRACKET_TOKENS[which]
    if not any(bracket in text for bracket in tokens):
        return text
    for bracket, token in tokens.items():
        text = text.replace(bracket, f" {token} ")
    return " ".join(text.split())


def penn_words(text: str) -> list[str]:
    """Cut a question into the Penn Treebank's words, lower-cased.

    Args:
        text: A question, cut into words already or not.

    Returns:
        Its words: punctuation by itself, ``do n't`` and ``'s`` apart, brackets as ``-lrb-``,
        quotation marks as `````` and ``''``.
    """
    text = rejoin_tokens(text.translate(_APOSTROPHES).lower())
    for pattern, replacement in _REJOINED_WORDS:
        text = pattern.sub(replacement, text)
    text = bracket_tokens(text, "all").lower()
    words = text.split()
    if not _are_cut(words):
        words = _PENN_WORD.findall(_CONTRACTED.sub(r" \1", text))
    is_open = False
    for position, word in enumerate(words):
        if word == '"':
            words[position] = "''" if is_open else "``"
            is_open = not is_open
    return words


def _are_cut(words: Sequence[str]) -> bool:
    """Whether the words between a text's blanks are the Treebank's already.

    The mark at the text's end stands alone, and no other is written close to a word. Full stops
    are: the Treebank cuts off the last one only, the others are of abbreviations.
    """
    return bool(words and words[-1] in _END) and not any(
        _UNCUT.search(word) for word in words if not _ALONE.fullmatch(word)
    )
