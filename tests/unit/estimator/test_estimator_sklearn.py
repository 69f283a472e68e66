"""The estimators under scikit-learn's own checks."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from selftrain.estimator import PretrainedEncoder, SelfTrainClassifier

MARKER = "-1 is a class in this check, and the marker of unlabeled rows by default"
TINY = {"steps": 30, "lr": 0.02, "batch_size": 16, "random_state": 0}


def expected_failures(estimator):
    return {"check_classifiers_classes": MARKER} if getattr(estimator, "unlabeled", None) == -1 else {}


@pytest.mark.one_in(4)
@parametrize_with_checks([SelfTrainClassifier(unlabeled=-99, **TINY)])  # none is expected to fail
@pytest.mark.filterwarnings("ignore")
def test_the_classifier(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        SelfTrainClassifier(**TINY),
        SelfTrainClassifier(strategy="ensemble", network="linear", validation=0.2, **{**TINY, "lr": 0.1}),
    ],
    expected_failed_checks=expected_failures,
)
@pytest.mark.filterwarnings("ignore")
def test_other_classifiers(estimator, check):
    check(estimator)


@pytest.mark.one_in(4)
@parametrize_with_checks([PretrainedEncoder(recipe="vicreg", steps=2, batch_size=16, random_state=0)])
@pytest.mark.filterwarnings("ignore")
def test_the_encoder(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([PretrainedEncoder(steps=2, batch_size=16, random_state=0)])
@pytest.mark.filterwarnings("ignore")
def test_the_encoder_with_its_own_choice_of_recipe(estimator, check):
    check(estimator)
