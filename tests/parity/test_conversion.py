"""Golden A1 and A3 once more, through `python -m s2s_ft.convert` and from files on disk: each
family's own format, and the folders that the original toolkit fine-tuned.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM

from s2s_ft.convert.__main__ import main
from s2s_ft.model.positions import num_positions
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from tests.parity.conftest import ROBERTA_LIKE, cases, read_json
from tests.parity.original import (
    vocabulary_of,
    write_fine_tuned,
    write_pretrained,
    write_tokenizer,
)
from tests.parity.test_search import test_every_run as search_as_recorded
from tests.parity.test_training_pass import FORWARD_CASES
from tests.parity.test_training_pass import test_loss_and_gradients as train_as_recorded

FINE_TUNED = [case for case in FORWARD_CASES if "electra" not in case.name]
"""The original cannot load ELECTRA, so nobody has a checkpoint that it fine-tuned."""


def converted(checkpoint: Path, output: Path, *flags: str) -> Path:
    arguments = ["--model_path", str(checkpoint), "--output_dir", str(output), *flags]
    assert main(arguments) == 0
    AutoModelForMaskedLM.from_pretrained(output)
    return output


def assert_same_weights(one: Seq2SeqModel, other: Seq2SeqModel) -> None:
    weights, others = one.state_dict(), other.state_dict()
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name
    assert one.settings == other.settings


def from_own_format(case: Path, folder: Path) -> Seq2SeqModel:
    write_pretrained(case, folder / "in")
    return load_finetuned(str(converted(folder / "in", folder / "out")))


def from_fine_tuned(case: Path, folder: Path, *, directly: bool = False) -> Seq2SeqModel:
    config = read_json(case, "config")
    family = config["model_type"]
    tokenizer = write_tokenizer(folder / "tokenizer", vocabulary_of(case), family)
    options = {"model_type": family, "tokenizer_name": str(tokenizer), "mask_way": "v2"}
    checkpoint = write_fine_tuned(case, folder / "run", options)
    if directly:
        return load_finetuned(str(checkpoint))
    model = load_finetuned(str(converted(checkpoint, folder / "out")))
    assert model.encoder.config.model_type == (family if family in ROBERTA_LIKE else "bert")
    assert num_positions(model.encoder) == 64
    return model


@pytest.mark.parametrize("case", FORWARD_CASES, ids=lambda case: case.name)
def test_training_from_a_familys_own_format(case: Path, tmp_path: Path) -> None:
    train_as_recorded(case, "ls_0.1", lambda case: from_own_format(case, tmp_path))


@pytest.mark.parametrize("case", cases("a3_"), ids=lambda case: case.name)
def test_decoding_from_a_familys_own_format(
    case: Path, tmp_path: Path, load_golden_model: Callable[..., Seq2SeqModel]
) -> None:
    """Bit for bit the model that `test_search.py` decodes with."""
    assert_same_weights(from_own_format(case, tmp_path / "own"), load_golden_model(case))


@pytest.mark.parametrize("case", FINE_TUNED, ids=lambda case: case.name)
def test_training_on_what_the_original_fine_tuned(case: Path, tmp_path: Path) -> None:
    train_as_recorded(case, "ls_0.1", lambda case: from_fine_tuned(case, tmp_path))


@pytest.mark.parametrize("case", cases("a3_"), ids=lambda case: case.name)
def test_decoding_with_what_the_original_fine_tuned(
    case: Path, tmp_path: Path, load_golden_model: Callable[..., Seq2SeqModel]
) -> None:
    """Bit for bit the model that `test_search.py` decodes with, converted or not."""
    direct = from_fine_tuned(case, tmp_path / "direct", directly=True)
    through = from_fine_tuned(case, tmp_path / "converted")
    assert_same_weights(direct, through)
    assert direct.settings.method == "pseudo_mask"
    recorded = load_golden_model(case)
    if through.encoder.config.model_type in ROBERTA_LIKE:
        with torch.no_grad():  # rows before position 0, which nothing reads
            recorded.encoder.roberta.embeddings.position_embeddings.weight[:2] = 0.0
    assert_same_weights(through, recorded)


@pytest.mark.parametrize("name", ["a3_bert_s2s", "a3_roberta_s2s_posshift", "a3_unilm_l2r"])
def test_every_rule_with_what_the_original_fine_tuned(name: str, tmp_path: Path) -> None:
    """One case a family is decoded once more, with all its options."""
    (case,) = [case for case in cases(name) if case.name == name]
    search_as_recorded(case, lambda case: from_fine_tuned(case, tmp_path))


def test_the_report_accounts_for_every_weight(tmp_path: Path) -> None:
    case = next(case for case in cases("a3_roberta") if case.name.endswith("s2s"))
    from_fine_tuned(case, tmp_path)
    report = json.loads((tmp_path / "out" / "convert_report.json").read_text(encoding="utf-8"))
    assert report["kind"] == "fine-tuned by the original toolkit"
    assert report["class"] == "RobertaForMaskedLM"
    assert report["counts"] == {"mapped": 41, "dropped": 2, "initialised": 1}
    assert {entry["name"] for entry in report["dropped"]} == {
        "cls.predictions.decoder_weight",
        "crit_mask_lm_smoothed.one_hot",
    }
    types = "roberta.embeddings.token_type_embeddings.weight"
    assert report["initialised"][0]["name"] == types
