"""Tell whether two source trees train bit for bit alike: many small runs, one JSON file of their digests.

    cd OLD_TREE && python equal_runs.py --write before.json       # also --tree OLD_TREE from anywhere
    cd NEW_TREE && python equal_runs.py --against before.json     # exit status 1 where anything differs
    python equal_runs.py --against before.json --only keypoints   # runs with this word in their name
    python equal_runs.py --against before.json --skip state       # where a buffer was added or taken away on purpose

The tree is the folder in which Python is started, or ``--tree``; an installed (also an editable) selftrain is hidden.
Digests hold for one machine and one version of torch and numpy: write both sides on the same.

Only the public surface is used, and names inside strategies do not count: of a state the digests of its tensors are
kept, sorted, wherever they lie. Functions and classes whose module may move are looked up in the tree by their name.
Runs whose name begins with ``library/`` hold numbers, which are compared to 1e-6.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded: sums of several threads have no fixed order
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import dataclasses
import hashlib
import importlib
import json
import math
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
_PARSER.add_argument("--write", type=Path, metavar="FILE", help="write the digests of all runs")
_PARSER.add_argument("--against", type=Path, metavar="FILE", help="compare with the digests of another tree")
_PARSER.add_argument("--only", default="", metavar="WORD", help="only runs with this word in their name")
_PARSER.add_argument("--skip", action="append", default=[], metavar="PART", help="a part not to compare, such as state")
_PARSER.add_argument("--tree", type=Path, default=Path.cwd(), help="root of the tree; default: the current folder")
ARGUMENTS = _PARSER.parse_args()

TREE = ARGUMENTS.tree.resolve()
if not (TREE / "selftrain" / "__init__.py").is_file():
    _PARSER.error(f"{TREE} holds no selftrain; start in the root of a tree or give --tree")
# The finder of an editable install would give selftrain.strategies and selftrain.data from the tree it was made for.
sys.meta_path[:] = [
    finder for finder in sys.meta_path if not getattr(finder, "__module__", "").startswith("__editable__")
]
sys.path.insert(0, str(TREE))

import selftrain as st  # noqa: E402
from selftrain import data, pipeline, pretrain, strategies, toy, wrapper  # noqa: E402
from selftrain.mix import ClassMix, CutMix, KeypointMix, Mixup  # noqa: E402

Part = str | float | list[str]  # a digest, a number (of library functions), or the digests of the tensors of a state
Parts = dict[str, Part]
Make = Callable[[], Any]
Settings = dict[str, Any]

PLAN = st.BatchPlan(labeled=4, unlabeled_ratio=1.5, seed=5)  # of the toy's 24 unlabeled rows 6 a step, 4 steps an epoch
STEPS = 18
FIT: Settings = {"plan": PLAN, "steps": STEPS, "eval_every": 5, "progress": False}
TOLERANCE = 1e-6
RUNS: dict[str, Callable[[Path], Parts]] = {}


# -- digests -----------------------------------------------------------------------------------------------------------
def sha(content: str | bytes) -> str:
    """SHA-256 of a text or of bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def tensors(state: Any) -> Iterator[Tensor]:
    """Every tensor anywhere in a nested state."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, np.ndarray):
        yield torch.from_numpy(np.ascontiguousarray(state))
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from tensors(value)
    elif isinstance(state, (list, tuple, set)):
        for value in state:
            yield from tensors(value)


def of_tensor(tensor: Tensor) -> str:
    """Digest of dtype, shape and bytes, whatever the memory format."""
    plain = tensor.detach().cpu().contiguous()
    content = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return sha(f"{plain.dtype} {tuple(plain.shape)} ".encode() + content)


def of_state(state: Any) -> list[str]:
    """Digests of all tensors of a state, sorted: neither their names nor their order count."""
    return sorted(of_tensor(tensor)[:20] for tensor in tensors(state))


def of_named(weights: Mapping[str, Tensor]) -> str:
    """Digest of weights whose names are public, such as those that a run exports."""
    return sha(" ".join(f"{name} {of_tensor(weights[name])}" for name in sorted(weights)))


def of_figures(parts: Mapping[str, Mapping[str, float]]) -> str:
    """Digest of evaluation figures by part, unrounded; of ``accuracy/teacher`` the network's name does not count."""
    return sha(
        "\n".join(sorted(f"{p} {n.split('/')[0]} {float(v)!r}" for p, row in parts.items() for n, v in row.items()))
    )


def of_ledger(ledger: Any, folder: Path) -> str:
    """Digest of a ledger's CSV file."""
    return sha(ledger.to_csv(folder / "ledger.csv").read_bytes())


