"""SelfTrainClassifier without a strategy: a portfolio, unless the settings ask for a network."""

from __future__ import annotations

import html
import pickle
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import selftrain as st
from selftrain.errors import RunFolderError
from selftrain.estimator import LabeledKFold, SelfTrainClassifier
from selftrain.estimator.automatic import NETWORKS
from selftrain.networks.foundation import Foundation

X, Y = load_wine(return_X_y=True)
HIDDEN = np.where(np.arange(len(Y)) % 6 == 0, Y, -1)
PILE = np.flatnonzero(HIDDEN < 0)


@pytest.fixture(autouse=True, scope="module")
def _small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("selftrain.portfolio.candidates"), "TREES", 2)
        yield


def model(**settings):
    return SelfTrainClassifier(**{"budget": 1, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def fitted():
    return model().fit(X, HIDDEN)


def test_names_and_numbers_are_those_of_the_portfolio(fitted):
    names = np.array(["barolo", "grignolino", "barbera"])
    said = model().fit(X, np.array([names[c] if c >= 0 else None for c in HIDDEN], dtype=object))
    assert said.classes_.tolist() == sorted(names)
    assert fitted.score(X[PILE], Y[PILE]) > 0.9
    assert np.array_equal(fitted.predict(X), fitted.classes_[fitted.predict_proba(X).argmax(1)])
    assert fitted.strategy_.split(" + ")[0] == fitted.candidates_[0]["name"]
    assert fitted.candidates_ is fitted.portfolio_.records_
    np.testing.assert_allclose(fitted.predict_proba(X).sum(1), 1)


def test_every_row_gets_a_label_and_the_ledger_says_which(fitted, tmp_path):
    assert np.array_equal(fitted.transduction_[HIDDEN >= 0], HIDDEN[HIDDEN >= 0])
    assert np.array_equal(fitted.transduction_[PILE], fitted.predict(X[PILE]))
    assert fitted.labeled_iter_.tolist() == np.where(HIDDEN >= 0, 0, 1).tolist()
    assert fitted.termination_condition_ == "all_labeled"
    book = fitted.ledger_
    assert list(map(int, book.ids)) == PILE.tolist()
    np.testing.assert_allclose(book.confidence, fitted.predict_proba(X[PILE]).max(1), rtol=1e-6)
    assert bool(book.accepted.all())
    assert 0 < float(book.agreement.min()) <= float(book.agreement.max()) <= 1
    assert len(book.to_csv(tmp_path / "pseudo_labels.csv").read_text().splitlines()) == len(PILE) + 1


def test_a_pickle_a_clone_and_a_cross_validation(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert np.array_equal(clone(fitted).fit(X, HIDDEN).predict_proba(X), fitted.predict_proba(X))
    assert cross_val_score(model(budget=0), X, HIDDEN, cv=LabeledKFold(2)).min() > 0.7


def test_sparse_rows_are_what_their_dense_form_is():
    rows = sparse.csr_matrix(np.where(np.median(X, axis=0) < X, X, 0.0))
    found = model().fit(rows, HIDDEN)
    np.testing.assert_allclose(found.predict_proba(rows), found.predict_proba(rows.toarray()))
    assert not any(row["family"] == "network" for row in found.candidates_)
    with pytest.raises(ValueError, match=r"sparse matrix.*kind is 'series'; leave kind out, or pass X.toarray\(\)"):
        model(kind="series").fit(rows, HIDDEN)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("shape", [(13,), (13, 1), (13, 1, 1)])
def test_images_and_series_are_read_as_fit_has_read_them(shape):
    rows = (X / X.max(0)).reshape(len(X), *shape)
    kind = {1: None, 2: "series", 3: "image"}[len(shape)]
    found = model(budget=0, kind=kind, channels="first" if kind == "image" else None).fit(rows, HIDDEN)
    assert found.score(rows[PILE], Y[PILE]) > 0.85
    if kind == "image":
        with pytest.raises(st.DataError, match="limits"):
            found.predict(5 * rows)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "settings", [{"steps": 2}, {"network": "linear"}, {"select": "above(0.5)"}, {"batch_size": 8, "steps": 2}]
)
def test_a_setting_of_networks_asks_for_one(settings):
    found = SelfTrainClassifier(random_state=0, **{"epochs": None, "steps": 2, **settings}).fit(X, HIDDEN)
    assert found.strategy_ in ("freematch", "fixmatch")
    assert not hasattr(found, "candidates_")
    assert found.transform(X[:2]).shape[0] == 2
    found.set_params(**SelfTrainClassifier().get_params()).set_params(budget=0).fit(X, HIDDEN)
    assert not hasattr(found, "network_")  # nothing of the fit before is left
    assert found.candidates_


def test_with_a_budget_networks_with_these_settings_are_among_the_candidates():
    found = model(budget=60, steps=2, network="linear").fit(X, HIDDEN)
    tried = {row["name"]: row for row in found.candidates_ if row["family"] == "network"}
    assert set(tried) == {f"network, {name}" for name in NETWORKS}
    assert all(row["loss"] is not None for row in tried.values())
    ruled = model(budget=60, steps=2, select="above(0.5)").fit(X, HIDDEN)
    assert [row["name"] for row in ruled.candidates_ if row["family"] == "network"] == ["network, fixmatch"]


def test_a_budget_is_for_auto():
    with pytest.raises(ValueError, match="budget is 3 and strategy 'fixmatch'; leave it out, or set strategy='auto'"):
        model(budget=3, strategy="fixmatch", steps=1).fit(X, HIDDEN)
    model(budget=None, strategy="fixmatch", steps=1).fit(X, HIDDEN)
    with pytest.raises(ValueError, match="budget is 'slow'"):
        model(budget="slow").fit(X, HIDDEN)


def test_there_are_no_features_without_a_network(fitted):
    assert not hasattr(fitted, "transform")
    assert not hasattr(model(), "transform")
    with pytest.raises(AttributeError) as error:
        fitted.transform(X)
    assert "set strategy='freematch'" in str(error.value.__cause__)
    remedy = SelfTrainClassifier(strategy="freematch", steps=1)
    assert hasattr(remedy, "transform")
    assert remedy.fit(X, HIDDEN).transform(X).shape == (len(X), 128)


def test_without_unlabeled_rows_it_says_so():
    with pytest.warns(st.SelfTrainingWarning, match="supervised only"):
        found = model(budget=0).fit(X, Y)
    assert found.score(X, Y) > 0.95
    assert len(found.ledger_) == 0


def test_what_was_tried_is_stored_and_no_run_is_replaced(tmp_path):
    out = tmp_path / "auto"
    found = model(out=out).fit(X, HIDDEN)
    assert sorted(p.name for p in out.iterdir()) == [
        "candidates.json", "candidates.md", "pseudo_labels.csv", "report.html"]  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(row["reason"] in html.unescape(page) for row in found.candidates_)

    with pytest.raises(RunFolderError, match="already holds a portfolio"):
        found.fit(X, HIDDEN)
    found.set_params(overwrite=True).fit(X, HIDDEN)
    SelfTrainClassifier(steps=1, out=tmp_path / "run").fit(X, HIDDEN)
    with pytest.raises(RunFolderError, match="holds the run of a network; choose another folder"):
        model(out=tmp_path / "run", overwrite=True).fit(X, HIDDEN)
    model(out=tmp_path / "other").fit(X, HIDDEN)


@pytest.mark.slow
@parametrize_with_checks([SelfTrainClassifier(unlabeled=-99, budget=0, random_state=0)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


def test_beside_an_encoder_candidates_read_its_features():
    rng = np.random.RandomState(0)
    images = (rng.rand(60, 3, 6, 6) + np.arange(60)[:, None, None, None] % 2).astype(np.float32) / 2
    y = np.where(np.arange(60) < 12, np.arange(60) % 2, -1)
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    encoder = Foundation(body, embed_dim=8, size=6, mean=[0.2] * 3, std=[0.5] * 3, frozen=True)
    found = model(network=encoder, channels="first", budget=0.3).fit(images, y)
    with torch.no_grad():
        rows = body((torch.from_numpy(images) - 0.2) / 0.5).numpy()
    alone = model(budget=0.3).fit(rows, y)
    np.testing.assert_allclose(found.predict_proba(images), alone.predict_proba(rows), atol=1e-4)
    tried = [row for row in found.candidates_ if row["seconds"]]
    assert [row["name"] for row in tried] == [row["name"] for row in alone.candidates_ if row["seconds"]]
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.predict_proba(images[:5]), found.predict_proba(images[:5]))
    np.testing.assert_allclose(found.predict_proba(images[5:7]), alone.predict_proba(rows[5:7]), atol=1e-4)


# each pixel alone has the same values in both classes, and so has its gray or, of stripes, its color
COLORS = np.array([[[255, 0, 0], [0, 255, 255]], [[0, 255, 0], [255, 0, 255]]], np.uint8)


def _palettes(rng, y, side):
    """Pictures (N, side, side, 3) of two colors at random places, other ones in the other class."""
    return COLORS[y[:, None, None], rng.randint(2, size=(len(y), side, side))]


def _stripes(rng, y, side):
    """Pictures (N, side, side) of stripes at a random place, across or down."""
    line = (np.arange(side) + rng.randint(4, size=len(y))[:, None]) // 2 % 2
    rows = np.broadcast_to(line[:, :, None], (len(y), side, side))
    return (255 * np.where(y[:, None, None] == 1, rows, rows.transpose(0, 2, 1))).astype(np.uint8)


@pytest.mark.parametrize(
    ("draw", "side", "name"),
    [(_palettes, 16, "edges and colors"), (_palettes, 40, "edges and colors"), (_stripes, 16, "edges")],
)
def test_pictures_are_told_by_colors_and_edges_where_no_pixel_tells(draw, side, name):
    rng, y = np.random.RandomState(0), np.arange(90) % 2
    images, hidden = draw(rng, y, side), np.where(np.arange(90) < 20, y, -1)
    found = model(budget=0.5, kind="image").fit(images[:60], hidden[:60])
    assert found.score(images[60:], y[60:]) > 0.9
    tried = {row["name"]: row for row in found.candidates_}
    for described in [row for row in found.candidates_ if row["name"].endswith(" on " + name)]:
        pixels = tried[described["name"].partition(" on ")[0]]
        if described["seconds"] and pixels["seconds"]:
            assert described["prior"] == pixels["prior"]
    assert tried["logistic"]["accuracy"] < 0.8 < 0.9 < tried["logistic on " + name]["accuracy"]
    members = found.portfolio_.members_
    assert all(m.form.startswith(name + "/") for m in members if m.weight > 0.2)
    # what is compared by pixels has at most 32 of them a side
    assert found.portfolio_.forms.columns == min(side, 32) ** 2 * (3 if draw is _palettes else 1)
    again = pickle.loads(pickle.dumps(found))
    for rows in (images[60:], images[60:] / 255.0):
        np.testing.assert_allclose(again.predict_proba(rows), found.predict_proba(images[60:]), atol=1e-5)


def test_pictures_of_few_pixels_have_no_edges_worth_counting():
    rows = np.random.RandomState(0).rand(20, 12, 16)
    found = model(budget=0, kind="image").fit(rows, np.where(np.arange(20) < 8, np.arange(20) % 2, -1))
    assert not any(" on " in row["name"] for row in found.candidates_)
