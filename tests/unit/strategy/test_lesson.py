from types import SimpleNamespace

import pytest
import torch
from helpers import convnet, mlp, normed, same, sgd_learner, snapshot
from torch import nn
from torch.nn import functional as F

from selftrain import select
from selftrain.mix import CutMix, Mix, Mixup
from selftrain.schedule import ramp_linear
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Lesson
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import Batch, Clock, Labeled, Target, Unlabeled, View

START = Clock(step=0, epoch=0, total_steps=10)
FLIP = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def classification():
    torch.manual_seed(2)
    task, y = Classification(3), torch.tensor([0, 1, 2, 0])
    given = Labeled(torch.randn(4, 3), task.encode(y), torch.arange(4))
    pile = Unlabeled({"weak": View(torch.randn(6, 3)), "strong": View(torch.randn(6, 3))}, torch.arange(6))
    said = torch.rand(6, 3).softmax(1)
    return SimpleNamespace(task=task, batch=Batch(given, pile), network=mlp, said=said, annotation=y)


def pixels(seed=0):
    torch.manual_seed(seed)
    return nn.Conv2d(2, 3, 3, padding=1)


def segmentation():
    torch.manual_seed(3)
    task, mask = Segmentation(3), torch.randint(3, (2, 4, 5))
    mask[0, :2] = 255
    given = Labeled(torch.randn(2, 2, 4, 5), task.encode(mask), torch.arange(2))
    strong = View(torch.randn(3, 2, 4, 5), FLIP.expand(3, 2, 3))
    pile = Unlabeled({"weak": View(torch.randn(3, 2, 4, 5)), "strong": strong}, torch.tensor([4, 0, 2]))
    said = (2 * torch.randn(3, 3, 4, 5)).softmax(1)
    return SimpleNamespace(task=task, batch=Batch(given, pile), network=pixels, said=said, annotation=mask)


def keypoints():
    torch.manual_seed(4)
    task = Keypoints(3, (4, 5))
    joints = torch.tensor([[[1.0, 2.0, 1.0], [3.0, 0.0, 1.0], [2.0, 3.0, 0.0]]] * 2)
    given = Labeled(torch.randn(2, 2, 4, 5), task.encode(joints), torch.arange(2))
    strong = View(torch.randn(3, 2, 4, 5), FLIP.expand(3, 2, 3))
    pile = Unlabeled({"weak": View(torch.randn(3, 2, 4, 5)), "strong": strong}, torch.tensor([4, 0, 2]))
    said = torch.rand(3, 3, 4, 5) * torch.rand(3, 3, 1, 1)
    return SimpleNamespace(task=task, batch=Batch(given, pile), network=pixels, said=said, annotation=joints)


ALL = {make.__name__: make for make in (classification, segmentation, keypoints)}
each_task = pytest.mark.parametrize("name", ALL)


def guess_of(case, lesson):
    """Judged with the predictions of the case; some units are kept and some are not."""
    guess = lesson.judge(case.said, case.batch.unlabeled.index)
    if lesson.select.rejects:
        assert 0 < guess.target.weight.mean() < 1
    return guess


# -- independent formulas ----------------------------------------------------------------------------------------------
def supervised_by_torch(name, case, logits):
    if name == "keypoints":
        wanted, there = case.batch.labeled.target.value, case.annotation[..., 2] > 0
        return ((logits - wanted) ** 2).mean((2, 3))[there].mean()
    return F.cross_entropy(logits, case.annotation, ignore_index=255)


def unsupervised_by_torch(name, distance, learned, value, weight):
    """Sum of weighted unit losses over the number of units; every unit of the flipped image exists."""
    if name == "keypoints":
        unit = ((learned - value) ** 2).mean((2, 3))
    elif distance == "ce":
        unit = F.cross_entropy(learned, value, reduction="none")
    else:
        unit = ((learned.softmax(1) - value) ** 2).mean(1)
    return (unit * weight).sum() / weight.numel()


