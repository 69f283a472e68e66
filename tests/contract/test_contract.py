"""What every strategy must do on every task: views, gradients, teachers, empty selections, seeds, missing data."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import GRID, HALFWAY, LEARNING, LEARNING_GRID, PLAN, ZOO, build, differences, take_step, teachers, weights

import selftrain as st
from selftrain import Learner, Strategy, mix, select, strategies, tasks, toy
from selftrain.strategy import label_memory
from selftrain.types import Batch, BatchPlan, Clock, Target, View


def test_the_zoo_holds_every_strategy():
    assert {entry.make.__name__ for entry in ZOO.values()} == set(strategies.__all__)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_the_probe_network_decides_by_its_input(kind):
    """Otherwise hard pseudo-labels could not show whether a view is read."""
    task, model = toy.task(kind), toy.learner(kind)()
    x = toy.pile(kind).x[:8]
    label = task.label(task.probs(model.label(x)))
    assert (label != task.label(task.probs(model.label(-x)))).float().mean() > 0.5


# -- 1: every declared view is read, in its own geometry ---------------------------------------------------------------
@pytest.mark.one_in(2)
@pytest.mark.parametrize(("name", "kind"), GRID)
def test_every_declared_view_of_every_batch_changes_the_update(name, kind):
    given = zoo.batches(build(name, kind), kind)
    strategy = build(name, kind)
    assert len(given) == 1 + strategy.extra_batches
    assert set(given[0].unlabeled.views if given[0].has_unlabeled else ()) == set(strategy.views)
    take_step(strategy, given)
    for view in strategy.views:
        for place, batch in enumerate(given):
            shown = batch.unlabeled[view]
            other = zoo.with_view(batch, view, replace(shown, x=-3 * shown.x.roll(1, 0)))
            changed = build(name, kind)
            take_step(changed, [*given[:place], other, *given[place + 1 :]])
            assert not torch.equal(weights(strategy), weights(changed)), (view, place)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("name", "kind"), GRID)
def test_the_labeled_input_and_its_target_change_the_update(name, kind):
    given = zoo.batches(build(name, kind), kind)
    batch = given[0]
    target = batch.labeled.target
    inputs = batch.replace(labeled=replace(batch.labeled, x=-batch.labeled.x))
    targets = batch.replace(labeled=replace(batch.labeled, target=replace(target, value=target.value.roll(1, 0))))
    runs = [build(name, kind) for _ in range(3)]
    for strategy, first in zip(runs, (batch, inputs, targets), strict=True):
        take_step(strategy, [first, *given[1:]])
    assert not torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


@pytest.mark.one_in(3, "temporal_ensembling")
@pytest.mark.parametrize("name", [n for n in LEARNING if not ZOO[n].invents and len(ZOO[n].kinds) > 1])
@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_turning_a_view_with_its_map_leaves_the_update_as_it_is(name, kind):
    """A network that looks at single pixels does not mind a turned view, if labels follow it, and in its direction."""
    settings = ZOO[name].unsupervised
    student = {"kernel": 1, "dropout": 0.0}
    plain = build(name, kind, student=student, **settings)
    given = zoo.batches(plain, kind)
    take_step(plain, given)
    for view in plain.views:
        quarter = toy.turned(torch.ones(len(given[0].unlabeled.index)))
        turned = build(name, kind, student=student, **settings)
        take_step(turned, [zoo.with_view(b, view, _after(b.unlabeled[view], quarter)) for b in given])
        assert torch.allclose(weights(plain), weights(turned), atol=1e-6), view
        forgotten = build(name, kind, student=student, **settings)
        take_step(forgotten, [zoo.with_view(b, view, View(_after(b.unlabeled[view], quarter).x)) for b in given])
        if not set(ZOO[name].learns_from) & set(ZOO[name].labels_from):  # else label and picture are one
            assert not torch.allclose(weights(plain), weights(forgotten), atol=1e-6), view


def _after(view: View, theta: Tensor) -> View:
    """The view moved once more: a place of the new view -> of the old one -> of the image."""
    moved = toy.move(view.x, theta)
    if view.theta is None:
        return View(moved, theta)
    first = torch.cat([theta, torch.tensor([[[0.0, 0, 1]]]).expand(len(theta), 1, 3)], 1)
    return View(moved, view.theta @ first)


def test_relative_maps_lead_from_one_view_to_the_other():
    source, target = toy.turned(torch.tensor([1.0])), toy.turned(torch.tensor([3.0]))
    shift = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    x = torch.arange(36.0).view(1, 1, 6, 6)
    straight = toy.move(x, target)
    detour = toy.move(toy.move(x, source), tasks.relative(View(x, source), View(x, target)).theta)
    assert torch.equal(straight, detour)
    back = tasks.relative(View(x, shift), View(x)).theta
    assert torch.allclose(back, torch.tensor([[[1.0, 0.0, -0.5], [0.0, 1.0, 0.0]]]))


SEEN: list[tuple[bool, bool, Tensor]] = []  # what networks saw: inside a student, with gradient, input


class Spy(nn.Module):
    """Records the first value of every sample it is shown; a network for constant pictures."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.read = nn.Linear(1, 3 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        SEEN.append((self.read.weight.requires_grad, torch.is_grad_enabled(), x[:, 0, 0, 0].clone()))
        return self.read(x[:, 0, 0, :1])


