"""Kill a training run again and again, and see that nothing of it is lost.

    python benchmarks/kill.py [--kills 50] [--processes 1 2] [--tiny] [--seed N] [--fork] [--bf16]
                              [--updates 60] [--batch 16] [--save_steps 3]

A run is ended at random moments by SIGKILL, or by SIGTERM, SIGUSR1 or SIGINT (a third of the blows
aim at a save, a third at a look at the held-out rows, a few at the preparation, the rest anywhere),
started again by the same command, and after a few blows left to finish. Then its last weights and
optimizer state must be bit-equal to those of a run that was left alone, its best model too, and
`metrics.jsonl` must tell of every update once and with the same numbers. Dropout is on, gradients
are accumulated, and saves and looks fall into the middle of epochs.

With more processes than one, a signal goes to all of them or to a single one. Written to
`benchmarks/results/kill.json`: every blow, where it landed, how many updates had to be taken again;
and what the runs took longer than the one that was left alone.
"""

from __future__ import annotations

import random
import sys
import tempfile
from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.command_line import SAMPLE, model_anywhere, parser_of
from benchmarks.noted_run import PHASES
from benchmarks.rounds import write_report
from benchmarks.stories import Blow, Story
from benchmarks.train_speed import default_model
from benchmarks.victims import Commands, Forks, Launcher, Nursery


def summary(stories: dict[int, tuple[Story, list[Blow]]]) -> list[dict[str, Any]]:
    """A row for each number of processes: blows, where they landed, what they cost."""
    rows = []
    for processes, (story, blows) in stories.items():
        again = [
            blow.step - blow.resumed
            for blow in blows
            if blow.step is not None and blow.resumed is not None
        ]
        lost = sum(story.broken_seconds) - len(story.broken_seconds) * story.whole_seconds
        phases = [blow.phase for blow in blows]
        rows.append(
            {
                "processes": processes,
                "kills": len(blows),
                "by SIGKILL": sum(blow.signal == "SIGKILL" for blow in blows),
                **{phase: phases.count(phase) for phase in PHASES},
                "runs": len(story.broken_seconds),
                "resumes": len(blows),
                "updates again": sum(again),
                "seconds lost a kill": lost / max(1, len(blows)),
                "bit-equal": True,
            }
        )
    return rows


def tiny_encoder(folder: Path) -> Path:
    """A random encoder of two narrow layers, with the tokenizer of the usual one."""
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    tokenizer = AutoTokenizer.from_pretrained(default_model())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def flags_for(
    model: Path | str,
    rows: Path,
    dev_rows: Path,
    processes: int,
    *,
    updates: int,
    batch: int,
    save_steps: int = 3,
) -> list[str]:
    """The command line of the runs but for `--output_dir`; each process makes two passes an update.

    Args:
        model: The encoder.
        rows: Training rows; the first 300 are used.
        dev_rows: Held-out rows; the first 6 are used.
        processes: That share the work.
        updates: Length of the run.
        batch: Examples in an update, a multiple of twice the processes.
        save_steps: Updates from save to save.
    """
    words: list[object] = [
        *("--model_name_or_path", model, "--no_cuda", "--dropout", 0.1, "--learning_rate", 1e-3),
        *("--train_file", rows, "--num_train_examples", 300, "--num_warmup_steps", 3),
        *("--dev_file", dev_rows, "--num_dev_examples", 6, "--eval_metric", "rougeL"),
        *("--max_source_seq_length", 40, "--max_target_seq_length", 12),
        *("--global_batch_size", batch, "--per_gpu_train_batch_size", batch // processes // 2),
        *("--num_training_steps", updates, "--save_steps", save_steps, "--eval_steps", 5),
        *("--logging_steps", 1, "--keep_checkpoints", 2),
    ]
    return [str(word) for word in words]


def command_line() -> ArgumentParser:
    """What the benchmark may be told."""
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=50, help="for each number of processes")
    parser.add_argument("--kills_a_run", type=int, default=6)
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--updates", type=int, default=60, help="length of a run")
    parser.add_argument("--batch", type=int, default=16, help="examples in an update")
    parser.add_argument("--save_steps", type=int, default=3, help="updates from save to save")
    parser.add_argument("--model", help="encoder; MiniLM-L6 unless given", type=model_anywhere)
    parser.add_argument("--tiny", action="store_true", help="a random encoder, two narrow layers")
    parser.add_argument(
        "--fork", action="store_true", help="fork the runs: no imports, no torchrun"
    )
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    return parser


def main() -> None:
    """Kill, compare and write the table."""
    given = command_line().parse_args()
    print(f"--seed {given.seed}", flush=True)
    choice = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = tiny_encoder(folder / "tiny") if given.tiny else given.model or default_model()
        nursery = stack.enter_context(Nursery()) if given.fork else None
        stories = {}
        for processes in given.processes:
            launcher: Launcher = Commands(processes)
            if nursery is not None:
                launcher = Forks(nursery, processes)
            (folder / str(processes)).mkdir()
            flags = flags_for(
                model,
                SAMPLE / "train.jsonl.gz",
                SAMPLE / "dev.jsonl.gz",
                processes,
                updates=given.updates,
                batch=given.batch,
                save_steps=given.save_steps,
            )
            flags += ["--bf16"] * given.bf16
            story = Story(launcher, flags, folder / str(processes), choice)
            print(f"{processes} processes: {story.whole_seconds:.1f} s undisturbed", flush=True)
            blows: list[Blow] = []
            while len(blows) < given.kills:
                struck = story.strike(min(given.kills_a_run, given.kills - len(blows)))
                blows += struck
                print(f"{len(blows)} kills; {len(struck)} in this run, bit-equal", flush=True)
            stories[processes] = story, blows
        write_report(
            "kill",
            summary(stories),
            given.results,
            seed=given.seed,
            model="tiny" if given.tiny else Path(str(model)).name,
            updates=given.updates,
            batch=given.batch,
            save_steps=given.save_steps,
            forked=given.fork,
            bf16=given.bf16,
            blows={
                str(size): [asdict(blow) for blow in each] for size, (_, each) in stories.items()
            },
        )


if __name__ == "__main__":
    main()
