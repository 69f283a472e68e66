"""PretrainedEncoder: what is learned and handed on, and how a classifier starts from it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selftrain import pretrain
from selftrain.estimator import DenseEncoder, PretrainedEncoder, SelfTrainClassifier

X, Y = load_wine(return_X_y=True)
HIDDEN = np.where(np.arange(len(Y)) % 3 == 0, Y, -1)


def encoder(**settings):
    return PretrainedEncoder(**{"recipe": "vicreg", "steps": 5, "batch_size": 32, "random_state": 0, **settings})


def test_it_is_trained_repeatable_and_leaves_random_state_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = encoder().fit(X)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert np.array_equal(first.transform(X), encoder().fit(X).transform(X))
    assert not np.array_equal(first.transform(X), encoder(random_state=1).fit(X).transform(X))
    assert not np.array_equal(first.transform(X), encoder(steps=6).fit(X).transform(X))
    assert set(first.figures_) >= {"rankme", "feature_std"}


def test_labels_are_not_looked_at():
    assert np.array_equal(encoder().fit(X).transform(X), encoder().fit(X, Y).transform(X))


def test_a_template_is_copied_and_settings_of_the_recipe_count():
    template = DenseEncoder(13, width=16)
    before = [p.clone() for p in template.parameters()]
    found = encoder(network=template).fit(X)
    assert found.transform(X).shape == (178, 16)
    assert all(torch.equal(a, b) for a, b in zip(before, template.parameters(), strict=True))
    assert not torch.equal(next(found.encoder_.parameters()).float(), before[0])
    other = encoder(network=template, recipe_params={"variance": 0.0}).fit(X)
    assert not np.array_equal(found.transform(X), other.transform(X))
    by_function = encoder(network=template, recipe=pretrain.VICReg).fit(X)
    assert np.array_equal(found.transform(X), by_function.transform(X))


def test_within_a_pipeline_and_in_a_pickle():
    line = make_pipeline(encoder(steps=20), StandardScaler(), LogisticRegression()).fit(X, Y)
    assert line.score(X, Y) > 0.9
    assert np.array_equal(pickle.loads(pickle.dumps(line)).predict(X), line.predict(X))
    assert line[:1].get_feature_names_out()[0] == "pretrainedencoder0"
    assert not hasattr(clone(line[0]), "encoder_")


def test_students_start_from_the_pretrained_weights():
    fitted = encoder().fit(X)
    plan = {"steps": 1, "lr": 1e-30, "weight_decay": 0.0, "random_state": 3}  # as good as no training
    for given in (fitted, FrozenEstimator(fitted)):
        model = SelfTrainClassifier(pretrain=given, **plan).fit(X, HIDDEN)
        assert model.encoder_ is fitted
        np.testing.assert_allclose(model.transform(X), fitted.transform(X), atol=1e-5)
    kept = clone(SelfTrainClassifier(pretrain=FrozenEstimator(fitted), **plan)).fit(X, HIDDEN)
    assert kept.encoder_ is fitted  # a clone keeps what is frozen
    fresh = SelfTrainClassifier(pretrain=encoder(), **plan).fit(X, HIDDEN)
    assert fresh.encoder_ is not fitted
    np.testing.assert_allclose(fresh.transform(X), fitted.transform(X), atol=1e-5)
    scratch = SelfTrainClassifier(**plan).fit(X, HIDDEN)
    assert scratch.encoder_ is None
    assert not np.allclose(scratch.transform(X), fitted.transform(X), atol=1e-2)


def test_the_run_folders_of_both_stages(tmp_path):
    template = DenseEncoder(13, width=16)
    own = SelfTrainClassifier(
        pretrain=encoder(random_state=None), network=template, steps=2, out=tmp_path, random_state=0
    ).fit(X, HIDDEN)
    assert own.transform(X).shape == (178, 16)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["member-0", "pretrain"]
    assert pickle.loads(pickle.dumps(own)).predict(X).tolist() == own.predict(X).tolist()


@pytest.mark.parametrize("recipe", ["vicreg", pretrain.VICReg])
def test_a_recipe_by_name_or_as_a_function(recipe, monkeypatch):
    monkeypatch.setattr("selftrain.estimator.encoder.STEPS", 5)  # the default length
    plan = {"steps": 1, "random_state": 0, "batch_size": 32}
    found = SelfTrainClassifier(pretrain=recipe, **plan).fit(X, HIDDEN)
    assert found.encoder_.recipe == recipe
    assert found.encoder_.random_state is not None  # it follows from that of the classifier
    again = SelfTrainClassifier(pretrain=recipe, **plan).fit(X, HIDDEN)
    assert np.array_equal(found.predict_proba(X), again.predict_proba(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "bert"}, "no recipe 'bert'; known are mae"),
        ({"recipe": "tjepa", "network": "mlp"}, "lacks"),
        ({"recipe_params": {"varianse": 1.0}}, "VICReg has no setting 'varianse'; did you mean 'variance'"),
        ({"recipe": lambda encoder: encoder}, "it must build a stage"),
        ({"network": torch.nn.Linear(13, 4)}, "Linear is no encoder: it has no embed_dim"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        encoder(**settings).fit(X)


def test_an_encoder_of_other_rows_is_refused():
    other = encoder().fit(X[:, :7])
    with pytest.raises(
        ValueError, match=r"fitted to table rows of shape \(7,\), these are table rows of shape \(13,\)"
    ):
        SelfTrainClassifier(pretrain=other, steps=1).fit(X, HIDDEN)


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_progress_bar_is_shown_if_verbose(verbose, capsys):
    encoder(verbose=verbose).fit(X)
    assert ("5/5" in capsys.readouterr().err) is bool(verbose)
    SelfTrainClassifier(steps=3, random_state=0, verbose=verbose).fit(X, HIDDEN)
    assert ("3/3" in capsys.readouterr().err) is bool(verbose)