@pytest.mark.parametrize("name", LEARNING)
def test_labels_come_from_one_view_and_gradients_go_through_the_other(name):
    entry, marks = ZOO[name], {"weak": 0.5, "weak2": 0.75, "strong": 1.5, "strong2": 1.75, "plain": 2.5, "labeled": 3.5}
    settings = {**entry.settings("classification"), **entry.unsupervised}
    strategy = entry.make(
        toy.task("classification"), st.learner(lambda: Spy(entry.outputs), optimizer="sgd"), **settings
    )
    entry.prepare(strategy, "classification")
    given = []
    for batch in zoo.batches(strategy, "classification"):
        views = {view: View(torch.full_like(batch.unlabeled[view].x, marks[view])) for view in strategy.views}
        labeled = replace(batch.labeled, x=torch.full_like(batch.labeled.x, 3.5))
        given.append(batch.replace(labeled=labeled, unlabeled=replace(batch.unlabeled, views=views)))
    SEEN.clear()
    take_step(strategy, given)
    labeled_with = {v for _, gradient, x in SEEN if not gradient for v in x.tolist()}
    learned = {v for _, gradient, x in SEEN if gradient for v in x.tolist()}
    assert labeled_with == {marks[view] for view in entry.labels_from}
    wanted = {3.5, *(marks[view] for view in entry.learns_from)}
    assert (wanted < learned) if entry.invents else (wanted == learned)
    assert all(inside for inside, gradient, _ in SEEN if gradient)


# -- 2: gradients and teachers -----------------------------------------------------------------------------------------
def _weightless(batch: Batch) -> Batch:
    """The batch with labels that count nothing."""
    return batch.replace(labeled=replace(batch.labeled, target=batch.labeled.target.scaled(0.0)))


@pytest.mark.parametrize(("name", "kind"), LEARNING_GRID)
def test_the_unsupervised_loss_alone_reaches_every_weight_of_the_student(name, kind):
    strategy = build(name, kind, **ZOO[name].unsupervised)
    before = [[p.detach().clone() for p in x.model.parameters()] for x in strategy.learners()]
    take_step(strategy, [_weightless(b) for b in zoo.batches(strategy, kind)])
    for learner, old in zip(strategy.learners(), before, strict=True):
        assert learner.grad_norm > 0
        moved = [not torch.equal(a, b) for a, b in zip(old, learner.model.parameters(), strict=True)]
        assert all(moved), moved


