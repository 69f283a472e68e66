"""Folds, evidence, blend: what may be seen, what a candidate is worth, what is shipped."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import norm, rankdata
from sklearn.datasets import load_wine

from selftrain.portfolio import Candidate, Forms, Judged, Portfolio, blend_weights, candidates, choosing, folds, judge
from selftrain.portfolio.candidates import Size, whole_cost, within
from selftrain.portfolio.portfolio import seconds
from selftrain.portfolio.report import table, write_report

X, TRUTH = load_wine(return_X_y=True)
FEW = np.where(np.arange(len(TRUTH)) % 6 == 0, TRUTH, -1)
SIZE = Size(len(X), 30, 13, 3, wide=False)


@pytest.fixture(autouse=True, scope="module")
def _small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("selftrain.portfolio.candidates"), "TREES", 3)
        yield


class Cheat:
    """Knows the label of a row that it has seen with its label, and nothing else."""

    seen: list = []

    def fit(self, X, y):
        Cheat.seen.append(y.copy())
        self.known, self.classes_ = {row.tobytes(): c for row, c in zip(X, y, strict=True) if c >= 0}, np.arange(3)
        return self

    def predict_proba(self, X):
        told = [self.known.get(row.tobytes(), -1) for row in X]
        return np.array([np.eye(3)[c] if c >= 0 else np.full(3, 1 / 3) for c in told])


# -- folds -------------------------------------------------------------------------------------------------------------
def test_no_fold_sees_its_labels_and_each_sees_the_whole_pile():
    Cheat.seen.clear()
    cheat = Candidate("cheat", "labels alone", "standard", lambda seed: Cheat(), 0.0)
    parts = list(folds(FEW, 5, 2, seed=0))
    judged = judge(cheat, Forms(X), FEW, parts, seed=0)
    np.testing.assert_allclose(judged.answers, 1 / 3)
    for rows, seen in zip((rows for repeat in parts for rows in repeat), Cheat.seen, strict=True):
        assert len(seen) == len(X)
        assert (seen[rows] == -1).all()
        rest = np.setdiff1d(np.arange(len(X)), rows)
        assert np.array_equal(seen[rest], FEW[rest])


def test_each_repeat_hides_each_label_once_and_folds_have_all_classes():
    for rows_of in folds(FEW, 5, 3, seed=1):
        assert np.array_equal(np.sort(np.concatenate(rows_of)), np.flatnonzero(FEW >= 0))
        counts = np.array([np.bincount(FEW[rows], minlength=3) for rows in rows_of])
        assert (counts.max(0) - counts.min(0) <= 1).all()
        assert np.ptp(counts.sum(1)) <= 1


def test_a_class_with_one_label_is_never_hidden():
    codes = np.array([0, 0, 1, 2, 2, 2, -1])
    (rows_of,) = folds(codes, 5, 1, seed=0)
    assert sorted(np.concatenate(rows_of).tolist()) == [0, 1, 3, 4, 5]
    assert all((np.bincount(codes[rows], minlength=3) < [2, 1, 3]).all() for rows in rows_of)


def test_what_no_fold_has_hidden_is_no_evidence():
    codes = np.array([0, 1, 2, -1, -1, -1])
    model = Portfolio(budget=0).fit(X[[0, 60, 150, 1, 61, 151]], codes)
    assert model.labels_ == 0
    assert all(row["accuracy"] is row["loss"] is None for row in model.records_)
    assert "no label could be hidden" in model.records_[0]["reason"]
    assert model.predict_proba(X).argmax(1).shape == TRUTH.shape


# -- evidence and blend ------------------------------------------------------------------------------------------------
def test_scores_are_those_of_calibrated_answers():
    codes, answers = np.array([0, 1, 1]), np.array([[[0.6, 0.4], [0.4, 0.6], [0.6, 0.4]]])
    found = choosing.score(Judged(None, answers, 0.0), codes)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.error == pytest.approx(np.sqrt(2 / 9 / 3))
    sharp = answers[0] ** found.power
    sharp = 0.8 * sharp / sharp.sum(1, keepdims=True) + 0.2 / 2
    assert found.loss == pytest.approx(-np.log(sharp[np.arange(3), codes]).mean())


def test_the_power_is_the_best_of_a_grid():
    draw = np.random.default_rng(0)
    answers = draw.dirichlet(np.ones(3), 200)
    codes = np.array([draw.choice(3, p=p**3 / (p**3).sum()) for p in answers])

    def cost(power):
        sharp = np.maximum(answers, 1e-6) ** power
        return -np.log((sharp / sharp.sum(1, keepdims=True))[np.arange(200), codes]).mean() + 0.002 * np.log(power) ** 2

    grid = np.geomspace(0.05, 20, 2000)
    assert choosing.fit_power(answers, codes) == pytest.approx(grid[np.argmin([cost(p) for p in grid])], rel=0.01)
    assert choosing.fit_power(np.zeros((0, 3)), np.zeros(0, dtype=int)) == 1


def scored(*told):
    return [choosing.Scored(1.0, np.array(t), -np.log(t).mean(0), np.ones(np.shape(t)[1])) for t in told]


def test_weights_are_tempered_evidence_and_prior(monkeypatch):
    monkeypatch.setattr(choosing, "HALF", 1e12)  # of evidence alone
    first, second = np.full((2, 20), np.exp(-0.5)), np.full((2, 20), np.exp(-0.7))
    found = blend_weights(scored(first, second), [0.3, 0.1])
    odds = np.exp((20 * (0.7 - 0.5) + choosing.IMAGINED * (0.1 - 0.3)) / choosing.TEMPERATURE)
    assert found[0] / found[1] == pytest.approx(odds)
    never = np.full((2, 3), np.nan)
    assert blend_weights(scored(never, never), [0.0, 0.0]).tolist() == [0.5, 0.5]
    assert blend_weights(scored(first, np.full((2, 20), 1e-3)), [0.0, 0.0]).tolist() == [1.0, 0.0]


def test_of_many_labels_the_weights_are_those_that_suit_the_blend():
    """Two candidates that are right on different halves, and one that is as good alone but adds nothing."""
    halves = np.repeat([[0.9, 0.1]], 25, axis=1)
    told = halves, halves[:, ::-1], np.full((1, 50), 0.3)
    np.testing.assert_allclose(choosing.greedy_weights(np.stack(told)), [0.5, 0.5, 0.0])
    alone = choosing.softmax(50 * np.log([0.3, 0.3, 0.3]) / choosing.TEMPERATURE)
    expected = 0.5 * alone + 0.5 * np.array([0.5, 0.5, 0.0])
    np.testing.assert_allclose(blend_weights(scored(*told), np.zeros(3)), expected)


def test_disagreement_is_with_what_the_others_decide():
    answers = np.array([[[0.9, 0.1]], [[0.8, 0.2]], [[0.3, 0.7]]])
    found = choosing.disagreement(answers, np.array([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(found, -np.log([0.9, 0.8, 0.3]))
    # the last one has most of the weight, and still no voice in what the others decide
    found = choosing.disagreement(answers, np.array([0.1, 0.1, 0.8]))
    np.testing.assert_allclose(found, -np.log([0.1, 0.2, 0.3]))


def test_the_prior_knows_every_candidate_but_networks():
    for forms, group in ((Forms(X), "narrow"), (Forms(np.zeros((5, 200)), 0), "wide")):
        stored = json.loads((choosing.Path(choosing.__file__).parent / "prior.json").read_text())[group]
        names = [c.name for c in candidates(forms, replace(SIZE, wide=group == "wide"))]
        assert set(names) == set(stored)
        assert choosing.priors(["network, fixmatch"], group)[0] == pytest.approx(np.mean(list(stored.values())))


# -- budget ------------------------------------------------------------------------------------------------------------
def test_a_budget_buys_the_labels_alone_and_then_the_cheaper():
    found = candidates(Forms(X), SIZE)
    alone = [c for c in found if c.family == "labels alone"]
    assert within(found, 5, 0.0) == alone
    assert within(found, 5, 1e9) == found
    others = sorted((c for c in found if c not in alone), key=lambda c: whole_cost(c, 5))
    spent = sum(whole_cost(c, 5) for c in [*alone, *others[:2]])
    assert set(within(found, 5, spent + 1e-9)) == {*alone, *others[:2]}


def test_the_discriminant_candidate_sees_all_of_a_pile_that_is_hardly_too_large_and_costs_that():
    def of_wide(rows):
        found = {c.name: c for c in candidates(Forms(X), Size(rows, 200, 1000, 10, wide=True))}
        return [found[name] for name in ("heavy soft labels", "discriminant soft labels")]

    assert [[c.make(0).rows for c in of_wide(rows)] for rows in (2700, 2701)] == [[2000, 2500], [2000, 2000]]
    (few, alone), (more, whole), (_, part) = (of_wide(rows) for rows in (2200, 2700, 2701))
    assert few.cost == more.cost  # sees no more rows
    assert whole.cost == pytest.approx(27 / 22 * alone.cost, rel=0.01)
    assert part.cost == pytest.approx(alone.cost, rel=0.01)


def test_budgets_are_seconds():
    assert seconds("fast", 500) == pytest.approx(5.0)
    assert seconds("fast", 10_000) < 90
    assert seconds("thorough", 500) == pytest.approx(100.0)
    assert seconds(3, 500) == 3.0
    for wrong in ("slow", -1, True, float("nan")):
        with pytest.raises(ValueError, match="give 'fast', 'thorough' or seconds"):
            seconds(wrong, 500)


def test_what_the_budget_has_no_time_for_says_so():
    model = Portfolio(budget=0).fit(X, FEW)
    untried = [row for row in model.records_ if row["reason"].startswith("not tried")]
    assert {row["family"] for row in untried} == {"graph", "mixture", "soft labels"}
    assert all(row["weight"] == 0 and row["loss"] is None for row in untried)
    raised = Portfolio(budget=100).fit(X, FEW)  # the remedy of the message
    assert not any(row["reason"].startswith("not tried") for row in raised.records_)


# -- what is shipped ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def fitted():
    return Portfolio(budget=2, seed=3).fit(X, FEW)


def test_the_blend_is_the_weighted_mean_of_its_members(fitted):
    expected = 0
    for m in fitted.members_:
        said = m.fitted.predict_proba(fitted.forms.of(m.form, X))
        expected = expected + m.weight * choosing.sharpened(said, m.power, 30)
    np.testing.assert_allclose(fitted.predict_proba(X), choosing.sharpened(expected, fitted.power_, 30))
    weights = [row["weight"] for row in fitted.records_]
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)
    assert (fitted.predict_proba(X).argmax(1) == TRUTH).mean() > 0.9


def test_one_seed_one_result_and_a_pickle_of_it(fitted):
    again = Portfolio(budget=2, seed=3).fit(X, FEW)
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    kept = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(kept.predict_proba(X), fitted.predict_proba(X))
    assert set(kept.forms._made.values()) == {None}  # without the rows of fit
    assert not kept.forms._graphs


def test_a_class_that_a_candidate_does_not_know_has_no_probability():
    class Half(Cheat):
        def fit(self, X, y):
            self.classes_ = np.array([0, 2])
            return self

        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    half = Candidate("half", "network", "given", lambda seed: Half(), 0.0)
    judged = judge(half, Forms(X), FEW, list(folds(FEW, 5, 1, 0)), 0)
    np.testing.assert_allclose(judged.answers[0], np.tile([0.5, 0.0, 0.5], (30, 1)))


DRAW = np.random.default_rng(0)
WIDE = (X - X.mean(0)) / X.std(0) @ DRAW.normal(size=(13, 120)) + DRAW.normal(size=(len(X), 120))
OWN = DRAW.permutation(np.geomspace(1e-3, 1e3, 120))  # units of columns


@pytest.mark.parametrize(
    ("rows", "unit", "origin"),
    [(X, 1e-60, 0), (X, 1e60, 0), (X, 1, 1e8), (X, 1e-3, 1700000), (X, OWN[:13], 1), (WIDE, OWN, 1)],
)
def test_units_and_origins_of_columns_change_nothing(rows, unit, origin):
    told, size = [], replace(SIZE, columns=rows.shape[1], wide=rows is WIDE)
    for forms in (Forms(rows), Forms(unit * rows + origin)):
        made = [(c.make(0).fit(forms[c.form], FEW), forms[c.form]) for c in candidates(forms, size)]
        told.append([fitted.predict_proba(rows).argmax(1) for fitted, rows in made])
    for one, other in zip(*told, strict=True):
        assert (one == other).mean() > 0.97  # rows on a border may fall to either side by rounding


def test_ranks_are_normal_scores_whatever_the_scale():
    rows = np.column_stack([np.arange(9.0), [0, 0, 0, 0, 0, 0, 1, 2, 3]])
    forms, bent = Forms(rows), Forms(np.expm1(rows))
    expected = norm.ppf((rankdata(rows, axis=0) - 0.5) / 9)
    np.testing.assert_allclose(forms["rank"], expected - expected.mean(0), atol=1e-12)
    np.testing.assert_allclose(bent["rank"], forms["rank"], atol=1e-12)
    # a new row stands between its neighbors, and no farther out than the last
    first, second = forms["rank"].T
    new = forms.of("rank", np.array([[2.5, 0.25], [99.0, -99.0]]))
    np.testing.assert_allclose(new, [[first[2:4].mean(), 0.75 * second[0] + 0.25 * second[6]], [first[8], second[0]]])
    many = Forms(np.arange(5000.0)[:, None] ** 3)["rank"][:, 0]
    np.testing.assert_allclose(many, norm.ppf((np.arange(5000) + 0.5) / 5000), atol=0.04)


@pytest.mark.parametrize("form", ["standard", "unit", "reduced"])
def test_sparse_rows_stay_sparse_and_give_what_dense_ones_do(form):
    rows = sparse.random(40, 150, 0.2, random_state=0, format="csr")
    forms, dense = Forms(rows), Forms(rows.toarray()[:, None])  # of one unit, as series are
    made = forms[form]
    assert sparse.issparse(made) == (form != "reduced")
    other = forms.of(form, rows[:7])
    np.testing.assert_allclose(_dense(other), _dense(made)[:7], atol=1e-7)
    if form == "unit":
        np.testing.assert_allclose(_dense(made), dense[form])


def _dense(rows):
    return rows.toarray() if sparse.issparse(rows) else rows


def test_a_report_has_a_line_a_candidate(fitted, tmp_path):
    write_report(tmp_path, fitted.records_)
    stored = json.loads((tmp_path / "candidates.json").read_text())["candidates"]
    assert [row["name"] for row in stored] == [row["name"] for row in fitted.records_]
    lines = table(fitted.records_).splitlines()
    assert len(lines) == 2 + len(fitted.records_)
    first = fitted.records_[0]
    assert f"| {first['name']} | {first['family']} | {100 * first['accuracy']:.1f} ±" in lines[2]
    assert (tmp_path / "candidates.md").read_text() == table(fitted.records_)
