"""The story of an averaging run: find the checkpoints, compare them, write their mean.

Notable: sums run in float64 and one weight at a time, and a mean has the number format of what it
is the mean of, so that the mean of one checkpoint is that checkpoint, bit for bit. Tokenizer and
configs are those of the last one; what belongs to a run alone (optimizer, progress, model card) is
left out.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from s2s_ft.average.checkpoints import Weights, check_same_kind, checkpoints_of
from s2s_ft.average.options import AverageOptions
from s2s_ft.model.located import weight_files
from s2s_ft.storage.output_folder import written_whole

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
_OF_A_RUN = {
    "optimizer.safetensors",
    "trainable.safetensors",
    "training_state.json",
    "optim.bin",
    "README.md",
}


def average(options: AverageOptions) -> int:
    """Write the mean of checkpoints as a checkpoint.

    Returns:
        Exit code 0.

    Raises:
        ValueError: A checkpoint cannot be used, or they do not belong together.
        OSError: The output cannot be written.
    """
    folders = checkpoints_of(options)
    with written_whole(options.output_dir) as output, ExitStack() as files:
        check_same_kind(folders)
        weights = [Weights.open(folder, files) for folder in folders]
        _check_same_weights(weights)
        mean = {name: mean_of(name, weights) for name in weights[-1].sources}
        save_file(mean, output / WEIGHTS, metadata={"format": "pt"})
        _copy_the_rest(folders[-1], output)
    names = ", ".join(str(folder) for folder in folders)
    logger.info("%s holds the mean of %d checkpoints: %s", options.output_dir, len(folders), names)
    return 0


def mean_of(name: str, weights: Sequence[Weights]) -> Tensor:
    """The mean of one weight over checkpoints.

    Args:
        name: Of the weight.
        weights: At least one checkpoint; all have it in one shape.

    Returns:
        In the number format of the last; what is no fraction has to be the same everywhere.

    Raises:
        ValueError: A value is not finite, or whole numbers differ.
    """
    last = weights[-1].tensor(name)
    if not last.is_floating_point():
        if any(not torch.equal(each.tensor(name), last) for each in weights):
            raise ValueError(f"the checkpoints have different whole numbers in {name}: no mean")
        return last.contiguous()
    total: Tensor | None = None
    for each in weights:
        tensor = each.tensor(name)
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"{each.folder}: {name} holds values that are not finite; leave it out"
            )
        # The first is not added to zeros, which would make 0 of -0.
        total = tensor.double() if total is None else total + tensor.double()
    assert total is not None, "at least one checkpoint"
    return (total / len(weights)).to(last.dtype).contiguous()


def _check_same_weights(weights: Sequence[Weights]) -> None:
    """Refuse checkpoints whose weights differ in names or shapes."""
    first, *others = weights
    for other in others:
        alone = sorted(first.sources.keys() ^ other.sources.keys())
        alone += [
            name
            for name in sorted(first.sources.keys() & other.sources.keys())
            if first.tensor(name).shape != other.tensor(name).shape
        ]
        if alone:
            raise ValueError(
                f"--model_path {other.folder} has not the weights of {first.folder}: "
                f"{len(alone)} differ in name or shape, {alone[0]} first"
            )


def _copy_the_rest(folder: Path, output: Path) -> None:
    """Config, tokenizer and whatever else belongs to the model."""
    left_out = {*_OF_A_RUN, *(path.name for path in weight_files(folder))}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in left_out and not path.name.endswith(".index.json"):
            shutil.copyfile(path, output / path.name)
