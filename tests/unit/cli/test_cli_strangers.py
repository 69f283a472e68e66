"""A folder that a stranger made names code: nothing of it is imported or called without --trust, by any command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from selftrain.cli import main as cli
from selftrain.cli.naming import foreign_names
from selftrain.cli.parser import read_config
from selftrain.front.naming import load_object

QUICK = ["--steps", "2", "--plan.labeled", "4", "--progress", "false"]
EVIL = "from torch import nn\nopen('evil was here', 'w')\n\n\nclass Net(nn.Linear):\n    pass\n\n\nmake = Net\n"
NAMES = ["evil:Net", "evil.Net", "evil:make", "evil.Net(3)", "torch.nn.modules.module.warnings.Warning", "os:system"]
MORE = ["torchvision.datasets.utils:os.system", "selftrain.networks.optim:import_module", "subprocess.Popen"]
# in each place of the settings a name under many spellings
PLACES = {
    "network": lambda name: {"network": name},
    "a class": lambda name: {"network": {"class_path": name, "init_args": {}}},
    "dashes": lambda name: {"network": {"class-path": name}},
    "dots": lambda name: {"network.class_path": name},
    "text": lambda name: {"network": json.dumps({"class_path": name})},
    "text of several lines": lambda name: {"network": f"class_path: {name}\ninit_args: {{}}"},
    "strategy": lambda name: {"strategy": name},
    "strategy by name": lambda name: {"strategy": {"name": name, "decay": 0.9}},
    "a part": lambda name: {"strategy": {"class_path": "selftrain.strategies.FixMatch", "init_args": {"select": name}}},
    "a part of a part": lambda name: {"strategy": {"init_args": {"select": {"init_args": {"inner": name}}}}},
    "optimizer": lambda name: {"training": {"optimizer": name}},
    "optimizer class": lambda name: {"training": {"optimizer": {"class_path": name}}},
    "schedule": lambda name: {"training": {"schedule": name}},
    "views": lambda name: {"views": name},
    "data": lambda name: {"data": name},
    "data by path": lambda name: {"data": {"path": name}},
    "reader": lambda name: {"data": {"class_path": name, "init_args": {}}},
    "task": lambda name: {"task": name},
    "recipe": lambda name: {"recipe": name},
    "strategies": lambda name: {"strategies": [name]},
    "a file of settings": lambda name: {"config": "more.yaml"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("home")
    y = np.arange(24) % 2
    x = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    np.savez(place / "a.npz", x=x, y=np.where(np.arange(24) < 12, y, -1), x_test=x, y_test=y)
    assert cli.main(["train", "--data", str(place / "a.npz"), "--out", str(place / "run"), *QUICK]) == 0
    return place


@pytest.fixture
def theirs(home, tmp_path, monkeypatch):
    """A run of theirs in the working directory, which also holds a module that notes that it was imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    for module in ("evil", "mine"):  # of another test
        monkeypatch.delitem(sys.modules, module, raising=False)
    Path("evil.py").write_text(EVIL)
    return Path(shutil.copytree(home / "run", "theirs"))


def lines(home, run):
    new = ["--data", str(home / "a.npz"), *QUICK, "--out", "new"]
    yield ["train", "--resume", "--out", str(run)]
    yield ["pretrain", "--resume", "--out", str(run)]
    yield ["train", "--config", str(run), *new]
    yield ["compare", "--config", str(run), *new]
    yield ["train", "--init-from", str(run), *new]
    yield ["compare", "--init-from", str(run / "export.safetensors"), *new]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("place", PLACES)
def test_settings_of_a_folder_import_nothing(place, home, theirs, capsys):
    record = json.loads((theirs / "rebuild.json").read_text())
    own = record["note"]["settings"]
    for number, name in enumerate([*NAMES, *MORE]):
        changed = PLACES[place](name)
        record["note"]["settings"] = own | changed
        (theirs / "rebuild.json").write_text(json.dumps(record))
        for words in lines(home, theirs) if number == 0 else ():
            assert cli.main(words) == 1, words
            assert "names code that is not of selftrain: " in capsys.readouterr().err
        # what has no colon is a path for data, and is not there
        assert foreign_names(changed) or ("data" in place and ":" not in name), name
    assert not Path("evil was here").exists()
    assert not Path("new").exists()


