"""JointMatch, cross pseudo supervision and the ensemble: who learns what from whom, on networks side by side."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from helpers import sgd_learner, shown
from test_methods_consistency import (
    GIVEN,
    RATE,
    TASK,
    Told,
    alike,
    batch_of,
    calm,
    cross_entropy,
    descend,
    make,
    net,
    shipped_after,
    supervised,
    told,
)
from test_methods_teachers import Follower, joint_logits
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import take_step

from selftrain import mix, select, strategies, toy
from selftrain.types import Batch, Clock


def sure(seed: int) -> nn.Module:
    """One of several networks whose confidences cover most of [1 / 3, 1]."""
    model = net(seed)
    with torch.no_grad():
        model[4].weight *= 4
    return model


def makers(models: Sequence[nn.Module], rate: float = RATE) -> Callable[[], Any]:
    """Builder that gives a student for each of the models in turn."""
    rows = itertools.cycle([copy.deepcopy(m) for m in models])
    return lambda: sgd_learner(copy.deepcopy(next(rows)), lr=rate, momentum=0.0)


def several(n: int) -> list[nn.Module]:
    return [sure(seed) for seed in range(n)]


def side_by_side(strategy: Any, hands: Sequence[nn.Module], step: int) -> None:
    for i, (learner, hand) in enumerate(zip(strategy.learners(), hands, strict=True)):
        assert alike(learner.model, hand), (step, i)


def says(model: nn.Module, batch: Batch, view: str = "weak") -> Tensor:
    return calm(model, batch.unlabeled[view].x).softmax(1)


def one_hot(value: Tensor) -> Tensor:
    return F.one_hot(value.argmax(1), 3).float()


def biased(*values: Sequence[float]) -> list[nn.Module]:
    """Networks that say what ``told`` says of the first of these distributions, each another of them."""
    models = [Told() for _ in values]
    with torch.no_grad():
        for model, value in zip(models, values, strict=True):
            model.bias += (torch.tensor(value) / torch.tensor(values[0])).log()
    return models


# -- JointMatch --------------------------------------------------------------------------------------------------------
class Status:
    """Class-wise status of the released code: a <- 0.9 a + 0.1 mean p, then threshold x a_c / max a."""

    def __init__(self, tau: float, decay: float) -> None:
        self.tau, self.decay, self.a = tau, decay, np.full(3, 1 / 3)

    def confident(self, value: Tensor) -> Tensor:
        p = value.double().numpy()
        self.a = self.decay * self.a + (1 - self.decay) * p.mean(0)
        level = self.tau * self.a / self.a.max()
        return torch.tensor(p.max(1) >= level[p.argmax(1)])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("delta", "on"), [(0.9, "mask"), (0.2, "mask"), (0.9, "label"), (0.2, "label")])
def test_jointmatch_learns_what_the_other_is_sure_of(delta, on, shared):
    """Net i: mean of m_j g CE(y_j, strong), g = delta where the two disagree, else 1 - delta; both label beforehand."""
    rules = {"threshold": 0.6, "status_decay": 0.5, "shared_status": shared, "delta": delta, "disagree_on": on}
    strategy = strategies.JointMatch(TASK, makers(several(2)), unlabeled_weight=2.0, **rules)
    hands, status = several(2), [Status(0.6, 0.5)] * 2 if shared else [Status(0.6, 0.5), Status(0.6, 0.5)]
    heard = []
    for step in range(1, 5):
        batch = batch_of(step, rows=range(12))
        values = [says(hand, batch) for hand in hands]
        sure_of = [status[i].confident(values[i]) for i in range(2)]
        differ = sure_of[0] ^ sure_of[1] if on == "mask" else values[0].argmax(1) != values[1].argmax(1)
        importance = torch.where(differ, delta, 1 - delta)
        for i, hand in enumerate(hands):
            logits = joint_logits(hand, batch)
            weight = sure_of[1 - i] * importance
            loss = (weight * F.cross_entropy(logits[4:], values[1 - i].argmax(1), reduction="none")).mean()
            descend(hand, supervised(logits[:4]) + 2.0 * loss)
            heard.append(weight)
        report = take_step(strategy, [batch])
        side_by_side(strategy, hands, step)
        assert torch.allclose(report.pseudo_labels.weight, heard[-2])  # what the first network learned
        assert torch.allclose(report.pseudo_labels.value, values[1])
        for i in range(2):
            assert strategy.labeling(i).select.status.tolist() == pytest.approx(status[i].a.tolist(), abs=1e-5)
    assert len(torch.cat(heard).unique()) == 3  # 0, delta and 1 - delta


def test_a_shared_status_takes_in_the_first_network_then_the_second():
    """Threshold 0.6, decay 1/2. After the first network (0.6, 0.3, 0.1) the status is (0.4667, 0.3167, 0.2167), so its
    decisions pass; after the second (0.2, 0.3, 0.5) it is (0.3333, 0.3083, 0.3583) and class 2 needs all of 0.6."""
    first, second = [0.6001, 0.2999, 0.1], [0.2, 0.3, 0.5]
    strategy = strategies.JointMatch(
        TASK, makers(biased(first, second), 0.0), threshold=0.6, status_decay=0.5, disagree_on="label"
    )
    batch = told([first] * 3)
    guesses = strategy.pseudo_labels(batch)
    assert guesses[0].labels.weight.tolist() == [1, 1, 1]
    assert guesses[1].labels.weight.tolist() == [0, 0, 0]
    rule = strategy.labeling(0).select
    assert rule is strategy.labeling(1).select
    assert rule.status.tolist() == pytest.approx([0.333358, 0.308308, 0.358333], abs=1e-5)
    for _ in range(2):  # two more batches, each heard twice
        strategy.pseudo_labels(batch)
    a = np.full(3, 1 / 3)
    for _ in range(3):
        a = ((a + np.array(first)) / 2 + np.array(second)) / 2
    assert rule.status.tolist() == pytest.approx(a.tolist(), abs=1e-5)


def test_separate_statuses_hear_one_network_each():
    first, second = [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]
    strategy = strategies.JointMatch(
        TASK, makers(biased(first, second), 0.0), threshold=0.6, status_decay=0.5, shared_status=False
    )
    strategy.pseudo_labels(told([first] * 3))
    for i, value in enumerate((first, second)):
        wanted = (np.full(3, 1 / 3) + np.array(value)) / 2
        assert strategy.labeling(i).select.status.tolist() == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("masks", "labels", "on", "wanted"),
    [
        ((1, 1), (0, 0), "mask", 0.1),  # both sure
        ((1, 0), (0, 0), "mask", 0.9),  # only the labeling one: the same decision does not matter
        ((1, 1), (0, 1), "mask", 0.1),
        ((1, 1), (0, 1), "label", 0.9),
        ((1, 0), (0, 0), "label", 0.1),
        ((0, 1), (0, 1), "mask", 0.9),  # the mask of the labeling one then makes it 0
    ],
)
def test_disagreement_is_about_masks_or_about_labels(masks, labels, on, wanted):
    strategy = strategies.JointMatch(TASK, makers(several(2)), disagree_on=on, select=select.above(0.5))
    rows = [torch.tensor([[0.8, 0.1, 0.1] if m else [0.4, 0.3, 0.3]]) for m in masks]
    values = [row.roll(c, 1) for row, c in zip(rows, labels, strict=True)]
    guesses = [strategy.labeling(0).make(v, torch.tensor([0])) for v in values]
    assert [float(g.labels.weight) for g in guesses] == list(masks)
    assert strategy.importance(*guesses).tolist() == pytest.approx([wanted])


@pytest.mark.parametrize("shared", [True, False])
def test_a_rule_of_ones_own_replaces_the_class_wise_thresholds(shared):
    rule = select.free(3, decay=0.5)
    strategy = strategies.JointMatch(TASK, makers(several(2)), select=rule, shared_status=shared)
    take_step(strategy, [batch_of(1)])
    first, second = (strategy.labeling(i).select for i in range(2))
    assert isinstance(second, select.Free)
    assert (first is second) == shared
    assert (float(first.level) == float(second.level)) == shared


# -- cross pseudo supervision ------------------------------------------------------------------------------------------
def crossed(logits: Tensor, other: Tensor, *, hard: bool, distance: str) -> Tensor:
    target = one_hot(other) if hard else other
    if distance == "mse":
        return (logits.softmax(1) - target).square().mean()
    return cross_entropy(target, logits).mean()


@pytest.mark.parametrize("on_labeled", [True, False])
@pytest.mark.parametrize(("hard", "distance"), [(True, "ce"), (False, "ce"), (False, "mse")])
def test_each_network_learns_the_others_decisions_on_all_samples(hard, distance, on_labeled):
    """CE on labels + 1.5 x (cross loss on unlabeled + cross loss on labeled samples), both labeled beforehand."""
    settings = {"hard": hard, "distance": distance, "on_labeled": on_labeled}
    strategy = strategies.CrossPseudoSupervision(TASK, makers(several(2)), **settings)
    assert strategy.views == ("weak",)
    hands = several(2)
    for step in range(1, 4):
        batch = batch_of(step)
        values = [says(hand, batch) for hand in hands]
        given = [calm(hand, batch.labeled.x).softmax(1) for hand in hands]
        for i, hand in enumerate(hands):
            logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["weak"].x]))
            loss = crossed(logits[4:], values[1 - i], hard=hard, distance=distance)
            if on_labeled:
                loss = loss + crossed(logits[:4], given[1 - i], hard=hard, distance=distance)
            descend(hand, supervised(logits[:4]) + 1.5 * loss)
        report = take_step(strategy, [batch])
        side_by_side(strategy, hands, step)
        assert torch.allclose(report.pseudo_labels.value, values[1], atol=1e-6)


def test_both_networks_learn_one_mixture_of_the_unlabeled_samples():
    """The variant with CutMix: both networks label the samples as they are, whose decisions are mixed as they are."""
    strategy = strategies.CrossPseudoSupervision(TASK, makers(several(2)), mix=mix.Mixup(0.5), on_labeled=False)
    hands = several(2)
    for step in range(1, 4):
        batch = batch_of(step)
        values = [one_hot(says(hand, batch)) for hand in hands]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)
            share, partner = float(torch.distributions.Beta(0.5, 0.5).sample()), torch.randperm(6)
            for i, hand in enumerate(hands):
                x, target = (share * t + (1 - share) * t[partner] for t in (batch.unlabeled["weak"].x, values[1 - i]))
                logits = hand.train()(torch.cat([batch.labeled.x, x]))
                descend(hand, supervised(logits[:4]) + 1.5 * cross_entropy(target, logits[4:]).mean())
        take_step(strategy, [batch], seed=step)
        side_by_side(strategy, hands, step)


def test_labeled_samples_that_are_not_valid_are_not_crossed():
    """A pixel or joint without annotation exists for neither loss."""
    kind = "segmentation"
    strategy = strategies.CrossPseudoSupervision(toy.task(kind), toy.learner(kind, norm=False, dropout=0.0))
    batch = zoo.batches(strategy, kind)[0]
    valid = batch.labeled.target.mask() > 0
    assert not valid.all()
    decided, losses, wanted = strategy.predict_each(batch.labeled.x).argmax(2), [], []
    for i, learner in enumerate(strategy.learners()):
        units = F.cross_entropy(learner.model(batch.labeled.x), decided[1 - i], reduction="none")
        wanted.append(units[valid].mean().detach())
        learner.update = lambda loss: losses.append(loss.detach())
    said = take_step(strategy, [batch]).scalars
    extra = torch.stack(losses).mean() - said["loss/supervised"] - 1.5 * said["loss/unsupervised"]
    assert torch.allclose(extra, 1.5 * torch.stack(wanted).mean(), atol=1e-5)


# -- ensemble ----------------------------------------------------------------------------------------------------------
ENSEMBLES: list[dict[str, Any]] = [
    {},
    {"hard": True},
    {"quorum": 1.0},
    {"quorum": 0.0, "weighting": "entropy", "hard": True},
    {"quorum": 0.0, "weighting": "share"},
    {"quorum": 0.5, "inliers_only": True},
]


@pytest.mark.parametrize("settings", ENSEMBLES)
def test_every_member_learns_the_consensus_as_far_as_it_counts(settings):
    chosen = {"quorum": 0.6, "weighting": "equal", "inliers_only": False, "hard": False} | settings
    strategy, hands = strategies.Ensemble(TASK, makers(several(3)), **settings), several(3)
    for step in range(1, 4):
        batch = batch_of(step, rows=range(12))
        values = torch.stack([says(hand, batch) for hand in hands])
        inlier = values.argmax(2) == values.mean(0).argmax(1)
        share = inlier.float().mean(0)
        heard = inlier[..., None].float() if chosen["inliers_only"] else torch.ones(3, 12, 1)
        mean = (values * heard).sum(0) / heard.sum(0)
        weight = (share >= chosen["quorum"]).float()
        if chosen["weighting"] != "equal":
            certainty = 1 + (mean * mean.log()).sum(1) / math.log(3)
            weight = weight * (certainty if chosen["weighting"] == "entropy" else share)
        target = one_hot(mean) if chosen["hard"] else mean
        for hand in hands:
            logits = joint_logits(hand, batch)
            descend(hand, supervised(logits[:4]) + (weight * cross_entropy(target, logits[4:])).mean())
        report = take_step(strategy, [batch])
        side_by_side(strategy, hands, step)
        assert torch.allclose(report.pseudo_labels.weight, weight, atol=1e-5)
        assert torch.allclose(report.pseudo_labels.agreement, share)
        assert torch.allclose(report.scalars["agreement"], share.mean())
        assert len(share.unique()) > 1


@pytest.mark.parametrize(
    ("value", "weight"),
    [
        ([1.0, 0.0, 0.0], 1.0),
        ([0.5, 0.5, 0.0], 1 - math.log(2) / math.log(3)),
        ([0.7, 0.2, 0.1], 0.270153),
        ([1 / 3, 1 / 3, 1 / 3], 0.0),
    ],
)
def test_the_entropy_weight_is_one_minus_entropy_over_its_maximum(value, weight):
    """1 - H / log C; a class of probability 0 adds nothing (a logarithm of 0 would make it no number)."""
    strategy = strategies.Ensemble(TASK, make(Told(), 0.0), members=2, quorum=0.0, weighting="entropy", hard=True)
    batch = told([value] * 3)
    for view in batch.unlabeled.views.values():
        view.x.clamp_(min=-300)
    report = take_step(strategy, [batch])
    assert report.pseudo_labels.value.tolist() == [pytest.approx(value, abs=1e-6)] * 3
    assert report.pseudo_labels.weight.tolist() == pytest.approx([weight] * 3, abs=1e-5)
    assert all(torch.isfinite(v) for v in report.scalars.values())


def test_where_no_member_sides_with_the_consensus_all_are_heard():
    """Two members of opposite opinions: their mean decides for a third class, which is nobody's."""
    first, second = [0.5, 0.4, 0.1], [0.1, 0.4, 0.5]
    settings = {"members": 2, "quorum": 0.0, "inliers_only": True, "hard": True}
    strategy = strategies.Ensemble(TASK, makers(biased(first, second), 0.0), **settings)
    said = take_step(strategy, [told([first] * 3)]).pseudo_labels
    assert said.value.tolist() == [pytest.approx([0.3, 0.4, 0.3], abs=1e-6)] * 3
    assert said.agreement.tolist() == [0, 0, 0]


