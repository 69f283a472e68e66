"""Settings that make no sense are refused when a strategy is built, with the value and the remedy."""

import numpy as np
import pytest
import torch

import selftrain as st
from selftrain import data, pretrain, strategies, toy
from selftrain.errors import DataError

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


def test_a_network_with_other_outputs_than_the_task_is_refused():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(toy.SIDE**2, toy.CLASSES + 1))
    strategy = strategies.Supervised(TASK, st.learner(lambda: network))
    with pytest.raises(DataError, match=r"gives \(2, 4\) for 2 samples.* need predictions of shape \(2, 3\)"):
        st.fit(strategy, toy.pile("classification"), steps=1)


def test_a_pile_without_any_label_can_be_pretrained_on_only():
    pile = data.Pile.from_arrays(np.zeros((20, 8, 8), dtype=np.uint8), np.full(20, -1), classes=["a", "b"])
    run = st.fit(pretrain.MAE(pretrain.ViT(8, 4, width=16, depth=1)), pile, steps=1)
    assert run.train["train/loss/mae"] >= 0
    supervised = strategies.Supervised(st.Classification(2), st.learner(lambda: st.Classifier(st.ConvEncoder(8), 2)))
    with pytest.raises(DataError, match="no sample has a label, and Supervised reads labeled ones; take MeanTeacher"):
        st.fit(supervised, pile, steps=1)