def of_arrays(**arrays: Any) -> Parts:
    """A digest for each array or tensor."""
    return {name: of_state([np.asarray(value)]) for name, value in arrays.items()}


def of_run(run: Any, folder: Path) -> Parts:
    """All that a self-training run leaves, wall times aside."""
    figures = {"best": run.best, "test": run.evaluate("test"), **run.last}
    return {
        "state": of_state(run.strategy.state_dict()),
        "figures": of_figures(figures),
        "export": of_named(run.export()),
        "ledger": of_ledger(run.ledger, folder),
    }


def of_stage(run: Any) -> Parts:
    """Weights of a label-free stage; its figures are singular values and neighbors, see ``library/``."""
    return {"state": of_state(run.strategy.state_dict()), "export": of_named(run.export())}


def numbers(found: Any, path: str = "") -> Parts:
    """The numbers of a nested record, by path."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        found = dataclasses.asdict(found)
    if isinstance(found, (bool, int, float)):
        return {path: float(found)}
    rows = found.items() if isinstance(found, Mapping) else enumerate(found) if isinstance(found, (list, tuple)) else ()
    parts: Parts = {}
    for key, value in rows:
        parts |= numbers(value, f"{path}.{key}".lstrip("."))
    return parts


# -- what may move -----------------------------------------------------------------------------------------------------
@cache
def _homes() -> dict[str, set[str]]:
    """Modules that define each top-level class and function of ``selftrain``."""
    homes: dict[str, set[str]] = {}
    root = TREE / "selftrain"
    for file in sorted(root.rglob("*.py")):
        module = ".".join(["selftrain", *file.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
        for name in re.findall(r"^(?:class|def) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            homes.setdefault(name, set()).add(module)
    return homes


def find(name: str) -> Any:
    """A class or function of the library by its name alone, wherever its module has gone."""
    homes = _homes().get(name, set())
    if len(homes) != 1:
        raise LookupError(f"{name} is defined in {sorted(homes) or 'no module'} of {TREE}")
    return getattr(importlib.import_module(next(iter(homes))), name)


# -- every method on the toys ------------------------------------------------------------------------------------------
def pile_of(kind: toy.Kind) -> Any:
    """The pile of a toy."""
    return toy.pile(kind)


def shape_of(kind: toy.Kind) -> tuple[int, ...]:
    """Shape of one sample's label."""
    return {"classification": (3,), "segmentation": (3, 12, 12), "keypoints": (2, 12, 12)}[kind]


def memory(kind: toy.Kind) -> Settings:
    """Settings of a label memory."""
    return {"unlabeled": 24, "label_shape": shape_of(kind)}


def unless_joints(kind: toy.Kind, **settings: Any) -> Settings:
    """Settings about class priors, which joints have none of."""
    return settings if kind == "keypoints" else {}


def frozen_labels(kind: toy.Kind) -> Settings:
    """Labels that another fresh network gives the whole pile."""
    torch.manual_seed(7)
    teacher = strategies.Supervised(toy.task(kind), toy.learner(kind), decay=None)
    return {"labels": st.label_pile(teacher, pile_of(kind))}


def bank(kind: toy.Kind) -> Settings:
    """Settings of soft labels."""
    return memory(kind) | {"min_labeled": 4} | unless_joints(kind, prior_weight=0.0)


def flex(kind: toy.Kind) -> Settings:
    """Settings of FlexMatch, which has a memory of units."""
    units: dict[str, tuple[int, ...]] = {"classification": (), "segmentation": (12, 12), "keypoints": (2,)}
    return {"unlabeled": 24, "units": units[kind], "threshold": 0.5}


def fixed(**settings: Any) -> Callable[[toy.Kind], Settings]:
    """Settings that are the same for each kind of task."""
    return lambda kind: dict(settings)


