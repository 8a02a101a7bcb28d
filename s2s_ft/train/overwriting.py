"""`--overwrite_output_dir` counts once for a launch, however often that starts the same command.

Notable: a launcher that starts its processes again, and a cluster that puts a job back into its
queue, repeat the command with the flag in it. What they find is the run's own progress, or an
earlier run's: if the first start died before it had removed that, or if the job has restarted and
this training of several had not begun. The number of restarts does not tell these apart; so every
checkpoint says in its record which launch has made it, and a restart removes only what another one
has. Where that cannot be known, nothing is removed.
"""

from __future__ import annotations

import os
from pathlib import Path

from s2s_ft.options.train import CheckpointOptions
from s2s_ft.storage.checkpoint_record import read_record
from s2s_ft.train.checkpoint import checkpoint_folders, remove_checkpoints
from s2s_ft.train.logs import remove_logs

LAUNCH = "launch"
"""Key of a checkpoint's record; those of older versions lack it."""


def launch_id() -> str | None:
    """What all starts of a command by one launch have in common, and no other launch; or None.

    A job of SLURM keeps its number when it is put back into the queue, where a launcher in it is
    another one. torchrun makes up a number unless it is given one, or the address of rank 0.
    """
    job, launcher = map(os.environ.get, ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"))
    return job or (None if launcher == "none" else launcher)


def begins_anew(options: CheckpointOptions, *, is_restart: bool) -> bool:
    """Whether checkpoints in the output folder, if there are any, are to go.

    Args:
        options: The output folder, and whether the flag is given.
        is_restart: Whether a launcher or a cluster started the same command again by itself.
    """
    if not options.overwrite_output_dir:
        return False
    folders = checkpoint_folders(Path(options.output_dir)) if is_restart else []
    return not any(map(_may_be_of_this_launch, folders))


def start_anew(options: CheckpointOptions) -> None:
    """Remove checkpoints and logs of an earlier run; token ids stay, they have their own key.

    Raises:
        EnvironmentFault: Something cannot be removed.
    """
    remove_checkpoints(Path(options.output_dir))
    remove_logs(options)


def _may_be_of_this_launch(checkpoint: Path) -> bool:
    """Whether a checkpoint may be the progress of what is being started again."""
    launch = launch_id()
    try:
        record = read_record(checkpoint)
    except (OSError, ValueError, RecursionError):
        return True
    return launch is None or record.get(LAUNCH, launch) == launch
