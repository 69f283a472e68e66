"""A resumed run is the same run, whatever its networks draw from and wherever they keep their state."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.networks.student import Learner
from selftrain.runtime.rng import own_randomness
from selftrain.types import BatchPlan

LENGTH = {"steps": 6, "plan": BatchPlan(labeled=4)}


class Noisy(nn.Module):
    """A network whose outputs are shaken by a number that ``draw`` gives."""

    def __init__(self, **own):
        super().__init__()
        self.inner = toy.network("classification")
        vars(self).update(own)

    def draw(self):
        return 0.0

    def forward(self, x):
        return self.inner(x) * (1 + 0.2 * float(self.draw()))


class PythonsNoise(Noisy):
    def draw(self):
        return random.random()


class NumpysNoise(Noisy):
    def draw(self):
        return np.random.rand()


def fit(network, out=None, *, optimizer=torch.optim.Adam, schedule=None, kind=strategies.MeanTeacher, **settings):
    torch.manual_seed(0)

    def make():
        model = network()
        return Learner(model, optimizer(model.parameters(), lr=0.01), schedule=schedule and schedule())

    strategy = kind(toy.task("classification"), make)
    return st.fit(strategy, toy.pile("classification"), out=out, **LENGTH | settings)


def same(one, other):
    mine, theirs = one.strategy.state_dict(), other.strategy.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items() if isinstance(value, torch.Tensor))


KINDS = {
    "Python's generator": {"network": PythonsNoise},
    "numpy's generator": {"network": NumpysNoise},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_same_run(kind, tmp_path):
    whole = fit(**KINDS[kind])
    fit(**KINDS[kind], out=tmp_path, checkpoints=st.Checkpoints(stop_after=4))
    for shared in (random, np.random):
        shared.seed(7)  # as in another process
    assert same(whole, fit(**KINDS[kind], out=tmp_path, resume=True))


@pytest.mark.parametrize("network", [PythonsNoise, NumpysNoise])
def test_noise_is_the_same_again_whatever_draws_it(network):
    learner, model = toy.learner("classification")(), network()
    with own_randomness(torch.device("cpu")):
        state = learner.random_state()
        first, second = model.draw(), model.draw()
        with learner.same_noise(state):
            assert model.draw() == first != second
