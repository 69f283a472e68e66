"""The estimators under scikit-learn's own checks."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from selftrain.estimator import PretrainedEncoder, SelfTrainClassifier

MARKER = "-1 is a class in this check, and the marker of unlabeled rows by default"
TINY = {"steps": 40, "lr": 0.02, "batch_size": 16, "random_state": 0}


def expected_failures(estimator):
    return {"check_classifiers_classes": MARKER} if getattr(estimator, "unlabeled", None) == -1 else {}


@parametrize_with_checks(
    [
        SelfTrainClassifier(**TINY),
        SelfTrainClassifier(unlabeled=-99, strategy="ensemble", network="linear", **TINY),
        PretrainedEncoder(recipe="vicreg", steps=3, batch_size=16, random_state=0),
    ],
    expected_failed_checks=expected_failures,
    xfail_strict=True,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)
