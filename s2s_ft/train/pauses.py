"""What happens between two updates: a look at the held-out rows, a save, the end of the run.

    after an update   look, where that is due and no signal came      --eval_steps
                      note whether it is the best, save it as `best/`
                      save, where that is due or the run ends here    --save_steps
                      end: all updates done, out of patience, a signal

Notable: the look comes before the save of the same update, so a checkpoint knows of it. Where a
signal cuts a look short, the checkpoint is saved without it, and a resumed run begins with that
look and saves once more. All ranks go through a pause together and come to the same ending.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals

from s2s_ft.options import TrainOptions
from s2s_ft.train.best import Tracker
from s2s_ft.train.logs import TrainingLog
from s2s_ft.train.preparation import Preparation
from s2s_ft.train.resume import save_best, save_checkpoint

logger = logging.getLogger(__name__)

ALL_DONE = "all updates are done"


@dataclass(frozen=True)
class Ending:
    """Why a run ends.

    Attributes:
        code: Exit code of the process.
        reason: In a few words.
    """

    code: int
    reason: str


@dataclass(frozen=True)
class Pauses:
    """What a pause needs.

    Attributes:
        options: Everything the command line says.
        run: The run, its state changed by the updates.
        tracker: Of the looks at held-out rows, of earlier ones where there are none now; or None.
        log: Where it is told.
        stop: A stop signal that has come to this rank, or None.
    """

    options: TrainOptions
    run: Preparation
    tracker: Tracker | None
    log: TrainingLog
    stop: Callable[[], int | None]

    def is_due(self, step: int) -> bool:
        """Whether the state is wanted as it is after `step` updates."""
        is_last = step >= self.run.state.schedule.total_steps
        is_told = self.log.is_line_due(step)
        return is_last or is_told or self._is_save_due(step) or self._is_look_due(step)

    def take(self, signal: int | None) -> Ending | None:
        """Do what is due after the newest update.

        Args:
            signal: A stop signal that came to any rank before that update.

        Returns:
            Why the run ends here, or None if it goes on.

        Raises:
            OSError: A checkpoint could not be written.
        """
        step = self.run.state.step
        if signal is None and self._is_look_due(step):
            signal = self._look()
        finished = out_of_patience(self.run, self.tracker)
        ending = self._ending(signal, finished)
        if ending is not None or self._is_save_due(step):
            self._save(finished)
        if ending is not None and ending.code == 0:
            logger.info("training is done: %s", ending.reason)
        elif ending is not None and self.run.state.world.is_main:
            logger.warning("%s; the same command goes on from update %d", ending.reason, step)
        return ending

    def take_missed_look(self) -> Ending | None:
        """Do first what a signal left undone after the update that the run resumes from.

        The checkpoint of that update gets to know of the look at once: from there, it would be
        taken and told again.
        """
        step = self.run.state.step
        if step == 0 or not self._is_look_due(step):
            return None
        ending = self.take(None)
        if ending is None and not self._is_save_due(step):
            self._save(None)
        return ending

    def _is_save_due(self, step: int) -> bool:
        """Whether `--save_steps` asks for a checkpoint."""
        every = self.options.checkpoint.save_steps
        return every > 0 and step % every == 0

    def _is_look_due(self, step: int) -> bool:
        """Whether to look after `step` updates, unless that has been done."""
        return is_look_due(self.run, self.tracker, step)

    def _look(self) -> int | None:
        """Look at the held-out rows and save the model if it is the best.

        Returns:
            The signal that cut the look short, or None.
        """
        state, validator = self.run.state, self.run.validator
        assert validator is not None
        assert self.tracker is not None
        report = validator.look(state.model, state.precision, state.step, self.stop)
        if report is None:
            came = state.world.gather(self.stop()) or []
            first = next((number for number in came if number is not None), None)
            return state.world.from_main(first)
        improved = self.tracker.note(report)
        if improved:
            output_dir = Path(self.options.checkpoint.output_dir)
            save_best(output_dir, state, self.run.codec, self.run.facts, asdict(report))
        self.log.look(report, improved=improved)
        return None

    def _ending(self, signal: int | None, finished: str | None) -> Ending | None:
        """Why the run ends after the newest update, if it does."""
        state = self.run.state
        if finished is not None:
            return Ending(0, finished)
        if state.step >= state.schedule.total_steps and not self._is_look_due(state.step):
            return Ending(0, ALL_DONE)
        if signal is not None:
            return Ending(128 + signal, f"stopped by {Signals(signal).name}")
        return None

    def _save(self, finished: str | None) -> None:
        """Save a checkpoint, and leave the time that takes out of the speeds."""
        self.log.flush()
        save_checkpoint(
            Path(self.options.checkpoint.output_dir),
            self.run.state,
            self.run.codec,
            self.run.facts,
            self.log.window,
            validation=None if self.tracker is None else self.tracker.to_dict(),
            finished=finished,
            keep=self.options.checkpoint.keep_checkpoints,
        )
        self.log.forget_pause()


def is_look_due(run: Preparation, tracker: Tracker | None, step: int) -> bool:
    """Whether the held-out rows are to be looked at after `step` updates and have not been yet."""
    if run.validator is None or tracker is None or tracker.last_step == step:
        return False
    return run.validator.is_due(step, run.state.schedule)


def out_of_patience(run: Preparation, tracker: Tracker | None) -> str | None:
    """Why the run is finished although updates may be left, None if it is not."""
    if run.validator is None or tracker is None:
        return None
    if not tracker.is_out_of_patience(run.validator.options.early_stopping_patience):
        return None
    return (
        f"no better {tracker.metric} in {tracker.looks_without_gain} looks at --dev_file "
        f"(the best was at update {tracker.best_step})"
    )
