"""A folder is a layer: who may import whom, read from the source; and that no layer asks for the name of a method."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from paths import ROOT

FOLDERS = {"selftrain": "selftrain", "selftrain.strategies": "strategies", "selftrain.data": "data"}

# What each folder may import of selftrain beside itself; the files at its root are named one by one.
_NOUNS = {"types", "errors", "arguments", "schedule", "tasks", "mix", "metrics"}
_STUDENTS = _NOUNS | {"runtime", "runtime.distributed", "networks", "select", "strategy"}
_RUNS = _STUDENTS | {"storage", "labels", "evaluation", "handlers", "tensorboard"}
_FRONT = _RUNS | {
    "report",
    "engine",
    "strategies",
    "pretrain",
    "catalog",
    "data",
    "data.base",
    "data.views",
    "data.readers",
}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "arguments": set(),
    "types": {"errors", "arguments"},
    "schedule": {"types", "errors", "arguments"},
    "tasks": {"types", "errors", "arguments"},
    "mix": {"types", "errors", "tasks", "runtime", "runtime.distributed"},
    "metrics": {"types", "errors", "arguments"},
    "data.base": {"errors", "types"},
    "data.views": {"errors", "types", "data.base"},
    "data.loading": {"errors", "types", "data.base", "data.views"},
    # the pile; the readers make one
    "data": {"errors", "types", "arguments", "storage", "data.base", "data.views", "data.loading"},
    "data.readers": {"errors", "types", "storage", "data.base", "data.views", "data"},
    "data.checks": {"errors", "types", "data.base", "data.views", "data", "data.readers"},
    "runtime.distributed": {"types", "errors", "arguments"},
    "runtime": {"types", "errors", "runtime.distributed"},
    "storage": {"errors", "types"},
    "select": _NOUNS | {"runtime"},
    "networks": _NOUNS | {"runtime", "runtime.distributed", "storage"},
    "toy": _NOUNS | {"networks"},
    "strategy": _NOUNS | {"runtime", "networks", "select"},
    "labels": _STUDENTS | {"storage"},
    "evaluation": _STUDENTS | {"storage", "labels"},
    "evaluation.probing": _STUDENTS | {"storage", "labels", "evaluation"},
    "strategies": _STUDENTS | {"labels", "evaluation", "graph"},
    "pretrain": _STUDENTS,
    "pretrain.methods": {"networks", "schedule", "pretrain"},
    "handlers": _STUDENTS | {"storage", "labels", "evaluation"},
    "tensorboard": _STUDENTS | {"storage", "labels", "evaluation", "handlers"},
    "report": _RUNS | {"selftrain"},
    "engine": _RUNS | {"report"},
    "labels.page": _RUNS | {"report", "engine", "data"},
    "catalog": _STUDENTS | {"strategies", "pretrain", "data"},
    "front": _FRONT,
    "wrapper": {"errors", "arguments", "data.base"},
    "graph": {"errors", "wrapper"},
    "portfolio": {"errors", "storage", "wrapper", "graph"},
    "estimator": _FRONT | {"front", "wrapper", "portfolio"},
    "exporting": _FRONT | {"front", "estimator"},
    "pipeline": _FRONT | {"front"},
    "cli": _FRONT
    | {"front", "labels.page", "estimator", "exporting", "pipeline", "wrapper", "portfolio", "data.checks"}
    | {"selftrain"},
    "__main__": {"cli"},
}

# Libraries that a folder may load at once, and those that it may load only inside the function that needs them.
EAGER = {"torch", "numpy"}
EAGER_TOO = {"engine": {"tqdm"}, "handlers": {"tqdm"}, "wrapper": {"sklearn"}, "estimator": {"sklearn"},
             "graph": {"sklearn", "scipy"}, "portfolio": {"sklearn", "scipy", "tqdm"},
             "report": {"markupsafe"},
             "cli": {"jsonargparse"}}  # fmt: skip
LAZY = {"scipy", "sklearn", "safetensors"}
LAZY_TOO = {
    "data": {"filelock", "tqdm"},
    "data.base": {"cv2", "PIL"},
    "data.views": {"albumentations", "cv2"},
    "data.readers": {"PIL", "pandas", "pyarrow", "torchvision"},
    "data.checks": {"PIL"},
    "estimator": {"pandas"},
    "exporting": {"onnx", "onnxruntime"},
    "graph": {"pynndescent"},
    "labels": {"PIL", "pandas", "pyarrow"},
    "labels.page": {"PIL", "jinja2"},
    "report": {"PIL", "jinja2"},
    "networks": {"peft", "timm", "torchvision", "transformers", "huggingface_hub"},
    "storage": {"filelock", "pandas", "pyarrow", "yaml"},
    "tensorboard": {"PIL", "matplotlib", "tensorboard", "torchvision"},
    "cli": {"tomllib", "yaml"},
    "_compat": set(),
}
SWITCH = re.compile(r"if .*(strategy|method|dataset)(_name)? *==")


@dataclass(frozen=True)
class Import:
    """One imported module, where, and whether only inside a function."""

    module: str
    line: int
    lazy: bool


def modules() -> dict[str, Path]:
    """Every module of ours by its full name."""
    found = {}
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([name, *(p for p in parts if p != "__init__")])] = path
    return found


MODULES = modules()
PACKAGES = {module for module, path in MODULES.items() if path.name == "__init__.py"}


def folder_of(module: str) -> str:
    """The folder of a module, below selftrain; a file at the root stands for itself."""
    package = module if module in PACKAGES else module.rpartition(".")[0]
    return (module if package == "selftrain" else package).removeprefix("selftrain.")


def imports(tree: ast.Module, module: str) -> Iterator[Import]:
    """Every import statement of a module; ``from a import b`` counts as ``a.b`` where that is a module of ours."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    package = module if module in PACKAGES else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(name if name in MODULES else base, node.lineno, id(node) in inside)


