"""The wrappers as estimators of scikit-learn: its own checks, pipelines, searches, pickles, sparse rows."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks
from wrapper_helpers import clouds

from selftrain.wrapper import (
    CoTraining,
    FewChanges,
    Fixed,
    MostConfident,
    Proportion,
    SelfTraining,
    TransductiveBound,
    TriTraining,
)
from selftrain.wrapper.scores import member_votes

MARKER = "-1 is a class in this check, and the marker of unlabeled rows by default"
VOTE = "the majority of three decides (Zhou & Li), not the largest mean probability"


def expected_failures(estimator):
    if isinstance(estimator, TriTraining):
        return {"check_classifiers_train": VOTE}
    return {"check_classifiers_classes": MARKER} if estimator.unlabeled == -1 else {}


@pytest.mark.one_in(3)
@parametrize_with_checks(
    [
        SelfTraining(LogisticRegression()),
        SelfTraining(LogisticRegression(), unlabeled=-99, policy=Proportion(), stop=[FewChanges()], random_state=0),
        CoTraining(LogisticRegression(), unlabeled=-99, random_state=0),
        TriTraining([LogisticRegression(), GaussianNB(), DecisionTreeClassifier()], unlabeled=-99, random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


MODELS = [
    SelfTraining(LogisticRegression(), policy=MostConfident(60), stop=[FewChanges()], random_state=0),
    CoTraining(LogisticRegression(), rounds=3, random_state=0),
    TriTraining(LogisticRegression(), random_state=0),
]


@pytest.fixture(params=MODELS, ids=lambda model: type(model).__name__)
def model(request):
    return clone(request.param)


def test_text_labels_and_a_marker_of_ones_own(model):
    X, y, X_test, y_test = clouds(0)
    names = np.array(["left", "right", "up", "?"])
    said = model.set_params(unlabeled="?").fit(X, names[y])
    plain = clone(model).set_params(unlabeled=-1).fit(X, y)
    assert said.classes_.tolist() == ["left", "right", "up"]
    assert np.array_equal(said.predict(X_test), names[plain.predict(X_test)])
    assert np.array_equal(said.transduction_, names[plain.transduction_])
    mixed = np.array([names[c] if c >= 0 else -1 for c in y], dtype=object)
    assert np.array_equal(clone(model).set_params(unlabeled=-1).fit(X, mixed).predict(X_test), said.predict(X_test))


def test_a_pickle_predicts_the_same(model):
    X, y, X_test, _ = clouds(0)
    again = pickle.loads(pickle.dumps(model.fit(X, y)))
    assert np.array_equal(again.predict_proba(X_test), model.predict_proba(X_test))
    assert np.array_equal(again.labeled_iter_, model.labeled_iter_)
    assert again.history_ == model.history_


def test_a_clone_is_not_fitted_and_learns_the_same(model):
    X, y, X_test, _ = clouds(0)
    first = model.fit(X, y).predict_proba(X_test)
    copied = clone(model)
    assert not hasattr(copied, "transduction_")
    assert np.array_equal(copied.fit(X, y).predict_proba(X_test), first)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_rows(model, kind):
    X, y, X_test, _ = clouds(0)
    X, X_test = np.round(X) * (np.abs(X) > 2), np.round(X_test)
    dense = clone(model).fit(X, y).predict_proba(X_test)
    np.testing.assert_allclose(model.fit(kind(X), y).predict_proba(kind(X_test)), dense, atol=1e-4)
    assert model.__sklearn_tags__().input_tags.sparse


def test_sparse_is_what_the_classifier_says():
    assert not SelfTraining(GaussianNB()).__sklearn_tags__().input_tags.sparse
    assert not CoTraining([LogisticRegression(), GaussianNB()]).__sklearn_tags__().input_tags.sparse
    assert is_classifier(SelfTraining(LogisticRegression()))


def test_within_a_pipeline(model):
    X, y, X_test, y_test = clouds(0)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    scaler = StandardScaler().fit(X)
    alone = clone(model).fit(scaler.transform(X), y)
    assert np.array_equal(pipeline.predict(X_test), alone.predict(scaler.transform(X_test)))
    assert pipeline.score(X_test, y_test) > 1 / 3


def test_a_search_over_settings_of_the_policy_scores_labeled_rows_only():
    X, y, X_test, y_test = clouds(0, labels=9)
    search = GridSearchCV(
        SelfTraining(LogisticRegression(), policy=Fixed(), random_state=0),
        {"policy__threshold": [0.5, 0.99], "estimator__C": [0.1, 1.0]},
        cv=StratifiedKFold(3),  # y's classes and the marker are spread alike over the folds
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.policy.threshold == search.best_params_["policy__threshold"]
    assert search.score(X_test, y_test) > 0.6


def test_the_score_passes_over_unlabeled_rows(model):
    X, y, *_ = clouds(0)
    model.fit(X, y)
    assert model.score(X, y) == (model.predict(X)[y >= 0] == y[y >= 0]).mean()
    weight = np.arange(600.0)
    right = (model.predict(X) == y)[y >= 0]
    assert model.score(X, y, weight) == pytest.approx(np.average(right, weights=weight[y >= 0]))
    with pytest.raises(ValueError, match="all 2 rows of y are marked -1; there is nothing to score"):
        model.score(X[:2], [-1, -1])


def test_rows_of_a_table_keep_their_names(model):
    pd = pytest.importorskip("pandas")
    X, y, X_test, _ = clouds(0)
    names = [f"f{i}" for i in range(X.shape[1])]
    model.fit(pd.DataFrame(X, columns=names), y)
    assert model.feature_names_in_.tolist() == names
    assert model.n_features_in_ == 24
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame(X_test, columns=names[::-1]))


@pytest.mark.parametrize(
    "base",
    [
        RandomForestClassifier(9, random_state=0),
        ExtraTreesClassifier(9, max_depth=2, random_state=0),
        BaggingClassifier(KNeighborsClassifier(3), 5, max_features=0.5, random_state=0),
        VotingClassifier(
            [("a", GaussianNB()), ("b", LogisticRegression()), ("c", DecisionTreeClassifier(max_depth=2))]
        ),
    ],
    ids=lambda base: type(base).__name__,
)
def test_members_speak_of_the_classes(base):
    X, y, X_test, _ = clouds(0, labels=8)
    names = np.array(["z", "m", "a"])
    fitted = base.fit(X[y >= 0], names[y[y >= 0]])
    votes = member_votes(fitted, X_test, np.array(["a", "m", "z"]))
    np.testing.assert_allclose(votes.sum(1), 1)
    codes = [
        m.predict(X_test[:, f]).astype(int)
        for m, f in zip(fitted.estimators_, getattr(fitted, "estimators_features_", [range(24)] * 9), strict=False)
    ]
    expected = np.mean([np.array(["a", "m", "z"])[c][:, None] == ["a", "m", "z"] for c in codes], axis=0)
    np.testing.assert_allclose(votes, expected)
    assert (votes.argmax(1) == np.searchsorted(["a", "m", "z"], fitted.predict(X_test))).mean() > 0.8


@pytest.mark.parametrize("base", [RandomForestClassifier(20), BaggingClassifier(GaussianNB(), 5)])
def test_a_forest_with_the_bound_and_with_votes(base):
    X, y, *_ = clouds(0, labels=5)
    for certainty in ("confidence", "vote"):
        model = SelfTraining(base, policy=TransductiveBound(), certainty=certainty, random_state=0, max_rounds=2).fit(
            X, y
        )
        assert (model.labeled_iter_ > 0).sum() > 50
        assert len(model.history_[1]["threshold"]) == 3
