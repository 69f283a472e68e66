"""``selftrain predict``: new data, in the form that a user has them, as the run's own were read."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.cli.main import main as cli
from selftrain.handlers import Progress, SelfCheck
from selftrain.tensorboard import TensorBoard

QUIET = [Progress(False), SelfCheck(False), TensorBoard(False)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Arrays and a folder with the same pictures, a run on them, and one that predicts masks."""
    place = tmp_path_factory.mktemp("home")
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    y = np.where(np.arange(24) < 12, np.arange(24) % 3, -1)
    np.savez(place / "a.npz", x=x, y=y, classes=["ant", "bee", "=cat"])
    (place / "new").mkdir()
    for i, one in enumerate(x[:21]):
        Image.fromarray(one).save(place / "new" / f"{i:02}.png")
    torch.manual_seed(0)
    make = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), lr=0.1)
    pile = data.from_arrays_file(place / "a.npz", validation=3)
    st.fit(strategies.Supervised(st.Classification(3), make), pile, steps=2, out=place / "run", handlers=QUIET)
    masks = np.broadcast_to(np.arange(3)[:, None, None], (3, 8, 8))
    np.savez(place / "m.npz", x=x[:, None], y=np.concatenate([masks, np.full((21, 8, 8), -1)]))
    make = st.learner(lambda: nn.Conv2d(1, 3, 3, padding=1), lr=0.1)
    pile = data.from_arrays_file(place / "m.npz")
    st.fit(strategies.Supervised(st.Segmentation(3), make), pile, steps=1, out=place / "masks", handlers=QUIET)
    return place


def test_pictures_folders_and_arrays_get_the_answers_of_python(home, tmp_path, capsys):
    run = st.open_run(home / "run")
    wanted, names = run.predict_proba(home / "new"), run.predict(home / "new").tolist()
    for end, source in (("csv", home / "new"), ("parquet", home / "new"), ("npz", home / "new")):
        assert cli(["predict", str(home / "run"), str(source), "--out", str(tmp_path / f"y.{end}")]) == 0
    said = capsys.readouterr().out
    assert "weights    the last, as 3 validation labels hardly tell" in said
    assert "predicted  21 samples with the weights of step 2" in said
    assert f"00.png  {names[0]:<20} {wanted[0].max():.3f}" in said
    assert said.count("... all: ") == 3
    with open(tmp_path / "y.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"{i:02}.png" for i in range(21)]
    assert [row["class"].lstrip("'") for row in rows] == names
    found = [[float(row[f"probability of {name}"]) for name in run.classes] for row in rows]
    assert np.array_equal(np.array(found, np.float32), wanted)
    arrays = np.load(tmp_path / "y.npz")
    assert np.array_equal(arrays["probabilities"], wanted)
    assert arrays["predictions"].tolist() == names
    assert cli(["predict", str(home / "run"), str(home / "new" / "03.png")]) == 0
    assert f"03.png  {names[3]:<20}" in capsys.readouterr().out
    assert cli(["predict", str(home / "run"), str(home / "a.npz")]) == 0
    assert "predicted  24 samples" in capsys.readouterr().out


def test_what_is_advised_works(home, tmp_path, capsys):
    run, masks, out = str(home / "run"), str(home / "masks"), str(tmp_path / "y.csv")
    assert cli(["predict", run]) == 2
    assert f"selftrain predict {run} DATA" in capsys.readouterr().err
    assert cli(["predict", run, str(home / "new"), "--out", out]) == 0
    assert cli(["predict", run, str(home / "new"), "--out", out]) == 1
    assert "say --overwrite, or --out with another file" in capsys.readouterr().err
    assert cli(["predict", run, str(home / "new"), "--out", out, "--overwrite"]) == 0
    assert cli(["predict", run, str(home / "new"), "--out", str(tmp_path / "z.csv")]) == 0
    assert cli(["predict", masks, str(home / "m.npz"), "--out", out, "--overwrite"]) == 2
    assert "say --out FILE.npz" in capsys.readouterr().err
    assert cli(["predict", masks, str(home / "m.npz"), "--out", str(tmp_path / "m.npz")]) == 0
    maps = np.load(tmp_path / "m.npz")["predictions"]
    assert np.array_equal(maps, st.open_run(masks).predict(home / "m.npz"))
    assert cli(["predict", run, str(tmp_path / "none.png")]) == 1
    assert "correct the path" in capsys.readouterr().err


def test_a_longer_run(home, tmp_path, capsys):
    """A run keeps its length; its weights are taken on, or the whole length is planned."""
    quick = ["--data", str(home / "a.npz"), "--strategy", "supervised", "--progress", "false", "--plan.labeled", "8"]
    out = str(tmp_path / "short")
    assert cli(["train", *quick, "--steps", "3", "--out", out]) == 0
    assert cli(["train", "--resume", "--out", out, "--steps", "6"]) == 2
    said = capsys.readouterr().err
    assert f"selftrain train --config {out} --init_from {out} --steps 6 --out NEW" in said
    assert cli(["train", "--config", out, "--init_from", out, "--steps", "6", "--out", str(tmp_path / "new")]) == 0
    assert st.open_run(tmp_path / "new").steps == 6
    whole = ["train", *quick, "--steps", "6", "--out", str(tmp_path / "whole")]
    assert cli([*whole, "--stop_after", "3"]) == 0
    assert cli(["train", "--resume", "--out", str(tmp_path / "whole")]) == 0
    assert st.open_run(tmp_path / "whole").steps == 6


def test_a_comparison_in_python_is_that_of_the_command_line(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    x[np.arange(60), y] += 3
    np.savez("c.npz", x=x[:40], y=np.where(np.arange(40) < 20, y[:40], -1), x_test=x[40:], y_test=y[40:])
    plain = {"progress": False, "data.labels": 12, "plan.labeled": 8}
    quick = {"steps": 2, "draws": [0, 1], "options": plain}
    with pytest.raises(ValueError, match="^strategies is a MakeLearner; give what the command line takes: words"):
        st.compare("c.npz", st.learner(torch.nn.Linear(4, 3)), out="py", **quick)
    found = st.compare("c.npz", ["mean_teacher"], out="py", **quick)
    assert [row.strategy for row in found.rows] == ["supervised", "mean_teacher"]
    assert "judged on 20 test samples, 2 run(s) of each strategy" in str(found)
    line = ["--strategies", "mean_teacher", "--steps", "2", "--draws", "0", "1", "--plan.labeled", "8"]
    line += ["--data.labels", "12", "--progress", "false"]
    assert cli(["compare", "--data", "c.npz", *line, "--out", "cli"]) == 0
    assert str(found) in capsys.readouterr().out
    again = st.compare(data.from_arrays_file("c.npz", labels=12), ["mean_teacher"], out="pile", **quick)
    assert again.runs == found.runs
    with pytest.raises(st.DataError, match=r"numpy.savez\('data.npz', x=x, y=y\), and pass the path"):
        st.compare(data.Pile.from_arrays(x, y), ["mean_teacher"])
    with pytest.raises(st.RunFolderError, match="resume"):
        st.compare("c.npz", ["mean_teacher"], out="py", **quick)
