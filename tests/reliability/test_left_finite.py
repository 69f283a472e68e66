"""A step may not leave numbers that are not finite, though its loss and gradients are: it is left out."""

import math

import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import toy
from selftrain.errors import NonFiniteError, TrainingError
from selftrain.handlers import NonFiniteGuard
from selftrain.networks.student import Learner
from selftrain.runtime.finite import expect_rows, finite_step
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import BatchPlan, Report

KIND = "classification"


class Once(nn.Module):
    """The toy's network, to which something happens in its third pass in training."""

    def __init__(self, happens):
        super().__init__()
        self.inner, self.happens = toy.network(KIND), happens
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.register_buffer("narrow", torch.ones(2, dtype=torch.float16))
        self.register_buffer("mask", torch.tensor([0.0, -math.inf, math.nan]))  # meant so

    def forward(self, x):
        if self.training:
            self.passes += 1
            if self.passes == 3 and self.happens:
                self.happens(self)
        return self.inner(x)


def overflow_variance(network):
    next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d)).running_var.fill_(math.inf)


def overflow_half(network):
    network.narrow.mul_(60000).mul_(60000)


class Plain(SupervisedStrategy):
    """Labels alone; each step is the loss of the labels times a factor."""

    views = ()

    def __init__(self, task, make, factor=None):
        super().__init__(task)
        self.student, self.factor = make(), factor or {}

    def step(self, batch, clock):
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        self.student.update(loss * self.factor.get(clock.step, 1.0))
        return Report({"loss/supervised": loss.detach()})

    step_labeled = step

    def predictors(self):
        return {"student": lambda x: self.task.probs(self.student.label(x))}

    def export(self):
        return {}


def fit(happens=None, *, optimizer=torch.optim.AdamW, schedule=None, factor=None, guard=None, steps=5, **settings):
    torch.manual_seed(0)

    def make():
        network = Once(happens)
        return Learner(network, optimizer(network.parameters(), lr=0.01, **settings), schedule=schedule)

    strategy, watch = Plain(toy.task(KIND), make, factor), [guard] if guard else []
    return st.fit(strategy, toy.pile(KIND), steps=steps, plan=BatchPlan(labeled=4), handlers=watch)


CASES = {
    "a schedule that is infinite once": {"schedule": lambda p: math.inf if p == 0.4 else 1.0},
    "a schedule that is no number once": {"schedule": lambda p: math.nan if p == 0.4 else 1.0},
    "a rate that overflows": {"schedule": lambda p: 1e45 if p == 0.4 else 1.0},
    "statistics": {"happens": overflow_variance},
    "half-precision buffers": {"happens": overflow_half},
    "second moments": {"factor": {2: 1e25}},
    "momentum": {"optimizer": torch.optim.SGD, "momentum": 0.9, "factor": {2: 1e37}, "schedule": lambda p: 1e3},
}


@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
@pytest.mark.parametrize("what", CASES)
def test_a_step_that_leaves_what_is_not_finite_is_left_out(what):
    run = fit(**CASES[what])
    assert run.skipped >= 1
    state = run.strategy.state_dict()
    moments = run.strategy.student.optimizer.state.values()
    assert all(torch.isfinite(v).all() for k, v in state.items() if torch.is_tensor(v) and not k.endswith("mask"))
    assert all(torch.isfinite(v).all() for row in moments for v in row.values() if torch.is_tensor(v))


@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_what_is_not_finite_from_the_beginning_is_meant_so():
    assert fit().skipped == 0


def test_the_message_names_what_is_not_finite():
    with pytest.raises(NonFiniteError, match=r"left numbers that are not finite in student.model.narrow; lower"):
        fit(overflow_half, guard=NonFiniteGuard(0))
    with pytest.raises(TrainingError, match="steps in a row up to step"), pytest.warns(st.SelfTrainingWarning):
        fit(schedule=lambda p: math.inf, guard=NonFiniteGuard(1))


@pytest.mark.parametrize("way", ["forward", "several", "label", "teacher"])
def test_every_way_through_a_network_is_looked_at(way):
    network = nn.Linear(2, 2)
    learner = Learner(network, torch.optim.SGD(network.parameters(), lr=0.1))
    teacher = st.Teacher(learner)
    ways = {"forward": learner, "label": learner.label, "teacher": teacher, "several": learner.several}
    for model in (network, teacher.model):
        if way == "several":
            model.forward = lambda x: (x, torch.full_like(x, math.nan))
        else:
            nn.init.constant_(model.bias, math.inf)
    with pytest.raises(NonFiniteError, match="output of a network"), finite_step():
        ways[way](torch.ones(2, 2))


def test_large_sums_of_finite_numbers_are_finite():
    from selftrain.runtime.finite import Weights

    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("large", torch.full((100,), 3e38))
            self.register_buffer("narrow", torch.full((10,), 6e4, dtype=torch.float16))
            self.register_buffer("sparse", torch.eye(2).to_sparse())
            self.register_buffer("none", torch.zeros(0))
            self.register_buffer("complex", torch.ones(2, dtype=torch.complex64))

    large = Large()
    with finite_step(weights := Weights(large.named_modules(), ())):
        large.large.mul_(1.0)
    with pytest.raises(NonFiniteError, match="in large, narrow;"), finite_step(weights):
        torch._foreach_mul_([large.large, large.narrow], 10)


def test_the_remedies_of_the_message_help():
    """A lower rate, another schedule, single precision."""
    assert fit(schedule=lambda p: 1.0).skipped == 0
    assert fit(lambda network: network.float() and network.narrow.mul_(60000).mul_(60000)).skipped == 0


def test_what_is_expected_of_a_step_is_told_at_its_end_before_its_outputs():
    """Numbers stay on the device until then; an error that they lead to is told as what it comes of."""
    network = nn.Linear(2, 2)
    learner = Learner(network, torch.optim.SGD(network.parameters(), lr=0.1))
    seen = []

    def remember() -> None:
        learner(torch.full((1, 2), math.nan))
        seen.extend(expect_rows(torch.tensor([7, 2]), 5, lambda row: ValueError(f"row {row} of 5")).tolist())

    def fail() -> None:
        learner.update(learner(torch.full((1, 2), math.nan)).sum())
        raise KeyError("of the numbers")

    with pytest.raises(ValueError, match="row 7 of 5"), finite_step():
        remember()
    assert seen == [4, 2]
    with pytest.raises(NonFiniteError, match="the loss is nan") as caught, finite_step():
        fail()
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyError), finite_step():
        raise KeyError("of something else")
    with pytest.raises(ValueError, match="row 5"):  # outside of a step at once
        expect_rows(torch.tensor([5]), 5, lambda row: ValueError(f"row {row}"))
    with finite_step(late=True) as watch:
        learner(torch.full((1, 2), math.inf))
    with pytest.raises(NonFiniteError, match="output of a network"):
        watch.check()
