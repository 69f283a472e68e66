"""Estimators that keep to scikit-learn's contract: self-training, pretraining, folds for few labels.

>>> import numpy as np
>>> from selftrain.estimator import SelfTrainClassifier
>>> x = np.vstack([np.random.RandomState(0).randn(40, 2) - 3, np.random.RandomState(1).randn(40, 2) + 3])
>>> y = np.full(80, -1)
>>> y[[0, 1, 78, 79]] = [0, 0, 1, 1]
>>> model = SelfTrainClassifier(steps=40, random_state=0).fit(x, y)
>>> model.predict([[-3.0, -3.0], [3.0, 3.0]]).tolist()
[0, 1]
"""

from selftrain.catalog import RECIPES
from selftrain.estimator.classifier import SelfTrainClassifier
from selftrain.estimator.encoder import PretrainedEncoder
from selftrain.estimator.folds import LabeledKFold
from selftrain.estimator.segmenter import SelfTrainSegmenter
from selftrain.networks.by_name import ENCODERS, DenseEncoder

__all__ = [
    "ENCODERS",
    "RECIPES",
    "DenseEncoder",
    "LabeledKFold",
    "PretrainedEncoder",
    "SelfTrainClassifier",
    "SelfTrainSegmenter",
]
