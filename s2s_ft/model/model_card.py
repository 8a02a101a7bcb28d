"""The model card of a checkpoint: `README.md` as the hub reads it, from facts alone.

    ---                         front matter (YAML): base model, tags, scores as a model index
    ---
    # name                      what it is, how to use it, what it was made of, what it scored,
    ## …                        what it cannot do

Notable: nothing is claimed that is not known. Where a fact is missing its line is missing too; the
license is left to the user, since it follows from the base model and the data. Of files only the
names are told, never where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILE = "README.md"

TAGS = ("s2s-ft", "sequence-to-sequence", "transformers", "safetensors")

SCORE_NAMES = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF2",
}
"""How scores are written, by the names that evaluation has for them."""

METRIC_NAMES = {**SCORE_NAMES, "loss": "Loss (nats per token)"}
"""The same, with what else held-out rows are measured by."""

_METRIC_TYPES = {"rouge1": "rouge", "rouge2": "rouge", "rougeL": "rouge"}

METHODS_IN_WORDS = {
    "causal": "each target token predicts the next one",
    "masked": "random target tokens are masked and predicted",
    "pseudo_mask": "every target token is predicted at a pseudo mask that shares its position",
}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What is known of a checkpoint.

    Attributes:
        name: What it is called.
        folder: Where it is, such as `run/best`, for those who try the examples; its name unless
            given.
        model_type: Family of the encoder.
        method: Name of the fine-tuning method.
        base_model: Hub id or folder of the pretrained encoder.
        train_file: File of the training rows.
        num_train_rows: How many there are.
        max_source_length: Longest source in tokens.
        max_target_length: Longest target in tokens.
        step: Updates taken.
        settings: Flags of the training and their values.
        dev_file: File of the held-out rows.
        num_dev_rows: How many there are.
        scores: On these, by the names that evaluation has for them.
        decoding: Flags of the decoding that they were measured with, as the command has them.
        notes: Further sentences on how it was made.
        is_adapter: Whether its weights are those of an adapter alone.
        versions: Of what made it.
    """

    name: str
    model_type: str
    method: str
    folder: str | None = None
    base_model: str | None = None
    train_file: str | None = None
    num_train_rows: int | None = None
    max_source_length: int | None = None
    max_target_length: int | None = None
    step: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    dev_file: str | None = None
    num_dev_rows: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    decoding: str = ""
    notes: tuple[str, ...] = ()
    is_adapter: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


def write_model_card(folder: str | Path, facts: CardFacts) -> None:
    """Write the card into a checkpoint folder.

    Args:
        folder: Existing folder.
        facts: What is known of the checkpoint.
    """
    (Path(folder) / FILE).write_text(model_card(facts), encoding="utf-8")


