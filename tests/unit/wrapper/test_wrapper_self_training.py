"""The rounds themselves: golden traces by hand, weights, restarts, scores, provenance, and what is refused."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC
from wrapper_helpers import Centroids, clouds, scripted

from selftrain.errors import DataError
from selftrain.wrapper import (
    Fixed,
    Mean,
    MostConfident,
    PerClass,
    Policy,
    Proportion,
    RandomSubset,
    SelfTraining,
    TransductiveBound,
    ValidationDrop,
)
from selftrain.wrapper.scores import certainty

LINE = np.array([[0.0], [1.0], [3.4], [4.4], [8.0], [10.0]])
ENDS = np.array(["a", "?", "?", "?", "?", "b"])


@pytest.fixture
def calls():
    """What the ``Centroids`` of a test were fitted to."""
    Centroids.calls.clear()
    return Centroids.calls


def line(**settings):
    settings = {"policy": MostConfident(1), "weighting": "none", "unlabeled": "?"} | settings
    return SelfTraining(Centroids(), **settings).fit(LINE, ENDS)


# -- golden traces -----------------------------------------------------------------------------------------------------
def test_three_rounds_by_hand(calls):
    # means 0, 10:    p(a) of 1, 3.4, 4.4 = .9, .66, .56, p(b) of 8 = .8          -> 1 is a, mean .5
    # means .5, 10:   8 has distances 7.5, 2: p(b) = 7.5/9.5; 3.4: 6.6/9.5         -> 8 is b, mean 9
    # means .5, 9:    3.4 has distances 2.9, 5.6: p(a) = 5.6/8.5; 4.4: 4.6/8.5     -> 3.4 is a, mean 4.4/3
    model = line(max_rounds=3)
    assert model.transduction_.tolist() == ["a", "a", "a", "?", "b", "b"]
    assert model.labeled_iter_.tolist() == [0, 1, 3, -1, 2, 0]
    assert (model.n_iter_, model.best_round_, model.termination_condition_) == (3, 3, "max_rounds")
    assert model.estimator_.means_.tolist() == pytest.approx([4.4 / 3, 9])
    assert [call["X"][:, 0].tolist() for call in calls] == [
        [0, 10], [0, 1, 10], [0, 1, 8, 10], [0, 1, 3.4, 8, 10]
    ]  # fmt: skip
    assert [call["y"].tolist() for call in calls] == [list("ab"), list("aab"), list("aabb"), list("aaabb")]
    thresholds = [row.pop("threshold") for row in model.history_]
    assert thresholds[0] is None
    assert thresholds[1:] == pytest.approx([0.9, 7.5 / 9.5, 5.6 / 8.5])
    names = ("round", "candidates", "chosen", "added", "histogram", "changed", "validation")
    assert all(set(row) == set(names) for row in model.history_)
    assert [[row[name] for name in names] for row in model.history_] == [
        [0, 0, 0, 0, [0, 0], None, None],
        [1, 4, 1, 1, [1, 0], None, None],
        [2, 3, 1, 1, [1, 1], 0.0, None],
        [3, 2, 1, 1, [2, 1], 0.0, None],
    ]


def test_labeling_anew_forgets_the_round_before():
    #                        0    1    2    3    4   5
    script = [[0.0, 0.1, 0.2, 0.6, 0.7, 1.0], [0.0, 0.9, 0.3, 0.05, 0.45, 1.0], [0.0, 0.9, 0.6, 0.1, 0.8, 1.0]]
    X, y = np.arange(6.0)[:, None], np.array([0, -1, -1, -1, -1, 1])
    model = SelfTraining(scripted(*script), policy=MostConfident(2), relabel=True, max_rounds=3).fit(X, y)
    # round 1: 1 and 2 are class 0; round 2: 3 is 0 and 1 is 1, 2 is dropped; round 3: 1 is 1 and 3 is 0 again
    assert [row["added"] for row in model.history_] == [0, 2, 1, 0]
    assert [row["candidates"] for row in model.history_] == [0, 4, 4, 4]
    assert [row["changed"] for row in model.history_] == [None, None, 0.75, 0.5]
    assert model.transduction_.tolist() == [0, 1, -1, 0, -1, 1]
    assert model.labeled_iter_.tolist() == [0, 1, -1, 2, -1, 0]  # 1 stayed, with another label


def test_the_choice_to_label_anew_is_the_policys_unless_made():
    X, y = np.arange(6.0)[:, None], np.array([0, -1, -1, -1, -1, 1])
    script = [[0, 0.1, 0.2, 0.6, 0.7, 1]]

    def candidates(**settings):
        model = SelfTraining(scripted(*script), max_rounds=2, **settings).fit(X, y)
        return [row["candidates"] for row in model.history_[1:]]

    assert candidates(policy=Proportion(0.4)) == [4, 4]
    assert candidates(policy=Proportion(0.4), relabel=False) == [4, 2]
    assert candidates(policy=MostConfident(2)) == [4, 2]
    assert candidates(policy=MostConfident(2), relabel=True) == [4, 4]


def test_the_same_as_scikit_learns_where_the_settings_are():
    X, y, *_ = clouds(0)
    theirs = SelfTrainingClassifier(LogisticRegression(), threshold=0.9, max_iter=4).fit(X, y)
    mine = SelfTraining(LogisticRegression(), policy=Fixed(0.9), weighting="none", max_rounds=4).fit(X, y)
    assert np.array_equal(mine.transduction_, theirs.transduction_)
    assert np.array_equal(mine.labeled_iter_, theirs.labeled_iter_)
    assert mine.n_iter_ == theirs.n_iter_ == 4
    assert np.array_equal(mine.estimator_.coef_, theirs.estimator_.coef_)
    assert len(set(mine.labeled_iter_)) > 3


def test_the_default_policy_is_a_fixed_threshold():
    X, y, *_ = clouds(1)
    first = SelfTraining(LogisticRegression()).fit(X, y)
    second = SelfTraining(LogisticRegression(), policy=Fixed(0.75)).fit(X, y)
    assert np.array_equal(first.labeled_iter_, second.labeled_iter_)
    assert (first.labeled_iter_ == 1).sum() > 0


# -- weights -----------------------------------------------------------------------------------------------------------
def weights_of(call):
    """Weights of the labeled rows (the ends of the line) and of the others."""
    given = np.isin(call["X"][:, 0], (0, 10))
    return call["weight"][given].tolist(), call["weight"][~given].tolist()


@pytest.mark.parametrize(("weighting", "mass"), [("group", 1), ("balanced", 2)])
def test_both_groups_weigh_the_same(calls, weighting, mass):
    line(weighting=weighting, policy=MostConfident(3), max_rounds=2)
    for call, count in zip(calls, (0, 3, 4), strict=True):
        given, pseudo = weights_of(call)
        assert given == pytest.approx([mass / 2] * 2)
        assert pseudo == pytest.approx([mass / max(1, count)] * count)


def test_weights_are_confidences_of_the_round_that_chose(calls):
    line(weighting="confidence", policy=MostConfident(1), max_rounds=2)
    assert weights_of(calls[0]) == ([1, 1], [])
    assert weights_of(calls[2])[0] == [1, 1]
    # with the weight .9 of row 1 the mean of a is .9/1.9
    mean = 0.9 / 1.9
    assert weights_of(calls[2])[1] == pytest.approx([0.9, (8 - mean) / (10 - mean)])


def test_without_weights_none_are_passed(calls):
    line(weighting="none", max_rounds=2)
    assert [call["weight"] for call in calls] == [None] * 3


def test_weights_change_what_is_learned():
    models = {w: line(weighting=w, max_rounds=3).estimator_.means_ for w in ("balanced", "group", "confidence", "none")}
    assert models["balanced"] == pytest.approx(models["group"])  # the scale is nothing to a mean
    assert not np.allclose(models["group"], models["none"])
    assert not np.allclose(models["confidence"], models["none"])


def test_the_scale_of_weights_matters_to_a_regularized_classifier():
    X, y, *_ = clouds(0)
    supervised = LogisticRegression().fit(X[y >= 0], y[y >= 0])
    first = SelfTraining(LogisticRegression(), max_rounds=0).fit(X, y).estimator_
    assert np.allclose(first.coef_, supervised.coef_)
    weaker = SelfTraining(LogisticRegression(), max_rounds=0, weighting="group").fit(X, y).estimator_
    assert np.abs(weaker.coef_).sum() < np.abs(supervised.coef_).sum()


# -- restarts ----------------------------------------------------------------------------------------------------------
def test_a_cold_start_fits_a_clone_of_the_given_classifier():
    X, y, *_ = clouds(0)
    base = RandomForestClassifier(5)
    model = SelfTraining(base, random_state=0).fit(X, y)
    assert not hasattr(base, "estimators_")
    assert base.random_state is None
    assert len(model.estimator_.estimators_) == 5


def test_a_forest_started_warm_grows():
    X, y, *_ = clouds(0)
    settings = {"policy": MostConfident(0.25), "max_rounds": 2, "random_state": 0}
    model = SelfTraining(RandomForestClassifier(5), restart="warm", **settings).fit(X, y)
    assert len(model.estimator_.estimators_) == 15
    small = SelfTraining(RandomForestClassifier(5), restart="warm", **settings | {"max_rounds": 0}).fit(X, y)
    old = zip(small.estimator_.estimators_, model.estimator_.estimators_, strict=False)
    assert all(np.array_equal(a.predict(X), b.predict(X)) for a, b in old)


def test_boosting_started_warm_grows():
    X, y, *_ = clouds(0)
    base = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=1)
    model = SelfTraining(base, policy=MostConfident(0.25), restart="warm", max_rounds=2).fit(X, y)
    assert model.estimator_.n_iter_ == 9


def test_a_warm_start_goes_on_from_the_last_weights():
    X, y, *_ = clouds(0)
    settings = {"policy": MostConfident(0.25), "max_rounds": 2, "random_state": 0}
    base = SGDClassifier(loss="log_loss", max_iter=1, tol=None)
    warm, cold = (SelfTraining(base, restart=r, **settings).fit(X, y).estimator_ for r in ("warm", "cold"))
    assert not np.allclose(warm.coef_, cold.coef_)
    assert not base.warm_start


def test_partial_fit_goes_on_with_what_was_counted():
    X, y, *_ = clouds(0)
    settings = {"policy": MostConfident(120), "weighting": "none", "max_rounds": 2}
    warm = SelfTraining(GaussianNB(), restart="warm", **settings).fit(X, y).estimator_
    assert warm.class_count_.sum() == 6 + (6 + 120) + (6 + 240)
    assert SelfTraining(GaussianNB(), **settings).fit(X, y).estimator_.class_count_.sum() == 6 + 240


def test_a_warm_classifier_of_an_older_round_is_kept_as_it_was():
    X, y, *_ = clouds(0, labels=6)
    settings = {"restart": "warm", "validation": 0.5, "policy": RandomSubset(0.3), "max_rounds": 6}
    make = lambda seed: SelfTraining(  # noqa: E731
        RandomForestClassifier(4), stop=[ValidationDrop()], random_state=seed, **settings
    )
    models = (make(seed).fit(X, y) for seed in range(2, 12))
    model = next(model for model in models if model.best_round_ < model.n_iter_)
    assert len(model.estimator_.estimators_) == 4 * (model.best_round_ + 1)


# -- scores ------------------------------------------------------------------------------------------------------------
def test_each_kind_of_certainty_ranks_in_its_own_way():
    votes = [[0.5, 0.5, 0.0], [0.48, 0.26, 0.26], [0.45, 0.10, 0.45]]
    entropies = [-sum(p * np.log(p) for p in row if p > 0) for row in votes]
    assert certainty(np.array(votes), "confidence").tolist() == [0.5, 0.48, 0.45]
    assert certainty(np.array(votes), "vote").tolist() == [0.5, 0.48, 0.45]
    assert certainty(np.array(votes), "margin").tolist() == pytest.approx([0, 0.22, 0])
    assert certainty(np.array(votes), "entropy").tolist() == pytest.approx([1 - h / np.log(3) for h in entropies])
    assert certainty(np.array([[0.0, 1.0], [0.5, 0.5]]), "entropy").tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize("kind", ["margin", "entropy"])
def test_the_kind_of_certainty_is_what_the_policy_compares(kind):
    X, y = np.arange(4.0)[:, None], np.array([0, -1, -1, 1])
    base = scripted([0, 0.1, 0.25, 1])
    threshold = {"margin": 0.6, "entropy": 1 - 0.4689955935892812}[kind]  # entropy of .1 in bits
    model = SelfTraining(base, policy=Fixed(threshold), certainty=kind, max_rounds=1).fit(X, y)
    assert model.labeled_iter_.tolist() == [0, 1, -1, 0]


def test_members_of_a_forest_vote():
    X, y, *_ = clouds(0)
    forest = RandomForestClassifier(7, max_depth=2, random_state=0)
    model = SelfTraining(forest, policy=MostConfident(1), certainty="vote", weighting="none", max_rounds=1).fit(X, y)
    first = forest.fit(X[y >= 0], y[y >= 0])
    decided = np.array([tree.predict(X[y < 0]) for tree in first.estimators_]).astype(int)
    share = np.array([np.bincount(column, minlength=3) / 7 for column in decided.T])
    assert model.history_[1]["threshold"] == pytest.approx(share.max())
    assert model.labeled_iter_[y < 0].argmax() == share.max(1).argmax()


def test_without_probabilities_the_softmax_of_the_decision_is_taken():
    X, y, *_ = clouds(0)
    model = SelfTraining(LinearSVC(random_state=0), policy=MostConfident(1), weighting="none", max_rounds=1).fit(X, y)
    values = np.exp(LinearSVC(random_state=0).fit(X[y >= 0], y[y >= 0]).decision_function(X[y < 0]))
    assert model.history_[1]["threshold"] == pytest.approx((values / values.sum(1, keepdims=True)).max())
    assert not hasattr(model, "predict_proba")
    assert model.decision_function(X).shape == (600, 3)


def test_two_classes_have_the_logistic_function():
    X, y, *_ = clouds(0)
    y = np.where(y == 2, -1, y)
    model = SelfTraining(LinearSVC(random_state=0), policy=MostConfident(1), weighting="none", max_rounds=1).fit(X, y)
    value = np.abs(LinearSVC(random_state=0).fit(X[y >= 0], y[y >= 0]).decision_function(X[y < 0])).max()
    assert model.history_[1]["threshold"] == pytest.approx(1 / (1 + np.exp(-value)))


# -- the first classifier's probabilities, randomness ------------------------------------------------------------------
class Recorder(Policy):
    """Takes two rows a round and remembers what it was asked."""

    asked: list = []

    def select(self, candidates):
        self.asked.append(candidates)
        return MostConfident(2).select(candidates)


def test_a_policy_sees_the_first_classifiers_probabilities_of_the_same_rows():
    X, y, *_ = clouds(0)
    Recorder.asked.clear()
    SelfTraining(LogisticRegression(), policy=Recorder(), max_rounds=3).fit(X, y)
    supervised = LogisticRegression().fit(X[y >= 0], y[y >= 0])
    for number, asked in enumerate(Recorder.asked, 1):
        np.testing.assert_allclose(asked.first, supervised.predict_proba(X[asked.rows]))
        assert (asked.round, asked.total, len(asked.rows)) == (number, 594, 594 - 2 * (number - 1))
    assert not np.allclose(Recorder.asked[2].first, Recorder.asked[2].votes)
    assert Recorder.asked[0].prior.tolist() == pytest.approx([1 / 3] * 3)


def test_a_seed_fixes_the_classifier_and_the_draws():
    X, y, *_ = clouds(0)

    def trained(seed):
        settings = {"policy": RandomSubset(0.2), "max_rounds": 2, "random_state": seed}
        model = SelfTraining(RandomForestClassifier(5), **settings).fit(X, y)
        return model.labeled_iter_.tolist(), model.predict_proba(X).tolist()

    assert trained(0) == trained(0)
    assert trained(0)[0] != trained(1)[0]
    assert trained(0)[1] != trained(1)[1]


@pytest.mark.parametrize("policy", [Mean(), PerClass(0.3), Proportion(0.5), TransductiveBound(), RandomSubset(0.4)])
def test_provenance_fits_together(policy):
    X, y, *_ = clouds(3, labels=4)
    model = SelfTraining(LogisticRegression(), policy=policy, max_rounds=3, random_state=0).fit(X, y)
    given, pseudo = model.labeled_iter_ == 0, model.labeled_iter_ > 0
    assert np.array_equal(given, y >= 0)
    assert np.array_equal(model.transduction_[given], y[given])
    assert np.array_equal(model.transduction_ == -1, model.labeled_iter_ == -1)
    assert np.bincount(model.transduction_[pseudo], minlength=3).tolist() == model.history_[-1]["histogram"]
    assert len(model.history_) == model.n_iter_ + 1
    if not policy.relabels:
        assert [row["added"] for row in model.history_[1:]] == [
            (model.labeled_iter_ == r).sum() for r in range(1, model.n_iter_ + 1)
        ]


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("estimator", "settings", "message"),
    [
        (LogisticRegression(), {"weighting": "equal"}, "weighting is 'equal'; choose one of"),
        (LogisticRegression(), {"restart": "hot"}, "restart is 'hot'; choose one of"),
        (LogisticRegression(), {"certainty": "gini"}, "certainty is 'gini'; choose one of"),
        (LogisticRegression(), {"relabel": "always"}, "relabel is 'always'; choose one of"),
        (LogisticRegression(), {"max_rounds": -1}, "rounds is -1"),
        (LogisticRegression(), {"policy": "fixed"}, "policy is 'fixed'; give a Policy, such as"),
        (LogisticRegression(), {"stop": ValidationDrop()}, r"stop is ValidationDrop\(\); give a list of criteria"),
        (LogisticRegression(), {"stop": ["few_changes"]}, "give a list of criteria, such as"),
        (KNeighborsClassifier(), {}, "KNeighborsClassifier takes no sample_weight; set weighting='none'"),
        (
            KNeighborsClassifier(),
            {"weighting": "none", "restart": "warm"},
            "KNeighborsClassifier has neither warm_start nor partial_fit; set restart='cold'",
        ),
        (Ridge(), {}, "Ridge is a regressor; give a classifier"),
        (LogisticRegression, {}, "give a classifier, such as"),
        (None, {}, "estimator is None; give a classifier"),
        (
            LogisticRegression(),
            {"policy": TransductiveBound(), "certainty": "margin"},
            "TransductiveBound reads votes; set certainty='confidence' or 'vote', not 'margin'",
        ),
        (LogisticRegression(), {"certainty": "vote"}, "needs an ensemble that votes .*, not LogisticRegression"),
        (SVC(decision_function_shape="ovo"), {}, "SVC decides pairs of classes; set decision_function_shape='ovr'"),
    ],
)
def test_what_cannot_be_followed_is_refused(estimator, settings, message):
    X, y, *_ = clouds(0)
    with pytest.raises(ValueError, match=message):
        SelfTraining(estimator, **settings).fit(X, y)


def test_settings_changed_later_are_checked_too():
    X, y, *_ = clouds(0)
    model = SelfTraining(LogisticRegression(), policy=Fixed())
    with pytest.raises(ValueError, match="threshold is 7"):
        model.set_params(policy__threshold=7).fit(X, y)


class Silent(Centroids):
    """Has no probabilities, only decisions."""

    predict_proba = None

    def __getattribute__(self, name):
        if name == "predict_proba":
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_a_classifier_that_only_decides_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="Silent has neither predict_proba nor decision_function; wrap it in Bagging"):
        SelfTraining(Silent(), unlabeled="?").fit(LINE, ENDS)


class Broken(Centroids):
    """Gives NaN."""

    def predict_proba(self, X):
        return super().predict_proba(X) * np.nan


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(DataError, match="Broken returned NaN or infinity"):
        SelfTraining(Broken(), unlabeled="?").fit(LINE, ENDS)