@pytest.mark.parametrize("place", ["network", "strategies", "optimizer", "a file of settings"])
@pytest.mark.parametrize("head", ["# selftrain compare --config config.yaml\n", ""])
def test_the_config_of_a_comparison_imports_nothing(head, place, home, theirs, capsys):
    Path("c").mkdir()
    settings = {"data": str(home / "a.npz"), "steps": 2} | PLACES[place]("evil:Net")
    Path("c", "config.yaml").write_text(head + yaml.safe_dump(settings))
    for words in (
        ["compare", "--resume", "--out", "c"],
        ["compare", "--config", "c", "--out", "new"],
        ["compare", "--config", "c/config.yaml", "--out", "new"],
        ["train", "--config=c/config.yaml", "--out", "new"],
    ):
        assert cli.main(words) in (1, 2), words
        assert "evil" in capsys.readouterr().err or place == "a file of settings"
    assert not Path("evil was here").exists()


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("pile", {"reader": "selftrain.data.readers.arrays:from_arrays_file", "settings": {"views": "evil:Net"}}),
        ("pile", {"reader": "evil:make", "settings": {}}),
        ("views", {"make": "evil:Net", "args": [], "settings": {}}),
        ("note", {"settings": {"labels": ["evil:Net"], "network": "evil:Net"}}),
    ],
)
def test_commands_about_a_run_import_nothing(part, value, theirs, capsys):
    record = json.loads((theirs / "rebuild.json").read_text())
    if part == "pile":
        value = value | {"settings": record["pile"]["settings"] | value["settings"]}
    (theirs / "rebuild.json").write_text(json.dumps(record | {part: value}))
    for command in ("evaluate", "label", "review", "export"):
        for more in ([], ["--data.labels", "8"], ["--labels", "l.csv"], ["--views", "table"]):
            if command != "export" or not more:
                cli.main([command, str(theirs), *more])
    assert not Path("evil was here").exists()


def test_what_is_trusted_is_shown_before_it_is_imported(home, theirs, capsys):
    """The remedy of the message, for every command that says it."""
    new = ["--data", str(home / "a.npz"), *QUICK]
    Path("mine.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Linear):\n    def __init__(self, shape, outputs):\n"
        "        super().__init__(shape[0], outputs)\n\n\ndef net(shape, outputs):\n    return Net(shape, outputs)\n"
    )
    assert cli.main(["train", *new, "--network", "mine:net", "--out", "own", "--stop-after", "1"]) == 0
    more = [*new, "--out", "new", "--overwrite"]
    for words in (
        ["train", "--resume", "--out", "own"],
        ["train", "--config", "own", *more],
        ["train", "--init-from", "own", *more],
        ["compare", "--init-from", "own", "--strategies", "supervised", *new, "--out", "c"],
        ["evaluate", "own"],
        ["export", "own"],
    ):
        capsys.readouterr()
        assert cli.main(words) == 1, words
        assert "--trust" in capsys.readouterr().err
        assert cli.main([*words, "--trust"]) == 0, (words, capsys.readouterr().err)
        assert "mine" in capsys.readouterr().err.partition("imported")[0]
    # given by the line itself it is the user's own word
    assert cli.main(["train", "--init-from", "own", "--network", "mine:net", *more]) == 0


def test_a_config_file_of_the_users_names_what_it_likes(home, theirs):
    Path("mine.py").write_text("from torch import nn\n\n\ndef net(shape, outputs):\n    return nn.Linear(5, outputs)\n")
    Path("settings.yaml").write_text(f"data: {home / 'a.npz'}\nnetwork: mine:net\nsteps: 1\nout: new\n")
    assert cli.main(["train", "--config", "settings.yaml"]) == 0


def test_settings_without_names_of_others_are_known():
    for known in (
        {"network": "auto", "training": {"lr": "1e-5", "schedule": "cosine(0.5)", "optimizer": "torch.optim.NAdam"}},
        {"data": {"class_path": "selftrain.data.load", "init_args": {"name": "digits", "column": "a.b: c"}}},
        {"strategy": {"class_path": "selftrain.strategies.FixMatch", "init_args": {"select": "above(0.95)"}}},
        {"device": "cuda:0", "labels": ["a.csv"], "init_from": "../runs/a.b:c", "views": "selftrain.data.TableViews"},
    ):
        assert foreign_names(known) == []


