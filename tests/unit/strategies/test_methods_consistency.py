"""Pi-model, temporal ensembling, VAT, UDA and MixMatch against their equations, written here in plain torch.

A network is built twice: the strategy trains the one, the test the other, by its own formula and its own SGD. The
helpers at the top serve the other ``test_methods`` files too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import mlp, normed, sgd_learner, shown
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import take_step

import selftrain as st
from selftrain import select, strategies, toy
from selftrain.labels.ledger import Ledger
from selftrain.mix import Mixup
from selftrain.types import Batch, Clock, Labeled, Target, Unlabeled, View

TASK = st.Classification(3)
PIXELS = st.Segmentation(3)
RATE = 0.1
GIVEN = torch.tensor([0, 1, 2, 0])  # classes of the labeled samples


# -- shared with the other files ---------------------------------------------------------------------------------------
def net(seed: int = 0) -> nn.Module:
    """BatchNorm, but nothing random."""
    return normed(seed, dropout=0.0)


def make(model: nn.Module | None = None, rate: float = RATE) -> Any:
    """Builder of a student with plain SGD, always from the same start."""
    start = net() if model is None else model
    return lambda: sgd_learner(copy.deepcopy(start), lr=rate, momentum=0.0)


def batch_of(seed: int, *views: str, rows: Sequence[int] = range(6), dtype: torch.dtype = torch.float) -> Batch:
    """Four labeled points and some unlabeled ones, in the named views (none named: weak and strong)."""
    generator, names = torch.Generator().manual_seed(seed), views or ("weak", "strong")
    given, *shown = torch.randn(1 + len(names), max(4, len(rows)), 3, generator=generator).to(dtype)
    looks = {name: View(x[: len(rows)]) for name, x in zip(names, shown, strict=True)}
    return Batch(Labeled(given[:4], TASK.encode(GIVEN), torch.arange(4)), Unlabeled(looks, torch.tensor(list(rows))))


def descend(model: nn.Module, loss: Tensor) -> None:
    """One step of plain SGD."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for p, gradient in zip(parameters, gradients, strict=True):
            p -= RATE * gradient


def alike(first: nn.Module, second: nn.Module) -> bool:
    """Whether weights and BatchNorm statistics are the same up to rounding."""
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)


def calm(model: nn.Module, x: Tensor) -> Tensor:
    """Logits in evaluation mode, without gradient."""
    with torch.no_grad():
        return copy.deepcopy(model).eval()(x)


def supervised(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, GIVEN)


def cross_entropy(target: Tensor, logits: Tensor) -> Tensor:
    """Of each sample."""
    return -(target * logits.log_softmax(1)).sum(1)


def shipped_after(cls: type, settings: dict[str, Any], *, views: Sequence[str] = ("weak", "strong")) -> Tensor:
    """What is shipped after four steps in two epochs."""
    build, rows = settings.pop("make", make()), settings.pop("rows", range(6))
    torch.manual_seed(0)
    strategy = cls(TASK, build, **settings)
    for step in range(1, 5):
        given = [batch_of(step + 10 * i, *views, rows=rows) for i in range(1 + strategy.extra_batches)]
        take_step(strategy, given, Clock(step, step // 3, 5), seed=4 + step)
        if step == 2:
            strategy.end_epoch(Clock(step, 0, 5))
    return strategy.predict(torch.linspace(-1, 1, 12).view(4, 3))


class Told(nn.Module):
    """Says what its input says: logits are the input plus a bias that is learned."""

    def __init__(self, classes: int = 3, sites: int = 0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes, *[1] * sites))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


def told(value: Tensor | Sequence[Sequence[float]], *, rows: Sequence[int] | None = None, given: Any = None) -> Batch:
    """A batch of which ``Told`` predicts ``value`` in both views, and ``given`` for the labeled samples."""
    x = torch.as_tensor(value).log()
    labeled = torch.zeros(4, 3) if given is None else torch.as_tensor(given).log()
    views = {name: View(x) for name in ("weak", "strong")}
    index = torch.arange(len(x)) if rows is None else torch.tensor(list(rows))
    return Batch(Labeled(labeled, TASK.encode(GIVEN), torch.arange(4)), Unlabeled(views, index))


# -- pictures and their geometry ---------------------------------------------------------------------------------------
MIRROR = torch.tensor([[-1.0, 0, 0], [0, 1, 0]])
RIGHT_HALF = torch.tensor([[1.0, 0, 1], [0, 1, 0]])  # the view's left half shows the image's right one


def quarters(n: int) -> Tensor:
    return toy.turned(torch.tensor([float(n)]))[0]


def picture_batch(value: Tensor, views: dict[str, Tensor | None], *, empty: float = 1 / 3) -> Batch:
    """Pictures of which ``Told`` predicts ``value`` (B, 3, H, W), seen through maps; ``empty`` outside."""
    shown = {}
    for name, theta in views.items():
        if theta is None:
            shown[name] = View(value.log())
            continue
        maps = theta.expand(len(value), 2, 3)
        moved = toy.move(value, maps)
        inside = toy.move(torch.ones_like(value), maps) > 0.5
        outside = torch.tensor([empty, 1 - empty - 0.05, 0.05]).view(1, 3, 1, 1)
        shown[name] = View(torch.where(inside, moved, outside).log(), maps)
    mask = torch.zeros(2, *value.shape[-2:], dtype=torch.long)
    given = Labeled(torch.zeros(2, 3, *value.shape[-2:]), PIXELS.encode(mask), torch.arange(2))
    return Batch(given, Unlabeled(shown, torch.arange(len(value))))


def pixels(seed: int, n: int = 2, side: int = 4) -> Tensor:
    """Random distributions for each pixel, shape (n, 3, side, side)."""
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed)).softmax(1)


