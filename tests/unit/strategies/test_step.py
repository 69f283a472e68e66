"""What a step learns, against torch: FixMatch under predictions that are told, and what other methods change of it."""

from types import SimpleNamespace

import pytest
import torch
from helpers import convnet, mlp, normed, sgd_learner
from torch import nn
from torch.nn import functional as F

from selftrain import select
from selftrain.mix import CutMix, Mix, Mixup
from selftrain.schedule import ramp_linear
from selftrain.select.alignment import Align
from selftrain.strategies import UDA, FixMatch
from selftrain.tasks import Classification, Keypoints, Segmentation, relative
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
    task = Keypoints(3, (4, 5), loss="squared_error")
    joints = torch.tensor([[[1.0, 2.0, 1.0], [3.0, 0.0, 1.0], [2.0, 3.0, 0.0]]] * 2)
    given = Labeled(torch.randn(2, 2, 4, 5), task.encode(joints), torch.arange(2))
    strong = View(torch.randn(3, 2, 4, 5), FLIP.expand(3, 2, 3))
    pile = Unlabeled({"weak": View(torch.randn(3, 2, 4, 5)), "strong": strong}, torch.tensor([4, 0, 2]))
    said = torch.rand(3, 3, 4, 5) * torch.rand(3, 3, 1, 1)
    return SimpleNamespace(task=task, batch=Batch(given, pile), network=pixels, said=said, annotation=joints)


ALL = {make.__name__: make for make in (classification, segmentation, keypoints)}
each_task = pytest.mark.parametrize("name", ALL)


def told(case, cls=FixMatch, *, network=None, **settings):
    """A strategy whose student predicts what the case says of whatever is to be labeled."""
    strategy = cls(case.task, lambda: sgd_learner(case.network() if network is None else network), **settings)
    said = case.said if isinstance(case.task, Keypoints) else case.said.log()  # logits whose values those are
    strategy.student.label = lambda x, mode: said
    return strategy


def step(strategy, batch, clock=START):
    """Loss and report of a step that moves nothing."""
    losses = []
    strategy.student.update = lambda loss: losses.append(loss)
    report = strategy.step(batch, clock)
    parts = {name.removeprefix("loss/"): float(value) for name, value in report.scalars.items()}
    return SimpleNamespace(loss=losses[0], labels=report.pseudo_labels, **parts)


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
    settings = {"unlabeled_weight": weight, "distance": distance, "together": together, "hard": hard}
    found = step(told(case, select=select.top(0.6), **settings), case.batch)
    assert 0 < found.labels.weight.mean() < 1
    network = case.network()
    supervised = supervised_by_torch(name, case, network(case.batch.labeled.x))
    made = case.task.harden(case.said) if hard else case.said
    unit_weight = found.labels.weight if name == "keypoints" else flipped(name, found.labels.weight)
    learned = network(case.batch.unlabeled["strong"].x)
    unsupervised = unsupervised_by_torch(name, distance, learned, flipped(name, made), unit_weight)
    assert found.supervised == pytest.approx(supervised.item(), rel=1e-5)
    assert found.unsupervised == pytest.approx(unsupervised.item(), rel=1e-4)
    assert found.loss.item() == pytest.approx((supervised + weight * unsupervised).item(), rel=1e-4)
    assert torch.equal(found.labels.index, case.batch.unlabeled.index)


def test_the_loss_of_the_weak_labels_is_fixmatch():
    """Cross-entropy of hard labels, divided by all units of the batch and not by those kept."""
    case = classification()
    found = step(told(case, threshold=0.4), case.batch)
    unit = F.cross_entropy(mlp()(case.batch.unlabeled["strong"].x), case.said.argmax(1), reduction="none")
    expected = (unit * (case.said.amax(1) >= 0.4)).sum() / 6
    assert found.unsupervised == pytest.approx(expected.item(), rel=1e-5)


def test_nothing_kept_leaves_the_supervised_loss_and_a_gradient_path():
    case = classification()
    found = step(told(case, unlabeled_weight=3.0, select=select.above(2.0)), case.batch)
    assert found.loss.item() == found.supervised
    nothing = Batch(Labeled(case.batch.labeled.x, case.batch.labeled.target.scaled(0.0), torch.arange(4)), None)
    assert step(told(case, select=select.above(2.0)), case.batch.replace(labeled=nothing.labeled)).loss.requires_grad


@each_task
def test_gradients_reach_the_student_through_both_parts(name):
    case = ALL[name]()
    labeled = case.batch.labeled
    weightless = case.batch.replace(labeled=Labeled(labeled.x, labeled.target.scaled(0.0), labeled.index))
    for batch, weight in ((case.batch, 0.0), (weightless, 1.0)):
        strategy = told(case, unlabeled_weight=weight, select=select.everything())
        gradient = torch.autograd.grad(step(strategy, batch).loss, list(strategy.student.parameters()))
        assert all(g.abs().sum() > 0 for g in gradient)


