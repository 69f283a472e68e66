"""Joint mode: one step learns labels, pseudo-labels and hidden parts, and is the sum of their gradients."""

from functools import partial

import pytest
import torch
from helpers import MemoryPile, pictures
from pretrain_helpers import conv, vit

import selftrain as st
from selftrain import pretrain, strategies
from selftrain.errors import DataError
from selftrain.pretrain import IJEPA, MAE, Joint
from selftrain.types import Batch, BatchPlan, Clock, Labeled, Target, Unlabeled, View

TASK = st.Classification(3)
PLAN = BatchPlan(6, 2.0)


def network(seed=0, make=vit, **settings):
    torch.manual_seed(seed)
    return st.Classifier(make(channels=2, **settings), 3)


def inner(make=strategies.FixMatch, seed=0, **settings):
    training = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    learner = st.learner(network(seed), **(training | settings))
    return make(TASK, learner, decay=0.9)


def joint(stage=MAE, seed=0, weight=1.0, **settings):
    strategy = inner(**settings)
    torch.manual_seed(seed)
    return Joint(strategy, stage, weight=weight)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, u = (torch.randn(6, 2, 8, 8, generator=generator) for _ in range(2))
    target = Target(torch.eye(3)[torch.arange(6) % 3], torch.ones(6))
    views = {name: View(u + 0.1 * i) for i, name in enumerate(("weak", "strong", "strong2"))}
    return Batch(Labeled(x, target, torch.arange(6)), Unlabeled(views, torch.arange(6)))


def step(strategy, n=0, total=10):
    torch.manual_seed(50 + n)
    strategy.train()
    for learner in strategy.learners():
        learner.set_lr(n / total)
    return strategy.step(batch(n), Clock(n, 0, total))


def weights(module):
    return {k: v.clone() for k, v in module.named_parameters() if v.numel()}


def test_the_encoder_steps_along_the_sum_of_the_gradients():
    """Plain gradient descent: the step of the encoder is that of the strategy plus that of the stage."""
    both = joint(weight=0.5)
    start = weights(both.student.model)
    torch.manual_seed(50)
    both.train()
    loss, _ = both.stage.objective(batch(), Clock(0, 0, 10))  # draws what the step will draw
    grads = torch.autograd.grad(loss, [p for p in both.student.model.encoder.parameters() if p.numel()])
    alone = inner()
    alone.train()
    alone.student.set_lr(0.0)
    alone.step(batch(), Clock(0, 0, 10))
    step(both)
    rate = 0.1
    moved, own = weights(both.student.model.encoder), weights(alone.student.model.encoder)
    for (name, now), of_alone, grad in zip(moved.items(), own.values(), grads, strict=True):
        expected = (of_alone - start[f"encoder.{name}"]) - rate * 0.5 * grad
        assert torch.allclose(now - start[f"encoder.{name}"], expected, atol=1e-6)
    for name, value in weights(both.student.model.head).items():
        assert torch.allclose(value, weights(alone.student.model.head)[name], atol=1e-6)  # it hears no mask


def test_predictor_and_target_encoder_learn_too_and_the_encoder_is_one():
    both = joint(partial(IJEPA, decay=(0.5, 1.0)))
    encoder = both.student.model.encoder
    assert both.stage.network.encoder is encoder
    before, target = weights(both.stage.network.predictor), weights(both.stage.target.teacher)
    report = step(both)
    assert not any(torch.equal(v, before[k]) for k, v in weights(both.stage.network.predictor).items())
    for name, value in weights(both.stage.target.teacher.model).items():
        mean = (target[f"model.{name}"] + weights(encoder)[name]) / 2
        assert torch.allclose(value, mean, atol=1e-6)  # it follows the encoder after its step
    assert {"loss/ijepa", "loss/supervised", "decay"} <= set(report.scalars)
    assert report.pseudo_labels is not None


