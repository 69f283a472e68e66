"""The progress bar: what it tells beside the steps, and where it is shown."""

import sys
from types import SimpleNamespace

import selftrain as st
from selftrain import strategies, toy
from selftrain.handlers import MetricsLog, Progress


def fit(show, **more):
    strategy = strategies.FixMatch(toy.task("classification"), toy.learner("classification"))
    return st.fit(strategy, toy.pile("classification"), steps=4, handlers=[Progress(show), MetricsLog(2)], **more)


def test_it_tells_losses_use_and_the_held_out_figure(capsys):
    run = fit(True, evaluation=st.Evaluation(2))
    told = capsys.readouterr().err.split("\r")[-1]
    assert "4/4" in told
    assert f"loss supervised {run.train['train/loss/supervised']:.3g}, unsupervised" in told
    assert f"used {100 * run.train['train/used']:.0f} %" in told
    assert f"validation accuracy {run.last['validation']['accuracy']:.3f}" in told


def test_it_is_shown_on_a_terminal_or_in_a_notebook(capsys, monkeypatch):
    fit(None)
    assert "4/4" not in capsys.readouterr().err
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    fit(None)
    assert "4/4" in capsys.readouterr().err
    fit(False)
    assert "4/4" not in capsys.readouterr().err
