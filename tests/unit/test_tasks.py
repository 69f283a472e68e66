import math
import pickle
import re
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import all_tasks, values
from paths import ROOT
from sklearn import metrics
from torch import nn
from torch.nn import functional as F

from selftrain import data, fit, learner, strategies
from selftrain.errors import DataError
from selftrain.handlers import SelfCheck
from selftrain.mix import ClassMix, CutMix, cat, pick
from selftrain.strategy.pseudo_labeling import PseudoLabeling
from selftrain.tasks import Classification, Keypoints, Segmentation, relative, weighted_mean
from selftrain.types import BatchPlan, HardTarget, Target, View

CASES = all_tasks()
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
FLIP = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
QUARTER = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]  # a place of the view shows the place of the original rotated clockwise


def shift(columns, rows, size):
    """Map of a view that shows ``columns`` to the right and ``rows`` below of where it stands."""
    return [[1.0, 0.0, 2 * columns / size[1]], [0.0, 1.0, 2 * rows / size[0]]]


def view_of(*maps):
    theta = torch.tensor(maps)
    return View(torch.zeros(len(maps), 1, 2, 2), theta)


def moved_by_hand(image, theta, outside=0.0):
    """Nearest-pixel resampling in plain loops; image (H, W), theta (2, 3)."""
    height, width = image.shape
    result = np.full((height, width), outside)
    for row in range(height):
        for column in range(width):
            x, y = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
            there = np.asarray(theta) @ np.array([x, y, 1.0])
            c, r = round(((there[0] + 1) * width - 1) / 2), round(((there[1] + 1) * height - 1) / 2)
            if 0 <= c < width and 0 <= r < height:
                result[row, column] = image[r, c]
    return result


# -- shapes and ranges -------------------------------------------------------------------------------------------------
@each_task
def test_every_answer_has_the_shape_of_its_units(case):
    value = values(case)
    units = (3, *case.units)
    assert value.shape == (3, 4, *case.sites)
    assert 0 <= value.min() <= value.max() <= 1
    assert case.task.confidence(value).shape == units
    assert case.task.margin(value).shape == units
    assert case.task.label(value).shape == units
    assert case.task.harden(value).shape == value.shape
    assert case.task.sharpen(value, 0.5).shape == value.shape
    assert case.task.agree(torch.stack([value] * 5)).shape == (5, *units)
    assert torch.broadcast_shapes(case.task.spread(torch.ones(units)).shape, value.shape) == value.shape


@each_task
def test_losses_are_numbers_with_a_gradient(case):
    logits = torch.randn(3, 4, *case.sites, requires_grad=True)
    target = Target(values(case), torch.ones(3, *case.units))
    for loss in (case.task.loss, case.task.consistency):
        out = loss(logits, target)
        assert out.shape == ()
        (gradient,) = torch.autograd.grad(out, logits)
        assert gradient.abs().sum() > 0


@each_task
def test_no_kept_unit_gives_zero_with_a_gradient_path(case):
    logits = torch.randn(3, 4, *case.sites, requires_grad=True)
    target = Target(values(case), torch.zeros(3, *case.units))
    for loss in (case.task.loss, case.task.consistency):
        out = loss(logits, target)
        assert out.item() == 0
        (gradient,) = torch.autograd.grad(out, logits)
        assert torch.equal(gradient, torch.zeros_like(logits))


@each_task
def test_no_valid_unit_gives_zero_with_a_gradient_path(case):
    logits = torch.randn(3, 4, *case.sites, requires_grad=True)
    units = (3, *case.units)
    out = case.task.loss(logits, Target(values(case), torch.ones(units), torch.zeros(units, dtype=torch.bool)))
    assert out.item() == 0
    assert out.requires_grad


@each_task
def test_the_denominator_counts_valid_units_and_never_kept_ones(case):
    logits = torch.randn(3, 4, *case.sites)
    units = (3, *case.units)
    target = Target(values(case), torch.ones(units))
    whole = torch.stack(
        [case.task.loss(logits[i : i + 1], Target(target.value[i : i + 1], target.weight[i : i + 1])) for i in range(3)]
    )
    half = target.weight.clone()
    half[1:] = 0  # two of three samples are not kept
    assert case.task.loss(logits, Target(target.value, half)).item() == pytest.approx(whole[0].item() / 3, rel=1e-5)
    valid = torch.ones(units, dtype=torch.bool)
    valid[1:] = False  # two of three samples do not exist
    assert case.task.loss(logits, Target(target.value, half, valid)).item() == pytest.approx(whole[0].item(), rel=1e-5)


@each_task
def test_no_gradient_reaches_the_weights(case):
    logits = torch.randn(3, 4, *case.sites, requires_grad=True)
    weight = torch.ones(3, *case.units, requires_grad=True)
    case.task.loss(logits, Target(values(case), weight)).backward()
    assert weight.grad is None


@each_task
def test_hardening_is_idempotent_and_keeps_the_decision(case):
    value = values(case)
    hard = case.task.harden(value)
    assert torch.equal(case.task.label(hard), case.task.label(value))
    assert torch.allclose(case.task.confidence(hard), torch.ones(3, *case.units))
    assert torch.allclose(case.task.harden(hard), hard)


@each_task
def test_sharpening_raises_contrast_and_temperature_one_leaves_it(case):
    value = values(case).clamp(0.01, 0.9)
    sharp = case.task.sharpen(value, 0.5)
    assert torch.equal(case.task.label(sharp), case.task.label(value))
    one = case.task.sharpen(value, 1.0)
    expected = value if case.name == "keypoints" else value / value.sum(1, keepdim=True)
    assert torch.allclose(one, expected, atol=1e-6)


