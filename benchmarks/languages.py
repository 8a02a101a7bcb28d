"""One model for several languages: trained on English alone, with and without frozen embeddings,
and on a mixture of all of them; ROUGE of each language.

    python benchmarks/languages.py ENCODER DATA OUTPUT [--only NAME …]

ENCODER is a multilingual encoder (`multilingual_encoder.py` writes one, `python -m s2s_ft.trim`
makes it small); DATA has a folder a language with `train.jsonl` and `test.jsonl`. Notable: the
three runs take equally many updates, and the mixture sees an eleventh as many English rows or
more, as its temperature has it. What is there is not made again. `copied` is the first sentence
of the source: what a model would get that has learned nothing of a language.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import ROOT, model_anywhere, parser_of
from benchmarks.rounds import write_report

RUNS = {"english": [], "english_fixed": ["--fix_word_embedding"], "mixture": []}
TEMPERATURE = 2.0
TRAINING = (
    *("--fine_tuning_method", "causal"),
    *("--target_mask_prob", "0"),
    *("--num_training_steps", "500"),
    *("--per_gpu_train_batch_size", "8"),
    *("--learning_rate", "3e-4"),
    *("--num_warmup_steps", "50"),
    *("--max_source_seq_length", "96"),
    *("--max_target_seq_length", "32"),
    *("--dropout", "0"),
    *("--save_steps", "250"),
    *("--keep_checkpoints", "2"),
    *("--logging_steps", "50"),
    "--bf16",
    "--no_cuda",
)
DECODING = ("--beam_size", "5", "--length_penalty", "1.0", "--bf16", "--no_cuda")


def call(*command: str | Path) -> None:
    """Run one of the toolkit's commands."""
    subprocess.run([sys.executable, *map(str, command)], check=True, cwd=ROOT)


def training_file(name: str, data: Path, output: Path) -> Path:
    """English, or all languages with the rows that the temperature gives each."""
    if name != "mixture":
        return data / "en" / "train.jsonl"
    mixed = output / "mixture.jsonl"
    if not mixed.exists():
        files = [f"{folder.name}={folder / 'train.jsonl'}" for folder in languages(data)]
        call(
            *("-m", "s2s_ft.data.mixture", "--train_files", *files),
            *("--temperature", str(TEMPERATURE), "--output_file", mixed),
        )
    return mixed


def languages(data: Path) -> list[Path]:
    """A folder a language."""
    return sorted(folder for folder in data.iterdir() if (folder / "test.jsonl").exists())


def run(name: str, given: argparse.Namespace) -> None:
    """Train, then decode the first rows of every language's test set."""
    folder = given.output / name
    call(
        *("run_seq2seq.py", "--model_name_or_path", given.encoder),
        *("--train_file", training_file(name, given.data, given.output)),
        *("--output_dir", folder / "model", *TRAINING, *RUNS[name]),
    )
    for language in languages(given.data):
        rows, texts = folder / f"{language.name}.jsonl", folder / f"{language.name}.txt"
        if not Path(f"{texts}.scores.json").exists():
            with (language / "test.jsonl").open(encoding="utf-8") as lines:
                rows.write_text("".join(itertools.islice(lines, given.rows)), encoding="utf-8")
            call(
                *("decode_seq2seq.py", "--model_path", folder / "model" / "ckpt-500"),
                *("--input_file", rows, "--output_file", texts, *DECODING),
            )
            call("-m", "s2s_ft.evaluation", "--pred", texts, "--gold", rows)


def scores(folder: Path) -> list[dict[str, Any]]:
    """A line a language of one run: its ROUGE, and that of the source's first sentence."""
    lines = []
    for file in sorted(folder.glob("*.txt.scores.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        found = {
            name: round(content["scores"][name]["value"], 2)
            for name in ("rouge1", "rouge2", "rougeL", "chrf")
        }
        language = file.name.split(".")[0]
        line = {"run": folder.name, "language": language, "rows": content["num_examples"], **found}
        lines.append(line | {"copied rougeL": copied(folder / f"{language}.jsonl")})
    return lines


def copied(rows: Path) -> float:
    """ROUGE-L of the sources' first sentences."""
    from s2s_ft.data.examples import read_examples
    from s2s_ft.evaluation.baselines import first_sentences
    from s2s_ft.evaluation.options import ScoringOptions
    from s2s_ft.evaluation.run import evaluate

    examples = list(read_examples(rows))
    texts = first_sentences([str(example.source) for example in examples])
    references = [str(example.target) for example in examples]
    return round(evaluate(texts, references, ScoringOptions(num_bootstrap=1)).value("rougeL"), 2)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is asked for, then write the table of all that is there."""
    parser = parser_of(__doc__)
    parser.add_argument("encoder", type=model_anywhere)
    for name in ("data", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--rows", type=int, default=100, help="test rows of each language")
    given = parser.parse_args(argv)
    given.data, given.output = given.data.resolve(), given.output.resolve()
    for name in given.only:
        run(name, given)
    table = [line for name in RUNS for line in scores(given.output / name)]
    if not table:
        raise SystemExit(f"{given.output}: there are no scores yet")
    write_report(
        "languages",
        table,
        given.results,
        encoder=Path(given.encoder).name,
        temperature=TEMPERATURE,
        training=" ".join(TRAINING),
        decoding=" ".join(DECODING),
    )


if __name__ == "__main__":
    main()
