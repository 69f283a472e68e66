"""``--init-from pretrained:NAME``: an encoder of anyone, fine-tuned or frozen, and what such a run can be asked."""

from __future__ import annotations

import numpy as np
import pytest

import selftrain as st
from selftrain.cli import main as cli

QUICK = ["--steps", "2", "--progress", "false", "--plan.labeled", "4"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with small pictures and a stage that was pretrained on them."""
    place = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    y = np.arange(32) % 2
    x = rng.random((32, 8, 8)).astype(np.float32)
    np.savez(place / "a.npz", x=x, y=np.where(np.arange(32) < 12, y, -1), x_test=x, y_test=y)
    line = ["pretrain", "--data", str(place / "a.npz"), "--out", str(place / "mae"), "--recipe", "mae", *QUICK]
    assert cli.main(line) == 0
    return place


def train(home, out, *more):
    return cli.main(["train", "--data", str(home / "a.npz"), "--out", str(out), *QUICK, *more])


@pytest.mark.parametrize("more", [[], ["--frozen"]])
def test_a_run_from_an_encoder_is_judged_resumed_and_labels(more, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    out = tmp_path / "runs" / "a"
    assert train(home, out, "--init-from", "pretrained:mae", *more, "--stop_after", "1") == 0
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    monkeypatch.chdir(tmp_path)
    for line in (["evaluate", str(out)], ["label", str(out)], ["label", str(out), str(home / "a.npz")]):
        assert cli.main([*line, "--overwrite"] if line[0] == "label" else line) == 0, line
    assert cli.main(["export", str(out), "--out", "files"]) == 0
    assert (tmp_path / "files" / "classifier.safetensors").exists()
    run = st.open_run(out)
    assert (run.pile.encoder is not None) == bool(more)
    assert (tmp_path / "runs" / "features").exists() == bool(more)
    assert run.inputs["shape"] == ([run.network.encoder.embed_dim] if more else [1, 8, 8])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--init-from", "pretrained:mae", "--network", "conv"], "leave --network out"),
        (["--frozen"], "say --init_from pretrained:NAME"),
        (["--init-from", "pretrained:resnet10y"], "do you mean resnet10t"),
        (["--init-from", "pretrained:nowhere.safetensors"], "there is no nowhere.safetensors"),
    ],
)
def test_starts_that_do_not_fit_are_refused(words, told, home, tmp_path, monkeypatch, capsys):
    pytest.importorskip("timm")
    monkeypatch.chdir(home)
    assert train(home, tmp_path / "a", *words) != 0
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_comparison_from_a_frozen_encoder(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    line = ["compare", "--data", str(home / "a.npz"), "--out", str(tmp_path / "c"), *QUICK]
    assert cli.main([*line, "--strategies", "fixmatch", "--init-from", "pretrained:mae", "--frozen"]) == 0
    assert (tmp_path / "features").exists()
