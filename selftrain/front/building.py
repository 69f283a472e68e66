"""From settings to networks, strategies and stages: what ``train``, ``pretrain`` and ``compare`` build."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from selftrain.catalog import (
    EMBEDDING,
    METHODS,
    RECIPES,
    default_settings,
    make_part,
    make_recipe,
    make_strategy,
    method_of,
)
from selftrain.catalog import short_averages as short_averages_of
from selftrain.data import Pile, PointViews
from selftrain.engine.run import Run
from selftrain.engine.spec import open_run
from selftrain.engine.start import pretrained
from selftrain.engine.times import steps_per_epoch, total_steps
from selftrain.errors import SelftrainError, UsageError
from selftrain.front.naming import load_object, short_name, spec_of
from selftrain.networks.adapters import LoRA
from selftrain.networks.by_name import ENCODERS, make_encoder, make_network, network_name
from selftrain.networks.copying import copy_network
from selftrain.networks.foundation import Foundation
from selftrain.networks.optim import Training, learner
from selftrain.runtime.devices import find_device
from selftrain.storage.run_dir import RECORD, read_card
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import BatchPlan, InputKind

PRETRAINED = "pretrained:"  # stands before a name, folder or file of ``selftrain.pretrained``
FROZEN = "frozen:"  # the same, whose features alone are learned from
FEATURES = "features"  # folder beside the runs
DEVICE = "auto (the accelerator if there is one, else the CPU), gpu, or a name of torch such as cuda:1; null: the CPU"
STEPS = 1000  # of a stage that says neither steps nor epochs
NETWORKS = sorted({name for names in ENCODERS.values() for name in names})


@dataclass(frozen=True)
class Problem:
    """What networks and strategies must know of the data.

    Args:
        kind: ``"table"``, ``"image"``, ``"series"`` or ``"points"``.
        shape: Of one input.
        classes: Names.
        unlabeled: Number of unlabeled samples.
        steps: Of the stage.
        task: Class and arguments of the task, ``None`` where nothing is predicted.
    """

    kind: InputKind
    shape: tuple[int, ...]
    classes: list[str]
    unlabeled: int
    steps: int
    task: Mapping[str, Any] | None = None
    gaps: bool = False

    @property
    def sites(self) -> tuple[int, ...]:
        """Rows and columns of the answers of masks and joints."""
        if self.task is None:
            return ()
        found: tuple[int, ...] = make_part("task", self.task).output_shape(self.shape)[1:]
        return found

    @classmethod
    def of(cls, pile: Pile, steps: int) -> Problem:
        """The problem that a pile poses."""
        kind = cast("InputKind", kind_of(pile))
        unlabeled = len(pile.unlabeled or ())
        classes = [str(name) for name in pile.classes]
        return cls(kind, tuple(pile.card()["shape"]), classes, unlabeled, steps, gaps=pile.gaps)

    def posed_by(self, source: Run) -> Problem:
        """The same with the task that a run has learned."""
        task: Any = source.strategy.task
        kind = type(task)
        spec = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": dict(task.arguments)}
        return dataclasses.replace(self, task=spec)

    def posed(self, pile: Pile, spec: Mapping[str, Any] | None) -> Problem:
        """The same with the task that is said, or that the annotations of the pile pose.

        Raises:
            UsageError: the annotations are for another task.
            DataError: there is no annotation.
        """
        pile.require_labels()
        sets = (part for part in (pile.labeled, pile.validation, pile.test) if part is not None)
        given = next(
            (part.annotations for part in sets if part.annotations is not None), torch.zeros(1, dtype=torch.long)
        )
        joints = given.is_floating_point()
        form = "classification" if given.dim() == 1 else "keypoints" if joints else "segmentation"
        spec = spec or spec_of("task", form)
        make = load_object(spec["class_path"])
        if (make.has_classes, make.one_unit) != (not joints, given.dim() == 1):
            raise UsageError(f"--task {make.__name__}: the labels of {pile.source} are for {form}; leave --task out")
        # numel: joints are (N, K, 3), and labels of classes have no second axis
        sizes = {"classes": len(self.classes), "joints": given.shape[1:2].numel(), "size": list(self.shape[-2:])}
        sizes |= {"pairs": [list(pair) for pair in pile.pairs]} if pile.pairs else {}
        takes = inspect.signature(make).parameters
        said = {key: value for key, value in spec["init_args"].items() if (key, value) != ("pairs", None)}
        own = {key: value for key, value in sizes.items() if key in takes} | said
        with settings_checked():
            # built to be refused here if it must be; a run builds its own from the spec
            make(**own)
        return dataclasses.replace(self, task={"class_path": spec["class_path"], "init_args": own})


@contextmanager
def settings_checked() -> Any:
    """A setting out of its range is a fault of the command line, unlike data that cannot be used."""
    try:
        yield
    # first, since a DataError is a ValueError, too
    except SelftrainError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def kind_of(pile: Pile) -> str:
    """``"table"``, ``"image"``, ``"series"`` or ``"points"``."""
    # a cloud (N, 3) has as many axes as a series
    if isinstance(pile.views, PointViews):
        return "points"
    return {1: "table", 2: "series", 3: "image"}[len(pile.card()["shape"])]


def steps_of(settings: Mapping[str, Any], pile: Pile) -> int:
    """Steps of a stage: as given, or so many passes over the unlabeled (without any: the labeled) samples."""
    per_epoch = steps_per_epoch(len(pile.unlabeled or ()), len(pile.labeled or ()), plan_of(settings))
    with settings_checked():
        return total_steps(settings["epochs"], settings["steps"], per_epoch, STEPS)


def plan_of(settings: Mapping[str, Any]) -> BatchPlan:
    """The batches of a stage."""
    with settings_checked():
        return BatchPlan(**settings["plan"], seed=settings["seed"])


def with_few_labels(
    spec: Mapping[str, Any], given: Mapping[str, Any], pile: Pile, settings: Mapping[str, Any], steps: int
) -> dict[str, Any]:
    """The default strategy as it is where labels are few; masks and joints are many, of each sample.

    Args:
        spec: Class and all settings.
        given: Those that the line or a config file says, which stay.
        pile: The data.
        settings: Of the command.
        steps: Of the stage.
    """
    labeled, name = pile.labeled, short_name("strategy", spec)
    if labeled is None or labeled.annotations is None or labeled.annotations.dim() != 1:
        return dict(spec)
    drawn = steps * plan_of(settings).labeled
    found = default_settings(name, classes=len(pile.classes), labeled=len(labeled), drawn=drawn)
    own = {
        key: list(value) for key, value in found.items() if key not in given.get("init_args", {})
    }  # as a file has them
    return {"class_path": spec["class_path"], "init_args": {**spec["init_args"], **own}}


def training_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``Training``, with schedule and optimizer as functions."""
    made = {key: make_part(key, value) for key, value in settings.items() if key != "optimizer"}
    chosen = settings["optimizer"]
    if isinstance(chosen, Mapping):  # a class of torch.optim, which gets the parameters from the learner
        chosen = partial(load_object(chosen["class_path"]), **chosen["init_args"])
    elif chosen is not None and "." in chosen:
        chosen = load_object(chosen)
    if made["adapter"] is not None:
        made["adapter"] = LoRA(**made["adapter"])
    return made | {"optimizer": chosen}


