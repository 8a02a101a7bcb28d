"""The model card: read back as the hub reads it; only what is known is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from s2s_ft.model.model_card import CardFacts, hub_id, model_card, write_model_card

BARE = CardFacts(name="headlines", model_type="bert", method="pseudo_mask")

WHOLE = CardFacts(
    name="headlines",
    model_type="roberta",
    method="causal",
    base_model="FacebookAI/roberta-base",
    train_file="/home/somebody/data/train.jsonl",
    num_train_rows=24015,
    max_source_length=464,
    max_target_length=48,
    step=12000,
    settings={"learning_rate": 5e-5, "seed": 42},
    dev_file="/home/somebody/data/dev.jsonl",
    num_dev_rows=200,
    scores={"loss": 2.34567, "rouge1": 30.123, "bleu": 9.9, "chrf": 40.0},
    decoding="--beam_size 5 --length_penalty 1.0",
    notes=("Distilled from a larger model.",),
    versions={"torch": "2.13.0"},
)


def test_the_hub_reads_the_front_matter() -> None:
    data = ModelCard(model_card(WHOLE)).data
    assert data.base_model == "FacebookAI/roberta-base"
    assert data.license is None
    assert data.library_name == "s2s-ft"
    assert {"s2s-ft", "roberta", "causal"} <= set(data.tags)
    assert data.metrics == ["bleu", "chrf", "loss", "rouge"]
    found = {each.metric_name: each.metric_value for each in data.eval_results}
    assert found == {"ROUGE-1": 30.123, "BLEU": 9.9, "chrF2": 40.0, "Loss (nats per token)": 2.3457}
    assert {each.dataset_name for each in data.eval_results} == {"dev.jsonl"}
    assert data.model_name == "headlines"


def test_the_body_tells_data_settings_scores_and_use() -> None:
    text = model_card(WHOLE)
    for told in (
        "`train.jsonl` (24,015 rows)",
        "| `--learning_rate` | `5e-05` |",
        "| ROUGE-1 | 30.12 |",
        "`dev.jsonl` (200 rows)",
        "--beam_size 5 --length_penalty 1.0",
        "464, 48 tokens",
        "12,000",
        "Distilled from a larger model.",
        "Sources are cut at 464 tokens.",
        "Generator.from_pretrained",
        "AutoModelForMaskedLM",
        "## License",
    ):
        assert told in text, told


def test_an_adapter_is_not_said_to_be_a_model() -> None:
    text = model_card(replace(WHOLE, is_adapter=True))
    assert "AutoModelForMaskedLM" not in text
    assert "PeftModel.from_pretrained(encoder, " in text


def test_where_files_lie_is_not_told() -> None:
    assert "somebody" not in model_card(WHOLE)


def test_what_is_not_known_is_left_out() -> None:
    text = model_card(BARE)
    data = ModelCard(text).data
    assert data.base_model is None
    assert data.eval_results is None
    assert "## Scores" not in text
    assert "None |" not in text
    assert "Training data" not in text


def test_a_folder_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in (str(folder), "models/mine", "./gone", "/gone", "~/gone", "a/b/c", "c:\\models"):
        assert hub_id(name) is None, name
    assert hub_id("bert-base-uncased") == "bert-base-uncased"
    text = model_card(replace(BARE, base_model=str(folder)))
    assert "`mine`" in text
    assert str(tmp_path) not in text


def test_it_is_written_into_the_folder(tmp_path: Path) -> None:
    write_model_card(tmp_path, WHOLE)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == model_card(WHOLE)
