"""FlexMatch, FreeMatch, SoftMatch and AdaMatch: thresholds, terms and updates against their equations in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from helpers import shown
from numpy.typing import NDArray
from test_methods_consistency import (
    GIVEN,
    MIRROR,
    PIXELS,
    RIGHT_HALF,
    TASK,
    Told,
    alike,
    batch_of,
    calm,
    cross_entropy,
    descend,
    make,
    net,
    picture_batch,
    pixels,
    shaken,
    shipped_after,
    supervised,
    told,
)
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import take_step

from selftrain import strategies, toy
from selftrain.strategies.adamatch import half_cosine
from selftrain.types import Batch, Clock

Array = NDArray[np.float64]
Judged = tuple[Array, Array]  # target (B, 3) and weight (B,)
LATE = Clock(9, 0, 10)


def sure_net() -> nn.Module:
    """A network whose confidences cover most of [1 / 3, 1]."""
    model = net()
    with torch.no_grad():
        model[4].weight *= 5
    return model


def both() -> tuple[Any, nn.Module]:
    """Builder of a student, and the network to train by hand beside it."""
    return make(sure_net()), sure_net()


# -- the rules in numpy ------------------------------------------------------------------------------------------------
class FlexByHand:
    """FlexMatch eq. 5 to 8: judged with the counts before the batch, then written down."""

    maps: dict[str, Callable[[float], float]] = {
        "convex": lambda b: b / (2 - b), "linear": lambda b: b, "concave": lambda b: math.log(b + 1) / math.log(2),
    }  # fmt: skip

    def __init__(self, rows: int = 12, tau: float = 0.6, mapping: str = "convex", warmup: bool = True) -> None:
        self.known, self.tau, self.mapping, self.warmup = [-1] * rows, tau, mapping, warmup

    def judge(self, value: Array, index: list[int], given: Array) -> Judged:
        sure, label = value.max(1), value.argmax(1)
        counts = [self.known.count(c) for c in range(3)]
        rival = max(counts + [self.known.count(-1)] * self.warmup)
        betas = [n / rival if max(counts) else 0.0 for n in counts]
        level = np.array([self.tau * self.maps[self.mapping](b) for b in betas])
        kept = sure >= level[label]
        for row, c, s in zip(index, label, sure, strict=True):
            self.known[row] = int(c) if s >= self.tau else self.known[row]
        return np.eye(3)[label], kept.astype(float)


class FreeByHand:
    """FreeMatch eq. 5, 7 and 8: the batch is taken in first."""

    def __init__(self, decay: float = 0.9, quantile: float | None = None, limits: Any = (0, np.inf)) -> None:
        self.decay, self.quantile, self.limits = decay, quantile, limits
        self.tau, self.p, self.h = 1 / 3, np.full(3, 1 / 3), np.full(3, 1 / 3)

    def judge(self, value: Array, index: list[int], given: Array) -> Judged:
        sure, label, m = value.max(1), value.argmax(1), self.decay
        middle = sure.mean() if self.quantile is None else np.quantile(sure, self.quantile)
        self.tau = m * self.tau + (1 - m) * middle
        self.p = m * self.p + (1 - m) * value.mean(0)
        self.h = m * self.h + (1 - m) * np.bincount(label, minlength=3) / len(label)
        level = np.clip(self.tau, *self.limits) * self.p / self.p.max()
        return np.eye(3)[label], (sure >= level[label]).astype(float)


class AlignByHand:
    """DA: times expected over predicted share, normalized; moving means that start at the first batch."""

    def __init__(self, decay: float) -> None:
        self.decay, self.t = decay, 0
        self.expected = self.predicted = np.full(3, 1 / 3)

    def align(self, value: Array, given: Array | None) -> Array:
        self.t += 1
        m = min(self.decay, 1 - 1 / self.t)
        self.predicted = m * self.predicted + (1 - m) * value.mean(0)
        if given is not None:
            self.expected = m * self.expected + (1 - m) * given.mean(0)
        scaled = value * self.expected / self.predicted
        return scaled / scaled.sum(1, keepdims=True)


class SoftByHand:
    """SoftMatch eq. 6 to 8: weights from uniformly aligned predictions (moving mean and unbiased variance, the batch
    taken in first), decisions from the predictions as they are."""

    def __init__(self, decay: float = 0.9, sigmas: float = 2.0, uniform: bool = True) -> None:
        self.decay, self.sigmas, self.mean, self.variance = decay, sigmas, 1 / 3, 1.0
        self.aligned = AlignByHand(decay) if uniform else None

    def judge(self, value: Array, index: list[int], given: Array) -> Judged:
        even = value if self.aligned is None else self.aligned.align(value, None)
        sure, m = even.max(1), self.decay
        self.mean = m * self.mean + (1 - m) * sure.mean()
        self.variance = m * self.variance + (1 - m) * sure.var(ddof=1)
        short = np.minimum(sure - self.mean, 0)
        return np.eye(3)[value.argmax(1)], np.exp(-(short**2) / (2 * self.variance / self.sigmas**2))


class AdaByHand:
    """AdaMatch 3.3: aligned to the labeled predictions; threshold relative to their mean confidence."""

    def __init__(self, tau: float = 0.9, decay: float = 0.999, aligned: bool = True, hard: bool = False) -> None:
        self.tau, self.hard = tau, hard
        self.aligned = AlignByHand(decay) if aligned else None

    def judge(self, value: Array, index: list[int], given: Array) -> Judged:
        value = value if self.aligned is None else self.aligned.align(value, given)
        kept = value.max(1) >= self.tau * given.max(1).mean()
        return np.eye(3)[value.argmax(1)] if self.hard else value, kept.astype(float)


def judged(rule: Any, hand: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """What the rule makes of the calm predictions of a network: target and weight."""
    value, given = (calm(hand, x).softmax(1).double().numpy() for x in (batch.unlabeled["weak"].x, batch.labeled.x))
    target, weight = rule.judge(value, batch.unlabeled.index.tolist(), given)
    return torch.tensor(target).float(), torch.tensor(weight).float()


def follow(strategy: Any, rule: Any, weight_of: Callable[[float], float] = lambda t: 1.0) -> list[float]:
    """Four steps of the strategy beside those by hand: weights of units and of the networks; returns the former."""
    hand, said = sure_net(), []
    for step in range(1, 5):
        batch = batch_of(step, rows=range(12))
        target, weight = judged(rule, hand, batch)
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))
        loss = supervised(logits[:4]) + weight_of(step / 10) * (weight * cross_entropy(target, logits[4:])).sum() / 12
        descend(hand, loss)
        report = take_step(strategy, [batch], Clock(step, 0, 10))
        assert torch.allclose(report.pseudo_labels.weight, weight, atol=1e-5), step
        assert alike(strategy.student.model, hand), step
        said += weight.tolist()
    return said


# -- FlexMatch ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("mapping", ["convex", "linear", "concave"])
def test_flexmatch_follows_its_equations(mapping, warmup):
    settings = {"threshold": 0.6, "mapping": mapping, "warmup": warmup}
    strategy = strategies.FlexMatch(TASK, make(sure_net()), unlabeled=12, **settings)
    weights = follow(strategy, FlexByHand(mapping=mapping, warmup=warmup))
    assert {0.0, 1.0} == set(weights)


def test_flexmatch_thresholds_over_three_batches_by_hand():
    """Threshold 0.8. Before batch 1 nothing is counted: all pass. Then 2, 1, 0 of 4 rows, one unused: shares 1, 1/2, 0
    become 1, 1/3, 0 of 0.8. Then 2, 2, 0: all of 0.8 for both."""
    strategy = strategies.FlexMatch(TASK, make(Told(), 0.0), unlabeled=4, threshold=0.8)
    first = [[0.9, 0.05, 0.05], [0.85, 0.1, 0.05], [0.09, 0.82, 0.09], [0.4, 0.3, 0.3]]
    later = [[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05]]
    wanted = [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]
    known = [[0, 0, 1, -1], [0, 0, 1, 1], [0, 0, 1, 1]]
    for value, kept, memory in zip((first, later, later), wanted, known, strict=True):
        assert take_step(strategy, [told(value)]).pseudo_labels.weight.tolist() == kept
        assert strategy.pseudo_labeling.select.known.tolist() == memory


def test_flexmatch_counts_pixels_where_pixels_are_labeled():
    strategy = strategies.FlexMatch(PIXELS, make(Told(sites=2), 0.0), unlabeled=2, units=(4, 4), threshold=0.6)
    hand = FlexByHand(rows=32, tau=0.6)
    for seed in range(3):
        value = pixels(seed)
        rows = value.movedim(1, -1).reshape(-1, 3).double().numpy()
        _, kept = hand.judge(rows, list(range(32)), rows)
        report = take_step(strategy, [picture_batch(value, {"weak": None, "strong": MIRROR})])
        assert report.pseudo_labels.weight.flatten().tolist() == kept.tolist()
    assert 0 < kept.sum() < 32


# -- FreeMatch ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{}, {"quantile": 0.8}, {"limits": (0.0, 0.6)}, {"limits": (0.7, 1.0)}])
def test_freematch_follows_its_equations(settings):
    strategy = strategies.FreeMatch(TASK, make(sure_net()), threshold_decay=0.6, fairness_weight=0.0, **settings)
    weights = follow(strategy, FreeByHand(decay=0.6, **settings))
    assert {0.0, 1.0} == set(weights)


def test_freematch_thresholds_over_three_batches_by_hand():
    """Decay 1/2. The second batch's first sample passes only since the batch is taken in before it is judged."""
    strategy = strategies.FreeMatch(TASK, make(Told(), 0.0), threshold_decay=0.5)
    rule = strategy.pseudo_labeling.select
    trace = [
        (
            [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]],
            [1, 1],
            0.516667,
            [0.416667, 0.341667, 0.241667],
            [5 / 12, 5 / 12, 2 / 12],
        ),
        ([[0.49, 0.31, 0.2], [0.3, 0.3, 0.4]], [1, 1], 0.480833, [0.405833, 0.323333, 0.270833], [11, 5, 8]),
        ([[0.45, 0.35, 0.2], [0.1, 0.2, 0.7]], [0, 1], 0.527917, [0.340417, 0.299167, 0.360417], [23, 5, 20]),
    ]
    for value, kept, level, presence, histogram in trace:
        assert take_step(strategy, [told(value)]).pseudo_labels.weight.tolist() == kept
        assert float(rule.level) == pytest.approx(level, abs=1e-5)
        assert rule.presence.tolist() == pytest.approx(presence, abs=1e-5)
        shares = torch.tensor(histogram) / sum(histogram)
        assert rule.histogram.tolist() == pytest.approx(shares.tolist(), abs=1e-5)


