"""Places where a fault once went unseen: each against a number or a formula that was not written beside the code."""

from __future__ import annotations

import pytest
import torch
from test_methods_consistency import FIRST, SECOND, TASK, Told, make, remembering, told
from torch import nn
from zoo import take_step

from selftrain import strategies
from selftrain.mix import Mixup
from selftrain.strategy.label_memory import LabelMemory
from selftrain.types import Clock


# -- the quorum --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("members", [2, 3, 5, 7, 10])
def test_a_unit_exactly_at_the_quorum_is_used(members):
    """k of N members are the quorum k / N, whatever floating point makes of the share."""
    for k in range(1, members + 1):
        strategy = strategies.Ensemble(TASK, make(), members=members, quorum=k / members)
        inlier = torch.zeros(members, members + 1)
        for count in range(members + 1):
            inlier[:count, count] = 1  # column c: c members agree
        weight = strategy._weight(torch.full((members + 1, 3), 1 / 3), inlier.mean(0))
        assert weight.tolist() == [float(count >= k) for count in range(members + 1)], k


# -- label memories ----------------------------------------------------------------------------------------------------
def test_of_two_visits_in_an_epoch_the_second_is_remembered_and_neither_is_in_use():
    memory = LabelMemory(TASK, 3, (3,))
    row = torch.tensor([1])
    first, second = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.1, 0.8, 0.1]])
    memory.write(row, first)
    assert torch.equal(memory.latest(row), first)
    memory.write(row, second)
    assert torch.equal(memory.latest(row), second)
    assert torch.equal(memory.read(row), torch.full((1, 3), 1 / 3))
    memory.turn()
    assert torch.equal(memory.read(row), second)
    assert memory.known.tolist() == [False, True, False]
    memory.write(row, first, torch.tensor([0.0]))  # a visit that shows nothing changes nothing
    memory.turn()
    assert torch.equal(memory.read(row), second)


def test_the_running_mean_of_temporal_ensembling_is_the_papers_corrected_sum():
    """Z = a Z + (1 - a) z, z~ = Z / (1 - a^t), over four epochs with two visits in one of them: numbers by hand."""
    strategy = remembering(Told(), 0.0, unlabeled=2)
    z = torch.zeros(2, 3)
    for t, visits in enumerate(([FIRST], [SECOND, FIRST], [SECOND]), 1):
        for shown in visits:
            take_step(strategy, [told(shown)])
            z = 0.6 * z + 0.4 * torch.tensor(shown)
        strategy.end_epoch(Clock(t, t, 10))
        count = int(strategy.visits[0])
        assert count == (1, 3, 4)[t - 1]
        assert torch.allclose(strategy.bank.read(torch.arange(2)), z / (1 - 0.6**count), atol=1e-6)


class Modes(nn.Module):
    """Says in which mode it was asked, and keeps its BatchNorm statistics where a test can see them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3)
        self.asked: list[tuple[bool, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append((self.training, torch.is_grad_enabled()))
        out: torch.Tensor = self.head(self.drop(self.norm(x)))
        return out


def test_the_side_pass_of_temporal_ensembling_is_in_training_mode_and_moves_no_statistics():
    """With a mix the samples are remembered from a pass of their own: with dropout, as the pass that is learned."""
    strategy = strategies.TemporalEnsembling(TASK, make(Modes()), unlabeled=2, label_shape=(3,), mix=Mixup(1.0))
    take_step(strategy, [told(FIRST)])
    model = strategy.student.model
    assert model.asked == [(True, False), (True, True)]
    assert int(model.norm.num_batches_tracked) == 1
