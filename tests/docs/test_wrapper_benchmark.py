"""The benchmark of the wrappers reads its files as it says, and the stored result is whole and passes its gates."""

import importlib.util
import json
import statistics
import sys

import numpy as np
import pytest
from paths import ROOT

spec = importlib.util.spec_from_file_location("wrapper_benchmark", ROOT / "benchmarks" / "wrapper.py")
benchmark = importlib.util.module_from_spec(spec)
sys.modules["wrapper_benchmark"] = benchmark  # its data classes look themselves up
spec.loader.exec_module(benchmark)
STORED = json.loads((ROOT / "benchmarks" / "results" / "wrapper.json").read_text(encoding="utf-8"))


def test_numbers_are_read_and_the_first_columns_of_vowel_left_out(tmp_path):
    head = "@relation x\n@data\n"
    (tmp_path / "vowel.dat").write_text(head + "0,7,1,1,2,3,4,5,6,7,8,9,-1.5,4\n0,7,1,0,0,0,0,0,0,0,0,0,0,2\n")
    X, y = benchmark.load("vowel", tmp_path)
    assert X.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, -1.5], [0.0] * 10]
    assert y.tolist() == [1, 0]
    (tmp_path / "penbased.dat").write_text("47, 100, 8\n\n3, 4, 2\n")
    X, y = benchmark.load("pendigits", tmp_path)
    assert (X.tolist(), y.tolist()) == ([[47, 100], [3, 4]], [1, 0])


def test_a_base_is_three_columns(tmp_path):
    (tmp_path / "splice.dat").write_text("A, G, T, IE\nC, N, A, EI\n")
    X, y = benchmark.load("dna", tmp_path)
    assert X.tolist() == [[1, 0, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 1, 0, 0]]
    assert y.tolist() == [1, 0]


def test_labels_are_drawn_until_every_class_has_one():
    y = np.repeat([0, 1, 2], [50, 48, 2])
    for seed in range(5):
        hidden = benchmark.hide(y, 5, seed)
        assert (hidden >= 0).sum() == 5
        assert set(hidden) == {-1, 0, 1, 2}
        assert np.array_equal(hidden[hidden >= 0], y[hidden >= 0])
    assert not np.array_equal(benchmark.hide(y, 5, 0), benchmark.hide(y, 5, 1))


@pytest.mark.parametrize("method", [m for m in benchmark.METHODS if m != "co_training"])
def test_every_method_predicts_every_row(method, monkeypatch):
    monkeypatch.setattr(benchmark, "TREES", 5)
    rng = np.random.RandomState(0)
    truth = np.repeat([0, 1, 2], 30)
    X = np.eye(3)[truth] * 4 + rng.randn(90, 3)
    result = benchmark.METHODS[method](X, benchmark.hide(truth, 12, 0), 0)
    assert result.predicted.shape == (90,)
    assert (result.predicted == truth).mean() > 0.6


def test_the_stored_result_is_whole():
    groups = {}
    for row in STORED["rows"]:
        assert row["labels"] == benchmark.LABELS[row["dataset"]]
        assert 0 < row["test_accuracy"] < 1
        groups.setdefault((row["dataset"], row["strategy"]), []).append(row["seed"])
    assert set(groups) == {(d, m) for d in benchmark.LABELS for m in benchmark.METHODS}
    assert all(seeds == [0, 1, 2, 3, 4] for seeds in groups.values())
    assert STORED["published"] == benchmark.published()
    assert STORED["command"].startswith("python benchmarks/wrapper.py --data DIR")
    assert {"cpu", "cores", "system"} == set(STORED["machine"])


def test_the_stored_result_passes_the_gates():
    below, keeps, gains = benchmark.gates(STORED["rows"]).values()
    assert below < -0.10
    assert keeps >= -0.02
    assert gains >= 0.01


def test_the_forest_is_as_good_as_the_published_one():
    for dataset in benchmark.LABELS:
        mine = [r["test_accuracy"] for r in STORED["rows"] if (r["dataset"], r["strategy"]) == (dataset, "forest")]
        mean, sd = benchmark.PUBLISHED[dataset]["forest"]
        assert abs(statistics.mean(mine) - mean) < sd, dataset
