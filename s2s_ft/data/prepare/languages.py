"""Reads the official files of the multilingual benchmarks: XGLUE's two, and DebSum.

Notable: XGLUE released the questions and titles of its test sets later, in files beside the others;
where they are missing, test rows have no target and can be decoded but not scored.
"""

from collections.abc import Iterator

from s2s_ft.data.examples import parsed_row, raw_rows, value_of
from s2s_ft.data.prepare.inputs import Inputs, Row


def read_xglue(inputs: Inputs, task: str, language: str, split: str) -> Iterator[Row]:
    """Rows of `xglue.<task>.<language>.{src,tgt}.<split>`, in the folder or in one of its task.

    Args:
        inputs: The folder.
        task: ntg or qg.
        language: Two letters.
        split: train, dev or test.

    Raises:
        ValueError: Files are missing or of different lengths.
    """

    def names(side: str) -> list[str]:
        name = f"xglue.{task}.{language}.{side}.{split}"
        return [name, f"{task.upper()}/{name}", f"xglue_full_dataset/{task.upper()}/{name}"]

    source = inputs.need(*names("src"))
    target = inputs.find(*names("tgt")) if split == "test" else inputs.need(*names("tgt"))
    yield from inputs.pairs(source, target, f"{language}-{split}")


def read_debsum(inputs: Inputs, language: str, split: str) -> Iterator[Row]:
    """Rows of `<language>/<split>.jsonl`, or of `<split>.jsonl` for English; plain or gzipped.

    Raises:
        ValueError: A file is missing or a row is bad.
    """
    alone = [f"{split}.jsonl"] if language == "en" else []
    path = inputs.need(f"{language}/{split}.jsonl", *alone)
    inputs.note(path)
    for row in raw_rows(path):
        fields = parsed_row(row)
        texts = {key: value_of(row, fields, key) for key in ("id", "src", "tgt")}
        for key, text in texts.items():
            if not isinstance(text, str):
                raise row.fault(f"{key!r} is no text; get the file again")
        yield Row(str(texts["id"]), str(texts["src"]), str(texts["tgt"]))