def test_outliers_are_learned_but_never_shipped():
    settings = {"quorum": 0.0, "weighting": "entropy", "hard": True}
    strategy = strategies.Ensemble(TASK, makers(several(3)), outlier_class=2, **settings)
    plain = strategies.Ensemble(TASK, makers(several(3)), **settings)
    for step in range(1, 4):
        for s in (strategy, plain):
            take_step(s, [batch_of(step, rows=range(12))])
    side_by_side(strategy, [m.model for m in plain.learners()], 3)  # they learn alike
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    full = plain.predict(x)
    assert (full.argmax(1) == 2).any()
    names = ["ensemble", "member0", "member1", "member2"]
    assert list(strategy.predictors()) == names
    for name in names:
        shipped, value = strategy.predictors()[name](x), plain.predictors()[name](x)
        assert shipped[:, 2].abs().max() == 0
        assert torch.allclose(shipped[:, :2], value[:, :2] / value[:, :2].sum(1, keepdim=True), atol=1e-6)
    assert torch.equal(strategy.predict(x), strategy.predictors()["ensemble"](x))


def test_outliers_need_classes():
    with pytest.raises(ValueError, match="outlier_class is 1.*None"):
        strategies.Ensemble(toy.task("keypoints"), toy.learner("keypoints"), outlier_class=1)


