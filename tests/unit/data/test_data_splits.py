"""Splits: balance, keys, where validation comes from, overlap, and bad labels."""

import warnings

import numpy as np
import pytest
import torch

from selftrain.data import split
from selftrain.data.base.splits import check_labels
from selftrain.data.base.units import by_class
from selftrain.errors import DataError

Y = np.repeat(np.arange(5), 40)


def counts(rows, y=Y):
    return np.bincount(y[rows], minlength=5).tolist()


def test_labels_are_spread_evenly_and_the_rest_is_unlabeled():
    parts = split(Y, 50)
    assert counts(parts.labeled) == [10] * 5
    assert not len(parts.validation)
    assert sorted([*parts.labeled, *parts.unlabeled]) == list(range(200))


def test_what_does_not_divide_evenly_goes_to_keyed_classes():
    extra = {tuple(counts(split(Y, 12, seed=seed).labeled)) for seed in range(20)}
    assert all(sorted(spread) == [2, 2, 2, 3, 3] for spread in extra)
    assert len(extra) > 3


def test_a_small_class_gives_all_it_has():
    y = np.array([0] * 2 + [1] * 50 + [2] * 50)
    assert np.bincount(y[split(y, 20).labeled]).tolist() == [2, 9, 9]


def test_the_choice_depends_on_the_seed_only():
    assert np.array_equal(split(Y, 50, seed=1).labeled, split(Y, 50, seed=1).labeled)
    assert not np.array_equal(split(Y, 50, seed=1).labeled, split(Y, 50, seed=2).labeled)
    chosen = np.concatenate([split(Y, 50, seed=seed).labeled for seed in range(200)])
    # each row has chance 1/4: 50 of 200, standard deviation 6.1
    assert abs(np.bincount(chosen, minlength=200) - 50).max() < 30


@pytest.mark.parametrize(("validation", "count"), [(10, 10), (0.2, 10), (0.5, 25), (0, 0)])
def test_validation_is_taken_from_the_labels(validation, count):
    parts = split(Y, 50, validation=validation)
    assert counts(parts.validation) == [count // 5] * 5
    assert len(parts.labeled) + len(parts.validation) == 50
    everything = np.concatenate([parts.labeled, parts.validation, parts.unlabeled])
    assert sorted(everything) == list(range(200))


def test_overlap_policies():
    out, inside = (split(Y, 50, validation=10, overlap=policy) for policy in ("exclude", "include"))
    assert not set(out.labeled) & set(out.unlabeled)
    assert set(inside.labeled) <= set(inside.unlabeled)
    assert np.array_equal(out.labeled, inside.labeled)
    for parts in (out, inside):
        assert not set(parts.validation) & {*parts.labeled, *parts.unlabeled}
    with pytest.raises(ValueError, match="'both'"):
        split(Y, 50, overlap="both")


def test_unlabeled_rows_of_the_input_stay_unlabeled():
    y = np.where(np.arange(200) % 2, Y, -1)
    parts = split(y)
    assert np.array_equal(parts.labeled, np.flatnonzero(y >= 0))
    assert np.array_equal(parts.unlabeled, np.flatnonzero(y < 0))
    assert (y[split(y, 20).labeled] >= 0).all()


def test_no_labels_may_be_asked_for():
    parts = split(Y, 0)
    assert len(parts.labeled) == 0
    assert len(parts.unlabeled) == 200
    assert len(split(np.full(5, -1), 0).unlabeled) == 5


def test_labels_asked_for_where_there_is_none_point_to_pretraining():
    with pytest.raises(DataError, match=r"selftrain\.pretrain"):
        split(np.full(10, -1), 4)


def test_without_any_label_everything_is_unlabeled():
    parts = split(np.full(10, -1))
    assert not len(parts.labeled)
    assert sorted(parts.unlabeled) == list(range(10))


def test_impossible_counts_are_named():
    with pytest.raises(DataError, match="201 labels asked for, but 200"):
        split(Y, 201)


@pytest.mark.parametrize("validation", [50, 60])
def test_validation_must_leave_something_to_train_on(validation):
    with pytest.raises(DataError, match=f"validation takes {validation} of 50"):
        split(Y, 50, validation=validation)


@pytest.mark.parametrize("validation", [-1, -0.2, 3.5])
def test_validation_is_a_count_or_a_share(validation):
    with pytest.raises(ValueError, match=f"validation is {validation}"):
        split(Y, 50, validation=validation)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, r"label 5 at row 7 is outside the 5 classes \(0 to 4\)"),
        (-2, "label -2 at row 7 .* -1 for unlabeled"),
        (1.5, "label 1.5 at row 7"),
        (np.inf, "label inf at row 7"),
    ],
)
def test_a_wrong_label_is_named_with_its_row(value, words):
    y = Y.astype(type(value))
    y[7] = value
    with pytest.raises(DataError, match=words):
        split(y, 50, classes=5)


def test_labels_must_be_numbers():
    with pytest.raises(DataError, match="label 'cat' at row 0 is no number"):
        check_labels(np.array(["cat", "dog"]))


def test_what_is_missing_has_no_label():
    for y in (np.array([None, 1]), [float("nan"), 1.0], np.ma.masked_array([0, 1], [True, False])):
        assert check_labels(y).tolist() == [-1, 1]


def test_labels_must_be_one_per_sample():
    with pytest.raises(DataError, match=r"\(3, 2\)"):
        check_labels(np.zeros((3, 2)))


def test_whole_floats_and_tensors_are_labels():
    for y in (np.array([0.0, -1.0, 2.0]), torch.tensor([0, -1, 2], dtype=torch.int8), [0, -1, 2]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            checked = check_labels(y, ["a", "b", "c"])
        assert checked.dtype == torch.int64
        assert checked.tolist() == [0, -1, 2]


def test_masks_and_joints_are_chosen_by_whether_there_is_one():
    masks = torch.zeros(4, 2, 2, dtype=torch.long)
    masks[1], masks[2], masks[3, 0, 0] = -1, 255, -1
    assert by_class(masks).tolist() == [0, -1, -1, 0]
    joints = torch.ones(3, 2, 3)
    joints[1, :, 2], joints[2, 0, 2] = 0, 0
    assert by_class(joints).tolist() == [0, -1, 0]
    assert by_class(torch.tensor([2, -1])).tolist() == [2, -1]
