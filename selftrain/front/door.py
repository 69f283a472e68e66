"""``selftrain.fit``: what names stand for and what follows from the pile, for the engine's ``fit`` of objects."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selftrain import data
from selftrain._compat import old_fit_keywords
from selftrain.arguments import shown
from selftrain.catalog import EMBEDDING, RECIPES, default_recipe, make_recipe
from selftrain.engine import loop
from selftrain.engine.run import Run
from selftrain.engine.spec import open_run
from selftrain.engine.times import EPOCHS, Checkpoints, Evaluation, steps_per_epoch, total_steps
from selftrain.errors import RunFolderError, UsageError
from selftrain.front import automatic, building
from selftrain.front.building import FEATURES, FROZEN
from selftrain.front.naming import PORTFOLIO, load_object, plain, spec_of
from selftrain.handlers import DataSummary, Handler, Progress
from selftrain.networks.by_name import make_encoder, network_name
from selftrain.networks.copying import copy_network
from selftrain.networks.foundation import Foundation
from selftrain.networks.optim import Training
from selftrain.runtime.devices import find_device
from selftrain.runtime.distributed import from_first, is_first, joined, own_device
from selftrain.runtime.rng import own_randomness
from selftrain.storage.lock import locked
from selftrain.storage.run_dir import RECORD, RUN_MARKS, claimed, remove_run
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import BatchPlan, Pile, plain_settings

FEWEST = 300  # steps of a stage of a strategy by name that says neither steps nor epochs
TRAINING = Training(lr=3e-3)  # of its students, as of those of ``SelfTrainClassifier``
_LIKE = {"strategy": "fixmatch", "recipe": "mae"}
PRETRAIN = "pretrain"  # folder inside that of the run


@old_fit_keywords
@plain_settings
def fit(
    strategy: Strategy | str | Callable[..., Any],
    pile: Pile,
    *,
    pretrain: Any = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    plan: BatchPlan | None = None,
    evaluation: Evaluation | None = None,
    checkpoints: Checkpoints | None = None,
    handlers: Sequence[Handler] = (),
    device: torch.device | str | None = "auto",
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool | None = False,
) -> Run:
    """Train a strategy on a pile.

    A strategy by its name gets task, number of classes and network from the pile; the first lines that are printed say
    which. ``"auto"`` trains no network: it tries many ways to learn from the rows, judges each on labels that it did
    not see, and ships their blend. A strategy that is built brings all of its own.

    SIGTERM and SIGINT: the step or the batch of an evaluation is finished, the state stored, then the program ends with
    status 143 or 130; a second signal ends it at once. Only in the main thread, and only where the program has no
    handlers of its own; handlers are given back at the end. Several processes that ``torchrun`` has started work
    together: see ``selftrain.runtime.distributed``.

    Args:
        strategy: A name (``"fixmatch"``, ``"fst_d(select='above(0.8)')"``), a class of ``selftrain.strategies`` or a
            ``functools.partial`` of one with settings, or a strategy that is built, with its students.
        pile: Labeled, unlabeled and, if there is one, validation data.
        pretrain: What a strategy by its name starts from: a stage by its name (``"mae"``, ``"mae(mask_ratio=0.6)"``),
            its class, or one that is built, which takes as many steps as the run, in the folder ``pretrain`` inside
            ``out``; a finished run, or its folder; ``"pretrained:NAME"``, an encoder of ``selftrain.pretrained``, all
            of whose weights learn; ``"frozen:NAME"``, the same left as it is: its features are computed once, kept in
            ``features`` beside ``out``, and a linear head learns; what ``selftrain.pretrained`` has given; or a list of
            stages after their start, one after the other. ``"auto"`` reads features of an encoder or a run. For a
            strategy that is built: a run of the same method and network, or its folder, whose weights it starts from:
            those of the student, of teachers, target encoders and predictors, and all thresholds and memories;
            optimizer, schedules and ledger start anew. That run is evaluated before the first step too, as
            ``Run.before``. For the same data give a small learning rate, a thirtieth to a hundredth of the first, and a
            short warm-up (DAP).
        out: Run folder for logs, checkpoints, pseudo-labels and weights; ``None``: nothing is stored.
        epochs: Passes over the unlabeled set; or
        steps: number of steps. One of the two; both ``None``: 10 epochs, for a strategy by its name 300 steps at least
            and 1,000 at most.
        plan: Batch sizes, seed, workers. The seed is that of the network's start, too, for a strategy by its name.
        evaluation: When the run is evaluated, on what beside the pile's own parts, and what an alarm does. ``None``:
            of a strategy by its name the test set is watched, which chooses nothing.
        checkpoints: When it is stored, and whether it stops before its end.
        handlers: What watches the run beside, or in place of, what does so anyway: ``NonFiniteGuard``,
            ``LedgerWriter``, ``SelfCheck``, ``MetricsLog``, ``TensorBoard``, ``DataSummary`` and ``Progress``; see
            ``selftrain.handlers``.
        device: Where to train: a name of torch, ``"gpu"`` for the accelerator, or ``"auto"`` for it where there is one,
            else the CPU; ``None``: where the strategy is.
        resume: Continue the run in ``out``, or the stage before it, exactly where its newest checkpoint is, or from the
            start if there is none yet.
        overwrite: Replace the run in ``out``.
        baseline: When the run is finished, also train the supervised baseline (``selftrain.handlers.baseline``) from
            the same start, on the same labels, steps and plan, in the folder ``baseline`` inside ``out``, and compare.
            ``None``: where its steps read less than a third of the rows that those of the run read.

    Returns:
        The run; its strategy is the one passed in, if it was built.

    Raises:
        UsageError: an unknown name, the message has the nearest one; or a device that is not there.
        RunFolderError: if another run is at work in ``out``, if it holds a run and neither ``resume`` nor ``overwrite``
            is set, if the run to resume was started with other settings, or if the folder cannot be written.
        DataError: from the data, before training starts.
        RankError: if another process has stopped, does not answer, or was given other data or arguments.
        TrainingError: if more steps in a row than ``NonFiniteGuard`` allows were not finite, if training the
            baseline changes the strategy, or at an alarm (``Evaluation(on_alarm="stop")``).
        CheckpointError: if the weights of ``pretrain`` do not fit the strategy.
        ValueError: for a number of steps below 1, a baseline of a strategy that has no step on labels alone or cannot
            be copied, or ``Training(speed="auto")`` of one that cannot be copied or among several processes.

    Warns:
        SelfTrainingWarning: the self-check found something wrong; the message says what to do.
    """
    more: dict[str, Any] = {"plan": plan, "evaluation": evaluation, "device": device, "overwrite": overwrite}
    if isinstance(strategy, Strategy):
        start = _run_alone(pretrain)
        if is_first():
            _clear_stages(out, overwrite=overwrite)
        more |= {"out": out, "epochs": epochs, "steps": steps, "checkpoints": checkpoints, "handlers": handlers}
        return loop.fit(strategy, pile, resume=resume, baseline=baseline, continue_from=start, **more)
    make, settings, title = _resolved("strategy", strategy)
    if not isinstance(pile, data.Pile):
        raise UsageError(
            f"pile is a {type(pile).__name__}; for a strategy by its name give a selftrain.data.Pile, such as "
            "data.Pile.from_arrays(x, y)"
        )
    plan = plan or BatchPlan()
    if f"{make.__module__}.{make.__qualname__}" == PORTFOLIO:  # to load it takes scikit-learn
        asked = {"steps": steps, "epochs": epochs, "baseline": baseline or None}
        more |= {"handlers": handlers, "resume": resume, "checkpoints": checkpoints}
        return _try_all(settings, pile, pretrain, out, asked, **more)
    per_epoch = steps_per_epoch(len(pile.unlabeled or ()), len(pile.labeled or ()), plan)
    total = total_steps(epochs, steps, per_epoch, min(building.STEPS, max(FEWEST, EPOCHS * per_epoch)))
    source = building.source_of(pile, pretrain)
    if source is not None:
        problem = building.Problem.of(building.seen_by(source, pile), total).posed_by(source)
    else:
        problem = building.Problem.of(pile, total).posed(pile, None)
    starts = _starts(pretrain, problem)
    stages = [start for start in starts if start.make is not None]
    network: Any = _network_name(stages, problem)
    where, checkpoints = own_device(find_device(device or "cpu")), checkpoints or Checkpoints()
    with joined(None, where):
        # files are looked at before the first run begins: by the first process, for all
        places = _places(out, len(stages))
        begun = from_first(lambda: _begun(places, resume=resume, overwrite=overwrite))
        if source is not None:  # it brings all
            pile, network = building.seen_by(source, pile), source.network
        elif len(stages) < len(starts):  # it brings the network
            pile, network = starts[0].brought(pile, out, where)
            problem = building.Problem.of(pile, total).posed(pile, None)
        title_of_start = ", then ".join(start.title for start in starts) or "scratch"
        said = "" if source is not None else f"{plan.labeled} labeled and "
        chosen = [
            f"strategy   {title}, {total:,} steps of {said}{plan.unlabeled} unlabeled rows",
            f"network    {network if isinstance(network, str) else type(network).__name__}, for {problem.kind} data",
            f"start      {title_of_start}{f', {total:,} steps' if stages else ''}",
        ]
        evaluation = _watching_test(evaluation, pile)
        more |= {"plan": plan, "steps": total, "evaluation": evaluation}
        for number, (start, place) in enumerate(zip(stages, places, strict=False)):
            with own_randomness(where):
                torch.manual_seed(plan.seed)
                stage = start.built(network, problem)
            run = loop.fit(
                stage,
                pile,
                out=place,
                resume=begun[number],
                handlers=_telling(handlers, chosen if number == 0 else None),
                checkpoints=replace(checkpoints, stop_after=None),
                **more,
            )
            network = _encoder_of(run)
        with own_randomness(where):
            torch.manual_seed(plan.seed)
            short = building.averages_for(make, settings, total)
            chosen_network = {"network": network, "init_from": None, "training": TRAINING}
            if source is None:
                made = building.strategy_for(problem, make, {**settings, **short}, **chosen_network)
            else:
                made = building.build_adapted(problem, make, {**settings, **short}, source, TRAINING)
        return loop.fit(
            made,
            pile,
            out=places[-1],
            resume=begun[-1],
            handlers=_telling(handlers, None if stages else chosen),
            checkpoints=checkpoints,
            baseline=baseline,
            **more,
        )


@dataclass(frozen=True)
class _Start:
    """What a strategy starts from: a stage that is to be trained (``make``), or weights that are there."""

    title: str
    make: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Run | None = None
    encoder: Foundation | None = None

    def whole(self) -> Foundation:
        """The encoder, or that of the run in its folder, by which features are found again."""
        if self.encoder is not None:
            return self.encoder
        if self.run is None or self.run.out is None:
            raise UsageError(f"pretrain is {self.title}, which has no folder; train it with out=FOLDER")
        found = building.foundation({"init_from": f"{building.PRETRAINED}{self.run.out}"})
        assert found is not None
        return found

    def built(self, network: Any, problem: building.Problem) -> Strategy:
        """The stage around a fresh encoder, or the one that the user has built."""
        if isinstance(self.make, Strategy):
            return self.make
        with building.settings_checked():
            return make_recipe(
                self.make, make_encoder(network, problem.kind, problem.shape, sites=problem.sites), self.settings
            )

    def brought(self, pile: data.Pile, out: str | Path | None, device: torch.device) -> tuple[data.Pile, Any]:
        """The pile as the weights have learned inputs, and the encoder with them; of a frozen one features and head."""
        if self.run is not None:
            return pile.normalized_as(self.run.inputs), _encoder_of(self.run)
        assert self.encoder is not None  # see ``_start``
        if self.encoder.frozen:
            return pile.encoded(self.encoder, cache=_features_beside(out), device=device), "linear"
        return pile.normalized_as(self.encoder), self.encoder


def _starts(given: Any, problem: building.Problem) -> list[_Start]:
    """What ``pretrain`` means.

    Raises:
        UsageError: weights that are there behind something, or a stage behind a frozen encoder.
    """
    several = given if isinstance(given, list | tuple) else [] if given is None else [given]
    starts = [_start(one, problem) for one in several]
    if any(start.make is None for start in starts[1:]):
        raise UsageError(f"pretrain is {[start.title for start in starts]}; what is trained already stands first")
    if starts[1:] and starts[0].encoder is not None and starts[0].encoder.frozen:
        raise UsageError(f"pretrain is {[start.title for start in starts]}; what is frozen stands alone")
    if problem.sites and starts and starts[0].encoder is not None and starts[0].encoder.frozen:
        raise UsageError(
            f"pretrain is {starts[0].title}, whose features are of whole pictures, and these labels are masks or "
            f"joints; say {building.PRETRAINED}NAME, or give selftrain.pretrained(NAME)"
        )
    return starts


def _start(given: Any, problem: building.Problem) -> _Start:
    """What one value of ``pretrain`` means."""
    if isinstance(given, Run):
        return _Start(f"the run {given.out or 'that was given'}", run=given)
    if isinstance(given, Strategy):
        return _Start(type(given).__name__, given)
    text = str(given)
    if isinstance(given, Foundation):
        return _Start(f"{'frozen ' * given.frozen}{given.name}", encoder=given)
    if isinstance(given, str) and (building.is_pretrained(given) or given.startswith(FROZEN)):
        how, _, name = given.partition(":")
        flags = {"init_from": f"{building.PRETRAINED}{name}", "frozen": f"{how}:" == FROZEN}
        return _Start(given, encoder=building.foundation(flags))
    if isinstance(given, Path) or isinstance(given, str) and (Path(given) / RECORD).is_file():
        return _Start(f"the run {text}", run=open_run(given))
    if given == "auto":
        given = default_recipe(problem.kind, problem.shape)
    make, settings, title = _resolved("recipe", given)
    return _Start(title, make, settings)


def _resolved(kind: str, given: Any) -> tuple[Any, dict[str, Any], str]:
    """How a strategy or a stage is made, its settings, and its name, of what a user writes for one."""
    if isinstance(given, str):
        if kind == "strategy" and given.partition("(")[0] in RECIPES:
            raise UsageError(f"{given!r} is a stage; say pretrain={given!r} beside a strategy, which starts from it")
        spec = spec_of(kind, given)
        if spec == given and "." in given.partition("(")[0]:
            spec = plain(load_object(given))
        if not isinstance(spec, Mapping):
            raise UsageError(f"no {kind} {given!r}; give a name such as {_LIKE[kind]!r}")
        return load_object(spec["class_path"]), dict(spec["init_args"]), given
    make, settings = (given.func, dict(given.keywords)) if isinstance(given, partial) else (given, {})
    # what is built has no name, such as a network or a learner
    if not callable(make) or not hasattr(make, "__name__") or isinstance(given, partial) and given.args:
        raise UsageError(
            f"{kind} is {shown(given)}; give a name such as {_LIKE[kind]!r}, a class, or functools.partial(CLASS, "
            "SETTING=VALUE)"
        )
    return make, settings, make.__name__


def _try_all(
    settings: Mapping[str, Any],
    pile: data.Pile,
    pretrain: Any,
    out: str | Path | None,
    asked: Mapping[str, Any],
    *,
    plan: BatchPlan | None,
    evaluation: Evaluation | None,
    checkpoints: Checkpoints | None,
    handlers: Sequence[Handler],
    device: torch.device | str | None,
    resume: bool,
    overwrite: bool,
) -> Run:
    """``fit("auto", ...)``: ``settings`` are those of the portfolio, ``asked`` what only networks have."""
    from selftrain.portfolio.portfolio import seconds
    from selftrain.portfolio.report import write_report

    plan = plan or BatchPlan()
    changed = [name for name, value in asked.items() if value is not None]
    sampled = ("labeled", "unlabeled_ratio", "rare_class_temperature")
    changed += [f"plan.{name}" for name in sampled if getattr(plan, name) != getattr(BatchPlan, name)]
    for name, value in (("evaluation", evaluation), ("checkpoints", checkpoints)):
        watched = () if value is None else [one.name for one in fields(value) if one.name not in ("monitor", "note")]
        changed += [f"{name}.{one}" for one in watched if getattr(value, one) != getattr(type(value), one)]
    automatic.check_settings(changed)
    starts = _starts(pretrain, building.Problem.of(pile, 1).posed(pile, None))
    if any(start.make is not None for start in starts):
        raise UsageError(
            f"pretrain is {[start.title for start in starts]}, and strategy 'auto' reads features of one encoder or "
            "run: train a stage first, stage = fit(...), and give its folder"
        )
    where, [goes_on] = find_device(device or "cpu"), _begun(_places(out, 0), resume=resume, overwrite=overwrite)
    if starts:
        pile = pile.encoded(starts[0].whole(), views=0, cache=_features_beside(out), device=where)
    pile = automatic.rows_of(pile)
    made = automatic.build(building.Problem.of(pile, 1).posed(pile, None), pile, settings, plan.seed)
    made.shipped.verbose = sys.stderr.isatty()
    takes = seconds(made.shipped.budget, len(pile.labeled or ()) + len(pile.unlabeled or ()))
    chosen = [
        f"strategy   auto, ways without a network, each judged on labels that it does not see: about {takes:.0f} s",
        f"start      {starts[0].title if starts else 'the rows themselves'}",
    ]
    run = loop.fit(
        made,
        pile,
        out=out,
        steps=1,
        plan=automatic.whole_plan(pile, plan),
        evaluation=_watching_test(evaluation, pile),
        checkpoints=checkpoints,
        handlers=_telling([Progress(False), *handlers], chosen),
        device=where,
        resume=goes_on,
        overwrite=overwrite,
    )
    if run.out is not None:
        write_report(run.out, made.candidates)
    return run


def _watching_test(evaluation: Evaluation | None, pile: data.Pile) -> Evaluation:
    """The evaluation of a strategy by its name: nothing said to the contrary, the test set is watched."""
    evaluation = evaluation or Evaluation()
    return (
        replace(evaluation, monitor={"test": pile.test})
        if pile.test is not None and not evaluation.monitor
        else evaluation
    )


def _features_beside(out: str | Path | None) -> Path | None:
    """Where features of frozen encoders are kept, as those of the command line are."""
    return None if out is None else (Path(out).parent / FEATURES).resolve()


def _network_name(stages: Sequence[_Start], problem: building.Problem) -> str:
    """The network that fits data and stages; most stages need one of tokens."""
    embedding = [RECIPES[name] for name in EMBEDDING]
    masked = any(start.make not in embedding for start in stages)
    return network_name("auto", problem.kind, problem.shape, masked=masked, sites=problem.sites)


def _places(out: str | Path | None, stages: int) -> list[Path | None]:
    """Folders of the stages and, last, of the run."""
    if out is None:
        return [None] * (stages + 1)
    names = [PRETRAIN] if stages == 1 else [f"{PRETRAIN}-{number + 1}" for number in range(stages)]
    return [*(Path(out) / name for name in names), Path(out)]


def _clear_stages(out: str | Path | None, *, overwrite: bool, kept: Sequence[Path | None] = ()) -> None:
    """Remove the stages of a run that is replaced, but for those that are ``kept`` or trained anew."""
    folder = Path(out) if overwrite and out is not None else None
    with locked(folder, create=False):
        for place in [] if folder is None else sorted(folder.glob(f"{PRETRAIN}*")):
            if place not in kept and re.fullmatch(rf"{PRETRAIN}(-\d+)?", place.name):
                remove_run(place)


def _begun(places: Sequence[Path | None], *, resume: bool, overwrite: bool) -> list[bool]:
    """Which runs go on; what may not be written is refused before the first of them takes hours."""
    there = [place is not None and any((place / mark).exists() for mark in RUN_MARKS) for place in places]
    for place, held in zip(places, there, strict=True):
        claimed(place, RUN_MARKS, "run", resume=resume and (held or not any(there)), overwrite=overwrite)
    if resume and there[-1] and not all(there):
        raise RunFolderError(f"the run in {places[-1]} was started without this stage before it; leave pretrain out")
    _clear_stages(places[-1], overwrite=overwrite, kept=places)
    return [resume and held for held in there]


def _telling(handlers: Sequence[Handler], chosen: Sequence[str] | None) -> list[Handler]:
    """The handlers, of which one says what was chosen; ``None``: it was said by the stage before."""
    given = next((handler for handler in handlers if isinstance(handler, DataSummary)), DataSummary())
    said = copy.copy(given)  # of its own class
    said.show, said.chosen = given.show and chosen is not None, [*given.chosen, *(chosen or ())]
    return [said, *(handler for handler in handlers if handler is not given)]


def _encoder_of(run: Run) -> nn.Module:
    """A copy of what a run hands on, with its weights."""
    strategy: Any = run.strategy
    network: Any = run.network if isinstance(strategy, SupervisedStrategy) else strategy.shipped()
    found: Any = network if hasattr(network, "embed_dim") else getattr(network, "encoder", None)
    if not hasattr(found, "embed_dim"):
        raise UsageError(f"the network of {run.out or 'this run'} has no encoder to start from; take another run")
    copied: nn.Module = copy_network(found)
    return copied.cpu().requires_grad_(True)


def _run_alone(pretrain: Any) -> Any:
    """The run that a strategy which is built starts from.

    Raises:
        UsageError: it is a stage.
    """
    if pretrain is None or isinstance(pretrain, Run | Path) or isinstance(pretrain, str) and Path(pretrain).is_dir():
        return pretrain
    raise UsageError(
        f"pretrain is {shown(pretrain)}, for a strategy by its name; one that is built starts from a run of its own "
        "kind, or from none: train the stage first, stage = fit(...), and build it with learner(init_from=stage)"
    )