def fairness(p: Tensor, h: Tensor, strong: Tensor, kept: Tensor) -> Tensor:
    """sum_c N(p / h)_c log N(q / k)_c, with 1 / 0 = 0 and N bringing the sum to 1."""
    chosen = strong[kept]
    k = F.one_hot(chosen.argmax(1), 3).float().mean(0)
    parts = []
    for mean, histogram in ((p, h), (chosen.mean(0), k)):
        ratio = torch.stack([m / s if s > 0 else 0 * m for m, s in zip(mean, histogram, strict=True)])
        parts.append(ratio / ratio.sum())
    return (parts[0] * (parts[1] + 1e-12).log()).sum()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("decay", [0.6, 0.0])
def test_freematch_adds_the_fairness_term_with_its_sign(decay, sign):
    settings = {"threshold_decay": decay, "fairness_weight": 0.3, "fairness_sign": sign}
    start, hand = both()
    strategy, rule = strategies.FreeMatch(TASK, start, **settings), FreeByHand(decay)
    for step in range(1, 5):
        batch = batch_of(step)
        target, weight = judged(rule, hand, batch)
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))
        p, h = torch.tensor(rule.p).float(), torch.tensor(rule.h).float()
        term = fairness(p, h, logits[4:].softmax(1), weight > 0)
        loss = supervised(logits[:4]) + (weight * cross_entropy(target, logits[4:])).sum() / 6 + sign * 0.3 * term
        descend(hand, loss)
        report = take_step(strategy, [batch], LATE)
        assert torch.allclose(report.scalars["loss/fairness"], term, atol=1e-5)
        assert alike(strategy.student.model, hand), step


