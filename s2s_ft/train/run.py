"""The story of a training run, from the options to the last checkpoint, on one device or many.

    join the other processes, prepare, go on from the newest checkpoint
    for each update:  take it
                      look at the held-out rows     where that is due
                      save a checkpoint             where that is due, at the end, and at a signal

Notable: the same command starts a run, goes on with one that was stopped, and does nothing once it
is finished. All ranks go through this story in the same order; rank 0 writes and tells. What has
happened is in `--output_dir`:

    train_options.json          the options, the schedule and the size of batches, resolved
    features/                   token ids of the training rows
    ckpt-<step>/, best/         checkpoints, and the best model by the held-out rows
    metrics.jsonl, tensorboard/, report.html and others: how it went (see `lines.py`)
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from s2s_ft.data.files import require_file
from s2s_ft.model.attention import without_cudnn
from s2s_ft.options import TrainOptions
from s2s_ft.storage.checkpoint_record import find_fault, read_record
from s2s_ft.train.best import Tracker
from s2s_ft.train.checkpoint import (
    BEST,
    check_overwriting,
    newest_valid,
    prepare_output_folder,
    prune,
)
from s2s_ft.train.claim import claimed
from s2s_ft.train.determinism import deterministic
from s2s_ft.train.distributed import World
from s2s_ft.train.idle_flags import tell_of_idle_flags
from s2s_ft.train.interruption import Interruption
from s2s_ft.train.launch import join
from s2s_ft.train.logs import TrainingLog
from s2s_ft.train.memory import explained
from s2s_ft.train.overwriting import begins_anew, start_anew
from s2s_ft.train.pauses import ALL_DONE, Ending, Pauses, is_look_due, out_of_patience
from s2s_ft.train.places import make_tensorboard_folder
from s2s_ft.train.preparation import Preparation, prepare, write_options
from s2s_ft.train.resume import Resumed, restore_checkpoint
from s2s_ft.train.session import is_end_told
from s2s_ft.train.step import TrainState, take_updates
from s2s_ft.train.wandb_run import require_wandb

logger = logging.getLogger(__name__)


def train(options: TrainOptions) -> int:
    """Fine-tune an encoder, from the start or from the newest checkpoint.

    Args:
        options: Everything the command line says.

    Returns:
        Exit code: 0 when the run is finished, 128 + n when signal n ended it after a save.

    Raises:
        ValueError: The options, the data or an earlier run in the output folder do not fit.
        EnvironmentFault: The output folder cannot be written, a package, a device or a kernel is
            missing, or another process of the run was lost.
        TrainingFault: A loss or gradient was not finite.
        OSError: A checkpoint could not be written.
    """
    _check_what_is_named(options)
    on_gpu = torch.cuda.is_available() and not options.runtime.no_cuda
    is_exact = deterministic(wanted=on_gpu and options.runtime.deterministic)
    meeting = join(local_rank=options.runtime.local_rank, on_gpu=on_gpu)
    with meeting as world, is_exact, without_cudnn():
        return _train(options, world)


def _check_what_is_named(options: TrainOptions) -> None:
    """Find out at once what would else be found out after something slow."""
    require_file(options.data.train_file, "--train_file", rereads=True)
    if options.validation.dev_file is not None:
        require_file(options.validation.dev_file, "--dev_file", rereads=True)
    require_wandb(options.checkpoint.wandb_project)
    check_overwriting(options)


def _train(options: TrainOptions, world: World) -> int:
    """See `train`; with the other processes already there."""
    output_dir = Path(options.checkpoint.output_dir)
    with ExitStack() as claims:
        with world.main_first():
            if world.is_main:
                claims.enter_context(claimed(output_dir))
                prepare_output_folder(output_dir)
                make_tensorboard_folder(options.checkpoint)
                tell_of_idle_flags(options, world.size)
        run = prepare(options, world)
        with world.main_first():
            if world.is_main and begins_anew(options.checkpoint, is_restart=world.is_restart):
                start_anew(options.checkpoint)
        resumed = _resume(output_dir, run)
        tracker = _tracker(output_dir, run, resumed)
        finished = None if resumed is None else _why_finished(run, resumed, tracker)
        if finished is not None and _is_told(output_dir, run.state):
            return 0
        if world.is_main:
            write_options(options, run)
            if finished is not None:  # a kill came after the last save
                prune(output_dir, options.checkpoint.keep_checkpoints)
        return _take_all_updates(options, run, resumed, tracker, finished)


def _resume(output_dir: Path, run: Preparation) -> Resumed | None:
    """Bring the state to where the newest whole checkpoint left it, if there is one."""
    world, newest = run.state.world, None
    with world.main_first():
        if world.is_main:
            newest = newest_valid(output_dir)
    name = world.from_main(None if newest is None else newest.name)
    return None if name is None else restore_checkpoint(output_dir / name, run.state, run.facts)


def _tracker(output_dir: Path, run: Preparation, resumed: Resumed | None) -> Tracker | None:
    """What follows the looks; without held-out rows it only keeps what is known of earlier ones."""
    saved = None if resumed is None else resumed.validation
    if run.validator is None:
        return None if saved is None else Tracker.from_dict(saved)
    tracker, world = run.validator.tracker(saved), run.state.world
    if resumed is not None and tracker.best_step is not None:
        best, fault = output_dir / BEST, None
        if world.is_main:
            fault = find_fault(best) or _another_look(best, tracker, run, resumed)
        fault = world.from_main(fault)
        if fault is not None:
            logger.warning(
                "the best model so far, %s of update %d, is gone (%s): the next look counts as the "
                "best",
                best,
                tracker.best_step,
                fault,
            )
            tracker.best_value = tracker.best_step = None
    return tracker


def _another_look(best: Path, tracker: Tracker, run: Preparation, resumed: Resumed) -> str | None:
    """What is wrong with a best model that is whole but not of the update it should be of."""
    step: int = read_record(best)["step"]
    # A look that the checkpoint does not know of comes again, and is saved again.
    is_to_come = step >= run.state.step and step != tracker.last_step
    if step == tracker.best_step or (is_to_come and not resumed.is_changed):
        return None
    return f"the folder holds that of update {step}"


def _why_finished(run: Preparation, resumed: Resumed, tracker: Tracker | None) -> str | None:
    """Why the run that a checkpoint is of has come to its end, None if it has not; says so."""
    state, finished = run.state, resumed.finished
    if finished is None and is_look_due(run, tracker, state.step):
        return None
    finished = finished or out_of_patience(run, tracker)
    if finished is not None:
        logger.info("the run is finished, nothing is left to do: %s", finished)
    elif state.step >= state.schedule.total_steps:
        logger.info("all %d updates are done, nothing is left to do", state.step)
        finished = ALL_DONE
    return finished


def _is_told(output_dir: Path, state: TrainState) -> bool:
    """Whether the end of the run is written down, with its report; a kill may come before that."""
    world = state.world
    return world.from_main(is_end_told(output_dir, state.step) if world.is_main else False)


def _take_all_updates(
    options: TrainOptions,
    run: Preparation,
    resumed: Resumed | None,
    tracker: Tracker | None,
    finished: str | None,
) -> int:
    """The loop: take an update, tell of it, do what is due after it, until an ending."""
    state = run.state
    with (
        Interruption() as interruption,
        logging_redirect_tqdm([logging.getLogger("s2s_ft")]),
        TrainingLog(
            options.checkpoint,
            state.schedule,
            run.data.device,
            world=state.world,
            first_step=state.step,
            window=None if resumed is None else resumed.window,
            tracker=tracker,
        ) as log,
        explained(options, run.data.micro_batch_size),
    ):
        pauses = Pauses(options, run, tracker, log, lambda: interruption.signal)
        ending = pauses.take_missed_look() if finished is None else Ending(0, finished)
        updates = take_updates(state, run.data, wait_at=pauses.is_due, signal=pauses.stop)
        while ending is None:
            report = next(updates)
            log.update(report)
            if report.step == state.step:
                ending = pauses.take(report.signal)
        log.end(ending.reason, finished=ending.code == 0)
    return ending.code
