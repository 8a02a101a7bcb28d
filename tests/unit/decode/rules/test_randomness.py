"""Random numbers from counters: known values, their distribution, and that nothing else counts."""

from __future__ import annotations

import torch

from s2s_ft.decode.rules.randomness import _mixed, _signed, stream, uniforms


def test_the_mixing_function_is_splitmix64() -> None:
    """The first numbers that the published generator gives for seed 1234567."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    golden = 0x9E3779B97F4A7C15
    counters = [_signed((1234567 + golden * (place + 1)) % 2**64) for place in range(3)]
    assert _mixed(torch.tensor(counters)).tolist() == [_signed(number) for number in known]


def numbers(keys: range, samples: range, steps: range, seed: int = 1) -> torch.Tensor:
    streams = torch.tensor([stream(seed, key) for key in keys])[:, None, None]
    return uniforms(
        streams, torch.tensor(list(samples))[:, None], torch.tensor(list(steps))
    )  # [keys, samples, steps]


def test_they_are_uniform_along_every_counter() -> None:
    for counters in [
        (range(4000), range(1), range(1)),
        (range(1), range(4000), range(1)),
        (range(1), range(1), range(4000)),
        (range(40), range(10), range(10)),
    ]:
        found = numbers(*counters).flatten()
        assert found.dtype == torch.float64
        assert float(found.min()) >= 0.0
        assert float(found.max()) < 1.0
        counts = torch.histc(found, bins=20, min=0.0, max=1.0)
        statistic = float(((counts - 200) ** 2 / 200).sum())
        assert statistic < 43.8, counters  # 0.1 % of uniform numbers go beyond, 19 degrees
    assert len(numbers(range(40), range(10), range(10)).unique()) == 4000


def test_neighbours_have_nothing_to_do_with_each_other() -> None:
    found = numbers(range(30), range(30), range(30)) - 0.5
    for other in (
        numbers(range(1, 31), range(30), range(30)),
        numbers(range(30), range(1, 31), range(30)),
        numbers(range(30), range(30), range(1, 31)),
        numbers(range(30), range(30), range(30), seed=2),
        numbers(range(30), range(30), range(30)).transpose(0, 1),
    ):
        product = (found * (other - 0.5))[torch.eye(30).logical_not()]
        assert abs(float(product.mean()) * 12) < 0.03  # a correlation of 26,100 pairs


def test_nothing_but_the_counters_counts() -> None:
    every = numbers(range(5), range(3), range(4))
    assert numbers(range(2, 3), range(1, 3), range(3, 4)).equal(every[2:3, 1:3, 3:4])
    assert stream(-5, 2**40) != stream(5, 2**40)
