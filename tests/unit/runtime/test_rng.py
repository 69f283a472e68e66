"""Generators that everybody shares: each step and each rank has numbers of its own."""

import random

import numpy as np
import pytest
import torch

from selftrain.runtime.distributed.shard import own_draws
from selftrain.runtime.rng import own_randomness, random_state, seed_step, set_random_state

CPU = torch.device("cpu")
DRAWS = {
    "torch": lambda: float(torch.rand(())),
    "numpy": lambda: float(np.random.rand()),
    "Python": random.random,
}
sources = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.fixture(autouse=True)
def kept():
    with own_randomness(CPU):
        yield


@sources
def test_a_step_draws_the_same_again(draw):
    seed_step(2**62 + 5, CPU)
    first = draw(), draw()
    state = random_state(CPU)
    third = draw()
    seed_step(5, CPU)  # equal in its lower word, which is all that torch reads
    assert (draw() == first[0]) == (draw is DRAWS["torch"])
    seed_step(2**62 + 5, CPU)
    assert (draw(), draw()) == first
    draw()
    set_random_state(state, CPU)
    assert draw() == third


@sources
def test_what_is_drawn_inside_does_not_move_the_callers_state(draw):
    before = [one() for one in DRAWS.values() if seed_step(1, CPU) is None]
    seed_step(1, CPU)
    with own_randomness(CPU):
        draw()
    assert [one() for one in DRAWS.values()] == before


@sources
def test_each_rank_and_each_pass_draws_its_own(draw):
    found = set()
    for rank in (0, 1):
        seed_step(3, CPU)
        for _ in range(2):
            with own_draws(rank, CPU):
                found.add(draw())
    assert len(found) == 4
    seed_step(3, CPU)
    with own_draws(0, CPU):
        pass
    after = draw()
    seed_step(3, CPU)
    assert draw() == after  # nothing was drawn inside
