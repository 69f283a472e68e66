"""The commands at work on tiny data: what they leave, what they refuse, and that runs can be opened again."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import selftrain as st
from selftrain import pipeline
from selftrain.catalog import short_averages
from selftrain.cli import main as cli
from selftrain.cli.folder import claim, settings_in
from selftrain.cli.opened import labeler, opened
from selftrain.cli.parser import parse, read_config
from selftrain.cli.piles import read_pile
from selftrain.cli.train import parser
from selftrain.data import from_arrays_file
from selftrain.front.building import kind_of
from selftrain.strategies import FreeMatch

TABLE = ["--data.label", "kind", "--data.id", "name"]
QUICK = ["--steps", "6", "--progress", "false", "--plan.labeled", "8"]
RNG = np.random.default_rng(0)


def blobs(n, kinds):
    """Rows of 5 numbers around a center for each kind."""
    return (RNG.normal(size=(n, 5)) + 4 * np.eye(3, 5)[kinds]).astype(np.float32)


def read_json(path):
    return json.loads(Path(path).read_text())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with arrays, a table and images, and one finished run on the arrays."""
    place = tmp_path_factory.mktemp("home")
    kinds, tests = np.arange(90) % 3, np.arange(30) % 3
    y = np.where(np.arange(90) < 30, kinds, -1)
    names = np.array(["ant", "bee", "cat"])
    np.savez(place / "a.npz", x=blobs(90, kinds), y=y, x_test=blobs(30, tests), y_test=tests, classes=names)
    with open(place / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "a", "b", "color", "kind"])
        for i, row in enumerate(blobs(60, np.arange(60) % 3)):
            kind = ["ant", "bee", "cat"][i % 3] if i < 24 else ""
            writer.writerow([f"r{i}", row[0], row[1], ["red", "blue", ""][i % 3], kind])
    for i in range(24):
        folder = place / "photos" / ["dark", "light", "unlabeled"][i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        gray = RNG.integers(0, 100, (12, 12)) + (120 if i % 2 else 0)
        Image.fromarray(gray.astype(np.uint8)).save(folder / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def trained(home):
    out = home / "run"
    words = [
        "--data",
        str(home / "a.npz"),
        "--data.validation",
        "6",
        "--out",
        str(out),
        "--strategy.select",
        "top(0.5)",
    ]
    with redirect_stdout(StringIO()) as told:
        assert cli.main(["train", *words, *QUICK]) == 0
    assert f"page       {out / 'report.html'}" in told.getvalue()
    return out


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_says_what_it_was_and_what_came_of_it(home, capsys):
    words = ["--data", str(home / "a.npz"), "--data.validation", "6", "--out", "run", *QUICK]
    assert cli.main(["train", *words]) == 0
    text = capsys.readouterr().out
    assert "class_path: selftrain.strategies.FreeMatch" in text  # the resolved settings
    assert "Pile(24 labeled, 60 unlabeled, 6 validation, 30 test; 3 classes" in text
    assert "test       accuracy" in text
    assert "of 30 (95 % interval" in text
    config = read_config("run")
    assert config["strategy"]["init_args"]["decay"] == pytest.approx(short_averages(FreeMatch, 6)["decay"])
    assert config["network"] == "mlp"
    assert "out" not in config
    assert cli.main(["train", "--config", "run", "--out", "again"]) == 0  # it is a config file
    one, other = (load_file(f"{name}/export.safetensors") for name in ("run", "again"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ([], [0.95, 1.0]),
        (["--strategy.decay", "0.5"], [0.95, 1.0]),
        (["--strategy.limits", "[0.2, 0.9]"], [0.2, 0.9]),
        (["--strategy", "freematch"], None),
    ],
)
def test_with_few_labels_the_default_strategy_waits_for_a_sure_network(words, limits, home, tmp_path):
    kinds, out = np.arange(60) % 3, tmp_path / "run"
    np.savez(tmp_path / "few.npz", x=blobs(60, kinds), y=np.where(np.arange(60) < 6, kinds, -1))  # two a class
    line = ["train", "--data", str(tmp_path / "few.npz"), "--out", str(out), "--steps", "2", "--progress", "false"]
    assert cli.main([*line, *words]) == 0
    assert settings_in(out)["strategy"]["init_args"]["limits"] == limits
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert settings_in(out)["strategy"]["init_args"]["limits"] == limits


@pytest.mark.parametrize(
    ("words", "limits"),
    [([], [0.95, 1.0]), (["--strategies", "freematch"], None), (["--strategies", "freematch", "mean_teacher"], None)],
)
def test_a_comparison_has_the_default_strategy_of_a_training(words, limits, tmp_path):
    kinds, out = np.arange(60) % 3, tmp_path / "cmp"
    np.savez(
        tmp_path / "few.npz", x=blobs(60, kinds), y=np.where(np.arange(60) < 12, kinds, -1)
    )  # two a class, validated
    line = ["compare", "--data", str(tmp_path / "few.npz"), "--out", str(out), "--steps", "2", "--progress", "false"]
    small = ["--draws", "0", "--seeds", "0"]
    assert cli.main([*line, *small, *words]) == 0
    assert read_config(out)["freematch"]["init_args"]["limits"] == limits
    assert cli.main(["compare", "--resume", "--out", str(out)]) == 0


def test_a_folder_is_only_written_to_if_that_is_said(trained, capsys, tmp_path):
    data = ["--data", str(trained.parent / "a.npz"), *QUICK]
    assert cli.main(["train", *data, "--out", str(trained)]) == 1
    assert "pass --resume, --overwrite or another folder" in capsys.readouterr().err
    mine = tmp_path / "thesis"
    (mine / "checkpoints").mkdir(parents=True)
    (mine / "checkpoints" / "mine.txt").write_text("mine")
    assert cli.main(["train", *data, "--out", str(mine), "--overwrite"]) == 1
    assert "holds files and no run" in capsys.readouterr().err
    assert (mine / "checkpoints" / "mine.txt").read_text() == "mine"
    assert cli.main(["train", *data, "--out", "new", "--resume"]) == 1
    assert cli.main(["train", *data, "--out", "new", "--data.validation", "500"]) == 1  # the data refuse
    assert not (tmp_path / "new").exists()


def test_a_run_is_resumed_with_its_own_settings(home, capsys):
    data = ["--data", str(home / "a.npz"), *QUICK]
    assert cli.main(["train", *data, "--out", "whole"]) == 0
    assert cli.main(["train", *data, "--out", "parts", "--stop_after", "3"]) == 0
    assert "go on with --resume --out parts" in capsys.readouterr().out
    assert cli.main(["train", "--resume", "--out", "parts", "--training.lr", "0.5"]) == 2
    assert "training.lr was 0.001, is 0.5" in capsys.readouterr().err
    assert cli.main(["train", "--resume", "--out", "parts"]) == 0
    one, other = (load_file(f"{name}/export.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert cli.main(["train", *data, "--out", "parts", "--overwrite", "--strategy", "supervised"]) == 0
    assert read_config("parts")["strategy"]["class_path"].endswith("Supervised")


def test_what_an_alarm_does_can_be_chosen(home, monkeypatch, capsys):
    """A collapse, as the self-check is made to see one in any run."""
    monkeypatch.setattr("selftrain.handlers.selfcheck.collapsed", lambda *values: True)
    monkeypatch.setattr("selftrain.handlers.selfcheck.ROWS", 1)
    words = ["train", "--data", str(home / "a.npz"), *QUICK, "--strategy", "fixmatch", "--strategy.select", "top(0.5)"]
    assert cli.main([*words, "--out", "warned", "--on_alarm", "warn", "--baseline", "false"]) == 0
    assert "shipped" not in capsys.readouterr().out
    assert not Path("warned/baseline").exists()
    assert cli.main([*words, "--out", "stopped", "--on-alarm", "stop"]) == 1
    told = capsys.readouterr().err
    assert "by the alarm collapse" in told
    assert "to go on as it is: --resume, --on_alarm warn" in told
    assert cli.main(["train", "--resume", "--on_alarm", "warn", "--out", "stopped"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--out", "run"]) == 0  # the default
    assert "shipped    After the alarm collapse the run ships what the labels alone give" in capsys.readouterr().out
    assert cli.main(["evaluate", "run", "--json", "run.json"]) == 0
    assert cli.main(["evaluate", "run/baseline", "--json", "baseline.json", "--data", str(home / "a.npz")]) == 0
    assert read_json("run.json")["figures"]["accuracy"] == read_json("baseline.json")["figures"]["accuracy"]
    assert cli.main(["label", "run", "--out", "labels.csv"]) == 0
    assert cli.main(["export", "run"]) == 0
    one, other = (load_file(f"run/{name}export.safetensors") for name in ("", "baseline/"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_evaluation_is_that_of_the_run(trained, capsys):
    assert cli.main(["evaluate", str(trained), "--json", "e.json", "--which", "last"]) == 0
    found = read_json("e.json")
    assert found["part"] == "test"
    assert found["samples"] == 30
    confusion = np.array(found["confusion"])
    assert found["figures"]["accuracy"] == pytest.approx(np.trace(confusion) / 30)
    assert found["classes"]["bee"]["recall"] == pytest.approx(confusion[1, 1] / confusion[1].sum())
    summary = json.loads((trained / "summary.json").read_text())
    assert cli.main(["evaluate", str(trained), "--part", "validation", "--json", "v.json", "--which", "last"]) == 0
    figures = read_json("v.json")["figures"]
    assert figures["accuracy"] == pytest.approx(summary["last"]["validation"]["accuracy"])
    capsys.readouterr()


def test_other_data_are_seen_with_the_classes_of_the_run(trained, capsys):
    x = blobs(12, np.arange(12) % 2)
    np.savez("o.npz", x=x, y=np.array(["cat", "bee"] * 6))
    assert cli.main(["evaluate", str(trained), "--data", "o.npz", "--json", "o.json"]) == 0
    found = read_json("o.json")
    assert found["part"] == "labeled"
    assert [row["samples"] for row in found["classes"].values()] == [0, 6, 6]
    np.savez("p.npz", x=x, y=np.array(["cat", "dog"] * 6))
    assert cli.main(["evaluate", str(trained), "--data", "p.npz"]) == 1
    assert "has a class 'dog'; the run knows ant, bee, cat" in capsys.readouterr().err


def test_labels_are_those_that_the_network_gives(trained, capsys):
    x = blobs(20, np.arange(20) % 3)
    np.save("n.npy", x)
    assert cli.main(["label", str(trained), "n.npy", "--out", "n.csv", "--threshold", "0.6"]) == 0
    assert cli.main(["label", str(trained), "n.npy", "--out", "n.csv"]) == 1  # there already
    ledger = st.Ledger.read("n.csv")
    run, _ = opened(trained, {})
    card = run.inputs
    plain = (torch.from_numpy(x) - torch.tensor(card["mean"])) / torch.tensor(card["std"])
    value = labeler(run).predict(plain)
    assert ledger.label.tolist() == value.argmax(1).tolist()
    torch.testing.assert_close(ledger.confidence, value.amax(1))
    assert ledger.accepted.tolist() == (value.amax(1) >= 0.6).tolist()
    assert cli.main(["label", str(trained)]) == 0
    assert len(st.Ledger.read("labels-run.csv")) == 60
    capsys.readouterr()


def test_given_labels_are_reviewed_by_networks_that_did_not_see_them(trained, capsys):
    options = ["--given", "--folds", "2", "--steps", "2", "--out", "given.html"]
    assert cli.main(["review", str(trained), *options]) == 0
    said = capsys.readouterr().out
    assert "2 times 2 steps" in said
    assert re.search(r"suspected  \d+ of \d+ labels", said)
    content = json.loads(re.search(r'id="data">(.*?)</script>', Path("given.html").read_text(), re.DOTALL)[1])
    assert all(name.startswith("given:") for name in content["rows"]["id"])
    for line, remedy in [
        (["--folds", "3"], "say --given as well"),
        (["--given", "--choose", "random"], "leave it out"),
        (["--given", "--steps", "0"], "--steps is 0; it must be at least 1"),
        (["--given", "--folds", "0"], "--folds is 0; it must be at least 2"),
    ]:
        assert cli.main(["review", str(trained), *line]) == 2
        assert remedy in capsys.readouterr().err
    assert not (trained / "review.html").exists()


def test_a_review_goes_back_into_training(trained, capsys):
    assert cli.main(["review", str(trained), "--out", "r.html", "--samples", "10"]) == 0
    assert "selftrain-review" in Path("r.html").read_text()
    with open(trained / "pseudo_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["correction"], rows[1]["verdict"] = "cat", "reject"
    with open("saved.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    capsys.readouterr()
    config = str(trained)
    assert cli.main(["train", "--config", config, "--labels", "saved.csv", "--out", "next"]) == 0
    text = capsys.readouterr().out
    assert "Pile(25 labeled, 58 unlabeled" in text
    assert "0 accepted, 1 corrected, 1 rejected" in text
    assert cli.main(["evaluate", "next"]) == 0  # its data are read with the review again
    assert cli.main(["train", "--config", config, "--labels", "9", "--out", "x"]) == 2
    assert "say --data.labels 9" in capsys.readouterr().err


def test_pretraining_hands_its_network_on(home, capsys):
    words = ["--data", str(home / "photos"), "--data.size", "12", "--data.mode", "L"]
    stage = ["--recipe.mask_ratio", "0.5", "--training.lr", "0.01", "--network", "vit", "--out", "mae"]
    assert cli.main(["pretrain", *words, "--recipe", "mae", *stage, *QUICK]) == 0
    assert cli.main(["train", *words, "--init-from", "mae", "--out", "tuned", "--training.lr", "1e-9", *QUICK]) == 0
    assert read_config("tuned")["network"] == "vit"
    before, after = load_file("mae/export.safetensors"), load_file("tuned/export.safetensors")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor)
    assert cli.main(["evaluate", "mae"]) == 0
    assert "rankme" in capsys.readouterr().out
    assert cli.main(["label", "mae"]) == 1
    assert "knows no classes" in capsys.readouterr().err


def test_tables_are_encoded_as_the_run_did(home, capsys):
    table = str(home / "t.csv")
    words = ["--data", table, "--data.label", "kind", "--data.id", "name", "--data.validation", "6"]
    assert cli.main(["train", *words, "--out", "table", *QUICK]) == 0
    with open("new.csv", "w") as file:
        file.write("name,a,b,color\nx,4.0,0.1,red\ny,,4.0,green\n")
    assert cli.main(["label", "table", "new.csv", "--out", "l.csv"]) == 0
    ledger = st.Ledger.read("l.csv")
    assert list(ledger.ids) == ["x", "y"]
    assert cli.main(["review", "table", "--out", "r.html"]) == 0
    capsys.readouterr()


def test_the_check_has_a_code_of_its_own(home, capsys):
    assert cli.main(["check-data", str(home / "a.npz")]) == 0
    (home / "photos" / "dark" / "broken.png").write_bytes(b"no picture")
    try:
        assert cli.main(["check-data", str(home / "photos"), "--json"]) == 1
    finally:
        (home / "photos" / "dark" / "broken.png").unlink()
    text = capsys.readouterr().out
    report = json.loads(text[text.index("{") :])
    assert report["ok"] is False
    assert [found["kind"] for found in report["findings"]][0] == "unreadable"
    assert cli.main(["check-data", str(home / "a.npz"), "--data.size", "3"]) == 2


def test_exported_networks_are_those_of_the_run(trained, capsys):
    formats = ["--formats", "safetensors", "torch"]
    assert cli.main(["export", str(trained), "--out", "e", *formats]) == 0
    card = read_json("e/classifier.json")
    assert card["classes"] == ["ant", "bee", "cat"]
    pile = from_arrays_file(trained.parent / "a.npz")
    x = pile.test.images(np.arange(30))
    program = torch.export.load("e/classifier.pt2").module()
    run, _ = opened(trained, {})
    plain = (x - torch.tensor(card["input"]["mean"])) / torch.tensor(card["input"]["std"])
    torch.testing.assert_close(program(x), labeler(run).predict(plain))
    assert cli.main(["export", str(trained), "--out", "e", *formats]) == 1
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["export", str(trained), "--out", "e", "--what", "encoder"]) == 0
    assert all(name.startswith("encoder.") for name in load_file("e/encoder.safetensors"))


@pytest.mark.slow
def test_a_comparison_is_paired_resumable_and_can_grow(home, capsys):
    words = ["--data", str(home / "a.npz"), "--out", "c", *QUICK, "--supervised.decay", "0.5"]
    assert cli.main(["compare", *words, "--strategies", "fixmatch", "--fixmatch.select", "top(0.5)"]) == 0
    text = capsys.readouterr().out
    assert "gain over supervised" in text
    assert "judged on 30 test samples" in text
    first = read_json("c/compare.json")
    assert (
        cli.main(["compare", "--resume", "--out", "c", "--strategies", "fixmatch", "mean_teacher", "--draws", "0", "1"])
        == 0
    )
    text = capsys.readouterr().out
    assert "kept       fixmatch, draw 0, seed 0" in text
    assert "training   mean_teacher, draw 1, seed 0" in text
    second = read_json("c/compare.json")
    assert [run for run in second["runs"] if run["draw"] == 0 and run["strategy"] != "mean_teacher"] == first["runs"]
    settings = [read_config(f"c/draw-0/seed-0/{name}") for name in ("supervised", "fixmatch")]
    shared = [{key: value for key, value in one.items() if key != "strategy"} for one in settings]
    assert shared[0] == shared[1]
    assert settings[0]["strategy"]["init_args"]["decay"] == 0.5
    assert cli.main(["compare", "--resume", "--out", "c", "--steps", "7"]) == 2
    assert "steps was 6, is 7" in capsys.readouterr().err


def test_code_of_ones_own(home, capsys, tmp_path):
    """A strategy and a network of the working directory, by module:name, are stored with the run and found again."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom selftrain.strategies import FixMatch\n\n"
        "class Mine(FixMatch):\n    def __init__(self, task, make_learner, *, softness: float = 1.0, **settings):\n"
        "        super().__init__(task, make_learner, **settings)\n        self.softness = softness\n\n"
        "def network(shape, outputs):\n    return nn.Linear(shape[0], outputs)\n"
    )
    words = ["--strategy", "mine:Mine", "--strategy.softness", "2", "--strategy.select", "free"]
    words += ["--network", "mine:network"]
    assert cli.main(["train", "--data", str(home / "a.npz"), *words, "--out", "own", *QUICK]) == 0
    assert opened("own", {"trust": True})[0].strategy.softness == 2.0
    settings = settings_in("own", trust=True)
    assert settings["strategy"]["init_args"]["select"]["class_path"] == "selftrain.select.Free"
    capsys.readouterr()
    for words in (["evaluate", "own"], ["train", "--resume", "--out", "own"], ["train", "--config", "own"]):
        assert cli.main(words) in (1, 2)
        assert "--trust" in capsys.readouterr().err
    assert cli.main(["evaluate", "own", "--trust"]) == 0
    assert "mine:Mine" in capsys.readouterr().err  # shown before it is imported


def test_what_a_network_of_ones_own_gives(home, capsys, tmp_path):
    """A class that asks for the sizes; a mapping of logits is taken, another is refused before a folder is made."""
    (tmp_path / "given.py").write_text(
        "from torch import nn\n\nclass Named(nn.Module):\n    key = 'logits'\n\n"
        "    def __init__(self, shape, outputs):\n"
        "        super().__init__()\n        self.layer = nn.Linear(shape[0], outputs)\n\n"
        "    def forward(self, x):\n        return {self.key: self.layer(x)}\n\n"
        "class Other(Named):\n    key = 'found'\n\n"
        "class Narrow(nn.Linear):\n    def __init__(self, shape, outputs):\n        super().__init__(shape[0], 1)\n"
    )
    words = ["train", "--data", str(home / "a.npz"), *QUICK, "--network"]
    assert cli.main([*words, "given:Named", "--out", "taken"]) == 0
    assert opened("taken", {"trust": True})[0].strategy.predict([[0.0] * 5]).shape == (1, 3)
    capsys.readouterr()
    assert cli.main([*words, "given:Other", "--out", "refused"]) == 1
    assert "a dict with the keys ['found'] where logits are needed" in capsys.readouterr().err
    assert cli.main([*words, "given:Narrow", "--out", "refused"]) == 1
    assert "Narrow gives (2, 1) for 2 samples" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("kind", "words", "changed"),
    [
        ("a.npz", ["--views", "table", "--views.replace", "0.5"], {"replace": 0.5}),
        ("t.csv", ["--views", "table", "--views.weak_noise", "0.0", *TABLE], {"weak_noise": 0.0}),
        ("photos", ["--views", "tensor", "--views.strong.cutout", "0.1", "--data.size", "12"], {}),
        ("s.npy", ["--views", "series", "--views.crop", "[0.5, 1.0]", "--data.kind", "series"], {"crop": (0.5, 1.0)}),
        ("p.npy", ["--views", "points", "--views.axis", "1", "--data.kind", "points"], {"axis": 1}),
    ],
)
def test_views_are_those_that_are_named(home, kind, words, changed):
    np.save(home / "s.npy", RNG.normal(size=(20, 2, 16)).astype(np.float32))
    np.save(home / "p.npy", RNG.normal(size=(20, 16, 3)).astype(np.float32))
    settings, _ = parse(parser(), ["--data", str(home / kind), *words])
    pile = read_pile(settings)
    assert {name: getattr(pile.views, name) for name in changed} == changed
    if kind == "photos":
        assert pile.views.strong.cutout == 0.1
    if kind == "t.csv":
        assert pile.views.categorical == (2,)  # the column of names stays one
    kinds = {"a.npz": "table", "t.csv": "table", "photos": "image", "s.npy": "series", "p.npy": "points"}
    assert kind_of(pile) == kinds[kind]


def test_views_of_another_kind_are_refused(home, capsys):
    words = ["--data", str(home / "a.npz"), "--views", "series", "--out", "x"]
    assert cli.main(["train", *words, *QUICK]) == 2
    assert "views SeriesViews do not fit" in capsys.readouterr().err


def test_of_several_processes_the_first_writes_and_prints(trained, monkeypatch, capsys):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == ""
    assert claim(trained, resume=False, overwrite=False) == trained  # the first one checks
    assert cli.main(["compare", "--data", "digits"]) == 2


DENSE = """
from torch import nn


def network(shape, outputs):
    return nn.Sequential(nn.Conv2d(shape[0], 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, outputs, 1))
"""


@pytest.mark.parametrize("task", ["segmentation", "keypoints"])
def test_masks_and_joints_are_learned_from_arrays(task, tmp_path, capsys):
    """What the labels are says the task; one label a sample is what the table and the page have room for."""
    (tmp_path / "dense_nets.py").write_text(DENSE)
    x = RNG.random((20, 1, 12, 12)).astype(np.float32)
    if task == "segmentation":
        y = RNG.integers(0, 3, (20, 12, 12))
        y[0, 0] = 255  # void
        y[8:] = -1
    else:
        y = np.concatenate([12 * RNG.random((20, 2, 2)), np.ones((20, 2, 1))], 2).astype(np.float32)
        y[8:, :, 2] = 0
    np.savez("d.npz", x=x, y=y, x_test=x[:4], y_test=y[:4])
    words = ["--data", "d.npz", "--data.validation", "2", "--strategy", "fixmatch", *QUICK]
    assert cli.main(["train", *words, "--network", "dense_nets:network", "--out", "said", "--task", task]) == 0
    assert cli.main(["train", *words, "--network", "dense_nets:network", "--out", "seen"]) == 0  # by the labels
    text = capsys.readouterr().out
    assert "Pile(6 labeled, 12 unlabeled, 2 validation, 4 test" in text
    assert ("mean_iou" if task == "segmentation" else "pck") in text
    assert "interval" not in text  # pixels next to one another are not right or wrong by chance alone
    one, other = (load_file(f"{name}/export.safetensors") for name in ("said", "seen"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert type(opened("seen", {})[0].strategy.task).__name__.lower() == task
    assert cli.main(["evaluate", "seen", "--json", "e.json"]) == 0
    found = read_json("e.json")
    if task == "segmentation":
        assert np.sum(found["confusion"]) == 4 * 12 * 12 - 12  # every pixel but the void ones
        assert found["figures"]["accuracy"] == pytest.approx(np.trace(found["confusion"]) / np.sum(found["confusion"]))
        for i, row in enumerate(found["classes"].values()):
            hit, union = found["confusion"][i][i], sum(found["confusion"][i]) + sum(r[i] for r in found["confusion"])
            assert row["iou"] == pytest.approx(hit / max(1, union - hit))
        assert found["figures"]["mean_iou"] <= 1
    else:
        assert "classes" not in found
        assert set(found["joints"]) == {"pck", "per_joint", "nme", "pixels", "ap", "joints"}
    capsys.readouterr()
    for command, message in [
        (["review", "seen", "--given"], "the review page of given labels has room for one"),
    ]:
        assert cli.main(command) == 1
        assert message in capsys.readouterr().err
    assert cli.main(["export", "seen", "--formats", "safetensors", "torch"]) == 0
    assert cli.main(["label", "seen", "--threshold", "0"]) == 0
    files = {"segmentation": ["confidence", "labels.csv", "masks"], "keypoints": ["keypoints.json", "labels.csv"]}
    assert sorted(path.name for path in Path("labels-seen").iterdir()) == files[task]
    assert cli.main(["label", "seen"]) == 1
    assert "labels-seen is there already; say --overwrite, or --out with another file" in capsys.readouterr().err
    assert cli.main(["label", "seen", "--overwrite"]) == 0
    assert cli.main(["review", "seen"]) == 0  # painted; what is rejected there goes back
    lines = Path("seen/pseudo_labels.csv").read_text().splitlines()
    place = lines[0].split(",").index("verdict")
    cells = lines[1].split(",")
    cells[place] = "reject"
    Path("saved.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    status = cli.main(["train", "--config", "seen", "--labels", "saved.csv", "--out", "next", "--trust"])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "Pile(6 labeled, 11 unlabeled, 2 validation, 4 test" in said.out
    wrong = "keypoints" if task == "segmentation" else "segmentation"
    assert cli.main(["train", *words, "--task", wrong]) == 2
    assert "leave --task out" in capsys.readouterr().err
    _compared(words, task, capsys)


def _compared(words, task, capsys):
    """The figure of each run is that of its own network, on the same pictures; rows of one label a sample are none."""
    line = ["compare", *words[:4], "--network", "dense_nets:network", *QUICK, "--out", "compared"]
    assert cli.main([*line, "--strategies", "linear", "fixmatch"]) == 2
    assert "--strategies linear: it gives one label a sample" in capsys.readouterr().err
    assert cli.main([*line, "--strategies", "fixmatch"]) == 0
    found, figure = read_json("compared/compare.json"), "mean_iou" if task == "segmentation" else "pck"
    assert re.search(rf"^strategy +{figure} +gain over supervised", capsys.readouterr().out, re.MULTILINE)
    assert (found["figure"], found["samples"], found["part"]) == (figure, 4, "test")
    for row in found["runs"]:
        own = st.open_run(Path("compared", "draw-0", "seed-0", row["strategy"]), trust=True)
        assert row["accuracy"] == pytest.approx(own.evaluate("test")[figure])
    assert figure.replace("_", " ") in Path("compared/report.html").read_text().lower()
    assert not found["unjudged"]


@pytest.fixture
def by_python(tmp_path):
    """Runs that no command has started, by what started them."""
    pile = st.data.load("digits", labels=60, validation=20)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(8, 1, widths=(4, 8), embed_dim=16), 10), lr=0.01)
    quick = {"steps": 3, "plan": st.BatchPlan(labeled=8)}
    strategy = st.strategies.FixMatch(st.Classification(10), make, select=st.select.above(0.2))
    st.fit(strategy, pile, out=tmp_path / "fit", **quick)
    st.fit(st.pretrain.MAE(st.pretrain.ViT(8, 4, width=16, depth=1)), pile, out=tmp_path / "stage", **quick)
    x, y = pile.test.images(np.arange(80)).numpy()[:, 0], pile.test.annotations[:80].numpy().copy()
    y[40:] = -1
    quick = {"steps": 3, "kind": "image", "random_state": 0, "validation": 0.2}
    st.SelfTrainClassifier(out=tmp_path / "estimator", **quick).fit(x, y)
    np.savez(tmp_path / "rows.npz", x=x[:, None], y=y)
    student = lambda past: st.strategies.NoisyStudent(st.Classification(10), make, labels=past.labels["label"])  # noqa: E731
    stages = [
        pipeline.Stage("teacher", lambda past: st.strategies.Supervised(st.Classification(10), make), steps=3),
        pipeline.Labeling("label", by="teacher"),
        pipeline.Stage("student", student, steps=3),
    ]
    pipeline.run_pipeline(stages, pile, out=tmp_path / "pipeline", plan=st.BatchPlan(labeled=8))
    return tmp_path


def test_the_commands_work_on_runs_of_any_origin(by_python, capsys):
    for folder, data in [
        ("fit", []),
        ("pipeline/03-student", []),
        ("estimator", ["--data", "rows.npz"]),
    ]:
        part = ["--part", "labeled" if data else "validation"]
        assert cli.main(["evaluate", folder, "--json", "e.json", *part, *data]) == 0
        assert cli.main(["label", folder, *data[1:], "--out", "l.csv", "--overwrite"]) == 0
        assert cli.main(["review", folder, "--out", "r.html", "--samples", "5", *data]) == 0
        assert cli.main(["export", folder, "--out", f"{folder}-export"]) == 0
        assert read_json(f"{folder}-export/classifier.json")["classes"][0] == "0"
        run = st.open_run(folder)
        if not data:
            figures = read_json("e.json")["figures"]
            assert figures["accuracy"] == run.evaluate("validation", which="best")["accuracy"]
    assert cli.main(["evaluate", "stage"]) == 0
    assert cli.main(["export", "stage", "--out", "stage-export"]) == 0
    assert cli.main(["label", "stage"]) == 1
    assert "is a run of pretraining" in capsys.readouterr().err
    assert cli.main(["evaluate", "estimator"]) == 1
    assert "were not read from files; say --data" in capsys.readouterr().err
    assert cli.main(["train", "--resume", "--out", "fit"]) == 1
    assert "was not started by this command line" in capsys.readouterr().err
    assert cli.main(["evaluate", "fit", "--data.labels", "100", "--part", "labeled", "--json", "e.json"]) == 0
    assert read_json("e.json")["samples"] == 100 - 20


@pytest.mark.parametrize("code", ["subprocess:Popen", "os:system", "torch.hub:load"])
def test_a_strangers_settings_import_nothing(code, home, trained, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained, tmp_path / "theirs")
    record = read_json("theirs/rebuild.json")
    called = []
    monkeypatch.setattr(subprocess, "Popen", lambda *values, **settings: called.append(values))
    monkeypatch.setattr(os, "system", lambda *values, **settings: called.append(values))
    monkeypatch.setattr(torch.hub, "load", lambda *values, **settings: called.append(values))
    for where in ("network", "class"):
        settings = record["note"]["settings"]
        settings["network"] = code if where == "network" else {"class_path": code.replace(":", "."), "init_args": {}}
        (tmp_path / "theirs" / "rebuild.json").write_text(json.dumps(record))
        new = ["train", "--data", str(home / "a.npz"), *QUICK, "--out", "new"]
        for words in (
            ["train", "--resume", "--out", "theirs"],
            ["train", "--config", "theirs", "--out", "new"],
            [*new, "--init-from", "theirs"],
            [*new, "--init-from", "theirs/export.safetensors"],
        ):
            assert cli.main(words) in (1, 2)
            assert "say --trust" in capsys.readouterr().err
    assert not called
