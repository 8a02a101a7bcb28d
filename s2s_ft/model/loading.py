"""From a checkpoint's files to an encoder: the weights renamed, held against the config, loaded and
accounted for.

Notable: the Auto classes know the families; only weights under older names (`legacy.py`) are
renamed first. What does not fit is told whole, every weight at once with its shapes, before
anything is loaded; weights that differ in the number of their layer only are told as one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from s2s_ft.cli import first_line
from s2s_ft.model.attention import IMPLEMENTATION
from s2s_ft.model.files import read_weights, weight_names
from s2s_ft.model.finite import has_finite_ends
from s2s_ft.model.heads import is_head_weight
from s2s_ft.model.interface import masked_lm_class
from s2s_ft.model.legacy import RELATIVE_BIAS, Renamed, is_legacy, renamed_weights
from s2s_ft.model.located import locate, weights_of, why_no_weights
from s2s_ft.model.quiet import quiet

Shape = tuple[int, ...]


@dataclass
class Loaded:
    """An encoder, and what its checkpoint gave it.

    Attributes:
        encoder: With the weights in it.
        relative_bias: UniLMv2's bias, None where there is none.
        missing: Names of its weights that the checkpoint did not hold.
        shapes: Weights of the checkpoint's files, by name.
        renamed: What was renamed; None where transformers read the files as they are.
        unused: Names, after renaming, that found no place.
    """

    encoder: PreTrainedModel
    relative_bias: Tensor | None
    missing: frozenset[str]
    shapes: dict[str, Shape] = field(default_factory=dict)
    renamed: Renamed | None = None
    unused: frozenset[str] = frozenset()


def load_encoder(
    name: str,
    config: PreTrainedConfig,
    cache_dir: str | None,
    *,
    flag: str,
    lost_token_types: bool,
    rename_always: bool,
) -> Loaded:
    """Read a checkpoint's weights into an encoder of its config.

    Args:
        name: Folder, weight file or hub id.
        config: As `describe` made it.
        cache_dir: Where hub files are kept.
        flag: The flag that named it, for messages.
        lost_token_types: See `legacy.renamed_weights`.
        rename_always: Read the files here even where transformers could; for a full account.

    Raises:
        ValueError: There are no weights, or they are damaged, of another shape or not finite.
        EnvironmentFault: A file cannot be read.
    """
    family = masked_lm_class(config, f"{flag} {name}")
    located = locate(name, flag)
    files = weights_of(located, cache_dir)
    if not files and located.is_local:
        raise ValueError(why_no_weights(located, flag))
    # Pickled weights are only ever opened here; of safetensors the names may do.
    pickled = any(file.suffix != ".safetensors" for file in files)
    weights = _read(files) if pickled else None
    shapes = _shapes_in(files) if weights is None else _shapes_of(weights)
    renamed: Renamed | None = None
    legacy = lost_token_types or is_legacy(list(shapes), config.model_type)
    if files and (pickled or rename_always or legacy or not _is_folder_of(files, name)):
        renamed = renamed_weights(
            _read(files) if weights is None else weights,
            config.model_type,
            lost_token_types=lost_token_types,
        )
    bias = None if renamed is None else renamed.weights.pop(RELATIVE_BIAS, None)
    given = shapes if renamed is None else _shapes_of(renamed.weights)
    _check_shapes(family, config, given, name)
    encoder, report = _from_pretrained(family, config, name, cache_dir, renamed)
    missing = frozenset(report["missing_keys"])
    _check_body(encoder, missing, name)
    _check_finite(encoder, name)
    unused = frozenset(report["unexpected_keys"])
    return Loaded(encoder, bias, missing, shapes, renamed, unused)


def place_of(name: str, expected: Mapping[str, Any], base: str) -> str | None:
    """Where a checkpoint's weight goes in an encoder: under its name, or below the encoder's body.

    Returns:
        The name there; None where it has no place, or only through transformers' own conversions.
    """
    return next((each for each in (name, f"{base}.{name}") if each in expected), None)


def grouped(names: Iterable[str]) -> list[str]:
    """Names in order, those that differ only in one number put together: `layer.{0-11}.bias`."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    order: dict[tuple[str, str], None] = {}
    for name in names:
        start, number, end = [*re.split(r"\.(\d+)\.", name, maxsplit=1), "", ""][:3]
        order.setdefault((start, end if number else ""))
        if number:
            numbers[start, end].append(int(number))
    return [
        f"{start}.{{{_range(numbers[start, end])}}}.{end}" if numbers[start, end] else start
        for start, end in order
    ]


