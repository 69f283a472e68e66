import math

import numpy as np
import pytest
import torch
from helpers import all_tasks, values

from selftrain.strategy.losses import entropy_loss, prior_loss

CASES = all_tasks()
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


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
