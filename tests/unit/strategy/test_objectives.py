import math

import numpy as np
import pytest
import torch
from helpers import all_tasks, values

from selftrain import select
from selftrain.strategy.losses import Guess, Outcome, carry, entropy_loss, prior_loss, pseudo_label
from selftrain.tasks import Classification, Segmentation
from selftrain.types import PseudoLabels, Target, View

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
def test_the_rule_hears_the_evidence_of_the_prediction(case):
    heard = []

    class Listening(select.Selector):
        def forward(self, evidence):
            heard.append(evidence)
            return evidence.confidence.new_ones(evidence.confidence.shape)

    value, given, index = values(case), values(case, 2, seed=1), torch.tensor([4, 7, 9])
    pseudo_label(case.task, value, index, Listening(), hard=False, given=given)
    pseudo_label(case.task, value, index, Listening(), hard=False)
    assert torch.equal(heard[0].confidence, case.task.confidence(value))
    assert torch.equal(heard[0].group, case.task.group(value))
    assert torch.equal(heard[0].presence, case.task.presence(value))
    assert torch.equal(heard[0].index, index)
    assert torch.equal(heard[0].labeled, case.task.confidence(given))
    assert heard[1].labeled is None


@each_task
def test_agreement_goes_to_the_ledger_and_changes_nothing(case):
    value, share = values(case), torch.rand(3, *case.units)
    told = pseudo_label(case.task, value, torch.arange(3), select.top(0.5), hard=True, agreement=share)
    alone = pseudo_label(case.task, value, torch.arange(3), select.top(0.5), hard=True)
    assert told.labels.agreement is share
    assert alone.labels.agreement is None
    assert torch.equal(told.target.value, alone.target.value)
    assert torch.equal(told.target.weight, alone.target.weight)


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


def test_a_scaled_label_tells_target_and_ledger_alike():
    guess = pseudo_label(CASES[0].task, values(CASES[0]), torch.arange(3), select.above(0.4), hard=True)
    factor = torch.tensor([0.5, 2.0, 0.0])
    made = guess.scaled(factor)
    assert torch.equal(made.target.weight, guess.target.weight * factor)
    assert torch.equal(made.labels.weight, guess.target.weight * factor)
    assert made.target.value is guess.target.value
    assert made.labels.value is guess.labels.value


# -- outcomes ----------------------------------------------------------------------------------------------------------
def outcome_of(weight):
    value = torch.rand(4, 3).softmax(1)
    guess = Guess(Target(value, weight), PseudoLabels(torch.arange(4), value, weight))
    supervised, unsupervised = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    return Outcome(supervised + 5 * unsupervised, supervised, unsupervised, guess)


def test_the_report_tells_losses_and_the_share_of_used_units():
    outcome = outcome_of(torch.tensor([0.2, 0.0, 1.0, 1.5]))
    report = outcome.report(tie=torch.tensor(7.0, requires_grad=True))
    expected = {"loss/supervised": 2.0, "loss/unsupervised": 3.0, "used": 0.75, "loss/tie": 7.0}
    assert {name: value.item() for name, value in report.scalars.items()} == expected
    assert not any(value.requires_grad for value in report.scalars.values())
    assert report.pseudo_labels is outcome.guess.labels


def test_a_term_is_added_to_the_loss_alone():
    outcome, term = outcome_of(torch.ones(4)), torch.tensor(1.5, requires_grad=True)
    more = outcome.plus(term)
    assert more.loss.item() == outcome.loss.item() + 1.5
    assert (more.supervised, more.unsupervised, more.guess) == (outcome.supervised, outcome.unsupervised, outcome.guess)
    more.loss.backward()
    assert term.grad == 1


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