# -- Pi-model ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("label_mode", ["frozen", "eval"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("distance", ["mse", "ce"])
def test_pi_model_moves_the_second_look_towards_the_first(distance, hard, label_mode):
    """CE + 10 exp(-5 (1 - t / 0.4)^2) x mean over samples and classes of (p2 - p1)^2, gradient through p2 alone."""
    strategy = strategies.PiModel(TASK, make(), distance=distance, hard=hard, label_mode=label_mode)
    assert strategy.views == ("weak", "weak2")
    hand = net()
    for step in (1, 2, 5):
        batch = batch_of(step, "weak", "weak2")
        first = batch.unlabeled["weak"].x
        with torch.no_grad():  # "frozen": statistics of the batch, and the running ones stay
            fixed = (calm(hand, first) if label_mode == "eval" else copy.deepcopy(hand).train()(first)).softmax(1)
        if hard:
            fixed = F.one_hot(fixed.argmax(1), 3).float()
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["weak2"].x]))
        apart = (logits[4:].softmax(1) - fixed).square().mean() if distance == "mse" else None
        apart = cross_entropy(fixed, logits[4:]).mean() if apart is None else apart
        ramp = math.exp(-5 * (1 - min(1, step / 4)) ** 2)
        report = take_step(strategy, [batch], Clock(step, 0, 10))
        assert torch.allclose(report.scalars["loss/unsupervised"], apart, atol=1e-6)
        assert torch.allclose(report.scalars["loss/supervised"], supervised(logits[:4]), atol=1e-6)
        descend(hand, supervised(logits[:4]) + 10 * ramp * apart)
        assert alike(strategy.student.model, hand), step


@pytest.mark.parametrize(("label_mode", "same"), [("frozen", False), ("eval", True)])
def test_dropout_of_the_first_look_is_drawn_anew_unless_it_is_calm(label_mode, same):
    batch = batch_of(1, "weak", "weak2")
    first, again = (
        take_step(strategies.PiModel(TASK, make(normed(dropout=0.5)), label_mode=label_mode), [batch], seed=seed)
        for seed in (1, 2)
    )
    assert torch.equal(first.pseudo_labels.value, again.pseudo_labels.value) == same


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_pi_model_learns_the_view_it_is_given(view):
    strategy = strategies.PiModel(TASK, make(), view=view)
    assert strategy.views == ("weak", view)
    other = strategies.PiModel(TASK, make())
    batch = batch_of(1, "weak", "weak2", "strong")
    take_step(strategy, [batch])
    take_step(other, [batch])
    assert not alike(strategy.student.model, other.student.model)


# -- temporal ensembling -----------------------------------------------------------------------------------------------
def remembering(model: nn.Module | None = None, rate: float = RATE, **settings: Any) -> Any:
    own = {"unlabeled": 6, "label_shape": (3,)} | settings
    return strategies.TemporalEnsembling(TASK, make(model, rate), **own)


@pytest.mark.parametrize("momentum", [0.6, 0.0])
def test_temporal_ensembling_follows_the_papers_algorithm(momentum):
    """Z <- a Z + (1 - a) z once an epoch, target Z / (1 - a^t), weight 0 in the first epoch (algorithm 2)."""
    strategy, hand = remembering(momentum=momentum), net()
    z, said = torch.zeros(6, 3), torch.zeros(6, 3)
    for epoch in range(3):
        for half in range(2):
            rows = [half, 2 + half, 4 + half]
            batch = batch_of(10 * epoch + half, "weak", rows=rows)
            logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["weak"].x]))
            value = logits[4:].softmax(1)
            said[rows] = value.detach()
            loss = supervised(logits[:4])
            if epoch:
                loss = loss + 10 * (value - (z / (1 - momentum**epoch))[rows]).square().mean()
            descend(hand, loss)
            report = take_step(strategy, [batch], Clock(9, epoch, 10))
            assert report.pseudo_labels.weight.tolist() == [float(epoch > 0)] * 3
            assert alike(strategy.student.model, hand), (epoch, half)
        z = momentum * z + (1 - momentum) * said
        assert strategy.end_epoch(Clock(9, epoch, 10)) == {"bank/written": 1}
        assert torch.allclose(strategy.bank.read(torch.arange(6)), z / (1 - momentum ** (epoch + 1)), atol=1e-6)


FIRST, SECOND, THIRD = ([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], [[0.2, 0.2, 0.6]] * 2)


