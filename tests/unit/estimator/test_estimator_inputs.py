"""Arrays of every kind: how they are read, and that networks and recipes with a name fit them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from selftrain import data
from selftrain.catalog import EMBEDDING
from selftrain.errors import DataError
from selftrain.estimator import ENCODERS, RECIPES, PretrainedEncoder, SelfTrainClassifier
from selftrain.estimator.inputs import learn_inputs

RNG = np.random.RandomState(0)
HALF = np.where(np.arange(24) % 2 == 0, np.arange(24) % 3, -1)
ROWS = {
    "table": RNG.randn(24, 5),
    "image": RNG.rand(24, 12, 10),
    "series": RNG.randn(24, 2, 21),
    "points": RNG.randn(24, 20, 3),
}
QUICK = {"steps": 2, "random_state": 0}


def read(x, kind=None, channels=None, block=1):
    inputs = learn_inputs(x, kind, channels, lambda kind: block)
    return inputs, inputs.read(x)


# -- reading -----------------------------------------------------------------------------------------------------------
def test_tables_and_images_are_told_by_their_axes():
    assert read(ROWS["table"])[0].kind == "table"
    assert read(ROWS["image"])[0].kind == "image"
    assert read(ROWS["series"], "series")[1].shape == (24, 2, 21)


@pytest.mark.parametrize("place", ["first", "last", None])
def test_channels(place):
    x = RNG.randint(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    given = np.moveaxis(x, 3, 1) if place == "first" else x
    inputs, found = read(given, channels=place)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), np.moveaxis(x, 3, 1))
    assert inputs.shape == (3, 8, 8)


def test_an_unclear_channel_axis_is_refused():
    with pytest.raises(DataError, match="channel axis"):
        read(np.zeros((6, 3, 8, 3)))
    assert read(np.zeros((6, 3, 8, 3)), channels="first")[0].shape == (3, 8, 3)


def test_float_images_are_brought_to_the_range_of_those_that_were_fitted():
    x = np.linspace(-4, 12, 2 * 4 * 4).reshape(2, 4, 4)
    inputs, found = read(x)
    np.testing.assert_allclose(found.numpy()[:, 0], (x + 4) / 16, atol=1e-6)
    for value, expected in ((20, 1), (-20, 0), (4, 0.5)):  # each alone: the range is not theirs
        np.testing.assert_allclose(inputs.read(np.full((1, 4, 4), float(value))), expected)
    within = x / 32 + 0.25
    np.testing.assert_allclose(read(within)[1].numpy()[:, 0], within, atol=1e-7)


def test_borders_are_repeated_up_to_whole_blocks():
    x = RNG.randint(0, 256, (2, 5, 8), dtype=np.uint8)
    found = read(x, block=4)[1]
    assert found.shape == (2, 1, 8, 8)
    assert np.array_equal(found[:, 0].numpy(), np.pad(x, ((0, 0), (0, 3), (0, 0)), mode="edge"))
    series = RNG.randn(2, 3, 6)
    found = read(series, "series", block=4)[1]
    np.testing.assert_allclose(found.numpy(), np.pad(series, ((0, 0), (0, 0), (0, 2)), mode="edge"), rtol=1e-6)
    assert read(ROWS["points"], "points", block=4)[1].shape == (24, 20, 3)


def test_rows_of_another_shape_are_refused():
    inputs, _ = read(ROWS["image"])
    with pytest.raises(DataError, match=r"X has rows of shape \(12, 9\), fit was called with \(12, 10\)"):
        inputs.read(ROWS["image"][:, :, :9])


# -- networks ----------------------------------------------------------------------------------------------------------
@pytest.mark.one_in(3)
@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, known in ENCODERS.items() for n in ("auto", *known)])
def test_every_network_by_name(kind, name):
    found = SelfTrainClassifier(network=name, kind=kind, **QUICK).fit(ROWS[kind], HALF)
    assert found.predict_proba(ROWS[kind][:3]).shape == (3, 3)
    assert found.transform(ROWS[kind]).shape == (24, len(found.get_feature_names_out()))
    assert found.n_features_in_ == ROWS[kind][0].size


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 30, 21), (1, 96, 96), (2, 4, 100)])
def test_images_of_any_size(shape):
    x = np.random.RandomState(0).rand(6, *shape)
    found = SelfTrainClassifier(channels="first", steps=1, random_state=0).fit(x, [0, 1, -1, 0, 1, -1])
    encoder = found.network_.networks[0].encoder
    assert type(encoder).__name__ == ("ConvEncoder" if max(shape) <= 64 else "ViT")
    assert all(side % 4 == 0 for side in encoder.shape[1:])


def test_views_of_ones_own():
    views = data.TableViews(weak_noise=1.0, strong_noise=1.0, replace=0.0)
    plain = SelfTrainClassifier(**QUICK).fit(ROWS["table"], HALF).predict_proba(ROWS["table"])
    noisy = SelfTrainClassifier(views=views, **QUICK).fit(ROWS["table"], HALF).predict_proba(ROWS["table"])
    assert not np.array_equal(plain, noisy)
    assert views.mean is None  # theirs are left alone


# -- pretraining -------------------------------------------------------------------------------------------------------
KIND_OF = {"ecgjepa": "series", "tjepa": "table", "pointjepa": "points"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_by_name(name):
    kind = KIND_OF.get(name, "image")
    x = np.random.RandomState(1).rand(24, 32, 32) if kind == "image" else ROWS[kind]
    network = "conv" if name == "cnnjepa" else "auto"
    found = PretrainedEncoder(recipe=name, network=network, kind=kind, steps=1, batch_size=8, random_state=0)
    features = found.fit_transform(x)
    assert features.dtype == np.float64
    assert features.shape == (24, len(found.get_feature_names_out()))
    assert np.isfinite(features).all()


@pytest.mark.parametrize("name", EMBEDDING)
@pytest.mark.parametrize("kind", ["table", "series"])
def test_recipes_that_embed_views_take_any_kind(kind, name):
    assert len(PretrainedEncoder(recipe=name, kind=kind, **QUICK).fit_transform(ROWS[kind])) == 24


@pytest.mark.parametrize(
    ("kind", "recipe"), [("table", "tjepa"), ("image", "mae"), ("series", "ecgjepa"), ("points", "pointjepa")]
)
def test_the_recipe_for_each_kind(kind, recipe):
    assert PretrainedEncoder(kind=kind, **QUICK).fit(ROWS[kind]).recipe_ == recipe
    assert PretrainedEncoder(**QUICK).fit(ROWS["table"][:, :2]).recipe_ == "vicreg"


@pytest.mark.slow
def test_series_and_images_learn():
    x, y = load_digits(return_X_y=True)
    hidden = np.where(np.arange(len(y)) < 100, y, -1)
    found = SelfTrainClassifier(strategy="fixmatch", steps=60, random_state=0).fit(x.reshape(-1, 8, 8), hidden)
    assert found.score(x.reshape(-1, 8, 8)[100:], y[100:]) > 0.75
    series = SelfTrainClassifier(strategy="fixmatch", kind="series", steps=60, random_state=0).fit(
        x.reshape(-1, 8, 8), hidden
    )
    assert series.score(x.reshape(-1, 8, 8)[100:], y[100:]) > 0.5