def resolved_strategy(spec: Mapping[str, Any], given: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """A strategy with all its settings; averages that are not given are shortened to fit the stage.

    Args:
        spec: Class and all settings.
        given: Those that the line or a config file says.
        steps: Of the stage.
    """
    short = averages_for(load_object(spec["class_path"]), given.get("init_args", {}), steps)
    return {"class_path": spec["class_path"], "init_args": {**spec["init_args"], **short}}


def averages_for(make: Any, given: Mapping[str, Any], steps: int) -> dict[str, float]:
    """Averages of a published method that are not given, as long as fits a stage of so many steps."""
    # an average of the user's own class is the user's choice
    known = any(make is method.make for method in METHODS.values())
    return {key: value for key, value in (short_averages_of(make, steps) if known else {}).items() if key not in given}


def build_strategy(problem: Problem, spec: Mapping[str, Any], common: Mapping[str, Any]) -> SupervisedStrategy:
    """A strategy with its students; their start is drawn from torch's generator.

    Args:
        problem: What it is for.
        spec: Class and settings of the strategy.
        common: With ``network``, ``init_from`` and ``training``.
    """
    with settings_checked():
        training = Training(**training_of(common["training"]))
    settings = {key: torch.tensor(v) if key == "prior" and v is not None else v for key, v in spec["init_args"].items()}
    start = foundation(common)
    # of a frozen encoder the pile has the features, see ``normalized_for``
    network: Any = "linear" if start and start.frozen else start or _maker(common["network"])
    make, init_from = load_object(spec["class_path"]), None if start else common["init_from"]
    return strategy_for(problem, make, settings, network=network, init_from=init_from, training=training)


def strategy_for(
    problem: Problem, make: Any, settings: Mapping[str, Any], *, network: Any, init_from: Any, training: Training
) -> SupervisedStrategy:
    """A strategy with its students; their start is drawn from torch's generator.

    Args:
        problem: What it is for.
        make: Class of the strategy.
        settings: Of the strategy; parts may be text.
        network: See ``selftrain.networks.by_name.make_network``.
        init_from: See ``selftrain.learner``.
        training: Of the students.
    """
    task = make_part("task", problem.task)
    label_shape = task.output_shape(problem.shape)
    outputs = label_shape[0] * method_of(make).outputs

    # a function and no network: of a network the students of an ensemble would all start alike
    def fresh() -> nn.Module:
        return make_network(network, problem.kind, problem.shape, outputs, gaps=problem.gaps, sites=problem.sites)

    with settings_checked():
        return make_strategy(
            make,
            learner(fresh, init_from=init_from, training=training),
            settings,
            task=task,
            label_shape=label_shape,
            unlabeled=problem.unlabeled,
            steps=problem.steps,
        )


def source_of(pile: Pile, start: Any, *, trust: bool = False) -> Run | None:
    """The run with a head that a pile without labels is learned from; ``None``: there are labels, or no such run.

    Args:
        pile: The data.
        start: A run, or what may be the folder of one.
        trust: As of ``open_run``.
    """
    if pile.labeled is not None or start is None:
        return None
    if not isinstance(start, Run):
        if not isinstance(start, str | Path) or not (Path(start) / RECORD).is_file():
            return None
        start = open_run(start, trust=trust)
    learned = isinstance(start.strategy, SupervisedStrategy) and any(True for _ in start.strategy.learners())
    return start if learned else None


def seen_by(source: Run, pile: Pile) -> Pile:
    """A pile with the classes and the normalization of a run."""
    return pile.numbered_as(list(source.classes)).normalized_as(source.inputs)


def build_adapted_from(
    problem: Problem, spec: Mapping[str, Any], common: Mapping[str, Any], source: Run
) -> SupervisedStrategy:
    """As ``build_strategy``, from all that a run ships."""
    with settings_checked():
        training = Training(**training_of(common["training"]))
    return build_adapted(problem, load_object(spec["class_path"]), spec["init_args"], source, training)


def build_adapted(
    problem: Problem, make: Any, settings: Mapping[str, Any], source: Run, training: Training
) -> SupervisedStrategy:
    """A strategy whose students go on from all that a run ships; arguments as of ``strategy_for``."""
    task = make_part("task", problem.task)
    network = copy_network(source.network).cpu().requires_grad_(True)
    with settings_checked():
        return make_strategy(
            make,
            learner(network, trained=True, training=training),
            settings,
            task=task,
            label_shape=task.output_shape(problem.shape),
            unlabeled=problem.unlabeled,
            steps=problem.steps,
        )


def build_stage(problem: Problem, spec: Mapping[str, Any], common: Mapping[str, Any]) -> Strategy:
    """A stage of pretraining; arguments as of ``build_strategy``."""
    with settings_checked():
        encoder = make_encoder(_maker(common["network"]), problem.kind, problem.shape, gaps=problem.gaps)
        training = {key: value for key, value in training_of(common["training"]).items() if value is not None}
        return make_recipe(load_object(spec["class_path"]), encoder, spec["init_args"], training)


def network_for(problem: Problem, network: Any, *, init_from: str | None = None, recipe: Any = None) -> Any:
    """The network that ``--network`` means: a name in ``selftrain.estimator.ENCODERS``, a class, or ``module:name``.

    Args:
        problem: What it is for.
        network: ``"auto"``: one that fits.
        init_from: The stage.
        recipe: Class of the recipe that the network is pretrained with; most need tokens.
    """
    if is_pretrained(init_from):
        if network != "auto":
            raise UsageError(f"--init_from {init_from} brings its own network; leave --network out")
        return network
    if not isinstance(network, str) or ":" in network:
        return network
    with settings_checked():
        masked = recipe is not None and recipe not in [RECIPES[name] for name in EMBEDDING]
        return network_name(network, problem.kind, problem.shape, masked=masked, sites=problem.sites)


def is_pretrained(init_from: Any) -> bool:
    """Whether what a run starts from is an encoder of ``selftrain.pretrained`` (``pretrained:NAME``)."""
    return init_from is not None and init_from.startswith(PRETRAINED)


def foundation(settings: Mapping[str, Any]) -> Foundation | None:
    """The encoder that ``--init_from pretrained:NAME`` means; ``None``: another start.

    Raises:
        UsageError: there is none, or ``--frozen`` and the like without it.
    """
    start = settings["init_from"]
    if not is_pretrained(start):
        if settings.get("frozen"):
            raise UsageError(f"--frozen is for an encoder that is pretrained: say --init_from {PRETRAINED}NAME")
        return None
    with settings_checked():
        flags = (bool(settings.get(name)) for name in ("frozen", "download", "trust"))
        return _loaded(start.removeprefix(PRETRAINED), settings.get("init_size"), *flags)


def encoder(name: str, size: int | None, download: bool, trust: bool) -> Foundation:
    """An encoder at rest, for its features."""
    with settings_checked():
        return _loaded(name, size, True, download, trust)


@functools.cache  # every run of a comparison asks for it, and nobody writes into it: students are copies
def _loaded(name: str, size: int | None, frozen: bool, download: bool, trust: bool) -> Foundation:
    return pretrained(name, size=size, frozen=frozen, download=download, trust=trust)


def normalized_for(pile: Pile, settings: Mapping[str, Any], out: Path) -> Pile:
    """The pile with the normalization of the encoder that is handed on, where its card is there.

    Args:
        pile: As it was read.
        settings: Of the command.
        out: Its folder; features of a frozen encoder are kept beside it, in ``features``.
    """
    start = foundation(settings)
    if start is not None and start.frozen:
        print(f"features  of {start.name}, in {out.parent / FEATURES}", flush=True)
        return pile.encoded(start, cache=(out.parent / FEATURES).resolve(), device=device_of(settings))
    if start is not None:
        return pile.normalized_as(start)
    init_from = settings["init_from"]
    if init_from is None or not _has_card(Path(init_from)):
        return pile
    return pile.normalized_as(read_card(init_from)["input"])


def features_of(pile: Pile, settings: Mapping[str, Any], out: Path) -> Pile:
    """The plain features of what a command starts from, an encoder or a run; kept in ``features`` beside its folder."""
    start = settings["init_from"]
    flags = (bool(settings.get(name)) for name in ("download", "trust"))
    size = settings.get("init_size") if is_pretrained(start) else None
    made = encoder(start.removeprefix(PRETRAINED), size, *flags)
    return pile.encoded(made, views=0, cache=(out.parent / FEATURES).resolve(), device=device_of(settings))


def device_of(settings: Mapping[str, Any]) -> torch.device:
    """The device that an option names; ``null``: the CPU, see ``selftrain.runtime.devices.find_device``."""
    return find_device(settings.get("device") or "cpu")


def _maker(network: Any) -> Any:
    if isinstance(network, Mapping):
        return partial(load_object(network["class_path"]), **network["init_args"])
    return load_object(network) if ":" in network else network


def _has_card(path: Path) -> bool:
    return (path / "export.json").is_file() if path.is_dir() else path.with_suffix(".json").is_file()
