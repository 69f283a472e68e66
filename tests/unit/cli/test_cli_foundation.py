"""``--init-from pretrained:NAME``: an encoder of anyone, fine-tuned or frozen, and what such a run can be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import selftrain as st
from selftrain.cli import main as cli
from selftrain.engine.spec import OpenedRun

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


@pytest.mark.parametrize("more", [[], ["--frozen"], ["a stage"]])
def test_given_labels_are_reviewed_from_where_the_run_started(more, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    start, more = ("mae", []) if more == ["a stage"] else ("pretrained:mae", more)
    assert train(home, tmp_path / "a", "--init-from", start, *more) == 0
    began, untrained = [], OpenedRun.untrained
    monkeypatch.setattr(OpenedRun, "untrained", lambda *given: began.append(untrained(*given)) or began[-1])
    monkeypatch.setattr(
        "selftrain.cli.review.out_of_fold", lambda make, pile, **settings: make() and torch.eye(2)[[0] * 12]
    )
    assert cli.main(["review", str(tmp_path / "a"), "--given", "--folds", "2", "--steps", "1"]) == 0
    said = capsys.readouterr().out
    assert ("steps from features of" if more else "steps from ") in said
    assert "from scratch" not in said
    handed = {name.removeprefix("encoder."): value for name, value in st.open_run("mae").export().items()}
    for student in () if more else began[0].learners():
        own = student.model.encoder.state_dict()  # inside a wrapper where it came as ``pretrained:``
        for name, value in ((name, value) for name, value in handed.items() if value.is_floating_point()):
            (found,) = (other for place, other in own.items() if f".{place}".endswith(f".{name}"))
            assert torch.equal(found, value)


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
