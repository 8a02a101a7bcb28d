"""A look at held-out rows while training goes on: their loss, and the texts the model writes.

    rows, longest first, in batches of --eval_batch_size   | 0 | 1 | 2 | 3 | 4 |
    dealt to two ranks                           rank 0:     0       2       4
                                                 rank 1:         1       3
    each batch                                   loss of the reference; beam search
    on rank 0, of all batches                    mean loss, ROUGE, BLEU, chrF

Notable: the loss of a look is the mean negative log-likelihood, in nats, of the references' tokens
(`[SEP]` included), each one asked for exactly as decoding asks for it: after the true tokens before
it, by an appended `[MASK]` (masked, pseudo_mask) or at the token before (causal). Nothing is
corrupted, smoothed or drawn, so the number is the same at every look that finds the same weights,
compares between the three methods, and is the loss that decoding meets. The loss of training is
another quantity: over corrupted inputs, with label smoothing, for masked over some tokens only.

Texts come from decoding's own search on the model as it is, and are scored as `s2s-evaluate` scores
them. Neither depends on the number of ranks: batches are the same, only who takes them differs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from s2s_ft.cli import EnvironmentFault, TrainingFault
from s2s_ft.decode.search.beam_search import SearchSettings
from s2s_ft.decode.search.requests import NonFiniteScores
from s2s_ft.decode.session import generate_batch as generate
from s2s_ft.methods import Method
from s2s_ft.model.memory import is_out_of_memory
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions
from s2s_ft.options.validation import ValidationOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.best import Tracker
from s2s_ft.train.dev_report import SCORES, DevReport, Sample
from s2s_ft.train.distributed import World
from s2s_ft.train.failure import CALMER
from s2s_ft.train.held_out import HeldOutRows
from s2s_ft.train.precision import Precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.sharding import whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Validator:
    """The held-out rows and how they are looked at.

    Attributes:
        options: When to look, and how to decode.
        rows: The rows.
        codec: Turns generated ids into text.
        world: The ranks that share the rows.
        device: Where the model is.
    """

    options: ValidationOptions
    rows: HeldOutRows
    codec: TextCodec
    world: World
    device: torch.device

    @classmethod
    def of(
        cls,
        options: TrainOptions,
        codec: TextCodec,
        method: Method,
        world: World,
        device: torch.device,
        folder: Path,
    ) -> Validator | None:
        """Read and tokenise the held-out rows; None without `--dev_file`.

        Args:
            options: All options of training.
            codec: The tokenizer of the run.
            method: The method of the run.
            world: All its ranks must come here.
            device: Where the model is.
            folder: Where token ids are kept.

        Raises:
            ValueError: There is no such file, or one of its rows is at fault.
        """
        rows = HeldOutRows.open(options, codec, method, world, folder)
        if rows is None:
            return None
        return cls(options=options.validation, rows=rows, codec=codec, world=world, device=device)

    def is_due(self, step: int, schedule: Schedule) -> bool:
        """Whether to look after `step` updates: every `--eval_steps`, else once an epoch; and at
        the end.
        """
        every = self.options.eval_steps or schedule.steps_per_epoch
        return step % every == 0 or step == schedule.total_steps

    def tracker(self, saved: dict[str, Any] | None = None) -> Tracker:
        """What follows the best look, from where a checkpoint left it."""
        way = f"beam {self.options.eval_beam_size}, penalty {self.options.eval_length_penalty}"
        return Tracker.resumed(
            saved,
            metric=self.options.eval_metric,
            measured_on=f"{self.rows.store.folder.name}, {way}",
        )

    def look(
        self,
        model: Seq2SeqModel,
        precision: Precision,
        step: int,
        stop: Callable[[], int | None],
    ) -> DevReport | None:
        """Measure the model as it is now; training goes on from it as if nothing had been.

        All ranks must come here together.

        Args:
            model: The bare model, in training mode; it is left as it was found.
            precision: The arithmetic of training.
            step: Updates taken.
            stop: A stop signal that has come to this rank, or None; asked between batches.

        Returns:
            The same on every rank; None where a signal came to any of them and the look was
            abandoned.

        Raises:
            EnvironmentFault: The device has too little memory for a batch.
            TrainingFault: The model's numbers are not finite; the same on every rank.
        """
        started = time.perf_counter()
        with _evaluating(model), whole(model), torch.no_grad():
            try:
                found = self._go_through(model, precision, stop)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise self._too_large() from error
        if found is None:
            logger.info("the look at --dev_file is abandoned")
            return None
        everything = self.world.gather(found)
        told: dict[str, Any] = {}
        if everything is not None:
            unsound = sorted(row for each in everything for row in each["unsound"])
            told = {"unsound": unsound} if unsound else asdict(self._report(everything, step))
            told["seconds"] = time.perf_counter() - started
        told = self.world.from_main(told)
        if "unsound" in told:
            raise TrainingFault(
                f"after update {step} the model's numbers for --dev_file are not finite (row "
                f"{told['unsound'][0] + 1} or its batch): training has diverged; earlier "
                f"checkpoints stand; {CALMER}"
            )
        return DevReport.from_dict(told)

    def _go_through(
        self, model: Seq2SeqModel, precision: Precision, stop: Callable[[], int | None]
    ) -> dict[str, Any] | None:
        """This rank's batches: their summed losses and tokens, and the text of each row.

        Returns:
            In plain JSON; None where a signal came. With a row whose numbers are not finite it is
            over, but for meeting the other ranks.
        """
        losses: list[tuple[float, int]] = []
        texts: list[tuple[int, str]] = []
        unsound: list[int] = []
        batches = self.rows.batches(self.options.eval_batch_size)
        rounds = range(0, len(batches), self.world.size)
        hidden = None if self.world.is_main else True
        for first in tqdm(rounds, "held-out rows", leave=False, disable=hidden, delay=2):
            if self._is_called_off(stop):
                return None
            mine = first + self.world.rank
            if mine >= len(batches) or unsound:
                continue
            rows = batches[mine].tolist()
            batch = self.rows.questions(rows).to(self.device)
            with precision.autocast():
                losses.append((float(model(batch, 0.0)), batch.num_supervised))
                if not math.isfinite(losses[-1][0]):
                    unsound.append(rows[0])
                elif self.options.eval_beam_size > 0:
                    try:
                        texts.extend(zip(rows, self._write(model, rows), strict=True))
                    except NonFiniteScores as fault:
                        unsound.append(rows[fault.request.key])
        return {"losses": losses, "texts": texts, "unsound": unsound}

    def _write(self, model: Seq2SeqModel, rows: Sequence[int]) -> list[str]:
        """The best text for each row, as decode_seq2seq.py finds it."""
        settings = SearchSettings(
            beam_size=self.options.eval_beam_size,
            max_length=self.rows.method.max_target_length,
            eos_id=self.codec.special.sep,
            length_penalty=self.options.eval_length_penalty,
        )
        results = generate(model, self.rows.method, self.rows.sources(rows), settings)
        return [self.codec.decode(result.hypotheses[0].ids) for result in results]

    def _is_called_off(self, stop: Callable[[], int | None]) -> bool:
        """Whether a signal has come to any rank; all ranks get the same answer."""
        called = stop() is not None
        if self.world.size == 1:
            return called
        return bool(self.world.add_up(torch.tensor(float(called), device=self.device)).item() > 0)

    def _too_large(self) -> EnvironmentFault:
        """What to say where the memory does not hold a batch."""
        return EnvironmentFault(
            "the device's memory does not hold a batch of --dev_file beside what training keeps: "
            f"lower --eval_batch_size ({self.options.eval_batch_size}) or --eval_beam_size "
            f"({self.options.eval_beam_size}); the same command goes on from the newest checkpoint"
        )

    def _report(self, everything: Sequence[dict[str, Any]], step: int) -> DevReport:
        """Put together what the ranks found; `seconds` is left to the caller."""
        losses = [pair for found in everything for pair in found["losses"]]
        # Exactly rounded, so that the sum does not depend on who computed what.
        loss = math.fsum(loss for loss, _ in losses) / sum(tokens for _, tokens in losses)
        generated = {row: text for found in everything for row, text in found["texts"]}
        samples = [
            Sample(row, *self.rows.texts[row], generated[row])
            for row in self.rows.evenly(self.options.num_samples)
            if row in generated
        ]
        return DevReport(
            step=step,
            loss=loss,
            scores=self._score([generated[row] for row in sorted(generated)]),
            samples=tuple(samples),
            seconds=0.0,
            num_examples=len(self.rows),
        )

    def _score(self, generated: Sequence[str]) -> dict[str, float]:
        """Scores of one text a row, in order; none without texts."""
        if not generated:
            return {}
        # Imported here because the libraries behind it take their time.
        from s2s_ft.evaluation.options import ScoringOptions
        from s2s_ft.evaluation.run import evaluate

        references = [reference for _, reference in self.rows.texts]
        report = evaluate(generated, references, ScoringOptions(num_bootstrap=1))
        return {name: report.value(name) for name in SCORES}


@contextmanager
def _evaluating(model: Seq2SeqModel) -> Iterator[None]:
    """Evaluation mode inside; the loss is that of the references, a teacher is not asked."""
    was_training, teacher = model.training, model.teacher
    model.eval()
    model.teacher = None
    try:
        yield
    finally:
        model.train(was_training)
        model.teacher = teacher