def fair() -> tuple[Any, Tensor, Tensor]:
    """A FreeMatch with known moving means, strong logits, and weights that keep three samples of four."""
    strategy = strategies.FreeMatch(TASK, make(), fairness_weight=1.0)
    strategy.pseudo_labeling.select.presence.copy_(torch.tensor([0.5, 0.3, 0.2]))
    strategy.pseudo_labeling.select.histogram.copy_(torch.tensor([0.5, 0.25, 0.25]))
    strong = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.7, 0.1, 0.2], [0.1, 0.1, 0.8]])
    return strategy, strong.log().requires_grad_(True), torch.tensor([1.0, 1.0, 0.5, 0.0])


def test_the_fairness_term_has_the_published_value_and_sign():
    """p / h = 1, 1.2, 0.8, over 3. Kept: q = 0.5, 1.1/3, 0.4/3, k = 2/3, 1/3, 0: 0.75, 1.1, 0, over 1.85. The term is
    minus a cross-entropy, so it is negative, and to minimize it is to let the cross-entropy grow."""
    strategy, strong, weight = fair()
    term = strategy.fairness(strong.softmax(1), weight)
    wanted = (1 * math.log(0.75 / 1.85) + 1.2 * math.log(1.1 / 1.85) + 0.8 * math.log(1e-12)) / 3
    assert term.item() == pytest.approx(wanted, abs=1e-4)
    every, falling = torch.ones(4), [0.0]
    for _ in range(4):
        term = strategy.fairness(strong.softmax(1), every)
        falling.append(term.item())
        (gradient,) = torch.autograd.grad(term, strong)
        strong = (strong - 0.1 * gradient).detach().requires_grad_(True)
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) == 5