def flipped(name, tensor):
    """What the strong view's geometry makes of values (B, C, *S) or of pixel weights; joints weigh what they did."""
    return tensor if name == "classification" else tensor.flip(-1)


@each_task
@pytest.mark.parametrize("distance", ["ce", "mse"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("weight", "hard"), [(0.0, True), (0.5, False), (2.0, True)])
def test_the_loss_against_torch(name, distance, together, weight, hard):
    case = ALL[name]()
    lesson = Lesson(
        case.task, unlabeled_weight=weight, distance=distance, together=together, hard=hard, select=select.top(0.6)
    )
    guess, student = guess_of(case, lesson), sgd_learner(case.network())
    outcome = lesson.loss(student, case.batch, guess, START)
    network = case.network()
    supervised = supervised_by_torch(name, case, network(case.batch.labeled.x))
    made = case.task.harden(case.said) if hard else case.said
    unit_weight = guess.target.weight if name == "keypoints" else flipped(name, guess.target.weight)
    learned = network(case.batch.unlabeled["strong"].x)
    unsupervised = unsupervised_by_torch(name, distance, learned, flipped(name, made), unit_weight)
    assert outcome.supervised.item() == pytest.approx(supervised.item(), rel=1e-5)
    assert outcome.unsupervised.item() == pytest.approx(unsupervised.item(), rel=1e-4)
    assert outcome.loss.item() == pytest.approx((supervised + weight * unsupervised).item(), rel=1e-4)
    assert torch.allclose(outcome.learned, learned, atol=1e-6)
    assert outcome.guess is guess


def test_the_loss_of_the_weak_labels_is_fixmatch():
    """Cross-entropy of hard labels, divided by all units of the batch and not by those kept."""
    case = classification()
    lesson = Lesson(case.task, select=select.above(0.4))
    guess = guess_of(case, lesson)
    outcome = lesson.loss(sgd_learner(mlp()), case.batch, guess, START)
    unit = F.cross_entropy(mlp()(case.batch.unlabeled["strong"].x), case.said.argmax(1), reduction="none")
    expected = (unit * (case.said.amax(1) >= 0.4)).sum() / 6
    assert outcome.unsupervised.item() == pytest.approx(expected.item(), rel=1e-5)


def test_nothing_kept_leaves_the_supervised_loss_and_a_gradient_path():
    case = classification()
    lesson = Lesson(case.task, unlabeled_weight=3.0, select=select.above(2.0))
    guess = lesson.judge(case.said, torch.arange(6))
    outcome = lesson.loss(sgd_learner(mlp()), case.batch, guess, START)
    assert outcome.loss.item() == outcome.supervised.item()
    assert outcome.unsupervised.requires_grad


@each_task
def test_gradients_reach_the_student_through_both_parts(name):
    case = ALL[name]()
    lesson, student = Lesson(case.task), sgd_learner(case.network())
    outcome = lesson.loss(student, case.batch, guess_of(case, lesson), START)
    for part in (outcome.supervised, outcome.unsupervised):
        gradient = torch.autograd.grad(part, list(student.parameters()), retain_graph=True)
        assert all(g.abs().sum() > 0 for g in gradient)


def test_images_are_classified_too():
    task, x = Classification(3), torch.randn(2, 2, 8, 8)
    pile = Unlabeled({"weak": View(x), "strong": View(x + 1)}, torch.arange(2))
    batch = Batch(Labeled(x, task.encode(torch.tensor([0, 1])), torch.arange(2)), pile)
    lesson, student = Lesson(task, hard=False), sgd_learner(convnet())
    guess = lesson.guess(lambda x: student.label(x).softmax(1), batch)
    assert torch.allclose(guess.target.value, convnet().eval()(x).softmax(1), atol=1e-6)
    outcome = lesson.loss(student, batch, guess, START)
    answers = convnet()(torch.cat([x, x + 1]))
    expected = F.cross_entropy(answers[2:], guess.target.value)
    assert outcome.unsupervised.item() == pytest.approx(expected.item(), rel=1e-4)


# -- weight ------------------------------------------------------------------------------------------------------------
def test_the_weight_grows_with_the_stage():
    lesson = Lesson(Classification(3), unlabeled_weight=4.0, rampup=ramp_linear(0.5))
    clocks = [Clock(step=s, epoch=0, total_steps=8) for s in (0, 1, 2, 4, 8)]
    assert [lesson.weight(clock) for clock in clocks] == [0.0, 1.0, 2.0, 4.0, 4.0]


def test_without_a_rampup_the_weight_is_there_at_once():
    assert Lesson(Classification(3), unlabeled_weight=4.0).weight(START) == 4.0
    assert Lesson(Classification(3)).weight(START) == 1.0


def test_the_rampup_scales_the_loss_and_not_its_parts():
    case, losses = classification(), []
    lesson = Lesson(case.task, unlabeled_weight=2.0, rampup=ramp_linear(1.0))
    guess = guess_of(case, lesson)
    for step in (0, 3):
        outcome = lesson.loss(sgd_learner(mlp()), case.batch, guess, Clock(step, 0, 10))
        losses.append(outcome)
    assert losses[0].loss.item() == losses[0].supervised.item()
    assert losses[1].unsupervised.item() == losses[0].unsupervised.item()
    expected = losses[1].supervised + 2.0 * 0.3 * losses[1].unsupervised
    assert losses[1].loss.item() == pytest.approx(expected.item(), rel=1e-6)


# -- judging -----------------------------------------------------------------------------------------------------------
class Listening(select.Selector):
    """Keep what it hears."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def forward(self, evidence):
        self.heard.append(evidence)
        return evidence.confidence.clone()


def test_alignment_comes_first_then_selection_then_hardening():
    """The prior turns the decision: everything after the alignment is about the aligned prediction."""
    task, rule = Classification(2), Listening()
    prior = torch.tensor([0.2, 0.8])
    lesson = Lesson(task, select=rule, align=Align(task, target=prior, decay=0.0))
    value = torch.tensor([[0.7, 0.3], [0.5, 0.5]])
    guess = lesson.judge(value, torch.tensor([3, 8]))
    scaled = value * prior / value.mean(0)
    aligned = scaled / scaled.sum(1, keepdim=True)  # 0.28 : 0.72 and 0.1429 : 0.8571
    assert aligned[0, 1] > 0.6
    assert torch.allclose(rule.heard[0].confidence, aligned.amax(1))
    assert rule.heard[0].group.tolist() == [1, 1]
    assert torch.allclose(rule.heard[0].presence, aligned.mean(0))
    assert rule.heard[0].index.tolist() == [3, 8]
    assert guess.target.value.tolist() == [[0, 1], [0, 1]]
    assert torch.allclose(guess.target.weight, aligned.amax(1))
    assert torch.allclose(guess.labels.value, aligned)  # the ledger hears the aligned prediction, before hardening
    assert guess.labels.index.tolist() == [3, 8]


@pytest.mark.parametrize("hard", [True, False])
def test_an_alignment_may_be_for_the_weights_alone(hard):
    """The rule hears the aligned prediction; target, ledger and confidence are those of the prediction as it is."""
    task, rule, prior = Classification(2), Listening(), torch.tensor([0.2, 0.8])
    align = Align(task, target=prior, decay=0.0)
    lesson = Lesson(task, select=rule, align=align, align_targets=False, hard=hard, temperature=0.5)
    value = torch.tensor([[0.7, 0.3], [0.6, 0.4]])
    guess = lesson.judge(value, torch.tensor([3, 8]))
    scaled = value * prior / value.mean(0)
    aligned = scaled / scaled.sum(1, keepdim=True)
    assert rule.heard[0].group.tolist() == [1, 1]
    assert torch.allclose(rule.heard[0].confidence, aligned.amax(1))
    assert torch.allclose(rule.heard[0].presence, aligned.mean(0))
    assert torch.allclose(guess.target.weight, aligned.amax(1))
    squared = value.square() / value.square().sum(1, keepdim=True)
    assert torch.allclose(guess.target.value, torch.tensor([[1.0, 0.0]] * 2) if hard else squared)
    assert torch.equal(guess.labels.value, value)
    assert torch.equal(guess.labels.weight, guess.target.weight)
    assert torch.allclose(align.predicted, value.mean(0))


def test_without_an_alignment_targets_are_as_predicted_either_way():
    case = segmentation()
    rows = [Lesson(case.task, select=select.top(0.6), align_targets=b) for b in (True, False)]
    one, other = (lesson.judge(case.said, torch.arange(3)) for lesson in rows)
    assert torch.equal(one.target.value, other.target.value)
    assert torch.equal(one.target.weight, other.target.weight)


def test_selection_comes_before_sharpening():
    task, rule = Classification(2), Listening()
    lesson = Lesson(task, select=rule, hard=False, temperature=0.5)
    guess = lesson.judge(torch.tensor([[0.6, 0.4]]), torch.arange(1))
    assert rule.heard[0].confidence.tolist() == pytest.approx([0.6])
    assert guess.target.value[0].tolist() == pytest.approx([0.36 / 0.52, 0.16 / 0.52])
    assert guess.labels.value[0].tolist() == pytest.approx([0.6, 0.4])


def test_alignment_comes_before_sharpening():
    task, prior = Classification(2), torch.tensor([0.2, 0.8])
    lesson = Lesson(task, align=Align(task, target=prior), hard=False, temperature=0.5)
    guess = lesson.judge(torch.tensor([[0.6, 0.4]]), torch.arange(1))
    # one row is aligned to the prior itself; squared and normalized that is 0.04 : 0.64
    assert guess.target.value[0].tolist() == pytest.approx([0.04 / 0.68, 0.64 / 0.68], rel=1e-5)


@each_task
def test_temperature_changes_soft_targets_and_no_hard_ones(name):
    case = ALL[name]()
    index = case.batch.unlabeled.index
    soft = [Lesson(case.task, hard=False, temperature=t).judge(case.said, index).target.value for t in (1.0, 0.5)]
    hard = [Lesson(case.task, hard=True, temperature=t).judge(case.said, index).target.value for t in (1.0, 0.5)]
    assert torch.equal(soft[0], case.said)
    assert torch.equal(soft[1], case.task.sharpen(case.said, 0.5))
    assert not torch.equal(*soft)
    assert torch.equal(*hard)
    assert torch.equal(hard[0], case.task.harden(case.said))


def test_without_settings_every_decision_counts():
    case = classification()
    guess = Lesson(case.task).judge(case.said, torch.arange(6))
    assert torch.equal(guess.target.weight, torch.ones(6))
    assert torch.equal(guess.target.value, F.one_hot(case.said.argmax(1), 3).float())


def test_judging_has_no_gradient_and_tells_the_agreement():
    case, share = classification(), torch.rand(6)
    value = case.said.clone().requires_grad_()
    lesson = Lesson(case.task, hard=False, select=select.soft(3), align=Align(case.task))
    guess = lesson.judge(value, torch.arange(6), agreement=share)
    assert not guess.target.value.requires_grad
    assert not guess.target.weight.requires_grad
    assert guess.labels.agreement is share


# -- guessing ----------------------------------------------------------------------------------------------------------
READERS = {
    "neither": (None, None),
    "rule": (lambda: select.relative(0.9), None),
    "alignment": (None, lambda task: Align(task, target="labeled", decay=0.0)),
    "both": (lambda: select.relative(0.9), lambda task: Align(task, target="labeled", decay=0.0)),
}


def reading(which, task):
    rule, align = READERS[which]
    return Lesson(task, select=rule and rule(), align=align and align(task), hard=False)


@pytest.mark.parametrize("which", READERS)
def test_labeled_samples_are_predicted_where_they_are_read(which):
    case, asked = classification(), []
    lesson = reading(which, case.task)

    def predict(x):
        asked.append(x)
        return mlp()(x).softmax(1)

    guess = lesson.guess(predict, case.batch)
    assert lesson.reads_labeled == (which != "neither")
    assert asked[0] is case.batch.unlabeled["weak"].x
    assert len(asked) == 1 + lesson.reads_labeled
    assert asked[-1] is (case.batch.labeled.x if lesson.reads_labeled else asked[0])
    assert not guess.target.value.requires_grad

    value, given = (mlp()(x).softmax(1) for x in (case.batch.unlabeled["weak"].x, case.batch.labeled.x))
    if lesson.align is not None:
        value = value * given.mean(0) / value.mean(0)
        value = value / value.sum(1, keepdim=True)
    assert torch.allclose(guess.target.value, value, atol=1e-6)
    if lesson.select.reads_labeled:  # the labeled predictions themselves are never aligned
        level = 0.9 * given.amax(1).mean()
        assert torch.equal(guess.target.weight, (value.amax(1) >= level).float())
    else:
        assert torch.equal(guess.target.weight, torch.ones(6))


def test_the_labeled_samples_decide_who_passes():
    """Labels that the network is sure of raise the relative threshold."""
    case, kept = classification(), []
    for sureness in (0.0, 20.0):
        lesson = reading("rule", case.task)
        kept.append(lesson.judge(case.said, torch.arange(6), (sureness * case.batch.labeled.target.value).softmax(1)))
    assert kept[0].target.weight.sum() == 6
    assert kept[1].target.weight.sum() == 0


@pytest.mark.parametrize(("which", "message"), [("rule", "relative threshold needs"), ("alignment", "aligning to the")])
def test_labeled_predictions_that_are_missing_are_named(which, message):
    case = classification()
    with pytest.raises(ValueError, match=message):
        reading(which, case.task).judge(case.said, torch.arange(6))


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_a_guess_is_made_on_the_view_that_is_named(view):
    case = classification()
    guess = Lesson(case.task, hard=False).guess(lambda x: mlp()(x).softmax(1), case.batch, view=view)
    assert torch.equal(guess.target.value, mlp()(case.batch.unlabeled[view].x).softmax(1))
    assert torch.equal(guess.labels.index, case.batch.unlabeled.index)


# -- the learned view --------------------------------------------------------------------------------------------------
@each_task
def test_the_learned_view_has_its_own_geometry(name):
    case = ALL[name]()
    lesson = Lesson(case.task)
    label = Target(case.said, torch.rand_like(case.task.confidence(case.said)))
    x, target = lesson.exercise(case.batch, label, "weak", "strong")
    assert x is case.batch.unlabeled["strong"].x
    assert torch.allclose(target.value, flipped(name, case.said), atol=1e-6)
    moved = label.weight if name == "keypoints" else flipped(name, label.weight)
    assert torch.allclose(target.weight, moved)


TURN = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("source", "view", "expected"),
    [
        ("weak", "strong", lambda v: v.rot90(1, (2, 3)).flip(3)),  # out of the weak view's turn, into the flip
        (None, "strong", lambda v: v.flip(3)),  # a label of the image as it stands
        (None, "weak", lambda v: v.rot90(-1, (2, 3))),
        ("strong", "weak", lambda v: v.flip(3).rot90(-1, (2, 3))),
        ("weak", "weak", lambda v: v),
        ("plain", "strong", lambda v: v.flip(3)),
    ],
)
def test_a_label_is_carried_from_where_it_was_made(source, view, expected):
    task, value = Segmentation(3), torch.rand(2, 3, 4, 4).softmax(1)
    views = {
        "weak": View(torch.randn(2, 2, 4, 4), TURN.expand(2, 2, 3)),
        "strong": View(torch.randn(2, 2, 4, 4), FLIP.expand(2, 2, 3)),
        "plain": View(torch.randn(2, 2, 4, 4)),
    }
    batch = Batch(None, Unlabeled(views, torch.arange(2)))
    x, target = Lesson(task).exercise(batch, Target(value, torch.ones(2, 4, 4)), source, view)
    assert x is views[view].x
    assert torch.allclose(target.value, expected(value), atol=1e-6)
    assert bool(target.mask().all())


def test_loss_takes_source_and_view():
    """A 1 x 1 convolution does not know left from right: in one geometry, flipping both sides changes nothing."""
    task, x, value = Segmentation(2), torch.randn(1, 2, 4, 4), torch.rand(1, 2, 4, 4)
    given = Labeled(x, task.encode(torch.zeros(1, 4, 4, dtype=torch.long)), torch.arange(1))
    views = {"weak": View(x), "strong": View(x.flip(3), FLIP[None])}
    batch, network = Batch(given, Unlabeled(views, torch.arange(1))), nn.Conv2d(2, 2, 1)
    lesson = Lesson(task)
    guess = lesson.judge(value, torch.arange(1))
    expected = F.cross_entropy(network(x), value.argmax(1)).item()
    wrong = F.cross_entropy(network(x), value.flip(3).argmax(1)).item()
    assert expected != pytest.approx(wrong, rel=1e-3)
    for source, view, wanted in [
        ("weak", "strong", expected), (None, "strong", expected), ("weak", "weak", expected),
        ("strong", "strong", wrong), ("strong", "weak", wrong), (None, "weak", expected),
    ]:  # fmt: skip
        outcome = lesson.loss(sgd_learner(network), batch, guess, START, source=source, view=view)
        assert outcome.unsupervised.item() == pytest.approx(wanted, rel=1e-5), (source, view)


# -- mixing ------------------------------------------------------------------------------------------------------------
class Swap(Mix):
    """Reverse the batch, inputs and targets, and remember what came in."""

    def forward(self, x, target, task):
        self.heard = x, target, task
        return x.flip(0), Target(target.value.flip(0), target.weight.flip(0), target.valid)


@each_task
def test_the_learned_view_is_mixed_after_its_label_is_carried_there(name):
    case, mix = ALL[name](), Swap()
    lesson = Lesson(case.task, mix=mix, select=select.top(0.6))
    guess, seen = guess_of(case, lesson), []
    student = sgd_learner(case.network())
    student.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    outcome = lesson.loss(student, case.batch, guess, START)
    x, target, task = mix.heard
    assert task is case.task
    assert x is case.batch.unlabeled["strong"].x
    assert torch.equal(target.value, flipped(name, guess.target.value))
    rows = len(case.batch.labeled.x)
    assert torch.equal(seen[0][:rows], case.batch.labeled.x)  # labeled samples are left alone
    assert torch.equal(seen[0][rows:], x.flip(0))
    # the order of a batch does not change its loss: with inputs and targets swapped alike nothing changes
    plain = Lesson(case.task, select=select.top(0.6)).loss(sgd_learner(case.network()), case.batch, guess, START)
    assert outcome.unsupervised.item() == pytest.approx(plain.unsupervised.item(), rel=1e-5)
    assert torch.allclose(outcome.learned.flip(0), plain.learned, atol=1e-6)


def test_a_mixed_loss_is_that_of_the_mixed_pair():
    case = classification()
    lesson = Lesson(case.task, mix=Mixup(0.7), hard=False)
    guess, student = guess_of(case, lesson), sgd_learner(mlp())
    torch.manual_seed(5)
    outcome = lesson.loss(student, case.batch, guess, START)
    torch.manual_seed(5)
    share = float(torch.distributions.Beta(0.7, 0.7).sample())
    partner, x = torch.randperm(6), case.batch.unlabeled["strong"].x
    logits = mlp()(share * x + (1 - share) * x[partner])
    expected = share * F.cross_entropy(logits, case.said) + (1 - share) * F.cross_entropy(logits, case.said[partner])
    assert outcome.unsupervised.item() == pytest.approx(expected.item(), rel=1e-5)
    assert outcome.supervised.item() == pytest.approx(
        F.cross_entropy(mlp()(case.batch.labeled.x), case.annotation).item(), rel=1e-5
    )


def test_the_ledger_hears_nothing_of_the_mix():
    case = segmentation()
    lesson = Lesson(case.task, mix=CutMix())
    guess = guess_of(case, lesson)
    outcome = lesson.loss(sgd_learner(case.network()), case.batch, guess, START)
    assert torch.equal(outcome.report().pseudo_labels.value, case.said)


def test_without_a_mix_the_pair_is_passed_on():
    x, target = torch.rand(2, 3), Target(torch.rand(2, 3), torch.ones(2))
    mixed, made = Lesson(Classification(3)).mixed(x, target)
    assert mixed is x
    assert made is target


# -- one pass or two ---------------------------------------------------------------------------------------------------
def test_together_shares_batchnorm_statistics_and_apart_does_not():
    case, seen = classification(), []
    for together in (True, False):
        lesson = Lesson(case.task, together=together)
        student = sgd_learner(normed(dropout=0.0))
        outcome = lesson.loss(student, case.batch, guess_of(case, lesson), START)
        seen.append((outcome.loss.item(), int(student.model[1].num_batches_tracked)))
    assert seen[0][0] != pytest.approx(seen[1][0], rel=1e-4)
    assert [count for _, count in seen] == [1, 2]


@pytest.mark.parametrize("together", [True, False])
def test_the_student_sees_labels_and_the_learned_view_and_nothing_else(together):
    case, seen = classification(), []
    lesson, student = Lesson(case.task, together=together), sgd_learner(mlp())
    student.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    lesson.loss(student, case.batch, guess_of(case, lesson), START)
    assert [len(x) for x in seen] == ([10] if together else [4, 6])
    assert torch.equal(torch.cat(seen), torch.cat([case.batch.labeled.x, case.batch.unlabeled["strong"].x]))


# -- trust -------------------------------------------------------------------------------------------------------------
def test_trust_weighs_the_labels_by_what_the_student_says():
    case, heard = classification(), []
    lesson, factor = Lesson(case.task), torch.tensor([1.0, 0.0, 0.5, 2.0])

    def trust(value, given):
        heard.append((value, given))
        return factor

    outcome = lesson.loss(sgd_learner(mlp()), case.batch, guess_of(case, lesson), START, trust=trust)
    logits = mlp()(case.batch.labeled.x)
    unit = F.cross_entropy(logits, case.annotation, reduction="none")
    assert outcome.supervised.item() == pytest.approx((unit * factor).sum().item() / 4, rel=1e-5)
    assert torch.allclose(heard[0][0], logits.softmax(1), atol=1e-6)
    assert not heard[0][0].requires_grad
    assert heard[0][1] is case.batch.labeled
    plain = lesson.loss(sgd_learner(mlp()), case.batch, guess_of(case, lesson), START)
    assert plain.unsupervised.item() == outcome.unsupervised.item()


def test_trust_keeps_void_pixels_out():
    case = segmentation()
    lesson = Lesson(case.task)
    outcome = lesson.loss(
        sgd_learner(pixels()), case.batch, guess_of(case, lesson), START, trust=lambda value, _: value.amax(1)
    )
    logits = pixels()(case.batch.labeled.x)
    unit = F.cross_entropy(logits, case.annotation, ignore_index=255, reduction="none")
    expected = (unit * logits.softmax(1).amax(1)).sum() / (case.annotation != 255).sum()
    assert outcome.supervised.item() == pytest.approx(expected.item(), rel=1e-5)


# -- grading by hand ---------------------------------------------------------------------------------------------------
def test_grade_takes_answers_from_anywhere():
    """Methods with answers of their own (two heads, mixed logits) share the losses."""
    case = classification()
    lesson = Lesson(case.task, unlabeled_weight=0.3)
    guess = guess_of(case, lesson)
    logits, learned = torch.randn(4, 3), torch.randn(6, 3)
    outcome = lesson.grade(logits, learned, case.batch.labeled, guess.target, guess, START)
    supervised = F.cross_entropy(logits, case.annotation)
    unsupervised = F.cross_entropy(learned, case.said.argmax(1))
    assert outcome.loss.item() == pytest.approx((supervised + 0.3 * unsupervised).item(), rel=1e-5)
    assert outcome.learned is learned


# -- standing still ----------------------------------------------------------------------------------------------------
def moving():
    task = Classification(3)
    return Lesson(task, select=select.free(3, decay=0.5), align=Align(task, decay=0.5))


def test_standing_still_judges_and_moves_nothing():
    case, lesson = classification(), moving()
    lesson.judge(case.said, torch.arange(6))
    before = snapshot(lesson)
    with lesson.still():
        first, again = (lesson.judge(case.said.flip(1), torch.arange(6)) for _ in range(2))
    assert same(lesson.state_dict(), before)
    assert torch.equal(first.target.weight, again.target.weight)
    assert torch.equal(first.labels.value, again.labels.value)
    lesson.judge(case.said.flip(1), torch.arange(6))
    moved = {key for key, value in lesson.state_dict().items() if not torch.equal(value, before[key])}
    assert {"select.level", "select.presence", "align.predicted", "align.updates"} <= moved


def test_after_standing_still_the_mode_is_what_it_was():
    lesson = moving()
    with lesson.still():
        assert not any(module.training for module in lesson.modules())
        with lesson.still():
            pass
        assert not any(module.training for module in lesson.modules())
    assert all(module.training for module in lesson.modules())
    lesson.eval()
    with lesson.still():
        pass
    assert not any(module.training for module in lesson.modules())


def test_an_error_inside_ends_standing_still():
    lesson = moving()
    with pytest.raises(KeyError), lesson.still():
        raise KeyError
    assert all(module.training for module in lesson.modules())


def test_a_stored_lesson_continues_bit_for_bit():
    case, lesson, again = classification(), moving(), moving()
    lesson.judge(case.said, torch.arange(6))
    again.load_state_dict(snapshot(lesson))
    guesses = [part.judge(case.said.flip(1), torch.arange(6)) for part in (lesson, again)]
    assert torch.equal(guesses[0].target.weight, guesses[1].target.weight)
    assert torch.equal(guesses[0].labels.value, guesses[1].labels.value)
    assert same(lesson.state_dict(), again.state_dict())


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unlabeled_weight": -1.0}, "unlabeled_weight is -1.0; it must be 0 or more"),
        ({"unlabeled_weight": float("nan")}, "unlabeled_weight is nan"),
        ({"temperature": 0.0}, r"temperature is 0.0; it must be above 0 \(use hard=True for the limit of 0\)"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"distance": "kl"}, "distance is 'kl'; choose 'mse' or 'ce'"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Lesson(Classification(3), **settings)


@pytest.mark.parametrize("part", ["labeled", "unlabeled"])
def test_a_part_of_the_batch_that_is_missing_is_named(part):
    case = classification()
    lesson = Lesson(case.task)
    guess = guess_of(case, lesson)
    batch = Batch(None, case.batch.unlabeled) if part == "labeled" else Batch(case.batch.labeled, None)
    with pytest.raises(ValueError, match=f"this batch has no {part} samples"):
        lesson.loss(sgd_learner(mlp()), batch, guess, START)
