"""Tri-training: its conditions by hand, its rounds against a plain copy of the paper's pseudo-code."""

import math
from functools import partial

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from wrapper_helpers import clouds

from selftrain.wrapper import TriTraining
from selftrain.wrapper.tri_training import Progress, agreed_error


# -- the conditions ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "error", "size", "admitted", "after"),
    [
        ((0.5, 0), 0.2, 10, 2, 1),  # l' = floor(.2/.3 + 1) = 1; .2 * 10 >= .5 * 1; 1 > .667: ceil(.5/.2 - 1) = 2
        ((0.5, 0), 0.0, 10, 10, 1),  # no error: l' = 1; 0 < .5
        ((0.5, 0), 0.5, 10, 0, 0),  # no better than chance: l' is not touched
        ((0.5, 0), 0.0, 1, 0, 1),  # l' = 1 is not below 1
        ((0.5, 0), 0.4, 3, 0, 5),  # l' = floor(.4/.1 + 1) = 5 is not below 3
        ((0.5, 0), 0.4, 6, 6, 5),  # .4 * 6 = 2.4 < .5 * 5 = 2.5
        ((0.5, 0), 0.4, 7, 6, 5),  # 2.8 >= 2.5; 5 > 4: ceil(2.5/.4 - 1) = ceil(5.25) = 6
        ((0.2, 50), 0.1, 99, 99, 50),  # 9.9 < 10
        ((0.2, 50), 0.1, 100, 99, 50),  # 10 >= 10; 50 > 1: ceil(100 - 1)
        ((0.2, 50), 0.1, 50, 0, 50),
        ((0.2, 50), 0.2, 500, 0, 50),
        ((0.2, 3), 0.19, 100, 0, 3),  # 19 >= .6; 3 > .19/.01 = 19 fails
    ],
)
def test_a_classifier_takes_what_must_lower_its_error(before, error, size, admitted, after):
    progress = Progress(*before)
    assert progress.admit(error, size) == admitted
    assert (progress.error, progress.size) == (before[0], after)


def test_the_error_is_that_on_what_two_agree_on():
    first, second, truth = np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2]), np.array([0, 0, 1, 2])
    assert agreed_error(first, second, truth) == pytest.approx(1 / 3)
    assert agreed_error(first, 3 - first, truth) == 0.5  # nothing is agreed on


# -- the rounds --------------------------------------------------------------------------------------------------------
def choose(e, e_before, l_before, agreed):
    """The conditions of the paper: how many agreed rows are taken, and l' afterwards."""
    if e >= e_before:
        return 0, l_before
    if l_before == 0:
        l_before = math.floor(e / (e_before - e) + 1)
    if l_before < agreed and e * agreed < e_before * l_before:
        return agreed, l_before
    if l_before < agreed and l_before > e / (e_before - e):
        return math.ceil(e_before * l_before / e - 1), l_before
    return 0, l_before


def by_the_paper(members, X, y, rng):
    """Zhou & Li step by step; returns the classifiers and errors, agreed and taken rows of each round."""
    L, U = np.flatnonzero(y >= 0).tolist(), np.flatnonzero(y < 0).tolist()
    bags = [rng.choice(L, size=len(L)) for _ in members]
    h = [member().fit(X[bag], y[bag]) for member, bag in zip(members, bags, strict=True)]
    e_before, l_before, trace = [0.5] * 3, [0] * 3, []
    while not trace or any(trace[-1][2]):
        says = [model.predict(X) for model in h]
        errors, agreed, taken = [], [], []
        for i, (j, k) in enumerate([(1, 2), (0, 2), (0, 1)]):
            both = [x for x in L if says[j][x] == says[k][x]]
            errors.append(sum(says[j][x] != y[x] for x in both) / len(both))
            rows = [x for x in U if says[j][x] == says[k][x]]
            agreed.append(len(rows))
            count, l_before[i] = choose(errors[i], e_before[i], l_before[i], len(rows))
            taken.append(count)
            if count:
                rows = sorted(rng.permutation(rows)[:count].tolist())
                h[i] = members[i]().fit(X[L + rows], [*y[L], *says[j][rows]])
                e_before[i], l_before[i] = errors[i], count
        trace.append((errors, agreed, taken))
    return h, trace


@pytest.mark.parametrize("seed", range(4))
def test_the_rounds_are_those_of_the_paper(seed):
    X, y, X_test, _ = clouds(seed, labels=15)
    X, X_test = X[:, ::3], X_test[:, ::3]
    tree = partial(DecisionTreeClassifier, max_depth=2, random_state=0)
    members = (GaussianNB, tree, partial(GaussianNB, var_smoothing=0.1))  # none draws a random state
    model = TriTraining([m() for m in members], random_state=seed).fit(X, y)
    h, trace = by_the_paper(members, X, y, np.random.RandomState(seed))
    for row, (e, agreed, taken) in zip(model.history_, trace, strict=True):
        assert row["error"] == pytest.approx(e)
        assert (row["candidates"], row["added"]) == (agreed, taken)
    assert all(np.array_equal(a.predict(X_test), b.predict(X_test)) for a, b in zip(model.estimators_, h, strict=True))
    assert model.termination_condition_ == "no_candidate"
    assert model.n_iter_ == len(trace)


