"""Labels in every form, and rows held out."""

import numpy as np
import pytest

from selftrain.errors import DataError
from selftrain.wrapper.labels import hold_out, is_unlabeled, read_labels, shares


@pytest.mark.parametrize(
    ("y", "unlabeled", "classes", "codes"),
    [
        ([3, -1, 7, 3], -1, [3, 7], [0, -1, 1, 0]),
        ([0, 1, 9, 9], 9, [0, 1], [0, 1, -1, -1]),
        ([-1, 1, 0, 0], 0, [-1, 1], [0, 1, -1, -1]),
        (["b", "?", "a", "b"], "?", ["a", "b"], [1, -1, 0, 1]),
        (np.array(["b", -1, "a"], dtype=object), -1, ["a", "b"], [1, -1, 0]),
        (np.array([5, None, 2, np.nan], dtype=object), None, [2, 5], [1, -1, 0, -1]),
        (np.array([5, np.nan, 2]), np.nan, [2, 5], [1, -1, 0]),
        (np.array(["b", None, "a"], dtype=object), np.nan, ["a", "b"], [1, -1, 0]),
        (np.array([True, False, -1], dtype=object), -1, [0, 1], [1, 0, -1]),
        (np.array(["a", "b"]), -1, ["a", "b"], [0, 1]),
    ],
)
def test_labels_are_read(y, unlabeled, classes, codes):
    labels = read_labels(y, unlabeled)
    assert labels.classes.tolist() == classes
    assert labels.codes.tolist() == codes
    assert labels.labeled.tolist() == [c >= 0 for c in codes]
    assert labels.write(labels.codes).tolist()[0] == np.asarray(y, dtype=object)[0]


def test_a_column_of_a_table():
    pandas = pytest.importorskip("pandas")
    assert read_labels(pandas.Series(["b", pandas.NA, "a"]), None).codes.tolist() == [1, -1, 0]
    assert read_labels(pandas.Series(["b", "?", "a"], dtype="category"), "?").codes.tolist() == [1, -1, 0]


def test_pseudo_labels_are_written_where_they_are():
    labels = read_labels(["b", "?", "a", "?"], "?")
    assert labels.write(np.array([1, 0, 0, -1])).tolist() == ["b", "a", "a", "?"]
    assert labels.given.tolist() == ["b", "?", "a", "?"]


def test_shares_count_what_is_labeled():
    assert read_labels([1, 0, 0, 0, -1, -1]).shares.tolist() == [0.75, 0.25]
    assert shares(np.array([-1, -1]), 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("y", "unlabeled", "message"),
    [
        ([-1, -1], -1, r"all 2 rows of y are marked -1 \(unlabeled\); label some"),
        ([1, 1, -1], -1, "the labels are all of one class, 1; label rows of at least two"),
        ([0.5, 1.2, -1], -1, "Unknown label type"),
        ([0.0, np.nan, 1.0, -1.0], -1, "contains NaN or infinity in rows that are not marked"),
        (np.array(["a", 1, -1], dtype=object), -1, "y mixes or holds int, str; labels are text or integers"),
        (np.array(["a", 0.5], dtype=object), -1, "y mixes or holds float, str"),
        (np.array(["a", "b", "-1"]), -1, "y is an array of text and holds '-1'; pass unlabeled='-1'"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(y, unlabeled, message):
    with pytest.raises(ValueError, match=message):
        read_labels(np.asarray(y), unlabeled)


def test_a_marker_of_another_type_marks_nothing():
    assert is_unlabeled(np.array([1, 2]), "a").tolist() == [False, False]
    assert is_unlabeled(np.array(["1", "x"]), 0).tolist() == [False, False]


def test_held_out_rows_are_of_every_class_and_leave_one():
    codes = np.array([0] * 10 + [1] * 4 + [2] + [-1] * 5)
    held = hold_out(codes, 0.5, np.random.RandomState(0))
    assert np.bincount(codes[held], minlength=3).tolist() == [5, 2, 0]
    assert np.bincount(codes[hold_out(codes, 0.99, np.random.RandomState(0))]).tolist() == [9, 3]
    assert held.tolist() == sorted(held.tolist())
    drawn = {tuple(hold_out(codes, 0.5, np.random.RandomState(seed))) for seed in range(20)}
    assert set(sum(drawn, ())) == set(range(14))


def test_too_few_labels_to_hold_one_out():
    with pytest.raises(DataError, match=r"validation=0.5 of \[1, 1\] labels a class holds no row out"):
        hold_out(np.array([0, 1, -1]), 0.5, np.random.RandomState(0))
