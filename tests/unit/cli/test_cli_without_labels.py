"""``selftrain train`` on data without any label, from a run that has learned the task."""

import numpy as np
import pytest

from selftrain.cli.main import main


@pytest.fixture
def runs(tmp_path):
    """A run on labels of a source, and rows of a target."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 40)
    x = draw.normal(0, 1, (40, 3)).astype(np.float32)
    x[:, 0] += 3 * y
    np.savez(tmp_path / "source.npz", x=x, y=y)
    np.savez(tmp_path / "target.npz", x=x + 0.5)
    train(tmp_path, "source.npz", "source", "--strategy", "supervised")
    return tmp_path


def train(folder, data, out, *more):
    words = [
        "train",
        "--data",
        str(folder / data),
        "--steps",
        "3",
        "--device",
        "cpu",
        "--out",
        str(folder / out),
        *more,
    ]
    return main([*words, "--plan.labeled", "8"])


def test_a_run_brings_task_and_network(runs, capsys):
    start = ("--init_from", str(runs / "source"))
    assert train(runs, "target.npz", "alone", "--strategy", "fixmatch") != 0
    assert "or start from a run that has learned the task (--init_from RUN)" in capsys.readouterr().err
    assert train(runs, "target.npz", "other", "--strategy", "fixmatch", *start, "--network", "mlp") != 0
    assert "brings its network; leave --network out" in capsys.readouterr().err
    assert train(runs, "target.npz", "target", "--strategy", "fixmatch", *start) == 0
    told = capsys.readouterr().out
    assert "start        unlabeled confidence" in told
    assert "no label says how many are right" in told
    assert "accuracy" not in told.split("run        ")[1]