def test_images_are_classified_too():
    task, x = Classification(3), torch.randn(2, 2, 8, 8)
    pile = Unlabeled({"weak": View(x), "strong": View(x + 1)}, torch.arange(2))
    batch = Batch(Labeled(x, task.encode(torch.tensor([0, 1])), torch.arange(2)), pile)
    strategy = FixMatch(task, lambda: sgd_learner(convnet()), hard=False, select=select.everything())
    found = step(strategy, batch)
    assert torch.allclose(found.labels.value, convnet().eval()(x).softmax(1), atol=1e-6)
    answers = convnet()(torch.cat([x, x + 1]))
    assert found.unsupervised == pytest.approx(F.cross_entropy(answers[2:], found.labels.value).item(), rel=1e-4)


def test_the_rampup_scales_the_loss_and_not_its_parts():
    case = classification()
    strategy = told(case, unlabeled_weight=2.0, rampup=ramp_linear(1.0), threshold=0.4)
    first, later = (step(strategy, case.batch, Clock(number, 0, 10)) for number in (0, 3))
    assert first.loss.item() == pytest.approx(first.supervised)
    assert later.unsupervised == first.unsupervised
    assert later.loss.item() == pytest.approx(later.supervised + 2.0 * 0.3 * later.unsupervised, rel=1e-6)


# -- what is labeled ---------------------------------------------------------------------------------------------------
READERS = {
    "neither": (None, None),
    "rule": (lambda: select.relative(0.9), None),
    "alignment": (None, lambda task: Align(task, target="labeled", decay=0.0)),
    "both": (lambda: select.relative(0.9), lambda task: Align(task, target="labeled", decay=0.0)),
}


@pytest.mark.parametrize("which", READERS)
def test_labeled_samples_are_predicted_where_they_are_read(which):
    case, asked = classification(), []
    rule, align = READERS[which]
    parts = {"select": rule() if rule else select.everything(), "align": align and align(case.task)}
    strategy = FixMatch(case.task, lambda: sgd_learner(mlp()), hard=False, **parts)
    label = strategy.student.label
    strategy.student.label = lambda x, mode: asked.append(x) or label(x, mode)
    found, reads = step(strategy, case.batch), which != "neither"
    assert strategy.pseudo_labeling.reads_labeled == reads
    assert asked[0] is case.batch.unlabeled["weak"].x
    assert len(asked) == 1 + reads
    assert asked[-1] is (case.batch.labeled.x if reads else asked[0])

    value, labeled = (mlp()(x).softmax(1) for x in (case.batch.unlabeled["weak"].x, case.batch.labeled.x))
    if align is not None:
        value = value * labeled.mean(0) / value.mean(0)
        value = value / value.sum(1, keepdim=True)
    assert torch.allclose(found.labels.value, value, atol=1e-6)
    if rule is not None:  # the labeled predictions themselves are never aligned
        level = 0.9 * labeled.amax(1).mean()
        assert torch.equal(found.labels.weight, (value.amax(1) >= level).float())
    else:
        assert torch.equal(found.labels.weight, torch.ones(6))


# -- the learned view --------------------------------------------------------------------------------------------------
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
    label, shown = Target(value, torch.ones(2, 4, 4)), views[view]
    target = task.warp(label, shown if source is None else relative(views[source], shown))
    assert torch.allclose(target.value, expected(value), atol=1e-6)
    assert bool(target.mask().all())


@pytest.mark.parametrize(
    ("weak", "strong", "right"), [(0, 1, True), (0, 0, True), (1, 1, False), (1, 0, False)], ids=str
)
def test_the_step_knows_how_both_views_lie(weak, strong, right):
    """A 1 x 1 convolution does not know left from right, so all depends on where the label lies.

    The prediction told of the weak view is that of the image as it stands: right if that view is not mirrored.
    """
    task, x, value = Segmentation(2), torch.randn(1, 2, 4, 4), torch.rand(1, 2, 4, 4).softmax(1)
    given = Labeled(x, task.encode(torch.zeros(1, 4, 4, dtype=torch.long)), torch.arange(1))
    looks = View(x), View(x.flip(3), FLIP[None])
    batch = Batch(given, Unlabeled({"weak": looks[weak], "strong": looks[strong]}, torch.arange(1)))
    network = nn.Conv2d(2, 2, 1)
    expected = F.cross_entropy(network(x), value.argmax(1)).item()
    wrong = F.cross_entropy(network(x), value.flip(3).argmax(1)).item()
    assert expected != pytest.approx(wrong, rel=1e-3)
    case = SimpleNamespace(task=task, said=value)
    found = step(told(case, network=network, select=select.everything()), batch)
    assert found.unsupervised == pytest.approx(expected if right else wrong, rel=1e-5)


# -- mixing ------------------------------------------------------------------------------------------------------------
class Swap(Mix):
    """Reverse the batch, inputs and targets, and remember what came in."""

    def forward(self, x, target, task):
        self.heard = x, target, task
        return x.flip(0), Target(target.value.flip(0), target.weight.flip(0), target.valid)


