"""Looking ahead leaves no trace, and future self-training updates in the order of its paper."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import PLAN, build, differences

import selftrain as st
from selftrain import Learner, TrainingError, strategies, toy
from selftrain.types import Batch, Clock, Labeled, Target, Unlabeled, View


# -- virtual() ---------------------------------------------------------------------------------------------------------
def trace(learner: Learner) -> dict[str, Any]:
    """All that a virtual step could touch."""
    return {
        "state": copy.deepcopy(learner.state_dict()),
        "grads": [None if p.grad is None else p.grad.clone() for p in learner.model.parameters()],
        "grad_norm": learner.grad_norm.clone(),
        "random": torch.get_rng_state(),
        "training": [m.training for m in learner.modules()],
    }


def started(kind: toy.Kind, precision: str, optimizer: str) -> tuple[Learner, Tensor]:
    """A learner with moments, moved BatchNorm statistics and one gathered gradient of two, and its next input."""
    torch.manual_seed(0)
    learner = toy.learner(kind, precision=precision, optimizer=optimizer, accumulate=2)()
    x = toy.pile(kind).x[:8]
    for _ in range(3):
        learner.update(learner(x).square().mean())
    assert any(p.grad is not None for p in learner.model.parameters())
    return learner, x


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", toy.KINDS)
@pytest.mark.parametrize("fails", [False, True])
def test_virtual_steps_leave_no_trace(kind, precision, optimizer, fails):
    learner, x = started(kind, precision, optimizer)
    before = trace(learner)
    try:
        with learner.virtual():
            assert all(p.grad is None for p in learner.model.parameters())
            for _ in range(3):
                assert learner.update(learner(x).square().mean())  # at once, whatever accumulate says
            inside = trace(learner)
            learner(x).sum().backward()
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert not differences(before, trace(learner))
    touched = differences(before, inside)
    for part in ("model.0.weight", "running_mean", "optimizer/state", "random", "grad_norm", "pending"):
        assert any(part in path for path in touched), part


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_after_a_look_ahead_training_goes_on_as_if_there_was_none(precision):
    looked, other = (started("classification", precision, "adamw") for _ in range(2))
    with looked[0].virtual():
        looked[0].update(looked[0](looked[1]).exp().mean())
    states = []
    for learner, x in (looked, other):
        torch.manual_seed(5)
        for _ in range(3):
            learner.update(learner(x).square().mean())
        states.append(trace(learner))
    assert not differences(*states)


def test_a_loss_that_is_not_finite_inside_leaves_no_trace():
    learner, x = started("classification", "fp32", "sgd")
    before = trace(learner)

    def look_ahead() -> None:
        with learner.virtual():
            learner.update(learner(x).mean())
            learner.update(learner(x).mean() * float("nan"))

    with pytest.raises(TrainingError, match="nan"):
        look_ahead()
    assert not differences(before, trace(learner))


def test_restoring_parameters_alone_leaks_the_rest_as_documented():
    learner, x = started("classification", "fp32", "adamw")
    before = trace(learner)
    with learner.virtual(restore="parameters"):
        learner.update(learner(x).square().mean())
    after = trace(learner)
    assert not differences(before["grads"], after["grads"])
    assert learner._pending == 1
    leaked = differences(before["state"], after["state"])
    moments = [path for path in zoo.leaves(before["state"]) if "/optimizer/state/" in path and "exp_avg" in path]
    counts = [path for path in zoo.leaves(before["state"]) if path.endswith("/step")]
    statistics = [path for path in zoo.leaves(before["state"]) if "running_" in path or "num_batches" in path]
    assert leaked == sorted(moments + counts + statistics)
    assert not torch.equal(before["random"], after["random"])


def test_an_unknown_kind_of_restoring_is_refused():
    learner, _ = started("classification", "fp32", "sgd")
    with pytest.raises(ValueError, match="everything"), learner.virtual(restore="everything"):
        pass


# -- future self-training against a trace by hand ----------------------------------------------------------------------
class Scale(nn.Module):
    """One number: logits = w x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7, dtype=torch.double))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x


RATE, MOMENTUM, DECAY, WEIGHT = 0.5, 0.6, 0.8, 3.0


def make_scale(accumulate: int = 1) -> Learner:
    model = Scale()
    return Learner(model, torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM), accumulate=accumulate)