@each_task
def test_distributions_sum_to_one(case):
    value = values(case)
    spread = case.task.distribution(value)
    assert torch.allclose(spread.sum(-1), torch.ones(spread.shape[:-1]), atol=1e-5)
    choices = 4 if case.name != "keypoints" else 30
    assert spread.shape[-1] == choices


@each_task
def test_without_geometry_a_target_stays(case):
    target = Target(values(case), torch.ones(3, *case.units))
    assert case.task.warp(target, View(torch.zeros(3, 1))) is target


@each_task
def test_summaries_hold_the_figure_that_judges(case):
    value = values(case)
    tally = case.task.update(value, Target(case.task.harden(value), torch.ones(3, *case.units)))
    assert case.task.compute(tally)[case.task.monitor] == 1.0


@each_task
def test_an_empty_tally_gives_zeros(case):
    units = (3, *case.units)
    target = Target(values(case), torch.ones(units), torch.zeros(units, dtype=torch.bool))
    assert set(case.task.compute(case.task.update(values(case), target)).values()) == {0.0}


@each_task
def test_tallies_add_up(case):
    guess, truth = values(case, 6, seed=1), values(case, 6, seed=2)
    weight = torch.ones(6, *case.units)
    whole = case.task.update(guess, Target(truth, weight))
    parts = [case.task.update(guess[r], Target(truth[r], weight[r])) for r in (slice(0, 2), slice(2, 6))]
    assert torch.allclose(whole, parts[0] + parts[1])


# -- groups ------------------------------------------------------------------------------------------------------------
@each_task
def test_groups_are_numbered_from_zero_a_number_a_unit(case):
    task, value = case.task, values(case)
    group = task.group(value)
    assert task.groups == 4
    assert group.shape == (3, *case.units)
    assert not group.is_floating_point()
    assert 0 <= group.min() <= group.max() < task.groups
    assert task.presence(value).shape == (task.groups,)
    assert 0 <= task.presence(value).min() <= task.presence(value).max() <= 1
    assert task.group(value[:0]).shape == (0, *case.units)


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_a_unit_belongs_to_its_decided_class(case):
    value = values(case)
    assert torch.equal(case.task.group(value), case.task.label(value))
    assert len(case.task.group(value).unique()) > 1


def test_a_joint_belongs_to_itself_wherever_it_is():
    task = Keypoints(3, (4, 5))
    assert task.groups == 3
    for seed in range(2):
        value = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
        assert task.group(value).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_presence_by_hand():
    samples = torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    assert Classification(2).presence(samples).tolist() == pytest.approx([0.5, 0.5])
    pixels = samples.T.reshape(1, 2, 1, 3)  # three pixels in a row
    assert Segmentation(2).presence(pixels).tolist() == pytest.approx([0.5, 0.5])
    heatmaps = torch.zeros(2, 3, 4, 4)
    heatmaps[0, 0, 1, 2], heatmaps[1, 0, 3, 3], heatmaps[1, 2, 0, 0], heatmaps[1, 2, 0, 1] = 0.9, 0.5, 0.8, 0.4
    assert Keypoints(3, (4, 4)).presence(heatmaps).tolist() == pytest.approx([0.7, 0.0, 0.4])


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_presence_sums_to_one_over_classes(case):
    value, expected = values(case), values(case).transpose(0, 1).flatten(1).mean(1)
    assert case.task.presence(value).sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.allclose(case.task.presence(value), expected, atol=1e-6)  # all pixels of all images count alike


# -- priors ------------------------------------------------------------------------------------------------------------
def test_reweighing_by_hand():
    value, factor = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), torch.tensor([2.0, 1.0, 0.5])
    expected = np.array([[1.0 / 1.4, 0.3 / 1.4, 0.1 / 1.4], [0.2 / 0.7, 0.1 / 0.7, 0.4 / 0.7]])
    assert np.allclose(Classification(3).reweigh(value, factor), expected)


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_reweighing_gives_distributions_over_classes(case):
    value, factor = values(case), torch.tensor([0.5, 2.0, 1.0, 0.0])
    made = case.task.reweigh(value, factor)
    scaled = value.movedim(1, -1).numpy() * factor.numpy()
    expected = scaled / scaled.sum(-1, keepdims=True)
    assert np.allclose(made.movedim(1, -1), expected, atol=1e-6)
    assert torch.allclose(case.task.reweigh(value, torch.full((4,), 3.0)), value, atol=1e-6)
    assert bool((made[:, 3] == 0).all())


def test_reweighing_what_nothing_is_left_of_stays_finite():
    made = Classification(2).reweigh(torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0]))
    assert made.tolist() == [[0, 0]]


def test_gradients_flow_through_reweighing():
    value = torch.tensor([[0.6, 0.4]], requires_grad=True)
    Classification(2).reweigh(value, torch.tensor([1.0, 2.0]))[0, 0].backward()
    # d/da a / (a + 2 b) = 2 b / (a + 2 b)^2, d/db = -2 a / (a + 2 b)^2, with a + 2 b = 1.4
    assert value.grad.tolist()[0] == pytest.approx([0.8 / 1.96, -1.2 / 1.96])


def test_joints_have_no_prior_to_reweigh_by():
    with pytest.raises(ValueError, match="keypoints have no class prior to align to; leave out align"):
        CASES[2].task.reweigh(values(CASES[2]), torch.ones(4))


# -- weighted mean -----------------------------------------------------------------------------------------------------
def test_weighted_mean_by_hand():
    loss, weight = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([1.0, 0.5, 0.0, 1.0])
    valid = torch.tensor([True, True, True, False])
    target = Target(torch.zeros(4, 2), weight, valid)
    assert weighted_mean(loss, target).item() == pytest.approx((1 + 1 + 0) / 3)