def faults(source: str, module: str) -> list[str]:
    """What a module does that its folder may not."""
    tree, here = ast.parse(source), folder_of(module)
    found = [f"{module}:{item.line}: {problem}" for item in imports(tree, module) if (problem := fault(item, module))]
    if here.partition(".")[0] in ("engine", "storage", "data", "strategies", "strategy", "pretrain", "handlers"):
        found += [f"{module}:{line}: asks for a name" for line in switches(source, tree)]
    return found


def fault(item: Import, module: str) -> str | None:
    """What is wrong with one import."""
    here, top = folder_of(module), item.module.partition(".")[0]
    if top in ("strategies", "data"):
        return f"imports {item.module} under its bare name; write selftrain.{item.module}"
    if item.module == "selftrain._compat":  # for names that have changed
        return None
    if top == "selftrain":
        there = folder_of(item.module)
        exports = module in PACKAGES and item.module.startswith(f"{module}.")  # a package exports its own modules
        siblings = here == "strategies" and module not in PACKAGES
        if there == here and not siblings or exports or there in MAY_IMPORT.get(here, set()):
            return None
        if item.lazy and there in DOORS.get(module, ()):
            return None
        return None if siblings and item.module in VARIED.get(module, ()) else f"{here} may not import {item.module}"
    if top in sys.stdlib_module_names or top in EAGER | EAGER_TOO.get(here, set()):
        return None
    if top not in LAZY | LAZY_TOO.get(here, set()):
        return f"loads {top}, which {here} may not"
    return None if item.lazy else f"loads {top} at once; import it inside the function that needs it"


# What users hold opens doors to rooms above it, inside its methods.
DOORS = {
    "selftrain.engine.run": ("front", "exporting"),
    "selftrain.front.automatic": ("estimator", "portfolio"),
    "selftrain.front.door": ("portfolio",),
}
# A strategy may import the one it is, but for a part.
_FIXMATCH, _MEAN_TEACHER = ("selftrain.strategies.fixmatch",), ("selftrain.strategies.mean_teacher",)
VARIED: dict[str, tuple[str, ...]] = {
    "selftrain.strategies.adamatch": _FIXMATCH,
    "selftrain.strategies.flexmatch": _FIXMATCH,
    "selftrain.strategies.freematch": _FIXMATCH,
    "selftrain.strategies.unimatch_v2": ("selftrain.strategies.unimatch",),
    "selftrain.strategies.future": _MEAN_TEACHER,
    "selftrain.strategies.reviewer": _MEAN_TEACHER,
    "selftrain.strategies.softmatch": _FIXMATCH,
}


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


