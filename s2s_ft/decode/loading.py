"""What decodes: the checkpoint's model, its tokenizer and its method, on a device.

Notable: what a checkpoint says of itself is taken from there; a flag only overrides it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

import torch
from torch import nn

from s2s_ft.decode.identity import config_of
from s2s_ft.decode.lengths import KnownLengths
from s2s_ft.methods import Method, method_named
from s2s_ft.model.fingerprint import fingerprint
from s2s_ft.model.heads import head_modules
from s2s_ft.model.int8 import quantize_linear_layers
from s2s_ft.model.packed import pack_linear_layers
from s2s_ft.model.positions import num_positions
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import DecodeOptions
from s2s_ft.options.decode import DecodeRuntimeOptions
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuned:
    """A checkpoint made ready.

    Attributes:
        model: on the device, in evaluation mode.
        codec: its tokenizer.
        method: its method, with the lengths of this run.
        tokenizer: folder or hub name that the tokenizer was loaded from.
        do_lower_case: the casing that it was loaded with; None = as its files say.
        weights: SHA-256 of its weights, as its files hold them; empty where nobody asked for it.
        config: SHA-256 of its config.
    """

    model: Seq2SeqModel
    codec: TextCodec
    method: Method
    tokenizer: str
    do_lower_case: bool | None
    weights: str = ""
    config: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def fitted(self, options: DecodeOptions) -> FineTuned:
        """The same checkpoint with the lengths of other options.

        Raises:
            ValueError: there is no room for them.
        """
        lengths = _lengths(self.model)
        method = replace(
            self.method,
            max_source_length=lengths.longest_source(options),
            max_target_length=lengths.longest_target(options),
        )
        return replace(self, method=method)


def find_checkpoints(model_path: str) -> list[str]:
    """The checkpoints that `--model_path` names.

    Returns:
        The folder or hub id, or every checkpoint folder that fits the pattern, sorted by name.

    Raises:
        ValueError: a pattern that no checkpoint folder fits.
    """
    if Path(model_path).is_dir() or not has_magic(model_path):
        return [model_path]
    found = [name for name in sorted(glob(model_path)) if (Path(name) / "config.json").is_file()]
    if not found:
        raise ValueError(f"--model_path: no checkpoint folder fits {model_path}")
    return found


def load(
    name: str,
    options: DecodeOptions,
    device: torch.device,
    *,
    hash_weights: bool = False,
    pack_weights: bool = True,
) -> FineTuned:
    """Load a checkpoint and settle what its own settings and the flags say.

    Args:
        name: folder or hub id.
        options: all options of the run.
        device: where the model goes.
        hash_weights: whether to say which weights they are, for which all of them are read.
        pack_weights: whether to put them in the order of a CPU's products, where that pays; only
            for a model that is to compute.

    Raises:
        ValueError: the checkpoint or tokenizer cannot be loaded, they do not fit each other, or
            there is no room for `--max_tgt_length`.
    """
    flags = options.model
    with torch.random.fork_rng(devices=[]):  # a program's own draws go on as if nothing was loaded
        # Only weights that the checkpoint lacks are drawn, on the CPU; its generator alone, as
        # torch's function of this name seeds those of the GPUs too.
        torch.default_generator.manual_seed(options.runtime.seed)
        model = load_finetuned(name, config_path=flags.config_path, cache_dir=flags.cache_dir)
    _warn_of_untrained_head(model, name)
    tokenizer = flags.tokenizer_name or name
    lower = True if flags.do_lower_case else model.settings.do_lower_case
    codec = TextCodec.load(
        tokenizer,
        do_lower_case=lower,
        cache_dir=flags.cache_dir,
        flag="--tokenizer_name" if flags.tokenizer_name else "--model_path",
    )
    embeddings = model.encoder.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    codec = codec.with_vocab_size(embeddings.num_embeddings)  # which fails if they do not fit
    lengths = _lengths(model)
    method = method_named(
        _method_name(model, pos_shift=flags.pos_shift),
        special=codec.special,
        max_source_length=lengths.longest_source(options),
        max_target_length=lengths.longest_target(options),
    )
    # Before its format changes them.
    weights, config = fingerprint(model) if hash_weights else "", config_of(model)
    model = _in_its_format(model.to(device).eval(), options.runtime, pack_weights=pack_weights)
    return FineTuned(model, codec, method, tokenizer, lower, weights, config)


def _in_its_format(
    model: Seq2SeqModel, options: DecodeRuntimeOptions, *, pack_weights: bool
) -> Seq2SeqModel:
    """The model in the number format of `--fp16`, `--bf16` or `--int8`, and on a CPU with weights
    in the order of its products; autocast alone would make the weights anew at every step.
    """
    if options.fp16:
        return model.half()
    if options.int8:
        if quantize_linear_layers(model) == 0:
            logger.warning(
                "--int8: encoders of type '%s' have no layers that could be put into 8 bits: "
                "decoding in float32",
                model.encoder.config.model_type,
            )
        return model
    if options.bf16:
        model = model.bfloat16()
    is_compiled = options.torch_compile  # graphs know no packed weights
    if pack_weights and model.device.type == "cpu" and not is_compiled:
        pack_linear_layers(model)
    return model


def _warn_of_untrained_head(model: Seq2SeqModel, name: str) -> None:
    """Say so where the head's transform is still what `initialize_fresh_head` makes it."""
    decoder = model.encoder.get_output_embeddings()
    for where, module in head_modules(model.encoder):
        if module is decoder or not isinstance(module, nn.Linear):
            continue
        if torch.equal(module.weight, torch.eye(*module.weight.shape)):
            logger.warning(
                "%s: its output head (%s) was never trained, so expect word salad; is it a "
                "checkpoint from before the first update?",
                name,
                where,
            )


def _method_name(model: Seq2SeqModel, *, pos_shift: bool) -> str:
    own = model.settings.method
    if pos_shift and own != "causal":
        logger.warning(
            "--pos_shift: decoding as causal; without the flag it would be decoded as %s", own
        )
        return "causal"
    return own


def _lengths(model: Seq2SeqModel) -> KnownLengths:
    known = model.settings
    positions = num_positions(model.encoder)
    return KnownLengths(known.max_source_length, known.max_target_length, positions)