METHODS: dict[str, tuple[str, Callable[[toy.Kind], Settings]]] = {  # class, settings; see tests/zoo.py
    "supervised": ("Supervised", fixed()),
    "pseudo_label": ("PseudoLabel", fixed()),
    "mean_teacher": ("MeanTeacher", fixed()),
    "fixmatch": ("FixMatch", lambda kind: {"select": st.select.top(0.7)}),
    "fst": ("FutureSelfTraining", fixed()),
    "fst_d": ("FutureSelfTraining", fixed(depth=3)),
    "fst_code": ("FutureSelfTraining", fixed(depth=2, faithful="code")),
    "fst_w": ("WideFutureSelfTraining", fixed(width=2)),
    "soft_labels": ("SoftLabels", bank),
    "ensemble": ("Ensemble", fixed(quorum=0.6)),
    "pi_model": ("PiModel", fixed()),
    "temporal_ensembling": ("TemporalEnsembling", memory),
    "vat": ("VAT", fixed()),
    "uda": ("UDA", lambda kind: {"select": st.select.top(0.7)}),
    "mixmatch": ("MixMatch", fixed()),
    "flexmatch": ("FlexMatch", flex),
    "freematch": (
        "FreeMatch",
        lambda kind: {"limits": (0.0, 0.05)} | unless_joints(kind, fairness_weight=0.0),
    ),
    "softmatch": ("SoftMatch", lambda kind: unless_joints(kind, uniform=False)),
    "adamatch": ("AdaMatch", lambda kind: unless_joints(kind, aligned=False)),
    "two_heads": ("TwoHeadedMeanTeacher", fixed()),
    "reviewer": ("ReviewedTeacher", fixed()),
    "jointmatch": ("JointMatch", fixed(threshold=0.2)),
    "cps": ("CrossPseudoSupervision", fixed()),
    "noisy_student": ("NoisyStudent", frozen_labels),
    "curriculum_labeling": ("CurriculumLabeling", frozen_labels),
}


def build(method: str, kind: toy.Kind, *, student: Settings | None = None, **settings: Any) -> Any:
    """A fresh strategy on a toy; ``student`` are settings of ``toy.learner``."""
    name, own = METHODS[method]
    merged = own(kind) | settings
    outputs = 2 if method == "two_heads" else 1
    torch.manual_seed(0)
    return getattr(strategies, name)(toy.task(kind), toy.learner(kind, outputs=outputs, **(student or {})), **merged)


def on_toy(method: str, kind: toy.Kind, folder: Path, *, student: Settings | None = None, more: Any = dict) -> Parts:
    """Train a method on a toy; ``more`` makes further settings of the strategy."""
    return of_run(st.fit(build(method, kind, student=student, **more()), pile_of(kind), **FIT), folder)


RUNS |= {f"{kind}/{method}": partial(on_toy, method, kind) for kind in toy.KINDS for method in METHODS}


def align(kind: toy.Kind, **settings: Any) -> Any:
    """Distribution alignment."""
    return find("Align")(toy.task(kind), **settings)


# Every rule, alignment, mix and option, in one method that shows it. C, S, K: the kinds of task.
C, S, K = toy.KINDS
FIX, GIVEN = "fixmatch", torch.tensor([0.5, 0.25, 0.25])
OPTIONS: dict[str, tuple[str, toy.Kind, Make]] = {
    "select/everything": (FIX, C, lambda: {"select": st.select.everything()}),
    "select/above": (FIX, C, lambda: {"select": st.select.above(0.4)}),
    "select/quantile": (FIX, C, lambda: {"select": st.select.quantile(0.5)}),
    "select/flex linear": (FIX, C, lambda: {"select": st.select.flex(24, 3, mapping="linear", warmup=False)}),
    "select/free": (FIX, C, lambda: {"select": st.select.free(3)}),
    "select/free quantile": (FIX, S, lambda: {"select": st.select.free(3, quantile=0.5)}),
    "select/soft": (FIX, C, lambda: {"select": st.select.soft(3)}),
    "select/relative": (FIX, C, lambda: {"select": st.select.relative(0.9)}),
    "select/class_wise": (FIX, C, lambda: {"select": st.select.class_wise(3, threshold=0.4)}),
    "select/look ahead": ("fst_d", C, lambda: {"select": st.select.free(3), "mix": CutMix()}),
    "align/uniform": (FIX, C, lambda: {"align": align(C)}),
    "align/labeled": (FIX, S, lambda: {"align": align(S, target="labeled")}),
    "align/given": (
        FIX,
        C,
        lambda: {"align": align(C, target=GIVEN, decay=0.9), "align_targets": False, "hard": False},
    ),
    "mix/mixup": (FIX, C, lambda: {"mix": Mixup()}),
    "mix/mixup per sample": (FIX, K, lambda: {"mix": Mixup(0.75, biased=True, per_sample=True)}),
    "mix/cutmix": (FIX, C, lambda: {"mix": CutMix()}),
    "mix/cutmix of pixels": (FIX, S, lambda: {"mix": CutMix()}),
    "mix/cutmix of joints": (FIX, K, lambda: {"mix": CutMix()}),
    "mix/classmix": (FIX, S, lambda: {"mix": ClassMix()}),
    "mix/keypoint mix": (FIX, K, lambda: {"mix": KeypointMix(0.3, pairs=2)}),
    "option/two passes": (FIX, C, lambda: {"together": False, "label_mode": "batch"}),
    "option/frozen statistics": (FIX, C, lambda: {"label_mode": "frozen", "buffers": "copy"}),
    "option/training statistics": (FIX, S, lambda: {"label_mode": "train", "decay": None}),
    "option/soft and sharp": (FIX, K, lambda: {"hard": False, "temperature": 0.5, "distance": "mse"}),
    "option/ramp": (FIX, C, lambda: {"rampup": st.ramp_linear(0.5, start=0.1), "unlabeled_weight": 3.0}),
    "option/teacher before": ("mean_teacher", S, lambda: {"order": "before", "distance": "ce"}),
    "option/teacher after": ("fst", S, lambda: {"teacher_after": True, "hard": True}),
}
RUNS |= {name: partial(on_toy, m, kind, more=make) for name, (m, kind, make) in OPTIONS.items()}

