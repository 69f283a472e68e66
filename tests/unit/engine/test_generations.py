"""Students of a frozen teacher's labels: losses by hand, what is shown, what stays frozen, what a resumed run needs."""

from dataclasses import replace
from functools import cache
from statistics import median

import numpy as np
import pytest
import torch
from helpers import sgd_learner, snapshot
from torch import nn
from torch.nn import functional as F

import selftrain as st
from selftrain import toy
from selftrain.errors import CheckpointError, RunFolderError
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import label_pile
from selftrain.strategies import Supervised
from selftrain.strategies.curriculum_labeling import CurriculumLabeling
from selftrain.strategies.noisy_student import NoisyStudent
from selftrain.tensorboard import TensorBoard
from selftrain.types import Batch, BatchPlan, Clock, Labeled, Target, Unlabeled, View

TASK, START = st.Classification(3), Clock(0, 0, 10)
PLAN = BatchPlan(labeled=4, unlabeled_ratio=1.5, seed=5)
GENERATIONS = {"noisy": NoisyStudent, "curriculum": CurriculumLabeling}
ALONE = {"noisy": {}, "curriculum": {"alpha": 0.0}}
both = pytest.mark.parametrize("name", GENERATIONS)


def linear(inputs=4, classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, classes, bias=False)


def student(network, lr=0.1):
    return lambda: sgd_learner(network, lr=lr, momentum=0.0)


def a_batch(seed, labeled=3, unlabeled=5, rows=8, inputs=4, view="strong"):
    """Points, classes and rows drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(labeled + unlabeled, inputs, generator=generator)
    y = F.one_hot(torch.randint(3, (labeled,), generator=generator), 3).float()
    index = torch.randperm(rows, generator=generator)[:unlabeled]
    given = Labeled(x[:labeled], Target(y, torch.ones(labeled)), torch.arange(labeled))
    return Batch(given, Unlabeled({view: View(x[labeled:])}, index))


def a_table(rows=8, seed=1):
    """Weights of 0, 1 and 2."""
    value = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed)).softmax(1)
    return PseudoLabelTable(TASK, value, weight=(torch.arange(rows) % 3).float())


def stored(kind, seed=7):
    """Labels that a fresh network gave the toy pile."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return label_pile(Supervised(toy.task(kind), toy.learner(kind), decay=None), toy.pile(kind))


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def entropy_and_slope(w, x, q, weight):
    """Summed weighted cross-entropy of a linear model, and its derivative by the weights (classes, inputs)."""
    p = softmax(x @ w.T)
    return -(weight[:, None] * q * np.log(p)).sum(), ((p - q) * weight[:, None]).T @ x


# -- losses by hand ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("labeled_weight", [1.0, 0.5, 0.0])
def test_three_steps_of_a_noisy_student_by_hand(hard, labeled_weight):
    """Mean loss on labels + 2 r(t) x weighted loss on stored labels over all units of the batch."""
    network, table = linear(), a_table()
    strategy = NoisyStudent(
        TASK, student(network), labels=table, hard=hard, labeled_weight=labeled_weight, unlabeled_weight=2.0,
        rampup=lambda progress: 0.5 + progress, decay=None,
    )  # fmt: skip
    w, q = network.weight.detach().double().numpy().copy(), table.value.double().numpy()
    q = np.eye(3)[q.argmax(1)] if hard else q
    for step in range(3):
        batch = a_batch(seed=step)
        x, xu = (t.double().numpy() for t in (batch.labeled.x, batch.unlabeled["strong"].x))
        rows = batch.unlabeled.index.numpy()
        supervised, slope = entropy_and_slope(w, x, batch.labeled.target.value.double().numpy(), np.ones(3))
        unsupervised, slope_u = entropy_and_slope(w, xu, q[rows], table.weight.double().numpy()[rows])
        report = strategy.step(batch, Clock(step, 0, 10))
        if labeled_weight:
            assert report.scalars["loss/supervised"].item() == pytest.approx(supervised / 3, rel=1e-5)
        assert report.scalars["loss/unsupervised"].item() == pytest.approx(unsupervised / 5, rel=1e-5)
        assert report.scalars["used"].item() == pytest.approx((rows % 3 > 0).mean())
        w -= 0.1 * (labeled_weight * slope / 3 + 2 * (0.5 + step / 10) * slope_u / 5)
        assert np.allclose(network.weight.detach().numpy(), w, atol=1e-5)


