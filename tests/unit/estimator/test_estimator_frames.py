"""Data frames with names, dates, truth values and gaps: read as ``from_table`` reads them, at every door."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pyarrow
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import selftrain as st
from selftrain import data
from selftrain.cli.main import main
from selftrain.errors import DataError
from selftrain.estimator import LabeledKFold, PretrainedEncoder, SelfTrainClassifier
from selftrain.portfolio import portfolio
from selftrain.wrapper import SelfTraining

COUNT = 24
TRUTH = np.where(np.arange(COUNT) % 2, "yes", "no")
Y = np.where(np.arange(COUNT) < 16, TRUTH, None)
DRAW = np.random.RandomState(0)
ODD = np.arange(COUNT) % 2
FRAME = pd.DataFrame({
    "age": pd.array([None, *(20 + 30 * ODD + np.arange(COUNT))[1:]], dtype="Int64"),
    "weight": np.where(np.arange(COUNT) == 5, np.nan, DRAW.randn(COUNT) + 4 * ODD),
    "color": np.array(["red", "green", "blue", None], object)[np.arange(COUNT) % 4],
    "size": pd.Categorical(np.where(ODD, "L", "S")),
    "code": pd.Categorical(1 + ODD),
    "ok": pd.array(([True, False, None] * COUNT)[:COUNT], dtype="boolean"),
    "note": pd.array((["a", None] * COUNT)[:COUNT], dtype="string"),
    "day": pd.date_range("2024-01-31", periods=COUNT, freq="37h"),
    "took": pd.to_timedelta(DRAW.randint(1, 9, COUNT), unit="h"),
    "price": [f"{3 + 2 * odd},{row:02d} €" for row, odd in enumerate(ODD)],
    "plain": ODD == 1,
})  # fmt: skip
NETWORK = {"strategy": "fixmatch", "steps": 3, "batch_size": 4, "random_state": 0, "on_alarm": "warn"}


@pytest.fixture(scope="module", autouse=True)
def few_candidates():
    """Portfolios of the quickest candidates: how rows are read is the same for all."""
    with pytest.MonkeyPatch.context() as patch:
        quick = ("logistic", "mixture")
        patch.setattr(portfolio, "within", lambda ways, *_: [way for way in ways if way.name in quick])
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that has learned from the frame, and its run folder."""
    folder = tmp_path_factory.mktemp("frames") / "run"
    return SelfTrainClassifier(out=folder, **NETWORK).fit(FRAME, Y), folder


@pytest.fixture(scope="module")
def models(trained):
    features = PretrainedEncoder(recipe="vicreg", steps=1, random_state=0)
    return {
        "network": trained[0],
        "portfolio": SelfTrainClassifier(random_state=0).fit(FRAME, Y),
        "wrapper": SelfTraining(SelfTrainClassifier(**NETWORK), weighting="none", max_rounds=1).fit(FRAME, Y),
        "pipeline": make_pipeline(features, LogisticRegression()).fit(FRAME[:16], TRUTH[:16]),
    }


def test_the_numbers_are_those_of_from_table_and_so_are_the_views(trained):
    model, _ = trained
    pile = data.from_table(FRAME)
    assert model.encoding_.as_dict() == pile.encoding
    expected = pile.unlabeled.images(np.arange(COUNT)).numpy()
    for rows in (FRAME, pyarrow.Table.from_pandas(FRAME), FRAME.set_index(pd.Index(range(7, 7 + COUNT)))):
        assert np.array_equal(model._rows(rows), expected)
    assert model.views_.categorical == pile.views.categorical == tuple(model.encoding_.categorical)
    assert np.array_equal(model.views_.bank.numpy(), pile.views.bank.numpy())
    assert list(model.feature_names_in_) == list(FRAME.columns)
    assert model.n_features_in_ == FRAME.shape[1] < expected.shape[1] == model.inputs_.shape[0]
    encoder = PretrainedEncoder(recipe="vicreg", steps=1, random_state=0).fit(FRAME)
    assert encoder.encoding_ == model.encoding_
    assert encoder.views_.categorical == model.views_.categorical


def test_every_door_gives_the_same_answers(trained, tmp_path, capsys):
    model, folder = trained
    answers = model.predict(FRAME)
    assert set(answers) == {"yes", "no"}
    run = st.open_run(folder)
    FRAME.to_parquet(tmp_path / "new.parquet")
    for rows in (FRAME, tmp_path / "new.parquet", pyarrow.Table.from_pandas(FRAME)):
        assert list(run.predict(rows)) == list(answers)
    capsys.readouterr()
    assert main(["predict", str(folder), str(tmp_path / "new.parquet")]) == 0
    told = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    assert told == list(answers)[: len(told)]
    assert told


