"""What simple models say of two sets of decisions, against a second way to count it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selftrain.evaluation import cross_fitted as module
from selftrain.evaluation.cross_fitted import CrossFitted, cross_fitted

RNG = np.random.RandomState(0)
Y = np.arange(120) % 3
X = torch.tensor(RNG.normal(size=(120, 4)) + 2 * np.eye(4)[Y], dtype=torch.float32)
LABELS, PILE = slice(18), slice(18, None)
TRUTH = torch.tensor(Y)


def wrong(share):
    """Decisions of which a share is the next class."""
    found = TRUTH[PILE].clone()
    some = torch.arange(len(found)) < share * len(found)
    found[some] = (found[some] + 1) % 3
    return found


def test_both_signs_are_those_of_models_that_are_fitted_by_hand():
    good, bad = wrong(0.05), wrong(0.6)
    found = cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], bad, good, seed=3)
    forest = ExtraTreesClassifier(module.TREES, random_state=3).fit(X[LABELS], Y[LABELS])
    said = torch.from_numpy(forest.predict(X[PILE]))
    assert (found.agrees, found.alone_agrees) == tuple(float((said == one).double().mean()) for one in (bad, good))
    scale = StandardScaler().fit(X[PILE])
    for classes, share in ((bad, found.taught), (good, found.alone_taught)):
        model = LogisticRegression(max_iter=500).fit(scale.transform(X[PILE]), classes)
        assert share == pytest.approx((model.predict(scale.transform(X[LABELS])) == Y[LABELS]).mean())
    right = np.zeros(18)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=3).split(X[LABELS], Y[LABELS]):
        scale = StandardScaler().fit(X[train])
        model = LogisticRegression(max_iter=500).fit(scale.transform(X[train]), Y[train])
        right[test] = model.predict(scale.transform(X[test])) == Y[test]
    assert found.logistic == pytest.approx(right.mean())
    assert (found.form, found.labels, found.folds, found.rows, found.worse) == ("rows", 18, 5, 102, True)
    assert not cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], good, bad).worse
    assert not cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], bad, bad).worse
    few = slice(18, 60)  # rows on which two points are chance
    assert not cross_fitted(X[LABELS], TRUTH[LABELS], X[few], bad[:42], good[:42]).worse


def test_one_sign_is_not_enough():
    shares = {"form": "rows", "labels": 20, "folds": 5, "rows": 60, "logistic": 0.5, "forest": 0.5}
    both = CrossFitted(**shares, agrees=0.8, alone_agrees=0.83, taught=0.8, alone_taught=0.85)
    assert both.worse
    assert CrossFitted.stored({**vars(both), "of later": 1}) == both
    assert CrossFitted.stored(None) is None
    for change in ({"alone_agrees": 0.81}, {"alone_taught": 0.8}, {"rows": 49}):
        assert not replace(both, **change).worse


def test_a_run_is_behind_a_simple_model_that_has_more_right_than_it_can_have():
    good, bad = wrong(0.05), wrong(0.6)
    found = cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], bad, good, seed=3)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X[LABELS], Y[LABELS])
    said = model.predict(X[PILE])
    assert found.logistic >= found.forest
    assert found.rival_agrees == pytest.approx((said == bad.numpy()).mean())
    # whatever the truth is, no more can be right than where both agree and where the model is wrong
    assert (bad == TRUTH[PILE]).double().mean() <= found.rival_agrees + (said != Y[PILE]).mean()
    assert found.most == pytest.approx(found.rival_agrees + 1 - found.logistic)
    assert found.behind
    assert f"{100 * found.logistic:.1f} % out of fold, this run at most {100 * found.most:.1f} %" in found.rival()
    assert not cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], good, good, seed=3).behind
    assert not replace(found, rows=49).behind
    assert not replace(found, rival_agrees=2 * found.logistic - 1.015).behind  # within two points
    # all of eight labels right out of fold is no certainty, of eighty it is nearly one
    sure = replace(found, logistic=1.0, rival_agrees=0.9)
    assert (replace(sure, labels=8).behind, replace(sure, labels=80).behind) == (False, True)
    older = replace(found, rival_agrees=None)
    assert (older.behind, older.most) == (False, None)
    assert CrossFitted.stored({name: value for name, value in vars(older).items() if name != "rival_agrees"}) == older


def test_pictures_are_read_as_colors_where_these_tell_more():
    """Classes of a color each, at places that tell nothing."""
    x = torch.rand(120, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.5
    for i, c in enumerate(Y):
        x[i, c, i % 12, :2] = 1.0  # two pixels of a color of the class
    found = cross_fitted(x[LABELS] * 2 - 1, TRUTH[LABELS], x[PILE] * 2 - 1, wrong(0.6), wrong(0.0), pictures=x)
    assert found.form == "colors"
    assert found.worse
    assert cross_fitted(x[LABELS], TRUTH[LABELS], x[PILE], wrong(0.6), wrong(0.0)).form == "small pictures"


def test_a_single_class_teaches_itself_and_what_cannot_be_told_is_said(monkeypatch):
    one = torch.zeros(102, dtype=torch.long)
    assert cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], one, wrong(0.1)).taught == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="label two of each"):
        cross_fitted(X[:3], TRUTH[:3], X[PILE], one, one)
    assert cross_fitted(X[:6], TRUTH[:6], X[PILE], one, one).folds == 2
    monkeypatch.setattr(module, "WIDEST", 3)
    with pytest.raises(ValueError, match="a row has 4 numbers, more than simple models read; hold labels out"):
        cross_fitted(X[LABELS], TRUTH[LABELS], X[PILE], one, one)