def test_without_a_kept_unit_the_fairness_term_is_nothing():
    strategy, strong, weight = fair()
    term = strategy.fairness(strong.softmax(1), 0 * weight)
    (gradient,) = torch.autograd.grad(term, strong)
    assert term.item() == 0
    assert not gradient.any()


def test_moving_means_of_the_fairness_term_carry_no_gradient_and_are_not_moved_by_it():
    strategy, strong, weight = fair()
    before = {name: b.clone() for name, b in strategy.pseudo_labeling.select.named_buffers()}
    strategy.fairness(strong.softmax(1), weight).backward()
    for name, buffer in strategy.pseudo_labeling.select.named_buffers():
        assert torch.equal(buffer, before[name])
        assert not buffer.requires_grad


@pytest.mark.parametrize("theta", [MIRROR, RIGHT_HALF])
def test_fairness_is_measured_where_the_strong_view_shows_kept_pixels(theta):
    """Which pixels are kept is decided on the weak view; it follows the picture into the strong one."""
    value = pixels(4)
    strategy = strategies.FreeMatch(PIXELS, make(Told(sites=2), 0.0), threshold_decay=0.2, fairness_weight=1.0)
    report = take_step(strategy, [picture_batch(value, {"weak": None, "strong": theta})])
    kept = report.pseudo_labels.weight > 0
    assert 0.2 < kept.float().mean() < 0.8
    if theta is RIGHT_HALF:
        kept[..., :2] = False  # these are not shown
    rule = strategy.pseudo_labeling.select
    wanted = fairness(rule.presence, rule.histogram, value.movedim(1, -1)[kept], torch.ones(int(kept.sum())) > 0)
    assert torch.allclose(report.scalars["loss/fairness"], wanted, atol=1e-5)


def test_fairness_compares_class_shares_which_joints_do_not_have():
    with pytest.raises(ValueError, match="fairness_weight is 0.5.*0"):
        strategies.FreeMatch(toy.task("keypoints"), toy.learner("keypoints"), fairness_weight=0.5)
    strategies.FreeMatch(toy.task("keypoints"), toy.learner("keypoints"), fairness_weight=0.0)
    assert strategies.FreeMatch(TASK, make()).fairness_weight == 0.001


