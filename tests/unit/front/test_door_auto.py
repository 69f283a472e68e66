"""``fit("auto", pile)`` and frozen encoders by a word: runs like all others, also in a new process."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import same, snapshot

import selftrain as st
from selftrain import strategies
from selftrain.cli import main as cli
from selftrain.data import Pile
from selftrain.errors import UsageError
from selftrain.handlers import DataSummary
from selftrain.networks.by_name import make_network
from selftrain.storage.run_dir import CANDIDATES

RNG = np.random.RandomState(0)
X = (RNG.normal(size=(60, 5)) + 3 * np.eye(5)[np.arange(60) % 3]).astype(np.float32)
Y = np.where(np.arange(60) < 24, np.arange(60) % 3, -1)
AUTO, QUIET = "auto(budget=0.2)", {"handlers": [DataSummary(False)]}
SHORT = {"steps": 2, "plan": st.BatchPlan(6), **QUIET}


def quick(patch):
    """Few trees and folds."""
    patch.setattr(import_module("selftrain.portfolio.candidates"), "TREES", 2)
    for name, value in {"SPLITS": 2, "REPEATS": 1}.items():
        patch.setattr(import_module("selftrain.portfolio.portfolio"), name, value)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run of a portfolio, one of a network after a stage, and the rows as a file."""
    place = tmp_path_factory.mktemp("home")
    np.savez(place / "a.npz", x=X, y=Y)
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        st.fit(AUTO, Pile.from_arrays(X, Y), out=place / "auto", plan=st.BatchPlan(seed=3), **QUIET)
        st.fit("fixmatch", Pile.from_arrays(X, Y), pretrain="vicreg", out=place / "net", **SHORT)
        yield place


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    quick(monkeypatch)


def test_a_portfolio_by_its_name_is_that_of_the_command_line_and_a_run_like_others(home, tmp_path, monkeypatch, capsys):
    pile = Pile.from_arrays(X, Y)
    run = st.fit("auto(budget=0.2)", pile, plan=st.BatchPlan(seed=3))
    said = capsys.readouterr().err
    assert "strategy   auto, ways without a network, each judged on labels that it does not see: about 0 s" in said
    assert "start      the rows themselves" in said
    words = ["train", "--data", str(home / "a.npz"), "--strategy", "auto", "--strategy.budget", "0.2", "--seed", "3"]
    assert cli.main([*words, "--out", str(tmp_path / "cli")]) == 0
    first, second = st.open_run(home / "auto"), st.open_run(tmp_path / "cli")
    for other in (first, second):
        np.testing.assert_array_equal(other.predict_proba(X), run.predict_proba(X))
        assert len(other.label(X)) == 60
    assert (run.predict(X) == (np.arange(60) % 3).astype(str)).mean() > 0.9
    assert run.report(tmp_path / "page.html").read_text().count("hidden labels, two standard errors") == 1
    assert (home / "auto" / CANDIDATES).read_text().count('"weight"') == len(run.strategy.candidates)
    lines = dict(line.split(None, 1) for line in repr(run).splitlines())
    assert len(repr(run).splitlines()) <= 10
    assert lines["blend"].endswith("...") or "%" in lines["blend"]
    assert "of labels that were hidden from it" in repr(run)
    with pytest.raises(ValueError, match="has no network to export"):
        run.export(tmp_path / "export")
    for how in ("overwrite", "resume"):
        again = st.fit(AUTO, pile, out=home / "auto", plan=st.BatchPlan(seed=3), **QUIET, **{how: True})
        np.testing.assert_array_equal(again.predict(X), run.predict(X))
    with pytest.raises(st.RunFolderError, match="already holds a run"):
        st.fit(AUTO, pile, out=home / "auto", **QUIET)


def test_a_new_process_predicts(home, tmp_path):
    np.save(tmp_path / "new.npy", X[:4])
    # the attribute of that name is a function of the package
    code = "import importlib, sys; importlib.import_module('selftrain.portfolio.candidates').TREES = 2; "
    code += "import selftrain as st; print(*st.open_run(sys.argv[1]).predict(sys.argv[2]))"
    files = [str(home / "auto"), str(tmp_path / "new.npy")]
    told = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True)
    assert told.stdout.split() == list(st.open_run(home / "auto").predict(X[:4])), told.stderr