# -- what is shipped ---------------------------------------------------------------------------------------------------
PEERS = [strategies.JointMatch, strategies.CrossPseudoSupervision, strategies.Ensemble]


@pytest.mark.parametrize("decay", [None, 0.6])
@pytest.mark.parametrize("cls", PEERS)
def test_the_mean_of_the_networks_or_of_their_averages_is_shipped(cls, decay):
    members = 3 if cls is strategies.Ensemble else 2
    strategy = cls(TASK, makers(several(members)), decay=decay)
    averages = [Follower(sure(seed)) for seed in range(members)]
    for step in range(1, 4):
        take_step(strategy, [batch_of(step)])
        for average, learner in zip(averages, strategy.learners(), strict=True):
            average.follow(learner.model)
    x = torch.linspace(-1, 1, 12).view(4, 3)
    models = [m.model for m in (averages if decay else strategy.learners())]
    values = [calm(model, x).softmax(1) for model in models]
    assert torch.allclose(strategy.predict(x), torch.stack(values).mean(0), atol=1e-6)
    for i, value in enumerate(values):
        assert torch.allclose(strategy.predictors()[f"member{i}"](x), value, atol=1e-6)
    exported = copy.deepcopy(models[0])
    exported.load_state_dict(strategy.export())
    assert torch.allclose(calm(exported, x).softmax(1), values[0], atol=1e-6)