@pytest.mark.parametrize("name", ["FreeMatch", "SoftMatch", "AdaMatch", "UniMatch"])
def test_joints_are_learned_with_the_defaults_of_every_threshold(name):
    """What compares class shares is left out where there are none, and stays where there are."""
    built = [getattr(strategies, name)(toy.task(kind), toy.learner(kind)) for kind in ("keypoints", "segmentation")]
    before = zoo.weights(built[0])
    zoo.take_step(built[0], zoo.batches(built[0], "keypoints"))
    assert not torch.equal(before, zoo.weights(built[0]))
    priors = [strategy.pseudo_labeling.align is not None for strategy in built]
    assert priors == [False, name in ("SoftMatch", "AdaMatch")]
    assert [getattr(strategy, "fairness_weight", None) for strategy in built] == (
        [0.0, 0.001] if name == "FreeMatch" else [None, None]
    )


# -- SoftMatch ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{}, {"sigmas": 0.5}, {"uniform": False}])
def test_softmatch_follows_its_equations(settings):
    strategy = strategies.SoftMatch(TASK, make(sure_net()), threshold_decay=0.6, **settings)
    weights = follow(strategy, SoftByHand(decay=0.6, **settings))
    assert len(set(weights)) > 5
    assert min(weights) < 0.999
    assert max(weights) == 1


def test_softmatch_weights_over_three_batches_by_hand():
    """Decay 1/2, no alignment: mean (1/3 + 0.7) / 2, variance (1 + 0.02) / 2 (over n - 1), and so on."""
    strategy = strategies.SoftMatch(TASK, make(Told(), 0.0), threshold_decay=0.5, uniform=False)
    rule = strategy.pseudo_labeling.select
    trace = [
        ([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]], 0.516667, 0.51, [1, 1]),
        ([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7]], 0.533333, 0.2775, [0.879741, 1]),
        ([[0.9, 0.05, 0.05], [0.35, 0.35, 0.3]], 0.579167, 0.214375, [1, 0.612652]),
    ]
    for value, mean, variance, weight in trace:
        said = take_step(strategy, [told(value)]).pseudo_labels.weight
        assert float(rule.mean) == pytest.approx(mean, abs=1e-5)
        assert float(rule.variance) == pytest.approx(variance, abs=1e-5)
        assert said.tolist() == pytest.approx(weight, abs=1e-4)


def test_softmatch_weighs_aligned_predictions_and_learns_decisions_as_they_are():
    """Class 0 is predicted everywhere. Brought to a uniform prior, the first sample belongs to class 1 and the last to
    class 2: that moves the weights (the last is the surest, not the least sure), but class 0 is what is learned."""
    strategy = strategies.SoftMatch(TASK, make(Told(), 0.0), threshold_decay=0.0)
    value = torch.tensor([[0.8, 0.15, 0.05], [0.8, 0.1, 0.1], [0.5, 0.1, 0.4]])
    report = take_step(strategy, [told(value)])
    scaled = value / value.mean(0)
    aligned = scaled / scaled.sum(1, keepdim=True)
    assert aligned.argmax(1).tolist() == [1, 0, 2]
    sure = aligned.amax(1)
    assert sure.tolist() == pytest.approx([0.475962, 0.448980, 0.581315], abs=1e-5)
    short = (sure - sure.mean()).clamp(max=0)
    weight = torch.exp(-short.square() / (2 * sure.var() / 4))
    assert report.pseudo_labels.weight.tolist() == pytest.approx(weight.tolist(), abs=1e-5)
    assert report.pseudo_labels.weight.argmin() == 1
    assert torch.allclose(report.pseudo_labels.value, value)
    learned = -(weight * value[:, 0].log()).mean()  # the cross-entropy of class 0 in each row
    assert report.scalars["loss/unsupervised"].item() == pytest.approx(learned.item(), abs=1e-5)


