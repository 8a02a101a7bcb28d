"""All that a training run needs before its first update, made from the options in order.

    tokenizer -> method -> token ids -> schedule -> model -> batch size -> network -> optimizer

Notable: every rank makes the same things; only rank 0 tokenises. The number of examples in an
update is settled before anything that depends on the device, so that what fits into its memory
changes how an update is cut and not what it is.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from s2s_ft.corruption import Corruption
from s2s_ft.data.features import FeatureStore, build_or_open
from s2s_ft.data.files import named_by
from s2s_ft.methods import Method, method_named
from s2s_ft.model import pretrained
from s2s_ft.model.adapters import add_adapter, require_peft
from s2s_ft.model.compilation import compile_encoder, recompute_activations
from s2s_ft.model.cpu_training import adapt_to_cpu
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions, as_dict
from s2s_ft.text import TextCodec, read_tokens
from s2s_ft.train.arithmetic import choose_arithmetic
from s2s_ft.train.distributed import World, wrap
from s2s_ft.train.evaluate import Validator
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.fitting import batches_of, micro_batch_size
from s2s_ft.train.identity import RunFacts
from s2s_ft.train.layers import rate_factors
from s2s_ft.train.lines import OPTIONS, write_json
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import Precision
from s2s_ft.train.row_report import tell_of_rows
from s2s_ft.train.schedule import Schedule, global_batch_size, plan_schedule
from s2s_ft.train.shared_store import built_by_main
from s2s_ft.train.step import TrainState
from s2s_ft.train.teacher import attach_teacher, identity_of, load_teacher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """A run that has not begun.

    Attributes:
        codec: The tokenizer.
        facts: What a checkpoint must share with the run to be gone on with.
        state: Model and optimizer before the first update.
        data: Where the micro-batches come from.
        validator: The held-out rows, or None.
    """

    codec: TextCodec
    facts: RunFacts
    state: TrainState
    data: TrainingData
    validator: Validator | None


def prepare(options: TrainOptions, world: World) -> Preparation:
    """Make all that a run needs.

    Args:
        options: Everything the command line says.
        world: The ranks; all of them come here.

    Raises:
        ValueError: The options or the data do not fit.
        EnvironmentFault: A package or a file system is missing.
    """
    precision = choose_arithmetic(options, world)
    # Fresh weights are the same on every rank and in every start of the run.
    torch.manual_seed(options.runtime.seed)
    with world.main_first():
        _check_models(options)
        codec = _load_codec(options)
    method = _make_method(options, codec)
    store = _open_features(options, codec, method, world)
    schedule = _plan(options, len(store), world.size)
    model = _load_model(options, codec)
    teacher = load_teacher(options, codec, model)
    facts = RunFacts.of(options, codec, store, model, identity_of(teacher))
    validator = Validator.of(
        options, codec, method, world, precision.device, features_folder(options)
    )
    add_adapter(model, options.adapter)
    if not options.runtime.fsdp:
        model.to(precision.device)
    if precision.device.type == "cpu":
        adapt_to_cpu(model, alone=world.size == 1)
    if options.runtime.gradient_checkpointing:
        recompute_activations(model)
    if options.runtime.torch_compile:
        compile_encoder(model, precision.autocast, num_rows=_most_tokens(options))
    attach_teacher(model, teacher, precision.device)
    data = TrainingData(
        store=store,
        method=method,
        seed=options.runtime.seed,
        micro_batch_size=options.optimization.per_gpu_train_batch_size,
        device=precision.device,
        rank=world.rank,
        size=world.size,
        max_tokens=options.optimization.max_tokens_per_batch,
    )
    size = micro_batch_size(options, model, data, precision, schedule, world)
    data = replace(data, micro_batch_size=size)
    state = _make_state(options, model, precision, schedule, world)
    return Preparation(codec, facts, state, data, validator)


def _most_tokens(options: TrainOptions) -> int:
    """Source and target tokens that a forward pass has at most, as far as the flags say it."""
    data, optimization = options.data, options.optimization
    longest = data.max_source_seq_length + data.max_target_seq_length
    whole = optimization.per_gpu_train_batch_size * longest
    return min(whole, optimization.max_tokens_per_batch or whole)


def features_folder(options: TrainOptions) -> Path:
    """Where token ids are kept."""
    given = options.data.cached_train_features_file
    return Path(given or Path(options.checkpoint.output_dir) / "features")


def write_options(options: TrainOptions, preparation: Preparation) -> None:
    """Write `train_options.json`: every option, and what was made of them."""
    state, data = preparation.state, preparation.data
    content = {
        **as_dict(options),
        "schedule": asdict(state.schedule),
        "batches": batches_of(data),
    }
    write_json(Path(options.checkpoint.output_dir) / OPTIONS, content)


def _check_models(options: TrainOptions) -> None:
    """Find out before rows are tokenised, which may take hours, what would be met after that."""
    flags, distillation = options.model, options.distillation
    pretrained.describe_suitable(
        flags.model_name_or_path,
        flags.cache_dir,
        "--model_name_or_path",
        config_name=flags.config_name,
    )
    if distillation.teacher_model is not None and distillation.distill_alpha > 0:
        pretrained.describe_suitable(distillation.teacher_model, flags.cache_dir, "--teacher_model")
    if options.adapter.peft is not None:
        require_peft()


def _load_codec(options: TrainOptions) -> TextCodec:
    """The tokenizer of the encoder, or the one asked for instead, with the tokens of the user."""
    given = options.model.tokenizer_name
    codec = TextCodec.load(
        given or options.model.model_name_or_path,
        do_lower_case=True if options.model.do_lower_case else None,
        cache_dir=options.model.cache_dir,
        flag="--tokenizer_name" if given else "--model_name_or_path",
    )
    added = options.model.additional_tokens
    if added is None:
        return codec
    tokens = read_tokens(added, "--additional_tokens")
    try:
        return codec.with_tokens(tokens)
    except ValueError as fault:
        raise ValueError(f"--additional_tokens {added}: {fault}") from fault


def _make_method(options: TrainOptions, codec: TextCodec) -> Method:
    """The fine-tuning method with its corruption and lengths."""
    return method_named(
        options.model.method,
        special=codec.special,
        max_source_length=options.data.max_source_seq_length,
        max_target_length=options.data.max_target_seq_length,
        corruption=Corruption(**asdict(options.corruption)),
    )


def _open_features(
    options: TrainOptions, codec: TextCodec, method: Method, world: World
) -> FeatureStore:
    """The token ids of the training rows, made if they are not there; tells their lengths."""

    def build() -> FeatureStore:
        with named_by("--train_file", options.data.train_file):
            return build_or_open(
                options.data.train_file,
                codec,
                folder=features_folder(options),
                limit=options.data.num_train_examples,
                source_key=options.data.source_key,
                target_key=options.data.target_key,
                num_workers=options.data.num_workers,
            )

    store = built_by_main(world, build)
    if world.is_main:
        tell_of_rows(options.data, codec, method, store)
    return store


def _plan(options: TrainOptions, num_examples: int, num_ranks: int) -> Schedule:
    """The schedule, told once."""
    optimization = options.optimization
    schedule = plan_schedule(
        num_examples,
        global_batch_size=global_batch_size(optimization, num_ranks),
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
    options: TrainOptions,
    model: Seq2SeqModel,
    precision: Precision,
    schedule: Schedule,
    world: World,
) -> TrainState:
    """Network and optimizer before the first update."""
    optimization = options.optimization
    network = wrap(model, world, precision.device, fsdp=options.runtime.fsdp)
    # After the wrapping, which may put other parameters in the place of the model's.
    optimizer = make_optimizer(
        model.named_parameters(),
        weight_decay=optimization.weight_decay,
        epsilon=optimization.adam_epsilon,
        kind=optimization.optimizer,
        rate_factors=rate_factors(model, optimization.layer_decay),
    )
    return TrainState(
        model=model,
        network=network,
        optimizer=optimizer,
        precision=precision,
        schedule=schedule,
        peak_learning_rate=optimization.learning_rate,
        max_grad_norm=optimization.max_grad_norm,
        label_smoothing=optimization.label_smoothing,
        seed=options.runtime.seed,
        world=world,
        unfreeze_steps=optimization.unfreeze_steps,
    )
