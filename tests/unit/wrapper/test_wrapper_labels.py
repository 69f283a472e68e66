"""Labels in every form, and rows held out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selftrain import LabeledKFold, SelfTrainClassifier
from selftrain.errors import DataError
from selftrain.wrapper import SelfTraining, TriTraining
from selftrain.wrapper.labels import hold_out, known_rows, read_labels, shares

pandas = pytest.importorskip("pandas")


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
        (np.array(["a", "b", -1]), -1, ["a", "b"], [0, 1, -1]),
        ([str(2**70), "b"], -1, [str(2**70), "b"], [0, 1]),
        (["a", "b", float("nan"), None, ""], -1, ["a", "b"], [0, 1, -1, -1, -1]),
        ([0.0, np.nan, 1.0, -1.0], -1, [0, 1], [0, -1, 1, -1]),
        ([1, -1, 1, -1], None, [-1, 1], [1, 0, 1, 0]),
        (np.array([0, 1, 255], dtype=np.uint8), [-1, 255], [0, 1], [0, 1, -1]),
        (["a", "b", "?", "NA"], ["?", "NA"], ["a", "b"], [0, 1, -1, -1]),
    ],
)
def test_labels_are_read(y, unlabeled, classes, codes):
    labels = read_labels(y, unlabeled)
    assert labels.classes.tolist() == classes
    assert labels.codes.tolist() == codes
    assert labels.labeled.tolist() == [c >= 0 for c in codes]
    assert labels.write(labels.codes).tolist()[0] == np.asarray(y, dtype=object)[0]


def test_bytes_are_text():
    labels = read_labels(np.array([b"a", b"b", b""]))
    assert labels.classes.tolist() == ["a", "b"]
    assert labels.codes.tolist() == [0, 1, -1]


def test_a_column_of_a_table():
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
        ([0.0, np.inf, 1.0, -1.0], -1, "contains NaN or infinity in rows that are not marked"),
        ([1, -1, -1], -1, "of one class, 1; .* say unlabeled=None if -1 is one: 2 rows have it"),
        (np.array([0, 1, 255], dtype=np.uint8), -1, r"label 255 at row 2 is what -1 becomes .* unlabeled=\[-1, 255\]"),
        (np.eye(3), -1, r"shape \(3, 3\).* y.argmax"),
        (np.array(["a", 1, -1], dtype=object), -1, "y mixes or holds int, str; labels are text or integers"),
        ([1, 2**70], -1, "label 1180591620717411303424 of y is larger than any integer of 64 bits; give .* as text"),
        (np.array(["a", 0.5], dtype=object), -1, "y mixes or holds float, str"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(y, unlabeled, message):
    with pytest.raises(ValueError, match=message):
        read_labels(np.asarray(y), unlabeled)


def test_a_marker_of_another_type_marks_nothing():
    assert known_rows(np.array([1, 2]), "a")[1].all()
    assert known_rows(np.array(["1", "x"]), 0)[1].all()


FORMS = [
    ["cat", "dog", None],
    ["cat", "dog", float("nan")],
    np.array(["cat", "dog", -1]),
    np.ma.masked_array(["cat", "dog", "cat"], [False, False, True]),
    pandas.Series(["cat", "dog", None]),
    pandas.Series(["cat", "dog", None], dtype="string"),
    pandas.Series(["cat", "dog", None], dtype="category"),
    pandas.Series([0, 1, None], dtype="Int64"),
    pandas.Series([False, True, None], dtype="boolean"),
    np.ma.masked_array([0, 1, 1], [False, False, True]),
    torch.tensor([0, 1, -1]),
    [0.0, 1.0, float("nan")],
]


@pytest.mark.parametrize("y", FORMS)
def test_every_form_is_read_by_fit_score_and_folds_alike(y):
    rows = np.tile([0, 1, 2], 6)
    if isinstance(y, torch.Tensor | list):
        y = y[torch.from_numpy(rows)] if isinstance(y, torch.Tensor) else [y[row] for row in rows]
    else:
        y = y.take(rows)
    x = np.where(rows == 1, 3.0, 0.0)[:, None]
    models = (
        SelfTrainClassifier(steps=1, random_state=0),
        SelfTraining(LogisticRegression()),
        TriTraining(LogisticRegression()),
    )
    for model in models:
        fitted = model.fit(x, y)
        assert (fitted.labeled_iter_ == 0).sum() == 12
        assert len(fitted.classes_) == 2
        assert set(fitted.predict(x).tolist()) <= set(fitted.classes_.tolist())
        assert 0 <= fitted.score(x, y) <= 1
    for train, test in LabeledKFold(2).split(x, y):
        assert (rows[test] < 2).all()
        assert (rows[train] == 2).sum() == 6


def test_what_lies_beneath_a_mask_does_not_come_back():
    y = np.ma.masked_array([0, 1, 1, 0], [False, False, True, True])
    given, known = known_rows(y)
    assert given.tolist() == [0, 1, -1, -1]
    assert known.tolist() == [True, True, False, False]


def test_what_could_be_meant_otherwise_is_said():
    with pytest.warns(UserWarning, match=r"labels 'None' \(1\) are taken for classes; .* unlabeled=\[-1, 'None'\]"):
        assert read_labels(["a", "None", ""]).classes.tolist() == ["None", "a"]
    with pytest.warns(UserWarning, match=r"labels 'nan' \(1\) are read as no label; .* unlabeled=\[-1\]"):
        assert read_labels(np.array(["a", "b", np.nan])).classes.tolist() == ["a", "b"]
    with pytest.warns(UserWarning, match=r"labels '-2' \(2\) are taken for classes; .* unlabeled=\[-1, '-2'\]"):
        assert read_labels([0, 1, -2, -2]).classes.tolist() == [-2, 0, 1]
    assert read_labels([0, 1, -2, -2], [-1, "-2"]).classes.tolist() == [0, 1]  # the remedy
    assert read_labels(["a", "b", "None"], [-1, "None"]).classes.tolist() == ["a", "b"]
    assert read_labels(["a", "nan", ""], [-1]).classes.tolist() == ["a", "nan"]


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
