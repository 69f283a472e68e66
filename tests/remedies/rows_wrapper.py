"""Remedies of the messages of ``selftrain/wrapper``, ``selftrain/graph`` and ``selftrain/portfolio``."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from remedies import Row, setting
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import BaggingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from selftrain.graph.agreement import GraphAgreement
from selftrain.graph.neighbors import knn_graph
from selftrain.graph.propagation import check_method, label_propagation, label_spreading, poisson_volume
from selftrain.portfolio.mixture import SemiSupervisedMixture
from selftrain.portfolio.portfolio import seconds
from selftrain.wrapper import CoTraining, SelfTraining, TriTraining
from selftrain.wrapper.bound import TransductiveBound
from selftrain.wrapper.policies import Fixed, PerClass, Proportion
from selftrain.wrapper.stopping import FewChanges, MaxRounds, PriorDrift, ThresholdFloor, ValidationDrop

_draws = np.random.RandomState(0)
CLASS = np.arange(30) % 3
X = np.eye(3)[CLASS] * 4 + _draws.normal(size=(30, 3))
Y = np.where(np.arange(30) < 12, CLASS, -1)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])


def trained(estimator=None, x=X, y=Y, **settings):
    """A wrapped classifier that was fitted, and predicts classes of all rows."""
    model = SelfTraining(GaussianNB() if estimator is None else estimator, **settings).fit(x, y)
    assert len(model.predict(x)) == x.shape[0]


def cotrained(x=X, y=Y, estimators=None, **settings):
    model = CoTraining(GaussianNB() if estimators is None else estimators, random_state=0, **settings)
    assert len(model.fit(x, y).predict(x)) == len(x)


def tritrained(estimator=None, **settings):
    TriTraining(estimator or GaussianNB(), random_state=0, **settings).fit(X, Y)


def scored(y, **settings):
    return SelfTraining(GaussianNB(), **settings).fit(X, Y).score(X, y)


def checked(cls, **settings):
    cls(**settings).check()


def policy(cls, **settings):
    trained(policy=cls(**settings))


def stop(cls, validation=0.3, **settings):
    trained(stop=[cls(**settings)], validation=validation)


class Wrong(GaussianNB):
    """A classifier that gives one value a row too many."""

    def predict_proba(self, x):
        return np.ones((len(x), 7))


class Broken(GaussianNB):
    """A classifier that divides by the spread of a column, as many do."""

    def predict_proba(self, x):
        return super().predict_proba(x) / (np.ptp(np.asarray(x), 0).min() > 0)


class NoScore(ClassifierMixin, BaseEstimator):
    """A classifier that says classes and nothing of how sure it is."""

    def fit(self, x, y):
        self.tree_ = DecisionTreeClassifier(random_state=0).fit(x, y)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, x):
        return self.tree_.predict(x)


CONSTANT = np.column_stack([X, np.ones(30)])
PIPED = make_pipeline(FunctionTransformer(), GaussianNB())
GRAPH = knn_graph(X, 5)
FAR = sparse.csr_matrix(np.array([[0, 1e-150, 0], [1e-150, 0, 1e150], [0, 1e150, 0]]))
RING = np.arange(30)
WRAPPERS, GRAPHS = "selftrain/wrapper", "selftrain/graph"

ROWS_OF = {
    f"{WRAPPERS}/bound.py": [
        setting("grid is {}", partial(checked, TransductiveBound), "grid", 1, 2),
        setting(
            "give an array",
            partial(checked, TransductiveBound),
            "posterior",
            "none",
            "votes",
            "first",
            "uniform",
            [0.2, 0.3, 0.5],
        ),
        setting(
            "rows of probabilities that sum to 1",
            partial(checked, TransductiveBound),
            "posterior",
            [1, 1, 1],
            [0, 0, 1],
        ),
        setting(
            "it needs {} classes, and a row a row of X",
            partial(policy, TransductiveBound),
            "posterior",
            [0.5, 0.5],
            [0.2, 0.3, 0.5],
            np.full((30, 3), 1 / 3),
        ),
    ],
    f"{WRAPPERS}/co_training.py": [
        Row(
            "estimators are {}",
            lambda: cotrained(estimators=[GaussianNB()] * 3),
            lambda: cotrained(estimators=GaussianNB()),
            lambda: cotrained(estimators=[GaussianNB(), LogisticRegression()]),
        ),
        setting("pool is {}", cotrained, "pool", 0, 1, None),
        setting("rounds is {}", cotrained, "rounds", -1, 0),
        setting("combine is {}", cotrained, "combine", "sum", "product", "mean"),
        setting("take is {}", cotrained, "take", [1, 2], [0, 1, 2], {0: 1, 1: 0, 2: 1}, 1),
        Row(
            "two views need at least 2 columns",
            lambda: cotrained(X[:, :1]),
            lambda: cotrained(X[:, :2]),
            lambda: cotrained(X[:, :1], views=[lambda x: x, lambda x: x**2]),
        ),
        setting("views are {}; give two", cotrained, "views", [[0], [1], [2]], [[0], [1, 2]]),
        Row(
            "which X lacks",
            lambda: cotrained(FRAME, views=[["a"], ["d"]]),
            lambda: cotrained(FRAME, views=[["a"], ["b", "c"]]),
        ),
        Row(
            "must be places of columns",
            lambda: cotrained(views=[["a"], ["b"]]),
            lambda: cotrained(views=[[0], [1]]),
            lambda: cotrained(FRAME, views=[["a"], ["b"]]),
        ),
    ],
    f"{WRAPPERS}/labels.py": [
        Row("label some of each class", lambda: trained(y=np.full(30, -1)), lambda: trained(y=Y)),
        Row(
            "label rows of at least two classes",
            lambda: trained(y=np.where(Y == 1, 1, -1)),
            lambda: trained(y=np.where(Y == 2, -1, Y)),
        ),
        Row(
            "or say unlabeled=None if -1 is one",
            lambda: trained(y=np.where(CLASS == 1, 1, -1)),
            lambda: trained(y=np.where(CLASS == 1, 1, -1), unlabeled=None),
        ),
        Row(
            "raise it or label more",
            lambda: trained(validation=0.1),
            lambda: trained(validation=0.3),
            lambda: trained(y=CLASS, validation=0.1),
        ),
        Row(
            "give such labels as text",
            lambda: trained(y=np.array([10**30 if y == 1 else int(y) for y in Y], dtype=object)),
            lambda: trained(y=np.array(["" if y < 0 else str(10**30 + int(y)) for y in Y], dtype=object), unlabeled=""),
        ),
        Row(
            "labels are text or integers",
            lambda: trained(y=np.array([1, 2, "x", 1.5, -1] * 6, dtype=object)),
            lambda: trained(y=np.floor(Y + 0.5).astype(int)),
            lambda: trained(y=Y.astype(str), unlabeled="-1"),
        ),
    ],
    f"{WRAPPERS}/learning.py": [
        Row("such as RandomForestClassifier()", lambda: trained(GaussianNB), lambda: trained(GaussianNB())),
        Row("is a regressor", lambda: trained(LinearRegression()), lambda: trained(LogisticRegression())),
        Row(
            "set weighting='none'",
            lambda: trained(KNeighborsClassifier(3), weighting="confidence"),
            lambda: trained(KNeighborsClassifier(3), weighting="none"),
        ),
        Row(
            "set restart='cold'",
            lambda: trained(KNeighborsClassifier(3), weighting="none", restart="warm"),
            lambda: trained(KNeighborsClassifier(3), weighting="none", restart="cold"),
        ),
    ],
    f"{WRAPPERS}/policies.py": [
        setting("threshold is {}", partial(policy, Fixed), "threshold", 1.1, 0, 1),
        setting("ratio is {}", partial(policy, PerClass), "ratio", "odd", "labels", "equal"),
        setting("step is {}", partial(policy, Proportion), "step", 0, 0.2, 1),
        setting("take is {}", partial(policy, PerClass), "take", 0, 1, 0.1, 1.0),
    ],
    f"{WRAPPERS}/rows.py": [
        Row(
            "give at least 2",
            lambda: trained(PIPED, FRAME[:1], CLASS[:1], weighting="none"),
            lambda: trained(PIPED, FRAME[:2], CLASS[:2], weighting="none"),
        ),
        Row(
            "cannot be read; pass {}",
            lambda: trained(x=torch.tensor(X).to_sparse()),
            lambda: trained(x=torch.tensor(X).to_sparse().to_dense()),
            lambda: trained(LogisticRegression(), x=sparse.csr_matrix(X)),
        ),
    ],
    f"{WRAPPERS}/scores.py": [
        Row(
            "look for constant or huge columns",
            lambda: trained(Broken(), CONSTANT),
            lambda: trained(Broken(), CONSTANT[:, :3]),
        ),
        Row(
            "has neither predict_proba nor decision_function",
            lambda: trained(NoScore(), weighting="none"),
            lambda: trained(BaggingClassifier(NoScore(), 3), weighting="none"),
            lambda: cotrained(estimators=BaggingClassifier(NoScore(), 3)),
            lambda: trained(BaggingClassifier(NoScore(), 3), weighting="none", certainty="vote"),
        ),
        Row(
            "set decision_function_shape='ovr'",
            lambda: trained(SVC(decision_function_shape="ovo")),
            lambda: trained(SVC(decision_function_shape="ovr")),
        ),
        Row(
            "needs an ensemble that votes",
            lambda: trained(GaussianNB(), certainty="vote"),
            lambda: trained(BaggingClassifier(GaussianNB(), 3), certainty="vote"),
        ),
        Row("the classifier must give one a class", lambda: trained(Wrong()), lambda: trained(GaussianNB())),
    ],
    f"{WRAPPERS}/self_training.py": [
        setting("give a Policy", trained, "policy", 0.75, Fixed(0.75)),
        setting("give a list of criteria", trained, "stop", FewChanges(), [FewChanges()]),
        setting("{} is {}; choose one of {}", trained, "weighting", "much", "none", "confidence"),
        setting("{} is {}; choose one of {}", trained, "relabel", "maybe", None, True, False),
        Row(
            "reads votes",
            lambda: trained(policy=TransductiveBound(), certainty="margin"),
            lambda: trained(policy=TransductiveBound(), certainty="confidence"),
            lambda: trained(BaggingClassifier(GaussianNB(), 3), policy=TransductiveBound(), certainty="vote"),
        ),
        setting("it must be a share of the labels in (0, 1)", trained, "validation", 1.5, 0.3),
        setting("needs held-out labels", partial(stop, ValidationDrop), "validation", None, 0.3),
    ],
    f"{WRAPPERS}/stopping.py": [
        setting("rounds is {}", partial(stop, MaxRounds), "rounds", -1, 0),
        setting("patience is {}", partial(stop, ValidationDrop), "patience", 0, 1),
        setting("tolerance is {}", partial(stop, ValidationDrop), "tolerance", 1, 0, 0.5),
        setting("share is {}", partial(stop, FewChanges), "share", 0, 0.1, 1),
        setting("floor is {}", partial(stop, ThresholdFloor), "floor", 2, 0, 1),
        Row(
            "take ThresholdFloor out of stop",
            lambda: trained(policy=GraphAgreement(), stop=[ThresholdFloor(0.5)]),
            lambda: trained(policy=GraphAgreement(), stop=[]),
        ),
        setting("limit is {}", partial(stop, PriorDrift), "limit", 1, 0.5),
        setting("it must be shares that sum to 1", partial(stop, PriorDrift), "prior", [1, 1, 1], [0.2, 0.3, 0.5]),
    ],
    f"{WRAPPERS}/tri_training.py": [
        setting("max_rounds is {}", tritrained, "max_rounds", -1, 0, None),
        setting(
            "give one or three",
            tritrained,
            "estimator",
            [GaussianNB()] * 2,
            GaussianNB(),
            [GaussianNB(), LogisticRegression(), DecisionTreeClassifier()],
        ),
    ],
    f"{GRAPHS}/agreement.py": [
        setting("threshold is {}", partial(policy, GraphAgreement), "threshold", 2, 0, 1),
    ],
    f"{GRAPHS}/neighbors.py": [
        setting("neighbors is {}", partial(knn_graph, features=X), "neighbors", 0, 1),
        setting("set scale='local'", partial(knn_graph, features=X), "scale", 1e-9, "local"),
        setting("metric is {}", partial(knn_graph, features=X), "metric", "l1", "euclidean", "cosine"),
        setting("scale is {}; choose", partial(knn_graph, features=X), "scale", "near", "local", 1.0, None),
        Row(
            "encode text and categories first",
            lambda: knn_graph(np.array([["a"], ["b"], ["a"], ["c"]])),
            lambda: knn_graph(OneHotEncoder().fit_transform(np.array([["a"], ["b"], ["a"], ["c"]]))),
        ),
        Row("give a table of one row a sample", lambda: knn_graph(X[:, 0]), lambda: knn_graph(X[:, :1])),
        Row(
            "fill them first, e.g. by SimpleImputer",
            lambda: knn_graph(np.where(X > 4, np.nan, X)),
            lambda: knn_graph(SimpleImputer().fit_transform(np.where(X > 4, np.nan, X))),
        ),
    ],
    f"{GRAPHS}/propagation.py": [
        Row(
            "labels in one row",
            lambda: label_propagation(GRAPH, Y[:, None], 3),
            lambda: label_propagation(GRAPH, Y[:, None].ravel(), 3),
        ),
        Row(
            "label one at least",
            lambda: label_propagation(GRAPH, np.full(30, -1), 3),
            lambda: label_propagation(GRAPH, np.where(RING == 0, 0, -1), 3),
        ),
        Row(
            "and -1 for unlabeled",
            lambda: label_propagation(GRAPH, np.where(Y < 0, -2, Y), 3),
            lambda: label_propagation(GRAPH, np.where(Y < 0, -1, Y), 3),
        ),
        Row(
            "build it by knn_graph",
            lambda: label_propagation(-GRAPH, Y, 3),
            lambda: label_propagation(knn_graph(X), Y, 3),
        ),
        Row(
            "the graph is not symmetric",
            lambda: label_propagation(sparse.triu(GRAPH), Y, 3),
            lambda: label_propagation((sparse.triu(GRAPH) + sparse.triu(GRAPH).T) / 2, Y, 3),
        ),
        setting("alpha is {}", partial(label_spreading, GRAPH, Y, 3), "alpha", 1, 0.5),
        setting("rounds is {}", partial(poisson_volume, GRAPH, Y, 3), "rounds", 0, 1),
        setting("rounds is {}", partial(poisson_volume, GRAPH, Y, 3), "steps", 0, 1),
        setting(
            "method is {}",
            check_method,
            "method",
            "knn",
            "label_propagation",
            "label_spreading",
            "poisson",
            "poisson_volume",
        ),
        Row(
            "which {} has not",
            lambda: check_method("poisson", alpha=0.5),
            lambda: check_method("poisson", alpha=None),
            lambda: check_method("label_spreading", alpha=0.5),
        ),
        setting(
            "numbers of at least 0 that sum to 1",
            partial(poisson_volume, GRAPH, Y, 3),
            "shares",
            [1, 1, 1],
            [0.2, 0.3, 0.5],
        ),
        Row(
            "label one, or set 0",
            lambda: poisson_volume(GRAPH, np.where(Y == 2, -1, Y), 3, shares=[0.3, 0.3, 0.4]),
            lambda: poisson_volume(GRAPH, np.where((Y == 2) & (RING > 2), -1, Y), 3, shares=[0.3, 0.3, 0.4]),
            lambda: poisson_volume(GRAPH, np.where(Y == 2, -1, Y), 3, shares=[0.5, 0.5, 0]),
        ),
    ],
    "selftrain/portfolio/mixture.py": [
        setting(
            "covariance is {}",
            lambda **given: SemiSupervisedMixture(**given).fit(X, Y),
            "covariance",
            "none",
            "shared",
            "diagonal",
        ),
    ],
    "selftrain/portfolio/portfolio.py": [
        setting("budget is {}", partial(seconds, rows=30), "budget", "slow", "fast", "thorough", 0, 2.5),
    ],
}