@each_task
def test_the_learned_view_is_mixed_after_its_label_is_carried_there(name):
    case, mix, seen = ALL[name](), Swap(), []
    strategy = told(case, mix=mix, select=select.top(0.6), hard=False)
    strategy.student.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = step(strategy, case.batch)
    x, target, task = mix.heard
    assert task is case.task
    assert x is case.batch.unlabeled["strong"].x
    assert torch.allclose(target.value, flipped(name, case.said), atol=1e-6)
    moved = found.labels.weight if name == "keypoints" else flipped(name, found.labels.weight)
    assert torch.allclose(target.weight, moved)
    rows = len(case.batch.labeled.x)
    assert torch.equal(seen[0][:rows], case.batch.labeled.x)  # labeled samples are left alone
    assert torch.equal(seen[0][rows:], x.flip(0))
    # the order of a batch does not change its loss: with inputs and targets swapped alike nothing changes
    plain = step(told(case, select=select.top(0.6), hard=False), case.batch)
    assert found.unsupervised == pytest.approx(plain.unsupervised, rel=1e-5)


def test_a_mixed_loss_is_that_of_the_mixed_pair():
    case = classification()
    torch.manual_seed(5)
    strategy = told(case, mix=Mixup(0.7), hard=False, select=select.everything())
    torch.manual_seed(5)
    found = step(strategy, case.batch)
    torch.manual_seed(5)
    share = float(torch.distributions.Beta(0.7, 0.7).sample())
    partner, x = torch.randperm(6), case.batch.unlabeled["strong"].x
    logits = mlp()(share * x + (1 - share) * x[partner])
    expected = share * F.cross_entropy(logits, case.said) + (1 - share) * F.cross_entropy(logits, case.said[partner])
    assert found.unsupervised == pytest.approx(expected.item(), rel=1e-5)
    assert found.supervised == pytest.approx(
        F.cross_entropy(mlp()(case.batch.labeled.x), case.annotation).item(), rel=1e-5
    )


def test_the_ledger_hears_nothing_of_the_mix():
    case = segmentation()
    assert torch.allclose(step(told(case, mix=CutMix()), case.batch).labels.value, case.said, atol=1e-6)


# -- one pass or two ---------------------------------------------------------------------------------------------------
def test_together_shares_batchnorm_statistics_and_apart_does_not():
    case, seen = classification(), []
    for together in (True, False):
        strategy = told(case, network=normed(dropout=0.0), together=together, select=select.everything())
        loss = step(strategy, case.batch).loss.item()
        seen.append((loss, int(strategy.student.model[1].num_batches_tracked)))
    assert seen[0][0] != pytest.approx(seen[1][0], rel=1e-4)
    assert [count for _, count in seen] == [1, 2]


@pytest.mark.parametrize("together", [True, False])
def test_the_student_sees_labels_and_the_learned_view_and_nothing_else(together):
    case, seen = classification(), []
    strategy = told(case, together=together)
    strategy.student.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    step(strategy, case.batch)
    assert [len(x) for x in seen] == ([10] if together else [4, 6])
    assert torch.equal(torch.cat(seen), torch.cat([case.batch.labeled.x, case.batch.unlabeled["strong"].x]))


# -- labels that count in part -----------------------------------------------------------------------------------------
def annealed(case, signal):
    """UDA, whose labels weigh what ``signal`` says of the student's values and the labeled samples."""
    strategy = told(case, UDA, annealing="log", select=select.everything())
    strategy.signal = lambda value, labeled, clock: signal(value, labeled)
    return step(strategy, case.batch)


def test_the_signal_weighs_the_labels_by_what_the_student_says():
    case, heard, factor = classification(), [], torch.tensor([1.0, 0.0, 0.5, 2.0])
    found = annealed(case, lambda value, labeled: heard.append((value, labeled)) or factor)
    logits = mlp()(case.batch.labeled.x)
    unit = F.cross_entropy(logits, case.annotation, reduction="none")
    assert found.supervised == pytest.approx((unit * factor).sum().item() / 4, rel=1e-5)
    assert torch.allclose(heard[0][0], logits.softmax(1), atol=1e-6)
    assert not heard[0][0].requires_grad
    assert heard[0][1] is case.batch.labeled
    plain = step(told(case, UDA, select=select.everything()), case.batch)
    assert plain.unsupervised == found.unsupervised


def test_the_signal_keeps_void_pixels_out():
    case = segmentation()
    found = annealed(case, lambda value, _: value.amax(1))
    logits = pixels()(case.batch.labeled.x)
    unit = F.cross_entropy(logits, case.annotation, ignore_index=255, reduction="none")
    expected = (unit * logits.softmax(1).amax(1)).sum() / (case.annotation != 255).sum()
    assert found.supervised == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("part", ["labeled", "unlabeled"])
def test_a_part_of_the_batch_that_is_missing_is_named(part):
    case = classification()
    batch = Batch(None, case.batch.unlabeled) if part == "labeled" else Batch(case.batch.labeled, None)
    with pytest.raises(ValueError, match=f"this batch has no {part} samples"):
        step(told(case), batch)
