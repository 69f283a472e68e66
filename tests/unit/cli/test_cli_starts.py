"""``compare --starts``: each method on each start, against all that labels alone give, and what is said of it."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy import stats

from selftrain.cli import main as cli
from selftrain.cli.starts import entrants, in_color, probed
from selftrain.cli.verdict import Cell, judged
from selftrain.data import Pile
from selftrain.metrics.features import color_histograms

QUICK = ["--steps", "2", "--progress", "false", "--plan.labeled", "4"]
NAMES = ["supervised", "linear", "lora", "fixmatch"]


# -- who is compared with whom -----------------------------------------------------------------------------------------
def test_methods_have_to_beat_all_that_labels_alone_give_on_their_start():
    rows = {row.title: row for row in entrants(["scratch", "pretrained:hub/resnet18"], NAMES)}
    alone = ("supervised.scratch", "linear.scratch")
    assert "lora.scratch" not in rows  # there is nothing to keep
    assert [(row.floors, row.role) for row in rows.values()] == [
        ((), "floor"),
        (("supervised.scratch",), "labels alone"),
        (alone, "method"),
        (alone, "start"),
        (alone, "start"),
        (alone, "start"),
        (("supervised.resnet18", "linear.resnet18", "lora.resnet18"), "method"),
    ]


def test_without_starts_rows_have_the_names_of_methods():
    assert [row.title for row in entrants(None, ["supervised", "fixmatch"])] == ["supervised", "fixmatch"]


def test_starts_that_end_alike_are_told_apart():
    titles = [row.title for row in entrants(["/a/mae", "/b/mae"], ["supervised"])]
    assert titles == ["supervised._a_mae", "supervised._b_mae"]


# -- what is said ------------------------------------------------------------------------------------------------------
def cells(rows, right):
    """One draw, one seed, judged on a test set."""
    return {row.title: [Cell(row.title, 0, 0, "test", np.array(right[row.title], float), 1)] for row in rows}


def share(count, of=400, shift=0):
    return np.roll(np.arange(of) < count, shift)


def test_a_method_pays_only_if_it_beats_the_best():
    rows = entrants(None, ["supervised", "linear", "fixmatch"])
    level = stats.norm.ppf(1 - 0.05 / 2 / 2)  # two rows beside the floor
    for fixmatch, answer, over in (
        (312, "cannot be told", "linear"),
        (380, "pays", "linear"),
        (240, "hurts", "linear"),
    ):
        right = {"supervised": share(200), "linear": share(310), "fixmatch": share(fixmatch)}
        found = judged(cells(rows, right), rows)
        row = found.rows[2]
        assert (row.answer, row.over) == (answer, over)
        pair = right["fixmatch"].astype(float) - right["linear"]
        half = level * pair.std(ddof=1) / 20
        np.testing.assert_allclose([row.low, row.gain, row.high], pair.mean() + half * np.array([-1, 0, 1]))
        words = {"pays": "Self-training pays here: fixmatch gains 17.5 points over linear", "hurts": "does not pay"}
        assert words.get(answer, "cannot be told whether self-training pays") in found.answer()
        assert f"linear: {answer}" in found.text()


def test_another_start_has_its_own_sentence():
    rows = entrants(["scratch", "mae"], ["supervised", "fixmatch"])
    right = {"supervised.scratch": share(200), "fixmatch.scratch": share(190)}
    right |= {"supervised.mae": share(300), "fixmatch.mae": share(301)}
    said = judged(cells(rows, right), rows).answer()
    assert said.startswith("Another start pays here: supervised.mae gains 25.0 points over supervised.scratch")
    assert "It cannot be told whether self-training pays here" in said


def test_intervals_stay_within_what_shares_can_differ():
    rows = entrants(None, ["supervised", "fixmatch"])
    draws = {"supervised": [share(200), share(200)], "fixmatch": [share(210), share(350)]}
    many = {n: [Cell(n, i, 0, "test", r.astype(float), 1) for i, r in enumerate(found)] for n, found in draws.items()}
    row = judged(many, rows).rows[1]
    assert (row.low, row.high) == (-1.0, 1.0)


# -- classifiers on features -------------------------------------------------------------------------------------------
def test_probes_choose_by_the_labels_alone():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (np.eye(3)[y] * [1, 1, 20] + rng.normal(0, 0.05, (60, 3))).astype(np.float32)
    pile = Pile.from_arrays(x[:30], y[:30], x[30:], y[30:])
    other = Pile.from_arrays(x[:30], y[:30], x[30:], np.roll(y[30:], 1))
    for method in ("linear", "knn"):
        assert probed(method, pile, "test").tolist() == [1.0] * 30
        assert probed(method, other, "test").tolist() == [0.0] * 30
    single = Pile.from_arrays(x[:3], y[:3], x[30:], y[30:])
    assert probed("knn", single, "test").mean() == 1  # one label a class: nothing can be held out


def colored(count, seed=0):
    """Pictures of noise whose shares of red and blue tell the class, and their labels."""
    draw, y = np.random.RandomState(seed), np.arange(count) % 2
    x = draw.randint(0, 60, (count, 3, 8, 8))
    red = draw.rand(count, 8, 8) < np.where(y, 0.7, 0.3)[:, None, None]
    x[:, 0] += 190 * red
    x[:, 2] += 190 * ~red
    return x.astype(np.uint8), y


def test_a_histogram_counts_colors_wherever_they_are():
    x, y = colored(40)
    found = color_histograms(torch.from_numpy(x[:1]))
    flat = x[0].reshape(3, -1) // 64
    wanted = np.bincount(flat[0] + 4 * flat[1] + 16 * flat[2], minlength=64) / 64
    np.testing.assert_allclose(found[0] ** 2, wanted, atol=1e-6)
    pile = Pile.from_arrays(x[:20], y[:20], x[20:], y[20:])
    assert probed("histogram", pile, "test").mean() == 1
    assert in_color(pile)
    assert not in_color(Pile.from_arrays(x[:20, 0], y[:20], x[20:, 0], y[20:]))


def test_a_method_has_to_beat_what_costs_nothing_from_every_start():
    rows = {row.title: row for row in entrants(["scratch", "mae"], ["supervised", "fixmatch", "histogram"])}
    assert sum("histogram" in title for title in rows) == 1
    for start in ("scratch", "mae"):
        assert rows[f"fixmatch.{start}"].floors == (f"supervised.{start}", "histogram")
    plain = entrants(None, ["supervised", "fixmatch", "histogram"])
    right = {"supervised": share(200), "histogram": share(390), "fixmatch": share(300)}
    found = judged(cells(plain, right), plain)
    assert {row.strategy: row.over for row in found.rows}["fixmatch"] == "histogram"
    assert "costs nothing, is above all that was trained" in found.text()
    right["fixmatch"] = share(395)
    assert "costs nothing, is above" not in judged(cells(plain, right), plain).text()


def test_comparisons_of_pictures_in_color_have_the_row(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, y = colored(24)
    np.savez("c.npz", x=x, y=y, x_test=x, y_test=y)
    few = [*QUICK, "--training.lr", "1e-9", "--data.labels", "6"]
    assert cli.main(["compare", "--data", "c.npz", *few]) == 0
    said = capsys.readouterr().out
    assert "probing    histogram" in said
    np.savez("g.npz", x=x[:, :1], y=y, x_test=x[:, :1], y_test=y)
    named = ["compare", "--data", "g.npz", *few, "--strategies", "fixmatch", "histogram", "--out", "g"]
    assert cli.main(named) != 0
    assert "has no pictures in color; leave it out" in capsys.readouterr().err
    assert cli.main([*named[:-3], "--out", "g"]) == 0


# -- the command -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with small pictures and a stage that was pretrained on them."""
    place = tmp_path_factory.mktemp("home")
    y = np.arange(32) % 2
    x = np.random.default_rng(0).random((32, 8, 8)).astype(np.float32)
    np.savez(place / "a.npz", x=x, y=np.where(np.arange(32) < 12, y, -1), x_test=x, y_test=y)
    line = ["pretrain", "--data", str(place / "a.npz"), "--out", str(place / "mae"), "--recipe", "mae", *QUICK]
    assert cli.main(line) == 0
    return place


