"""Rows of the vocabulary, grown and cut in every family."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel

from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.vocabulary import add_rows, change_rows, vocabulary_weights
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import NewToken, TextCodec
from tests.conftest import FAMILIES, VOCABULARY

SIZE = len(VOCABULARY)
PIECES = (5, 9, 11)


def encoder_of(folder: Path) -> PreTrainedModel:
    options = ModelOptions(model_name_or_path=str(folder), dropout=0.0)
    codec = TextCodec.load(folder)
    model = load_for_training(options, codec, max_source_length=16, max_target_length=8)
    return model.encoder.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_new_rows_are_the_means_of_their_pieces(
    tiny_checkpoint: Callable[[str], Path], family: str
) -> None:
    encoder = encoder_of(tiny_checkpoint(family))
    before = {name: x.detach().clone() for name, x in vocabulary_weights(encoder).items()}
    num_tied = len(dict(encoder.named_parameters(remove_duplicate=False))) - len(
        dict(encoder.named_parameters())
    )
    add_rows(encoder, [NewToken(SIZE, PIECES), NewToken(SIZE + 1, (7,))])
    after = vocabulary_weights(encoder)
    assert after.keys() == before.keys()
    assert any(x.dim() == 2 for x in after.values())
    for name, rows in after.items():
        assert rows.shape[0] == SIZE + 2
        assert torch.equal(rows[:SIZE], before[name])
        torch.testing.assert_close(rows[SIZE], before[name][list(PIECES)].mean(dim=0))
        assert torch.equal(rows[SIZE + 1], before[name][7])
    assert encoder.config.vocab_size == encoder.get_input_embeddings().num_embeddings == SIZE + 2
    assert num_tied == len(dict(encoder.named_parameters(remove_duplicate=False))) - len(
        dict(encoder.named_parameters())
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_of_one_piece_is_as_likely_as_that(
    tiny_checkpoint: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    """Through the whole model, biases included, as transformers itself opens it."""
    encoder = encoder_of(tiny_checkpoint(family))
    add_rows(encoder, [NewToken(SIZE, (7,))])
    encoder.config.architectures = None
    encoder.save_pretrained(tmp_path)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        of_piece, of_token = (
            model(input_ids=torch.tensor([[2, each, 9, 3]])).logits for each in (7, SIZE)
        )
    torch.testing.assert_close(of_piece, of_token)
    torch.testing.assert_close(of_piece[..., 7], of_piece[..., SIZE])


def test_rows_that_are_there_are_used(tiny_checkpoint: Callable[[str], Path]) -> None:
    encoder = encoder_of(tiny_checkpoint("bert"))
    change_rows(encoder, lambda rows: torch.cat([rows, rows.new_zeros(8, *rows.shape[1:])]))
    add_rows(encoder, [NewToken(SIZE, PIECES)])
    assert encoder.config.vocab_size == SIZE + 8
    words = encoder.get_input_embeddings().weight
    torch.testing.assert_close(words[SIZE], words[list(PIECES)].mean(dim=0))


def test_nothing_new_changes_nothing(tiny_checkpoint: Callable[[str], Path]) -> None:
    encoder = encoder_of(tiny_checkpoint("bert"))
    before = encoder.get_input_embeddings().weight
    add_rows(encoder, ())
    assert encoder.get_input_embeddings().weight is before
