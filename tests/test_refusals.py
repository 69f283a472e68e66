"""Settings that make no sense are refused when a strategy is built, with the value and the remedy."""

import pytest
import torch

import selftrain as st
from selftrain import strategies, toy

TASK = toy.task("classification")
MAKE = toy.learner("classification")


@pytest.mark.parametrize(
    "build",
    [strategies.MeanTeacher, strategies.FutureSelfTraining, strategies.WideFutureSelfTraining],
    ids=lambda b: b.__name__,
)
def test_methods_that_need_a_teacher_refuse_to_go_without(build):
    with pytest.raises(ValueError, match="decay is None"):
        build(TASK, MAKE, decay=None)


@pytest.mark.parametrize(
    "build", [strategies.FixMatch, strategies.PseudoLabel, strategies.Ensemble], ids=lambda b: b.__name__
)
def test_an_unknown_label_mode_is_refused(build):
    with pytest.raises(ValueError, match="'evaluation'; choose one of eval, batch"):
        build(TASK, MAKE, label_mode="evaluation")


@pytest.mark.parametrize("build", [strategies.FixMatch, strategies.MeanTeacher], ids=lambda b: b.__name__)
@pytest.mark.parametrize("setting", ["unlabeled_weight", "temperature"])
def test_not_a_number_is_no_setting(build, setting):
    with pytest.raises(ValueError, match=f"{setting} is nan"):
        build(TASK, MAKE, **{setting: float("nan")})


def test_soft_labels_refuse_a_prior_of_other_classes():
    with pytest.raises(ValueError, match="prior has shape"):
        strategies.SoftLabels(TASK, MAKE, unlabeled=4, label_shape=(toy.CLASSES,), prior=torch.ones(toy.CLASSES + 1))


def test_a_classification_needs_two_classes():
    with pytest.raises(ValueError, match="classes is 1"):
        st.Classification(1)