# How students are trained.
_ADAMW: Settings = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1}
STUDENTS: dict[str, tuple[str, Settings]] = {
    "student/accumulate": ("mean_teacher", {"accumulate": 3}),
    "student/accumulate, future": ("fst_d", {"accumulate": 2, "max_grad_norm": 0.5}),
    "student/accumulate, wide future": ("fst_w", {"accumulate": 2}),
    "student/accumulate, peers": ("jointmatch", {"accumulate": 2}),
    "student/adamw": ("fixmatch", _ADAMW | {"schedule": st.cosine(warmup=0.2, final=0.1)}),
    "student/bf16": ("fixmatch", {"precision": "bf16"}),
    "student/channels first": ("fixmatch", {"channels_last": False, "norm": False}),
}
RUNS |= {name: partial(on_toy, m, "classification", student=s) for name, (m, s) in STUDENTS.items()}


def entry(name: str) -> Callable[[Callable[[Path], Parts]], Callable[[Path], Parts]]:
    """Enter a function among the runs."""

    def enter(function: Callable[[Path], Parts]) -> Callable[[Path], Parts]:
        RUNS[name] = function
        return function

    return enter


# -- the engine --------------------------------------------------------------------------------------------------------
@entry("engine/baseline, self-check, snapshots")
def watched(folder: Path) -> Parts:
    """A run with all that watches it."""
    strategy = build("fixmatch", "classification")
    watching = {"baseline": True, "self_check": True, "snapshots": 3, "checkpoint_every": 4}
    run = st.fit(strategy, pile_of("classification"), out=folder / "run", **(FIT | watching))
    files = sorted((folder / "run" / "snapshots").glob("*.safetensors"))
    return of_run(run, folder) | {
        "baseline": of_figures(run.baseline or {}),
        "alarms": sha(repr(sorted((alarm.kind, alarm.step) for alarm in run.alarms))),
        "snapshots": [digest for file in files for digest in of_state(weights_in(file))],
        "number of snapshots": str(len(files)),
        "chosen": of_state(weights_in(st.select_snapshot(folder / "run"))),
    }


def weights_in(file: Path) -> Mapping[str, Tensor]:
    """Tensors of a safetensors file."""
    from safetensors.torch import load_file

    return load_file(file)


def resumed(method: str, kind: toy.Kind, stop: int, folder: Path) -> Parts:
    """A run that was stopped and resumed, which must be the whole one."""
    pile = pile_of(kind)
    whole = of_run(st.fit(build(method, kind), pile, **FIT), folder)
    place = folder / "run"
    st.fit(build(method, kind), pile, out=place, stop_after=stop, **FIT)
    run = st.fit(build(method, kind), pile, out=place, resume=True, **FIT)
    halves = of_run(run, folder)
    if halves != whole:
        raise AssertionError(f"stopped and resumed is not the whole: {differing(whole, halves)}")
    return halves


RUNS |= {
    "engine/resume, fst_d": partial(resumed, "fst_d", "classification", 7),
    "engine/resume, soft_labels": partial(resumed, "soft_labels", "segmentation", 5),
    "engine/resume, flexmatch": partial(resumed, "flexmatch", "keypoints", 9),
}


@entry("engine/continued")
def continued(folder: Path) -> Parts:
    """A run that continues another, whose figures before its first step are kept."""
    pile = pile_of("classification")
    first = st.fit(build("mean_teacher", "classification"), pile, **FIT)
    strategy = build("mean_teacher", "classification", student={"lr": 0.001})
    run = st.fit(strategy, pile, pretrain=first, monitor={"more": "test"}, **FIT)
    return of_run(run, folder) | {"before": of_figures(run.before or {})}