def test_without_weight_it_is_the_strategy_alone():
    both, alone = joint(weight=0.0), inner()
    for n in range(3):
        step(both, n)
        torch.manual_seed(50 + n)
        alone.train()
        alone.student.set_lr(n / 10)
        alone.step(batch(n), Clock(n, 0, 10))
    # other random numbers are drawn before the strategy's step, which here draws none
    assert all(torch.allclose(v, weights(alone.student)[k], atol=1e-6) for k, v in weights(both.student).items())


LOOKING_AHEAD = partial(strategies.FutureSelfTraining, depth=2)


@pytest.mark.parametrize("make", [strategies.FixMatch, strategies.MeanTeacher, LOOKING_AHEAD, strategies.VAT])
def test_any_strategy_with_one_student_can_be_joined(make):
    both = joint(make=make)
    torch.manual_seed(3)
    extra = [batch(i) for i in range(1, 1 + both.extra_batches)]
    both.train()
    before = weights(both.student.model)
    both.step(batch(), Clock(0, 0, 10), *extra)
    assert all(not torch.equal(v, before[k]) for k, v in weights(both.student.model).items())
    assert all(p.grad is None for p in both.student.model.parameters())


def test_gathered_steps_wait_for_one_another():
    both = joint(accumulate=2)
    before = weights(both.stage.network)
    step(both)
    assert all(torch.equal(v, before[k]) for k, v in weights(both.stage.network).items())
    step(both, 1)
    assert not any(torch.equal(v, before[k]) for k, v in weights(both.stage.network).items())


def test_a_joint_run_is_evaluated_exported_and_resumed_as_its_strategy(tmp_path):
    settings = {"plan": PLAN, "steps": 8, "checkpoint_every": 3}
    whole = st.fit(joint(), MemoryPile(pictures), out=tmp_path / "whole", **settings)
    st.fit(joint(), MemoryPile(pictures), out=tmp_path / "cut", stop_after=4, **settings)
    rest = st.fit(joint(), MemoryPile(pictures), out=tmp_path / "cut", resume=True, **settings)
    one, other = (run.strategy.state_dict() for run in (whole, rest))
    assert all(torch.equal(v, other[k]) for k, v in one.items() if torch.is_tensor(v))
    assert {"accuracy", "accuracy/teacher", "accuracy/student"} <= set(whole.last["validation"])
    assert set(whole.export()) == set(network().state_dict())
    assert "train/loss/mae" in whole.train
    assert whole.strategy.stage.network.encoder is whole.strategy.student.model.encoder
    assert (tmp_path / "whole" / "pseudo_labels.csv").exists()


def test_views_and_pictures_are_those_of_both():
    both = joint(partial(pretrain.SimCLR, projector=(8, 4)))
    assert both.views == ("weak", "strong", "strong2")
    assert both.needs().encode is not None
    assert joint().pictures(batch()).keys() == {"reconstruction"}


def test_labels_alone_are_learned_without_hiding_anything():
    both = joint()
    before = weights(both.stage.network.predictor)
    given = batch()
    both.train()
    both.student.set_lr(0.0)
    assert set(both.step_labeled(Batch(given.labeled, None), Clock(0, 0, 1)).scalars) == {"loss/supervised"}
    assert all(torch.equal(v, before[k]) for k, v in weights(both.stage.network.predictor).items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Joint(inner(), MAE, weight=-1.0), "weight is -1.0"),
        (lambda: Joint(strategies.Ensemble(TASK, st.learner(network()), members=2), MAE), "no single student"),
        (lambda: Joint(inner(precision="fp16"), MAE), "scaled gradients of fp16"),
    ],
)
def test_what_cannot_be_joined_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_convnet_can_be_joined_too():
    strategy = strategies.FixMatch(TASK, st.learner(st.Classifier(conv(channels=2, size=8), 3)), decay=0.9)
    both = Joint(strategy, MAE)
    before = weights(both.student.model)
    step(both)
    assert not any(torch.equal(v, before[k]) for k, v in weights(both.student.model).items())


def test_networks_of_both_are_checked_before_a_run():
    joint(stage=IJEPA).check_networks(torch.rand(2, 2, 8, 8))
    with pytest.raises(DataError):
        joint(stage=IJEPA).check_networks(torch.rand(2, 3, 8, 8))