class Listening(nn.Module):
    """A linear network that keeps what it is shown."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.shown = []

    def forward(self, x):
        self.shown.append((x.detach().clone(), torch.is_grad_enabled()))
        return self.network(x)


def unit_batch(weight, labeled=3):
    """Sample i is the i-th unit vector, so that a mixture shows its own shares; row j of the table is vector 3 + j."""
    n = labeled + len(weight)
    x, y = torch.eye(n), F.one_hot(torch.arange(labeled) % 3, 3).float()
    given = Labeled(x[:labeled], Target(y, torch.ones(labeled)), torch.arange(labeled))
    batch = Batch(given, Unlabeled({"strong": View(x[labeled:])}, torch.arange(len(weight))))
    value = torch.randn(len(weight), 3, generator=torch.Generator().manual_seed(3)).softmax(1)
    return batch, PseudoLabelTable(TASK, value, weight=torch.tensor(weight))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.2])
@pytest.mark.parametrize("hard", [True, False])
def test_a_curriculum_round_learns_mixtures_of_labeled_and_kept_samples(alpha, hard):
    """Loss of mixture i: sum_j share_ij w_j H(q_j, p_i); its mean is over labeled and kept samples together."""
    weight = [1.0, 0.0, 2.0, 0.0, 1.0]
    batch, table = unit_batch(weight)
    network = Listening(linear(inputs=8))
    strategy = CurriculumLabeling(TASK, student(network), labels=table, hard=hard, alpha=alpha, decay=None)
    before = network.network.weight.detach().double().numpy().copy()
    torch.manual_seed(2)
    report = strategy.step(batch, START)
    ((mixed, _),) = network.shown
    share = mixed.double().numpy()
    stored_values = table.value.double().numpy()
    targets = np.concatenate([np.eye(3), np.eye(3)[stored_values.argmax(1)] if hard else stored_values])
    assert share.shape == (6, 8)  # 3 labeled, 3 of 5 kept
    assert np.allclose(share.sum(1), 1)
    assert (share[:, [4, 6]] == 0).all()  # what was not kept is not shown, not even in a mixture
    assert ((share > 0).sum(1) == (1 if alpha == 0 else 2)).any()
    p = softmax(share @ before.T)
    worth = share * np.array([1, 1, 1, *weight])
    single = -(worth @ targets * np.log(p)).sum(1)
    assert report.scalars["loss/supervised"].item() == pytest.approx(single[:3].mean(), rel=1e-5)
    assert report.scalars["loss/unsupervised"].item() == pytest.approx(single[3:].mean(), rel=1e-5)
    assert report.scalars["used"].item() == pytest.approx(0.6)
    slope = (p * worth.sum(1, keepdims=True) - worth @ targets).T @ share / 6
    assert np.allclose(network.network.weight.detach().numpy(), before - 0.1 * slope, atol=1e-5)
    assert torch.equal(report.pseudo_labels.weight, table.weight)  # the ledger hears of every row


def test_pixels_that_were_not_kept_are_not_counted():
    """Loss of a round without mixup: the mean over labeled and kept pixels; pictures without a kept one stay away."""
    student_of = toy.learner("segmentation", norm=False, dropout=0.0)
    table = stored("segmentation")
    weight = (table.confidence >= table.confidence.flatten().quantile(0.7)).float()
    weight[::3] = 0
    table = PseudoLabelTable(toy.task("segmentation"), table.value, weight=weight)
    strategy = CurriculumLabeling(toy.task("segmentation"), student_of, labels=table, alpha=0.0, decay=None)
    stream = toy.pile("segmentation").stream(strategy.needs(), PLAN, torch.device("cpu"))
    (batch,) = next(iter(stream.epoch(0)))
    view = batch.unlabeled["strong"]
    plain = View(view.x)  # geometry unchanged: the table is that of the picture
    batch = batch.replace(unlabeled=replace(batch.unlabeled, views={"strong": plain}))
    rows = batch.unlabeled.index
    logits, guessed = (strategy.student.model(x) for x in (batch.labeled.x, view.x))
    valid, kept = batch.labeled.target.valid, weight[rows] > 0
    on_labels = F.cross_entropy(logits, batch.labeled.target.value.argmax(1), reduction="none")[valid]
    on_kept = F.cross_entropy(guessed, table.value[rows].argmax(1), reduction="none")[kept]
    seen = []
    strategy.student.model.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    report = strategy.step(batch, START)
    assert seen == [4 + int((rows % 3 > 0).sum())]
    assert report.scalars["loss/supervised"].item() == pytest.approx(on_labels.mean().item(), rel=1e-5)
    assert report.scalars["loss/unsupervised"].item() == pytest.approx(on_kept.mean().item(), rel=1e-5)


@both
@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_stored_labels_follow_the_view_as_its_picture_does(name, kind):
    """A table whose first channel is the picture: wherever the view went, its target went too."""
    pile, heard = toy.pile(kind), []
    x = pile.x[pile.parts["unlabeled"]]
    value = torch.cat([x, 1 - x, 0 * x], 1) if kind == "segmentation" else torch.cat([x, 1 - x], 1)
    task = toy.task(kind)
    take = task.loss
    task.loss = lambda logits, target: heard.append(target) or take(logits, target)
    settings = {"labels": PseudoLabelTable(task, value.clamp(0, 1)), "hard": False} | ALONE[name]
    strategy = GENERATIONS[name](task, toy.learner(kind), **settings)
    theta = toy.turned(torch.tensor([1.0, 2.0, 3.0, 0.0]))
    views = {"strong": View(toy.move(x[:4], theta), theta)}
    given = next(iter(pile.stream(strategy.needs(), PLAN, torch.device("cpu")).epoch(0)))[0].labeled
    strategy.step(Batch(given, Unlabeled(views, torch.arange(4))), START)
    found = [target.value[-4:, 0] for target in heard if len(target.value) >= 4]
    moved = toy.move(x[:4].clamp(0, 1), theta)[:, 0]
    assert any(torch.allclose(one, moved, atol=1e-5) for one in found)


# -- what is looked at -------------------------------------------------------------------------------------------------
def test_a_stage_on_pseudo_labels_alone_does_not_look_at_labeled_samples():
    network = Listening(linear())
    strategy = NoisyStudent(TASK, student(network), labels=a_table(), labeled_weight=0.0)
    batch = a_batch(0)
    report = strategy.step(batch, START)
    assert [len(x) for x, _ in network.shown] == [5]
    assert torch.equal(network.shown[0][0], batch.unlabeled["strong"].x)
    assert report.scalars["loss/supervised"] == 0


@both
def test_nothing_is_predicted_without_gradient(name):
    """The teacher is frozen: its labels are read, none are made."""
    network = Listening(linear())
    strategy = GENERATIONS[name](TASK, student(network), labels=a_table())
    strategy.step(a_batch(0), START)
    assert all(gradient for _, gradient in network.shown)


@both
def test_labels_stay_those_of_the_table_while_the_student_learns(name):
    table = a_table()
    before = snapshot(table), table.value.clone()
    strategy = GENERATIONS[name](TASK, student(linear(), lr=1.0), labels=table)
    for step in range(4):
        batch = a_batch(seed=step)
        said = strategy.step(batch, START).pseudo_labels
        assert torch.equal(said.index, batch.unlabeled.index)
        assert torch.equal(said.value, before[1][said.index])
        assert torch.equal(said.weight, table.weight[said.index])
    assert (snapshot(table), table.value.tolist()) == (before[0], before[1].tolist())


@both
@pytest.mark.parametrize("kind", toy.KINDS)
def test_without_a_kept_unit_the_step_is_the_supervised_one(name, kind):
    table = stored(kind).above(2.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make = toy.learner(kind, norm=False, dropout=0.0)
        strategy = GENERATIONS[name](toy.task(kind), make, labels=table, **ALONE[name])
        torch.manual_seed(0)
        plain = Supervised(toy.task(kind), make)
    (batch,) = next(iter(toy.pile(kind).stream(strategy.needs(), PLAN, torch.device("cpu")).epoch(0)))
    report = strategy.step(batch, START)
    plain.step(batch, START)
    assert report.scalars["used"] == report.scalars["loss/unsupervised"] == 0
    for mine, theirs in zip(strategy.student.parameters(), plain.student.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("view", ["weak", "plain"])
def test_the_views_of_a_round_can_be_chosen(view):
    strategy = CurriculumLabeling(TASK, student(linear()), labels=a_table(), view=view)
    assert (strategy.needs().views, strategy.needs().labeled_view) == ((view,), view)
    network = Listening(linear())
    strategy = CurriculumLabeling(TASK, student(network), labels=a_table(), view=view, alpha=0.0)
    batch = a_batch(0, view=view)
    strategy.step(batch, START)
    kept = batch.unlabeled.index % 3 > 0
    assert torch.equal(network.shown[0][0], torch.cat([batch.labeled.x, batch.unlabeled[view].x[kept]]))


# -- whole runs --------------------------------------------------------------------------------------------------------
def run(name, out=None, labels=None, steps=8, **settings):
    torch.manual_seed(0)
    kind = "classification"
    strategy = GENERATIONS[name](toy.task(kind), toy.learner(kind), labels=stored(kind) if labels is None else labels)
    settings = {"handlers": [TensorBoard(False)]} | settings
    return st.fit(strategy, toy.pile(kind), steps=steps, plan=PLAN, out=out, eval_every=4, **settings)


@both
def test_the_ledger_holds_the_table_after_an_epoch(name):
    labels = stored("classification").above(0.4)
    ledger = run(name, labels=labels, steps=4).ledger
    assert torch.equal(ledger.label, labels.label.int())
    assert torch.equal(ledger.accepted, labels.kept)
    assert torch.allclose(ledger.confidence, labels.confidence)
    assert not ledger.flips.any()


@both
def test_a_resumed_run_is_the_whole_run(name, tmp_path):
    whole = run(name)
    run(name, tmp_path, stop_after=5)
    rest = run(name, tmp_path, labels=stored("classification"), resume=True)
    for mine, theirs in zip(whole.strategy.parameters(), rest.strategy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@both
def test_a_run_is_not_resumed_with_other_labels(name, tmp_path):
    labels = stored("classification")
    run(name, tmp_path, labels=labels.above(0.3), stop_after=5)
    with pytest.raises(RunFolderError, match=r"labels.recipe: was above\(0.3\), is above\(0.35\)"):
        run(name, tmp_path, labels=labels.above(0.35), resume=True)
    with pytest.raises(CheckpointError, match="other pseudo-labels"):
        run(name, tmp_path, labels=stored("classification", seed=8).above(0.3), resume=True)
    run(name, tmp_path, labels=PseudoLabelTable.load(labels.above(0.3).save(tmp_path / "table"), TASK), resume=True)


@both
def test_a_table_of_another_pile_is_refused(name):
    with pytest.raises(ValueError, match="outside the labels of 8 samples"):
        run(name, labels=a_table())


@pytest.mark.parametrize(
    ("name", "settings", "shown"),
    [
        ("noisy", {"labeled_weight": -1.0}, "labeled_weight is -1.0"),
        ("noisy", {"unlabeled_weight": -0.5}, "unlabeled_weight is -0.5"),
        ("noisy", {"unlabeled_weight": float("nan")}, "unlabeled_weight is nan"),
        ("curriculum", {"alpha": -0.2}, "alpha is -0.2"),
    ],
)
def test_senseless_settings_are_refused(name, settings, shown):
    with pytest.raises(ValueError, match=shown):
        GENERATIONS[name](TASK, student(linear()), labels=a_table(), **settings)


# -- learning ----------------------------------------------------------------------------------------------------------
def learn(strategy, pile, seed):
    plan = BatchPlan(labeled=8, unlabeled_ratio=12.5, seed=seed)
    return st.fit(strategy, pile, steps=60, plan=plan, eval_every=60, self_check=False)


def make(width, seed):
    torch.manual_seed(seed)
    return st.learner(lambda: toy.mlp(30, width=width), optimizer="sgd", lr=0.1, weight_decay=0.0)


@cache
def taught(seed):
    pile = toy.clouds(seed=seed)
    return pile, learn(Supervised(st.Classification(2), make(64, seed), decay=None), pile, seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "refine"),
    [
        ("noisy", 64, lambda table: table.above(0.3).balanced().normalized()),
        ("noisy", 128, lambda table: table.above(0.7)),  # a larger student
        ("curriculum", 64, lambda table: table.top_percent(40)),
    ],
)
def test_a_student_of_frozen_labels_beats_its_teacher(name, width, refine):
    gains = []
    for seed in range(3):
        pile, teacher = taught(seed)
        labels = refine(label_pile(teacher.strategy, pile))
        strategy = GENERATIONS[name](st.Classification(2), make(width, seed), labels=labels, decay=0.99)
        after = learn(strategy, pile, seed).evaluate("test")["accuracy"]
        gains.append(after - teacher.evaluate("test")["accuracy"])
    assert median(gains) > 0.02