@entry("engine/init_from, moons")
def warm_start(folder: Path) -> Parts:
    """Points, a supervised stage first, then pseudo-labels from its weights."""
    pile: Any = toy.moons()
    task = st.Classification(2)
    torch.manual_seed(0)
    warm = st.fit(strategies.Supervised(task, st.learner(toy.mlp, lr=0.01)), pile, **FIT)
    make = st.learner(toy.mlp, lr=0.01, init_from=warm)
    run = st.fit(strategies.FreeMatch(task, make), pile, **FIT)
    return {f"warm {part}": digest for part, digest in of_run(warm, folder).items()} | of_run(run, folder)


@entry("engine/labels of the pile")
def table(folder: Path) -> Parts:
    """The labels of a frozen teacher, refined in all ways."""
    parts: Parts = {}
    for kind in toy.KINDS:
        torch.manual_seed(0)
        labels = st.label_pile(strategies.Supervised(toy.task(kind), toy.learner(kind)), pile_of(kind))
        kept = labels.above(0.35).normalized()
        refined = [kept if kind == "keypoints" else kept.balanced(max_copies=3.0), labels.top_percent(40).hard()]
        for made in (labels, *refined, labels.sharpened(0.5)):
            parts[f"{kind} {len(parts)}"] = of_state([made.value, made.weight, made.confidence, made.label])
    return parts


# -- real data, pretraining --------------------------------------------------------------------------------------------
SMALL = st.BatchPlan(labeled=16, unlabeled_ratio=2.0, seed=3)
SHORT: Settings = {"plan": SMALL, "steps": 12, "eval_every": 6, "progress": False}


@cache
def digits() -> Any:
    """Digits with 40 labels."""
    return data.load("digits", labels=40, seed=0)


def vit() -> nn.Module:
    """A small transformer of digits."""
    return pretrain.ViT(size=8, patch=2, width=32, depth=2)


def classifier() -> nn.Module:
    """A network of digits."""
    return st.Classifier(vit(), classes=10)


@entry("digits/mae, fixmatch")
def digits_mae(folder: Path) -> Parts:
    """Pretrain, then self-train from there, with decayed rates of the encoder's layers."""
    torch.manual_seed(0)
    stage = st.fit(pretrain.MAE(vit()), digits(), out=folder / "mae", **SHORT)
    make = st.learner(classifier, lr=1e-3, init_from=stage, layer_decay=0.75)
    strategy = strategies.FixMatch(st.Classification(10), make, select=st.select.above(0.3), mix=Mixup())
    run = st.fit(strategy, digits(), out=folder / "fixmatch", dashboard=False, **SHORT)
    return {f"stage {part}": digest for part, digest in of_stage(stage).items()} | of_run(run, folder)


def on_digits(method: str, folder: Path, *, workers: int = 0, **settings: Any) -> Parts:
    """A method on digits with a small ConvNet."""
    torch.manual_seed(0)
    network = lambda: st.Classifier(st.ConvEncoder(8, widths=(8, 16), embed_dim=24), classes=10)  # noqa: E731
    strategy = getattr(strategies, method)(st.Classification(10), st.learner(network, lr=3e-3), **settings)
    plan = dataclasses.replace(SMALL, workers=workers)
    pile = data.load("digits", labels=60, validation=20, seed=1)
    return of_run(st.fit(strategy, pile, **(SHORT | {"plan": plan})), folder)


RUNS |= {
    "digits/fst_w": partial(on_digits, "WideFutureSelfTraining", width=2),
    "digits/freematch, two workers": partial(on_digits, "FreeMatch", workers=2),
    "digits/ensemble": partial(on_digits, "Ensemble", quorum=0.6),
}


@entry("digits/joint")
def joint(folder: Path) -> Parts:
    """Labels, pseudo-labels and hidden patches in one stage; gradients of two losses, of two batches each, add up."""
    torch.manual_seed(0)
    make = st.learner(classifier, lr=1e-3, accumulate=2)
    inner = strategies.FixMatch(st.Classification(10), make, select=st.select.top(0.5))
    strategy = pretrain.Joint(inner, partial(pretrain.IJEPA, predictor_width=32), weight=0.5)
    return of_run(st.fit(strategy, digits(), **SHORT), folder)


