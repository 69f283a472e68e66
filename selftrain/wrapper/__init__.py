"""Self-training around any scikit-learn classifier: wrappers, policies that choose, criteria that end.

>>> from sklearn.datasets import load_iris
>>> from sklearn.ensemble import RandomForestClassifier
>>> from selftrain.wrapper import SelfTraining, TransductiveBound
>>> X, y = load_iris(return_X_y=True)
>>> y[::2] = -1
>>> model = SelfTraining(RandomForestClassifier(50), policy=TransductiveBound(), random_state=0).fit(X, y)
>>> model.score(X, y) > 0.95, model.n_iter_ == len(model.history_) - 1
(True, True)
"""

from selftrain.wrapper.bound import TransductiveBound, class_thresholds
from selftrain.wrapper.co_training import CoTraining
from selftrain.wrapper.policies import (
    Candidates,
    Choice,
    Fixed,
    Mean,
    MostConfident,
    PerClass,
    Policy,
    Proportion,
    RandomSubset,
)
from selftrain.wrapper.self_training import SelfTraining
from selftrain.wrapper.stopping import (
    Criterion,
    Exhausted,
    FewChanges,
    MaxRounds,
    NoCandidate,
    PriorDrift,
    State,
    ThresholdFloor,
    ValidationDrop,
)
from selftrain.wrapper.tri_training import TriTraining

__all__ = [
    "Candidates",
    "Choice",
    "CoTraining",
    "Criterion",
    "Exhausted",
    "FewChanges",
    "Fixed",
    "MaxRounds",
    "Mean",
    "MostConfident",
    "NoCandidate",
    "PerClass",
    "Policy",
    "PriorDrift",
    "Proportion",
    "RandomSubset",
    "SelfTraining",
    "State",
    "ThresholdFloor",
    "TransductiveBound",
    "TriTraining",
    "ValidationDrop",
    "class_thresholds",
]
