"""A student made of some layers of a larger model (`python -m s2s_ft.distill.student`).

Embeddings, head and the chosen layers keep their weights, so the student starts out with much of
what the teacher knows (Sanh et al. 2019 took every second layer).

Notable: the student is built anew from a config with fewer layers and given the weights under
their new numbers, all of them and no others, so a family whose layers differ (ModernBERT's first
one, say) refuses a choice that it cannot be built from. Lists in the config that hold an entry a
layer are cut alike. Importing this module loads no torch.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2s_ft.cli import listed, parse, run
from s2s_ft.options import flag
from s2s_ft.options.checks import not_empty
from s2s_ft.storage.output_folder import written_whole

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

    from s2s_ft.model.model_card import CardFacts
    from s2s_ft.model.seq2seq import Seq2SeqModel

logger = logging.getLogger(__name__)

PROGRAM = "python -m s2s_ft.distill.student"
DESCRIPTION = "Make a smaller model of some layers of a checkpoint."


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """Which layers of which model."""

    model_path: str = field(
        metadata=flag("Checkpoint, fine-tuned or pretrained: folder or hub name.", metavar="MODEL")
    )
    layers: str = field(
        metadata=flag(
            "Layers to keep, from 0 at the embeddings, joined by commas: 0,2,5.", metavar="LAYERS"
        )
    )
    output_dir: str = field(
        metadata=flag("Folder for the student; must be new or empty.", metavar="DIR")
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            model_path=self.model_path,
            layers=self.layers,
            output_dir=self.output_dir,
            cache_dir=self.cache_dir,
        )
        chosen = self.chosen
        if any(layer < 0 for layer in chosen) or chosen != sorted(set(chosen)):
            raise ValueError(f"--layers {self.layers}: name each layer once, from the lowest up")

    @property
    def chosen(self) -> list[int]:
        """The layers as numbers."""
        try:
            return [int(word) for word in self.layers.split(",")]
        except ValueError as error:
            raise ValueError(
                f"--layers {self.layers}: give numbers joined by commas, such as 0,2,5"
            ) from error


def student_main(argv: Sequence[str] | None = None) -> int:
    """Run the command (``python -m s2s_ft.distill.student``)."""
    return run(lambda: main(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Make a student; see `make_student`."""
    return make_student(parse(StudentOptions, argv, PROGRAM, DESCRIPTION))


def make_student(options: StudentOptions) -> int:
    """Write a student's folder, to be trained by `run_seq2seq.py --model_name_or_path`.

    Args:
        options: Everything the command line says.

    Returns:
        Exit code 0.

    Raises:
        ValueError: The checkpoint cannot be used or has no such layers, or the folder holds
            something.
        OSError: The folder cannot be written.
    """
    with written_whole(options.output_dir) as folder:
        from s2s_ft.model.model_card import write_model_card
        from s2s_ft.model.pretrained import load_finetuned, save
        from s2s_ft.text import TextCodec

        teacher = load_finetuned(options.model_path, cache_dir=options.cache_dir)
        codec = TextCodec.load(
            options.model_path,
            do_lower_case=teacher.settings.do_lower_case,
            cache_dir=options.cache_dir,
        )
        student = with_layers(teacher, options.chosen)
        save(student, codec, folder)
        write_model_card(folder, _facts(options, teacher))
    logger.info(
        "%s: layers %s of %d, %.1f of %.1f million weights",
        options.output_dir,
        options.layers,
        teacher.num_layers,
        _millions(student),
        _millions(teacher),
    )
    return 0


def _facts(options: StudentOptions, teacher: Seq2SeqModel) -> CardFacts:
    """What is known of a student before it is trained."""
    from s2s_ft.model.model_card import CardFacts

    return CardFacts(
        name=Path(options.output_dir).resolve().name,
        model_type=teacher.encoder.config.model_type,
        method=teacher.settings.method,
        base_model=options.model_path,
        notes=(
            f"Layers {options.layers} of its base model, which has {teacher.num_layers}; as it is "
            "it has learnt nothing yet and is to be trained.",
        ),
    )


def with_layers(model: Seq2SeqModel, layers: Sequence[int]) -> Seq2SeqModel:
    """A model of some layers of another, with their weights.

    Args:
        model: Not changed.
        layers: Numbers of those that stay, ascending.

    Raises:
        ValueError: There are no such layers, or the family cannot be built of these.
    """
    import torch

    from s2s_ft.model.attention import IMPLEMENTATION
    from s2s_ft.model.parts import encoder_layers, put_weights
    from s2s_ft.model.seq2seq import Seq2SeqModel

    encoder = model.encoder
    names = [name for name, _ in encoder_layers(encoder)]
    if layers[-1] >= len(names):
        raise ValueError(
            f"--layers: there is no layer {layers[-1]}, the encoder has {len(names)}, counted "
            "from 0"
        )
    weights = _renumbered(encoder.state_dict(), names, layers)
    config = _fewer_layers(encoder.config, layers)
    smaller: PreTrainedModel = type(encoder)._from_config(
        config, attn_implementation=IMPLEMENTATION, dtype=torch.float32
    )
    unfit = put_weights(smaller, weights)
    if unfit:
        raise ValueError(
            f"--layers {','.join(map(str, layers))}: encoders of type '{config.model_type}' cannot "
            f"be built of these ({listed(unfit, 4)}); keep layer 0"
        )
    student = Seq2SeqModel(smaller, model.settings)
    if student.relative_position_bias is not None and model.relative_position_bias is not None:
        student.relative_position_bias.load_state_dict(model.relative_position_bias.state_dict())
    return student.eval()


def _renumbered(
    weights: dict[str, Tensor], names: Sequence[str], layers: Sequence[int]
) -> dict[str, Tensor]:
    """The weights without those of other layers, the kept ones under their new numbers."""
    stem = names[0].rpartition(".")[0]
    renamed = {}
    for name, tensor in weights.items():
        if not name.startswith(f"{stem}."):
            renamed[name] = tensor
            continue
        number, _, rest = name.removeprefix(f"{stem}.").partition(".")
        if int(number) in layers:
            renamed[f"{stem}.{layers.index(int(number))}.{rest}"] = tensor
    return renamed


def _fewer_layers(config: PreTrainedConfig, layers: Sequence[int]) -> PreTrainedConfig:
    """The config of a model of these layers."""
    count = config.num_hidden_layers
    fewer = copy.deepcopy(config)
    for name, value in _entries(config).items():
        if isinstance(value, list) and len(value) == count:
            setattr(fewer, name, [value[layer] for layer in layers])
    fewer.num_hidden_layers = len(layers)
    return fewer


def _entries(config: PreTrainedConfig) -> dict[str, Any]:
    """What a config holds, by name."""
    entries: dict[str, Any] = config.to_dict()  # type: ignore[no-untyped-call, unused-ignore]
    return {name: value for name, value in entries.items() if hasattr(config, name)}


def _millions(model: Seq2SeqModel) -> float:
    return sum(each.numel() for each in model.parameters()) / 1e6


if __name__ == "__main__":
    raise SystemExit(student_main())
