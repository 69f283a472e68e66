"""Many ways to learn from few labels, judged on labels that they did not see, and blended by that evidence.

>>> import numpy as np
>>> from sklearn.datasets import load_wine
>>> from selftrain.portfolio import Portfolio
>>> X, y = load_wine(return_X_y=True)
>>> codes = np.where(np.arange(len(y)) % 6 == 0, y, -1)
>>> found = Portfolio(budget=0).fit(X, codes)
>>> {record["family"] for record in found.records_ if record["weight"] > 0}
{'labels alone'}
>>> bool((found.predict_proba(X).argmax(1) == y).mean() > 0.9)
True
"""

from selftrain.portfolio.candidates import Candidate, candidates
from selftrain.portfolio.choosing import blend_weights
from selftrain.portfolio.forms import Forms
from selftrain.portfolio.judging import Judged, folds, judge
from selftrain.portfolio.mixture import SemiSupervisedMixture
from selftrain.portfolio.portfolio import Portfolio
from selftrain.portfolio.soft_labels import DiscriminantSoftLabels, SoftLabelRegression

__all__ = [
    "Candidate",
    "DiscriminantSoftLabels",
    "Forms",
    "Judged",
    "Portfolio",
    "SemiSupervisedMixture",
    "SoftLabelRegression",
    "blend_weights",
    "candidates",
    "folds",
    "judge",
]
