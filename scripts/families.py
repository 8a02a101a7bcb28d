"""Make docs/families.md of a run of the tests: families x methods, and ways to be wrong.

    python scripts/families.py

Notable: the rows are what the tests record while they run (pytest's record_property), so the tables
say what was tried and nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TESTS = ["tests/unit/convert/test_families.py", "tests/unit/convert/test_faults.py"]
DOCUMENT = ROOT / "docs" / "families.md"
STEPS = ("convert", "train", "save", "reload", "decode", "incremental = full", "tokenizer")
METHODS = ("causal", "masked", "pseudo_mask")

HEAD = """# Families, formats and faults

Made by `python scripts/families.py` of a run of `tests/unit/convert`; do not edit.

## Converting

Training and decoding read any transformers folder or hub id as it is. Other formats are made one
first; nothing is overwritten, and `convert_report.json` accounts for every weight (`--list_keys`
prints it).

```bash
# UniLM's own files: unilm1-base-cased-config.json and -vocab.txt lie beside the weights
python -m s2s_ft.convert --model_path unilm1-base-cased.bin --output_dir unilm1
# what the original toolkit fine-tuned
python -m s2s_ft.convert --model_path run/ckpt-32000 --output_dir mine --tokenizer_name roberta-base
```

What the original toolkit fine-tuned decodes here with its results. It saves no tokenizer;
`train_opt.json` above its checkpoint, if it is there, tells the method, the lengths and the family;
else `--fine_tuning_method` does. A RoBERTa or XLM-R that it made BERT of (no token types, a
position table without its first two rows) gets its family back.

## Families and methods

Each row is a tiny random checkpoint, written to disk in the family's real format (config and
weight names, files, kind of tokenizer), then converted (`python -m s2s_ft.convert`), trained a
step, saved, reloaded bit for bit (and by `AutoModelForMaskedLM`), decoded with by beam search;
every score that the search gives agrees with a full pass over the same tokens (incremental = full),
and the tokenizer gives eight languages back. A cell names the methods that did it:
c causal, m masked, p pseudo_mask.

"""

FAULTS_HEAD = """
## Ways a checkpoint folder can be wrong

What is said (`FOLDER` is the checkpoint's) and the exit code of `python -m s2s_ft.convert`;
training and decoding say the same of the model. No code in a folder is ever run: weights are read
from safetensors or through torch's weights-only loader, other pickles are not read at all, and
Python files beside a checkpoint are not imported.

"""

Properties = dict[str, str]


def main() -> int:
    """Run the tests and write the document; returns pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *TESTS, f"--junitxml={report}"]
        code = subprocess.run([*command, "-o", "junit_family=xunit1"], cwd=ROOT, check=False)
        rows = [properties_of(case) for case in ElementTree.parse(report).iter("testcase")]
    if code.returncode == 0 or "--force" in sys.argv:
        DOCUMENT.write_text(document(rows), encoding="utf-8")
    return code.returncode


def properties_of(case: ElementTree.Element) -> Properties:
    """What a test recorded."""
    return {each.get("name", ""): each.get("value", "") for each in case.iter("property")}


def document(rows: list[Properties]) -> str:
    """The whole of docs/families.md."""
    return HEAD + families(rows) + FAULTS_HEAD + faults(rows)


def families(rows: list[Properties]) -> str:
    """The first table."""
    lines = [f"| family | files | {' | '.join(STEPS)} |", "|---" * (len(STEPS) + 2) + "|"]
    tried = [row for row in rows if "family" in row]
    for family, files in dict.fromkeys((row["family"], row["files"]) for row in tried):
        done = {row["method"]: row for row in tried if row["family"] == family}
        cells = [
            " ".join(name[0] for name in METHODS if done.get(name, {}).get(step) == "yes")
            for step in STEPS
        ]
        lines.append(f"| {family} | {files} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def faults(rows: list[Properties]) -> str:
    """The second table."""
    lines = ["| what is wrong | message | exit code |", "|---|---|---|"]
    for row in rows:
        if "fault" in row:
            message = shortened(row["message"]).replace("|", "\\|")
            lines.append(f"| {row['fault']} | {message} | {row['code']} |")
    return "\n".join(lines) + "\n"


def shortened(message: str, most: int = 420) -> str:
    """A message with its middle left out where it lists many weights."""
    if len(message) <= most:
        return message
    return f"{message[: most - 120]} … {message[-100:]}"


if __name__ == "__main__":
    raise SystemExit(main())
