"""Method of a checkpoint, and the flags that override it."""

from types import SimpleNamespace

from s2s_ft.decode import loading
from s2s_ft.model.seq2seq import Seq2SeqSettings


def test_pos_shift_overrides_the_method_and_says_so(caplog):
    model = SimpleNamespace(settings=Seq2SeqSettings(method="masked"))
    assert loading._method_name(model, pos_shift=False) == "masked"
    assert loading._method_name(model, pos_shift=True) == "causal"
    assert "without the flag it would be decoded as masked" in caplog.text