def test_the_traces_hold_updates_and_subsamples():
    rows = []
    for seed in range(4):
        X, y, *_ = clouds(seed, labels=15)
        rows += TriTraining(GaussianNB(), random_state=seed).fit(X[:, ::3], y).history_
    assert any(n for row in rows for n in row["added"])
    assert any(0 < n < c for row in rows for n, c in zip(row["added"], row["candidates"], strict=True))
    assert rows[-1]["added"] == [0, 0, 0]


def test_the_number_of_rounds_can_be_limited():
    X, y, *_ = clouds(0, labels=15)
    model = TriTraining(GaussianNB(), max_rounds=1, random_state=0).fit(X, y)
    assert (model.n_iter_, model.termination_condition_) == (1, "max_rounds")
    none = TriTraining(GaussianNB(), max_rounds=0, random_state=0).fit(X, y)
    assert (none.n_iter_, none.termination_condition_, none.history_) == (0, "max_rounds", [])
    assert np.array_equal(none.transduction_, y)


def test_without_unlabeled_rows_there_is_no_round():
    X, y, *_ = clouds(0)
    model = TriTraining(GaussianNB(), random_state=0).fit(X[y >= 0], y[y >= 0])
    assert (model.n_iter_, model.termination_condition_) == (0, "all_labeled")


def test_provenance():
    X, y, *_ = clouds(1, labels=15)
    model = TriTraining(GaussianNB(), random_state=1).fit(X[:, ::3], y)
    given = y >= 0
    assert model.taught_[given].all()
    assert (model.labeled_iter_[given] == 0).all()
    assert np.array_equal(model.labeled_iter_ > 0, model.taught_.any(1) & ~given)
    assert np.array_equal(model.transduction_ < 0, model.labeled_iter_ < 0)
    last = {i: row["round"] for row in model.history_ for i in range(3) if row["added"][i]}
    for i, number in last.items():
        assert (model.labeled_iter_[model.taught_[:, i] & ~given] >= number).all()
        assert model.taught_[~given, i].sum() == model.history_[number - 1]["added"][i]
    assert set(np.unique(model.labeled_iter_)) - {-1, 0} <= set(last.values())


def test_the_latest_label_of_a_row_counts():
    X, y, *_ = clouds(2, labels=15)
    model = TriTraining(GaussianNB(), random_state=2).fit(X[:, ::3], y)
    histogram = model.history_[-1]["histogram"]
    taught = [model.taught_[y < 0, i].sum() for i in range(3)]
    assert [sum(counts) for counts in histogram] == taught


# -- the vote ----------------------------------------------------------------------------------------------------------
class Constant(ClassifierMixin, BaseEstimator):
    """Says one distribution for every row, or, without one, one class."""

    def __init__(self, says=None, proba=True):
        self.says, self.proba = says, proba

    def fit(self, X, y):
        self.classes_ = np.array([0, 1, 2])
        return self

    def predict(self, X):
        return np.full(len(X), int(np.argmax(self.says)))

    def __getattr__(self, name):
        if name == "predict_proba" and self.__dict__.get("proba"):
            return lambda X: np.tile(self.says, (len(X), 1))
        raise AttributeError(name)


def vote(*said, proba=True):
    X, y = np.arange(9.0)[:, None], np.array([0, 1, 2, 0, 1, 2, -1, -1, -1])
    return TriTraining([Constant(s, proba) for s in said], max_rounds=0, random_state=0).fit(X, y), X


def test_the_majority_decides_against_a_larger_mean_probability():
    model, X = vote([0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.0, 1.0, 0.0])
    assert model.predict_proba(X)[0].tolist() == pytest.approx([0.8 / 3, 1.6 / 3, 0.2])
    assert set(model.predict(X)) == {0}


def test_where_all_disagree_the_mean_probability_decides():
    model, X = vote([0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5])
    assert set(model.predict(X)) == {1}


def test_where_there_are_no_probabilities_the_first_decides():
    model, X = vote([0, 0, 1], [1, 0, 0], [0, 1, 0], proba=False)
    assert set(model.predict(X)) == {2}
    assert not hasattr(model, "predict_proba")


def test_classifiers_without_probabilities():
    X, y, X_test, y_test = clouds(0, labels=8)
    model = TriTraining(Perceptron(), random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.5
    assert not hasattr(model, "predict_proba")


def test_each_bootstrap_is_its_own_and_has_two_classes():
    X, y = np.arange(8.0)[:, None], np.array([0, 1, -1, -1, -1, -1, -1, -1])
    for seed in range(6):
        model = TriTraining(GaussianNB(), max_rounds=0, random_state=seed).fit(X, y)
        assert all(len(e.classes_) == 2 for e in model.estimators_)
    X, y, *_ = clouds(0, labels=8)
    model = TriTraining(LogisticRegression(), max_rounds=0, random_state=0).fit(X, y)
    first, second, third = (e.coef_ for e in model.estimators_)
    assert not np.allclose(first, second)
    assert not np.allclose(second, third)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": [GaussianNB()] * 2}, "estimator holds 2 classifiers; give one or three"),
        ({"estimator": GaussianNB(), "max_rounds": -1}, "max_rounds is -1; it must be 0 or more, or None"),
        ({"estimator": "forest"}, "estimator is 'forest'; give a classifier"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    X, y, *_ = clouds(0)
    with pytest.raises(ValueError, match=message):
        TriTraining(**settings).fit(X, y)
