"""Sparse matrices: the same rows as dense ones at every door, and never dense as a whole."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import selftrain as st
from selftrain.data import ArraySet, Pile, SparseSet, SparseViews, Subset, TableViews
from selftrain.data.base.joined import Joined
from selftrain.data.base.random import uniform, uniform_at
from selftrain.data.base.sparse import dense_at_once, is_sparse, sparse_parts
from selftrain.errors import DataError, UsageError
from selftrain.estimator import PretrainedEncoder, SelfTrainClassifier
from selftrain.portfolio import portfolio
from selftrain.wrapper import SelfTraining

COUNT = 60
DRAW = np.random.RandomState(0)
TRUTH = np.arange(COUNT) % 2
TEXTS = [" ".join(DRAW.choice([*"abcx"] if odd else [*"defx"], 5)) for odd in TRUTH]
Y = np.where(np.arange(COUNT) < 16, TRUTH, -1)
WORDS = TfidfVectorizer(token_pattern=r"\w")
X = WORDS.fit_transform(TEXTS)
NETWORK = {"strategy": "fixmatch", "steps": 20, "batch_size": 8, "random_state": 0, "on_alarm": "warn"}


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_array", "lil_matrix", "dok_array", "bsr_matrix"])
def test_rows_are_those_of_the_dense_matrix_in_every_format(form):
    given = getattr(sparse, form)(X.copy())
    rows = SparseSet(given, Y)
    index = np.array([7, 0, 59, 7])
    assert torch.equal(rows.images(index), torch.from_numpy(X.toarray()[index]).float())
    assert rows.annotations.tolist() == Y.tolist()
    assert rows.ids[3] == "3"
    assert torch.equal(pickle.loads(pickle.dumps(rows)).images(index), rows.images(index))
    before = rows.images(index)
    if form != "dok_array":
        given.data[:] = 0  # what its owner does with it afterwards is not learned from
    assert torch.equal(rows.images(index), before)


def test_entries_that_are_there_twice_are_added_and_rows_without_any_are_zeros():
    twice = sparse.coo_matrix((np.array([1, 2, 4]), ([0, 0, 2], [1, 1, 0])), (4, 2))
    assert SparseSet(twice).images(np.arange(4)).tolist() == [[0, 3], [0, 0], [4, 0], [0, 0]]


def test_what_is_no_matrix_of_numbers_is_refused_by_name():
    odd = sparse.csr_matrix(np.array([[0.0, 1.0], [0.0, np.nan], [np.inf, 0.0]]))
    for given, told in (
        (odd, r"sample 1 holds nan in column 1, .* remove such rows, or correct them"),
        (odd[:, :1], r"sample 2 holds inf in column 0"),
        (sparse.csr_matrix(np.array([[1e300]])), r"sample 0 holds 1e\+300 in column 0"),
        (sparse.csr_matrix((3, 0)), r"shape \(3, 0\) and float64; give \(N, F\) of numbers, F above 0"),
        (X.astype(complex), "x holds complex numbers"),
        (sparse.coo_array(np.arange(3)), r"sparse array of shape \(3,\)"),
    ):
        with pytest.raises(DataError, match=told):
            SparseSet(given)
    assert len(SparseSet(odd[:1])) == 1  # the remedy
    for name, value in (("kind", "series"), ("limits", (0, 1)), ("channels", "last")):
        with pytest.raises(
            DataError, match=f"{name} is .* but x is a sparse matrix, which is a table; leave {name} out"
        ):
            Pile.from_arrays(X, Y, **{name: value})
    assert Pile.from_arrays(X.toarray()[:, None], Y, kind="series").form.kind == "series"


def test_parts_of_sets_are_found_through_subsets_and_joins():
    rows = SparseSet(X, Y)
    some = Subset(Subset(rows, np.arange(9, 50)), [3, 0, 7])
    both = Joined(some, rows, None)
    assert is_sparse(both)
    assert not is_sparse(ArraySet(X.toarray()))
    assert sparse_parts(Joined(some, ArraySet(X.toarray()), None), np.arange(5)) is None
    asked = np.array([60, 1, 4])
    found = np.sort(np.concatenate([part.toarray() for part in sparse_parts(both, asked)]), 0)
    np.testing.assert_array_equal(found, np.sort(both.images(asked).numpy(), 0))
    wide = SparseSet(sparse.csr_matrix((4, 2**20)))
    assert dense_at_once(wide, 500) == 8
    assert dense_at_once(rows, 500) == dense_at_once(ArraySet(X.toarray()), 500) == 500


def test_draws_at_places_are_those_of_all_places():
    index = torch.tensor([5, -3, 11])
    rows, columns = torch.tensor([0, 2, 2, 1]), torch.tensor([6, 0, 3, 3])
    whole = uniform(3, 1, index, "weak/drop", 7)
    assert torch.equal(uniform_at(3, 1, index, "weak/drop", rows, columns), whole[rows, columns])


def test_views_leave_out_entries_and_zeros_stay_zeros():
    views = SparseViews(weak_drop=0.25, strong_drop=0.5).fitted(SparseSet(X))
    x, index = torch.from_numpy(X.toarray()).float(), torch.arange(COUNT)
    assert views.std.item() == pytest.approx(np.sqrt((X.toarray() ** 2).mean()), rel=1e-6)
    assert views.fitted(SparseSet(2 * X)) is views
    assert SparseViews().fitted(ArraySet(X.toarray())).std.item() == pytest.approx(views.std.item(), rel=1e-6)
    assert SparseViews().fitted(SparseSet(sparse.csr_matrix((3, 2)))).std.item() == 1
    plain = views("plain", x, index, 0).x
    torch.testing.assert_close(plain, x / views.std)
    assert float(plain.square().mean()) == pytest.approx(1, rel=1e-5)
    for name, drop in (("weak", 0.25), ("strong", 0.5), ("strong2", 0.5)):
        found = torch.stack([views(name, x, index, epoch).x for epoch in range(100)])
        torch.testing.assert_close(found[found != 0], (plain / (1 - drop)).expand_as(found)[found != 0])
        left_out = 1 - (found[:, plain != 0] != 0).double().mean()
        assert float(left_out) == pytest.approx(drop, abs=0.01)
        assert torch.equal(views(name, x[3:5], index[3:5], 7).x, found[7, 3:5])  # in any company
    assert not torch.equal(views("strong", x, index, 0).x, views("strong2", x, index, 0).x)
    assert torch.equal(x, torch.from_numpy(X.toarray()).float())
    for wrong in ({"weak_drop": 1.0}, {"strong_drop": -0.1}):
        with pytest.raises(ValueError, match=r"it is a probability, in \[0, 1\)"):
            SparseViews(**wrong)
    with pytest.raises(ValueError, match="not \\(B, F\\)"):
        views("plain", x[None], index, 0)


@pytest.fixture
def most(monkeypatch):
    """The most rows that were made dense at once."""
    asked, plain = [0], SparseSet.images

    def counted(self, index):
        asked[0] = max(asked[0], len(index))
        return plain(self, index)

    monkeypatch.setattr(SparseSet, "images", counted)
    for name in ("toarray", "todense"):
        whole = getattr(sparse.csr_matrix, name)
        monkeypatch.setattr(
            sparse.csr_matrix,
            name,
            lambda self, *a, _whole=whole, **k: asked.append(self.shape[0]) or _whole(self, *a, **k),
        )
    return lambda: max(asked)


def test_every_door_learns_from_sparse_rows_without_the_whole_matrix(most, tmp_path, monkeypatch):
    monkeypatch.setattr("selftrain.data.base.sparse._NUMBERS", 70)  # ten rows at a time
    monkeypatch.setattr("selftrain.evaluation.agreement._BATCH", 15)
    pile = Pile.from_arrays(X, Y, X[:8], TRUTH[:8])
    assert isinstance(pile.views, SparseViews)
    run = st.fit("fixmatch", pile, steps=20, plan=st.BatchPlan(labeled=8, unlabeled_ratio=2), out=tmp_path / "run")
    answers = run.predict_proba(X)
    assert (answers.argmax(1) == TRUTH).mean() > 0.9
    features = PretrainedEncoder(steps=1, batch_size=8, random_state=0)
    models = [
        make_pipeline(copy.copy(WORDS), SelfTrainClassifier(**NETWORK)).fit(TEXTS, Y),
        SelfTrainClassifier(pretrain=features, **NETWORK | {"steps": 1}).fit(X, Y),
        make_pipeline(copy.copy(WORDS), features).fit(TEXTS),
    ]
    assert models[0].score(TEXTS, TRUTH) > 0.9
    assert models[1].transform(X).shape == models[2].transform(TEXTS).shape == (COUNT, 128)
    assert models[2][-1].recipe_ == "vicreg"
    inner = SelfTrainClassifier(**NETWORK | {"steps": 1})
    assert len(SelfTraining(inner, weighting="none", max_rounds=1).fit(X, Y).predict(X)) == COUNT
    assert most() <= 24  # of a batch: 8 labeled and 16 unlabeled rows
    again = st.open_run(tmp_path / "run")
    for rows in (X, X.tocsc(), X.toarray()):
        np.testing.assert_allclose(again.predict_proba(rows), answers, atol=1e-6)
    with pytest.raises(DataError, match=r"there is a sparse matrix of shape \(60, 3\); the run has learned from table"):
        again.predict(X[:, :3])
    dense = SelfTrainClassifier(**NETWORK).fit(X.toarray(), Y)
    assert isinstance(dense.views_, TableViews)
    np.testing.assert_allclose(dense.predict_proba(X), dense.predict_proba(X.toarray()), atol=1e-9)


def test_a_portfolio_of_the_engine_says_who_reads_large_sparse_rows(monkeypatch):
    pile = Pile.from_arrays(X, Y)
    monkeypatch.setattr(portfolio, "within", lambda ways, *_: [way for way in ways if way.name == "logistic"])
    assert (st.fit("auto", pile).predict(X).astype(int) == TRUTH).mean() > 0.9
    monkeypatch.setattr("selftrain.estimator.strategy.MOST", 100 * X.shape[0] * X.shape[1] - 1)
    with pytest.raises(UsageError, match=r"60 sparse ones of 7 numbers; SelfTrainClassifier\(\)\.fit"):
        st.fit("auto", pile)
    assert SelfTrainClassifier(random_state=0).fit(X, Y).score(X, TRUTH) > 0.9  # the remedies
    assert len(st.fit("supervised", pile, steps=1).predict(X)) == COUNT