@pytest.mark.parametrize(("name", "kind"), GRID)
def test_teachers_start_as_the_student_and_never_learn_by_gradient(name, kind):
    strategy = build(name, kind)
    owned = {id(p) for x in strategy.learners() for group in x.optimizer.param_groups for p in group["params"]}
    for teacher in teachers(strategy):
        assert not differences(teacher.model.state_dict(), strategy.student.model.state_dict())
        assert teacher.updates == 0
    given = zoo.batches(strategy, kind)
    for moment in ("fresh", "stepped"):
        strategy.train()
        for teacher in teachers(strategy):
            assert not any(m.training for m in teacher.modules()), moment
            assert all(p.grad is None and not p.requires_grad for p in teacher.parameters()), moment
            assert not owned & {id(p) for p in teacher.parameters()}, moment
        take_step(strategy, given)
    assert all(x.training and x.model.training for x in strategy.learners())


def test_teachers_label_in_evaluation_mode_from_the_first_step():
    """BatchNorm of a fresh network has statistics 0 and 1 in evaluation mode, those of the batch in training mode."""
    strategy = build("mean_teacher", "classification")
    batch = zoo.batches(strategy, "classification")[0]
    frozen = build("mean_teacher", "classification").student.model.eval()
    expected = frozen(batch.unlabeled["weak"].x).softmax(1)
    strategy.train()
    for _ in range(2):
        assert torch.allclose(strategy.teacher(batch.unlabeled["weak"].x).softmax(1), expected)


@pytest.mark.parametrize("name", ["supervised", "pseudo_label", "mean_teacher", "fixmatch"])
@pytest.mark.parametrize(("decay", "buffers"), [(0.9, "copy"), (0.9, "ema"), (0.2, "copy")])
def test_the_teacher_follows_the_updated_student(name, decay, buffers):
    """Mean Teacher eq. 2 with the warm start of its code: the share that stays is min(decay, 1 - 1 / (t + 1))."""
    strategy = build(name, "classification", decay=decay, buffers=buffers)
    follower, student = teachers(strategy)[0].model, strategy.student.model
    mean = [p.detach().clone() for p in student.parameters()]
    statistics = student[1].running_mean.clone()
    for t in range(1, 4):
        take_step(strategy, zoo.batches(strategy, "classification", step=t))
        keep = min(decay, 1 - 1 / (t + 1))
        mean = [keep * m + (1 - keep) * p.detach() for m, p in zip(mean, student.parameters(), strict=True)]
        statistics = keep * statistics + (1 - keep) * student[1].running_mean
        assert all(torch.allclose(m, p, atol=1e-6) for m, p in zip(mean, follower.parameters(), strict=True)), t
        wanted = statistics if buffers == "ema" else student[1].running_mean
        assert torch.allclose(follower[1].running_mean, wanted, atol=1e-6), t
        assert follower[1].num_batches_tracked == student[1].num_batches_tracked


AFTER, BEFORE, BOTH = [4, 8], [1, 5], [1, 4, 5, 8]
MOMENTS = {name: AFTER for name in ZOO} | dict.fromkeys(("fst", "fst_d", "fst_code"), BEFORE) | {"fst_w": BOTH}
WAITING = [
    *[(name, {}, moments) for name, moments in MOMENTS.items()],
    ("mean_teacher", {"order": "before"}, BEFORE),
    ("fst_d", {"teacher_after": True}, BOTH),
    ("reviewer", {"follows": "teacher"}, AFTER),
]