def arrays(shape: Sequence[int], **settings: Any) -> Any:
    """A pile of 90 random inputs of three classes, 30 of them labeled."""
    y = np.arange(90) % 3
    noise = np.random.default_rng(0).random((90, *shape), dtype=np.float32)
    x = (noise + y.reshape(-1, *[1] * len(shape)).astype(np.float32)) / 3
    return data.Pile.from_arrays(x, np.where(np.arange(90) < 30, y, -1), x[:30], y[:30], validation=6, **settings)


def pictures() -> Any:
    """Images of 16 x 16 pixels."""
    return arrays((1, 16, 16), channels="first")


def series() -> Any:
    """Two channels of 32 numbers."""
    return arrays((2, 32), kind="series")


def points() -> Any:
    """Clouds of 24 points."""
    return arrays((24, 3), kind="points")


def rows() -> Any:
    """Rows of 8 features."""
    return arrays((8,))


def conv() -> nn.Module:
    """A small ConvNet of digits."""
    return st.ConvEncoder(8, widths=(8, 16), embed_dim=24)


STAGES: dict[str, tuple[Make, Make]] = {  # stage, data
    "MAE": (lambda: pretrain.MAE(conv(), mask_ratio=0.5), digits),
    "SARJEPA": (lambda: pretrain.SARJEPA(vit(), window=3, radii=(1,)), digits),
    "IJEPA": (lambda: pretrain.IJEPA(vit()), digits),
    "StoP": (lambda: pretrain.StoP(vit()), digits),
    "CNNJEPA": (lambda: pretrain.CNNJEPA(st.ConvEncoder(16, widths=(8, 16), embed_dim=24)), pictures),
    "AJEPA": (lambda: pretrain.AJEPA(vit()), digits),
    "ECGJEPA": (lambda: pretrain.ECGJEPA(pretrain.series_transformer(32, 2, 2, width=16, depth=2)), series),
    "TJEPA": (lambda: pretrain.TJEPA(pretrain.table_transformer(8, width=16, depth=2)), rows),
    "PointJEPA": (
        lambda: pretrain.PointJEPA(pretrain.point_transformer(24, groups=8, neighbors=6, width=24, depth=2)),
        points,
    ),
    "LeJEPA": (lambda: pretrain.LeJEPA(conv(), slices=32, projector=(32, 16)), digits),
    "SimCLR": (lambda: pretrain.SimCLR(conv(), projector=(32, 16)), digits),
    "VICReg": (lambda: pretrain.VICReg(conv(), projector=(32, 32)), digits),
    "UniSiam": (lambda: pretrain.UniSiam(conv()), digits),
}


def pretrained(make: Make, pile: Make, folder: Path) -> Parts:
    """A label-free stage."""
    torch.manual_seed(0)
    return of_stage(st.fit(make(), pile(), **(SHORT | {"steps": 8, "eval_every": 8})))


RUNS |= {f"pretrain/{name}": partial(pretrained, make, pile) for name, (make, pile) in STAGES.items()}


