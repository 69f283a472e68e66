"""The scripts in examples/ run on small settings, print a result beside the supervised floor, and are listed."""

from __future__ import annotations

import gzip
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from paths import ROOT
from sklearn.datasets import load_digits

EXAMPLES = ROOT / "examples"
SHORT = {  # what each writes below --out
    "table": ["train.csv", "test.csv", "fixmatch/pseudo_labels.csv"],
    "series": ["mean_teacher/summary.json"],
    "text": ["fixmatch/pseudo_labels.csv"],
    "image_folder": ["photos/zero", "photos/unlabeled", "fixmatch/pseudo_labels.csv", "review.html"],
    "forest": ["pseudo_labels.csv"],
    "custom_strategy": ["two_looks/pseudo_labels.csv"],
    "generations": ["pipeline/report.json", "supervised/summary.json"],
    "pretraining": ["lejepa/export.safetensors", "lejepa/export.json"],
}
FLOOR = re.compile(r"^\W*supervised\b.*\d\d?\.\d", re.MULTILINE)


def run(name, folder, monkeypatch, *arguments):
    """Run a script in this process, as its own main module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with torch.random.fork_rng():
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_short_examples_run(name, tmp_path, monkeypatch, capsys):
    run(name, tmp_path, monkeypatch, "--fast", "--out", "results")
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed
    assert [file for file in SHORT[name] if not (tmp_path / "results" / file).exists()] == []


@pytest.mark.slow
def test_the_estimator_example_runs(tmp_path, monkeypatch, capsys):
    run("estimator", tmp_path, monkeypatch, "--fast")
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed
    assert re.search(r"(mean_teacher|fixmatch): \d+\.\d % on 450 test images", printed)
    assert (tmp_path / "runs" / "estimator" / "pseudo_labels.csv").exists()


def write_idx(path, array):
    """A file as MNIST's are."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.mark.slow
def test_the_images_example_runs_in_processes(tmp_path):
    """On files like MNIST's, with the digits of scikit-learn in them."""
    digits = load_digits()
    large = np.kron(digits.images * 255 / 16, np.ones((1, 3, 3)))[:, :, :]
    padded = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    for part, rows in (("train", slice(0, 400)), ("t10k", slice(400, 480))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", padded[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", digits.target[rows])
    settings = ["--dataset", "mnist", "--data", ".", "--seeds", "1", "--steps", "2", "--processes", "1", "--out", "out"]
    command = [sys.executable, str(EXAMPLES / "images.py"), *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^mnist +(supervised|mean_teacher|fixmatch|fst_d|soft_labels) ", done.stdout, re.M)) == 5


def test_every_example_is_listed_and_says_how_to_run_it():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        if path.name != "common.py":
            assert f"| [{path.name}]({path.name})" in listed
            assert f"python examples/{path.name} " in path.read_text(encoding="utf-8").partition('"""\n\n')[0]
    assert set(SHORT) | {"quickstart", "images", "estimator", "common"} == {path.stem for path in EXAMPLES.glob("*.py")}
