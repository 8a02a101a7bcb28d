"""The order in which training sees the rows, how an update is cut, and the random stream of each
row.

Holds `epoch_batches`, `steps_per_epoch`, `cut` and `example_generator`.

Notable: everything is a pure function of seed, epoch and row index, so it does not depend on how
often a run was stopped and resumed, nor on the number of workers or processes. Rows of about the
same length come together without giving up randomness: the rows are shuffled, cut into windows of
some fifty batches, sorted by length inside each window, cut into batches, and the batches are
shuffled. Neighbours in a window are then nearly equally long, so little is padded, while which
rows share a batch, and when it comes, changes every epoch.

    shuffled lengths         7 2 9 4 | 1 8 3 6      two windows of two batches of two rows
    sorted in each window    2 4 7 9 | 1 3 6 8
    batches, shuffled        [6 8] [2 4] [1 3] [7 9]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WINDOW_BATCHES = 50
UINT64_MASK = (1 << 64) - 1


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Number of batches that `epoch_batches` gives: the last one may be smaller."""
    return -(-num_examples // batch_size)


def epoch_batches(
    lengths: npt.NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[npt.NDArray[np.int64]]:
    """Groups all rows into the batches of one epoch.

    Args:
        lengths: [N] int64, cost of each row, for example its tokens after truncation.
        batch_size: Rows per update, at least 1: per-device batch x accumulation steps (x
            processes).
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more.

    Returns:
        `steps_per_epoch(N, batch_size)` arrays of row indices, int64, each row exactly once. Every
        batch is in ascending order of length, so that its slices have little padding, too. All
        have `batch_size` rows but the last, which takes what is left, rows drawn at random.
    """
    assert batch_size >= 1, "the options refuse less"
    random = np.random.default_rng((seed & UINT64_MASK, epoch))
    shuffled = random.permutation(len(lengths))
    num_whole = len(lengths) // batch_size
    whole, rest = np.split(shuffled, [num_whole * batch_size])
    window = np.arange(len(whole)) // (WINDOW_BATCHES * batch_size)
    # The last key counts first: window by window, then by length; ties stay as shuffled.
    grouped = whole[np.lexsort((lengths[whole], window))].reshape(num_whole, batch_size)
    batches = list(grouped[random.permutation(num_whole)])
    if len(rest):
        batches.append(rest[np.argsort(lengths[rest], kind="stable")])
    return batches


def cut(
    indices: npt.NDArray[np.int64],
    costs: npt.NDArray[np.int64],
    max_examples: int,
    max_tokens: int | None = None,
) -> list[npt.NDArray[np.int64]]:
    """Cuts the rows of an update into parts that go through the model at once.

    Args:
        indices: [B] int64, rows of the update, in the order they are to be taken.
        costs: [B] int64, tokens of each of these rows (of `indices[i]` at place i), as many as the
            row has in the model.
        max_examples: Most rows in a part (`--per_gpu_train_batch_size`).
        max_tokens: Most tokens in a part (`--max_tokens_per_batch`), None for any number.

    Returns:
        The parts, in order; each as large as both limits allow. A row that is larger than
        `max_tokens` goes alone.
    """
    assert len(costs) == len(indices), "one cost for each row of the update"
    starts: list[int] = []
    tokens = 0
    for place, cost in enumerate(costs.tolist()):
        tokens += cost
        is_full = not starts or place - starts[-1] == max_examples
        if is_full or (max_tokens is not None and tokens > max_tokens):
            starts.append(place)
            tokens = cost
    return np.split(indices, starts[1:]) if starts else []


def example_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random stream of one row in one epoch.

    Args:
        seed: The run's seed.
        epoch: Number of the epoch, 0 or more.
        index: Index of the row, 0 or more.

    Returns:
        A generator whose stream no other triple shares: seed and epoch are the key of a
        counter-based generator and the index is the high word of its counter. Making one takes
        about ten microseconds.
    """
    # As arrays: from a list of integers numpy goes through floats and rounds large ones.
    key = np.array([seed & UINT64_MASK, epoch], np.uint64)
    counter = np.array([0, 0, 0, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