def test_every_folder_is_in_the_table_and_imports_downwards():
    assert {folder_of(m) for m in MODULES} - {"selftrain", "_compat"} == set(MAY_IMPORT)
    assert tuple(TopologicalSorter(MAY_IMPORT).static_order())  # raises CycleError
    found = [f for m, path in MODULES.items() for f in faults(path.read_text(encoding="utf-8"), m)]
    assert [f for f in found if not f.startswith("selftrain:")] == []


def test_the_root_holds_what_a_user_composes():
    files = sorted(path.stem for path in (ROOT / "selftrain").glob("*.py"))
    assert len(files) <= 10, files


def test_no_module_is_named_like_a_public_function():
    import selftrain as st

    functions = {name for name in st.__all__ if callable(getattr(st, name)) and not isinstance(getattr(st, name), type)}
    assert {"fit", "learner"} <= functions
    assert {m for m in MODULES if m.rpartition(".")[2] in functions} == set()


FAULTY = [
    ("selftrain.strategies.new", "from selftrain.strategies.fixmatch import FixMatch"),
    ("selftrain.strategies.new", "from selftrain.strategies import FixMatch"),
    ("selftrain.strategies.new", "from . import fixmatch"),
    ("selftrain.strategies.new", "from .fixmatch import FixMatch"),
    ("selftrain.strategies.new", "from selftrain import engine"),
    ("selftrain.strategies.new", "from selftrain import fit"),
    ("selftrain.strategies.new", "def f():\n    from selftrain.data import load"),
    ("selftrain.strategies.new", "import strategies.fixmatch"),
    ("selftrain.strategies.new", "import pandas"),
    ("selftrain.engine.loop", "from selftrain.strategies.supervised import Supervised"),
    ("selftrain.engine.loop", "import selftrain.data.pile"),
    ("selftrain.engine.loop", "from selftrain.pretrain import MAE"),
    ("selftrain.engine.loop", "def f(strategy_name):\n    if strategy_name == 'fst': pass"),
    ("selftrain.engine.loop", "ok = type(self.strategy).__name__ in ('FixMatch', 'MeanTeacher')"),
    ("selftrain.engine.loop", "match run.method:\n    case 'fst': pass"),
    ("selftrain.tasks.base", "from selftrain.engine import fit"),
    ("selftrain.tasks.base", "from selftrain.networks.vit import ViT"),
    ("selftrain.tasks.base", "import tensorboard"),
    ("selftrain.networks.optim", "from safetensors.torch import load_file"),
    ("selftrain.tensorboard.writer", "from selftrain.engine import Run"),
    ("selftrain.data.base.new", "from selftrain.tasks import Task"),
    ("selftrain.data.base.new", "from selftrain import types, tasks"),
    ("selftrain.data.pile", "from data.pile import Pile"),
    ("selftrain.data.views.image", "import albumentations"),
    ("selftrain.data.pile", "if dataset == 'cifar10': pass"),
    ("selftrain.pretrain.masked", "from ..engine import fit"),
]
RIGHT = [
    ("selftrain.strategies.fixmatch", "import torch\nfrom selftrain.types import Batch\nfrom selftrain import mix"),
    ("selftrain.engine.loop", "import json\nfrom selftrain.storage.checkpoint import load_newest"),
    ("selftrain.networks.optim", "def f():\n    from safetensors.torch import load_file"),
    ("selftrain.networks.timm", "def f():\n    import timm"),
    ("selftrain.pretrain.masked", "from selftrain.networks.patches import patchify"),
]


def test_faults_are_found_and_what_is_right_is_none():
    found = {(module, source): faults(source, module) for module, source in [*FAULTY, *RIGHT]}
    assert [case for case in FAULTY if len(found[case]) != 1] == []
    assert [(case, found[case]) for case in RIGHT if found[case]] == []
