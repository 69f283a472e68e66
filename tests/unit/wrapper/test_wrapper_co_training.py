"""Co-training: who teaches whom, how many, from which pool."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from wrapper_helpers import Centroids, clouds, draw_votes

from selftrain.errors import DataError
from selftrain.wrapper import CoTraining
from selftrain.wrapper.co_training import class_counts
from selftrain.wrapper.labels import read_labels
from selftrain.wrapper.policies import surest

# two columns; by the first, rows 2 and 4 are sure, by the second rows 3 and 5
X = np.array([[0.0, 0.0], [10.0, 10.0], [0.5, 4.0], [4.2, 0.3], [9.0, 6.0], [5.5, 9.9]])
Y = np.array([0, 1, -1, -1, -1, -1])


def taught(**settings):
    Centroids.calls.clear()
    settings = {"views": ([0], [1]), "take": 1, "rounds": 1, "pool": None, "random_state": 0} | settings
    model = CoTraining(Centroids(), **settings).fit(X, Y)
    return model, [call["X"][:, 0].tolist() for call in Centroids.calls]


def test_each_teaches_the_other():
    model, sets = taught()
    assert sets[:2] == [[0, 10], [0, 10]]
    # the first view is surest of row 2 (.95) as class 0 and row 4 (.9) as class 1: the SECOND learns them
    assert sets[3] == [0.0, 10.0, 4.0, 6.0]
    # the second view is surest of row 3 (.97) and row 5 (.99): the FIRST learns them
    assert sets[2] == [0.0, 10.0, 4.2, 5.5]
    assert model.transduction_.tolist() == [0, 1, 0, 0, 1, 1]
    assert model.labeled_by_.tolist() == [0, 0, 1, 2, 1, 2]
    assert model.labeled_iter_.tolist() == [0, 0, 1, 1, 1, 1]
    assert (model.n_iter_, model.termination_condition_) == (1, "all_labeled")
    row = model.history_[0]
    assert row.pop("threshold") == pytest.approx([0.9, 0.97])
    assert row == {"round": 1, "candidates": 4, "chosen": [2, 2], "added": 4, "histogram": [2, 2]}


def test_a_row_that_both_choose():
    rows = np.array([[0.0, 0.0], [10.0, 10.0], [1.0, 9.8]])
    model = CoTraining(Centroids(), views=([0], [1]), take=1, rounds=1, random_state=0).fit(rows, [0, 1, -1])
    assert model.labeled_by_.tolist() == [0, 0, 3]
    assert model.transduction_.tolist() == [0, 1, 1]  # .98 against .9
    first, second = model.estimators_
    assert first.means_.tolist() == pytest.approx([0, 5.5])  # learned that 1.0 is of class 1
    assert second.means_.tolist() == pytest.approx([4.9, 10])  # learned that 9.8 is of class 0


@pytest.mark.parametrize("first", [True, False])
def test_of_two_labels_of_a_row_the_surer_one_is_told_whoever_was_first(first):
    """1.0 is of class 0 by .9, 9.8 of class 1 by .98: the columns change places, the answer does not."""
    columns = [1.0, 9.8] if first else [9.8, 1.0]
    rows = np.array([[0.0, 0.0], [10.0, 10.0], columns])
    settings = {"views": ([0], [1]), "take": 1, "rounds": 1, "random_state": 0}
    apart = CoTraining(Centroids(), **settings).fit(rows, [0, 1, -1])
    assert apart.transduction_.tolist() == [0, 1, 1]
    assert apart.labeled_by_.tolist() == [0, 0, 3]
    assert apart.history_[0]["histogram"] == [0, 1]
    together = CoTraining(Centroids(), shared=True, **settings).fit(rows, [0, 1, -1])
    assert together.transduction_.tolist() == [0, 1, 1]
    for model, column in zip(together.estimators_, columns, strict=True):  # one set: both learn class 1
        assert model.means_.tolist() == pytest.approx([0, (10 + column) / 2])


def test_with_one_set_both_learn_what_either_chose():
    """The paper's table 1: the labels of both classifiers are added to L."""
    model, sets = taught(shared=True)
    assert sets[2] == [0.0, 10.0, 0.5, 4.2, 9.0, 5.5]
    assert sets[3] == [0.0, 10.0, 4.0, 0.3, 6.0, 9.9]
    assert model.transduction_.tolist() == [0, 1, 0, 0, 1, 1]


def test_it_ends_with_its_rounds():
    model, _ = taught(rounds=0)
    assert (model.n_iter_, model.termination_condition_) == (0, "max_rounds")
    assert model.transduction_.tolist() == Y.tolist()
    model, _ = taught(take=[1, 0], rounds=1)
    assert model.termination_condition_ == "max_rounds"
    assert model.labeled_iter_.tolist() == [0, 0, 1, 1, -1, -1]


def test_the_pool_is_filled_up_at_random():
    X, y, *_ = clouds(0)
    settings = {"take": 2, "rounds": 5}
    model = CoTraining(GaussianNB(), pool=20, random_state=0, **settings).fit(X, y)
    assert [row["candidates"] for row in model.history_] == [20] * 5
    other = CoTraining(GaussianNB(), pool=20, random_state=1, **settings).fit(X, y)
    assert model.labeled_iter_.tolist() != other.labeled_iter_.tolist()
    whole = CoTraining(GaussianNB(), pool=None, random_state=0, **settings).fit(X, y)
    assert whole.history_[0]["candidates"] == 594
    assert whole.history_[1]["candidates"] == 594 - whole.history_[0]["added"]