@pytest.mark.parametrize(("name", "settings", "moments"), WAITING)
def test_the_teacher_waits_until_the_student_has_moved(name, settings, moments):
    """Eight updates that gather make two steps; a teacher moves after each step, or before it, and at no other time."""
    strategy = build(name, "classification", student={"accumulate": 4}, **{"decay": 0.9} | settings)
    assert teachers(strategy)
    stepped, moved = [], [[] for _ in teachers(strategy)]
    for update in range(1, 9):
        student, before = weights(strategy), [zoo.state_of(t) for t in teachers(strategy)]
        take_step(strategy, zoo.batches(strategy, "classification", step=update % 4))
        stepped += [] if torch.equal(student, weights(strategy)) else [update]
        for record, teacher, old in zip(moved, teachers(strategy), before, strict=True):
            record += [update] if differences(old, zoo.state_of(teacher)) else []
    assert stepped == AFTER
    assert all(record == moments for record in moved), moved


def test_gathered_gradients_make_the_step_of_their_mean():
    gathered, whole = (toy.learner("classification", norm=False, dropout=0.0)() for _ in range(2))
    whole.model.load_state_dict(gathered.model.state_dict())
    gathered.accumulate = 2
    x = toy.pile("classification").x
    losses = [lambda m, a=a: m(x[a : a + 4]).square().mean() for a in (0, 4)]
    assert [gathered.update(loss(gathered)) for loss in losses] == [False, True]
    assert whole.update((losses[0](whole) + losses[1](whole)) / 2)
    for a, b in zip(gathered.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


# -- what counts, and by how much --------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", [0, 8, 15])
def test_fixmatch_divides_by_the_whole_batch(place):
    """Eq. 4: the sum over units at or above the threshold, divided by all of them, not by the kept."""
    fresh = build("fixmatch", "classification", student={"dropout": 0.0})
    batch = zoo.batches(fresh, "classification", plan=BatchPlan(labeled=4, unlabeled_ratio=4))[0]
    model = fresh.student.model
    confidence, label = model.eval()(batch.unlabeled["weak"].x).detach().softmax(1).max(1)
    logits = model.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))[4:]
    threshold = float(confidence.sort().values[place])  # itself passes
    kept = confidence >= threshold
    assert kept.sum() == 16 - place
    strategy = build("fixmatch", "classification", select=select.above(threshold), student={"dropout": 0.0})
    wanted = F.cross_entropy(logits, label, reduction="none")[kept].sum() / 16
    report = take_step(strategy, [batch])
    assert torch.allclose(report.scalars["loss/unsupervised"], wanted, atol=1e-6)
    assert torch.allclose(report.scalars["used"], kept.float().mean())
    assert torch.equal(report.pseudo_labels.weight, kept.float())


@pytest.mark.parametrize("name", LEARNING)
def test_the_ledger_hears_what_was_learned(name):
    """Reported pseudo-labels are probabilities of the labeling view, with the rows they belong to."""
    strategy = build(name, "classification")
    given = zoo.batches(strategy, "classification")
    said = take_step(strategy, given).pseudo_labels
    assert torch.equal(said.index, given[0].unlabeled.index)
    assert torch.allclose(said.value.sum(1), torch.ones(6))
    assert said.weight.shape == (6,)
    if name in ("fst", "fst_d", "fst_code"):  # their teacher rests after the label: ask it again
        assert torch.equal(strategy.teacher(given[0].unlabeled["weak"].x).softmax(1), said.value)


def test_an_ensemble_uses_a_unit_when_a_quorum_sides_with_the_mean():
    batch = zoo.batches(build("ensemble", "classification"), "classification", plan=BatchPlan(16, 1))[0]
    members = [x.model.eval() for x in build("ensemble", "classification").learners()]
    values = torch.stack([m(batch.unlabeled["weak"].x).softmax(1) for m in members])
    share = (values.argmax(2) == values.mean(0).argmax(1)).float().mean(0)
    assert len(share.unique()) > 1
    for quorum in (0.3, 0.6, 1.0):
        said = take_step(build("ensemble", "classification", quorum=quorum), [batch]).pseudo_labels
        assert torch.equal(said.weight, (share >= quorum).float())
        assert torch.allclose(said.value, values.mean(0))
    graded = take_step(build("ensemble", "classification", quorum=0.3, weighting="share"), [batch]).pseudo_labels
    assert torch.allclose(graded.weight, share)
    assert torch.allclose(graded.agreement, share)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5, 5)])
