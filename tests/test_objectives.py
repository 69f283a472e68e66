import math

import numpy as np
import pytest
import torch
from helpers import all_tasks, convnet, mlp, normed, sgd_learner, values
from torch import nn
from torch.nn import functional as F

from selftrain import select
from selftrain.objectives import carry, entropy_loss, guided_loss, prior_loss, pseudo_label
from selftrain.tasks import Classification, Segmentation
from selftrain.types import Batch, Labeled, Target, Unlabeled, View

CASES = all_tasks()
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
FLIP = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


# -- pseudo-labels -----------------------------------------------------------------------------------------------------
@each_task
@pytest.mark.parametrize("hard", [True, False])
def test_a_pseudo_label_is_the_decision_or_the_prediction(case, hard):
    value, index = values(case), torch.tensor([4, 7, 9])
    guess = pseudo_label(case.task, value, index, select.everything(), hard=hard)
    assert torch.equal(guess.target.value, case.task.harden(value) if hard else value)
    assert torch.equal(guess.target.weight, torch.ones(3, *case.units))
    assert guess.target.valid is None
    assert torch.equal(guess.labels.value, value)  # the ledger hears the prediction itself
    assert torch.equal(guess.labels.index, index)
    assert guess.labels.weight is guess.target.weight


@each_task
def test_confidence_decides_the_weight(case):
    value = values(case)
    confidence = case.task.confidence(value)
    threshold = float(confidence.median())
    guess = pseudo_label(case.task, value, torch.arange(3), select.above(threshold), hard=True)
    assert torch.equal(guess.target.weight, (confidence >= threshold).float())
    assert 0 < guess.target.weight.mean() < 1


@each_task
def test_the_rule_hears_confidence_and_decision(case):
    heard = []

    class Listening(select.Select):
        def forward(self, confidence, label):
            heard.append((confidence, label))
            return confidence.new_ones(confidence.shape)

    value = values(case)
    pseudo_label(case.task, value, torch.arange(3), Listening(), hard=False)
    assert torch.equal(heard[0][0], case.task.confidence(value))
    assert torch.equal(heard[0][1], case.task.label(value))


@each_task
def test_temperature_sharpens_soft_labels_and_leaves_confidence_alone(case):
    value = values(case)
    made = [
        pseudo_label(case.task, value, torch.arange(3), select.top(0.5), hard=False, temperature=t) for t in (1.0, 0.5)
    ]
    assert torch.equal(made[1].target.value, case.task.sharpen(value, 0.5))
    assert not torch.equal(made[0].target.value, made[1].target.value)
    assert torch.equal(made[0].target.weight, made[1].target.weight)
    hard = [
        pseudo_label(case.task, value, torch.arange(3), select.top(0.5), hard=True, temperature=t) for t in (1.0, 0.5)
    ]
    assert torch.equal(hard[0].target.value, hard[1].target.value)


def test_pseudo_labels_have_no_gradient():
    value = torch.randn(3, 4, requires_grad=True).softmax(1)
    guess = pseudo_label(Classification(4), value, torch.arange(3), select.everything(), hard=False, temperature=0.5)
    assert not guess.target.value.requires_grad
    assert not guess.target.weight.requires_grad


def test_a_label_is_carried_from_view_to_view():
    value = torch.rand(1, 3, 4, 4)
    target, x = Target(value, torch.ones(1, 4, 4)), torch.zeros(1, 1, 4, 4)
    task, still, flipped = Segmentation(3), View(x), View(x, FLIP)
    assert torch.equal(carry(task, target, still, flipped).value, value.flip(3))
    assert torch.equal(carry(task, target, flipped, still).value, value.flip(3))
    assert torch.equal(carry(task, target, flipped, flipped).value, value)  # both moved alike: nothing to carry
    assert carry(task, target, still, still) is target


