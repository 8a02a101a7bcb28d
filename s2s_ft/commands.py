"""The commands, as functions from argv to an exit code; scripts and console scripts call them.

Whatever needs torch is imported after the command line was read, so that ``--help`` and mistakes
are answered at once.
"""

from collections.abc import Sequence

from s2s_ft.cli import parse, run
from s2s_ft.options import DecodeOptions, TrainOptions

TRAIN_DESCRIPTION = "Fine-tune a pretrained encoder for text generation."
DECODE_DESCRIPTION = "Generate texts with a fine-tuned checkpoint."


def train_main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune (`run_seq2seq.py`, ``s2s-train``)."""
    return run(lambda: _train(argv))


def decode_main(argv: Sequence[str] | None = None) -> int:
    """Decode (`decode_seq2seq.py`, ``s2s-decode``)."""
    return run(lambda: _decode(argv))


def evaluate_main(argv: Sequence[str] | None = None) -> int:
    """Score predictions (``python -m s2s_ft.evaluation``, ``s2s-evaluate``)."""
    return run(lambda: _evaluate(argv))


def rescore_main(argv: Sequence[str] | None = None) -> int:
    """Choose anew from search traces (``python -m s2s_ft.decode.rescore``, ``s2s-rescore``)."""
    return run(lambda: _rescore(argv))


def convert_main(argv: Sequence[str] | None = None) -> int:
    """Make a transformers folder of any checkpoint (``python -m s2s_ft.convert``)."""
    from s2s_ft.convert.__main__ import main

    return run(lambda: main(argv))


def trim_main(argv: Sequence[str] | None = None) -> int:
    """Cut a vocabulary down to a corpus (``python -m s2s_ft.trim``)."""
    from s2s_ft.trim.__main__ import main

    return run(lambda: main(argv))


def average_main(argv: Sequence[str] | None = None) -> int:
    """Write the mean of checkpoints (``python -m s2s_ft.average``)."""
    from s2s_ft.average.__main__ import main

    return run(lambda: main(argv))


def _train(argv: Sequence[str] | None) -> int:
    options = parse(TrainOptions, argv, "run_seq2seq.py", TRAIN_DESCRIPTION)
    from s2s_ft.train.run import train

    return train(options)


def _decode(argv: Sequence[str] | None) -> int:
    options = parse(DecodeOptions, argv, "decode_seq2seq.py", DECODE_DESCRIPTION)
    from s2s_ft.decode.run import decode

    return decode(options)


def _evaluate(argv: Sequence[str] | None) -> int:
    from s2s_ft.evaluation.run import main

    return main(argv)


def _rescore(argv: Sequence[str] | None) -> int:
    from s2s_ft.decode.rescore import main

    return main(argv)