# -- AdaMatch ----------------------------------------------------------------------------------------------------------
ADAS = [{}, {"threshold": 0.99}, {"aligned": False}, {"align_decay": 0.2}, {"hard": True}]


@pytest.mark.parametrize("settings", ADAS)
def test_adamatch_follows_its_equations(settings):
    names = {"threshold": "tau", "align_decay": "decay"}
    rule = AdaByHand(**{names.get(name, name): value for name, value in settings.items()})
    strategy = strategies.AdaMatch(TASK, make(sure_net()), interpolate=False, **settings)
    weights = follow(strategy, rule, lambda t: 0.5 - math.cos(min(math.pi, 2 * math.pi * t)) / 2)
    assert {0.0, 1.0} == set(weights)


def test_the_adamatch_threshold_over_three_batches_by_hand():
    """Threshold 0.9 x the labeled batch's mean confidence, of this batch alone: 0.63, then 0.45, then 0.72."""
    strategy = strategies.AdaMatch(TASK, make(Told(), 0.0), aligned=False)
    value = [[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.2, 0.3, 0.5]]
    for sure, kept in ((0.7, [0, 1, 0]), (0.5, [1, 1, 1]), (0.8, [0, 0, 0])):
        row = [sure, 0.9 - sure, 0.1]
        given = [row, row, row[::-1], row]
        assert take_step(strategy, [told(value, given=given)]).pseudo_labels.weight.tolist() == kept


def test_adamatch_aligns_to_the_predictions_on_labeled_samples():
    strategy = strategies.AdaMatch(TASK, make(Told(), 0.0), align_decay=0.0)
    value = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.25, 0.25]])
    given = torch.tensor([[0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])
    said = take_step(strategy, [told(value, given=given)]).pseudo_labels
    scaled = value * given.mean(0) / value.mean(0)
    aligned = scaled / scaled.sum(1, keepdim=True)
    assert torch.allclose(said.value, aligned, atol=1e-5)
    assert said.weight.tolist() == (aligned.amax(1) >= 0.9 * 0.6).float().tolist()


def test_adamatch_mixes_the_logits_of_a_joint_and_a_labeled_pass(monkeypatch):
    """Number by number; only the joint pass moves the running statistics of BatchNorm."""
    share = torch.linspace(0, 1, 12).view(4, 3)
    monkeypatch.setattr(torch, "rand_like", lambda x: share.to(x))
    start, hand = both()
    strategy, rule = strategies.AdaMatch(TASK, start, rampup=lambda t: 2.0), AdaByHand()
    for step in range(1, 4):
        batch = batch_of(step)
        target, weight = judged(rule, hand, batch)
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))
        mixed = share * logits[:4] + (1 - share) * shaken(hand, batch.labeled.x)
        loss = F.cross_entropy(mixed, GIVEN) + 2.0 * (weight * cross_entropy(target, logits[4:])).sum() / 6
        descend(hand, loss)
        take_step(strategy, [batch])
        assert alike(strategy.student.model, hand), step


def test_the_share_of_each_logit_is_drawn_anew():
    runs = [strategies.AdaMatch(TASK, make()) for _ in range(3)]
    for strategy, seed in zip(runs, (1, 2, 1), strict=True):
        take_step(strategy, [batch_of(1)], seed=seed)
    one, other, again = (strategy.student.model for strategy in runs)
    assert alike(one, again)
    assert not alike(one, other)


@pytest.mark.parametrize(
    ("progress", "value"), [(0, 0), (1 / 8, 0.146447), (1 / 4, 0.5), (3 / 8, 0.853553), (1 / 2, 1), (3 / 4, 1), (1, 1)]
)
def test_the_weight_rises_along_a_cosine_over_the_first_half(progress, value):
    assert half_cosine(progress) == pytest.approx(value, abs=1e-6)


