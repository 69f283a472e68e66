"""Every command reads back what it has stored: the settings of a run are the settings of the run that goes on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from selftrain.catalog import METHODS, RECIPES
from selftrain.cli import common, report
from selftrain.cli import compare_runs as compare
from selftrain.cli import main as cli
from selftrain.cli.parser import read_config
from selftrain.engine.spec import FORMAT, read_record

RNG = np.random.default_rng(0)
TRAIN = {
    **{name: ["--strategy", name] for name in METHODS},
    "default": [],
    "rule": ["--strategy.select", "top(0.5)"],
    "class of an optimizer": ["--training.optimizer", "torch.optim.NAdam", "--training.optimizer.eps", "0.1"],
    "schedule": ["--training.schedule", "cosine(0.5)"],
    "class of a network": ["--network", "selftrain.networks.by_name.DenseEncoder", "--network.columns", "5"],
    "views": ["--views", "table", "--views.strong_noise", "0.3"],
    "null and numbers": ["--training.lr", "1e-5", "--strategy", "soft_labels", "--strategy.prior", "[0.2, 0.3, 0.5]"],
}  # fmt: skip
PRETRAIN = {
    **{name: ["--recipe", name] for name in RECIPES if name not in ("tjepa", "ecgjepa", "pointjepa")},
    "default": [],
    "settings": ["--recipe", "mae", "--recipe.mask_ratio", "0.6", "--training.lr", "0.01"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("home")
    y = np.arange(12) % 3
    table = RNG.normal(size=(12, 5)).astype(np.float32)
    np.savez(place / "rows.npz", x=table, y=np.where(np.arange(12) < 9, y, -1))
    np.savez(place / "images.npz", x=RNG.integers(0, 255, (12, 16, 16, 3), dtype=np.uint8), y=-np.ones(12, int))
    np.savez(place / "series.npz", x=RNG.normal(size=(12, 2, 40)).astype(np.float32), y=-np.ones(12, int))
    return place


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """What each call of ``fit`` was told to note; instead of training it leaves the folder of a run."""
    monkeypatch.chdir(tmp_path)
    found = []

    def fit(strategy, pile, *, out, checkpoints, **more):
        found.append(checkpoints.note)
        out.mkdir(exist_ok=True)
        record = {"strategy": {}, "networks": [], "classes": [], "source": "", "views": None, "pile": None}
        (out / "rebuild.json").write_text(json.dumps(record | {"format": FORMAT, "note": checkpoints.note}))
        (out / "run.json").write_text("{}")
        return SimpleNamespace(out=out)

    monkeypatch.setattr(common.loop, "fit", fit)
    monkeypatch.setattr(report, "finished", lambda *values: None)
    return found


def check(words, noted, capsys, *, again=True):
    lines = [words, [words[0], "--resume", "--out", "run"], [words[0], "--config", "run", "--out", "again"]]
    for line in lines if again else lines[:2]:
        assert cli.main(line) == 0, capsys.readouterr().err
    first, *others = (json.loads(json.dumps(note)) for note in noted)
    assert all(other == first for other in others)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", TRAIN)
def test_train(name, home, noted, capsys):
    words = ["train", "--data", str(home / "rows.npz"), "--steps", "2", "--out", "run", *TRAIN[name]]
    check(words, noted, capsys, again=name not in METHODS)


@pytest.mark.parametrize("name", PRETRAIN)
def test_pretrain(name, home, noted, capsys):
    words = ["pretrain", "--data", str(home / "images.npz"), "--steps", "2", "--out", "run", *PRETRAIN[name]]
    check([*words, *(["--network", "conv"] if name == "cnnjepa" else [])], noted, capsys, again=name not in RECIPES)


@pytest.mark.parametrize(("data", "more"), [("rows", []), ("series", ["--data.kind", "series"])])
def test_the_default_recipe_of_every_kind(data, more, home, noted, capsys):
    words = ["--data", str(home / f"{data}.npz"), *more, "--data.overlap", "include", "--steps", "2", "--out", "run"]
    check(["pretrain", *words], noted, capsys)
    assert read_record("run")["note"]["settings"]["recipe"]["init_args"]


def test_compare(home, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare.Comparison, "cells", lambda self: {})
    monkeypatch.setattr(compare, "judged", lambda *values: SimpleNamespace(as_dict=dict, text=str))
    data = ["--data", str(home / "rows.npz"), "--data.validation", "3", "--steps", "2"]
    some = ["--strategies", "fixmatch", "mean_teacher", "--fixmatch.select", "above(0.9)"]
    for words in ([*data, *some, "--out", "run"], ["--resume", "--out", "run"], ["--config", "run", "--out", "again"]):
        assert cli.main(["compare", *words]) == 0, capsys.readouterr().err
    assert cli.main(["compare", "--config", "run/config.yaml", "--out", "file"]) == 0
    first, *others = (read_config(place) for place in ("run", "again", "file"))
    assert first["fixmatch"]["init_args"]["select"]["init_args"] == {"threshold": 0.9}
    assert others == [first, first]
