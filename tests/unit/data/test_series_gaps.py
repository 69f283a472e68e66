"""Series of unequal length and with gaps: read as one array with NaN, left out by views, network and read-out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import data
from selftrain.data.base.statistics import statistics
from selftrain.data.views.series import resampled
from selftrain.errors import DataError
from selftrain.estimator import SelfTrainClassifier
from selftrain.networks import FilledGaps
from selftrain.networks.by_name import make_network
from selftrain.networks.vit import Block, _cells_there, pooling, series_transformer
from selftrain.pretrain.targets import Pixels

NAN = np.nan
LENGTHS = np.random.default_rng(0).integers(5, 12, 40)
Y = np.where(np.arange(40) < 24, np.arange(40) % 2, -1)


@pytest.fixture(scope="module")
def rows():
    """Series (length, 3) whose class is their level."""
    rng = np.random.default_rng(1)
    return [rng.normal(size=(length, 3)) + 3 * (number % 2) for number, length in enumerate(LENGTHS)]


def test_series_in_every_form_are_one_array(rows):
    padded = data.pad_series(rows)
    assert padded.shape == (40, 3, 11)
    assert np.isnan(padded).any(1).sum() == (11 - LENGTHS).sum()
    assert np.array_equal(padded[3, :, : LENGTHS[3]], rows[3].T)
    nested = pd.DataFrame({name: [pd.Series(row[:, i]) for row in rows] for i, name in enumerate("abc")})
    ragged = np.empty(40, dtype=object)
    ragged[:] = rows
    for form in ([row.T for row in rows], [torch.from_numpy(row) for row in rows], nested, ragged):
        assert np.array_equal(data.pad_series(form), padded, equal_nan=True)
    assert data.pad_series([[1, 2], [3]]).tolist()[0] == [[1, 2]]
    assert data.pad_series(np.zeros((4, 7))).shape == data.pad_series(pd.DataFrame(np.zeros((4, 7)))).shape == (4, 1, 7)
    assert data.pad_series(np.zeros((4, 7, 2)), "last").shape == (4, 2, 7)
    assert data.pad_series([np.zeros((2, 2))] * 3, "last").shape == (3, 2, 2)
    assert data.pad_series([np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)]).dtype == np.float32


def test_series_that_are_none_are_refused_by_name(rows):
    with pytest.raises(DataError, match=r"series have the shapes \(2, 3\), \(3, 5\); all need the same channels"):
        data.pad_series([np.zeros((2, 3)), np.zeros((3, 5))])
    with pytest.raises(DataError, match=r"series 1 has shape \(4,\) .*series 0 \(2, 3\)"):
        data.pad_series([np.zeros((2, 3)), np.zeros(4)])
    assert data.pad_series([np.zeros(3), np.zeros(4)]).shape == (2, 1, 4)  # the remedy
    wrong = [np.zeros((2, 3)), np.zeros((2, 5))]
    with pytest.raises(DataError, match="series have other channels than one another; say channels=.first"):
        data.pad_series(wrong, "last")
    assert data.pad_series(wrong, "first").shape == (2, 2, 5)  # the remedy
    x = data.pad_series(rows)
    x[7] = NAN
    with pytest.raises(DataError, match="series 7 holds no number; leave it out"):
        data.ArraySet(x, kind="series")
    assert data.ArraySet(np.delete(x, 7, 0), kind="series").gaps  # the remedy
    x[7] = np.inf
    with pytest.raises(DataError, match="sample 7 holds inf"):
        data.ArraySet(x, kind="series")
    with pytest.raises(DataError, match="sample 3 holds nan"):  # a cloud has no gaps
        data.ArraySet(np.where(np.arange(5)[:, None, None] == 3, NAN, np.zeros((5, 4, 2))), kind="points")


def test_parts_get_one_length_and_a_pile_says_that_there_are_gaps(rows, tmp_path):
    longer = [np.zeros((15, 3)), np.ones((4, 3))]
    pile = data.Pile.from_arrays(rows, Y, longer, [0, 1], kind="series")
    assert pile.gaps
    assert pile.card()["shape"] == [3, 15]
    assert "shorter ones and gaps are NaN" in pile.summary_lines()[2]
    assert not data.Pile.from_arrays(np.zeros((40, 3, 5)), Y, kind="series").gaps
    np.savez(tmp_path / "a.npz", x=data.pad_series(rows), y=Y, x_test=data.pad_series(longer), y_test=[0, 1])
    assert data.from_arrays_file(tmp_path / "a.npz", kind="series").card() == pile.card()
    np.save(tmp_path / "x.npy", data.pad_series(rows))
    assert data.from_arrays_file(tmp_path / "x.npy", kind="series").gaps


def test_a_gap_that_no_row_that_was_looked_at_has_is_refused(tmp_path, monkeypatch):
    x = np.zeros((9, 1, 4))
    x[4, 0, 1] = NAN
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr("selftrain.data.base.stored._LOOKED_AT", 2)
    stored = data.StoredSet(tmp_path / "x.npy", kind="series")
    with pytest.raises(DataError, match=r"row 4: holds NaN, a gap.*save the arrays as \.npz"):
        stored.images(np.arange(9))
    np.savez(tmp_path / "x.npz", x_unlabeled=x)  # the remedy
    assert data.from_arrays_file(tmp_path / "x.npz", kind="series").gaps


def test_normalization_is_that_of_what_is_there(rows):
    found = statistics(data.ArraySet(rows, kind="series"))
    every = np.concatenate(rows)
    assert np.allclose(found.mean, every.mean(0))
    assert np.allclose(found.std, every.std(0))
    assert np.allclose(found.low, every.min(0))
    assert np.allclose(found.high, every.max(0))


@pytest.mark.parametrize("name", ["plain", "weak", "strong"])
def test_views_act_within_what_is_there(rows, name):
    x = torch.from_numpy(data.pad_series(rows)).float()
    views = data.SeriesViews(mean=0.0, std=1.0, drop=0.0, crop=(1.0, 1.0))
    view = views(name, x, torch.arange(40), 0).x
    assert torch.equal(view.isnan(), x.isnan())  # no move reaches beyond the end, nothing is filled from there
    alone = [views(name, x[i : i + 1, :1, : LENGTHS[i]], torch.tensor([i]), 0).x for i in range(40)]
    one = views(name, x[:, :1], torch.arange(40), 0).x  # of one channel: its noise is drawn sample by sample
    for i, own in enumerate(alone):
        assert torch.equal(one[i : i + 1, :, : LENGTHS[i]], own)


def test_stretches_are_those_of_the_series_and_gaps_stay():
    x = torch.tensor([[[0.0, 10, NAN, 30, 40, NAN, NAN, NAN]]])
    two, half, none = torch.tensor([2]), torch.tensor([0.5]), torch.zeros(1)
    moved = resampled(x, two, none, torch.ones(1), "wrap", torch.tensor([5]))
    assert torch.equal(moved.nan_to_num(-1)[0, 0], torch.tensor([-1.0, 30, 40, 0, 10, -1, -1, -1]))
    stretched = resampled(x, torch.tensor([0]), none, half, "edge", torch.tensor([5]))
    assert torch.equal(stretched.nan_to_num(-1)[0, 0], torch.tensor([0.0, 5, 10, -1, -1, -1, -1, -1]))


def test_what_is_appended_changes_no_prediction_and_a_gap_is_not_its_mean():
    torch.manual_seed(0)
    network = make_network("auto", "series", (2, 12), 3, gaps=True).eval()
    x = torch.randn(5, 2, 9)
    x[0, :, 4] = NAN
    answers = [network(nn.functional.pad(x, (0, more), value=NAN)) for more in (0, 3, 50)]
    assert all(torch.allclose(answer, answers[0], atol=1e-5) for answer in answers[1:])
    assert (network(x.nan_to_num(0.0))[0] - answers[0][0]).abs().max() > 1e-3
    assert (network(nn.functional.pad(x, (0, 3)))[1:] - answers[0][1:]).abs().max() > 1e-3  # zeros are numbers


def test_attention_leaves_out_what_is_not_there():
    block, x = Block(8, 2).eval(), torch.randn(2, 5, 8)
    there = torch.tensor([[True, True, False, True, False]] * 2)
    assert torch.allclose(block(x, there)[:, there[0]], block(x[:, there[0]]), atol=1e-6)


def test_cells_are_those_of_the_own_length():
    there = torch.ones(3, 6, dtype=torch.bool)
    there[1, 4:] = False
    there[2, [0, 2]] = False
    found = _cells_there(there, 2)
    assert torch.allclose(found[0], pooling((6,), 2))
    assert torch.allclose(found[1, :, :4], pooling((4,), 2))
    assert found[1, :, 4:].sum() == 0
    assert torch.allclose(found[2], torch.tensor([[0, 0.5, 0, 0.5, 0, 0], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3]]))


def test_networks_without_gaps_stay_and_those_of_ones_own_are_wrapped(rows):
    with pytest.raises(ValueError, match="read out by a number of cells"):
        series_transformer(8, 2, pool="all", gaps=True)
    assert series_transformer(8, 2, pool=2, gaps=True).embed_dim == 128  # the remedy
    with pytest.raises(ValueError, match="predict latents"):
        Pixels().width(series_transformer(8, 2, gaps=True))
    pile = data.Pile.from_arrays(rows, Y, kind="series")

    def run(make):
        strategy = st.strategies.FixMatch(st.Classification(2), st.learner(make))
        return st.fit(strategy, pile, steps=2, baseline=False)

    with pytest.raises(DataError, match=r"gives NaN .* pass selftrain\.networks\.FilledGaps\(Sequential"):
        run(lambda: nn.Sequential(nn.Flatten(), nn.Linear(33, 2)))
    assert run(lambda: FilledGaps(nn.Sequential(nn.Flatten(), nn.Linear(44, 2)))).steps == 2  # the remedy
    filled = FilledGaps(nn.Identity())(torch.tensor([[[1.0, NAN]]]))
    assert filled.tolist() == [[[1, 0], [1, 0]]]


def test_the_estimator_reads_series_of_any_length(rows):
    model = SelfTrainClassifier(kind="series", strategy="freematch", steps=30, lr=0.01, random_state=0, baseline=False)
    model.fit(rows, Y)
    truth = np.arange(40) % 2
    assert (model.predict(rows) == truth).mean() > 0.9
    new = [np.random.default_rng(2).normal(size=(length, 3)) + 3 for length in (2, 30)]
    assert list(model.predict(new)) == [1, 1]  # shorter and longer than all before
    assert np.allclose(model.predict_proba(rows[:1]), model.predict_proba(rows)[:1], atol=1e-5)
    with pytest.raises(DataError, match="rows of shape"):
        model.predict([np.zeros((5, 2)), np.zeros((6, 2))])
    whole = SelfTrainClassifier(kind="series", strategy="freematch", steps=2, baseline=False).fit(
        np.zeros((40, 8)) + Y[:, None], Y
    )
    with pytest.raises(DataError, match="series 1 holds NaN, and those of fit held none; fill it in"):
        whole.predict(np.array([np.zeros(8), [NAN] * 8]))
    assert len(whole.predict(np.zeros((2, 8)))) == 2  # the remedy
