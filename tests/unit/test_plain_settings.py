"""Settings out of numpy are as good as Python's own, at every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

import selftrain as st
from selftrain import data, strategies
from selftrain.handlers import MetricsLog
from selftrain.pipeline import Stage, run_pipeline
from selftrain.types import plain_setting

Y = np.where(np.arange(24) < 12, np.arange(24) % 2, -1)
X = np.random.default_rng(0).random((24, 3))
four, two, half, yes = np.int64(4), np.uint8(2), np.float32(0.5), np.bool_(True)


def test_scalars_of_numpy_and_torch_become_python_s_own() -> None:
    texts = np.array(["a", "b"])
    given = (four, half, yes, np.str_("a"), np.array(3), torch.tensor(3), (four, (two,)), [four], {"a": four}, texts)
    expected: Any = (4, 0.5, True, "a", 3, 3, (4, (2,)), [4], {"a": 4}, ["a", "b"])
    assert plain_setting(given) == expected
    assert [type(one) for one in plain_setting(given)] == [type(one) for one in expected]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(1),
        [1.0],
        {"a": np.zeros(2)},
        np.array(["a", None]),
        nn.Parameter(torch.zeros(())),
        np.datetime64(1, "ns"),
    ],
)
def test_all_else_is_handed_on_as_it_is(value: Any) -> None:
    assert plain_setting(value) is value


def _folder(root: Path) -> Path:
    for name in "ab":
        (root / name).mkdir()
        for i in range(6):
            Image.new("RGB", (8, 8), (20 * i, 3, 3)).save(root / name / f"{i}.png")
    return root


def _file(root: Path) -> Path:
    np.savez(root / "rows.npz", x=X, y=Y)
    return root / "rows.npz"


_TABLE = {"h": list(range(24)), "k": [str(y) if y >= 0 else "" for y in Y]}
_SET = TensorDataset(torch.rand(12, 1, 8, 8), torch.arange(12) % 2)
_DOORS: dict[str, Any] = {
    "folder": lambda root: data.from_folder(_folder(root), size=four, validation=four, seed=four, labels=np.int32(8)),
    "folder, two sides": lambda root: data.from_folder(_folder(root), size=(four, four), validation=four, cache=yes),
    "path": lambda root: data.from_path(_folder(root), size=four, validation=four, max_skipped=half),
    "table": lambda root: data.from_table(_TABLE, "k", validation=four, seed=four, labels=np.int32(8)),
    "share of a table": lambda root: data.from_table(_TABLE, "k", validation=np.float32(1 / 3)),
    "array file": lambda root: data.from_arrays_file(_file(root), validation=four, seed=four),
    "arrays": lambda root: data.Pile.from_arrays(X, Y, validation=four, seed=four, labels=np.int32(8)),
    "data set": lambda root: data.from_dataset(_SET, validation=four, seed=four, labels=np.int32(8)),
    "torch": lambda root: data.from_dataset(_SET, validation=torch.tensor(4), seed=torch.tensor(4)),
    "classes": lambda root: data.from_table(_TABLE, "k", validation=four, classes=np.unique(["0", "1"])),
    "zero dimensions": lambda root: data.from_table(_TABLE, "k", validation=np.array(4), seed=np.array(4)),
}


@pytest.mark.parametrize("door", _DOORS)
def test_doors_of_data_take_numbers_of_numpy(door: str, tmp_path: Path) -> None:
    pile = _DOORS[door](tmp_path)
    assert len(pile.validation) == 4
    json.dumps(pile.origin)


def _fixmatch(**settings: Any) -> st.Strategy:
    make = st.learner(
        lambda: nn.Linear(3, 2),
        lr=np.float32(0.01),
        weight_decay=np.float64(0.1),
        accumulate=two,
        schedule=st.cosine(warmup=half),
    )
    return strategies.FixMatch(st.Classification(two), make, temperature=half, unlabeled_weight=half, **settings)


def test_a_run_with_settings_of_numpy_is_stored_and_goes_on(tmp_path: Path) -> None:
    pile = data.Pile.from_arrays(X, Y, validation=four)

    def trained(**more: Any) -> st.Run:
        strategy = _fixmatch(select=st.select.above(half))
        plan = st.BatchPlan(labeled=four, unlabeled_ratio=half, seed=four)
        handlers = [MetricsLog(every=two)]
        evaluation = st.Evaluation(every=two)
        return st.fit(
            strategy,
            pile,
            out=tmp_path / "run",
            steps=four,
            plan=plan,
            evaluation=evaluation,
            handlers=handlers,
            **more,
        )

    trained(checkpoints=st.Checkpoints(stop_after=two))
    trained(resume=yes)
    assert st.open_run(tmp_path / "run", network=lambda: nn.Linear(3, 2), pile=pile).steps == 4


def test_recipes_and_pipelines_take_numbers_of_numpy() -> None:
    views = data.TensorViews(data.Weak(flip=yes, shift=np.float32(0.1)), data.Strong(operations=two, magnitude=half))
    images = torch.rand(24, 1, 8, 8)
    network = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    stage = Stage("one", lambda past: strategies.FixMatch(st.Classification(two), network), steps=two)
    done = run_pipeline([stage], data.Pile.from_arrays(images, Y, views=views), plan=st.BatchPlan(labeled=four))
    assert [row["steps"] for row in done.rows] == [2]


def test_estimators_take_numbers_of_numpy() -> None:
    settings = {"steps": two, "batch_size": four, "members": np.int64(1), "validation": half, "random_state": four}
    model = st.SelfTrainClassifier(**settings, lr=half / 100, verbose=np.int64(0)).fit(X, Y)
    assert model.n_iter_ == 2
    assert len(list(st.LabeledKFold(two, random_state=four, shuffle=yes).split(X, Y))) == 2
