"""The candidates of our own: a mixture and softmax regression that learn from rows without a label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.special import softmax
from scipy.stats import multivariate_normal, norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from selftrain.portfolio import DiscriminantSoftLabels, SemiSupervisedMixture, SoftLabelRegression
from selftrain.portfolio.candidates import LabelsAlone, PartOfPile, SharedGraph
from selftrain.portfolio.forms import Forms

DRAW = np.random.default_rng(0)
TRUTH = np.repeat([0, 1, 2], 40)
X = DRAW.normal(size=(120, 4)) * [1, 2, 0.5, 1] + 1.5 * np.eye(3, 4)[TRUTH]
HALF = np.where(np.arange(120) % 4 == 0, TRUTH, -1)


@pytest.mark.parametrize("covariance", ["shared", "diagonal"])
def test_without_the_pile_the_mixture_is_the_textbook_classifier(covariance):
    found = SemiSupervisedMixture(covariance, weight=0.0, shrinkage=0.0).fit(X, HALF)
    known = HALF >= 0
    textbook = LinearDiscriminantAnalysis(solver="lsqr") if covariance == "shared" else GaussianNB(var_smoothing=0)
    expected = textbook.fit(X[known], HALF[known]).predict_proba(X)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-3)


@pytest.mark.parametrize(("covariance", "weight"), [("shared", 1.0), ("diagonal", 0.3)])
def test_where_the_mixture_ends_both_equations_hold(covariance, weight):
    found = SemiSupervisedMixture(covariance, weight=weight, shrinkage=0.0, max_iter=2000, tol=1e-12).fit(X, HALF)
    r = np.where(HALF[:, None] >= 0, np.eye(3)[HALF], found.predict_proba(X))
    count = r * np.where(HALF >= 0, 1.0, weight)[:, None]
    total = count.sum(0)
    means = np.stack([count[:, c] @ X / total[c] for c in range(3)])
    scatter = np.stack([(count[:, c, None] * (X - means[c])).T @ (X - means[c]) for c in range(3)])
    log_density = np.empty((120, 3))
    for c in range(3):
        if covariance == "shared":
            log_density[:, c] = multivariate_normal(means[c], scatter.sum(0) / total.sum()).logpdf(X)
        else:
            log_density[:, c] = norm(means[c], np.sqrt(np.diag(scatter[c]) / total[c])).logpdf(X).sum(1)
    expected = softmax(log_density + np.log(total / total.sum()), axis=1)
    np.testing.assert_allclose(found.means_, means, atol=1e-4)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-4)
    assert found.n_iter_ > 2


def test_shrinkage_is_a_share_of_the_covariance():
    found = SemiSupervisedMixture(shrinkage=0.25, weight=0.0).fit(X, TRUTH)
    apart = X - found.means_[TRUTH]
    plain = apart.T @ apart / len(X)
    expected = 0.75 * plain + 0.25 * np.trace(plain) / 4 * np.eye(4)
    np.testing.assert_allclose(found.scale_ @ found.scale_.T, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"covariance is 'full'; choose one of \('shared', 'diagonal'\)"):
        SemiSupervisedMixture("full").fit(X, TRUTH)


def test_without_rounds_it_is_logistic_regression():
    known = HALF >= 0
    found = SoftLabelRegression(C=0.5, rounds=0).fit(X, HALF)
    expected = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(X[known], HALF[known]).predict_proba(X)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=2e-3)


def test_a_round_learns_aligned_and_sharpened_soft_labels():
    first = SoftLabelRegression(rounds=0).fit(X, HALF)
    second = SoftLabelRegression(rounds=1, temperature=0.5, weight=2.0).fit(X, HALF)
    known, pile = HALF >= 0, HALF < 0
    p = first.predict_proba(X[pile])
    soft = (p * (np.bincount(HALF[known]) + 1) / (known.sum() + 3) / p.mean(0)) ** 2
    target = np.vstack([np.eye(3)[HALF[known]], soft / soft.sum(1, keepdims=True)])
    weights = np.concatenate([np.ones(known.sum()), np.full(pile.sum(), 2.0 * known.sum() / pile.sum())])
    rows = np.vstack([X[known], X[pile]])

    def cost(flat):
        coef = flat.reshape(3, 5)
        p = softmax(rows @ coef[:, :4].T + coef[:, 4], axis=1)
        return -(weights * (target * np.log(p)).sum(1)).sum() + 0.5 * (coef[:, :4] ** 2).sum()

    # no slope is left where the second round ended, and the first one ended elsewhere
    def flat_at(coef):
        return check_grad(cost, lambda x: np.zeros_like(x), coef.ravel())

    assert flat_at(second.coef_) < 0.1 < flat_at(first.coef_)


def test_discriminant_soft_labels_pay_for_weights_by_the_covariance_within_classes():
    known = HALF >= 0
    mixture = SemiSupervisedMixture(shrinkage=0.5, weight=0.0)
    found = DiscriminantSoftLabels(mixture, SoftLabelRegression(C=0.5, rounds=0)).fit(X, HALF)
    # W by its definition; a mean squared length of 1 a row: length^2 = mean of x^T W^-1 x
    apart = X[known] - np.stack([X[c == HALF].mean(0) for c in range(3)])[HALF[known]]
    plain = apart.T @ apart / known.sum()
    within = 0.5 * plain + 0.5 * np.trace(plain) / 4 * np.eye(4)
    inverse = np.linalg.inv(within)
    squared = np.einsum("ni,ij,nj->n", X, inverse, X).mean()

    def cost(flat):
        a, b = flat.reshape(3, 5)[:, :4], flat.reshape(3, 5)[:, 4]
        p = softmax(X[known] @ a.T + b, axis=1)
        return -np.log(p[np.arange(known.sum()), HALF[known]]).sum() + squared * np.einsum("ci,ij,cj", a, within, a)

    best = minimize(cost, np.zeros(15), tol=1e-10).x.reshape(3, 5)
    expected = softmax(X @ best[:, :4].T + best[:, 4], axis=1)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=5e-3)
    assert (found.predict(X) == expected.argmax(1)).all()
    # the pile shapes the metric and is learned from
    other = DiscriminantSoftLabels(SemiSupervisedMixture(shrinkage=0.5), SoftLabelRegression(C=0.5)).fit(X, HALF)
    assert np.abs(other.predict_proba(X) - expected).max() > 0.02


def test_labels_alone_see_no_other_row():
    class Seen(LogisticRegression):
        def fit(self, X, y):
            self.seen = X, y
            return super().fit(X, y)

    model = LabelsAlone(Seen()).fit(X, HALF)
    assert np.array_equal(model.estimator.seen[0], X[HALF >= 0])
    assert model.estimator.seen[1].min() == 0


def test_a_part_of_the_pile_is_the_same_whichever_label_is_hidden():
    class Seen:
        classes_ = np.arange(3)

        def fit(self, X, y):
            self.rows, self.y = X[:, 0], y
            return self

    hidden = HALF.copy()
    hidden[[0, 40]] = -1
    rows = np.arange(120.0)[:, None]
    one, other = (PartOfPile(Seen(), 30, 0).fit(rows, y).estimator for y in (HALF, hidden))
    assert (one.y < 0).sum() == (other.y < 0).sum() == 30
    assert len(np.intersect1d(one.rows[one.y < 0], other.rows[other.y < 0])) >= 28


def test_a_graph_answers_for_its_rows_and_for_new_ones_as_the_classifier_of_graphs():
    from selftrain.graph import GraphClassifier

    forms = Forms(X)
    rows = forms["standard"]
    ours = SharedGraph(forms, "standard", "label_spreading", alpha=0.9).fit(rows, HALF)
    whole = GraphClassifier("label_spreading", alpha=0.9, standardize=False).fit(rows, HALF)
    new = rows[:20] + 0.05
    np.testing.assert_allclose(ours.predict_proba(rows), whole.label_distributions_)
    np.testing.assert_allclose(ours.predict_proba(new), whole.predict_proba(new))
