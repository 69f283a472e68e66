"""Each way of self-training beats the same classifier on the labels alone, by the median of five seeds."""

import statistics

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from wrapper_helpers import clouds

from selftrain.wrapper import (
    CoTraining,
    Fixed,
    Mean,
    MostConfident,
    PerClass,
    Proportion,
    SelfTraining,
    TransductiveBound,
    TriTraining,
)


def median_gain(model, base, labels):
    """Accuracy on new rows minus that of learning the labels alone."""
    gains = []
    for seed in range(5):
        X, y, X_test, y_test = clouds(seed, labels)
        supervised = base.fit(X[y >= 0], y[y >= 0]).score(X_test, y_test)
        gains.append(model.set_params(random_state=seed).fit(X, y).score(X_test, y_test) - supervised)
    return statistics.median(gains)


@pytest.mark.parametrize(
    "policy",
    [Fixed(), Mean(), MostConfident(), Proportion(), PerClass(), TransductiveBound()],
    ids=lambda policy: type(policy).__name__,
)
def test_self_training_learns(policy):
    assert median_gain(SelfTraining(LogisticRegression(), policy=policy), LogisticRegression(), labels=2) > 0.03


def test_co_training_learns():
    assert median_gain(CoTraining(GaussianNB()), GaussianNB(), labels=4) > 0.03


def test_tri_training_learns():
    assert median_gain(TriTraining(GaussianNB()), GaussianNB(), labels=8) > 0.03
