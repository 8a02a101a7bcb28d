"""The card and the defaults of decoding that a run writes into its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.unit.train.runs import STEPS, Train

LAST = f"ckpt-{STEPS}"


def generation(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "generation_config.json").read_text())
    return {name: value for name, value in content.items() if name != "transformers_version"}


def test_every_checkpoint_has_a_card(run: Train, output_dir: Path, data_file: Path) -> None:
    assert (
        run(dev_file=str(data_file), eval_steps=3, eval_beam_size=2, eval_length_penalty=0.5) == 0
    )
    best = ModelCard.load(output_dir / "best" / "README.md")
    found = {each.metric_name: each.metric_value for each in best.data.eval_results}
    assert {"Loss (nats per token)", "ROUGE-1", "BLEU", "chrF2"} <= found.keys()
    for told in ("`train.jsonl` (16 rows)", "(16 rows)", "--beam_size 2 --length_penalty 0.5"):
        assert told in best.text, told
    assert "`--learning_rate` | `0.001`" in best.text
    last = ModelCard.load(output_dir / LAST / "README.md")
    assert last.data.base_model is None  # a folder of this machine is no name
    assert str(output_dir.parent) not in str(last)
    assert f"| Updates | {STEPS} |" in last.text
    for folder in (output_dir / "best", output_dir / LAST):
        named = f"{output_dir.name}/{folder.name}"
        card = ModelCard.load(folder / "README.md").text
        assert f"# {output_dir.name}\n" in card
        assert f"--model_path {named} --input_file" in card
        assert card.count(f'from_pretrained("{named}")') == 2
        assert generation(folder)["num_beams"] == 2
        assert generation(folder)["length_penalty"] == 0.5


@pytest.mark.parametrize(("save", "other"), [("merged", "AutoModel"), ("adapter", "PeftModel")])
def test_the_card_says_what_opens_the_weights(
    run: Train, output_dir: Path, save: str, other: str
) -> None:
    pytest.importorskip("peft")
    assert run(peft="lora", peft_save=save) == 0
    assert other in ModelCard.load(output_dir / LAST / "README.md").text


def test_without_held_out_rows_no_score_is_told(run: Train, output_dir: Path) -> None:
    assert run() == 0
    card = ModelCard.load(output_dir / LAST / "README.md")
    assert card.data.eval_results is None
    assert "## Scores" not in card.text
    assert generation(output_dir / LAST) == {
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "max_new_tokens": 6,
    }
