"""Who may import whom, read from the source; and that no layer asks for the name of a method or a data set."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"selftrain": "selftrain", "selftrain.strategies": "strategies", "selftrain.data": "data"}

# Modules of selftrain/ that are not core; all others are.
LAYER_OF = {
    "selftrain": "front",
    "selftrain.__main__": "front",
    "selftrain.estimator": "front",
    "selftrain.estimator.base": "front",
    "selftrain.estimator.classifier": "front",
    "selftrain.estimator.encoder": "front",
    "selftrain.estimator.fitting": "front",
    "selftrain.estimator.folds": "front",
    "selftrain.estimator.inputs": "front",
    "selftrain.estimator.marks": "front",
    "selftrain.estimator.networks": "front",
    "selftrain.estimator.shipped": "front",
    "selftrain.catalog": "front",
    "selftrain.catalog.methods": "front",
    "selftrain.catalog.parts": "front",
    "selftrain.catalog.recipes": "front",
    "selftrain.catalog.views": "front",
    "selftrain.exporting": "front",
    "selftrain.exporting.formats": "front",
    "selftrain.exporting.network": "front",
    "selftrain.exporting.write": "front",
    "selftrain.pipeline": "front",
    "selftrain.pipeline.folder": "front",
    "selftrain.pipeline.labeling": "front",
    "selftrain.pipeline.order": "front",
    "selftrain.pipeline.recipes": "front",
    "selftrain.pipeline.report": "front",
    "selftrain.pipeline.running": "front",
    "selftrain.pipeline.stages": "front",
    "selftrain.pipeline.state": "front",
    "selftrain.reviewpage": "front",
    "selftrain.reviewpage.judge": "front",
    "selftrain.reviewpage.page": "front",
    "selftrain.reviewpage.pictures": "front",
    "selftrain.reviewpage.source": "front",
    "selftrain.reviewpage.write": "front",
    "selftrain.carried": "engine",
    "selftrain.engine": "engine",
    "selftrain.gradcheck": "engine",
    "selftrain.run": "engine",
    "selftrain.selfcheck": "engine",
    "selftrain.session": "engine",
    "selftrain.skipping": "engine",
    "selftrain.stage": "engine",
    "selftrain.watched": "engine",
    "selftrain.board": "storage",
    "selftrain.checkpoint": "storage",
    "selftrain.dashboard": "storage",
    "selftrain.folderlock": "storage",
    "selftrain.dashboard.figures": "storage",
    "selftrain.dashboard.held_out": "storage",
    "selftrain.dashboard.hparams": "storage",
    "selftrain.dashboard.mixes": "storage",
    "selftrain.dashboard.names": "storage",
    "selftrain.dashboard.projector": "storage",
    "selftrain.dashboard.settings": "storage",
    "selftrain.dashboard.show": "storage",
    "selftrain.dashboard.speed": "storage",
    "selftrain.dashboard.tags": "storage",
    "selftrain.dashboard.tiles": "storage",
    "selftrain.runfolder": "storage",
    "selftrain.snapshots": "storage",
}
ROOMS = ("strategies", "data", "pretrain", "wrapper", "cli")  # of their own; what else is in selftrain/ is core
ALL = {"front", "engine", "storage", "core", *ROOMS, "examples"}
MAY_IMPORT = {
    "core": {"core"},
    "strategies": {"core"},
    "pretrain": {"core", "pretrain"},
    "data": {"data"},  # and DATA_MAY_IMPORT
    "storage": {"core", "storage"},
    "engine": {"core", "storage", "engine"},
    "wrapper": {"core", "wrapper"},
    "front": ALL - {"examples"},
    "cli": ALL - {"examples"},
    "examples": ALL,
    "benchmarks": ALL,
}
DATA_MAY_IMPORT = {"selftrain.types", "selftrain.errors"}

# Libraries that a layer may load at once, and those it may load only where it needs them (inside a function).
EAGER = {
    "core": {"torch", "numpy", "sklearn"},
    "strategies": {"torch", "numpy"},
    "pretrain": {"torch", "numpy"},
    "data": {"torch", "numpy"},
    "storage": {"torch", "numpy"},
    "engine": {"torch", "numpy", "tqdm"},
    "wrapper": {"numpy", "sklearn"},
    "front": {"torch", "numpy", "sklearn"},
    "cli": {"torch", "numpy", "jsonargparse"},
}
LAZY = {
    "core": {"pandas", "pyarrow", "safetensors", "scipy"},
    "pretrain": {"timm"},
    "data": {"albumentations", "cv2", "pandas", "PIL", "sklearn", "torchvision"},
    "storage": {"PIL", "matplotlib", "safetensors", "tensorboard"},
    "front": {"PIL", "onnx", "onnxruntime", "pandas", "safetensors"},
    "cli": {"scipy", "sklearn", "tomllib", "yaml"},
}
SWITCH = re.compile(r"if .*(strategy|method|dataset)(_name)? *==")


@dataclass(frozen=True)
class Import:
    """One imported module, where, and whether only inside a function."""

    module: str
    line: int
    lazy: bool


def layer(module: str) -> str:
    """The layer of one of our modules, by its full name."""
    if module in LAYER_OF:
        return LAYER_OF[module]
    top, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if top != "selftrain":
        return top
    return room if room in ROOMS else "core"


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[Import]:
    """Every import statement of a module; ``from a import b`` counts as ``a.b`` where that is a module of ours."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(name if name in MODULES else base, node.lineno, id(node) in inside)


def faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module does that its layer may not."""
    tree, here = ast.parse(source), layer(module)
    found = []
    for item in imports(tree, module, is_package):
        problem = _import_fault(item, module, here, is_package)
        if problem:
            found.append(f"{module}:{item.line}: {problem}")
    if here in ("engine", "storage", "core", "data", "strategies", "pretrain"):
        found += [f"{module}:{line}: asks for a name" for line in switches(source, tree)]
    return found


def _import_fault(item: Import, module: str, here: str, is_package: bool) -> str | None:
    top = item.module.partition(".")[0]
    if top in ("strategies", "data") and top not in sys.stdlib_module_names:
        return f"imports {item.module} under its bare name; write selftrain.{item.module}"
    if top == "selftrain":
        return _inner_fault(item.module, module, here, is_package)
    if top in sys.stdlib_module_names or here not in EAGER or top in EAGER[here]:
        return None
    if top in LAZY.get(here, set()):
        return None if item.lazy else f"loads {top} at once; import it inside the function that needs it"
    return f"loads {top}, which {here} may not"


def _inner_fault(target: str, module: str, here: str, is_package: bool) -> str | None:
    there = layer(target)
    if there in MAY_IMPORT[here] or (here == "data" and target in DATA_MAY_IMPORT):
        return None
    if is_package and target.startswith(f"{module}."):  # a package's __init__ exports its own modules
        return None
    return f"{here} may not import {target} ({there})"


def switches(source: str, tree: ast.Module) -> list[int]:
    """Lines that compare a strategy, method or data set with a name."""
    lines = {number for number, line in enumerate(source.splitlines(), 1) if SWITCH.search(line)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(_names_a_kind(s) for s in sides) and any(_is_text(s) for s in sides):
                lines.add(node.lineno)
        elif isinstance(node, ast.Match) and _names_a_kind(node.subject):
            lines.add(node.lineno)
    return sorted(lines)


def _names_a_kind(node: ast.expr) -> bool:
    """``strategy``, ``self.dataset_name``, ``type(strategy).__name__`` and the like."""
    kind = r"(.*_)?(strategy|method|dataset)(_name)?"
    words = [
        n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute)
    ]
    return any(re.fullmatch(kind, word) for word in words)


def _is_text(node: ast.expr) -> bool:
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return any(isinstance(p, ast.Constant) and isinstance(p.value, str) for p in parts)


def modules() -> dict[str, Path]:
    """Every module of ours by its full name."""
    found = {}
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([name, *(p for p in parts if p != "__init__")])] = path
    for folder in ("examples", "benchmarks"):
        found |= {f"{folder}.{path.stem}": path for path in sorted((ROOT / folder).glob("*.py"))}
    return found


MODULES = modules()


def test_the_table_knows_every_room():
    assert {layer(m) for m in MODULES} <= set(MAY_IMPORT)
    for room in ("selftrain.tasks", "selftrain.engine", "selftrain.pretrain.masked", "selftrain.strategies.fixmatch"):
        assert room in MODULES
    assert len(MODULES) > 40


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports(module):
    path = MODULES[module]
    assert faults(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("selftrain.strategies.new", "from selftrain.strategies.fixmatch import FixMatch"),
        ("selftrain.strategies.new", "from selftrain.strategies import FixMatch"),
        ("selftrain.strategies.new", "from . import fixmatch"),
        ("selftrain.strategies.new", "from .fixmatch import FixMatch"),
        ("selftrain.strategies.new", "from selftrain import engine"),
        ("selftrain.strategies.new", "from selftrain import fit"),
        ("selftrain.strategies.new", "def f():\n    from selftrain.data import load"),
        ("selftrain.strategies.new", "import strategies.fixmatch"),
        ("selftrain.strategies.new", "import pandas"),
        ("selftrain.engine", "from selftrain.strategies.supervised import Supervised"),
        ("selftrain.engine", "import selftrain.data.pile"),
        ("selftrain.engine", "from selftrain.pretrain import MAE"),
        ("selftrain.engine", "def f(strategy_name):\n    if strategy_name == 'fst': pass"),
        ("selftrain.engine", "ok = type(self.strategy).__name__ in ('FixMatch', 'MeanTeacher')"),
        ("selftrain.engine", "match run.method:\n    case 'fst': pass"),
        ("selftrain.tasks", "from selftrain.engine import fit"),
        ("selftrain.tasks", "from selftrain.pretrain.vit import ViT"),
        ("selftrain.tasks", "import tensorboard"),
        ("selftrain.build", "from safetensors.torch import load_file"),
        ("selftrain.board", "from selftrain.engine import Run"),
        ("selftrain.data.new", "from selftrain.tasks import Task"),
        ("selftrain.data.new", "from selftrain import types, tasks"),
        ("selftrain.data.new", "from data.pile import Pile"),
        ("selftrain.data.new", "import albumentations"),
        ("selftrain.data.new", "if dataset == 'cifar10': pass"),
        ("selftrain.pretrain.new", "from ..engine import fit"),
    ],
)
def test_a_fault_is_found(module, source):
    assert len(faults(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("selftrain.strategies.new", "from selftrain.solo import SoloStrategy"),
        ("selftrain.strategies.new", "from ..solo import SoloStrategy"),
        ("selftrain.data.new", "from selftrain.types import View\nfrom selftrain.data.samples import Samples"),
        ("selftrain.data.new", "def f():\n    import albumentations"),
        ("selftrain.engine", "settings = {'strategy': type(strategy).__name__}\nif mode == 'best': pass"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert faults(source, module) == []


def test_exports_of_a_package_may_name_its_own_modules_only():
    source = "from selftrain.strategies.fixmatch import FixMatch"
    assert faults(source, "selftrain.strategies", is_package=True) == []
    assert faults("from selftrain.data.pile import Pile", "selftrain.strategies", is_package=True)


def test_no_module_is_loaded_twice_under_a_bare_name():
    script = f"""
import importlib, sys
for name in {sorted(m for m in MODULES if m.startswith("selftrain") and "__main__" not in m)!r}:
    importlib.import_module(name)
bare = [m for m in sys.modules if m.split(".")[0] in ("strategies", "data")]
assert not bare, bare
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "strategies" not in sys.modules  # nor has a test of this session done it
    assert "data" not in sys.modules


def test_git_sees_the_code_in_data():
    done = subprocess.run(["git", "check-ignore", "data/pile.py"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode != 0
