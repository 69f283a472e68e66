"""Counter-based draws: uniform, independent across every part of the address, and free of state."""

import numpy as np
import pytest
import torch

from selftrain.data.base import random
from selftrain.data.base.random import _signed, keys, normal, permutation, uniform

_MASK = (1 << 64) - 1


def splitmix(state):
    """The output function of SplitMix64, in Python's own integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def chi_square(draws, bins=64):
    counts = torch.bincount((draws.flatten() * bins).long(), minlength=bins).double()
    expected = draws.numel() / bins
    return float(((counts - expected) ** 2 / expected).sum())


def correlation(a, b):
    return abs(float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1]))


def test_draws_after_the_key_are_the_splitmix_sequence():
    index = torch.tensor([0, 1, -7, 2**40])
    start = [int(k) & _MASK for k in keys(3, 2, index, "weak")]
    golden = 0x9E3779B97F4A7C15
    expected = [[(splitmix((k + golden * j) & _MASK) >> 40) / 2**24 for j in range(1, 6)] for k in start]
    assert uniform(3, 2, index, "weak", 5).tolist() == expected


def test_devices_draw_what_the_host_draws():
    value = torch.tensor([0, 1, -7, 2**62, -(2**63)])
    on_host = random._mix_on_host(value.numpy().view(np.uint64).copy()).view(np.int64)
    assert random._mix(value).tolist() == on_host.tolist() == [_signed(splitmix(v & _MASK)) for v in value.tolist()]


def test_draws_are_uniform_on_the_half_open_interval():
    draws = uniform(0, 0, torch.arange(20_000), "strong", 16)
    assert draws.min() >= 0
    assert draws.max() < 1
    # 63 degrees of freedom: mean 63, standard deviation 11.2
    assert 20 < chi_square(draws) < 120
    assert all(20 < chi_square(draws[:, column]) < 120 for column in range(16))
    assert abs(float(draws.double().var()) - 1 / 12) < 1e-3


@pytest.mark.parametrize(
    "other",
    [
        lambda i: uniform(1, 0, i, "weak", 8),
        lambda i: uniform(0, 1, i, "weak", 8),
        lambda i: uniform(0, 0, i + 1, "weak", 8),
        lambda i: uniform(0, 0, i, "weak2", 8),
        lambda i: uniform(0, 0, i, 2, 8),
        lambda i: uniform(0, 0, i, "weak", 9)[:, 1:],
        lambda i: uniform(0, 0, -1 - i, "weak", 8),
        lambda i: uniform(0, 0, i.flip(0), "weak", 8),
    ],
)
def test_every_part_of_the_address_gives_independent_draws(other):
    index = torch.arange(10_000)
    assert correlation(uniform(0, 0, index, "weak", 8), other(index)) < 0.015  # 4 standard errors of 80,000 pairs


def test_seed_and_epoch_do_not_stand_in_for_each_other():
    index = torch.arange(100)
    assert not torch.equal(uniform(1, 0, index, "weak", 4), uniform(0, 1, index, "weak", 4))
    assert not torch.equal(uniform(0, 0, index, "1", 4), uniform(0, 0, index, 1, 4))


def test_a_draw_depends_on_its_own_sample_only():
    index = torch.tensor([5, 900, 3])
    together = uniform(0, 4, index, "weak", 6)
    alone = torch.cat([uniform(0, 4, i[None], "weak", 6) for i in index])
    assert torch.equal(together, alone)
    assert torch.equal(together[:, :2], uniform(0, 4, index, "weak", 2))


def test_view_names_hash_the_same_in_every_process():
    # a fixed value: Python's own hash of a string would differ from run to run
    assert round(uniform(0, 0, torch.tensor([0]), "weak", 1).item(), 6) == 0.078034


def test_normal_draws_have_the_normal_distribution():
    draws = normal(0, 0, torch.arange(50_000), "weak", 4).double()
    assert torch.isfinite(draws).all()
    assert abs(float(draws.mean())) < 0.01
    assert abs(float(draws.std()) - 1) < 0.01
    for quantile, value in ((0.025, -1.95996), (0.5, 0.0), (0.84134, 1.0)):
        assert abs(float(torch.quantile(draws[:, 0], quantile)) - value) < 0.03


def test_the_outermost_normal_draws_are_finite_and_opposite(monkeypatch):
    ends = torch.tensor([[0.0, 1 - 2.0**-24]])  # the smallest and the largest uniform draw
    monkeypatch.setattr("selftrain.data.base.random.uniform", lambda *a: ends)
    low, high = normal(0, 0, torch.arange(1), "weak", 2)[0]
    assert low == -high
    assert 5 < high < 6


def test_permutation_holds_every_row_once_and_depends_on_the_whole_key():
    for n in (0, 1, 2, 1000):
        assert sorted(permutation(0, 0, n).tolist()) == list(range(n))
    base = permutation(0, 0, 1000)
    assert torch.equal(base, permutation(0, 0, 1000))
    for other in (permutation(1, 0, 1000), permutation(0, 1, 1000), permutation(0, 0, 1000, "cycle")):
        assert correlation(base, other) < 0.13
    assert correlation(base, torch.arange(1000)) < 0.13


def test_every_place_is_as_likely_for_every_row():
    places = np.array([permutation(seed, 0, 5).tolist() for seed in range(4000)])
    counts = np.stack([np.bincount(places[:, column], minlength=5) for column in range(5)])
    assert abs(counts - 800).max() < 110  # 4 standard deviations of a binomial (4000, 1/5)


def test_global_random_states_are_left_alone():
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    uniform(0, 0, torch.arange(9), "weak", 3)
    permutation(0, 0, 9)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(before_numpy, np.random.get_state()[1])