def scalar_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    given, weak, strong = torch.randn(3, 5, 2, generator=generator, dtype=torch.double)
    target = Target(F.one_hot(torch.arange(5) % 2, 2).double(), torch.ones(5, dtype=torch.double))
    views = {"weak": View(weak), "strong": View(strong)}
    return Batch(Labeled(given, target, torch.arange(5)), Unlabeled(views, torch.arange(5)))


@dataclass
class ByHand:
    """The student w with its momentum m, and the teacher phi with the count of its updates."""

    w: float = 0.7
    m: float = 0.0
    phi: float = 0.7
    count: int = 0

    def follow(self, source: float, *, counts: bool) -> None:
        keep = min(DECAY, 1 - 1 / (self.count + 2))
        self.phi = keep * self.phi + (1 - keep) * source
        self.count += counts

    def slope(self, batch: Batch, factor: float) -> float:
        """Gradient of labels + factor x squared difference to the teacher."""
        w = torch.tensor(self.w, dtype=torch.double, requires_grad=True)
        labels = batch.labeled.target.value.argmax(1)
        supervised = F.cross_entropy(w * batch.labeled.x, labels)
        told = (self.phi * batch.unlabeled["weak"].x).softmax(1)
        unsupervised = F.mse_loss((w * batch.unlabeled["strong"].x).softmax(1), told)
        (gradient,) = torch.autograd.grad(supervised + factor * unsupervised, w)
        return float(gradient)

    def descend(self, batch: Batch, factor: float, *more: Batch) -> None:
        """One step of SGD with momentum, with the mean gradient if there are several batches."""
        slopes = [self.slope(b, factor) for b in (batch, *more)]
        self.m = MOMENTUM * self.m + sum(slopes) / len(slopes)
        self.w -= RATE * self.m

    def mean_teacher(self, batch: Batch, factor: float, *more: Batch, order: str) -> None:
        if order == "before":
            self.follow(self.w, counts=True)
        self.descend(batch, factor, *more)
        if order == "after":
            self.follow(self.w, counts=True)

    def fst(self, batch: Batch, factor: float, *more: Batch, depth: int, code: bool, after: bool) -> None:
        self.follow(self.w, counts=True)
        today = self.w, self.m
        for _ in range(depth):
            self.descend(batch, factor)
            self.follow(self.w, counts=code)
        self.w, self.m = today[0], self.m if code else today[1]
        self.descend(batch, factor, *more)
        if after:
            self.follow(self.w, counts=code)

    def fst_w(self, batch: Batch, ahead: Sequence[Batch], factor: float, *more: Batch, code: bool) -> None:
        futures, today = [], (self.w, self.m)
        for future in ahead:
            self.descend(future, factor)
            futures.append(self.w)
            self.w, self.m = today[0], self.m if code else today[1]
        self.follow(sum(futures) / len(futures), counts=code)
        self.descend(batch, factor, *more)
        self.follow(self.w, counts=True)


def check(strategy: Any, hand: ByHand) -> None:
    assert strategy.student.model.w.item() == pytest.approx(hand.w, abs=1e-12)
    assert strategy.teacher.model.w.item() == pytest.approx(hand.phi, abs=1e-12)
    assert int(strategy.teacher.updates) == hand.count