def test_rows_that_were_not_visited_keep_their_ensemble_and_their_count():
    """By hand with a = 0.6: weights 0.4 and 0.24 over 0.64 for two visits, 0.4, 0.24, 0.144 over 0.784 for three."""
    strategy = remembering(Told(), 0.0, unlabeled=3)
    for rows, value in (([0, 1], FIRST), ([0, 2], SECOND), ([0, 1], THIRD)):
        take_step(strategy, [told(value, rows=rows)])
        strategy.end_epoch(Clock(1, 0, 10))
    z = strategy.bank.read(torch.arange(3))
    first, second, third = torch.tensor([FIRST[0], SECOND[0], THIRD[0]])
    assert torch.allclose(z[0], (0.4 * third + 0.24 * second + 0.144 * first) / 0.784)
    assert torch.allclose(z[1], (0.4 * torch.tensor(THIRD[1]) + 0.24 * torch.tensor(FIRST[1])) / 0.64)
    assert torch.allclose(z[2], torch.tensor(SECOND[1]))
    assert strategy.visits.tolist() == [3, 2, 1]


def test_a_second_visit_in_one_epoch_is_taken_in_after_the_first():
    """The last batch of a pass goes on at its first rows, so some samples are seen twice."""
    strategy = remembering(Told(), 0.0, unlabeled=2)
    take_step(strategy, [told(FIRST)])
    report = take_step(strategy, [told(SECOND)])
    assert report.pseudo_labels.weight.tolist() == [0, 0]  # nothing of this epoch is in use yet
    strategy.end_epoch(Clock(1, 0, 10))
    wanted = (0.4 * torch.tensor(SECOND) + 0.24 * torch.tensor(FIRST)) / 0.64
    assert torch.allclose(strategy.bank.read(torch.arange(2)), wanted)


@pytest.mark.parametrize("theta", [MIRROR, quarters(1), quarters(2) @ torch.diag(torch.tensor([-1.0, 1, 1]))])
def test_what_is_remembered_is_in_the_geometry_of_the_plain_image(theta):
    value = pixels(1)
    make_told = make(Told(sites=2), 0.0)
    strategy = strategies.TemporalEnsembling(PIXELS, make_told, unlabeled=2, label_shape=(3, 4, 4))
    for view in (theta, quarters(3)):
        report = take_step(strategy, [picture_batch(value, {"weak": view})], Clock(9, 0, 10))
        strategy.end_epoch(Clock(9, 0, 10))
        assert torch.allclose(strategy.bank.read(torch.arange(2)), value, atol=1e-6)
        assert report.scalars["loss/unsupervised"] < 1e-12  # the label follows the view, so nothing is left to learn


def test_pixels_that_no_view_has_shown_have_no_label():
    """A cropped view says nothing of what lies outside it: those pixels weigh 0 and keep their count."""
    value, late = pixels(1), pixels(2)
    make_told = make(Told(sites=2), 0.0)
    strategy = strategies.TemporalEnsembling(PIXELS, make_told, unlabeled=2, label_shape=(3, 4, 4))
    take_step(strategy, [picture_batch(value, {"weak": RIGHT_HALF})])
    strategy.end_epoch(Clock(9, 0, 10))
    report = take_step(strategy, [picture_batch(late, {"weak": None})])
    weight = report.pseudo_labels.weight
    assert weight[..., :2].sum() == 0
    assert weight[..., 2:].min() == 1
    strategy.end_epoch(Clock(9, 0, 10))
    z = strategy.bank.read(torch.arange(2))
    assert torch.allclose(z[..., :2], late[..., :2], atol=1e-6)
    assert torch.allclose(z[..., 2:], ((0.4 * late + 0.24 * value) / 0.64)[..., 2:], atol=1e-6)


@pytest.mark.parametrize("known", [False, True])
def test_soft_labels_of_a_cropped_view_are_of_what_it_shows(known):
    """Outside, a pixel keeps the label of an earlier epoch, or weighs 0 if it has none."""
    value, late = pixels(1), pixels(2)
    settings = {"unlabeled": 2, "label_shape": (3, 4, 4), "label_view": "weak", "min_labeled": 2, "alpha": 0.0}
    strategy = strategies.SoftLabels(PIXELS, make(Told(sites=2), 0.0), **settings)
    if known:
        take_step(strategy, [picture_batch(late, {"weak": None})])
        strategy.end_epoch(Clock(9, 0, 10))
    labels = take_step(strategy, [picture_batch(value, {"weak": RIGHT_HALF})]).pseudo_labels
    assert labels.weight[..., 2:].min() == 1
    assert labels.weight[..., :2].unique().tolist() == [float(known)]
    assert torch.allclose(labels.value[..., 2:], (late if known else value)[..., 2:], atol=1e-6)
    strategy.end_epoch(Clock(9, 0, 10))
    labels = take_step(strategy, [picture_batch(late, {"weak": None})]).pseudo_labels
    assert labels.weight.min() == 1
    assert torch.allclose(labels.value[..., 2:], value[..., 2:], atol=1e-6)
    assert torch.allclose(labels.value[..., :2], late[..., :2], atol=1e-6)


def test_mixed_samples_are_remembered_unmixed():
    strategy = remembering(Told(), 0.0, unlabeled=2, mix=Mixup(1.0))
    take_step(strategy, [told(FIRST)])
    strategy.end_epoch(Clock(1, 0, 10))
    assert torch.allclose(strategy.bank.read(torch.arange(2)), torch.tensor(FIRST))


# -- VAT ---------------------------------------------------------------------------------------------------------------
def shaken(model: nn.Module, x: Tensor) -> Tensor:
    """Logits with the statistics of the batch, the running ones untouched; gradients flow."""
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    return torch.func.functional_call(model.train(), buffers, (x,))


