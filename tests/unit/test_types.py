import dataclasses

import pytest
import torch

from selftrain.types import Batch, BatchPlan, Clock, Labeled, Needs, Target, Unlabeled, View


def test_mask_is_all_ones_when_every_unit_exists():
    target = Target(torch.rand(2, 3, 4, 4), torch.rand(2, 4, 4))
    assert torch.equal(target.mask(), torch.ones(2, 4, 4))


def test_mask_turns_validity_into_numbers_of_the_weights_kind():
    weight = torch.rand(2, 3, dtype=torch.float64)
    valid = torch.tensor([[True, False, True], [False, False, True]])
    mask = Target(torch.rand(2, 3, 4, 4), weight, valid).mask()
    assert mask.dtype == torch.float64
    assert mask.tolist() == [[1, 0, 1], [0, 0, 1]]


def test_scaled_changes_weights_alone():
    valid = torch.tensor([True, False])
    target = Target(torch.rand(2, 3), torch.tensor([1.0, 0.5]), valid)
    scaled = target.scaled(torch.tensor([2.0, 4.0]))
    assert scaled.weight.tolist() == [2.0, 2.0]
    assert scaled.value is target.value
    assert scaled.valid is valid
    assert target.weight.tolist() == [1.0, 0.5]


def test_nouns_cannot_be_changed_behind_ones_back():
    with pytest.raises(dataclasses.FrozenInstanceError):
        View(torch.zeros(1)).x = torch.ones(1)


def test_a_batch_hands_out_its_parts():
    labeled = Labeled(torch.zeros(1, 2), Target(torch.zeros(1, 2), torch.ones(1)), torch.tensor([0]))
    view = View(torch.ones(1, 2))
    batch = Batch(labeled, Unlabeled({"weak": view}, torch.tensor([3])))
    assert batch.labeled is labeled
    assert batch.unlabeled["weak"] is view


def test_a_batch_without_a_part_says_which_and_what_to_do():
    empty = Batch(None, None)
    with pytest.raises(ValueError, match="no labeled samples; a strategy with labels needs a labeled set"):
        _ = empty.labeled
    with pytest.raises(ValueError, match="no unlabeled samples; train `Supervised`"):
        _ = empty.unlabeled


@pytest.mark.parametrize(
    ("step", "total", "progress"), [(0, 10, 0.0), (5, 10, 0.5), (10, 10, 1.0), (12, 10, 1.0), (0, 0, 0.0)]
)
def test_progress_runs_from_zero_to_one(step, total, progress):
    assert Clock(step, 0, total).progress == progress


@pytest.mark.parametrize(
    ("labeled", "ratio", "unlabeled"),
    [(32, 2.0, 64), (16, 84 / 16, 84), (3, 0.1, 1), (4, 0.5, 2), (1, 7, 7), (10, 0.79, 8)],
)
def test_the_plan_sizes_the_unlabeled_part(labeled, ratio, unlabeled):
    assert BatchPlan(labeled, ratio).unlabeled == unlabeled


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labeled": 0}, "labeled batch size is 0; it must be at least 1"),
        ({"unlabeled_ratio": 0}, "unlabeled_ratio is 0; it must be above 0"),
        ({"unlabeled_ratio": -1.5}, "unlabeled_ratio is -1.5"),
        ({"workers": -1}, "workers is -1; it must be 0 or more"),
    ],
)
def test_the_plan_refuses_what_makes_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        BatchPlan(**settings)


def test_needs_ask_for_no_labels_unless_told():
    needs = Needs(views=("weak",))
    assert (needs.encode, needs.warp, needs.labeled_view, needs.extra_batches) == (None, None, "weak", 0)