# -- settings ----------------------------------------------------------------------------------------------------------
FLEX: dict[str, Any] = {"unlabeled": 12, "rows": range(12), "threshold": 0.6}
OPTIONS: list[tuple[type, dict[str, Any], list[dict[str, Any]]]] = [
    (
        strategies.FlexMatch,
        FLEX,
        [{"threshold": 0.9}, {"warmup": False}, {"mapping": "linear"}, {"mapping": "concave"}],
    ),
    (
        strategies.FreeMatch,
        {"threshold_decay": 0.6},
        [
            {"threshold_decay": 0.99}, {"quantile": 0.95}, {"limits": (0.7, 0.9)}, {"fairness_weight": 0.0},
            {"fairness_weight": 0.5}, {"fairness_sign": -1}, {"label_mode": "train"},
        ],
    ),
    (strategies.SoftMatch, {"threshold_decay": 0.6}, [{"sigmas": 8.0}, {"threshold_decay": 0.2}, {"uniform": False}]),
    (
        strategies.AdaMatch,
        {},
        [
            {"threshold": 0.99}, {"aligned": False}, {"align_decay": 0.2}, {"interpolate": False},
            {"rampup": lambda t: 1.0}, {"hard": True}, {"temperature": 0.5},
        ],
    ),
]  # fmt: skip
EACH = [(cls, base, change) for cls, base, changes in OPTIONS for change in changes]


@pytest.mark.parametrize(("cls", "base", "change"), EACH, ids=shown)
def test_every_setting_changes_what_is_learned(cls, base, change):
    base = base | {"make": make(sure_net())}
    assert not torch.allclose(shipped_after(cls, dict(base)), shipped_after(cls, base | change), atol=1e-6)


NAN = float("nan")
BAD: list[tuple[type, dict[str, Any], str]] = [
    (strategies.FlexMatch, {"unlabeled": 6, "threshold": 0.0}, "threshold is 0.0"),
    (strategies.FlexMatch, {"unlabeled": 6, "threshold": 1.1}, "threshold is 1.1"),
    (strategies.FlexMatch, {"unlabeled": 6, "mapping": "steep"}, "mapping is 'steep'"),
    (strategies.FlexMatch, {"unlabeled": 0}, "unlabeled is 0"),
    (strategies.FreeMatch, {"threshold_decay": 1.0}, "decay is 1.0"),
    (strategies.FreeMatch, {"quantile": 1.0}, "quantile is 1.0"),
    (strategies.FreeMatch, {"limits": (0.9, 0.1)}, r"limits are \(0.9, 0.1\)"),
    (strategies.FreeMatch, {"fairness_weight": -0.5}, "fairness_weight is -0.5"),
    (strategies.FreeMatch, {"fairness_weight": NAN}, "fairness_weight is nan"),
    (strategies.FreeMatch, {"fairness_sign": 0}, "fairness_sign 0"),
    (strategies.SoftMatch, {"sigmas": 0.0}, "sigmas is 0.0"),
    (strategies.SoftMatch, {"threshold_decay": -0.5}, "decay is -0.5"),
    (strategies.AdaMatch, {"threshold": 1.5}, "threshold is 1.5"),
    (strategies.AdaMatch, {"align_decay": 1.0}, "decay is 1.0"),
]


@pytest.mark.parametrize(("cls", "settings", "said"), BAD)
def test_senseless_settings_are_refused_by_their_value(cls, settings, said):
    with pytest.raises(ValueError, match=said):
        cls(TASK, make(), **settings)


@pytest.mark.parametrize("settings", [{"unlabeled": 4}, {"unlabeled": 6, "units": (2,)}])
def test_flexmatch_refuses_data_that_its_memory_was_not_made_for(settings):
    with pytest.raises(ValueError, match="row [45] is outside 4|units"):
        take_step(strategies.FlexMatch(TASK, make(), **settings), [batch_of(1)])


@pytest.mark.parametrize(
    ("cls", "settings"),
    [(strategies.SoftMatch, {"uniform": True}), (strategies.AdaMatch, {"aligned": True})],
    ids=["SoftMatch", "AdaMatch"],
)
def test_alignment_needs_classes(cls, settings):
    with pytest.raises(ValueError, match="keypoints have no class prior"):
        cls(toy.task("keypoints"), toy.learner("keypoints"), **settings)