# -- around the engine -------------------------------------------------------------------------------------------------
@cache
def sklearn_digits(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Some of scikit-learn's digits, all but every eighth label hidden."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x[:count].astype(np.float32), np.where(np.arange(count) % 8 == 0, y[:count], -1)


def wrapped(make: Make, folder: Path) -> Parts:
    """A wrapper around a classifier of scikit-learn."""
    x, y = sklearn_digits()
    model = make().fit(x, y)
    seen = of_arrays(labels=model.transduction_, since=model.labeled_iter_, probabilities=model.predict_proba(x))
    return seen | {"history": sha(json.dumps(model.history_, default=lambda value: value.tolist()))}


def forest() -> Any:
    """A small random forest."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(15, random_state=0)


def bayes() -> Any:
    """Gaussian naive Bayes, which is quick."""
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(var_smoothing=0.1)


WRAPPERS: dict[str, Make] = {
    "bound": lambda: wrapper.SelfTraining(forest(), policy=wrapper.TransductiveBound(), max_rounds=3, random_state=0),
    "fixed": lambda: wrapper.SelfTraining(bayes(), policy=wrapper.Fixed(0.9), validation=0.2, random_state=0),
    "proportion": lambda: wrapper.SelfTraining(
        forest(), policy=wrapper.Proportion(), weighting="confidence", max_rounds=3, random_state=0
    ),
    "co-training": lambda: wrapper.CoTraining(bayes(), rounds=4, random_state=0),
    "tri-training": lambda: wrapper.TriTraining(forest(), max_rounds=2, random_state=0),
}
RUNS |= {f"wrapper/{name}": partial(wrapped, make) for name, make in WRAPPERS.items()}


def estimated(settings: Settings, folder: Path) -> Parts:
    """The estimator on digits; method and network are named, so that other defaults do not count."""
    x, y = sklearn_digits()
    model = st.SelfTrainClassifier(steps=12, random_state=0, **settings).fit(x, y)
    seen = of_arrays(labels=model.transduction_, since=model.labeled_iter_, probabilities=model.predict_proba(x))
    return seen | {"features": of_state([model.transform(x)]), "ledger": of_ledger(model.ledger_, folder)}


RUNS |= {
    "estimator/fst_d": partial(estimated, {"strategy": "fst_d", "network": "mlp", "validation": 0.25}),
    "estimator/fixmatch, members": partial(
        estimated,
        {"strategy": "fixmatch", "select": "above(0.5)", "network": "mlp", "members": 2, "on_alarm": "warn"},
    ),
    "estimator/pretrained": partial(
        estimated,
        {
            "strategy": "mean_teacher",
            "network": "mlp",
            "pretrain": st.PretrainedEncoder(recipe=pretrain.VICReg, steps=8),
        },
    ),
}


def run_of(stages: Sequence[Any], pile: Any, folder: Path) -> Parts:
    """A pipeline: the run that is shipped, and every table of labels."""
    done = pipeline.run_pipeline(stages, pile, plan=PLAN)
    labels = {name: of_state([t.value, t.weight]) for name, t in done.past.labels.items()}
    parts: Parts = {f"stage {name}": of_state(done.past[name].strategy.state_dict()) for name in done.past}
    return parts | {f"labels {name}": digest for name, digest in labels.items()} | of_run(done.run, folder)


def clouds_learner(**settings: Any) -> Any:
    """Students of the clouds."""
    return st.learner(partial(toy.mlp, 30), lr=0.01, **settings)


@entry("pipeline/noisy_student")
def noisy_student(folder: Path) -> Parts:
    """A teacher and two generations."""
    torch.manual_seed(0)
    steps = {"teacher": 8, "student": 8}
    stages = pipeline.noisy_student(st.Classification(2), clouds_learner, steps=steps, generations=2)
    return run_of(stages, toy.clouds(), folder)


@entry("pipeline/curriculum_labeling")
def curriculum(folder: Path) -> Parts:
    """Two rounds of ever more labels."""
    torch.manual_seed(0)
    steps = {"first": 8, "round": 8}
    stages = pipeline.curriculum_labeling(st.Classification(2), clouds_learner, steps=steps, rounds=2)
    return run_of(stages, toy.clouds(), folder)


@entry("pipeline/pseudo_first")
def pseudo_first(folder: Path) -> Parts:
    """Pseudo-labels first, clean labels last."""
    torch.manual_seed(0)
    steps = {"finetune": 8, "pseudo": 8, "last": 8}
    return run_of(pipeline.pseudo_first(st.Classification(2), clouds_learner, steps=steps), toy.clouds(), folder)


@entry("pipeline/complementary")
def complementary(folder: Path) -> Parts:
    """Pretrain, fine-tune, label, retrain, on digits."""
    torch.manual_seed(0)
    steps = {"pretrain": 5, "finetune": 5, "retrain": 5}
    make = partial(st.learner, classifier, lr=1e-3)
    stages = pipeline.complementary(st.Classification(10), make, pretrain=lambda: pretrain.MAE(vit()), steps=steps)
    return run_of(stages, digits(), folder)


# -- library functions: numbers, which another implementation may change in their last digits --------------------------
def too_sure(heat: float, count: int = 300) -> tuple[Tensor, Tensor]:
    """Probabilities of 4 classes that are too sure by ``heat``, and classes drawn from the right ones."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, 4, generator=generator)
    drawn = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return (heat * logits).softmax(1), drawn


@entry("library/calibration")
def calibration(folder: Path) -> Parts:
    """Temperatures, calibration errors, thresholds that keep a precision, exact bounds."""
    parts: Parts = {}
    for heat in (0.5, 1.0, 3.0):
        value, right = too_sure(heat)
        confidence, label = value.max(1)
        temperature = find("fit_temperature")(value, right)
        threshold = find("threshold_for_precision")(confidence, label == right, 0.8, level=0.9)
        found = {
            "temperature": temperature,
            "error": find("expected_calibration_error")(confidence, label == right),
            "scaled": find("apply_temperature")(value, temperature).max(1).values.mean().item(),
            "threshold": threshold,
        }
        parts |= numbers(found, f"heat {heat}")
    for right_ones, count in ((0, 5), (3, 10), (95, 100), (400, 1000), (7, 7)):
        parts |= numbers(find("clopper_pearson")(right_ones, count, 0.95), f"bounds of {right_ones} in {count}")
    return parts


@entry("library/estimated accuracy")
def estimate(folder: Path) -> Parts:
    """The accuracy of decisions that nobody has checked."""
    value, right = too_sure(1.5)
    confidence, label = value.max(1)
    found = find("estimate_accuracy")(confidence[:120], (label == right)[:120].double(), confidence[120:], draws=100)
    return numbers(found)


def quality(kind: toy.Kind, folder: Path) -> Parts:
    """What is known of the pseudo-labels of a run, and the ledger's own figures."""
    run = st.fit(build("ensemble", kind), pile_of(kind), **FIT)
    return numbers(run.quality().to_dict(), "quality") | numbers(run.ledger.summary(), "ledger")


RUNS |= {f"library/quality of {kind}": partial(quality, kind) for kind in toy.KINDS}


@entry("library/figures of features")
def features(folder: Path) -> Parts:
    """Figures of a label-free stage, and probes of plain features."""
    torch.manual_seed(0)
    run = st.fit(pretrain.MAE(vit()), digits(), **SHORT)
    pile = toy.clouds(labels=40)
    known, asked = (pile.parts[name] for name in ("labeled", "test"))
    sets = (pile.x[known], pile.annotation[known], pile.x[asked], pile.annotation[asked])
    probes = {name: find(name)(*sets) for name in ("ridge_probe", "logistic_probe", "knn_accuracy")}
    return numbers({"last": run.last, "rankme": find("rankme")(pile.x), "probes": probes})


# -- the comparison ----------------------------------------------------------------------------------------------------
def take(name: str) -> Parts:
    """Make one run; an error is what it leaves."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return RUNS[name](Path(folder))
    except Exception as error:  # a part of the tree that is broken must not hide the others
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def same(one: Part | None, other: Part | None) -> bool:
    """Whether two digests are equal, or two numbers nearly."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (one != one and other != other)
    return one == other


def differing(before: Parts, after: Parts) -> list[str]:
    """Parts of a run that are not the same."""
    return [part for part in sorted({*before, *after}) if not same(before.get(part), after.get(part))]


def told(part: str, before: Part | None, after: Part | None) -> str:
    """A difference in words: what an error says, how far numbers are apart, how many tensors are the same."""
    if isinstance(before, list) and isinstance(after, list):
        shared = sum((Counter(before) & Counter(after)).values())
        return f"{part}: {shared} tensors of {len(before)} are among {len(after)}"
    if part == "error" or isinstance(before, float) or isinstance(after, float):
        return f"{part}: {before} -> {after}"
    return part if before and after else f"{part}: {'new' if after else 'gone'}"


def compare(found: Mapping[str, Parts], expected: Mapping[str, Parts]) -> int:
    """Print a line for each run; returns the number of those that differ."""
    wrong = 0
    for name in dict.fromkeys([*expected, *found]):
        before, after = (
            {part: value for part, value in parts.get(name, {}).items() if part not in ARGUMENTS.skip}
            for parts in (expected, found)
        )
        parts = differing(before, after)
        wrong += bool(parts)
        details = "; ".join(told(part, before.get(part), after.get(part)) for part in parts)
        print(f"DIFFERS  {name}  ({details})" if parts else f"equal    {name}")
    return wrong


def check_tree() -> None:
    """Make sure that all of the library is from the tree."""
    for module in (st, strategies, data, pretrain):
        if TREE not in Path(str(module.__file__)).resolve().parents:
            raise SystemExit(f"{module.__name__} is from {module.__file__}, not from {TREE}")


def main() -> int:
    """Make the runs, then write or compare."""
    check_tree()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.simplefilter("ignore")
    os.fsync = lambda fd: None  # nothing here is to outlive a loss of power
    start, found = time.perf_counter(), {}
    for name in [name for name in RUNS if ARGUMENTS.only in name]:
        begin = time.perf_counter()
        found[name] = take(name)
        print(f"{time.perf_counter() - begin:6.2f} s  {name}", file=sys.stderr)
    print(f"{len(found)} runs in {time.perf_counter() - start:.0f} s from {TREE}")
    if ARGUMENTS.write:
        ARGUMENTS.write.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    failed = sum("error" in parts for parts in found.values())
    if failed:
        print(f"{failed} runs ended with an error, see above")
    if ARGUMENTS.against:
        expected = json.loads(ARGUMENTS.against.read_text(encoding="utf-8"))
        failed = compare(found, {name: parts for name, parts in expected.items() if ARGUMENTS.only in name})
        print(f"{failed} differ" if failed else f"all {len(found)} are equal")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