@pytest.mark.parametrize("faithful", ["paper", "code"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_fst_follows_the_trace_by_hand(depth, after, faithful):
    settings = {"decay": DECAY, "unlabeled_weight": WEIGHT, "rampup": lambda progress: progress}
    strategy = strategies.FutureSelfTraining(
        st.Classification(2), make_scale, depth=depth, teacher_after=after, faithful=faithful, **settings
    )
    hand = ByHand()
    for step in range(1, 5):
        batch = scalar_batch(step)
        zoo.take_step(strategy, [batch], Clock(step, 0, 4))
        hand.fst(batch, WEIGHT * step / 4, depth=depth, code=faithful == "code", after=after)
        check(strategy, hand)


@pytest.mark.parametrize("faithful", ["paper", "code"])
@pytest.mark.parametrize("width", [1, 3])
def test_fst_w_follows_the_trace_by_hand(width, faithful):
    settings = {"decay": DECAY, "unlabeled_weight": WEIGHT, "rampup": lambda progress: progress}
    strategy = strategies.WideFutureSelfTraining(
        st.Classification(2), make_scale, width=width, faithful=faithful, **settings
    )
    assert strategy.extra_batches == width
    hand = ByHand()
    for step in range(1, 5):
        batch, *ahead = [scalar_batch(step + i) for i in range(1 + width)]
        zoo.take_step(strategy, [batch, *ahead], Clock(step, 0, 4))
        hand.fst_w(batch, ahead, WEIGHT * step / 4, code=faithful == "code")
        check(strategy, hand)


@pytest.mark.parametrize("order", ["before", "after"])
def test_mean_teacher_follows_the_trace_by_hand(order):
    settings = {"decay": DECAY, "unlabeled_weight": WEIGHT, "rampup": lambda progress: 1.0}
    strategy = strategies.MeanTeacher(st.Classification(2), make_scale, order=order, **settings)
    hand = ByHand()
    for step in range(1, 5):
        batch = scalar_batch(step)
        zoo.take_step(strategy, [batch], Clock(step, 0, 4))
        hand.mean_teacher(batch, WEIGHT, order=order)
        check(strategy, hand)


@pytest.mark.parametrize("faithful", ["paper", "code"])
@pytest.mark.parametrize("how", ["before", "after", "fst", "fst_w"])
def test_gathered_updates_are_one_step_of_the_method(how, faithful):
    """Three batches a step: the look ahead is from the first, and the teacher it leaves labels all three."""
    settings: dict[str, Any] = {"decay": DECAY, "unlabeled_weight": WEIGHT, "rampup": lambda progress: 1.0}
    code = faithful == "code"
    cls, own = {
        "before": (strategies.MeanTeacher, {"order": "before"}),
        "after": (strategies.MeanTeacher, {"order": "after"}),
        "fst": (strategies.FutureSelfTraining, {"depth": 2, "teacher_after": True, "faithful": faithful}),
        "fst_w": (strategies.WideFutureSelfTraining, {"width": 2, "faithful": faithful}),
    }[how]
    strategy, hand = cls(st.Classification(2), lambda: make_scale(3), **settings, **own), ByHand()
    for step in range(3):
        given = [[scalar_batch(20 * step + 5 * i + j) for j in range(1 + strategy.extra_batches)] for i in range(3)]
        for batches in given:
            zoo.take_step(strategy, batches, Clock(step, 0, 4))
        (first, *ahead), *others = given
        more = [batch for batch, *_ in others]
        if how == "fst":
            hand.fst(first, WEIGHT, *more, depth=2, code=code, after=True)
        elif how == "fst_w":
            hand.fst_w(first, ahead, WEIGHT, *more, code=code)
        else:
            hand.mean_teacher(first, WEIGHT, *more, order=how)
        check(strategy, hand)


# -- what follows from it ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", toy.KINDS)
def test_fst_without_depth_is_the_self_training_baseline(kind):
    def run(strategy: st.Strategy) -> dict[str, Any]:
        done = st.fit(strategy, toy.pile(kind), steps=6, plan=PLAN)
        return {"strategy": strategy.state_dict(), "ledger": done.ledger.state_dict(), "last": done.last}

    assert not differences(run(build("fst", kind, depth=0)), run(build("mean_teacher", kind, order="before")))
    assert differences(run(build("fst", kind, depth=1)), run(build("fst", kind, depth=0)))


@pytest.mark.parametrize("name", ["fst_d", "fst_w"])
def test_the_future_changes_the_student_through_the_teacher_alone(name):
    """With a teacher that never moves, the virtual steps have no effect at all."""
    strategy = build(name, "classification", decay=1.0)
    plain = build("mean_teacher", "classification", decay=1.0)
    strategy.teacher.updates += 10**9  # past the warm start, in which every decay is smaller
    plain.teacher.updates += 10**9
    for step in range(3):
        given = zoo.batches(strategy, "classification", step=step)
        zoo.take_step(strategy, given)
        zoo.take_step(plain, given[:1])
    assert torch.allclose(zoo.weights(strategy), zoo.weights(plain), atol=1e-6)
    assert not differences(strategy.student.model[1].state_dict(), plain.student.model[1].state_dict())


@pytest.mark.parametrize("name", ["fst", "fst_d", "fst_w"])
def test_only_the_real_step_counts_for_the_student(name):
    strategy = build(name, "classification", student={"optimizer": "adamw"})
    for step in range(3):
        zoo.take_step(strategy, zoo.batches(strategy, "classification", step=step))
    assert {int(s["step"]) for s in strategy.student.optimizer.state.values()} == {3}
    assert int(strategy.student.model[1].num_batches_tracked) == 3
    assert int(strategy.teacher.updates) == 3