# -- classification ----------------------------------------------------------------------------------------------------
def test_cross_entropy_agrees_with_torch():
    logits, y = torch.randn(7, 4), torch.randint(4, (7,))
    task = Classification(4)
    assert task.loss(logits, task.encode(y)).item() == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-6)


def test_soft_weighted_cross_entropy_agrees_with_torch():
    logits, value, weight = torch.randn(7, 4), torch.rand(7, 4).softmax(1), torch.rand(7)
    expected = (F.cross_entropy(logits, value, reduction="none") * weight).sum() / 7
    assert Classification(4).loss(logits, Target(value, weight)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_cross_entropy_survives_extreme_logits():
    task = Classification(2)
    loss = task.loss(torch.tensor([[1000.0, -1000.0]]), task.encode(torch.tensor([1])))
    assert loss.item() == 2000


def test_consistency_is_the_mean_squared_difference_of_probabilities():
    logits, value = torch.randn(7, 4), torch.rand(7, 4).softmax(1)
    expected = F.mse_loss(logits.softmax(1), value)
    assert Classification(4).consistency(logits, Target(value, torch.ones(7))).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_classification_answers_by_hand():
    value = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.5, 0.0]])
    task = Classification(3)
    assert torch.allclose(task.confidence(value), torch.tensor([0.6, 0.5]))
    assert torch.allclose(task.margin(value), torch.tensor([0.3, 0.0]))
    assert task.label(value)[0] == 1
    assert task.harden(value)[0].tolist() == [0, 1, 0]


def test_a_tie_is_one_decision_in_every_answer():
    value = torch.tensor([[0.4, 0.2, 0.4]])
    task = Classification(3)
    assert task.harden(value).sum() == 1
    assert task.harden(value).argmax(1) == task.label(value)
    assert task.margin(value).item() == 0


def test_sharpen_is_mixmatch():
    value = torch.rand(5, 4).softmax(1)
    for temperature in (0.3, 0.5, 2.0):
        powered = value.numpy() ** (1 / temperature)
        assert np.allclose(
            Classification(4).sharpen(value, temperature), powered / powered.sum(1, keepdims=True), atol=1e-6
        )


def test_sharpen_takes_zeros():
    assert torch.allclose(Classification(2).sharpen(torch.tensor([[1.0, 0.0]]), 0.5), torch.tensor([[1.0, 0.0]]))


def test_members_agree_with_the_class_of_the_mean():
    members = torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]]])
    assert Classification(2).agree(members)[:, 0].tolist() == [True, True, False]


def test_classes_do_not_move():
    target = Target(torch.rand(1, 3), torch.ones(1))
    assert Classification(3).warp(target, view_of(FLIP)) is target