def test_names_of_the_packages_leave_the_path_alone(theirs, monkeypatch):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(theirs.resolve().parent))])
    load_object("selftrain.strategies.FixMatch")
    assert str(theirs.resolve().parent) not in sys.path
    load_object("evil:Net")
    assert str(theirs.resolve().parent) in sys.path


@pytest.mark.slow
def test_the_working_directory_stands_in_for_no_package(home, theirs):
    """As ``python -m selftrain`` and as the console script: in a process that has loaded little."""
    record = json.loads((theirs / "rebuild.json").read_text())
    make = record["strategy"]["settings"]["make_learner"]["learner"]
    make[0] = {"make": "timm.layers.mlp:Mlp", "args": [5], "settings": {}}
    (theirs / "rebuild.json").write_text(json.dumps(record))
    for package in ("timm", "sklearn"):
        Path(package).mkdir()
        Path(package, "__init__.py").write_text("open('evil was here', 'w')\n")
    script = "import sys; from selftrain.cli.main import main; sys.exit(main(sys.argv[1:]))"
    path = ":".join(part for part in sys.path if part and Path(part).is_dir())
    done = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", script, "evaluate", "theirs"],
        capture_output=True, text=True, env={"PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "timm.layers.mlp:Mlp" in done.stderr or "is not what its classes build" in done.stderr, done.stderr
    assert not Path("evil was here").exists()
    read_config("theirs")


def test_settings_import_no_package_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend("")  # as `python -m selftrain` has it
    Path("timm/models").mkdir(parents=True)
    Path("timm/__init__.py").write_text("open('evil was here', 'w')\n")
    Path("timm/models/__init__.py").write_text("class VisionTransformer: pass\n")
    assert foreign_names({"network": "timm.models.VisionTransformer"}) == ["timm.models.VisionTransformer"]
    assert not Path("evil was here").exists()


DEEP = {"open": "[" * 100_000, "lists": "[" * 600 + "]" * 600, "mappings": '{"a":' * 600 + "1" + "}" * 600}


@pytest.mark.parametrize(
    "file", ["rebuild.json", "run.json", "export.json", "checkpoints/manifest.json", "metrics.jsonl"]
)
@pytest.mark.slow
def test_files_that_are_nested_too_deeply_are_errors_by_name(file, home, theirs, capsys):
    """Alone and as any part of what belongs there; a fault of Python's would end the test."""
    whole = (theirs / file).read_text()
    parts = json.loads(whole) if file.endswith("json") else {}
    deep = [json.dumps({**parts, key: 0}).replace(f'"{key}": 0', f'"{key}": {DEEP["lists"]}') for key in parts]
    about = [["evaluate", str(theirs)], ["train", "--resume", "--out", str(theirs)]]
    for number, text in enumerate([*DEEP.values(), *deep[:8]]):
        (theirs / file).write_text(text)
        if file.startswith("checkpoints"):
            (theirs / "checkpoints/manifest.copy.json").write_text(text)
        for words in [*about, ["export", str(theirs)]] if number == 0 else about:
            assert cli.main(words) in (0, 1, 2)
            assert "maximum recursion" not in capsys.readouterr().err
    (theirs / file).write_text(whole)


def test_what_people_call_their_classes_and_files_commands_no_terminal(home, tmp_path, monkeypatch, capsys):
    """Whatever a command prints goes through one door."""
    monkeypatch.chdir(tmp_path)
    evil = "\x1b[2J\x1b]0;owned\x07a\u202eb\x9b31m\rc"
    rows = "".join(f"{i}.5,{i % 3},{evil if i % 2 else 'dog'}\n" for i in range(1, 25))
    Path("t.csv").write_text(f"one,{evil.replace(chr(13), '')},label\n" + rows.replace("\rc", "c"), encoding="utf-8")
    name = "\x1b[31mrun"
    assert (
        cli.main(["train", "--data", "t.csv", "--data.label", "label", "--data.validation", "4", "--out", name, *QUICK])
        == 0
    )
    cli.main(["evaluate", name, "--part", "validation"])
    cli.main(["label", name, "--out", f"{name}.csv", "--data", "t.csv"])
    cli.main(["check-data", "t.csv"])
    cli.main(["train", "--data", f"{name}\udcff\u2066"])
    cli.main([evil])
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2066\udcff")
        assert "\\x1b[" in text
    assert "\r" not in shown.out