def test_codes_are_columns_of_their_own_in_a_portfolio(models):
    model = models["portfolio"]
    wide = sum(codes for codes in model.encoding_.cardinalities.values() if codes > 2)
    kept = sum(codes <= 2 for codes in model.encoding_.cardinalities.values())
    numbers = len(model.encoding_.features) - len(model.encoding_.cardinalities)
    assert model.portfolio_.forms.columns == numbers + kept + wide
    assert model.score(FRAME, TRUTH) == 1.0
    scores = cross_val_score(SelfTrainClassifier(random_state=0), FRAME, Y, cv=LabeledKFold(2))
    assert scores.mean() > 0.9
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(FRAME), model.predict_proba(FRAME))
    assert clone(model.set_params(table={"drop": ["note"]})).table == {"drop": ["note"]}
    model.set_params(table=None)


def other_types(frame):
    """The same cells in other types."""
    return frame.astype({
        "age": float, "weight": "Float64", "color": "category", "size": object, "code": "int64", "ok": object,
        "note": object, "day": str, "price": "string", "plain": "boolean",
    })  # fmt: skip


@pytest.mark.parametrize("name", ["network", "portfolio", "wrapper", "pipeline"])
def test_other_frames_are_read_right_or_refused_by_name(models, name):
    model = models[name]
    answers = model.predict_proba(FRAME)
    np.testing.assert_allclose(model.predict_proba(other_types(FRAME)), answers, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(FRAME[3:5]), answers[3:5], atol=1e-9)
    with pytest.warns(UserWarning, match=r"names that training did not have were read as missing: color \('pink' 24 x"):
        unknown = model.predict_proba(FRAME.assign(color="pink"))
    np.testing.assert_allclose(unknown, model.predict_proba(FRAME.assign(color=None)), atol=1e-9)
    for others, told in (
        (FRAME.drop(columns="size"), "size"),
        (FRAME.rename(columns={"size": "extent"}), "extent"),
        (FRAME.assign(more=1), "more"),
        (FRAME[FRAME.columns[::-1]], "same order"),
        (FRAME.assign(weight="heavy"), "row 0: weight is 'heavy', which is no finite number"),
        (FRAME.assign(weight=np.inf), "row 0: weight is inf"),
        (FRAME.assign(day=3.5), "day holds numbers, and was learned from dates"),
        (FRAME.assign(age=[[1]] * COUNT), "column 'age' holds list"),
    ):
        with pytest.raises(DataError, match=told):
            model.predict(others)


def test_the_remedies_of_a_frame_work():
    words = FRAME[["weight"]].assign(text=[f"word {row}" for row in range(COUNT)], b="x")
    with pytest.raises(
        DataError, match=r"more than max_categories=5; leave it out \(columns=\{'text': 'drop'\}\)"
    ) as told:
        SelfTrainClassifier(table={"max_categories": 5}, **NETWORK).fit(words, Y)
    assert str(told.value).endswith('; settings of the table are given as table={"columns": {...}, ...}')
    model = SelfTrainClassifier(table={"max_categories": 5, "columns": {"text": "drop"}}, **NETWORK).fit(words, Y)
    assert list(model.encoding_.features) == ["weight", "b", "weight?missing"]
    with pytest.warns(
        UserWarning, match=r"row numbers .* columns=\{'id': 'drop'\}; settings of the table are given as"
    ):
        SelfTrainClassifier(**NETWORK).fit(words[["b"]].assign(id=np.arange(COUNT)), Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dropped = SelfTrainClassifier(table={"columns": {"id": "drop"}}, **NETWORK)
        dropped.fit(words[["b", "weight"]].assign(id=np.arange(COUNT)), Y)
    numbers = pd.DataFrame({"a": DRAW.randn(COUNT), "zip": 10 + ODD})
    plain = SelfTrainClassifier(**NETWORK).fit(numbers, Y)
    assert plain.encoding_ is None
    with pytest.raises(DataError, match=r"columns \['a'\] of X hold gaps or no numbers"):
        plain.predict(numbers.assign(a=np.nan))
    with_gaps = SelfTrainClassifier(**NETWORK).fit(numbers.assign(a=np.where(ODD, numbers["a"], np.nan)), Y)
    assert len(with_gaps.predict(numbers.assign(a=np.nan))) == COUNT
    named = SelfTrainClassifier(table={"columns": {"zip": "category"}}, **NETWORK).fit(numbers, Y)
    assert list(named.encoding_.categorical) == [1]
    assert SelfTrainClassifier(**NETWORK).fit(pd.DataFrame(FRAME.to_numpy(object)), Y).score(FRAME.to_numpy(), TRUTH)


def test_an_encoder_that_was_fitted_has_its_own_codes():
    known = PretrainedEncoder(recipe="vicreg", steps=1, random_state=0).fit(
        pd.concat([FRAME, FRAME.assign(color="azure")])
    )
    model = SelfTrainClassifier(pretrain=known, **NETWORK).fit(FRAME, Y)
    assert model.encoding_ == known.encoding_ != SelfTrainClassifier(**NETWORK).fit(FRAME, Y).encoding_
    assert np.array_equal(model._rows(FRAME), known._rows(FRAME))
    numbers = PretrainedEncoder(recipe="vicreg", steps=1, random_state=0).fit(DRAW.randn(COUNT, 4))
    with pytest.raises(DataError, match="of names, dates or gaps; fit it to rows like these"):
        SelfTrainClassifier(pretrain=numbers, **NETWORK).fit(FRAME[["size", "color", "code"]], Y)