def test_accuracies_agree_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    truth, value = torch.randint(3, (50,), generator=generator), torch.rand(50, 4, generator=generator)
    task = Classification(4)  # class 3 is never true: balanced accuracy leaves it out
    tally = task.update(value, task.encode(truth))
    guess = value.argmax(1)
    matrix = metrics.confusion_matrix(truth, guess, labels=range(4))
    assert tally.tolist() == [matrix.diagonal().tolist(), matrix.sum(1).tolist(), matrix.sum(0).tolist()]
    figures = task.compute(tally)
    recalls = [float((guess[truth == c] == c).float().mean()) for c in range(3)]
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert figures["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_a_tally_leaves_out_units_without_weight():
    task = Classification(2)
    target = task.encode(torch.tensor([0, 1, 1]))
    tally = task.update(torch.eye(2)[[0, 1, 0]], Target(target.value, torch.tensor([1.0, 1.0, 0.0])))
    assert tally.tolist() == [[1, 1], [1, 1], [1, 1]]  # one of each class, found, there, and said


def test_a_tally_of_many_classes_is_no_square_of_them():
    task = Classification(200_000)  # a matrix of their pairs would be 320 GB
    truth = torch.tensor([7, 199_999, 7])
    value = F.one_hot(torch.tensor([7, 7, 7]), task.classes).float()
    assert task.compute(task.update(value, task.encode(truth))) == {"accuracy": 2 / 3, "balanced_accuracy": 0.5}


@pytest.mark.parametrize("classes", [1, 0, -2])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(ValueError, match=f"classes is {classes}; a classification needs at least 2"):
        Classification(classes)


@pytest.mark.parametrize(("wrong", "where"), [(3, 1), (-1, 1), (99, 1)])
def test_a_wrong_label_is_named_with_its_place(wrong, where):
    with pytest.raises(DataError, match=rf"label {wrong} at position \[{where}\] is outside 0..2"):
        Classification(3).encode(torch.tensor([0, wrong, 2]))


# -- segmentation ------------------------------------------------------------------------------------------------------
def test_void_pixels_are_not_valid_and_do_not_count():
    logits, mask = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    mask[0, :2] = 255
    task = Segmentation(3)
    target = task.encode(mask)
    assert torch.equal(target.valid, mask != 255)
    assert torch.equal(target.weight, (mask != 255).float())
    expected = F.cross_entropy(logits, mask, ignore_index=255)
    assert task.loss(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_another_void_value_is_taken():
    mask = torch.tensor([[[0, 1], [7, 1]]])
    assert Segmentation(2, void=7).encode(mask).valid.tolist() == [[[True, True], [False, True]]]


def test_a_wrong_pixel_is_named_with_its_place():
    mask = torch.zeros(2, 3, 3, dtype=torch.long)
    mask[1, 2, 0] = 9
    with pytest.raises(DataError, match=r"label 9 at position \[1, 2, 0\] is outside 0..1"):
        Segmentation(2).encode(mask)


def test_mean_iou_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    truth, value = torch.randint(3, (2, 6, 6), generator=generator), torch.rand(2, 5, 6, 6, generator=generator)
    value[:, 4] = 0  # class 3 is predicted only, class 4 occurs nowhere
    task = Segmentation(5)
    figures = task.compute(task.update(value, task.encode(truth)))
    guess = value.argmax(1)
    expected = metrics.jaccard_score(truth.flatten(), guess.flatten(), average="macro", labels=[0, 1, 2, 3])
    assert figures["mean_iou"] == pytest.approx(expected)
    assert figures["accuracy"] == pytest.approx((truth == guess).float().mean().item())


@pytest.mark.parametrize(
    "theta", [FLIP, QUARTER, shift(2, 0, (6, 6)), shift(-1, 3, (6, 6)), shift(9, 0, (6, 6))],
    ids=["flip", "quarter", "right", "up and left", "away"],
)  # fmt: skip
def test_masks_move_as_by_hand(theta):
    mask = torch.randint(3, (1, 6, 6), generator=torch.Generator().manual_seed(3))
    mask[0, 1, 1] = 255
    task = Segmentation(3)
    moved = task.warp(task.encode(mask), view_of(theta))
    expected = torch.from_numpy(moved_by_hand(mask[0].numpy(), theta, outside=255)).long()[None]
    wanted = task.encode(expected)
    assert torch.equal(moved.valid, wanted.valid)
    assert torch.equal(moved.value * moved.valid, wanted.value * wanted.valid)
    assert torch.equal(moved.weight, wanted.weight)


def test_a_flip_is_a_flip_and_a_quarter_turn_is_one():
    value = torch.rand(1, 2, 4, 4)
    target = Target(value, torch.ones(1, 4, 4))
    task = Segmentation(2)
    assert torch.equal(task.warp(target, view_of(FLIP)).value, value.flip(3))
    assert torch.equal(task.warp(target, view_of(QUARTER)).value, value.rot90(-1, (2, 3)))


def test_weights_of_pixels_move_with_them():
    weight = torch.rand(1, 4, 4)
    moved = Segmentation(2).warp(Target(torch.rand(1, 2, 4, 4), weight), view_of(shift(1, 0, (4, 4))))
    assert torch.equal(moved.weight[..., :3], weight[..., 1:])
    assert moved.weight[..., 3].tolist() == [[0, 0, 0, 0]]
    assert moved.valid[0, :, 3].tolist() == [False] * 4


def test_every_sample_moves_by_its_own_map():
    value = torch.rand(2, 2, 4, 4)
    moved = Segmentation(2).warp(Target(value, torch.ones(2, 4, 4)), view_of(IDENTITY, FLIP))
    assert torch.equal(moved.value, torch.stack([value[0], value[1].flip(2)]))


@pytest.mark.parametrize("classes", [3, 300])
def test_decisions_as_numbers_are_decisions_as_values(classes):
    """All that a task does with class numbers is what it does with the same target one-hot."""
    task = Segmentation(classes, pairs=[(0, 2)])
    generator = torch.Generator().manual_seed(0)
    value = torch.rand(4, classes, 6, 7, generator=generator).mul(4).round().div(4)  # with ties
    weight = torch.rand(4, 6, 7, generator=generator)
    valid = torch.rand(4, 6, 7, generator=generator) > 0.3
    hard, soft = task.decide(value, weight, valid), Target(task.harden(value), weight, valid)
    assert isinstance(hard, HardTarget)
    assert hard.shape == value.shape
    assert torch.equal(task.label(value), value.argmax(1))
    first, second = value.topk(2, dim=1).values.unbind(1)
    assert torch.equal(task.margin(value), first - second)
    logits = torch.randn(4, classes, 6, 7, generator=generator)
    maps = torch.tensor([IDENTITY, FLIP, QUARTER, shift(2, 1, (6, 7))])
    places = F.affine_grid(maps, [4, 1, 6, 7], align_corners=False)
    views = [View(torch.zeros(4, 1, 6, 7), maps), View(torch.zeros(4, 1, 6, 7), None, places)]
    rows = torch.tensor([2, 0])
    pairs = [(hard, soft), *((task.warp(hard, view), task.warp(soft, view)) for view in views)]
    pairs += [
        (pick(hard, rows), pick(soft, rows)),
        (cat(hard, hard), cat(soft, soft)),
        (hard.scaled(2), soft.scaled(2)),
    ]
    for mix in (CutMix(), ClassMix()):
        with torch.random.fork_rng():
            one = mix(logits, hard, task)[1]
        pairs.append((one, mix(logits, soft, task)[1]))
    for numbers, one_hot in pairs:
        assert isinstance(numbers, HardTarget)
        assert not isinstance(one_hot, HardTarget)
        assert torch.equal(numbers.weight, one_hot.weight)
        assert torch.equal(numbers.mask(), one_hot.mask())
        known = one_hot.mask() > 0  # padding has no class: all zeros one-hot
        assert torch.equal(numbers.value * known[:, None], one_hot.value * known[:, None])
        said = logits[: len(numbers.label)] if len(numbers.label) < 5 else torch.cat([logits, logits])
        assert torch.allclose(task.loss(said, numbers), task.loss(said, one_hot))
        assert torch.allclose(task.consistency(said, numbers), task.consistency(said, one_hot))
        assert torch.equal(task.update(said.softmax(1), numbers), task.update(said.softmax(1), one_hot))
    assert not isinstance(cat(hard, soft), HardTarget)
    assert not isinstance(replace(hard, weight=weight), HardTarget)
    again = pickle.loads(pickle.dumps(hard))
    assert torch.equal(again.label, hard.label)
    assert again.classes == classes


def test_a_hardening_of_ones_own_makes_the_pseudo_labels():
    class Halved(Segmentation):
        def harden(self, value):
            return super().harden(value) / 2

    value = torch.rand(1, 3, 2, 2)
    labeling = PseudoLabeling(Halved(3))
    assert labeling.make(value, torch.zeros(1).long()).target.value.max() == 0.5
    assert isinstance(PseudoLabeling(Segmentation(3)).make(value, torch.zeros(1).long()).target, HardTarget)


# -- keypoints ---------------------------------------------------------------------------------------------------------
def points(*rows):
    """Annotation (1, K, 3) of joints at (x, y, visible)."""
    return torch.tensor([[list(map(float, row)) for row in rows]])


def test_targets_are_gaussians_at_visible_joints():
    task = Keypoints(2, (8, 9), sigma=1.5)
    target = task.encode(points((3, 2, 1), (5, 5, 0)))
    assert target.value.shape == (1, 2, 8, 9)
    for row in range(8):
        for column in range(9):
            expected = math.exp(-((column - 3) ** 2 + (row - 2) ** 2) / (2 * 1.5**2))
            assert target.value[0, 0, row, column].item() == pytest.approx(expected, abs=1e-6)
    assert target.valid.tolist() == [[True, False]]
    assert target.weight.tolist() == [[1, 0]]
    assert target.value[0, 1].abs().sum() == 0


def test_sigma_is_the_width_of_a_target():
    narrow, wide = (Keypoints(1, (9, 9), sigma=s).encode(points((4, 4, 1))).value for s in (1.0, 3.0))
    assert narrow[0, 0, 4, 6].item() == pytest.approx(math.exp(-2))
    assert wide[0, 0, 4, 6].item() == pytest.approx(math.exp(-2 / 9))


def test_heatmap_loss_by_loops():
    generator = torch.Generator().manual_seed(0)
    logits, value, weight = (torch.rand(shape, generator=generator) for shape in [(2, 3, 4, 5), (2, 3, 4, 5), (2, 3)])
    valid = torch.tensor([[True, True, False], [True, False, True]])
    total = 0.0
    for b in range(2):
        for k in range(3):
            error = np.mean((logits[b, k].numpy() - value[b, k].numpy()) ** 2)
            total += float(weight[b, k]) * error * bool(valid[b, k])
    task, target = Keypoints(3, (4, 5), loss="squared_error"), Target(value, weight, valid)
    assert task.loss(logits, target).item() == pytest.approx(total / 4, rel=1e-5)
    assert task.consistency(logits, target).item() == task.loss(logits, target).item()


def test_heatmap_answers_by_hand():
    value = torch.zeros(1, 1, 6, 7)
    value[0, 0, 1, 2], value[0, 0, 1, 3], value[0, 0, 5, 6] = 0.9, 0.8, 0.5
    task = Keypoints(1, (6, 7), radius=2.0)
    assert task.confidence(value).item() == pytest.approx(0.9)
    assert task.label(value).item() == 1 * 7 + 2
    assert task.margin(value).item() == pytest.approx(0.4)  # the neighbor at 0.8 belongs to the same peak
    assert task.harden(value)[0, 0, 1, 2] == 1
    assert task.harden(value)[0, 0, 1, 3].item() == pytest.approx(math.exp(-1 / (2 * 1.5**2)))


def test_heatmaps_of_another_size_are_hardened_in_their_own():
    assert Keypoints(2, (4, 4)).harden(torch.rand(1, 2, 7, 9)).shape == (1, 2, 7, 9)


def test_heatmap_values_are_clamped_and_sharpened_by_cell():
    task = Keypoints(1, (1, 3), loss="squared_error")
    assert task.probs(torch.tensor([[[[-1.0, 0.5, 3.0]]]])).flatten().tolist() == [0, 0.5, 1]
    assert task.sharpen(torch.tensor([[[[0.25, 0.5, 1.0]]]]), 0.5).flatten().tolist() == [0.0625, 0.25, 1]


def test_class_weights_hard_pixels_and_dice_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 8, generator=generator)
    masks = torch.randint(0, 3, (2, 4, 8), generator=generator)
    masks[0, 0] = 255
    weights = [0.5, 1.0, 2.0]
    plain, heavy = Segmentation(3), Segmentation(3, class_weights=weights)
    summed = F.cross_entropy(logits, masks, torch.tensor(weights), ignore_index=255, reduction="sum")
    target = plain.encode(masks)
    soft = Target(target.value, target.weight, target.valid)
    for given in (target, soft):
        assert heavy.loss(logits, given).item() == pytest.approx(summed.item() / 56, rel=1e-5)
    assert heavy.loss(logits, Target(soft.value, soft.weight / 2, soft.valid)) == heavy.loss(logits, soft) / 2

    known, flat = masks.flatten() != 255, logits.movedim(1, -1).reshape(-1, 3).softmax(1)
    right = flat[known, masks.flatten()[known]].numpy()
    for threshold, kept in ((0.3, np.sort(right[right <= 0.3])), (1e-6, np.sort(right)[:4])):  # 56 / 16 = 3.5
        for given in (target, soft):
            found = Segmentation(3, ohem=threshold).loss(logits, given).item()
            assert found == pytest.approx(-np.log(kept).mean(), rel=1e-5)

    decided = F.one_hot(logits.argmax(1).flatten()[known], 3).numpy()
    sure = 200 * F.one_hot(logits.argmax(1), 3).movedim(-1, 1).float()
    f1 = metrics.f1_score(masks.flatten()[known].numpy(), decided.argmax(1), average="macro")
    for given in (target, soft):
        added = Segmentation(3, dice=2.0).loss(sure, given) - plain.loss(sure, given)
        assert added.item() == pytest.approx(2 * (1 - f1), rel=1e-4)
    kept = Target(soft.value, soft.weight * (torch.arange(8) < 2), soft.valid)  # a quarter of the pixels
    only = plain.encode(masks.where(torch.arange(8) < 2, 255))
    dice = Segmentation(3, dice=1.0)
    few, all_of_few = (dice.loss(logits, one) - plain.loss(logits, one) for one in (kept, only))
    assert few.item() == pytest.approx(all_of_few.item() / 4, rel=1e-4)
    nothing = logits.clone().requires_grad_(True)
    for task in (Segmentation(3, dice=1.0, ohem=0.7), heavy):
        loss = task.loss(nothing, task.encode(torch.full((2, 4, 8), 255)))
        assert loss == 0
        assert torch.equal(torch.autograd.grad(loss, nothing)[0], torch.zeros_like(nothing))
    for settings in ({"class_weights": [1.0]}, {"class_weights": [1, 2, -1]}, {"ohem": 0}, {"dice": -1}):
        with pytest.raises(ValueError, match=f"{[*settings][0]} is "):
            Segmentation(3, **settings)


def test_scaled_errors_and_wings_by_loops():
    generator = torch.Generator().manual_seed(0)
    target = Keypoints(2, (16, 20), sigma=1.0).encode(points((5.3, 6.6, 1), (8.5, 7.0, 1)))
    logits = torch.randn(1, 2, 16, 20, generator=generator)
    truth, said = target.value.double().numpy(), logits.double().numpy()
    scaled = Keypoints(2, (16, 20), sigma=1.0, loss="scaled_squared_error")
    by_hand = ((said - truth) ** 2).sum() / 2 / (2 * math.pi)  # a Gaussian of 1 cell has this sum
    assert scaled.loss(logits, target).item() == pytest.approx(by_hand, rel=1e-4)
    assert scaled.consistency(logits, target).item() == pytest.approx(by_hand, rel=1e-4)
    assert torch.equal(scaled.probs(logits), logits.clamp(0, 1))
    wing = 0.0
    for k, place in enumerate([(5.3, 6.6), (8.5, 7.0)]):
        share = np.exp(said[0, k]) / np.exp(said[0, k]).sum()
        mean = [sum(share[r, c] * (c, r)[axis] for r in range(16) for c in range(20)) for axis in (0, 1)]
        for one, other in zip(mean, place, strict=True):
            pixels = abs(one - other) / 20 * 256  # the paper's, of a picture with 256
            constant = 10 - 10 * math.log(1 + 10 / 2)
            wing += (10 * math.log(1 + pixels / 2) if pixels < 10 else pixels - constant) / 10 / 2
    plain, winged = (Keypoints(2, (16, 20), sigma=1.0, loss=loss) for loss in ("cross_entropy", "wing"))
    added = winged.loss(logits, target) - plain.loss(logits, target)
    assert added.item() == pytest.approx(wing, rel=1e-3)
    assert torch.equal(winged.probs(logits), plain.probs(logits))
    far = torch.zeros(1, 1, 16, 20)
    far[0, 0, 2, 2] = 40.0  # all on a cell far from the joint: only the wing still says which way
    near = far.clone().requires_grad_(True)
    assert torch.isfinite(torch.autograd.grad(winged.loss(near.expand(1, 2, 16, 20), target), near)[0]).all()


def test_the_loss_of_places_by_loops_and_heights_of_a_right_answer():
    generator = torch.Generator().manual_seed(0)
    task = Keypoints(2, (16, 17), sigma=1.0)
    target = task.encode(points((5.3, 6.6, 1), (8.5, 7.0, 1)))
    logits = torch.randn(1, 2, 16, 17, generator=generator)
    total = 0.0
    for k, (x, y) in enumerate([(5.3, 6.6), (8.5, 7.0)]):
        by_cell = np.array([[math.exp(-((c - x) ** 2 + (r - y) ** 2) / 2) for c in range(17)] for r in range(16)])
        said = logits[0, k].double().numpy()
        total -= (by_cell / by_cell.sum() * (said - np.log(np.exp(said).sum()))).sum() / 2
    assert task.loss(logits, target).item() == pytest.approx(total, rel=1e-4)
    right = target.value.clamp(min=1e-9).log().requires_grad_(True)
    assert torch.allclose(task.probs(right), target.value, atol=1e-3)  # a network that says this has nothing to learn
    assert task.consistency(right, target).item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(task.loss(right, target), right)[0].abs().max() < 1e-4
    narrow = task.probs(3 * right)
    assert narrow.amax().item() == pytest.approx(1)
    assert task.probs(torch.zeros(1, 2, 16, 17)).amax().item() == pytest.approx(2 * math.pi / (16 * 17), rel=1e-3)
    with pytest.raises(ValueError, match="loss is 'l1'"):
        Keypoints(1, (4, 4), loss="l1")


@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_places_are_read_between_cells(sigma):
    """Of Gaussians exactly, also beside the edge; figures are those of places, not of cells."""
    task = Keypoints(4, (16, 12), sigma=sigma)
    told = points((3.3, 4.2, 1), (7.49, 8.0, 1), (0.3, 15.2, 1), (11.4, -0.3, 1))
    target = task.encode(told)
    assert torch.allclose(task._place(target.value), told[..., :2], atol=2e-3)
    assert torch.allclose(task._place(task.harden(target.value)), told[..., :2], atol=2e-3)
    assert torch.equal(task.label(task.harden(target.value)), task.label(target.value))
    guess = task.encode(told + torch.tensor([0.3, 0.4, 0.0])).value[:, :2]
    two = Keypoints(2, (16, 12), sigma=sigma, radius=0.45)
    figures = two.compute(two.update(guess, two.encode(told[:, :2])))
    assert figures == {"pck": 0, "distance": pytest.approx(0.5, abs=4e-3)}


def test_joints_agree_near_the_median_place():
    task = Keypoints(1, (12, 12), radius=2.0)
    members = torch.stack([task.encode(points((x, 5, 1))).value for x in (3, 5, 7, 8)])
    # the median of the columns is 5: 3 and 7 lie exactly at the radius, 8 beyond it
    assert task.agree(members).flatten().tolist() == [True, True, True, False]


def test_pck_and_distance_by_loops():
    task = Keypoints(3, (16, 16), radius=2.0)
    truth = task.encode(points((3, 3, 1), (10, 4, 1), (8, 8, 0)))
    guess = task.encode(points((5, 3, 1), (10, 9, 1), (0, 0, 1))).value
    figures = task.compute(task.update(guess, truth))  # distances 2 (just within) and 5; the third is not valid
    assert figures == {"pck": 0.5, "distance": 3.5}


@pytest.mark.parametrize(
    ("theta", "place"),
    [
        (FLIP, (9 - 6, 2)),
        (QUARTER, (9 - 2, 6)),
        (shift(3, -1, (10, 10)), (6 - 3, 2 + 1)),
        (IDENTITY, (6, 2)),
    ],
    ids=["flip", "quarter", "shift", "identity"],
)
def test_joints_move_with_the_view(theta, place):
    task = Keypoints(1, (10, 10), sigma=1.0)
    moved = task.warp(task.encode(points((6, 2, 1))), view_of(theta))
    expected = task.encode(points((*place, 1)))
    inner = (slice(None), slice(None), slice(1, 7), slice(0, 7))  # cells that the original shows
    assert torch.allclose(moved.value[inner], expected.value[inner], atol=1e-5)
    assert task.label(moved.value).item() == place[1] * 10 + place[0]
    assert moved.valid.tolist() == [[True]]


@pytest.mark.parametrize(("columns", "there"), [(1, True), (2, True), (3, False), (4, False), (30, False)])
def test_a_joint_is_valid_as_long_as_its_peak_is_in_view(columns, there):
    task = Keypoints(1, (10, 10))
    moved = task.warp(task.encode(points((2, 5, 1))), view_of(shift(columns, 0, (10, 10))))
    assert moved.valid.tolist() == [[there]]


def test_a_joint_that_was_not_valid_stays_so():
    task = Keypoints(2, (10, 10))
    moved = task.warp(task.encode(points((5, 5, 1), (5, 5, 0))), view_of(FLIP))
    assert moved.valid.tolist() == [[True, False]]


def test_a_faint_peak_that_leaves_the_view_is_not_valid_either():
    task = Keypoints(1, (10, 10))
    faint = Target(0.05 * task.encode(points((2, 5, 1))).value, torch.ones(1, 1))
    assert task.warp(faint, view_of(shift(6, 0, (10, 10)))).valid.tolist() == [[False]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Keypoints(0, (4, 4)), "joints is 0; there must be at least 1"),
        (lambda: Keypoints(1, (4, 4), sigma=0), "sigma is 0 and radius 2.0; both must be above 0"),
        (lambda: Keypoints(1, (4, 4), radius=-1), "sigma is 1.5 and radius -1"),
    ],
)
def test_keypoint_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3), (2, 2, 2)])
def test_keypoints_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"expected \(B, 2, 3\): x, y, visible"):
        Keypoints(2, (4, 4)).encode(torch.zeros(shape))


