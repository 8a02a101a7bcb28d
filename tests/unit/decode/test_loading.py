"""Method of a checkpoint, and the flags that override it; what is only done where asked for."""

from types import SimpleNamespace

import pytest
import torch

from s2s_ft.decode import loading
from s2s_ft.model.fingerprint import fingerprint
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqSettings
from s2s_ft.options import DecodeOptions, build


def test_pos_shift_overrides_the_method_and_says_so(caplog):
    model = SimpleNamespace(settings=Seq2SeqSettings(method="masked"))
    assert loading._method_name(model, pos_shift=False) == "masked"
    assert loading._method_name(model, pos_shift=True) == "causal"
    assert "without the flag it would be decoded as masked" in caplog.text


@pytest.mark.parametrize("flags", [{}, {"bf16": True}])
def test_weights_are_hashed_as_the_files_hold_them_and_packed_where_that_is_asked_for(
    tiny_checkpoint, flags
):
    name, cpu = str(tiny_checkpoint("bert")), torch.device("cpu")
    values = {"model_path": name, "input_file": "i", "max_tgt_length": 8, **flags}
    options = build(DecodeOptions, values)
    plain = loading.load(name, options, cpu)
    told = loading.load(name, options, cpu, hash_weights=True, pack_weights=False)
    assert plain.weights == ""
    assert told.weights == fingerprint(load_finetuned(name))
    assert plain.config == told.config
    kinds = {type(module) for module in told.model.modules()}
    packed = {type(module) for module in plain.model.modules()} - kinds
    assert torch.nn.Linear in kinds
    assert packed