@pytest.mark.parametrize("cls", PEERS)
def test_a_labeled_step_moves_every_network_and_average(cls):
    strategy = cls(TASK, makers(several(3)), decay=0.5)
    hands = several(len(strategy.learners()))
    batch = batch_of(1)
    for hand in hands:
        descend(hand, F.cross_entropy(hand.train()(batch.labeled.x), GIVEN))
    strategy.train()
    strategy.step_labeled(batch, Clock(0, 0, 10))
    side_by_side(strategy, hands, 1)
    assert [int(a.updates) for a in strategy.emas] == [1] * len(hands)


# -- settings ----------------------------------------------------------------------------------------------------------
OPTIONS: list[tuple[type, dict[str, Any], list[dict[str, Any]]]] = [
    (
        strategies.JointMatch,
        {"threshold": 0.8, "rows": range(12)},
        [
            {"threshold": 0.5}, {"status_decay": 0.1}, {"shared_status": False}, {"delta": 0.5},
            {"disagree_on": "label"}, {"threshold": 0.98, "select": select.above(0.5)}, {"label_mode": "batch"},
            {"decay": 0.5},
            {"unlabeled_weight": 3.0}, {"rampup": lambda t: 0.1}, {"hard": False},
        ],
    ),
    (
        strategies.CrossPseudoSupervision,
        {},
        [
            {"unlabeled_weight": 3.0}, {"on_labeled": False}, {"label_mode": "batch"}, {"decay": 0.5},
            {"hard": False}, {"distance": "mse"}, {"select": select.above(0.7)}, {"mix": mix.Mixup(1.0)},
        ],
    ),
    (
        strategies.Ensemble,
        {"rows": range(12)},
        [
            {"members": 2}, {"quorum": 1.0}, {"weighting": "share"}, {"weighting": "entropy"}, {"inliers_only": True},
            {"outlier_class": 1}, {"hard": True}, {"label_mode": "batch"}, {"decay": 0.5}, {"temperature": 0.5},
        ],
    ),
]  # fmt: skip
EACH = [(cls, base, change) for cls, base, changes in OPTIONS for change in changes]