def unit(x: Tensor) -> Tensor:
    return torch.stack([row / row.norm() for row in x])


def divergence(model: nn.Module, x: Tensor, clean: Tensor) -> Tensor:
    """KL(clean || prediction), summed over the batch."""
    return F.kl_div(shaken(model, x).log_softmax(1), clean, reduction="sum")


def worst(model: nn.Module, x: Tensor, clean: Tensor, *, xi: float, iterations: int) -> Tensor:
    d = unit(torch.randn_like(x))
    for _ in range(iterations):
        d.requires_grad_(True)
        (gradient,) = torch.autograd.grad(divergence(model, x + xi * d, clean), d)
        d = unit(gradient).detach()
    return d


VATS = [{}, {"iterations": 3}, {"eps": 1.5, "xi": 0.1}, {"entropy_weight": 0.0}, {"entropy_weight": 0.5}]


@pytest.mark.parametrize("settings", VATS)
def test_vat_follows_the_papers_algorithm(settings):
    """CE + ramp (0.3 mean KL(sg p(x) || p(x + eps d)) + 0.06 H(p(x))), x of D_l and D_ul; eq. 5 to 12 and algorithm 1.

    All passes have the statistics of the whole batch, and the attacks leave the running ones alone.
    """
    start = net().double()
    strategy, hand = strategies.VAT(TASK, make(start), **settings), copy.deepcopy(start)
    chosen = {"eps": 6.0, "xi": 0.01, "iterations": 1, "entropy_weight": 0.06} | settings
    for step in (1, 2, 6):
        batch = batch_of(step, "weak", dtype=torch.double)
        x = torch.cat([batch.labeled.x, batch.unlabeled["weak"].x])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            logits = hand.train()(x)
            clean = logits.softmax(1).detach()
            d = worst(hand, x, clean, xi=chosen["xi"], iterations=chosen["iterations"])
        ramp = min(1.0, step / 4)
        attack = divergence(hand, x + chosen["eps"] * d, clean) / 10
        value = logits[4:].softmax(1)
        entropy = -(value * value.log()).sum(1).mean()
        report = take_step(strategy, [batch], Clock(step, 0, 10))
        assert torch.allclose(report.scalars["loss/entropy"], entropy)
        descend(hand, supervised(logits[:4]) + ramp * (0.3 * attack + chosen["entropy_weight"] * entropy))
        assert alike(strategy.student.model, hand), step
        assert int(strategy.student.model[1].num_batches_tracked) == int(hand[1].num_batches_tracked)


FREE_PASSES = {"noise": "fresh", "on_labeled": False}  # attacked samples alone: statistics of their own


@pytest.mark.parametrize("settings", VATS)
def test_vat_with_passes_of_their_own_follows_its_equations(settings):
    """CE + ramp (0.3 mean KL(sg p(x) || p(x + eps d)) + 0.06 H(p(x))), x of D_ul alone."""
    start = net().double()
    strategy, hand = strategies.VAT(TASK, make(start), **FREE_PASSES, **settings), copy.deepcopy(start)
    chosen = {"eps": 6.0, "xi": 0.01, "iterations": 1, "entropy_weight": 0.06} | settings
    for step in (1, 2, 6):
        batch = batch_of(step, "weak", dtype=torch.double)
        x = batch.unlabeled["weak"].x
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            logits = hand.train()(torch.cat([batch.labeled.x, x]))
            value = logits[4:].softmax(1)
            clean = value.detach()
            d = worst(hand, x, clean, xi=chosen["xi"], iterations=chosen["iterations"])
        ramp = min(1.0, step / 4)
        attack = divergence(hand, x + chosen["eps"] * d, clean) / 6
        entropy = -(value * value.log()).sum(1).mean()
        report = take_step(strategy, [batch], Clock(step, 0, 10))
        assert torch.allclose(report.scalars["loss/entropy"], entropy)
        descend(hand, supervised(logits[:4]) + ramp * (0.3 * attack + chosen["entropy_weight"] * entropy))
        assert alike(strategy.student.model, hand), step
        assert int(strategy.student.model[1].num_batches_tracked) == int(hand[1].num_batches_tracked)


def test_the_virtual_adversarial_direction_is_of_length_one_and_worse_than_any_of_many_random_ones():
    strategy = strategies.VAT(TASK, make(mlp(inputs=16)))
    model, x = strategy.student.model, torch.randn(12, 16, generator=torch.Generator().manual_seed(1))
    clean = calm(model, x).softmax(1)
    torch.manual_seed(0)
    d = strategy.worst(
        x, Target(clean, torch.zeros(12)), strategy.student
    )  # units that are not kept have a direction too
    assert torch.allclose(d.norm(dim=1), torch.ones(12), atol=1e-6)
    assert not d.requires_grad
    found = divergence(model, x + 0.5 * d, clean)
    others = [divergence(model, x + 0.5 * unit(torch.randn(12, 16)), clean) for _ in range(100)]
    assert found > 1.5 * max(others)
    torch.manual_seed(0)
    strategy.iterations = 4
    longer = strategy.worst(x, Target(clean, torch.ones(12)), strategy.student)
    assert divergence(model, x + 0.5 * longer, clean) > found


