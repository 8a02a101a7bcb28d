"""`--overwrite_output_dir` counts once for a launch, however often that starts the same command.

    .overwritten    which launch has removed what was there, and with which command

Notable: a launcher that starts its processes again, and a cluster that puts a job back into its
queue, repeat the command with the flag in it. What they find is the run's own if the removal was
done, and an earlier run's if the first start died before that, or if the job has restarted and this
training of several has not begun. The number of restarts does not tell these apart; the note does,
which is written when all is removed. A start that is none of these takes away what note it finds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from s2s_ft.options.train import CheckpointOptions
from s2s_ft.storage.output_file import clear_partials, write_whole
from s2s_ft.train.checkpoint import remove_checkpoints
from s2s_ft.train.folders import writing_in
from s2s_ft.train.logs import remove_logs

NOTE = ".overwritten"


def forget_earlier_launch(options: CheckpointOptions, *, is_restart: bool) -> None:
    """Take away the note of a launch that this start does not belong to.

    Args:
        options: The output folder, which is there and nobody else's, and whether the flag is given.
        is_restart: Whether a launcher or a cluster started the same command again by itself.

    Raises:
        EnvironmentFault: The folder cannot be written.
    """
    note = Path(options.output_dir) / NOTE
    with writing_in(note.parent):
        clear_partials(note)
        if options.overwrite_output_dir and not is_restart:
            note.unlink(missing_ok=True)


def begins_anew(options: CheckpointOptions, *, is_restart: bool) -> bool:
    """Whether what is in the output folder goes, or went in this start.

    Args:
        options: The output folder, and whether the flag is given.
        is_restart: See `forget_earlier_launch`.
    """
    if not options.overwrite_output_dir:
        return False
    note = Path(options.output_dir) / NOTE
    is_done = note.is_file() and note.read_text(encoding="utf-8", errors="replace") == _launch()
    return not (is_restart and is_done)


def start_anew(options: CheckpointOptions) -> None:
    """Remove checkpoints and logs of an earlier run; token ids stay, they have their own key.

    Raises:
        EnvironmentFault: Something cannot be removed, or the note cannot be written.
    """
    output_dir = Path(options.output_dir)
    remove_checkpoints(output_dir)
    remove_logs(options)
    with writing_in(output_dir):
        write_whole(output_dir / NOTE, [_launch()])


def _launch() -> str:
    """What every start of a command by one launch has in common, and no other launch.

    A job of SLURM keeps its number when it is put back into the queue, where a launcher in it is
    another one. (torchrun makes up a number unless it is given one, or the address of rank 0.)
    """
    job, launcher = map(os.environ.get, ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"))
    return json.dumps([job or launcher, *sys.argv])