# -- the guided loss ---------------------------------------------------------------------------------------------------
def batch_of(task, n=4):
    torch.manual_seed(2)
    y = torch.arange(n) % 3
    weak, strong = View(torch.randn(6, 3)), View(torch.randn(6, 3))
    return Batch(
        Labeled(torch.randn(n, 3), task.encode(y), torch.arange(n)),
        Unlabeled({"weak": weak, "strong": strong}, torch.arange(6)),
    )


def guess_of(task, weight=None):
    value = torch.rand(6, 3, generator=torch.Generator().manual_seed(3)).softmax(1)
    guess = pseudo_label(task, value, torch.arange(6), select.above(0.4), hard=True)
    assert 0 < guess.target.weight.sum() < 6
    return guess


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_guided_loss_against_torch(together, weight):
    task = Classification(3)
    batch, guess, student = batch_of(task), guess_of(task), sgd_learner(mlp())
    outcome = guided_loss(task, student, batch, guess, weight=weight, distance=task.loss, together=together)
    supervised = F.cross_entropy(mlp()(batch.given.x), torch.arange(4) % 3)
    unit = F.cross_entropy(mlp()(batch.pile["strong"].x), guess.labels.value.argmax(1), reduction="none")
    unsupervised = (unit * guess.target.weight).sum() / 6  # FixMatch: by all units of the batch
    assert outcome.supervised.item() == pytest.approx(supervised.item(), rel=1e-5)
    assert outcome.unsupervised.item() == pytest.approx(unsupervised.item(), rel=1e-5)
    assert outcome.loss.item() == pytest.approx((supervised + weight * unsupervised).item(), rel=1e-5)


def test_the_distance_is_the_callers_choice():
    task = Classification(3)
    batch, guess = batch_of(task), guess_of(task)
    outcome = guided_loss(task, sgd_learner(mlp()), batch, guess, weight=1.0, distance=task.consistency)
    squares = (mlp()(batch.pile["strong"].x).softmax(1) - guess.target.value).square().mean(1)
    assert outcome.unsupervised.item() == pytest.approx((squares * guess.target.weight).sum().item() / 6, rel=1e-5)


def test_together_shares_batchnorm_statistics_and_apart_does_not():
    task = Classification(3)
    batch, guess = batch_of(task), guess_of(task)
    seen = []
    for together in (True, False):
        student = sgd_learner(normed(dropout=0.0))
        outcome = guided_loss(task, student, batch, guess, weight=1.0, distance=task.loss, together=together)
        seen.append((outcome.loss.item(), int(student.model[1].num_batches_tracked)))
    assert seen[0][0] != pytest.approx(seen[1][0], rel=1e-4)
    assert [count for _, count in seen] == [1, 2]


def test_gradients_reach_the_student_through_both_parts():
    task = Classification(3)
    batch, guess, student = batch_of(task), guess_of(task), sgd_learner(mlp())
    outcome = guided_loss(task, student, batch, guess, weight=1.0, distance=task.loss)
    parameters = list(student.parameters())
    for part in (outcome.supervised, outcome.unsupervised):
        gradient = torch.autograd.grad(part, parameters, retain_graph=True)
        assert all(g.abs().sum() > 0 for g in gradient)


def test_the_weak_view_is_not_passed_through_the_student():
    task = Classification(3)
    batch, guess = batch_of(task), guess_of(task)
    seen = []
    student = sgd_learner(mlp())
    student.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    guided_loss(task, student, batch, guess, weight=1.0, distance=task.loss)
    assert torch.equal(torch.cat(seen), torch.cat([batch.given.x, batch.pile["strong"].x]))


def test_the_strong_view_learns_the_label_in_its_own_geometry():
    task = Segmentation(2)
    x = torch.randn(1, 2, 4, 4)
    given = Labeled(x, task.encode(torch.zeros(1, 4, 4, dtype=torch.long)), torch.arange(1))
    batch = Batch(given, Unlabeled({"weak": View(x), "strong": View(x.flip(3), FLIP)}, torch.arange(1)))
    value = torch.rand(1, 2, 4, 4)
    guess = pseudo_label(task, value, torch.arange(1), select.everything(), hard=True)
    network = nn.Conv2d(2, 2, 1)
    outcome = guided_loss(task, sgd_learner(network), batch, guess, weight=1.0, distance=task.loss)
    # a 1 x 1 convolution does not know left from right: flipping both sides changes nothing
    assert outcome.unsupervised.item() == pytest.approx(F.cross_entropy(network(x), value.argmax(1)).item(), rel=1e-5)