class Recording(nn.Module):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.detach())
        return self.body(x)


@pytest.mark.parametrize("on_labeled", [True, False])
@pytest.mark.parametrize("noise", ["same", "fresh"])
@pytest.mark.parametrize("eps", [0.5, 6.0])
def test_the_attack_lies_at_the_distance_eps(eps, noise, on_labeled):
    strategy = strategies.VAT(TASK, make(Recording()), eps=eps, xi=0.25, noise=noise, on_labeled=on_labeled)
    batch = batch_of(1, "weak")
    take_step(strategy, [batch])
    joint, *passes = strategy.student.model.shown
    x = torch.cat([batch.labeled.x, batch.unlabeled["weak"].x])
    assert torch.equal(joint, x)
    for attack, length in zip(passes, (0.25, eps), strict=True):
        lengths = torch.tensor([length if on_labeled else 0.0] * 4 + [length] * 6)[-len(attack) :]
        assert torch.allclose((attack - x[-len(attack) :]).norm(dim=1), lengths, atol=1e-5)
    assert {len(attack) for attack in passes} == {6 if (noise, on_labeled) == ("fresh", False) else 10}


class Heard(nn.Module):
    """A network with dropout and BatchNorm that keeps what it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.body = normed(0, dropout=0.5)
        self.answers: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.body(x)
        self.answers.append(answer.detach())
        return answer


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("noise", "on_labeled"), [("same", True), ("same", False), ("fresh", True)])
def test_a_virtual_step_of_length_zero_changes_nothing_under_the_same_noise(noise, on_labeled, together):
    """Zero step, zero divergence: the masks and the statistics of all passes are those of the clean one."""
    settings = {"noise": noise, "on_labeled": on_labeled, "together": together, "iterations": 2}
    strategy = strategies.VAT(TASK, make(Heard()), eps=1e-30, xi=1e-30, **settings)
    batch = batch_of(1, "weak")
    take_step(strategy, [batch])
    answers = strategy.student.model.answers
    clean, *others = (
        answers if together else [torch.cat(pair) for pair in zip(answers[::2], answers[1::2], strict=True)]
    )
    assert len(others) == 3
    assert [torch.equal(clean, other) for other in others] == [noise == "same"] * 3


def test_what_is_drawn_after_the_same_noise_goes_on_as_without_it():
    learner, x = make(Heard())(), torch.ones(4, 3)
    state = learner.random_state()
    first, d = learner(x), torch.randn(3)
    before = torch.get_rng_state()
    with learner.same_noise(state):
        again = learner(x)
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(d, torch.randn(3))


def test_an_unknown_noise_is_refused():
    with pytest.raises(ValueError, match="noise is 'other'; choose 'same' or 'fresh'"):
        strategies.VAT(TASK, make(), noise="other")


@pytest.mark.parametrize("value", [0.4, 0.9])
def test_vat_counts_only_what_its_rule_keeps(value):
    """Half of the samples pass the threshold; the sum is divided by all of them."""
    start, batch = mlp(), batch_of(1, "weak")
    clean = calm(start, batch.unlabeled["weak"].x).softmax(1)
    kept = clean.amax(1) >= value
    strategy = strategies.VAT(TASK, make(start), select=select.above(value), on_labeled=False)
    torch.manual_seed(3)
    d = worst(start, batch.unlabeled["weak"].x, clean, xi=0.01, iterations=1)
    apart = cross_entropy(clean, start(batch.unlabeled["weak"].x + 6 * d))
    report = take_step(strategy, [batch])
    assert torch.equal(report.pseudo_labels.weight, kept.float())
    assert torch.allclose(report.scalars["loss/unsupervised"], (kept * apart).sum() / 6, atol=1e-4)


# -- UDA ---------------------------------------------------------------------------------------------------------------
RISES = {"linear": lambda t: t, "log": lambda t: 1 - math.exp(-5 * t), "exp": lambda t: math.exp(5 * (t - 1))}


@pytest.mark.parametrize("annealing", [None, "linear", "log", "exp"])
@pytest.mark.parametrize(("temperature", "hard"), [(0.4, False), (1.0, False), (0.4, True)])
def test_uda_learns_sharpened_predictions_and_anneals_the_labels(temperature, hard, annealing):
    """Labels: CE where p_y <= eta(t). Pseudo-labels: 1[conf >= b] H(p^(1/T) / sum, strong). Both over whole batches."""
    settings = {"temperature": temperature, "hard": hard, "annealing": annealing, "select": select.above(0.4)}
    strategy, hand = strategies.UDA(TASK, make(), **settings), net()
    used, heard = [], []
    for step in (1, 4, 8):
        batch = batch_of(step)
        value = calm(hand, batch.unlabeled["weak"].x).softmax(1)
        sharp = value ** (1 / temperature)
        target = F.one_hot(value.argmax(1), 3).float() if hard else sharp / sharp.sum(1, keepdim=True)
        kept = value.amax(1) >= 0.4
        logits = hand.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))
        limit = 1.0 if annealing is None else RISES[annealing](step / 10) * (1 - 1 / 3) + 1 / 3
        known = logits[:4].softmax(1)[torch.arange(4), GIVEN].detach() > limit
        labels = (F.cross_entropy(logits[:4], GIVEN, reduction="none") * ~known).sum() / 4
        loss = labels + (cross_entropy(target, logits[4:]) * kept).sum() / 6
        descend(hand, loss)
        take_step(strategy, [batch], Clock(step, 0, 10))
        assert alike(strategy.student.model, hand), step
        used += kept.tolist()
        heard += known.tolist()
    assert 0 < sum(used) < len(used)
    assert sum(heard) < len(heard)
    assert (sum(heard) > 0) == (annealing in ("linear", "exp"))


def test_the_temperature_changes_soft_targets_alone():
    runs = {
        (t, hard): shipped_after(strategies.UDA, {"temperature": t, "hard": hard, "select": select.above(0.0)})
        for t in (0.4, 1.0)
        for hard in (False, True)
    }
    assert not torch.allclose(runs[0.4, False], runs[1.0, False], atol=1e-4)
    assert torch.equal(runs[0.4, True], runs[1.0, True])


LIMITS = [
    ("linear", 0, 1 / 3), ("linear", 5, 2 / 3), ("linear", 10, 1.0),
    ("log", 0, 1 / 3), ("log", 5, 0.945277), ("log", 10, 0.995508),
    ("exp", 0, 0.337825), ("exp", 5, 0.388057), ("exp", 10, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("annealing", "step", "limit"), LIMITS)
def test_training_signal_annealing_leaves_out_labels_that_are_known_too_well(annealing, step, limit):
    """eta(t) = a(t) (1 - 1/C) + 1/C. What counts is the probability of the true class, not the largest."""
    strategy = strategies.UDA(TASK, make(), annealing=annealing)
    right = torch.tensor([limit - 1e-4, min(1.0, limit + 1e-4), 0.01])
    rest = (1 - right)[:, None]
    value = torch.cat([right[:, None], 0.9 * rest, 0.1 * rest], 1)
    given = Labeled(torch.zeros(3, 3), TASK.encode(torch.zeros(3, dtype=torch.long)), torch.arange(3))
    signal = strategy.signal(value, given, Clock(step, 0, 10))
    assert signal.tolist() == [1, float(limit == 1.0), 1]


def test_annealing_compares_probabilities_which_joints_do_not_have():
    with pytest.raises(ValueError, match="annealing is 'log'.*None"):
        strategies.UDA(toy.task("keypoints"), toy.learner("keypoints"), annealing="log")


# -- MixMatch ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", [None, select.above(0.45)])
@pytest.mark.parametrize(("distance", "mode"), [("mse", "frozen"), ("ce", "frozen"), ("mse", "eval")])
@pytest.mark.parametrize("looks", [1, 2, 3])
def test_mixmatch_learns_mixtures_of_labels_and_sharpened_means(looks, distance, mode, rule):
    """Algorithm 1: q = sharpen(mean of K looks); biased mixup, a share a row; first rows CE, the others as asked.

    The looks have BatchNorm statistics of their own batch (``"frozen"``, the default), or the running ones.
    """
    settings = {} if mode == "frozen" else {"label_mode": mode}
    settings |= {"looks": looks, "distance": distance, "select": rule, "unlabeled_weight": 7.0}
    strategy, hand = strategies.MixMatch(TASK, make(), **settings), net()
    names = ["weak", "weak2", "weak3"][:looks]
    assert strategy.views == tuple(names)
    shares = []
    for step in (1, 2, 3):
        batch = batch_of(step, *names)
        look = calm if mode == "eval" else lambda network, x: copy.deepcopy(network).train()(x).detach()
        mean = torch.stack([look(hand, batch.unlabeled[name].x).softmax(1) for name in names]).mean(0)
        sharp = mean.square() / mean.square().sum(1, keepdim=True)
        kept = torch.ones(6) if rule is None else (mean.amax(1) >= 0.45).float()
        x = torch.cat([batch.labeled.x, *(batch.unlabeled[name].x for name in names)])
        target = torch.cat([F.one_hot(GIVEN, 3).float(), *[sharp] * looks])
        weight = torch.cat([torch.ones(4), *[kept] * looks])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4 + step)
            drawn = torch.distributions.Beta(0.75, 0.75).sample((len(x),))
            partner = torch.randperm(len(x))
        share = torch.maximum(drawn, 1 - drawn)
        shares += drawn.tolist()
        own, other = share * weight, (1 - share) * weight[partner]
        logits = hand.train()(share[:, None] * x + (1 - share[:, None]) * x[partner])
        loss = mixed_loss(logits, target, partner, own, other, distance=distance, ramp=7.0 * min(1.0, step / 2))
        descend(hand, loss)
        take_step(strategy, [batch], Clock(step, 0, 128), seed=4 + step)
        assert alike(strategy.student.model, hand), step
    assert min(shares) < 0.5  # otherwise the bias of the share could not show


def mixed_loss(
    logits: Tensor, target: Tensor, partner: Tensor, own: Tensor, other: Tensor, *, distance: str, ramp: float
) -> Tensor:
    """CE of the first four mixtures + ramp x the distance of the others, each divided by its number of rows."""
    losses = own * cross_entropy(target, logits) + other * cross_entropy(target[partner], logits)
    if distance == "ce":
        return losses[:4].mean() + ramp * losses[4:].mean()
    blended = (own[:, None] * target + other[:, None] * target[partner]) / (own + other).clamp(min=1e-9)[:, None]
    apart = (own + other) * (logits.softmax(1) - blended).square().mean(1)
    return losses[:4].mean() + ramp * apart[4:].mean()


def test_looks_are_brought_to_the_plain_image_before_they_are_averaged():
    """One look is mirrored, one turned; ``Told`` says of both what it says of the picture, with another noise."""
    first, second = pixels(1), pixels(2)
    strategy = strategies.MixMatch(PIXELS, make(Told(sites=2), 0.0), mix=Mixup(0.0))
    views = (
        picture_batch(first, {"weak": MIRROR}).unlabeled.views
        | picture_batch(second, {"weak2": quarters(1)}).unlabeled.views
    )
    given = picture_batch(first, {}).labeled
    guess = strategy.mean_pseudo_label(Batch(given, Unlabeled(views, torch.arange(2))), list(views.values()))
    mean = (first + second) / 2
    assert torch.allclose(guess.labels.value, mean, atol=1e-5)
    assert torch.allclose(guess.target.value, mean.square() / mean.square().sum(1, keepdim=True), atol=1e-5)
    sharp = guess.target.value
    report = take_step(strategy, [Batch(given, Unlabeled(views, torch.arange(2)))])
    wanted = [(p - sharp).square().mean() for p in (first, second)]  # each label is moved to the look that learns it
    assert torch.allclose(report.scalars["loss/unsupervised"], torch.stack(wanted).mean(), atol=1e-6)


def test_a_pixel_is_judged_by_the_looks_that_show_it():
    """The first look shows the right half alone. A pixel that no look shows has no label."""
    first, second = pixels(1), pixels(2)
    strategy = strategies.MixMatch(PIXELS, make(Told(sites=2), 0.0), temperature=1.0, mix=Mixup(0.0))
    half = picture_batch(first, {"weak": RIGHT_HALF})
    whole = picture_batch(second, {"weak2": None}).unlabeled["weak2"]
    seen = strategy.mean_pseudo_label(half, [half.unlabeled["weak"], whole])
    assert torch.allclose(seen.target.value[..., :2], second[..., :2], atol=1e-5)
    assert torch.allclose(seen.target.value[..., 2:], ((first + second) / 2)[..., 2:], atol=1e-5)
    assert seen.target.weight.min() == 1
    unseen = strategy.mean_pseudo_label(half, [half.unlabeled["weak"], half.unlabeled["weak"]])
    assert unseen.target.weight[..., :2].max() == 0
    assert unseen.labels.weight[..., 2:].min() == 1


def test_the_ledger_hears_how_many_looks_side_with_the_mean():
    """Of three looks, by hand; one look alone has nobody to side with."""
    rows = torch.tensor([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    others = [rows[[0, 1, 1, 3]], rows[[0, 2, 2, 0]]]
    views = {f"weak{i}": View(x.log()) for i, x in zip(("", 2, 3), (rows, *others), strict=True)}
    batch = Batch(told(rows).labeled, Unlabeled(views, torch.arange(4)))
    guess = strategies.MixMatch(TASK, make(Told(), 0.0), looks=3).mean_pseudo_label(batch, list(views.values()))
    # means: 0 | (1.3, 1.4, 0.3) -> 1 | (0.8, 1.9, 0.3) -> 1 | (1.3, 0.45, 1.25) -> 0
    assert guess.labels.agreement == pytest.approx(torch.tensor([1, 1 / 3, 2 / 3, 1 / 3]))
    strategy = strategies.MixMatch(TASK, make(Told(), 0.0), looks=3)
    ledger = Ledger([str(i) for i in range(4)], "abc")
    ledger.write(take_step(strategy, [batch]).pseudo_labels, TASK, 0)
    assert ledger.agreement == pytest.approx(torch.tensor([1, 1 / 3, 2 / 3, 1 / 3]))
    alone = strategies.MixMatch(TASK, make(Told(), 0.0), looks=1).mean_pseudo_label(batch, [views["weak"]])
    assert alone.labels.agreement is None


def test_looks_are_compared_on_the_plain_image_and_where_they_show_it():
    """A mirrored look sides with the other; what one alone shows it decides alone."""
    first = pixels(1)
    views = picture_batch(first, {"weak": MIRROR, "weak2": None, "weak3": RIGHT_HALF}).unlabeled.views
    strategy = strategies.MixMatch(PIXELS, make(Told(sites=2), 0.0))
    batch = Batch(picture_batch(first, {}).labeled, Unlabeled(views, torch.arange(2)))
    assert strategy.mean_pseudo_label(batch, [views["weak"], views["weak2"]]).labels.agreement.min() == 1
    seen = strategy.mean_pseudo_label(batch, [views["weak3"], View(first.flip(1).log())]).labels.agreement
    assert seen[..., :2].min() == 1
    swapped = first.argmax(1) == first.flip(1).argmax(1)
    assert torch.equal(seen[..., 2:], torch.where(swapped, 1.0, 0.5)[..., 2:])
    unseen = strategy.mean_pseudo_label(batch, [views["weak3"], views["weak3"]]).labels.agreement
    assert unseen[..., :2].max() == 0
    assert unseen[..., 2:].min() == 1


# -- settings ----------------------------------------------------------------------------------------------------------
TEMPORAL: dict[str, Any] = {"unlabeled": 6, "label_shape": (3,)}
OPTIONS: list[tuple[type, dict[str, Any], list[dict[str, Any]]]] = [
    (
        strategies.PiModel,
        {},
        [
            {"view": "strong"}, {"unlabeled_weight": 3.0}, {"rampup": lambda t: 1.0}, {"distance": "ce"},
            {"hard": True}, {"label_mode": "eval"}, {"label_mode": "train"}, {"decay": None}, {"decay": 0.2},
        ],
    ),
    (
        strategies.TemporalEnsembling,
        TEMPORAL,
        [
            {"momentum": 0.2}, {"unlabeled_weight": 3.0}, {"rampup": lambda t: 0.1}, {"distance": "ce"},
            {"hard": True}, {"decay": 0.2}, {"temperature": 0.5}, {"select": select.top(0.3)}, {"mix": Mixup(1.0)},
        ],
    ),
    (
        strategies.VAT,
        {},
        [
            {"eps": 2.0}, {"xi": 1.0}, {"iterations": 2}, {"unlabeled_weight": 1.0}, {"entropy_weight": 0.5},
            {"rampup": lambda t: 1.0}, {"hard": True}, {"decay": None}, {"distance": "mse"}, {"mix": Mixup(1.0)},
        ],
    ),
    (
        strategies.UDA,
        {"select": select.above(0.4)},
        [{"select": None}, {"temperature": 1.0}, {"annealing": "exp"}, {"annealing": "linear"}, {"hard": True}],
    ),
    (
        strategies.MixMatch,
        {},
        [
            {"looks": 1}, {"looks": 3}, {"unlabeled_weight": 3.0}, {"rampup": lambda t: 0.1}, {"temperature": 1.0},
            {"mix": Mixup(0.75)}, {"mix": Mixup(0.75, biased=True)}, {"distance": "ce"}, {"hard": True},
            {"label_mode": "train"},
        ],
    ),
]  # fmt: skip
EACH = [(cls, base, change) for cls, base, changes in OPTIONS for change in changes]
ALL_VIEWS = ("weak", "weak2", "weak3", "strong")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("cls", "base", "change"), EACH, ids=shown)
def test_every_setting_changes_what_is_learned(cls, base, change):
    plain = shipped_after(cls, dict(base), views=ALL_VIEWS)
    assert not torch.allclose(plain, shipped_after(cls, base | change, views=ALL_VIEWS), atol=1e-5)


NAN = float("nan")
BAD: list[tuple[type, dict[str, Any], str]] = [
    (strategies.PiModel, {"label_mode": "calm"}, "'calm'"),
    (strategies.PiModel, {"unlabeled_weight": -1.0}, "unlabeled_weight is -1.0"),
    (strategies.PiModel, {"distance": "kl"}, "distance is 'kl'"),
    (strategies.TemporalEnsembling, TEMPORAL | {"momentum": 1.0}, "momentum is 1.0"),
    (strategies.TemporalEnsembling, TEMPORAL | {"momentum": -0.1}, "momentum is -0.1"),
    (strategies.TemporalEnsembling, TEMPORAL | {"momentum": NAN}, "momentum is nan"),
    (strategies.TemporalEnsembling, TEMPORAL | {"label_shape": ()}, r"label_shape is \(\)"),
    (strategies.TemporalEnsembling, TEMPORAL | {"unlabeled": 0}, "unlabeled is 0"),
    (strategies.VAT, {"eps": 0.0}, "eps is 0.0"),
    (strategies.VAT, {"eps": NAN}, "eps is nan"),
    (strategies.VAT, {"xi": -1.0}, "xi -1.0"),
    (strategies.VAT, {"xi": NAN}, "xi nan"),
    (strategies.VAT, {"iterations": 0}, "iterations 0"),
    (strategies.VAT, {"entropy_weight": -0.1}, "entropy_weight -0.1"),
    (strategies.VAT, {"entropy_weight": NAN}, "entropy_weight nan"),
    (strategies.UDA, {"annealing": "slow"}, "annealing is 'slow'"),
    (strategies.UDA, {"temperature": 0.0}, "temperature is 0.0"),
    (strategies.MixMatch, {"looks": 0}, "looks is 0"),
    (strategies.MixMatch, {"temperature": NAN}, "temperature is nan"),
]


@pytest.mark.parametrize(("cls", "settings", "said"), BAD)
def test_senseless_settings_are_refused_by_their_value(cls, settings, said):
    with pytest.raises(ValueError, match=said):
        cls(TASK, make(), **settings)


def test_a_memory_of_another_size_than_the_data_is_refused_at_the_first_step():
    with pytest.raises(ValueError, match="row 5 .* unlabeled is 4"):
        take_step(remembering(unlabeled=4), [batch_of(1, "weak")])
    with pytest.raises(ValueError, match=r"label_shape is \(4,\).*\(3,\)"):
        take_step(remembering(label_shape=(4,)), [batch_of(1, "weak")])
    pictures = strategies.TemporalEnsembling(PIXELS, make(Told(sites=2)), unlabeled=2, label_shape=(3, 6, 6))
    with pytest.raises(ValueError, match=r"label_shape is \(3, 6, 6\).*\(3, 4, 4\)"):
        take_step(pictures, [picture_batch(pixels(1), {"weak": None})])