@pytest.mark.slow
def test_a_comparison_of_starts_goes_on_and_can_grow(home, tmp_path, capsys):
    out = tmp_path / "c"
    line = ["compare", "--data", str(home / "a.npz"), "--out", str(out), *QUICK]
    assert cli.main([*line, "--starts", "scratch", "--strategies", "linear", "fixmatch"]) == 0
    first = json.loads((out / "compare.json").read_text())
    mae = str(home / "mae")
    grown = ["compare", "--resume", "--out", str(out), "--starts", "scratch", mae, f"pretrained:{mae}"]
    capsys.readouterr()
    assert cli.main([*grown, "--strategies", "linear", "lora", "fixmatch"]) == 0
    told = capsys.readouterr().out
    assert "kept       fixmatch.scratch, draw 0, seed 0" in told
    assert "training   lora._" in told
    second = json.loads((out / "compare.json").read_text())
    assert [run for run in second["runs"] if run["strategy"].endswith(".scratch")] == first["runs"]
    assert len(second["rows"]) == 3 + 4 + 4
    features = {r["strategy"].partition(".")[2]: r["accuracy"] for r in second["rows"] if r["strategy"][:6] == "linear"}
    assert len(set(features.values())) == 2  # those of a run and of the same run as an encoder are the same
    adapter = (out / "draw-0" / "seed-0").glob("lora.*/rebuild.json")
    assert all('"rank": 8' in path.read_text() for path in adapter)


def test_by_default_labels_alone_are_there_and_when_resumed(home, tmp_path, capsys):
    out = tmp_path / "c"
    line = ["compare", "--data", str(home / "a.npz"), "--out", str(out), *QUICK]
    assert cli.main([*line, "--starts", f"pretrained:{home / 'mae'}"]) == 0
    assert cli.main(["compare", "--resume", "--out", str(out)]) == 0
    assert "kept       freematch.mae" in capsys.readouterr().out
    rows = json.loads((tmp_path / "c" / "compare.json").read_text())["rows"]
    few = ["lora"] if find_spec("peft") is not None else []
    assert [row["strategy"] for row in rows] == [
        f"{name}.mae" for name in ("supervised", "linear", "knn", *few, "freematch")
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--starts", "scratch", "--init-from", "mae"], "leave --init_from out"),
        (["--starts", "scratch", "scratch"], "give each once"),
        (["--starts", "scratch", "--strategies", "lora"], "no row of lora"),
        (["--strategies", "lora"], "no row of lora"),
        (["--starts", "scratch", "pretrained:nowhere.safetensors"], "there is no nowhere.safetensors"),
        (["--starts", "scratch", "nowhere"], "nowhere"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(words, told, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    out = tmp_path / "c"
    assert cli.main(["compare", "--data", str(home / "a.npz"), "--out", str(out), *QUICK, *words]) != 0
    assert told in capsys.readouterr().err
    assert not out.exists()