def test_predict_on_the_command_line(home, tmp_path, capsys):
    np.save(tmp_path / "new.npy", X[:4])
    assert cli.main(["predict", str(home / "auto"), str(tmp_path / "new.npy")]) == 0
    found = re.findall(r"^\S+ +([012]) +[\d.]+$", capsys.readouterr().out, re.MULTILINE)
    assert found == list(st.open_run(home / "auto").predict(X[:4]))


def test_what_only_networks_have_is_refused_by_name_and_leaving_it_out_works(home, monkeypatch):
    pile = Pile.from_arrays(X, Y)
    for wrong, named in (
        ({"steps": 5}, "steps"),
        ({"baseline": True}, "baseline"),
        ({"plan": st.BatchPlan(4)}, "plan.labeled"),
        ({"evaluation": st.Evaluation(3)}, "evaluation.every"),
        ({"checkpoints": st.Checkpoints(stop_after=1)}, "checkpoints.stop_after"),
    ):
        with pytest.raises(UsageError, match=f'strategy="auto" trains no network of yours: leave out {named}, or'):
            st.fit(AUTO, pile, **wrong)
    with pytest.raises(UsageError, match="bugdet"):
        st.fit("auto(bugdet=1)", pile)
    with pytest.raises(UsageError, match="and give its folder"):
        st.fit(AUTO, pile, pretrain="vicreg", **QUIET)
    loose = st.fit("fixmatch", pile, **SHORT)
    with pytest.raises(UsageError, match="has no folder; train it with out=FOLDER"):
        st.fit(AUTO, pile, pretrain=loose, **QUIET)
    for start in (home / "net", st.open_run(home / "net"), f"frozen:{home / 'net'}"):
        assert st.fit(AUTO, pile, pretrain=start, **QUIET).inputs["shape"] == [128]
    monkeypatch.setattr(import_module("selftrain.estimator.strategy"), "MOST", 60 * 4)
    with pytest.raises(UsageError, match=r'say pretrain="frozen:NAME", whose features it reads, or make them smaller '):
        st.fit(AUTO, pile, **QUIET)


def test_a_frozen_encoder_is_one_word(home, tmp_path):
    pile, name = Pile.from_arrays(X, Y), str(home / "net")
    encoder = st.pretrained(name, frozen=True)
    features = pile.encoded(encoder)
    torch.manual_seed(0)
    make = st.learner(lambda: make_network("linear", "table", (128,), 3), lr=3e-3)
    wanted = st.fit(strategies.FixMatch(st.Classification(3), make, decay=0.0), features, **SHORT)
    for number, given in enumerate((f"frozen:{name}", encoder)):
        out = tmp_path / f"{number}" / "run"
        run = st.fit("fixmatch", pile, pretrain=given, out=out, **SHORT)
        assert same(snapshot(run.strategy), snapshot(wanted.strategy))
        np.testing.assert_array_equal(st.open_run(out).predict(X), run.predict(X))
        assert any((out.parent / "features").iterdir())  # not computed again by the next run
    whole = st.fit("fixmatch", pile, pretrain=f"pretrained:{name}", **SHORT)
    assert whole.inputs["shape"] == [5]
    with pytest.raises(UsageError, match="what is frozen stands alone"):
        st.fit("fixmatch", pile, pretrain=[encoder, "vicreg"], **SHORT)


def test_a_run_that_is_replaced_leaves_no_stage_behind(tmp_path):
    pile, out = Pile.from_arrays(X, Y), tmp_path / "run"
    st.fit("fixmatch", pile, pretrain="vicreg", out=out, **SHORT)
    (out / "pretrain" / "notes.txt").write_text("mine")
    (out / "pretrain-of-mine").mkdir()
    st.fit("fixmatch", pile, pretrain=["vicreg", "lejepa"], out=out, overwrite=True, **SHORT)
    assert [path.name for path in (out / "pretrain").iterdir()] == ["notes.txt"]  # what is no run stays
    make = st.learner(lambda: make_network("mlp", "table", (5,), 3))
    st.fit(strategies.FixMatch(st.Classification(3), make), pile, out=out, overwrite=True, **SHORT)
    assert sorted(path.name for path in out.glob("pretrain*")) == ["pretrain", "pretrain-of-mine"]
    assert Path(out, "run.json").is_file()
