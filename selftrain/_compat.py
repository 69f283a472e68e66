"""Module paths of version 0.1 that have moved: they go on working, with a DeprecationWarning, until 1.0."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from inspect import signature
from types import ModuleType
from typing import Any, TypeVar, cast

MOVED = {
    "adaptive": "select.adaptive",
    "agreement": "evaluation.agreement",
    "align": "select.alignment",
    "baseline": "handlers.baseline",
    "board": "tensorboard.writer",
    "build": "networks.optim",
    "calibration": "evaluation.calibration",
    "carried": "engine.state",
    "catalog.recipes": "catalog.pretraining",
    "checkpoint": "storage.checkpoint",
    "cli.building": "front.building",
    "dashboard": "tensorboard",
    "dashboard.figures": "tensorboard.figures",
    "dashboard.held_out": "tensorboard.held_out",
    "dashboard.hparams": "tensorboard.hparams",
    "dashboard.mixes": "tensorboard.mixes",
    "dashboard.names": "tensorboard.class_names",
    "dashboard.projector": "tensorboard.projector",
    "dashboard.settings": "tensorboard.settings",
    "dashboard.show": "tensorboard.handler",
    "dashboard.speed": "tensorboard.speed",
    "dashboard.tags": "tensorboard.tags",
    "dashboard.tiles": "tensorboard.tiles",
    "data.albumentations_views": "data.views.albumentations",
    "data.arrayfiles": "data.readers.arrays",
    "data.assembling": "data.readers.assembling",
    "data.checking": "data.checks.checking",
    "data.checking_folders": "data.checks.image_folders",
    "data.childsignal": "data.loading.childsignal",
    "data.contents": "data.checks.contents",
    "data.datasets": "data.readers.datasets",
    "data.encoding": "data.readers.encoding",
    "data.evaluation": "data.loading.evaluation",
    "data.fetching": "data.loading.fetching",
    "data.files": "data.readers.files",
    "data.findings": "data.checks.findings",
    "data.folders": "data.readers.folders",
    "data.joined": "data.base.joined",
    "data.keyed": "data.base.random",
    "data.labels": "data.base.labels",
    "data.memory": "data.base.memory",
    "data.operations": "data.views.image_ops",
    "data.orders": "data.loading.orders",
    "data.paths": "data.readers.paths",
    "data.point_views": "data.views.points",
    "data.reading": "data.base.reading",
    "data.recipes": "data.views.presets",
    "data.samples": "data.base.samples",
    "data.scanning": "data.readers.scanning",
    "data.series_views": "data.views.series",
    "data.spectrogram": "data.views.spectrogram",
    "data.splits": "data.base.splits",
    "data.statistics": "data.base.statistics",
    "data.stored": "data.base.stored",
    "data.stream": "data.loading.stream",
    "data.table_views": "data.views.table",
    "data.tables": "data.readers.tables",
    "data.tabular": "data.readers.tabular",
    "data.workers": "data.loading.workers",
    "data.wrapped": "data.readers.wrapped",
    "estimate": "evaluation.accuracy_estimate",
    "estimator.networks": "networks.by_name",
    "folderlock": "storage.lock",
    "gradcheck": "handlers.gradcheck",
    "interrupt": "runtime.signals",
    "intervals": "metrics.intervals",
    "labelbank": "strategy.label_memory",
    "learner": "networks.student",
    "ledger": "labels.ledger",
    "ledgerfile": "labels.columns",
    "lesson": "strategy.pseudo_labeling",
    "noise": "metrics.significance",
    "objectives": "strategy.losses",
    "peers": "strategy.several",
    "pilelabels": "labels",
    "pilelabels.label": "labels.teacher_pass",
    "pilelabels.refine": "labels.refine",
    "pilelabels.storage": "labels.table_file",
    "pilelabels.table": "labels.table",
    "pipeline.recipes": "pipeline.presets",
    "pretrain.adapters": "networks.timm",
    "pretrain.distances": "pretrain.losses",
    "pretrain.geometry": "networks.token_grid",
    "pretrain.joint": "pretrain.joint_mode",
    "pretrain.patches": "networks.patches",
    "pretrain.positions": "networks.positions",
    "pretrain.recipes": "pretrain",
    "pretrain.sequence": "pretrain.draws",
    "pretrain.stage": "pretrain.base",
    "pretrain.tokenizers": "networks.tokenizers",
    "pretrain.twoview": "pretrain.joint_embedding",
    "pretrain.view_losses": "pretrain.losses",
    "pretrain.view_recipes": "pretrain",
    "pretrain.vit": "networks.vit",
    "probes": "metrics.features",
    "probing": "evaluation.probing",
    "probing.arrays": "evaluation.probing.arrays",
    "probing.compare": "evaluation.probing.judging",
    "probing.encoding": "evaluation.probing.encoding",
    "probing.few": "evaluation.probing.few",
    "probing.linear": "evaluation.probing.linear",
    "probing.results": "evaluation.probing.results",
    "probing.rivals": "evaluation.probing.rivals",
    "probing.scratch": "evaluation.probing.scratch",
    "quality": "evaluation.quality",
    "randomness": "runtime.rng",
    "ranks": "runtime.distributed",
    "ranks.group": "runtime.distributed.group",
    "ranks.norm": "runtime.distributed.sync_batchnorm",
    "ranks.programs": "runtime.distributed.collectives",
    "ranks.rows": "runtime.distributed.shard",
    "ranks.stream": "runtime.distributed.loader",
    "review": "labels.review",
    "reviewpage": "labels.page",
    "reviewpage.judge": "evaluation.judging",
    "reviewpage.page": "labels.page.html",
    "reviewpage.pictures": "labels.page.pictures",
    "reviewpage.source": "labels.page.source",
    "reviewpage.write": "labels.page.write",
    "rules": "select.base",
    "run": "engine.run",
    "runfolder": "storage.run_dir",
    "selfcheck": "handlers.selfcheck",
    "snapshots": "handlers.snapshots",
    "solo": "strategy.single",
    "tablefile": "storage.tables",
    "teacher": "networks.ema",
    "thumbnails": "labels.thumbnails",
}

# Names that have changed, by module; the module's ``__getattr__`` asks here, as does the alias of a moved module.
RENAMED = {
    "selftrain": {"PileLabels": "PseudoLabelTable"},
    "selftrain.data.readers": {
        name: f"selftrain.data.readers.decoding.{name}" for name in ("decode", "encoded_images", "read_idx", "to_bytes")
    },
    "selftrain.data.views": {
        "TensorViews": "selftrain.data.views.image.TensorViews",
        "ViewMaker": "selftrain.data.views.base.ViewMaker",
    },
    "selftrain.evaluation.probing": {"at_rest": "selftrain.networks.modes.eval_mode"},
    "selftrain.handlers.baseline": {"LabelsOnly": "SupervisedBaseline"},
    "selftrain.labels.table": {"PileLabels": "PseudoLabelTable"},
    "selftrain.pilelabels": {
        "PileLabels": "selftrain.labels.table.PseudoLabelTable",
        "label_pile": "selftrain.labels.teacher_pass.label_pile",
    },
    "selftrain.lesson": {"Lesson": "selftrain.strategy.pseudo_labeling.PseudoLabeling"},
    "selftrain.objectives": {
        "Guess": "selftrain.strategy.pseudo_labeling.PseudoLabel",
        "unmoved": "selftrain.tasks.unmoved",
    },
    "selftrain.peers": {"PeerStrategy": "selftrain.strategy.several.SeveralStudents"},
    "selftrain.rules": {
        "Evidence": "selftrain.select.ScoredBatch",
        "Select": "selftrain.select.Selector",
        "look": "selftrain.select.score",
    },
    "selftrain.select": {"Evidence": "ScoredBatch", "Select": "Selector", "look": "score"},
    "selftrain.solo": {"SoloStrategy": "selftrain.strategy.single.SingleStudent"},
    "selftrain.strategy.label_memory": {"LabelBank": "LabelMemory"},
}


# Keywords of ``fit`` in version 0.1, and what they were called there.
_FIT_KEYWORDS = ("on_alarm", "eval_every", "monitor", "checkpoint_every", "stop_after", "log_every", "self_check",
                 "snapshots", "progress", "dashboard", "skip_limit")  # fmt: skip
Function = TypeVar("Function", bound=Callable[..., Any])


def old_fit_keywords(fit: Function) -> Function:
    """Let ``fit`` take its keywords of version 0.1, with a DeprecationWarning that names the new ones."""

    @wraps(fit)
    def accepting(*given: Any, **settings: Any) -> Any:
        # a context and no handler: it is open before ``fit`` asks how many processes there are
        ranks = settings.pop("ranks", None)
        if ranks is not None:
            text = "ranks of fit will go in 1.0; call fit inside `with Ranks(...):`"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
        with ranks or nullcontext():
            if "continue_from" in settings and "continue_from" not in signature(fit).parameters:
                if settings.get("pretrain") is not None:
                    raise TypeError("continue_from is the old name of pretrain; give pretrain alone")
                settings["pretrain"] = settings.pop("continue_from")
                text = "continue_from of fit will go in 1.0; pass pretrain=... with the run"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
            # 3: the line that calls ``fit``, past this wrapper
            return fit(*given, **new_fit_keywords(settings, stacklevel=3))

    return cast(Function, accepting)


def new_fit_keywords(given: Mapping[str, Any], *, stacklevel: int) -> dict[str, Any]:
    """Keywords of ``fit`` with the present ones in place of those of version 0.1, and a DeprecationWarning if any."""
    old = {name: given[name] for name in _FIT_KEYWORDS if name in given}
    settings = {name: value for name, value in given.items() if name not in old}
    if not old:
        return settings
    # only here: these modules import this one for their own old names, and `import selftrain` does without torch
    times, handlers = import_module("selftrain.engine.times"), import_module("selftrain.handlers")
    words = []
    for keyword, kind, names in (
        ("evaluation", times.Evaluation, {"eval_every": "every", "monitor": "monitor"}),
        ("checkpoints", times.Checkpoints, {"checkpoint_every": "every", "stop_after": "stop_after"}),
    ):
        # ``None`` said the default in version 0.1; the new classes have it themselves
        chosen = {new: old[name] for name, new in names.items() if old.get(name) is not None}
        if any(name in old for name in names):
            if settings.get(keyword) is not None:
                both = ", ".join(name for name in names if name in old)
                raise TypeError(f"{both} is the old name of what {keyword} says; give {keyword} alone")
            settings[keyword] = kind(**chosen)
            words.append(f"{keyword}={kind.__name__}(...)")
    watchers = {"log_every": handlers.MetricsLog, "self_check": handlers.SelfCheck, "snapshots": handlers.Snapshots,
                "progress": handlers.Progress, "dashboard": import_module("selftrain.tensorboard").TensorBoard,
                "skip_limit": handlers.NonFiniteGuard}  # fmt: skip
    if "on_alarm" in old:  # it was beside `evaluation`, which goes on to say the rest
        settings["evaluation"] = replace(settings.get("evaluation") or times.Evaluation(), on_alarm=old["on_alarm"])
        words = [word for word in words if not word.startswith("evaluation")] + ["evaluation=Evaluation(...)"]
    made = [make(old[name]) for name, make in watchers.items() if name in old]
    if made:
        settings["handlers"] = [*settings.get("handlers", ()), *made]
        words.append(f"handlers=[{', '.join(f'{type(handler).__name__}(...)' for handler in made)}]")
    text = f"{', '.join(old)} of fit will go in 1.0; pass {', '.join(words)}"
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)
    return settings


def renamed(module: str, name: str) -> object:
    """What a module's old name means now; raises AttributeError for a name it never had."""
    new = RENAMED.get(module, {}).get(name)
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = new.rpartition(".")
    home = home or module
    # 3: whoever asks the module for the name, past the module's ``__getattr__``
    warnings.warn(f"{module}.{name} is {home}.{new} now; the old name goes in 1.0", DeprecationWarning, stacklevel=3)
    return getattr(import_module(home), new)