@pytest.mark.parametrize(("cls", "base", "change"), EACH, ids=shown)
def test_every_setting_changes_what_is_learned(cls, base, change):
    plain, other = (shipped_after(cls, base | c | {"make": makers(several(3))}) for c in ({}, change))
    assert not torch.allclose(plain, other, atol=1e-6)


NAN = float("nan")
BAD: list[tuple[type, dict[str, Any], str]] = [
    (strategies.JointMatch, {"delta": 1.1}, "delta is 1.1"),
    (strategies.JointMatch, {"delta": NAN}, "delta is nan"),
    (strategies.JointMatch, {"disagree_on": "both"}, "disagree_on is 'both'"),
    (strategies.JointMatch, {"threshold": 0.0}, "threshold is 0.0"),
    (strategies.JointMatch, {"status_decay": 1.0}, "decay is 1.0"),
    (strategies.JointMatch, {"decay": 2.0}, "decay is 2.0"),
    (strategies.CrossPseudoSupervision, {"unlabeled_weight": -1.5}, "unlabeled_weight is -1.5"),
    (strategies.CrossPseudoSupervision, {"label_mode": "calm"}, "'calm'"),
    (strategies.CrossPseudoSupervision, {"decay": 0.5, "buffers": "mean"}, "buffers is 'mean'"),
    (strategies.Ensemble, {"members": 1}, "members is 1"),
    (strategies.Ensemble, {"quorum": 1.1}, "quorum is 1.1"),
    (strategies.Ensemble, {"quorum": NAN}, "quorum is nan"),
    (strategies.Ensemble, {"weighting": "vote"}, "weighting is 'vote'"),
    (strategies.Ensemble, {"outlier_class": 3}, "outlier_class is 3; the classes are 0 to 2"),
    (strategies.Ensemble, {"outlier_class": -1}, "outlier_class is -1"),
]


@pytest.mark.parametrize(("cls", "settings", "said"), BAD)
def test_senseless_settings_are_refused_by_their_value(cls, settings, said):
    with pytest.raises(ValueError, match=said):
        cls(TASK, makers(several(3)), **settings)


@pytest.mark.parametrize("own", [{"threshold": 0.5}, {"status_decay": 0.5}])
def test_settings_of_a_rule_that_is_replaced_are_refused(own):
    """They would be accepted and ignored."""
    with pytest.raises(ValueError, match=r"select.*leave out"):
        strategies.JointMatch(TASK, makers(several(2)), select=select.above(0.5), **own)
