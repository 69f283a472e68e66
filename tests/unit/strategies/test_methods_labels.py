"""Pseudo-Label, FixMatch and soft labels with mixup against their equations, written here in plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_methods_consistency import (
    FIRST,
    GIVEN,
    SECOND,
    TASK,
    THIRD,
    Told,
    alike,
    batch_of,
    calm,
    cross_entropy,
    descend,
    make,
    net,
    supervised,
    told,
)
from test_methods_teachers import Follower
from test_methods_thresholds import sure_net
from torch import nn
from torch.nn import functional as F
from zoo import take_step

from selftrain import select, strategies
from selftrain.types import Clock

ONE_HOT = F.one_hot(GIVEN, 3).float()


# -- Pseudo-Label ------------------------------------------------------------------------------------------------------
RISE = [(0, 0.0), (1, 0.0), (2, 0.6), (3, 1.2), (5, 2.4), (6, 3.0), (9, 3.0)]  # step of ten, alpha


def test_pseudo_label_follows_its_equations():
    """Eq. 15: CE on labels + alpha(t) CE on decisions about the same view; eq. 16: 0 up to t = 0.1, 3 from t = 0.6."""
    strategy, hand = strategies.PseudoLabel(TASK, make(sure_net())), sure_net()
    assert strategy.views == ("weak",)
    for step, alpha in RISE:
        batch = batch_of(step, "weak")
        said = calm(hand, batch.unlabeled["weak"].x)
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["weak"].x]))
        learned = F.cross_entropy(logits[4:], said.argmax(1))
        report = take_step(strategy, [batch], Clock(step, 0, 10))
        assert torch.allclose(report.scalars["loss/unsupervised"], learned, atol=1e-6)
        assert torch.allclose(report.pseudo_labels.value, said.softmax(1), atol=1e-6)
        assert report.pseudo_labels.weight.tolist() == [1] * 6  # no threshold
        descend(hand, supervised(logits[:4]) + alpha * learned)
        assert alike(strategy.student.model, hand), step


# -- FixMatch ----------------------------------------------------------------------------------------------------------
def surer_net() -> nn.Module:
    """A network that is surer than 0.95 of some samples."""
    model = sure_net()
    with torch.no_grad():
        model[4].weight *= 4
    return model


@pytest.mark.parametrize(("threshold", "settings"), [(0.95, {}), (0.7, {"select": select.above(0.7)})])
def test_fixmatch_follows_its_equations(threshold, settings):
    """Eq. 3 and 4: CE on labels + sum over samples of 1[conf >= tau] CE(decision, strong) / all; an EMA is shipped."""
    strategy, hand, kept = strategies.FixMatch(TASK, make(surer_net()), **settings), surer_net(), []
    average = Follower(hand, 0.999)
    for step in range(1, 5):
        batch = batch_of(step, rows=range(12))
        sure, label = calm(hand, batch.unlabeled["weak"].x).softmax(1).max(1)
        weight = (sure >= threshold).float()
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))
        learned = (weight * F.cross_entropy(logits[4:], label, reduction="none")).sum() / 12
        report = take_step(strategy, [batch], Clock(step, 0, 10))
        assert report.pseudo_labels.weight.tolist() == weight.tolist()
        assert torch.allclose(report.scalars["loss/unsupervised"], learned, atol=1e-6)
        descend(hand, supervised(logits[:4]) + learned)
        average.follow(hand)
        assert alike(strategy.student.model, hand), step
        assert alike(strategy.shipped, average.model), step
        kept += weight.tolist()
    assert 0 < sum(kept) < len(kept)


# -- soft labels -------------------------------------------------------------------------------------------------------
def soft_labels(start: Any = None, rate: float = 0.1, **settings: Any) -> Any:
    own: dict[str, Any] = {"unlabeled": 6, "label_shape": (3,), "min_labeled": 4}
    return strategies.SoftLabels(TASK, make(start, rate), **own | settings)


SOFT_LABELS: list[dict[str, Any]] = [
    {},
    {"alpha": 4.0, "prior_weight": 2.0, "entropy_weight": 0.1},
    {"alpha": 0.3, "prior": torch.tensor([0.6, 0.3, 0.1])},
]


@pytest.mark.parametrize("settings", SOFT_LABELS, ids=["default", "weights", "prior"])
def test_soft_labels_follow_the_papers_equations(settings):
    """l_mix + 0.8 R_A + 0.4 R_H on the mixed predictions of all rows (eq. 3 to 6); targets are of the last epoch.

    The labeling pass comes first, on the plain view; it has the statistics of its batch, and the running ones follow.
    """
    chosen = {"alpha": 1.0, "prior_weight": 0.8, "entropy_weight": 0.4, "prior": torch.full((3,), 1 / 3)} | settings
    strategy, hand = soft_labels(**settings), net()
    assert strategy.views == ("weak", "plain")
    bank, fresh = torch.full((6, 3), 1 / 3), torch.zeros(6, 3)
    for epoch in range(3):
        for half in range(2):
            rows = [half, 2 + half, 4 + half]
            batch = batch_of(10 * epoch + half, "weak", "plain", rows=rows)
            with torch.no_grad():
                fresh[rows] = hand.train()(batch.unlabeled["plain"].x).softmax(1)
            label = (bank if epoch else fresh)[rows]  # before it has one, a sample takes what is said of it now
            x, target = torch.cat([batch.labeled.x, batch.unlabeled["weak"].x]), torch.cat([ONE_HOT, label])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(20 + epoch)
                share = float(torch.distributions.Beta(chosen["alpha"], chosen["alpha"]).sample())
                partner = torch.randperm(7)
            logits = hand(share * x + (1 - share) * x[partner])
            mixed = (
                share * cross_entropy(target, logits) + (1 - share) * cross_entropy(target[partner], logits)
            ).mean()
            p = logits.softmax(1)
            prior, entropy = -(chosen["prior"] * p.mean(0).log()).sum(), -(p * p.log()).sum(1).mean()
            descend(hand, mixed + chosen["prior_weight"] * prior + chosen["entropy_weight"] * entropy)
            report = take_step(strategy, [batch], Clock(9, epoch, 10), seed=20 + epoch)
            for name, value in (("mixed", mixed), ("prior", prior), ("entropy", entropy)):
                assert torch.allclose(report.scalars[f"loss/{name}"], value, atol=1e-5), name
            assert torch.allclose(report.pseudo_labels.value, label, atol=1e-6)
            assert alike(strategy.student.model, hand), (epoch, half)
        bank = fresh.clone()
        assert strategy.end_epoch(Clock(9, epoch, 10)) == {"bank/written": 1}
        assert torch.allclose(strategy.bank.read(torch.arange(6)), bank, atol=1e-6)


def test_the_bank_of_soft_labels_over_three_epochs_by_hand():
    """What is learned, what the bank holds after each epoch, and the three terms, in numbers.

    Four labeled rows are predicted uniformly (ln 3 each). No mixup. In the first epoch label and prediction are one, so
    l_mix is the entropy; in the second, row 0 still has the first epoch's label, in both batches; row 2 is new.
    """
    strategy = soft_labels(Told(), 0.0, unlabeled=3, label_view="weak", alpha=0.0)
    even = [1 / 3] * 3
    epochs = [
        ([([0, 1], FIRST, FIRST)], [FIRST[0], FIRST[1], even], 2 / 3),
        (
            [([0, 2], SECOND, [FIRST[0], SECOND[1]]), ([0, 1], THIRD, [FIRST[0], FIRST[1]])],
            [THIRD[0], THIRD[1], SECOND[1]],
            1.0,
        ),
        ([([2, 1], FIRST, [SECOND[1], THIRD[1]])], [THIRD[0], FIRST[1], FIRST[0]], 2 / 3),
    ]
    losses = []
    for batches, after, written in epochs:
        for rows, said, learned in batches:
            report = take_step(strategy, [told(said, rows=rows)])
            assert torch.allclose(report.pseudo_labels.value, torch.tensor(learned))
            assert report.pseudo_labels.weight.tolist() == [1, 1]
            losses.append([report.scalars[f"loss/{name}"].item() for name in ("mixed", "prior", "entropy")])
        assert strategy.end_epoch(Clock(1, 0, 10))["bank/written"] == pytest.approx(written)
        assert torch.allclose(strategy.bank.read(torch.arange(3)), torch.tensor(after))
    assert losses[0] == pytest.approx([0.972550, 1.114284, 0.972550], abs=1e-5)
    assert losses[1] == pytest.approx([1.038610, 1.100594, 1.062396], abs=1e-5)
    assert losses[2] == pytest.approx([1.232267, 1.115217, 1.049165], abs=1e-5)
