"""The story of an export: checkpoint in, a folder with two graphs and all that drives them out.

    encode.onnx, step.onnx       the graphs (`graphs.py` tells what goes in and what comes out)
    s2s_ft_onnx.json             how to drive them (`manifest.py`)
    generation_config.json       the checkpoint's defaults of generation
    tokenizer.json …             the tokenizer
    LICENSE, README.md           of the checkpoint, where it has them

Importing this module loads no torch, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from s2s_ft.cli import parse, run
from s2s_ft.export.options import ExportOptions
from s2s_ft.storage.output_folder import written_whole

logger = logging.getLogger(__name__)

PROGRAM = "python -m s2s_ft.export"
DESCRIPTION = "Write a fine-tuned checkpoint as ONNX graphs."
TAKEN_ALONG = ("generation_config.json", "README.md", "LICENSE")


def export_main(argv: Sequence[str] | None = None) -> int:
    """Export (``python -m s2s_ft.export``, ``s2s-export``)."""
    return run(lambda: main(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Export a checkpoint; see `export`."""
    return export(parse(ExportOptions, argv, PROGRAM, DESCRIPTION))


def export(options: ExportOptions) -> int:
    """Export a checkpoint.

    Args:
        options: Everything the command line says.

    Returns:
        Exit code 0.

    Raises:
        ValueError: The checkpoint cannot be used, or the folder is not empty.
        EnvironmentFault: A package is missing, or torch is too old.
        OSError: The folder cannot be written.
    """
    output_dir = Path(options.output_dir)
    with written_whole(output_dir) as folder:
        from s2s_ft.export.onnx_files import check_packages, write_graphs

        check_packages(int8=options.int8)
        write_graphs(options, folder)
        _take_along(Path(options.model_path), folder)
    for file in sorted(output_dir.glob("*.onnx*")):
        logger.info("%s: %.1f MB", file, file.stat().st_size / 1e6)
    return 0


def _take_along(checkpoint: Path, folder: Path) -> None:
    """Files of a local checkpoint that belong to it whatever form its weights have."""
    for name in TAKEN_ALONG:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
