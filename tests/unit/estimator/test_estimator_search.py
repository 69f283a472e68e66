"""Cross-validation, searches and pipelines with few labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selftrain import LabeledKFold, SelfTrainClassifier
from selftrain.errors import DataError

X, Y = load_wine(return_X_y=True)
HIDDEN = np.where(np.arange(len(Y)) % 4 == 0, Y, -1)


class Recorder(SelfTrainClassifier):
    """Notes which rows it was given."""

    seen: list = []

    def fit(self, X, y):
        self.seen.append((len(X), int((np.asarray(y) == -1).sum())))
        return super().fit(X, y)


def quick(make=SelfTrainClassifier, **settings):
    return make(**{"steps": 15, "lr": 0.02, "random_state": 0, **settings})


# -- folds -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("marker", [-1, "?", None])
def test_folds_test_labels_and_train_with_all_unlabeled_rows(marker):
    y = HIDDEN.astype(object) if marker is None else np.where(HIDDEN < 0, marker, HIDDEN.astype(type(marker)))
    if marker is None:
        y[HIDDEN < 0] = None
    blank = np.flatnonzero(HIDDEN < 0)
    tested = []
    for train, test in LabeledKFold(3, unlabeled=marker, shuffle=True, random_state=0).split(X, y):
        assert np.isin(blank, train).all()
        assert (HIDDEN[test] >= 0).all()
        assert sorted([*train, *test]) == list(range(len(y)))
        assert np.ptp(np.bincount(HIDDEN[test]) - np.bincount(HIDDEN[HIDDEN >= 0]) / 3) < 1.5  # stratified
        tested += test.tolist()
    assert sorted(tested) == np.flatnonzero(HIDDEN >= 0).tolist()


def test_folds_without_labels_are_refused():
    with pytest.raises(DataError, match="all 4 rows of y are unlabeled"):
        next(LabeledKFold(2).split(np.zeros((4, 1)), [-1] * 4))
    assert LabeledKFold(4).get_n_splits() == 4


def test_cross_validation_scores_labeled_rows_and_keeps_the_unlabeled_ones():
    Recorder.seen.clear()
    scores = cross_val_score(quick(Recorder), X, HIDDEN, cv=LabeledKFold(3), scoring="accuracy")
    assert scores.min() > 0.7  # scored on -1, it could not be above a quarter
    pile = int((HIDDEN < 0).sum())
    assert [unlabeled for _, unlabeled in Recorder.seen] == [pile] * 3


def test_the_estimators_own_score_suits_an_ordinary_splitter_too():
    scores = cross_val_score(quick(), X, HIDDEN, cv=StratifiedKFold(3))
    assert scores.min() > 0.7


# -- searches and pipelines --------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_search_over_two_strategies_with_40_labels():
    x, y = load_digits(return_X_y=True)
    train = np.arange(len(y)) % 5 != 0
    images, truth = x.reshape(-1, 8, 8) / 16, y
    labels = np.full(len(y), -1)
    for c in range(10):
        labels[np.flatnonzero(train & (y == c))[:4]] = c
    search = GridSearchCV(
        SelfTrainClassifier(steps=40, lr=5e-3, batch_size=20, random_state=0),
        {"strategy": ["supervised", "fixmatch"]},
        cv=LabeledKFold(2),
    ).fit(images[train], labels[train])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["strategy"] in ("supervised", "fixmatch")
    assert search.best_estimator_.strategy == search.best_params_["strategy"]
    assert search.score(images[~train], truth[~train]) > 0.5


def test_at_both_ends_of_a_pipeline():
    ahead = make_pipeline(StandardScaler(), quick()).fit(X, HIDDEN)
    scaled = StandardScaler().fit_transform(X)
    assert np.array_equal(ahead.predict(X), quick().fit(scaled, HIDDEN).predict(scaled))
    behind = make_pipeline(quick(), StandardScaler(), LogisticRegression())
    known = HIDDEN >= 0
    model = behind[0].fit(X, HIDDEN)
    probe = LogisticRegression().fit(model.transform(X)[known], Y[known])
    assert probe.score(model.transform(X), Y) > 0.8
    assert model.set_output(transform="default").transform(X[:2]).shape == (2, 128)


def test_a_search_reaches_into_the_pipeline():
    line = make_pipeline(StandardScaler(), quick(steps=5))
    search = GridSearchCV(
        line, {"selftrainclassifier__select": ["above(0.8)", "free"]}, cv=LabeledKFold(2), error_score="raise"
    )
    assert search.fit(X, HIDDEN).score(X, Y) > 0.4


# ------------------------------------------------------------------ groups

PATIENTS = np.arange(60) // 5
SEEN = np.where(np.arange(60) % 2 == 0, PATIENTS % 3, -1)


@pytest.mark.parametrize("groups", [PATIENTS, [f"patient {i}" for i in PATIENTS], pd.Series(PATIENTS).astype("Int64")])
def test_no_group_is_trained_on_and_tested(groups):
    tested = []
    for train, test in LabeledKFold(np.int64(3)).split(np.zeros((60, 1)), SEEN, groups):
        assert not set(PATIENTS[train]) & set(PATIENTS[test])
        assert (SEEN[test] >= 0).all()
        # all other unlabeled rows are learned from
        assert set(train) == {row for row in range(60) if PATIENTS[row] not in PATIENTS[test]}
        tested += test.tolist()
    assert sorted(tested) == np.flatnonzero(SEEN >= 0).tolist()


@pytest.mark.parametrize("blank", [None, np.nan, pd.NA, pd.NaT, ""])
def test_rows_without_a_group_are_refused_and_the_remedy_works(blank):
    groups = PATIENTS.astype(object)
    groups[[7, 9]] = blank
    with pytest.raises(DataError, match=r"2 of 60 rows have no group \(row 7 is the first\), .*one of its own"):
        next(LabeledKFold(3).split(np.zeros((60, 1)), SEEN, groups))
    groups[[7, 9]] = ["alone 7", "alone 9"]
    assert len(list(LabeledKFold(3).split(np.zeros((60, 1)), SEEN, groups))) == 3


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(DataError, match="2 groups have labeled rows, and there are 3 folds"):
        next(LabeledKFold(3).split(np.zeros((60, 1)), SEEN, PATIENTS // 6))
    with pytest.raises(DataError, match="60 rows but 3 groups"):
        next(LabeledKFold(2).split(np.zeros((60, 1)), SEEN, [1, 2, 3]))