def old_method(old: str, new: str) -> Callable[..., Any]:
    """A method under its old name: it warns and calls the new one."""

    def call(self: Any, *values: Any, **settings: Any) -> Any:
        warnings.warn(f"{type(self).__name__}.{old} is {new} now; the old name goes in 1.0", DeprecationWarning, 2)
        return getattr(self, new)(*values, **settings)

    call.__doc__ = f"Old name of ``{new}``."
    return call


class _Alias(ModuleType):
    """A module under its old name: its names are those of the new one, read and written."""

    def __init__(self, name: str, moved: ModuleType) -> None:
        super().__init__(name, moved.__doc__)
        # by the dict: ``__setattr__`` writes into the new module
        self.__dict__["_moved"] = moved
        # Python looks for `selftrain.probing.linear` only below what has a path; in an empty one it finds nothing and
        # goes on to the finder of old paths
        if hasattr(moved, "__path__"):
            self.__dict__["__path__"] = []

    def __getattr__(self, name: str) -> object:
        moved = self.__dict__["_moved"]
        return getattr(moved, name) if hasattr(moved, name) else renamed(self.__name__, name)

    def __setattr__(self, name: str, value: object) -> None:
        # the import system writes ``__spec__`` and others; the new module has to keep its own
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            # a patch by the old path must reach the code that runs
            setattr(self.__dict__["_moved"], name, value)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_moved"])

    def __call__(self, *values: object, **settings: object) -> object:
        """``selftrain.learner`` was a module and a function: loading the module may not hide the function."""
        package, _, name = self.__name__.rpartition(".")
        # not by ``getattr``: importing this module has put it in the place of the function, and it would find itself
        return sys.modules[package].__getattr__(name)(*values, **settings)


class _Moved(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        return ModuleSpec(name, self) if package == "selftrain" and rest in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = f"selftrain.{MOVED[spec.name.partition('.')[2]]}"
        # 2: whoever imports, as warnings pass over the frames of importlib
        warnings.warn(f"{spec.name} is {new} now; the old name goes in 1.0", DeprecationWarning, stacklevel=2)
        return _Alias(spec.name, import_module(new))

    def exec_module(self, module: ModuleType) -> None:
        # nothing is run again: a second copy of a class would fail every ``isinstance``
        pass


def install() -> None:
    """Let old paths be found, after everything that is there."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
