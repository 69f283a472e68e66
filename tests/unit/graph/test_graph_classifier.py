"""The graph as an estimator of scikit-learn: its own checks, rows of fit and new ones, labels in every form."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from wrapper_helpers import clouds

from selftrain.graph import GraphClassifier, knn_graph
from selftrain.graph.propagation import METHODS

MARKER = "-1 is a class in this check, and the marker of unlabeled rows by default"


@parametrize_with_checks(
    [GraphClassifier(), GraphClassifier("label_spreading", unlabeled=-99)],
    expected_failed_checks=lambda model: {"check_classifiers_classes": MARKER} if model.unlabeled == -1 else {},
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", METHODS)
def test_the_distributions_are_those_of_the_function(method):
    X, y, *_ = clouds(0)
    model = GraphClassifier(method, neighbors=7).fit(X, y)
    graph = knn_graph(StandardScaler().fit_transform(X), 7)
    np.testing.assert_allclose(model.graph_.toarray(), graph.toarray())
    np.testing.assert_allclose(model.label_distributions_, METHODS[method](graph, y, 3), atol=1e-9)
    expected = np.where(y >= 0, y, model.label_distributions_.argmax(1))
    np.testing.assert_array_equal(model.transduction_, expected)


def test_a_row_of_fit_gets_its_own_distribution():
    X, y, *_ = clouds(0)
    model = GraphClassifier().fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X[::-1]), model.label_distributions_[::-1])


@pytest.mark.parametrize("scale", ["local", 3.0, None])
def test_a_new_row_gets_the_weighted_mean_of_its_nearest_rows(scale):
    X, y, X_test, _ = clouds(0)
    model = GraphClassifier("laplace", 4, scale=scale, standardize=False).fit(X, y)
    for row, found in zip(X_test[:5], model.predict_proba(X_test[:5]), strict=True):
        apart = np.linalg.norm(X - row, axis=1)
        near = apart.argsort()[:4]
        d = apart[near]
        weight = {"local": np.exp(-4 * d**2 / d[-1] ** 2), 3.0: np.exp(-((d / 3.0) ** 2)), None: np.ones(4)}[scale]
        np.testing.assert_allclose(found, weight @ model.label_distributions_[near] / weight.sum(), atol=1e-9)


def test_a_row_far_away_has_an_answer():
    X, y, *_ = clouds(0)
    model = GraphClassifier(scale=5.0).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(np.full((1, 24), 1e4)).sum(), 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_few_labels_go_a_long_way(method):
    X, y, X_test, y_test = clouds(0, labels=10)
    assert GraphClassifier(method).fit(X, y).score(X_test, y_test) > 0.9


def test_standardized_columns_have_no_unit():
    X, y, X_test, _ = clouds(0)
    unit = np.logspace(-6, 6, 24)
    model, other = GraphClassifier().fit(X, y), GraphClassifier().fit(X * unit + 3 * unit, y)
    np.testing.assert_allclose(other.predict_proba(X_test * unit + 3 * unit), model.predict_proba(X_test), atol=1e-6)
    raw = GraphClassifier(standardize=False).fit(X * unit, y)
    assert abs(raw.graph_ - model.graph_).max() > 0.1


def test_texts_stay_sparse():
    texts = [f"{word} {word}s {word}{i}" for word in ("cat", "stock") for i in range(6)]
    y = np.array([0] + [-1] * 5 + [1] + [-1] * 5)
    model = make_pipeline(TfidfVectorizer(), GraphClassifier(metric="cosine", neighbors=3, standardize=False))
    assert (model.fit(texts, y).predict(["a cat", "the stocks"]) == [0, 1]).all()
    assert sparse.issparse(model[-1]._features)
    assert model[-1].transduction_.tolist() == [0] * 6 + [1] * 6


def test_text_labels_and_a_marker_of_ones_own():
    X, y, X_test, _ = clouds(0)
    names = np.array(["left", "right", "up", "?"])
    said, plain = GraphClassifier(unlabeled="?").fit(X, names[y]), GraphClassifier().fit(X, y)
    assert said.classes_.tolist() == ["left", "right", "up"]
    np.testing.assert_array_equal(said.transduction_, names[plain.transduction_])
    np.testing.assert_array_equal(said.predict(X_test), names[plain.predict(X_test)])


def test_a_pickle_and_a_clone():
    X, y, X_test, _ = clouds(0)
    model = GraphClassifier("poisson_volume", shares=[0.3, 0.3, 0.4]).fit(X, y)
    first = model.predict_proba(X_test)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X_test), first)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X_test), first)


def test_a_search_over_its_settings():
    X, y, *_ = clouds(0, labels=6)
    grid = {"neighbors": [3, 9], "method": ["laplace", "poisson"]}
    search = GridSearchCV(GraphClassifier(), grid, cv=StratifiedKFold(3), error_score="raise").fit(X, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "'magic'; choose one of"),
        ({"alpha": 0.5}, "alpha is 0.5, which 'poisson' has not; set alpha=None or method='label_spreading'"),
        ({"shares": [0.2, 0.8]}, "which 'poisson' has not; set shares=None or method='poisson_volume'"),
        ({"neighbors": 0}, "neighbors is 0"),
        ({"metric": "x"}, "metric is 'x'"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(settings, message):
    X, y, *_ = clouds(0)
    with pytest.raises(ValueError, match=message):
        GraphClassifier(**settings).fit(X, y)


def test_settings_of_a_method_are_taken():
    X, y, *_ = clouds(0)
    near = GraphClassifier("label_spreading", alpha=0.2).fit(X, y).label_distributions_
    assert np.abs(near - GraphClassifier("label_spreading").fit(X, y).label_distributions_).max() > 0.01
    shares = [0.1, 0.2, 0.7]
    model = GraphClassifier("poisson_volume", shares=shares).fit(X, y)
    counts = np.bincount(model.label_distributions_.argmax(1)) / len(y)
    np.testing.assert_allclose(counts, shares, atol=0.01)