def test_every_row_is_labeled_in_the_end():
    X, y, *_ = clouds(0)
    model = CoTraining(LogisticRegression(), take=20, rounds=100, random_state=0).fit(X, y)
    assert model.termination_condition_ == "all_labeled"
    assert model.n_iter_ < 100
    assert (model.labeled_by_ > 0).sum() == 594
    assert sum(row["added"] for row in model.history_) == 594
    assert model.history_[-1]["histogram"] == np.bincount(model.transduction_[y < 0]).tolist()


@pytest.mark.parametrize(
    ("take", "counts"),
    [(None, [1, 3, 2]), (2, [2, 2, 2]), ([1, 0, 4], [1, 0, 4]), ({"c": 5, "a": 1, "b": 0}, [1, 0, 5])],
)
def test_rows_a_class(take, counts):
    assert class_counts(take, read_labels(np.array(list("aabbbbbbccc")))) == counts  # 2, 6 and 3 labels: 1, 3, 1.5


@pytest.mark.parametrize("take", [0, -1, [1, 2], {"a": 1, "b": 2}, {"a": 1, "b": 2, "d": 3}, [0, 0, 0]])
def test_rows_a_class_out_of_range_are_named(take):
    with pytest.raises(ValueError, match=r"take is .*; give a number of rows, 0 or more, for each of the classes"):
        class_counts(take, read_labels(np.array(list("abc"))))


def test_the_surest_of_each_class():
    votes = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.3, 0.7]])
    codes, score = votes.argmax(1), votes.max(1)
    assert [top.tolist() for top in surest(codes, score, [2, 1])] == [[0, 3], [2]]
    assert [top.tolist() for top in surest(codes, score, [0, 5])] == [[], [2, 4]]


def test_views_are_columns_functions_or_drawn():
    X, y, X_test, _ = clouds(0)
    drawn = CoTraining(GaussianNB(), random_state=0).fit(X, y)
    first, second = drawn.views_
    assert sorted([*first, *second]) == list(range(24))
    assert (len(first), len(second)) == (12, 12)
    assert first.tolist() != CoTraining(GaussianNB(), random_state=1).fit(X, y).views_[0].tolist()
    settings = {"rounds": 3, "random_state": 0}
    columns = CoTraining(GaussianNB(), views=(range(5), [7, 9]), **settings).fit(X, y)
    functions = CoTraining(GaussianNB(), views=(lambda x: x[:, :5], lambda x: x[:, [7, 9]]), **settings).fit(X, y)
    assert np.array_equal(columns.predict_proba(X_test), functions.predict_proba(X_test))
    assert [e.n_features_in_ for e in columns.estimators_] == [5, 2]


@pytest.mark.parametrize("combine", ["product", "mean"])
def test_probabilities_are_combined(combine):
    X, y, X_test, _ = clouds(0)
    model = CoTraining([GaussianNB(), LogisticRegression()], combine=combine, rounds=2, random_state=0).fit(X, y)
    assert [type(e) for e in model.estimators_] == [GaussianNB, LogisticRegression]
    p, q = (e.predict_proba(X_test[:, v]) for e, v in zip(model.estimators_, model.views_, strict=True))
    expected = p * q if combine == "product" else p + q
    np.testing.assert_allclose(model.predict_proba(X_test), expected / expected.sum(1, keepdims=True))
    assert np.array_equal(model.predict(X_test), expected.argmax(1))


def test_two_that_exclude_each_other_are_averaged():
    rows, y = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), [0, 1, -1]
    model = CoTraining(GaussianNB(), views=([0], [1]), rounds=0).fit(rows, y)
    assert model.predict_proba([[0.0, 1.0]]).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": 0}, "pool is 0; it must be at least 1, or None"),
        ({"rounds": -1}, "rounds is -1; it must be 0 or more"),
        ({"combine": "max"}, "combine is 'max'; choose one of"),
        ({"estimators": [GaussianNB()] * 3}, "estimators are 3; give one classifier, or one for each of two views"),
        ({"views": ([0],)}, "views are 1; give two"),
        ({"views": ([0], [2])}, r"view \[2\] names columns outside 0..1"),
        ({"views": ([0], [])}, r"view \[\] must be places of columns"),
        ({"views": ([0], ["b"])}, r"view \['b'\] must be places of columns"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        CoTraining(**{"estimators": GaussianNB()} | settings).fit(X, Y)


def test_one_column_has_no_two_views():
    with pytest.raises(DataError, match=r"X has 1 feature\(s\); two views need at least 2"):
        CoTraining(GaussianNB()).fit(X[:, :1], Y)


def test_surest_never_takes_a_row_twice():
    votes = draw_votes(0, n=40, classes=4)
    rows = np.concatenate(surest(votes.argmax(1), votes.max(1), [4, 4, 4, 99])).tolist()
    decided = np.bincount(votes.argmax(1), minlength=4).tolist()
    assert len(rows) == len(set(rows)) == sum(min(4, n) for n in decided[:3]) + decided[3]
