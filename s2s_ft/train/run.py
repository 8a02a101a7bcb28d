"""The story of a training run on one device, from the options to the last checkpoint.

Notable: the same command starts a run, goes on with one that was stopped, and does nothing once it
is finished. What has happened is in `--output_dir`:

    train_options.json          the options and the schedule, resolved
    features/                   token ids of the training rows
    ckpt-<step>/                checkpoints
    metrics.jsonl, tensorboard/ how it went
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from s2s_ft.cli import EnvironmentFault
from s2s_ft.data.examples import require_file
from s2s_ft.data.features import FeatureStore, build_or_open, length_report
from s2s_ft.methods import Corruption, Method, method_named
from s2s_ft.model import pretrained
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions, as_dict
from s2s_ft.text import TextCodec
from s2s_ft.train.checkpoint import newest_valid, prepare_output_folder, remove_checkpoints
from s2s_ft.train.interruption import Interruption
from s2s_ft.train.logs import METRICS, TrainingLog, Window, write_json
from s2s_ft.train.loop import TrainingData, TrainState, take_updates
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import Precision, choose_precision
from s2s_ft.train.resume import RunFacts, restore_checkpoint, save_checkpoint
from s2s_ft.train.schedule import Schedule, plan_schedule

logger = logging.getLogger(__name__)


def train(options: TrainOptions) -> int:
    """Fine-tune an encoder, from the start or from the newest checkpoint.

    Args:
        options: Everything the command line says.

    Returns:
        Exit code: 0 when all updates are done, 128 + n when signal n ended the run after a save.

    Raises:
        ValueError: The options, the data or an earlier run in the output folder do not fit.
        EnvironmentFault: The output folder cannot be written, or several processes were started.
        TrainingFault: A loss or gradient was not finite.
        OSError: A checkpoint could not be written.
    """
    _refuse_several_processes()
    require_file(options.data.train_file)  # before anything slow
    output_dir = Path(options.checkpoint.output_dir)
    prepare_output_folder(output_dir)
    precision = _choose_arithmetic(options)
    torch.manual_seed(options.runtime.seed)

    codec = _load_codec(options)
    method = _make_method(options, codec)
    store = _open_features(options, codec, method)
    schedule = _plan(options, len(store))
    model = _load_model(options, codec)
    facts = RunFacts.of(options, codec, store, model)
    state = _make_state(options, model.to(precision.device), precision, schedule)
    data = TrainingData(
        store=store,
        method=method,
        seed=options.runtime.seed,
        micro_batch_size=options.optimization.per_gpu_train_batch_size,
        device=precision.device,
    )

    if options.checkpoint.overwrite_output_dir:
        _start_anew(output_dir, _log_dir(options))
    newest = newest_valid(output_dir)
    window = None if newest is None else restore_checkpoint(newest, state, facts)
    if newest is not None and state.step >= schedule.total_steps:
        logger.info("all %d updates are done, nothing is left to do: %s", state.step, newest)
        return 0
    write_json(
        output_dir / "train_options.json", {**as_dict(options), "schedule": asdict(schedule)}
    )
    return _take_all_updates(options, state, data, codec, facts, window)


def _take_all_updates(
    options: TrainOptions,
    state: TrainState,
    data: TrainingData,
    codec: TextCodec,
    facts: RunFacts,
    window: Window | None,
) -> int:
    """The loop: update, tell, save; at the end or at a signal save once more."""
    output_dir = Path(options.checkpoint.output_dir)
    save_steps = options.checkpoint.save_steps
    with (
        Interruption() as interruption,
        logging_redirect_tqdm([logging.getLogger("s2s_ft")]),
        TrainingLog(
            output_dir,
            _log_dir(options),
            state.schedule,
            logging_steps=options.checkpoint.logging_steps,
            device=data.device,
            first_step=state.step,
            window=window,
        ) as log,
    ):
        for report in take_updates(state, data):
            log.update(state.step, report)
            stop = interruption.signal
            is_last = state.step == state.schedule.total_steps
            is_due = save_steps > 0 and state.step % save_steps == 0
            if is_last or is_due or stop is not None:
                log.flush()
                folder = save_checkpoint(output_dir, state, codec, facts, log.window)
                log.forget_pause()
            if is_last:
                logger.info("training is done: %s", folder)
            elif stop is not None:
                logger.warning(
                    "stopped by signal %d; the same command goes on from %s", stop, folder
                )
                return 128 + stop
    return 0


def _refuse_several_processes() -> None:
    """One process is what this loop is for; several would write over one another."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1":
        raise EnvironmentFault(
            f"{size} processes were started (WORLD_SIZE), but training runs on one device; "
            "start it without a launcher"
        )