def _range(numbers: list[int]) -> str:
    """`3`, `0-11`, or all of them where some are left out."""
    ordered = sorted(numbers)
    whole = ordered == list(range(ordered[0], ordered[-1] + 1))
    if len(ordered) > 1 and whole:
        return f"{ordered[0]}-{ordered[-1]}"
    return ",".join(map(str, ordered))


def _read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """All weights of all files."""
    return {key: tensor for file in files for key, tensor in read_weights(file).items()}


def _shapes_in(files: tuple[Path, ...]) -> dict[str, Shape]:
    """The shapes of the weights in safetensors files, which are not read for it."""
    shapes: dict[str, Shape] = {}
    for file in files:
        names = weight_names(file)  # which refuses a damaged file
        with safe_open(str(file), framework="pt") as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    return shapes


def _is_folder_of(files: tuple[Path, ...], name: str) -> bool:
    """Whether transformers finds these files by the checkpoint's name."""
    folder = Path(name)
    return not folder.exists() or (
        folder.is_dir() and files[0].name.startswith(("model", "pytorch_model"))
    )


def _shapes_of(weights: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _check_shapes(
    family: Any, config: PreTrainedConfig, given: Mapping[str, Shape], name: str
) -> None:
    """Hold the weights against the config, all of them.

    Raises:
        ValueError: Some are of another shape.
    """
    try:
        with torch.device("meta"), quiet():
            skeleton = family(config)
    except Exception as error:  # sizes that no layer can have
        raise ValueError(
            f"{name}: config.json describes no encoder of type '{config.model_type}' "
            f"({first_line(error)}); take the config that belongs to the weights"
        ) from error
    expected = _shapes_of(skeleton.state_dict())
    faults = defaultdict(list)
    for key, shape in given.items():
        old_name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", key))
        place = place_of(old_name, expected, skeleton.base_model_prefix)
        if place is not None and expected[place] != shape:
            faults[shape, expected[place]].append(key)
    if faults:
        told = "; ".join(
            f"{', '.join(grouped(keys))} {list(shape)} where config.json asks for {list(wanted)}"
            for (shape, wanted), keys in faults.items()
        )
        count = sum(map(len, faults.values()))
        raise ValueError(
            f"{name}: {count} weights do not fit config.json: {told}; take the config and the "
            "weights of one checkpoint"
        )


def _from_pretrained(
    family: Any, config: PreTrainedConfig, name: str, cache_dir: str | None, renamed: Renamed | None
) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        with quiet():
            encoder, report = family.from_pretrained(
                name if renamed is None else None,
                config=config,
                state_dict=None if renamed is None else renamed.weights,
                cache_dir=cache_dir,
                attn_implementation=IMPLEMENTATION,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{name}: the weights cannot be loaded ({first_line(error)})") from error
    return encoder, report


def _check_body(encoder: PreTrainedModel, missing: Iterable[str], name: str) -> None:
    """Refuse a checkpoint that holds only part of its body, or another encoder's."""
    body = sorted(key for key in missing if not is_head_weight(encoder, key))
    if body:
        expected = encoder.state_dict()
        told = "; ".join(
            f"{group} {list(expected[key].shape)}"
            for group, key in zip(grouped(body), _firsts(body), strict=True)
        )
        raise ValueError(
            f"{name}: the weights do not fit its config; {len(body)} missing: {told}; take the "
            "config and the weights of one checkpoint"
        )


def _firsts(names: Iterable[str]) -> list[str]:
    """The first name of each group that `grouped` makes."""
    firsts: dict[str, str] = {}
    for name in names:
        firsts.setdefault(re.sub(r"\.\d+\.", ".{}.", name, count=1), name)
    return list(firsts.values())


def _check_finite(encoder: PreTrainedModel, name: str) -> None:
    """Refuse weights with NaN or infinities: nothing could be learned from them."""
    bad = [key for key, each in encoder.named_parameters() if not has_finite_ends(each)]
    if bad:
        raise ValueError(
            f"{name}: NaN or infinity in {len(bad)} weights ({', '.join(grouped(bad))}); the run "
            "that saved it had failed: take an earlier checkpoint"
        )


def converts_by_itself(config: PreTrainedConfig) -> bool:
    """Whether transformers has a conversion of its own for a family's released weights."""
    mapping = get_checkpoint_conversion_mapping(config.model_type)
    return mapping is not None
