"""Both kinds of installation, imported from the root of the checkout and from elsewhere.

Nothing is fetched: each installation goes into an environment of its own that sees the libraries of the present one
through links, except an installed selftrain.
"""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

FOLDERS = {"selftrain": "selftrain", "strategies": "selftrain/strategies", "data": "selftrain/data"}
SOURCES = ("selftrain", "strategies", "data", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
QUIET = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")

USE = """
import importlib, json, pickle, sys
import selftrain
from selftrain import data, pretrain, strategies
from selftrain.strategies import MeanTeacher

module = importlib.import_module("selftrain.strategies.mean_teacher")
assert MeanTeacher is module.MeanTeacher is strategies.MeanTeacher is selftrain.strategies.MeanTeacher
assert MeanTeacher.__module__ == "selftrain.strategies.mean_teacher"
assert pickle.loads(pickle.dumps(data.Pile)) is data.Pile is importlib.import_module("selftrain.data.pile").Pile
assert issubclass(MeanTeacher, selftrain.Strategy) and issubclass(pretrain.Masked, selftrain.Strategy)
assert not {"strategies", "data"} & set(sys.modules)
pile = data.load("digits", labels=20)
assert len(pile.labeled) == 20
print(json.dumps({"selftrain": selftrain.__file__, "strategies": strategies.__file__, "data": data.__file__}))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing in the tree."""
    place = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Links to all that is installed here but selftrain."""
    place = tmp_path_factory.mktemp("libraries")
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if "selftrain" not in entry.name and not (place / entry.name).exists():
                (place / entry.name).symlink_to(entry)
    return place


@pytest.fixture(scope="module")
def environment(tmp_path_factory, libraries):
    """Makes a fresh environment; returns its interpreter."""

    def make(name):
        home = tmp_path_factory.mktemp(name)
        run(sys.executable, "-m", "venv", "--without-pip", home)
        python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (site / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
        return python

    return make


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, checkout):
    place = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", *QUIET, "-w", place, checkout)
    (built,) = place.glob("selftrain-*.whl")
    shutil.rmtree(checkout / "build", ignore_errors=True)
    return built


@pytest.fixture(scope="module")
def plain(environment, wheel):
    python = environment("plain")
    run(python, "-m", "pip", "install", *QUIET, wheel)
    return python


@pytest.fixture(scope="module")
def editable(environment, checkout):
    python = environment("editable")
    run(python, "-m", "pip", "install", *QUIET, "-e", checkout)
    return python


def run(*command, cwd=None):
    """Output of a command that must succeed; no path of this process's environment reaches it."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def origins(python, cwd):
    """Files that the packages come from when Python runs in ``cwd``."""
    return {name: Path(path).resolve() for name, path in json.loads(run(python, "-c", USE, cwd=cwd)).items()}


@pytest.mark.parametrize("mode", ["plain", "editable"])
@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_imports(request, checkout, tmp_path, mode, where):
    python = request.getfixturevalue(mode)
    found = origins(python, checkout if where == "root" else tmp_path)
    if (mode, where) == ("plain", "elsewhere"):
        home = python.parent.parent.resolve()
        assert all(home in path.parents for path in found.values()), found
    else:  # at the root ./selftrain comes first; all parts must then be of that checkout, not half of each
        assert found == {name: (checkout / name / "__init__.py").resolve() for name in FOLDERS}


@pytest.mark.parametrize("mode", ["plain", "editable"])
def test_no_bare_names(request, tmp_path, mode):
    python = request.getfixturevalue(mode)
    script = "import importlib.util as u; print([u.find_spec(name) for name in ('strategies', 'data')])"
    assert run(python, "-c", script, cwd=tmp_path).strip() == "[None, None]"


def test_without_installation_the_root_is_enough(environment, checkout):
    python = environment("bare")
    assert origins(python, checkout)["strategies"] == (checkout / "strategies" / "__init__.py").resolve()


def test_wheel_holds_every_module_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    inside = {name for name in names if ".dist-info/" not in name}
    pages = [ROOT / "selftrain" / place / "parts" for place in ("labels/page", "report")]
    parts = {path.relative_to(ROOT).as_posix() for page in pages for path in page.iterdir()}
    assert inside == expected | {"selftrain/py.typed", "selftrain/portfolio/prior.json"} | parts


def test_wheel_says_what_it_is(wheel):
    files = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in files.namelist() if ".dist-info/" in name}
    assert files.read(f"{info}/top_level.txt").split() == [b"selftrain"]
    assert b"Apache License" in files.read(f"{info}/licenses/LICENSE")
    metadata = email.message_from_bytes(files.read(f"{info}/METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert set(metadata.get_all("Provides-Extra")) == {
        "benchmarks",
        "dev",
        "docs",
        "graph",
        "onnx",
        "peft",
        "table",
        "test",
        "timm",
        "transformers",
    }
    needed = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert "torch>=2.10" in needed
    assert not any(line.startswith(("timm", "pandas", "pytest")) for line in needed)