def model_card(facts: CardFacts) -> str:
    """The text of the card."""
    parts = [
        f"---\n{_front_matter(facts)}---",
        f"# {facts.name}",
        _introduction(facts),
        _usage(facts),
        _training(facts),
        _scores(facts),
        _limitations(facts),
        _license(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def hub_id(base_model: str | None) -> str | None:
    """The base model if it is the name of something on the hub, and no folder of this machine."""
    if base_model is None or Path(base_model).exists() or base_model.startswith((".", "/", "~")):
        return None
    return base_model if base_model.count("/") <= 1 and "\\" not in base_model else None


def _front_matter(facts: CardFacts) -> str:
    """What the hub reads."""
    base = hub_id(facts.base_model)
    content: dict[str, Any] = {}
    if base is not None:
        content |= {"base_model": base, "base_model_relation": "finetune"}
    content |= {
        "library_name": "s2s-ft",
        "pipeline_tag": "text-generation",
        "tags": [*TAGS, facts.model_type, facts.method],
    }
    if facts.scores:
        content["metrics"] = sorted({_METRIC_TYPES.get(name, name) for name in _told(facts)})
        content["model-index"] = [{"name": facts.name, "results": [_result(facts)]}]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _result(facts: CardFacts) -> dict[str, Any]:
    """The scores as the hub's model index has them."""
    data_set = _file_name(facts.dev_file) or "held-out rows"
    return {
        "task": {"type": "text-generation", "name": "Sequence-to-sequence generation"},
        "dataset": {"type": data_set, "name": data_set, "split": "validation"},
        "metrics": [
            {
                "type": _METRIC_TYPES.get(name, name),
                "name": METRIC_NAMES.get(name, name),
                "value": round(float(value), 4),
            }
            for name, value in _told(facts).items()
        ],
    }


def _introduction(facts: CardFacts) -> str:
    base = _shown(facts.base_model)
    of = f"{base}, " if base else ""
    words = METHODS_IN_WORDS.get(facts.method)
    explained = f" ({words})" if words else ""
    return (
        f"An encoder that writes: {of}a pretrained encoder of the family `{facts.model_type}`, "
        "fine-tuned for sequence-to-sequence generation with "
        f"s2s-ft by the method `{facts.method}`{explained}."
    )


def _usage(facts: CardFacts) -> str:
    """From the command line, from Python, and as its own family."""
    folder = facts.folder or facts.name
    return f"""## How to use it

With s2s-ft installed, from the command line, on a file of JSON lines with the key `src`:

```bash
s2s-decode --model_path {folder} --input_file in.jsonl --output_file out.txt{_flags(facts)}
```

From Python:

```python
from s2s_ft import Generator

generator = Generator.from_pretrained("{folder}")
print(generator(["The text that wants an answer."], num_beams=5))
```

{_weights(facts)} What makes it generate is s2s-ft's attention pattern."""


def _weights(facts: CardFacts) -> str:
    """What else opens it."""
    folder = facts.folder or facts.name
    if facts.is_adapter:
        return f"""The weights are those of an adapter, which needs the package `peft` and the
encoder that `adapter_config.json` names.
`peft.PeftModel.from_pretrained(encoder, "{folder}")` opens it, too."""
    return f"""The weights are those of a plain masked-language model of its family, so
`transformers.AutoModelForMaskedLM.from_pretrained("{folder}")` opens it, too, without remote
code."""


def _flags(facts: CardFacts) -> str:
    return f" {facts.decoding}" if facts.decoding else ""


def _training(facts: CardFacts) -> str:
    rows = "" if facts.num_train_rows is None else f" ({facts.num_train_rows:,} rows)"
    facts_in_rows = {
        "Base model": _shown(facts.base_model),
        "Training data": f"`{name}`{rows}" if (name := _file_name(facts.train_file)) else "",
        "Method": f"`{facts.method}`",
        "Longest source, target": _lengths(facts),
        "Updates": "" if facts.step is None else f"{facts.step:,}",
        **{f"`--{name}`": f"`{value}`" for name, value in facts.settings.items()},
        **{name: version for name, version in facts.versions.items()},
    }
    told = [f"| {name} | {value} |" for name, value in facts_in_rows.items() if value]
    lines = ["## How it was made", "", *facts.notes, *([""] if facts.notes else [])]
    return "\n".join([*lines, "| | |", "|---|---|", *told])


def _lengths(facts: CardFacts) -> str:
    if facts.max_source_length is None or facts.max_target_length is None:
        return ""
    return f"{facts.max_source_length}, {facts.max_target_length} tokens"


def _scores(facts: CardFacts) -> str:
    if not facts.scores:
        return ""
    rows = "" if facts.num_dev_rows is None else f" ({facts.num_dev_rows:,} rows)"
    where = _file_name(facts.dev_file)
    measured = f"On the held-out rows of `{where}`{rows}" if where else f"On held-out rows{rows}"
    decoded = f", decoded with `{facts.decoding}`" if facts.decoding else ""
    told = [
        f"| {METRIC_NAMES.get(name, name)} | {value:.4g} |" for name, value in _told(facts).items()
    ]
    return "\n".join(
        ["## Scores", "", f"{measured}{decoded}:", "", "| Metric | Value |", "|---|---|", *told]
    )


def _limitations(facts: CardFacts) -> str:
    length = facts.max_source_length
    cut = f" Sources are cut at {length} tokens." if length is not None else ""
    return f"""## What it cannot do

It writes what is likely after its training data, which need not be true: check what it says before
relying on it. It has the biases of its base model and of its data, and does poorly on texts unlike
the latter, other languages included.{cut}"""


def _license() -> str:
    return """## License

None is stated here: choose one that the base model and the training data allow, and name it as
`license:` in the front matter of this file."""


def _told(facts: CardFacts) -> dict[str, float]:
    """Scores in the order in which they are told."""
    known = [name for name in METRIC_NAMES if name in facts.scores]
    others = [name for name in facts.scores if name not in METRIC_NAMES]
    return {name: facts.scores[name] for name in (*known, *others)}


def _file_name(path: str | None) -> str | None:
    return None if path is None else Path(path).name


def _shown(base_model: str | None) -> str:
    """The base model in the text: a link where it is on the hub, else the name of its folder."""
    if base_model is None:
        return ""
    name = hub_id(base_model)
    if name is not None:
        return f"[{name}](https://huggingface.co/{name})"
    return f"`{Path(base_model).name}`"