def test_the_report_tells_losses_and_the_share_of_used_units():
    task = Classification(3)
    batch, guess = batch_of(task), guess_of(task)
    outcome = guided_loss(task, sgd_learner(mlp()), batch, guess, weight=3.0, distance=task.loss)
    report = outcome.report()
    assert report.scalars["loss/supervised"].item() == outcome.supervised.item()
    assert report.scalars["loss/unsupervised"].item() == outcome.unsupervised.item()
    assert report.scalars["used"].item() == pytest.approx(guess.target.weight.gt(0).float().mean().item())
    assert not any(value.requires_grad for value in report.scalars.values())
    assert report.pseudo_labels is guess.labels


# -- regularizers ------------------------------------------------------------------------------------------------------
@each_task
@pytest.mark.parametrize("with_prior", [True, False])
def test_the_prior_term_by_loops(case, with_prior):
    spread = case.task.distribution(values(case))
    choices = spread.shape[-1]
    prior = torch.rand(choices).softmax(0) if with_prior else None
    share = np.full(choices, 1 / choices) if prior is None else prior.numpy()
    mean = spread.reshape(-1, choices).numpy().mean(0)
    expected = -sum(r * math.log(max(m, 1e-8)) for r, m in zip(share, mean, strict=True))
    assert prior_loss(spread, prior).item() == pytest.approx(expected, rel=1e-4)


def test_the_prior_term_is_least_at_the_prior():
    prior = torch.tensor([0.7, 0.2, 0.1])
    at = prior_loss(prior.expand(5, 3), prior)
    assert at.item() == pytest.approx(-(prior * prior.log()).sum().item())  # the entropy of the prior
    for other in ([0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [1 / 3, 1 / 3, 1 / 3]):
        assert prior_loss(torch.tensor(other).expand(5, 3), prior) > at


def test_the_prior_term_looks_at_the_mean_and_the_entropy_at_each():
    sure = torch.eye(2)  # each unit is sure, the mean is uniform
    assert prior_loss(sure).item() == pytest.approx(math.log(2))
    assert entropy_loss(sure).item() == pytest.approx(0, abs=1e-6)
    unsure = torch.full((2, 2), 0.5)
    assert prior_loss(unsure).item() == pytest.approx(math.log(2))
    assert entropy_loss(unsure).item() == pytest.approx(math.log(2))


@each_task
def test_the_entropy_term_by_loops(case):
    spread = case.task.distribution(values(case))
    rows = spread.reshape(-1, spread.shape[-1]).numpy()
    expected = np.mean([-sum(p * math.log(max(p, 1e-8)) for p in row) for row in rows])
    assert entropy_loss(spread).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [prior_loss, entropy_loss])
def test_regularizers_have_finite_gradients_at_the_border(loss):
    spread = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss(spread).backward()
    assert torch.isfinite(spread.grad).all()


def test_descending_the_entropy_makes_predictions_sure():
    logits = torch.tensor([[0.2, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(entropy_loss(logits.softmax(1)), logits)
    assert gradient[0, 0] < 0 < gradient[0, 1]


def test_images_go_through_the_guided_loss_too():
    task = Classification(3)
    x = torch.randn(2, 2, 8, 8)
    batch = Batch(
        Labeled(x, task.encode(torch.tensor([0, 1])), torch.arange(2)),
        Unlabeled({"weak": View(x), "strong": View(x + 1)}, torch.arange(2)),
    )
    guess = pseudo_label(task, torch.rand(2, 3).softmax(1), torch.arange(2), select.everything(), hard=False)
    outcome = guided_loss(task, sgd_learner(convnet()), batch, guess, weight=1.0, distance=task.loss)
    assert torch.isfinite(outcome.loss)
