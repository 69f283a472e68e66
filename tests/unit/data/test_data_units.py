"""Masks and joints come in at every door that takes arrays."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selftrain as st
from selftrain import data, strategies
from selftrain.data import ArraySet, Pile
from selftrain.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (6, 12, 16, 3), dtype=np.uint8)
MASKS = (np.arange(6 * 12 * 16).reshape(6, 12, 16) % 3).astype(np.uint8)
EMPTY = np.full((12, 16), 255, np.uint8)
LISTED = [*MASKS[:3], None, None, None]
VOID = np.stack([*MASKS[:3], EMPTY, EMPTY, EMPTY])
JOINTS = np.stack([np.arange(6.0) + 2, np.arange(6.0)], 1)[:, None].repeat(2, 1)
MARKED = np.concatenate([JOINTS, np.ones((6, 2, 1))], -1)


def file(root: Path, y: Any) -> Pile:
    np.savez(root / "rows.npz", x=X, y=y, x_test=X, y_test=np.stack([EMPTY if r is None else r for r in y]))
    return data.from_arrays_file(root / "rows.npz")


@pytest.mark.parametrize(
    "door",
    [
        lambda r: Pile.from_arrays(X, LISTED, X, MASKS),
        lambda r: Pile.from_arrays(X, VOID.astype(np.int64), X, torch.from_numpy(MASKS)),
        lambda r: Pile.from_arrays(X, np.where(VOID == 255, -1, VOID.astype(int)), X, list(MASKS)),
        lambda r: Pile.from_arrays(X, np.where(VOID == 255, 9, VOID), X, MASKS, no_label=9),
        lambda r: Pile.from_samples(ArraySet(X, VOID), ArraySet(X, MASKS)),
        lambda r: file(r, VOID),
    ],
    ids=["list", "int64", "rows of -1", "void of one's own", "samples", "file"],
)
def test_masks(door: Any, tmp_path: Path) -> None:
    pile = door(tmp_path)
    assert list(pile.classes) == ["0", "1", "2"]
    assert len(pile.unlabeled) == 3
    assert len(pile.test) == 6
    assert pile.labeled.annotations.dtype == torch.uint8  # eight bytes a pixel otherwise
    np.testing.assert_array_equal(pile.labeled.annotations, MASKS[:3])
    assert pile.summary_lines()[1] == "labels     3 with masks; 3 unlabeled rows"
    assert pile.unlabeled_truth() is None


def test_masks_can_be_hidden_and_held_back() -> None:
    pile = Pile.from_arrays(X, MASKS, labels=4, validation=1, classes=["sky", "road", "car"], seed=1)
    assert [len(part) for part in (pile.labeled, pile.validation, pile.unlabeled)] == [3, 1, 2]
    assert list(pile.classes) == ["sky", "road", "car"]
    assert pile.unlabeled.annotations is None
    with pytest.raises(DataError, match="y_test has none; give both alike"):
        Pile.from_arrays(X, MASKS, X, np.zeros(6, int))
    assert Pile.from_arrays(X, MASKS, X, MASKS).test is not None  # the remedy


def gap(joints: Any, row: int, joint: int) -> Any:
    joints = joints.copy()
    joints[row, joint, 0] = np.nan
    return joints


@pytest.mark.parametrize(
    ("y", "named"),
    [
        (gap(JOINTS, 0, 1), "missing number"),
        (gap(MARKED, 0, 1), "missing number that is marked as there"),
        (np.ma.masked_invalid(gap(MARKED, 0, 1)), "masked"),
        ([gap(JOINTS, 0, 1)[0], *JOINTS[1:5], None], "list"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_joints(y: Any, named: str) -> None:
    if not isinstance(y, list):
        y = y.copy()
        y[5] = np.ma.masked if isinstance(y, np.ma.MaskedArray) else np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pile = Pile.from_arrays(X, y)
    assert len(pile.unlabeled) == 1
    assert pile.labeled.annotations.shape == (5, 2, 3)
    assert pile.labeled.annotations[0].tolist() == [[2, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(pile.labeled.annotations[1:], MARKED[1:5])


def test_whole_numbers_are_joints_and_places_may_come_in_by_samples() -> None:
    for pile in (
        Pile.from_arrays(X, JOINTS.astype(int)),
        Pile.from_samples(ArraySet(X, JOINTS)),
        Pile(ArraySet(X, JOINTS.astype(int)), ArraySet(X)),
    ):
        np.testing.assert_allclose(pile.labeled.annotations, MARKED)
    far = JOINTS.copy()
    far[3, 1, 0] = np.inf
    with pytest.raises(DataError, match=r"joint 1 of row 3 .*is no place; give NaN, or set visible to 0"):
        Pile.from_arrays(X, far)
    far[3, 1, 0] = np.nan  # the remedy
    assert Pile.from_arrays(X, far).labeled.annotations[3, 1, 2] == 0


def test_masks_are_learned_from_by_whatever_door() -> None:
    make = st.learner(lambda: torch.nn.Conv2d(3, 3, 1))
    strategy = strategies.FixMatch(st.Segmentation(3), make)
    run = st.fit(strategy, Pile.from_arrays(X, LISTED, X, MASKS), steps=1, plan=st.BatchPlan(2, 1))
    assert run.evaluate("test")["accuracy"] > 0