def test_mixup_moves_inputs_and_targets_by_the_same_share(alpha, shape):
    """Targets that equal their inputs stay equal to them."""
    torch.manual_seed(0)
    x = torch.rand(shape)
    task = toy.task("classification" if len(shape) == 2 else "segmentation")
    mixed, target = mix.mixup(x, Target(x, torch.ones(8, *shape[2:])), task, alpha=alpha)
    assert torch.allclose(mixed, target.value, atol=1e-6)
    assert not torch.allclose(mixed, x, atol=1e-3)


def test_soft_labels_learns_mixed_inputs_against_mixed_targets():
    """Labeled pictures show 1 and are class 0, unlabeled ones show 0 and are class 1: a mixture shows its target."""
    heard: list[Target] = []

    class Listening(st.Classification):
        def loss(self, logits, target):
            heard.append(target)
            return super().loss(logits, target)

    settings = ZOO["soft_labels"].settings("classification")
    strategy = strategies.SoftLabels(Listening(3), st.learner(Spy), **settings)
    batch = zoo.batches(strategy, "classification")[0]
    one_hot = F.one_hot(torch.tensor([0, 1]), 3).float()
    labeled = replace(batch.labeled, x=torch.ones(4, 1, 12, 12), target=Target(one_hot[0].repeat(4, 1), torch.ones(4)))
    views = {name: View(torch.zeros(6, 1, 12, 12)) for name in strategy.views}
    strategy.bank.write(batch.unlabeled.index, one_hot[1].repeat(6, 1))
    strategy.bank.turn()
    SEEN.clear()
    take_step(strategy, [Batch(labeled, replace(batch.unlabeled, views=views))])
    shown = next(x for _, gradient, x in SEEN if gradient)
    assert torch.allclose(heard[0].value, torch.stack([shown, 1 - shown, 0 * shown], 1), atol=1e-6)
    assert ((shown > 0.01) & (shown < 0.99)).any()


def test_soft_labels_keeps_the_label_of_a_row_it_did_not_visit():
    strategy = build("soft_labels", "classification")
    first, second = (zoo.batches(strategy, "classification", step=i) for i in (0, 2))
    take_step(strategy, first)
    strategy.end_epoch(HALFWAY)
    rows = first[0].unlabeled.index
    kept = strategy.bank.read(rows).clone()
    assert strategy.bank.known[rows].all()
    assert not torch.allclose(kept, torch.full_like(kept, 1 / 3))
    take_step(strategy, second)
    assert strategy.end_epoch(HALFWAY)["bank/written"] == 6 / 24
    assert torch.equal(strategy.bank.read(rows), kept)
    assert int(strategy.bank.known.sum()) == 12


def test_soft_labels_are_those_of_the_last_epoch():
    """What the network said of a row when it last met it, before the epoch ended, is the label of the next visit."""
    strategy = build("soft_labels", "classification", label_mode="eval")
    given = zoo.batches(strategy, "classification")
    for _ in range(2):  # the second visit replaces what the first one wrote
        said = strategy.predict(given[0].unlabeled["plain"].x)
        assert torch.allclose(take_step(strategy, given).pseudo_labels.value, said)  # nothing older is known yet
    strategy.end_epoch(HALFWAY)
    for _ in range(2):  # the new epoch's own predictions wait
        assert torch.allclose(take_step(strategy, given).pseudo_labels.value, said)
    assert not torch.allclose(strategy.predict(given[0].unlabeled["plain"].x), said)


def test_a_label_bank_swaps_only_when_turned():
    bank = label_memory.LabelMemory(st.Classification(2), 3, (2,))
    bank.write(torch.tensor([1]), torch.tensor([[0.9, 0.1]]))
    assert torch.equal(bank.read(torch.arange(3)), torch.full((3, 2), 0.5))
    assert bank.turn() == pytest.approx(1 / 3)
    assert bank.read(torch.tensor([1])).tolist() == [[pytest.approx(0.9), pytest.approx(0.1)]]
    assert bank.known.tolist() == [False, True, False]
    assert bank.turn() == 0