# -- geometry of two views ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("weak", [FLIP, QUARTER, IDENTITY], ids=["flip", "quarter", "identity"])
@pytest.mark.parametrize("strong", [FLIP, QUARTER, shift(2, -1, (6, 6))], ids=["flip", "quarter", "shift"])
def test_a_label_reaches_the_strong_view_through_the_weak_one(weak, strong):
    task = Segmentation(3)
    original = task.encode(torch.randint(3, (1, 6, 6), generator=torch.Generator().manual_seed(5)))
    on_weak, on_strong = task.warp(original, view_of(weak)), task.warp(original, view_of(strong))
    carried = task.warp(on_weak, relative(view_of(weak), view_of(strong)))
    assert torch.equal(carried.valid, on_strong.valid)
    assert torch.equal(carried.value, on_strong.value)


def test_what_the_weak_view_did_not_show_is_not_valid_in_the_strong_one():
    task = Segmentation(3)
    original = task.encode(torch.randint(3, (1, 6, 6), generator=torch.Generator().manual_seed(6)))
    weak, strong = view_of(shift(2, 0, (6, 6))), view_of(shift(-1, 0, (6, 6)))
    carried = task.warp(task.warp(original, weak), relative(weak, strong))
    truth = task.warp(original, strong)
    assert carried.valid[0, 0].tolist() == [False, False, False, True, True, True]
    assert torch.equal(carried.value[..., 3:], truth.value[..., 3:])