def _choose_arithmetic(options: TrainOptions) -> Precision:
    """The GPU if there is one and it may be used, else the CPU; and the precision on it."""
    runtime = options.runtime
    on_gpu = torch.cuda.is_available() and not runtime.no_cuda
    device = torch.device("cuda", max(0, runtime.local_rank)) if on_gpu else torch.device("cpu")
    precision = choose_precision(
        device, fp16=runtime.fp16, bf16=runtime.bf16, fp16_opt_level=runtime.fp16_opt_level
    )
    if on_gpu:
        logger.info(
            "training on %s (%s), %s", device, torch.cuda.get_device_name(device), precision.name
        )
    else:
        keep_freed_memory()
        products = fast_float32_matmul()
        threads = torch.get_num_threads()
        logger.info(
            "training on the CPU, %d threads, %s (matmul %s)", threads, precision.name, products
        )
    return precision


def _load_codec(options: TrainOptions) -> TextCodec:
    """The tokenizer of the encoder, or the one asked for instead."""
    return TextCodec.load(
        options.model.tokenizer_name or options.model.model_name_or_path,
        do_lower_case=True if options.model.do_lower_case else None,
        cache_dir=options.model.cache_dir,
    )


def _make_method(options: TrainOptions, codec: TextCodec) -> Method:
    """The fine-tuning method with its corruption and lengths."""
    return method_named(
        options.model.method,
        special=codec.special,
        max_source_length=options.data.max_source_seq_length,
        max_target_length=options.data.max_target_seq_length,
        corruption=Corruption(**asdict(options.corruption)),
    )


def _open_features(options: TrainOptions, codec: TextCodec, method: Method) -> FeatureStore:
    """The token ids of the training rows, made if they are not there; tells their lengths."""
    folder = (
        options.data.cached_train_features_file or Path(options.checkpoint.output_dir) / "features"
    )
    store = build_or_open(
        Path(options.data.train_file),
        codec,
        folder=Path(folder),
        limit=options.data.num_train_examples,
        source_key=options.data.source_key,
        target_key=options.data.target_key,
        num_workers=options.data.num_workers,
    )
    report = length_report(
        store,
        method.max_source_length,
        method.max_target_length,
        source_specials=method.num_source_special,
        target_specials=method.num_target_special,
    )
    logger.info("%s: %s", options.data.train_file, report)
    return store


def _plan(options: TrainOptions, num_examples: int) -> Schedule:
    """The schedule, told once."""
    optimization = options.optimization
    schedule = plan_schedule(
        num_examples,
        global_batch_size=optimization.per_gpu_train_batch_size
        * optimization.gradient_accumulation_steps,
        num_training_steps=optimization.num_training_steps,
        num_training_epochs=optimization.num_training_epochs,
        warmup_steps=optimization.num_warmup_steps,
    )
    logger.info(
        "%d examples, %d to an update, %d updates to an epoch, %d in all, %d of them warm-up",
        num_examples,
        schedule.global_batch_size,
        schedule.steps_per_epoch,
        schedule.total_steps,
        schedule.warmup_steps,
    )
    return schedule


def _load_model(options: TrainOptions, codec: TextCodec) -> Seq2SeqModel:
    """The pretrained encoder, ready to be fine-tuned."""
    return pretrained.load_for_training(
        options.model,
        codec,
        max_source_length=options.data.max_source_seq_length,
        max_target_length=options.data.max_target_seq_length,
    )


def _make_state(
    options: TrainOptions, model: Seq2SeqModel, precision: Precision, schedule: Schedule
) -> TrainState:
    """Model and optimizer before the first update."""
    optimization = options.optimization
    optimizer = make_optimizer(
        model.named_parameters(),
        weight_decay=optimization.weight_decay,
        epsilon=optimization.adam_epsilon,
    )
    return TrainState(
        model=model,
        optimizer=optimizer,
        precision=precision,
        schedule=schedule,
        peak_learning_rate=optimization.learning_rate,
        max_grad_norm=optimization.max_grad_norm,
        label_smoothing=optimization.label_smoothing,
    )


def _log_dir(options: TrainOptions) -> Path:
    """TensorBoard's folder."""
    return Path(options.checkpoint.log_dir or Path(options.checkpoint.output_dir) / "tensorboard")


def _start_anew(output_dir: Path, log_dir: Path) -> None:
    """Remove checkpoints and logs of an earlier run; token ids stay, they have their own key."""
    remove_checkpoints(output_dir)
    (output_dir / METRICS).unlink(missing_ok=True)
    if log_dir.parent == output_dir:
        shutil.rmtree(log_dir, ignore_errors=True)