def test_weights_of_units_stay_out_of_the_count():
    """Half the units at weight 0: half the loss. Half the units invalid: the mean of the others."""
    target = Target(torch.zeros(4, 2), torch.tensor([1.0, 1, 0, 0]))
    assert tasks.weighted_mean(torch.full((4,), 6.0), target) == 3.0
    only = replace(target, weight=torch.ones(4), valid=torch.tensor([True, True, False, False]))
    assert tasks.weighted_mean(torch.tensor([2.0, 4, 90, 90]), only) == 3.0


def test_one_pass_or_two_gives_the_same_losses_without_batch_statistics():
    found = []
    for together in (True, False):
        student = {"norm": False, "dropout": 0.0}
        strategy = build("fixmatch", "classification", student=student, unlabeled_weight=2.0, together=together)
        losses, update = [], strategy.student.update
        strategy.student.update = lambda loss, losses=losses, update=update: (
            losses.append(loss.detach()) or update(loss)
        )
        said = take_step(strategy, zoo.batches(strategy, "classification")).scalars
        assert torch.allclose(losses[0], said["loss/supervised"] + 2 * said["loss/unsupervised"])
        found.append(losses[0])
    assert torch.allclose(*found)


# -- 5: no unit kept ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "kind"), LEARNING_GRID)
def test_with_no_unit_kept_the_update_is_the_supervised_one(name, kind):
    """Soft labels divide the one loss of the mixed batch by all its valid units, so theirs shrinks by that share."""
    student = {"norm": False, "dropout": 0.0, "momentum": 0.0}  # faithful="code" leaks momentum by design
    strategy = zoo.reject_all(build(name, kind, student=student, **ZOO[name].nothing))
    given = zoo.batches(strategy, kind)
    before = weights(strategy)
    report = take_step(strategy, given)
    assert all(torch.isfinite(v) for v in report.scalars.values())
    assert report.scalars["used"] == 0
    plain = build(name, kind, student=student, **ZOO[name].nothing)
    plain.step_labeled(Batch(given[0].labeled, None), HALFWAY)
    valid = given[0].labeled.target.mask()
    share = valid.sum() / (valid.sum() + valid[0].numel() * 6) if name == "soft_labels" else torch.ones(())
    moved, wanted = weights(strategy) - before, (weights(plain) - before) * share
    assert wanted.abs().max() > 1e-4
    assert torch.allclose(moved, wanted, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["mean_teacher", "fixmatch", "fst", "fst_w"])
def test_with_two_passes_batchnorm_does_not_mix_the_streams(name):
    student = {"dropout": 0.0}
    strategy = zoo.reject_all(build(name, "segmentation", student=student, together=False))
    given = zoo.batches(strategy, "segmentation")
    plain = build(name, "segmentation", student=student)
    plain.train()
    take_step(strategy, given)
    plain.step_labeled(given[0], HALFWAY)
    assert torch.allclose(weights(strategy), weights(plain), atol=1e-6)


# -- 6: seeds ----------------------------------------------------------------------------------------------------------
def _run(name: str, kind: toy.Kind, *, seed: int, steps: int = 5) -> dict[str, object]:
    strategy = build(name, kind)
    run = st.fit(strategy, toy.pile(kind), steps=steps, plan=replace(PLAN, seed=seed), eval_every=steps)
    assert all(torch.isfinite(p).all() for p in strategy.parameters())
    return {"strategy": strategy.state_dict(), "ledger": run.ledger.state_dict(), "last": run.last}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("name", "kind"), GRID)