@pytest.mark.parametrize("dense", [False, True])
def test_what_both_views_show_beyond_the_edge_is_padding(dense):
    """A weak view that is shifted shows mirrored pixels at its edge; what it says of them is no label of the other."""
    task, joints = Segmentation(3), Keypoints(1, (6, 6))
    said = Target(torch.rand(1, 3, 6, 6), torch.ones(1, 6, 6))  # of every pixel of the weak view, padding or not
    weak, strong = view_of(shift(2, 0, (6, 6))), view_of(shift(3, 0, (6, 6)))
    if dense:
        grids = (torch.nn.functional.affine_grid(v.theta, [1, 1, 6, 6], align_corners=False) for v in (weak, strong))
        weak, strong = (View(v.x, places=grid) for v, grid in zip((weak, strong), grids, strict=True))
    carried = task.warp(said, relative(weak, strong))
    assert carried.valid[0, 0].tolist() == [True, True, True, False, False, False]
    assert torch.equal(carried.value[..., :3], said.value[..., 1:4])
    for column, there in ((3, True), (5, False)):  # column 5 of the weak view is beyond the image
        point = joints.encode(points((column, 2, 1)))
        assert joints.warp(point, relative(weak, strong)).valid.tolist() == [[there]]


def test_relative_is_the_inverse_of_the_one_times_the_other():
    weak, strong = torch.randn(4, 2, 3).double(), torch.randn(4, 2, 3).double()
    between = relative(View(torch.zeros(4, 1), weak), View(torch.zeros(4, 1), strong)).theta
    for a, b, theta in zip(weak.numpy(), strong.numpy(), between.numpy(), strict=True):
        place = np.array([0.3, -0.7, 1.0])
        origin = b @ place  # where the strong view looks
        again = a @ np.append(theta @ place, 1.0)  # the same place, by way of the weak view
        assert np.allclose(origin, again)


