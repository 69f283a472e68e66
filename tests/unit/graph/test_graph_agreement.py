"""The policy that asks a graph: what is chosen, from which labels, in a search and with texts."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from wrapper_helpers import candidates, clouds, draw_votes

from selftrain.graph import GraphAgreement, GraphClassifier
from selftrain.wrapper import SelfTraining


class Known(GraphClassifier):
    """Notes the labels that it gets."""

    seen: list = []

    def fit(self, X, y):
        self.seen.append(np.array(y))
        return super().fit(X, y)


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_what_both_decide_alike_is_chosen(threshold):
    X, y, *_ = clouds(0)
    rows = np.flatnonzero(y < 0)
    asked = candidates(draw_votes(0, len(rows)), rows=rows)
    object.__setattr__(asked, "X", X)
    object.__setattr__(asked, "labels", y)
    said = GraphClassifier().fit(X, y).label_distributions_[rows]
    chosen = GraphAgreement(threshold=threshold).select(asked).chosen
    np.testing.assert_array_equal(chosen, (said.argmax(1) == asked.votes.argmax(1)) & (said.max(1) >= threshold))
    assert 0 < chosen.sum() < len(rows)


def test_it_is_asked_once_and_its_answer_holds_for_all_rounds():
    X, y, X_test, y_test = clouds(0)
    Known.seen = []
    model = SelfTraining(LogisticRegression(), policy=GraphAgreement(Known()), max_rounds=4).fit(X, y)
    assert len(Known.seen) == 1
    assert model.n_iter_ > 1
    graph = GraphClassifier().fit(X, y).transduction_
    agreed = model.labeled_iter_ > 0
    np.testing.assert_array_equal(model.transduction_[agreed], graph[agreed])
    assert model.score(X_test, y_test) > LogisticRegression().fit(X[y >= 0], y[y >= 0]).score(X_test, y_test)


def test_held_out_labels_are_hidden_from_the_graph():
    X, y, *_ = clouds(0, labels=10)
    Known.seen = []
    model = SelfTraining(LogisticRegression(), policy=GraphAgreement(Known()), validation=0.3, random_state=0).fit(X, y)
    assert len(model.validation_) == 9
    expected = y.copy()
    expected[model.validation_] = -1
    np.testing.assert_array_equal(Known.seen[0], expected)


def test_labels_of_any_name_and_rows_that_a_pipeline_reads():
    words = ("cat", "stock")
    texts = [f"{word} {word}s {word}{i}" for word in words for i in range(6)]
    y = np.array(["?"] * 12, dtype=object)
    y[[0, 6]] = words
    graph = make_pipeline(TfidfVectorizer(), GraphClassifier(metric="cosine", neighbors=3, standardize=False))
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model = SelfTraining(reader, policy=GraphAgreement(graph), weighting="none", unlabeled="?").fit(texts, y)
    assert model.transduction_.tolist() == ["cat"] * 6 + ["stock"] * 6


def test_a_search_over_its_settings():
    X, y, *_ = clouds(0, labels=6)
    model = SelfTraining(LogisticRegression(), policy=GraphAgreement(GraphClassifier()), max_rounds=1)
    grid = {"policy__threshold": [0.0, 0.9], "policy__graph__neighbors": [5, 10]}
    search = GridSearchCV(model, grid, cv=StratifiedKFold(2), error_score="raise").fit(X, y)
    assert search.best_score_ > 0.8
    assert clone(model).policy.graph.neighbors == 10


def test_what_it_cannot_follow_is_refused():
    with pytest.raises(ValueError, match="threshold is 1.5"):
        GraphAgreement(threshold=1.5)
    with pytest.raises(ValueError, match="needs candidates with X and labels; ask it through SelfTraining"):
        GraphAgreement().select(candidates(draw_votes(0)))