def test_one_seed_one_result_and_the_callers_randomness_is_untouched(name, kind):
    torch.manual_seed(11)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first = _run(name, kind, seed=5)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    torch.manual_seed(12)
    assert not differences(first, _run(name, kind, seed=5))
    assert differences(first["strategy"], _run(name, kind, seed=6)["strategy"])


class Recorder(strategies.Supervised):
    """Notes the random number that each step would draw."""

    def step(self, batch, clock, *extra):
        self.drawn = [*getattr(self, "drawn", []), float(torch.rand(()))]
        return super().step(batch, clock)


def test_every_step_draws_its_own_random_numbers(tmp_path):
    def drawn(seed: int, **where: object) -> list[float]:
        strategy = Recorder(toy.task("classification"), toy.learner("classification"))
        st.fit(strategy, toy.pile("classification"), steps=6, plan=replace(PLAN, seed=seed), **where)
        return strategy.drawn

    whole = drawn(0)
    assert len(set(whole)) == 6
    assert not set(whole) & set(drawn(1))
    assert drawn(0, out=tmp_path, stop_after=4) == whole[:4]
    # what the strategy noted before the stop is stored with it
    assert drawn(0, out=tmp_path, resume=True) == whole


def test_an_error_inside_a_step_leaves_the_callers_randomness_untouched():
    class Broken(strategies.Supervised):
        def step(self, batch, clock, *extra):
            raise RuntimeError("broken on purpose")

    strategy = Broken(toy.task("classification"), toy.learner("classification"))
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="on purpose"):
        st.fit(strategy, toy.pile("classification"), steps=2, plan=PLAN)
    assert torch.equal(torch.get_rng_state(), state)


# -- no unlabeled samples ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "kind"), GRID)
def test_without_unlabeled_samples_training_is_supervised(name, kind):
    strategy = build(name, kind)
    before = weights(strategy)
    run = st.fit(strategy, toy.pile(kind, unlabeled=0), steps=3, plan=PLAN)
    assert len(run.ledger) == 0
    assert np.isfinite(run.train["train/loss/supervised"])
    assert not torch.equal(before, weights(strategy))
    followers = teachers(strategy)
    assert all(t.updates == 3 for t in followers)


@pytest.mark.parametrize("name", [name for name in LEARNING if ZOO[name].outputs == 1])
def test_a_labeled_step_is_the_step_of_supervised_training(name):
    student = {"dropout": 0.0}
    strategy = build(name, "classification", student=student)
    plain = build("supervised", "classification", student=student)
    batch = zoo.batches(plain, "classification")[0]
    plain.train()
    strategy.train()
    plain.step(batch, Clock(0, 0, 10))
    strategy.step_labeled(batch, Clock(0, 0, 10))
    first: Learner = next(iter(strategy.learners()))
    assert not differences(first.model.state_dict(), plain.student.model.state_dict())


# -- what is shipped ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "kind"), GRID)
def test_prediction_is_finite_without_gradient_and_repeatable(name, kind):
    strategy: Strategy = build(name, kind)
    take_step(strategy, zoo.batches(strategy, kind))
    x = toy.pile(kind).x[:3]
    first, second = strategy.predict(x), strategy.predict(x)
    shape = toy.learner(kind)()(x).shape
    assert first.shape == shape
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert (first >= 0).all()
    assert (first <= 1).all()
    assert x.grad is None


@pytest.mark.parametrize("name", list(ZOO))
def test_exported_weights_predict_what_the_strategy_ships(name):
    strategy = build(name, "classification")
    for step in range(3):
        take_step(strategy, zoo.batches(strategy, "classification", step=step))
    x = toy.pile("classification").x[:4]
    fresh = toy.network("classification", outputs=ZOO[name].outputs).eval()
    fresh.load_state_dict(strategy.export())
    names = list(strategy.predictors())
    shipped = strategy.predictors()["member0" if "member0" in names else names[0]]
    assert torch.allclose(fresh(x)[:, :3].softmax(1), shipped(x), atol=1e-6)