def test_a_strong_view_that_stays_still_has_to_undo_the_weak_one():
    task, weak = Segmentation(2), view_of(QUARTER)
    original = Target(torch.rand(1, 2, 4, 4), torch.ones(1, 4, 4))
    back = relative(weak, View(torch.zeros(1, 1, 4, 4)))
    assert torch.equal(task.warp(task.warp(original, weak), back).value, original.value)


def test_a_weak_view_that_stays_still_changes_nothing():
    strong = view_of(FLIP)
    assert relative(View(torch.zeros(1, 1)), strong) is strong
    still = View(torch.zeros(1, 1))
    assert relative(still, still).theta is None


def test_what_others_ask_of_a_task():
    """Calibration, the pages and the dashboard ask these, and no one asks for a class of tasks."""
    asked = {
        Classification(3): (True, True, (3,)),
        Segmentation(3): (True, False, (3, 8, 6)),
        Keypoints(2, (4, 3)): (False, False, (2, 4, 3)),
    }
    for task, answers in asked.items():
        assert (task.has_classes, task.one_unit, task.output_shape((1, 8, 6))) == answers
    kinds = re.compile(r"isinstance\([^)]*(Classification|Segmentation|Keypoints)")
    paths = [path for room in ("selftrain", "strategies", "data") for path in (ROOT / room).rglob("*.py")]
    found = [
        str(path) for path in paths if path.parent.name != "tasks" and kinds.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


# -- networks of fewer pixels ------------------------------------------------------------------------------------------
class Quarter(nn.Module):
    """Logits at half of each side, as segmentation networks of torchvision and transformers give them."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x):
        logits = self.conv(x)
        if self.kind == "full":
            return F.interpolate(logits, x.shape[-2:], mode="bilinear")
        if self.kind == "out":
            return {"out": logits, "aux": logits[:, :, ::2, ::2]}
        return SimpleNamespace(logits=logits) if self.kind == "object" else (logits, logits.mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "method"),
    [("out", strategies.FixMatch), ("object", strategies.MeanTeacher), ("tuple", strategies.PiModel)],
)
def test_logits_of_fewer_pixels_than_the_mask_are_enlarged(kind, method):
    x, y = torch.rand(6, 3, 16, 20), torch.randint(0, 3, (6, 16, 20))
    pile = data.Pile(data.ArraySet(x, y), data.ArraySet(x), data.ArraySet(x, y), classes=list("abc"))
    strategy = method(Segmentation(3), learner(lambda: Quarter(kind)))
    run = fit(strategy, pile, steps=2, plan=BatchPlan(2, 1.0), handlers=[SelfCheck(False)])
    value = torch.from_numpy(run.predict_proba(x))
    assert torch.equal(strategy.task.label(value), torch.from_numpy(run.predict(x)))
    assert torch.allclose(value.sum(1), torch.ones(6, 16, 20), atol=1e-5)
    told = strategy.task.compute(strategy.task.update(value, strategy.task.encode(y)))["mean_iou"]
    assert run.last["validation"]["mean_iou"] == pytest.approx(told)
    logits = torch.randn(2, 3, 8, 10, requires_grad=True)
    target = strategy.task.encode(y[:2])
    large = F.interpolate(logits, (16, 20), mode="bilinear")
    assert torch.equal(strategy.task.loss(logits, target), strategy.task.loss(large, target))
    assert torch.equal(strategy.task.consistency(logits, target), strategy.task.consistency(large, target))
    assert torch.autograd.grad(strategy.task.loss(logits, target), logits)[0].abs().sum() > 0


def test_what_joins_labels_and_predictions_needs_them_of_one_size():
    x, y = torch.rand(6, 3, 16, 20), torch.randint(0, 3, (6, 16, 20))
    pile = data.Pile(data.ArraySet(x, y), data.ArraySet(x), classes=list("abc"))
    for kind, said in (("out", pytest.raises(DataError, match="enlarge its logits")), ("full", nullcontext())):
        strategy = strategies.MixMatch(Segmentation(3), learner(lambda kind=kind: Quarter(kind)))
        with said:
            fit(strategy, pile, steps=1, plan=BatchPlan(2, 1.0), handlers=[SelfCheck(False)])
