"""Rows of another shape, scale, name or order than those of ``fit``, at every door that is asked for answers."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import selftrain as st
from selftrain import data, strategies
from selftrain.errors import DataError
from selftrain.estimator import PretrainedEncoder, SelfTrainClassifier
from selftrain.graph import GraphClassifier
from selftrain.portfolio import portfolio
from selftrain.wrapper import CoTraining, SelfTraining, TriTraining

COUNT = 24
TRUTH = np.arange(COUNT) % 2
Y = np.where(np.arange(COUNT) < 16, TRUTH, -1)
DRAW = np.random.RandomState(0)
TABLE = DRAW.randn(COUNT, 4) + 3 * TRUTH[:, None]
FRAME = pd.DataFrame(TABLE, columns=list("abcd"))
IMAGES = (DRAW.rand(COUNT, 8, 8, 3) * (100 + 150 * TRUTH[:, None, None, None])).astype(np.uint8)
SERIES = DRAW.randn(COUNT, 2, 12) + 3 * TRUTH[:, None, None]
CLOUDS = DRAW.randn(COUNT, 6, 3) * (1 + 2 * TRUTH[:, None, None])
ROWS = {"table": TABLE, "image": IMAGES, "series": SERIES, "points": CLOUDS}
NETWORK = {"strategy": "fixmatch", "steps": 1, "batch_size": 4}


@pytest.fixture(scope="module", autouse=True)
def few_candidates():
    """Portfolios of the quickest candidates: how rows are read is the same for all."""
    quick = ("logistic", "SVM", "label spreading", "mixture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portfolio, "within", lambda ways, *_: [way for way in ways if way.name in quick])
        yield


def estimators(kind):
    form = {"kind": kind, "random_state": 0}
    yield "portfolio", SelfTrainClassifier(**form)
    yield "network", SelfTrainClassifier(**form, **NETWORK)
    yield "encoder", PretrainedEncoder(recipe="vicreg", steps=1, **form)


@pytest.fixture(scope="module", params=ROWS)
def fitted(request):
    """The rows of one kind and all estimators that have learned from them."""
    rows = ROWS[request.param]
    return request.param, rows, {name: made.fit(rows, Y) for name, made in estimators(request.param)}


def asks(model):
    """All that can be asked of rows."""
    for name in ("predict", "predict_proba", "transform"):
        if hasattr(model, name):
            yield name, getattr(model, name)
    if hasattr(model, "score"):
        yield "score", lambda rows: model.score(rows, TRUTH[: len(rows)])


def other_shapes(rows):
    yield "less", rows[:, :1]
    yield "more", np.concatenate([rows, rows], 1)
    yield "more axes", rows[..., None]
    yield "one row", rows[0]
    if rows.ndim > 2:
        yield "flat", rows.reshape(len(rows), -1)
        yield "turned", np.moveaxis(rows, -1, 1)
        yield "shorter", rows[..., :2]


def test_rows_of_another_shape_are_refused_with_both_shapes(fitted):
    kind, rows, models = fitted
    for name, model in models.items():
        for door, ask in asks(model):
            for what, others in other_shapes(rows):
                place = f"{kind} {name} {door} {what}"
                with pytest.raises(DataError) as refused:
                    ask(others)
                text = str(refused.value)
                own = rows.shape[1:]
                both = str(own) in text or f"{own[0]} features" in text
                other = "1D array" in text or str(others.shape[1:]) in text or f"{others.shape[1]} features" in text
                assert both or "1D array" in text, f"{place}: {text}"
                assert other, f"{place}: {text}"


@pytest.mark.parametrize("kind", ["image", "series", "points"])
def test_the_remedy_of_a_shape_is_named_and_works(kind):
    rows = ROWS[kind]
    model = SelfTrainClassifier(kind=kind, random_state=0, **NETWORK).fit(rows, Y)
    expected = model.predict_proba(rows)
    for others in (rows[0], rows.reshape(len(rows), -1), np.moveaxis(rows, -1, 1)):
        with pytest.raises(DataError) as refused:
            model.predict(others)
        remedy = re.search(r"pass (.*)$", str(refused.value))[1]
        found = model.predict_proba(eval(remedy, {"X": others, "np": np}))
        np.testing.assert_allclose(found, expected[: len(found)], atol=1e-9)


CLASSIFIERS = {
    "portfolio": lambda: SelfTrainClassifier(random_state=0),
    "network": lambda: SelfTrainClassifier(random_state=0, **NETWORK),
    "encoder": lambda: PretrainedEncoder(recipe="vicreg", steps=1, random_state=0),
    "self-training": lambda: SelfTraining(LogisticRegression()),
    "co-training": lambda: CoTraining(LogisticRegression()),
    "tri-training": lambda: TriTraining(LogisticRegression()),
    "graph": lambda: GraphClassifier(),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_other_columns_are_refused_and_the_remedy_works(name):
    model = CLASSIFIERS[name]().fit(FRAME, Y)
    ask = model.transform if name == "encoder" else model.predict_proba
    expected = ask(FRAME)
    for others in (FRAME[list("dcba")], FRAME.assign(e=1.0), FRAME.assign(e=1.0)[list("ecdab")]):
        with pytest.raises(DataError, match=r"pass X\[model\.feature_names_in_\]"):
            ask(others)
        np.testing.assert_array_equal(ask(others[model.feature_names_in_]), expected)
    for others in (FRAME.rename(columns={"a": "z"}), FRAME[list("abc")]):
        with pytest.raises(DataError, match="- a|- d"):
            ask(others)
    for others in (TABLE[:, :3], np.c_[TABLE, TABLE], TABLE[0], TABLE[:, :, None], TABLE.astype(complex), TABLE[:0]):
        with pytest.raises(DataError):
            ask(others)


@pytest.mark.parametrize("first", ["bytes", "floats"])
@pytest.mark.parametrize("name", ["portfolio", "network"])
def test_one_picture_in_bytes_and_in_floats_is_one_picture(name, first):
    forms = [IMAGES, IMAGES / 255.0, IMAGES.astype(np.int64)]
    forms = forms if first == "bytes" else [forms[1], forms[0]]
    model = CLASSIFIERS[name]().fit(forms[0], Y)
    for form in forms[1:]:
        np.testing.assert_allclose(model.predict_proba(form), model.predict_proba(forms[0]), atol=1e-5)


def test_pictures_of_another_scale_are_refused():
    for name in ("portfolio", "network"):
        model = CLASSIFIERS[name]().fit(IMAGES, Y)
        for others in (IMAGES.astype(np.float32), IMAGES / 127.5 - 1):
            with pytest.raises(DataError, match=r"image values run from .*give uint8, floats in \[0, 1\]"):
                model.predict(others)


def test_pictures_that_look_normalized_are_told_where_black_and_white_are_known():
    wide = IMAGES * 4.0
    for name in ("portfolio", "network"):
        model = CLASSIFIERS[name]().set_params(limits=(0, 1000)).fit(wide, Y)
        with pytest.warns(UserWarning, match="black at 0 and white at 1000; if they were normalized, give them as"):
            model.predict((wide - wide.mean()) / wide.std())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict(wide)  # the remedy
            model.predict(wide / 3 - 1)  # an offset of the sensor


NETWORKS = {
    "table": lambda: torch.nn.Linear(4, 2),
    "image": lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)),
    "series": lambda: torch.nn.Sequential(torch.nn.Conv1d(2, 2, 3), torch.nn.AvgPool1d(10), torch.nn.Flatten()),
}


@pytest.fixture(scope="module", params=NETWORKS)
def run(request, tmp_path_factory):
    """A run of each kind, and the same opened again."""
    kind, folder = request.param, tmp_path_factory.mktemp("run") / "run"
    form = {"kind": "series"} if kind == "series" else {}
    pile = data.Pile.from_arrays(ROWS[kind], Y, validation=4, **form)
    method = strategies.FixMatch(st.Classification(2), st.learner(NETWORKS[kind]))
    done = st.fit(method, pile, out=folder, steps=1, handlers=[], plan=st.BatchPlan(labeled=2))
    return kind, done, st.open_run(folder, pile=pile)


def test_a_strategy_names_both_shapes(run):
    kind, done, opened = run
    rows = np.moveaxis(ROWS[kind], -1, 1).astype(np.float32) if kind == "image" else ROWS[kind]
    own = str(rows.shape[1:])
    for strategy in (done.strategy, opened.strategy):
        assert strategy.predict(rows).shape == (COUNT, 2)
        for what, others in other_shapes(rows):
            with pytest.raises(DataError) as refused:
                strategy.predict(others)
            assert own in str(refused.value), f"{what}: {refused.value}"
        assert strategy.predict(rows[0][None]).shape == (1, 2)  # what a single sample is told to do
        for others in (rows.astype(complex), rows.astype(str), None, np.where(rows > 0, np.nan, rows)):
            with pytest.raises(DataError):
                strategy.predict(others)


def test_a_run_evaluates_no_samples_of_another_shape(run):
    kind, done, opened = run
    form = {"kind": "series"} if kind == "series" else {}
    others = ROWS[kind][..., :1] if kind == "image" else ROWS[kind][:, :1]
    for each in (done, opened):
        with pytest.raises(DataError, match="the samples to evaluate on have"):
            each.evaluate(data.ArraySet(others, TRUTH, **form))


def test_bytes_are_no_inputs_of_a_strategy_and_the_remedy_works(run):
    kind, done, opened = run
    if kind != "image":
        return
    pictures = data.ArraySet(IMAGES, TRUTH)
    expected = done.evaluate(pictures)["accuracy"]
    for each in (done, opened):
        with pytest.raises(DataError) as refused:
            each.strategy.predict(pictures.x)
        remedy = str(refused.value).split("pass ")[1]
        plain = eval(remedy, {"run": each, "x": pictures.x, "torch": torch})
        assert (each.strategy.predict(plain).argmax(1).numpy() == TRUTH).mean() == expected
