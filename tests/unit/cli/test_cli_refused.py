"""A command that is refused changes nothing: neither the folder it would write, nor the run that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from selftrain.cli import main as cli
from selftrain.cli.parser import read_config
from selftrain.storage.lock import locked

QUICK = ["--steps", "2", "--plan.labeled", "4", "--progress", "false"]
REFUSED = {
    "nothing said": [],
    "plan": ["--overwrite", "--plan.labeled", "0"],
    "steps": ["--overwrite", "--steps", "0"],
    "device": ["--overwrite", "--device", "nonsense"],
    "network": ["--overwrite", "--network", "nonsense"],
    "views": ["--overwrite", "--views", "nonsense"],
    "views of another kind": ["--overwrite", "--views", "selftrain.data.PointViews"],
    "data": ["--overwrite", "--data", "nowhere"],
    "a setting of the data": ["--overwrite", "--data.validation", "500"],
    "training": ["--overwrite", "--training.lr", "-1"],
    "schedule": ["--overwrite", "--training.schedule", "nonsense"],
    "start": ["--overwrite", "--init-from", "nowhere"],
    "both": ["--overwrite", "--resume"],
    "other settings": ["--resume", "--training.lr", "0.5"],
    "other steps": ["--resume", "--steps", "9"],
    "an option": ["--overwrite", "--nonsense", "1"],
}
FOR = {"train": ["--strategy", "supervised"], "compare": ["--strategies", "mean_teacher"], "pretrain": []}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("home")
    y = np.arange(24) % 2
    x = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    np.savez(place / "a.npz", x=x, y=np.where(np.arange(24) < 12, y, -1), x_test=x, y_test=y)
    for command, words in FOR.items():
        line = [command, "--data", str(place / "a.npz"), "--out", str(place / command), *QUICK, *words]
        assert cli.main(line) == 0
    return place


def content(folder: Path) -> dict[str, str]:
    """Each file by the sum of what it holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.one_in(3, "network-compare")
@pytest.mark.parametrize("command", FOR)
@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_command_changes_nothing(why, command, home, tmp_path, monkeypatch, capsys):
    if (command, why) == ("pretrain", "start"):
        pytest.skip("it starts from nothing")
    monkeypatch.chdir(tmp_path)
    before, out = content(home / command), str(home / command)
    assert cli.main([command, "--data", str(home / "a.npz"), "--out", out, *QUICK, *FOR[command], *REFUSED[why]]) != 0
    assert capsys.readouterr().err.count("selftrain: error") == 1
    assert content(home / command) == before
    if why not in ("nothing said", "both", "other settings", "other steps"):
        words = [word for word in REFUSED[why] if word != "--overwrite"]
        assert cli.main([command, "--data", str(home / "a.npz"), "--out", "new", *QUICK, *FOR[command], *words]) != 0
        assert not Path("new").exists()


@pytest.mark.parametrize("command", FOR)
@pytest.mark.parametrize("way", ["--overwrite", "--resume"])
def test_of_two_commands_in_one_folder_the_second_changes_nothing(way, command, home, capsys):
    line = [command, "--data", str(home / "a.npz"), "--out", str(home / command), *QUICK, *FOR[command], way]
    with locked(home / command, create=False):
        before = content(home / command)
        assert cli.main(line) == 1
        assert "is in use by another run (process" in capsys.readouterr().err
        assert content(home / command) == before


@pytest.mark.parametrize("command", FOR)
def test_of_two_commands_in_a_new_folder_the_second_is_told(command, home, tmp_path, capsys):
    with locked(tmp_path / "new", create=True):
        line = [command, "--data", str(home / "a.npz"), "--out", str(tmp_path / "new"), *QUICK, *FOR[command]]
        assert cli.main(line) == 1
        assert "is in use by another run (process" in capsys.readouterr().err


def test_a_folder_with_a_config_of_another_kind_is_no_comparison(home, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    for way in ([], ["--overwrite"], ["--resume"]):
        assert cli.main(["compare", "--data", str(home / "a.npz"), "--out", str(tmp_path), *QUICK, *way]) != 0
        assert content(tmp_path).keys() == {"config.yaml"}


def test_a_comparison_that_was_overwritten_and_stopped_takes_no_old_run_for_its_own(home, tmp_path, capsys):
    line = ["compare", "--out", str(tmp_path / "c"), *QUICK, *FOR["compare"]]
    assert cli.main([*line, "--data", str(home / "a.npz")]) == 0
    old = content(tmp_path / "c")
    data = dict(np.load(home / "a.npz"))
    np.savez(tmp_path / "b.npz", **data | {"x": -data["x"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "selftrain.cli.compare_runs.Comparison.cells", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert cli.main([*line, "--data", str(tmp_path / "b.npz"), "--overwrite"]) == 130
    assert "compare.json" not in content(tmp_path / "c")
    capsys.readouterr()
    assert cli.main(["compare", "--resume", "--out", str(tmp_path / "c")]) == 0
    assert "kept" not in capsys.readouterr().out
    assert read_config(tmp_path / "c")["data"]["init_args"]["path"].endswith("b.npz")
    new = content(tmp_path / "c")
    assert all(old[name] != new[name] for name in old if name.endswith("export.safetensors"))
