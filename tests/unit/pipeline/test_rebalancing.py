"""CReST: which labels join, the generations, their shares, and that they go on exactly."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import same

import selftrain as st
from selftrain import data, strategies
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import label_pile
from selftrain.pipeline import crest
from selftrain.select.alignment import Align

TASK = st.Classification(3)
MAKE = st.learner(lambda: torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)), lr=0.02)


def tail():
    """Three clouds with 12, 6 and 2 labels, and 90, 45 and 15 unlabeled rows."""
    generator = np.random.default_rng(0)
    centers = 2.0 * np.eye(3, 4)
    labels, truth = np.repeat([0, 1, 2], [12, 6, 2]), np.repeat([0, 1, 2], [90, 45, 15])
    y = np.concatenate([labels, np.full(len(truth), -1)])
    x = centers[np.concatenate([labels, truth])] + generator.normal(size=(len(y), 4))
    return data.Pile.from_arrays(x.astype(np.float32), y, classes=[0, 1, 2])


def supervised(shares):
    return strategies.Supervised(TASK, MAKE, decay=None)


# -- which labels join -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [1 / 3, 1.0])
def test_of_rare_classes_nearly_all_joins_and_of_frequent_ones_the_surest(alpha):
    generator = np.random.default_rng(1)
    value = torch.tensor(generator.dirichlet([1, 1, 1], size=200)).float()
    table, counts = PseudoLabelTable(TASK, value), [20, 90, 5]  # from large to small: classes 1, 0, 2
    kept = table.rebalanced(counts, alpha).kept.numpy()
    sure, label = value.numpy().max(1), value.numpy().argmax(1)
    for c, rate in {1: (5 / 90) ** alpha, 0: (20 / 90) ** alpha, 2: 1.0}.items():
        mine = np.flatnonzero(label == c)
        best = mine[np.argsort(-sure[mine], kind="stable")][: math.ceil(rate * len(mine) - 1e-9)]
        assert set(np.flatnonzero(kept & (label == c))) == set(best)


def test_rebalanced_counts_kept_units_only_and_says_so():
    value = torch.tensor([[0.9, 0.05, 0.05], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    table = PseudoLabelTable(TASK, value).above(0.6).rebalanced([3, 2, 1], 1.0)
    assert table.kept.tolist() == [True, False, True]
    assert table.recipe == "above(0.6).rebalanced([3, 2, 1], 1)"
    with pytest.raises(ValueError, match="give 3 numbers above 0"):
        table.rebalanced([3, 2])
    with pytest.raises(ValueError, match="alpha 0"):
        table.rebalanced([3, 2, 1], 0)


def test_joints_have_no_class():
    table = PseudoLabelTable(st.Keypoints(2, (4, 4)), torch.rand(3, 2, 4, 4))
    with pytest.raises(ValueError, match=r"a joint has no class; leave out rebalanced\(\)"):
        table.rebalanced([1, 1])
    assert table.above(0.0).kept.all()


# -- generations -------------------------------------------------------------------------------------------------------
def test_shares_to_align_to_fall_to_the_last_temperature():
    told = []

    def make(shares):
        told.append(shares)
        return supervised(shares)

    crest(make, tail(), steps=2, generations=3, temperature=0.5)
    for shares, power in zip(told, [1, 0.75, 0.5], strict=True):
        wanted = np.array([12, 6, 2.0]) ** power
        assert shares == pytest.approx((wanted / wanted.sum()).tolist())


def test_a_generation_has_the_labels_that_joined_and_the_given_ones():
    runs = crest(supervised, tail(), steps=30, generations=3)
    given = tail().labeled.annotations.bincount()
    for before, run in zip(runs, runs[1:], strict=False):
        joined = run.pile.labeled.annotations.bincount() - given
        assert joined.tolist() == label_pile(before.strategy, tail()).rebalanced(given.tolist()).counts()
        assert len(run.pile.unlabeled) == 150 - int(joined.sum())
        assert int(joined.sum()) > 0
        assert joined[0] < 90
    assert len(runs[0].pile.labeled) == 20


def test_what_joins_changes_the_next_generation():
    last = [crest(supervised, tail(), steps=20, generations=n)[-1].export() for n in (1, 2)]
    assert not same(*last)
    alphas = [crest(supervised, tail(), steps=20, generations=2, alpha=a)[-1].pile for a in (0.2, 1.0)]
    assert len(alphas[0].labeled) > len(alphas[1].labeled)


def test_generations_go_on_exactly(tmp_path):
    make = lambda shares: strategies.FixMatch(TASK, MAKE, threshold=0.6, align=Align(TASK, target=shares))  # noqa: E731
    run = partial(crest, make, tail(), steps=10, temperature=1.0)
    whole = run(generations=3, out=tmp_path / "whole")
    run(generations=2, out=tmp_path / "parts")
    again = run(generations=3, out=tmp_path / "parts", resume=True)
    for one, other in zip(whole, again, strict=True):
        assert same(one.strategy.state_dict(), other.strategy.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generations": 0}, "there must be at least 1 generation"),
        ({"alpha": 0.0}, r"alpha in \(0, 1\]"),
        ({"temperature": 1.5}, r"temperature in \[0, 1\]"),
        ({"options": {"checkpoints": None}}, "which crest sets itself; leave them out"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        crest(supervised, tail(), **({"steps": 1} | settings))


def test_every_class_needs_a_label():
    pile = data.Pile.from_arrays(np.zeros((4, 4), np.float32), np.array([0, 1, -1, -1]), classes=[0, 1])
    pile.classes = [0, 1, 2]
    with pytest.raises(st.DataError, match="no label of 2; give at least one"):
        crest(supervised, pile, steps=1)
    alone = data.Pile(None, tail().unlabeled, classes=[0, 1, 2])
    with pytest.raises(st.DataError, match="give a pile whose labels are classes"):
        crest(supervised, alone, steps=1)
    assert len(crest(supervised, tail(), steps=1, generations=2)) == 2
