"""How a run is built again from its folder: what ``fit`` writes down, and ``open_run``, which reads it.

A folder is data and not code. What its record names is found in the rooms below alone, and called only if it is a class
of the kind that belongs there; anything else is asked for as an object, or needs ``trust=True``.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import itertools
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

import torch
from torch import Tensor, nn

from selftrain import errors
from selftrain.engine.run import Fallback, Run, take_state
from selftrain.errors import CheckpointError, DataError, RunFolderError, SelftrainError, setting
from selftrain.evaluation.cross_fitted import FIELDS, CrossFitted
from selftrain.handlers.selfcheck import stored_alarms
from selftrain.labels.ledger import Ledger
from selftrain.networks.copying import copy_network
from selftrain.networks.described import Node, describe, fingerprint, settings_in_short
from selftrain.networks.formats import Formats, set_formats
from selftrain.networks.optim import learner
from selftrain.networks.student import Precision
from selftrain.runtime.attributes import Attributes
from selftrain.runtime.rng import own_randomness
from selftrain.storage import checkpoint
from selftrain.storage.atomic import write_json
from selftrain.storage.fields import COUNT, FIGURES, Number, check, read_fields
from selftrain.storage.run_dir import CANDIDATES, CARD, CHECKPOINTS, LABELS, RECORD, SETTINGS, is_replaced, read_card
from selftrain.storage.states import load_into
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import BatchPlan, Pile, Recorded, plain_settings

FORMAT = 2  # of the record; version 0.1 had none
_TABLE = "selftrain.data.readers.tables:from_table"
READERS = (  # they make a pile again
    _TABLE,
    "selftrain.data.readers.arrays:from_arrays_file",
    "selftrain.data.readers.datasets:load",
    "selftrain.data.readers.folders:from_folder",
    "selftrain.data.readers.masks:from_masks",
    "selftrain.data.readers.keypoints:from_keypoints",
)
# Where classes may come from: no room among them has one that reads code, starts a process or calls what it is given.
_ROOMS = (
    *(f"selftrain.{room}" for room in ("schedule", "tasks", "mix", "select", "networks", "strategies", "pretrain")),
    *("selftrain.strategy", "selftrain.handlers.baseline", "selftrain.labels.table", "selftrain.data.views"),
    *("selftrain.data.base.form", "selftrain.estimator.strategy"),
    *("torch.nn.modules", "torchvision.models", "torchvision.ops", "timm.models", "timm.layers"),
)
PACKAGES = ("selftrain", "torch", "torchvision", "timm")
_OPTIMIZERS = "torch.optim"
_FUNCTIONS = ("torch.nn.functional", "selftrain.pretrain.losses")  # of tensors alone
_HOLD_CODE = ("GraphModule", "ScriptModule")  # modules with code of their own
_FALLBACK = {"to": str, "step": COUNT, "alarms": [str], "message": str}
_SPEED = {"precision": (str, None), "channels_last": (bool, None), "compile": (bool, None), "told": str}
_RECORD = {
    "format": int,
    "strategy": dict,
    "networks": [str],
    "classes": [str],
    "source": str,
    "views": (dict, None),
    "pile": ({"reader": str, "settings": {str: object}, "reviewed": ([{str: (int, dict)}], ...)}, None),
    "note": {str: object},
    "fallback": (_FALLBACK, None, ...),
    "speed": (_SPEED, None, ...),
}
# What is stored of the state itself; strategy, ledger and handlers store themselves.
_SAID = {name: Tensor for name in ("index", "value", "weight")} | {"agreement": (Tensor, None)}
OWN_STATE: dict[str, Any] = {
    "step": COUNT,
    "samples": COUNT,
    "counts": ({str: COUNT}, None, ...),
    "seconds": Number(0),
    "left_out": [COUNT],
    "figures": {str: FIGURES},
    "best": FIGURES,
    "train": FIGURES,
    "best_state": (dict, None),
    "baseline": ({str: FIGURES}, None),
    "before": ({str: FIGURES}, None),
    "due": ({"random": object, "said": (_SAID, None)}, None),
    "sound": ({"step": COUNT, "strategy": dict}, None, ...),
    "fallback": (_FALLBACK, None, ...),
    "cross_fitted": (FIELDS, None, ...),
}
LATER = ("counts", "sound", "fallback", "cross_fitted")  # older checkpoints lack them
STATE = OWN_STATE | {
    "strategy": dict,
    "ledger": dict,
    "handlers": {str: dict},
    "attributes": ({str: {str: object}}, ...),
}
_CARRIED = ("best", "train", "seconds", "best_state", "baseline", "before")


# -- what fit writes down ----------------------------------------------------------------------------------------------
def settings_of(strategy: Strategy) -> dict[str, Any]:
    """What the user chose, in short: a run is resumed with the same only."""
    settings = settings_in_short(describe(strategy))
    rates = [[float(rate) for rate in learner.base_rates] for learner in strategy.learners()]
    return {"format": FORMAT, "strategy": type(strategy).__name__, "settings": settings, "learning_rates": rates}


def write_record(
    out: str | Path | None,
    strategy: Strategy,
    pile: Pile,
    note: Mapping[str, Any] | None,
    speed: Mapping[str, Any] | None = None,
) -> None:
    """Write down what the run is built again from, unless it is there: that of a run that goes on is as it began.

    Args:
        out: Run folder; ``None``: nothing is written.
        strategy: As it begins.
        pile: Its data.
        note: What the caller wants to find again in the folder.
        speed: The formats that its networks compute in, where they were tried.
    """
    if out is None or (Path(out) / RECORD).is_file():
        return
    origin = getattr(pile, "origin", None)  # a pile of the user's own kind has none
    if origin is not None:
        origin = origin | {"settings": {name: describe(value) for name, value in origin["settings"].items()}}
    encoder = getattr(pile, "encoder", None)
    encoder = encoder and {name: describe(value) for name, value in encoder.items()}
    views = describe(getattr(pile, "views", None))
    for name in {"mean", "std"} & (views or {}).get("settings", {}).keys():  # they were told, or made from the data
        views["settings"][name] = describe(getattr(pile.views, name))  # type: ignore[attr-defined]
    form: Any = getattr(pile, "form", None)
    record = {
        "format": FORMAT,
        "strategy": describe(strategy),
        # A network may be changed after it was built, which the calls that built it do not tell.
        "networks": [fingerprint(learner.model) for learner in strategy.learners()],
        "classes": [str(name) for name in pile.classes],
        "source": str(getattr(pile, "source", type(pile).__name__)),
        "data": list(getattr(pile, "summary_lines", list)()),  # for a person: what was read, and how
        "views": views,
        "pile": origin,
        "form": None if form is None else describe(dataclasses.replace(form, table=None)),  # the card has the table
        "encoder": encoder,
        "note": dict(note or {}),
        "speed": speed,
    }
    write_json(Path(out) / RECORD, record)


def note_fallback(folder: str | Path | None, fallback: Mapping[str, Any]) -> None:
    """Write down what a run ships in place of its last weights; ``None``: there is no folder."""
    if folder is not None:
        write_json(Path(folder) / RECORD, read_record(folder) | {"fallback": dict(fallback)})


def read_record(folder: str | Path) -> dict[str, Any]:
    """What ``write_record`` told of the run in a folder.

    Raises:
        RunFolderError: there is no run, it is of version 0.1, or the record cannot be read.
    """
    place = Path(folder)
    if not place.is_dir():
        raise RunFolderError(f"there is no run folder {place}; give that of a run, its {setting('out', of='')}")
    again = f"start it again with {setting('overwrite', True, of='')}"
    if is_replaced(place):
        raise RunFolderError(f"the run in {place} was being replaced by another one, which was stopped; {again}")
    if not (place / RECORD).is_file():
        if not (place / SETTINGS).is_file() and (place / CANDIDATES).is_file():
            raise RunFolderError(
                f"{place} has what an estimator has tried, and no run: keep the fitted estimator itself (pickle), or "
                "train with the command line (--strategy auto)"
            )
        if not (place / SETTINGS).is_file():
            raise RunFolderError(f"{place} holds no run")
        # settings of version 0.1 have no format; those of a run are written a moment before its record
        if '"format"' in (place / SETTINGS).read_text(encoding="utf-8", errors="replace"):
            raise RunFolderError(f"the run in {place} was stopped before it had begun; {again}")
        raise RunFolderError(
            f"{place} holds a run of selftrain 0.1, which this version cannot build again; use that version, or start "
            f"from the weights of a finished run: learner(init_from={str(folder)!r})"
        )
    path, deepest = place / RECORD, 500  # a network is a part of a part of a part
    form = read_fields(path, {"format": int}, again, deepest=deepest)["format"]
    if form != FORMAT:
        raise RunFolderError(f"{path} has format {form}, not {FORMAT}; use the version that wrote it")
    record: dict[str, Any] = read_fields(path, _RECORD, again, deepest=deepest)
    return record


# -- a run from its folder ---------------------------------------------------------------------------------------------
@plain_settings
def open_run(
    folder: str | Path,
    *,
    pile: Pile | None = None,
    network: nn.Module | Callable[[], nn.Module] | None = None,
    strategy: Strategy | None = None,
    trust: bool = False,
) -> OpenedRun:
    """Build a run again from its folder, with the weights of its last checkpoint, whoever started it.

    The strategy is built at once; the data and the ledger are read when they are asked for. Nothing in the folder is
    run: classes come from selftrain, torch, torchvision and timm.

    Args:
        folder: Run folder of ``fit``, the command line, an estimator or a stage of a pipeline.
        pile: Its data, where they cannot be read again (arrays in memory) or have moved; seen as the run saw inputs.
        network: The network, or a function that builds one, where its class is not of those four packages, or it was
            changed after it was built; for a stage of pretraining its encoder.
        strategy: The strategy, built alike, where it is of another kind; it takes the weights.
        trust: Import what else the folder names, which runs code of whoever wrote it; a warning says first what.

    Raises:
        RunFolderError: there is no run, or a part of it must be passed; the message says which and how.
        CheckpointError: weights that are missing, damaged, or do not fit.
    """
    place = Path(folder)
    build = _Builder(place, read_record(place), network, trust)
    if trust:
        build.warn_of_trust()
    state = checkpoint.load_newest(place / CHECKPOINTS)
    strategy = strategy or build.strategy()
    set_formats(strategy, build.formats())
    what, remedy = (
        f"the checkpoint in {place} does not fit its strategy",
        "build it as it was and pass it: strategy=...",
    )
    take_state(strategy, state.get("strategy"), what, remedy, whole=True)
    try:
        attributes = Attributes(strategy, [learner.optimizer for learner in strategy.learners()])
        attributes.load_state_dict(state.get("attributes", {}))
    except Exception as error:  # what objects make of their attributes raises whatever it does
        raise CheckpointError(f"{what}: {error}; {remedy}") from error
    # `run.network` may be called as it is: in training mode dropout would draw and BatchNorm would move.
    strategy.eval()
    try:
        check(state, STATE, "its state")
        return OpenedRun(place, strategy, pile, build, state)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint in {place} cannot be read: {error}") from error


class OpenedRun(Run):
    """A run from its folder: what is not there is asked for when it is needed.

    Attributes:
        source: Where its data were from, in a line.
    """

    def __init__(self, folder: Path, strategy: Strategy, pile: Pile | None, build: _Builder, state: Any) -> None:
        checked = state["handlers"].get("SelfCheck")
        super().__init__(
            strategy,
            pile,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            out=folder,
            last=state["figures"],
            alarms=[] if checked is None else stored_alarms(checked),
            unchecked={} if checked is None else checked["unchecked"],
            skipped=len(state["left_out"]),
            steps=state["step"],
            samples=state.get("counts") or {"validation": state["samples"]},
            fallback=None
            if state.get("fallback") is None
            else Fallback(**{name: state["fallback"][name] for name in _FALLBACK}),
            cross_fitted=CrossFitted.stored(state.get("cross_fitted")),
            **{name: state[name] for name in _CARRIED},
        )
        self.source = build.record["source"]
        self._folder, self._build, self._stored, self._passed = folder, build, state["ledger"], pile
        # what an encoder makes of the inputs of the card has another shape
        if build.record.get("encoder") is None:
            with contextlib.suppress(SelftrainError):  # a card that is gone is missed where it is needed
                shape = self.inputs["shape"]
                strategy.input_shape = None if shape is None else tuple(int(side) for side in shape)
        del self.pile, self.ledger  # they are read below, if someone asks

    def untrained(self, init_from: Any = None) -> Strategy:
        """The strategy of the run as it began, a new one each time.

        Args:
            init_from: What its students start from, as of ``learner``; ``None``: drawn weights, whatever the run had.

        Raises:
            RunFolderError: it cannot be built.
            CheckpointError: weights that do not fit.
        """
        made = self._build.strategy(init_from)
        set_formats(made, self._build.formats())
        return made

    def planned(self) -> tuple[int, BatchPlan]:
        """Steps of the run, and how its batches were cut.

        Raises:
            RunFolderError: the folder does not say.
        """
        again = f"start it again with {setting('overwrite', True, of='')}"
        told = read_fields(self._folder / SETTINGS, {"total_steps": COUNT, "plan": (dict, ...)}, again)
        plan = {name: value for name, value in told["plan"].items() if value is not None}
        return int(told["total_steps"]), BatchPlan(**plan)

    def _told_data(self) -> str:
        told = self._build.record.get("data") or [self.source]
        return str(told[0]).removeprefix("data").strip()

    def _ledger_figures(self) -> Mapping[str, float]:
        if "ledger" in vars(self):
            return self.ledger.summary()
        # without the data, which take time to read or are gone
        unnamed = Ledger([""] * len(self._stored["label"]), self.classes)
        load_into(unnamed, self._stored)
        return unnamed.summary()

    @property
    def inputs(self) -> Mapping[str, Any]:
        """As the run's card says."""
        found: Mapping[str, Any] = read_card(self._folder)["input"]
        return found

    @property
    def classes(self) -> Sequence[str]:
        """As the run's record says."""
        return list(self._build.record["classes"])

    @property
    def views(self) -> Any:
        """As the record says; those of the data where they are not all there is to know."""
        made = self._build.value(self._build.record["views"])
        return made if isinstance(made, Recorded) else getattr(self.pile, "views", None)

    @cached_property
    def form(self) -> Any:
        """As the record says; that of the data where the record is older."""
        told = self._build.record
        made = self._build.value((told.get("encoder") or told).get("form"))
        if not dataclasses.is_dataclass(made) or isinstance(made, type):
            return getattr(self.pile, "form", None)
        table = self.inputs.get("table")
        return made if table is None else dataclasses.replace(made, table=table)

    @property
    def encoder(self) -> tuple[Any, list[int]] | None:
        """As the record says."""
        made = self._build.encoder()
        return None if made is None else (made, [int(side) for side in self._build.record["encoder"]["shape"]])

    @cached_property
    def pile(self) -> Pile:  # type: ignore[override]
        """The data, with inputs and classes as the run saw them."""
        again = self._passed is None
        return self.shown(self._build.pile() if again else self._passed, strict=again)  # type: ignore[no-any-return]

    def shown(self, pile: Any, *, strict: bool = True, plain: bool = False, any_size: bool = False) -> Any:
        """A pile with inputs and classes as the run saw its own; one of the user's own kind as it is.

        Args:
            pile: It stays as it is.
            strict: Whether to refuse where the views of the run are not known; else those of the pile stay.
            plain: Whether features of the plain view are enough, where the run has learned from features.
            any_size: Whether pictures may have another height and width, as they are asked in windows.

        Raises:
            DataError: inputs of another shape, or a class that the run does not know.
        """
        if not hasattr(pile, "normalized_as"):
            return pile
        if isinstance(self.strategy, SupervisedStrategy):
            pile = pile.numbered_as(self.classes)
        pile = copy.copy(self._build.encoded(pile, plain=plain))
        self._build.show(pile, strict=strict)
        inputs = dict(self.inputs)
        try:
            if any_size and len(inputs["shape"]) == 3:
                inputs["shape"] = [inputs["shape"][0], *pile.card()["shape"][1:]]
            return pile.normalized_as(inputs)
        except SelftrainError:
            raise
        except Exception as error:  # makers of views raise what they will of a record that was damaged
            raise RunFolderError(f"the views of the run in {self._folder} cannot be used: {error!s:.300}") from error

    @cached_property
    def ledger(self) -> Ledger:  # type: ignore[override]
        """The pseudo-labels; where the data are gone, from the table that a finished run leaves, without truth."""
        try:
            ledger = Ledger(self.pile.unlabeled_ids(), self.classes, self.pile.unlabeled_truth())
        except RunFolderError:
            if self._passed is None and (self._folder / LABELS).is_file():
                return Ledger.read(self._folder / LABELS, self.classes)
            raise
        try:
            load_into(ledger, self._stored)
        except ValueError as error:
            raise DataError(
                f"the pile has {len(ledger)} unlabeled samples and the run in {self._folder} other ones; pass the pile "
                "that the run was on"
            ) from error
        self._lend_maps(ledger)
        return ledger


# -- building ----------------------------------------------------------------------------------------------------------
class _CannotBuild(Exception):
    """A part that is not of the four packages, or was never described; says why."""


class _Absent:
    """In the place of a part that cannot be built: whoever uses it is told so; predictions do without most."""

    def __init__(self, why: str) -> None:
        vars(self)["why"] = why

    def __call__(self, *values: Any, **settings: Any) -> Any:
        raise RunFolderError(self.why)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copies and pickles asks for these
            raise AttributeError(name)
        raise RunFolderError(self.why)


class _Builder:
    """Build what a record describes.

    Args:
        folder: Where it is from, for messages.
        record: As ``read_record`` reads it.
        network: In the place of networks that cannot be built.
        trust: Whether to import what is not of the four packages.
    """

    def __init__(
        self,
        folder: Path,
        record: Mapping[str, Any],
        network: nn.Module | Callable[[], nn.Module] | None = None,
        trust: bool = False,
    ) -> None:
        self.folder, self.record, self.network, self.trust = folder, record, network, trust
        self.replaced = False  # whether all networks are the one that was passed
        self.init_from: Any = None  # what students start from

    def ask(self, what: str) -> str:
        """How to pass a part that cannot be built."""
        options = {"pile": "say --data", "network": "say --network module:name"}
        if errors.as_options and what in options:
            return options[what]
        return f"pass it: st.open_run({str(self.folder)!r}, {what}=...)"

    def strategy(self, init_from: Any = None) -> Strategy:
        """The strategy, as it began, from drawn weights or those of ``init_from``."""
        self.init_from = init_from
        node = self.record["strategy"]
        if not isinstance(node, dict) or "make" not in node:
            raise RunFolderError(f"{self.folder} does not say how to build its strategy; {self.ask('strategy')}")
        # At most twice: as the record says, then with the passed network for all where that is not what the run had.
        while True:
            # Its first weights are drawn and forgotten; the caller's random state stays.
            with own_randomness(torch.device("cpu")), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = self.value(node)
            if not isinstance(made, Strategy):
                raise RunFolderError(f"{made.why}" if isinstance(made, _Absent) else f"{node['make']} is no strategy")
            if [fingerprint(one.model) for one in made.learners()] == self.record["networks"]:
                return made
            if self.network is None or self.replaced:
                break
            self.replaced = True
        which = "what its classes build" if self.network is None else "the one that was passed"
        raise RunFolderError(
            f"the network of the run in {self.folder} is not {which}: it was changed after it was built, or its class "
            f"is another one by now; build it as it was and {self.ask('network')}"
        )

    def formats(self) -> Formats:
        """What the networks computed in, but not compiled: that takes minutes."""
        said = self.record.get("speed") or {}
        precision = said.get("precision")
        if precision not in (None, *get_args(Precision)):
            raise RunFolderError(f"the record in {self.folder} has precision {precision!r:.50}, which there is not")
        return Formats(precision, said.get("channels_last"))

    def pile(self) -> Any:
        """The data, read again.

        Raises:
            RunFolderError: they were in memory, or cannot be read.
        """
        origin = self.record.get("pile")
        if not isinstance(origin, dict) or origin.get("reader") not in READERS:
            raise RunFolderError(f"the data of the run in {self.folder} were not read from files; {self.ask('pile')}")
        try:
            settings = {str(name): self.value(node) for name, node in origin["settings"].items()}
            if origin["reader"] == _TABLE:
                # Codes of a table's text and its means are those the network has learned with.
                settings["encoding"] = self.folder / CARD  # the table may have grown since
            module, _, name = origin["reader"].partition(":")
            pile: Any = getattr(import_module(module), name)(**settings)
            for review in origin.get("reviewed", ()):
                pile = pile.reviewed(review)
        except Exception as error:  # readers and makers of views raise what they will of a record that was damaged
            raise RunFolderError(
                f"cannot read the data of the run in {self.folder}: {error}; {self.ask('pile')}"
            ) from error
        return pile

    def encoder(self) -> Any:
        """The encoder whose features the run has learned from; ``None``: it has learned from the inputs themselves.

        Raises:
            RunFolderError: it is not on this machine, or another one by now.
        """
        told = self.record.get("encoder")
        if not isinstance(told, dict):
            return None
        # here: it opens runs itself
        from selftrain.engine.start import encoder_again

        try:
            return encoder_again(told, trust=self.trust)
        except RunFolderError as error:
            again = f"st.open_run({str(self.folder)!r}, pile=pile.encoded(encoder))"
            raise RunFolderError(f"{error}; or pass a pile that is encoded: {again}") from error

    def encoded(self, pile: Any, *, plain: bool = False) -> Any:
        """A pile as features, where the run has learned from features and the pile has none."""
        told = self.record.get("encoder")
        if not isinstance(told, dict) or getattr(pile, "encoder", None) is not None:
            return pile
        encoder = self.encoder()
        try:
            given = {name: self.value(told[name]) for name in ("views", "cache", "seed")} | (
                {"views": 0} if plain else {}
            )
            pile = copy.copy(pile)
            base = self.value(told["base"])
            pile.views = pile.views if isinstance(base, _Absent) else base.fitted(pile.unlabeled or pile.labeled)
            return pile.encoded(encoder, **given)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunFolderError(
                f"the data cannot be encoded as those of the run in {self.folder} were: {error}; {self.ask('pile')}"
            ) from error

    def show(self, pile: Any, *, strict: bool) -> None:
        """Give a pile the views of the run; what they have from the data stays.

        Args:
            pile: It is changed.
            strict: Whether views of the user's own are missed: they may show a plain input in another way.
        """
        node = self.record["views"]
        if not (isinstance(node, dict) and "make" in node):
            if node is not None and strict:
                raise RunFolderError(f"the views of the run in {self.folder} cannot be built; {self.ask('pile')}")
            return
        try:
            given = {key: self.value(one) for key, one in node["settings"].items()}
            own = {key: getattr(pile.views, key, None) for key, one in given.items() if isinstance(one, _Absent)}
            pile.views = self._class(node["make"])(**given | own).fitted(pile.unlabeled or pile.labeled)
        except Exception as error:  # makers of views raise what they will of a record that was damaged
            raise RunFolderError(
                f"the views of the run in {self.folder} cannot be built: {error}; {self.ask('pile')}"
            ) from error

    def value(self, node: Node, *, whole: bool = False) -> Any:
        """What a description stands for.

        Args:
            node: As ``describe`` made it.
            whole: Whether every part must be there, as in a network; else one that cannot be built is ``_Absent``.
        """
        if isinstance(node, list):
            return [self.value(one, whole=whole) for one in node]
        if not isinstance(node, dict):
            return node
        try:
            return next(mean for key, mean in _MEANINGS.items() if key in node)(self, node, whole)
        except _CannotBuild as error:
            if whole:
                raise
            return _Absent(
                f"a part of the run in {self.folder} cannot be built: {error}; build the strategy as it was and "
                f"{self.ask('strategy')}"
            )
        except SelftrainError:
            raise
        except Exception as error:  # whatever constructors raise when the record was damaged
            raise RunFolderError(f"the record in {self.folder} cannot be used: {error!r:.300}") from error

    def _network(self, node: Node) -> nn.Module:
        """A network, or the one that was passed instead."""
        try:
            if self.replaced:
                raise _CannotBuild
            made = self.value(node, whole=True)
        except _CannotBuild as error:
            if self.network is None:
                raise RunFolderError(
                    f"the network of the run in {self.folder} cannot be built: {error}; {self.ask('network')}"
                ) from error
            # Each student needs weights of its own, and the caller's network is not to be written into.
            made = copy_network(self.network) if isinstance(self.network, nn.Module) else self.network()
        if not isinstance(made, nn.Module):
            raise RunFolderError(f"{self.folder} has a {type(made).__name__} where a network belongs")
        return made

    def _part(self, node: Node, whole: bool) -> Any:
        kind = self._class(node["make"])
        values = [self.value(one, whole=whole) for one in node.get("args", [])]
        # The encoder of a stage of pretraining is a network; that of a network is a part of it.
        make: dict[str, Any] = {} if whole else {"encoder": self._network}
        settings = {key: make.get(key, partial(self.value, whole=whole))(one) for key, one in node["settings"].items()}
        return kind(*values, **settings)

    def _learner(self, node: Node, whole: bool) -> Any:
        networks = itertools.chain(node["learner"], itertools.repeat(node["learner"][-1]))
        training = self.value(node["training"])
        return learner(lambda: self._network(next(networks)), init_from=self.init_from, training=training)

    def _partial(self, node: Node, whole: bool) -> Any:
        found = self._found(node["partial"]["name"])
        if not (inspect.isclass(found) or is_ours(node["partial"]["name"])):
            raise _CannotBuild(f"{node['partial']['name']} is a function")
        values = [self.value(one, whole=whole) for one in node["args"]]
        return partial(found, *values, **{key: self.value(one, whole=whole) for key, one in node["settings"].items()})

    def _class(self, path: str) -> Any:
        """A class that may be called."""
        found = self._found(path)
        # A function may be named, as an activation of a network is, but no record has one called.
        if not inspect.isclass(found) or issubclass(found, torch.optim.Optimizer):
            raise RunFolderError(f"{self.folder} names {path} where a class belongs; it was not called")
        return found

    def _found(self, path: str) -> Any:
        """The class or function of a name, if it is one that may stand in a record."""
        module, _, name = str(path).partition(":")
        parts = [*module.split("."), *name.split(".")]
        # Names with double underscores lead from any class to its globals, and from there to every function.
        # Only the first part of a foreign name may have them: `__main__` is refused below, with its own words.
        if not all(part.isidentifier() and not part.startswith("__") for part in parts[not is_ours(path) :]):
            raise RunFolderError(f"{self.folder} names {path!r:.100}, which is no name of a class")
        if not is_ours(path) and (module == "__main__" or not self.trust):
            trust = f"none of selftrain, torch, torchvision and timm ({setting('trust', True, of='')} imports it)"
            of = "the script itself" if module == "__main__" else trust
            raise _CannotBuild(f"{path} is of {of}")
        if is_ours(path) and not self.trust and stands_in(module.partition(".")[0]):
            raise _CannotBuild(f"{path} would be imported from the working directory and not from an installed package")
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise _CannotBuild(f"{path} cannot be imported: {error}") from error
        if not fits(found, module, name):
            raise RunFolderError(f"{self.folder} names {path}, which is no part of a run; it was not called")
        return found

    def warn_of_trust(self) -> None:
        """Say what is about to be imported of others' code."""
        try:
            foreign = sorted({path for path in _paths(self.record) if not is_ours(path)})
        except RecursionError as error:
            raise RunFolderError(f"the record in {self.folder} cannot be used: {error}") from error
        if foreign:
            warnings.warn(f"{self.folder} is trusted: it has {', '.join(foreign)} imported", stacklevel=3)


_MEANINGS: dict[str, Callable[[_Builder, Any, bool], Any]] = {
    "make": _Builder._part,
    "learner": _Builder._learner,
    "partial": _Builder._partial,
    "name": lambda build, node, whole: build._found(node["name"]),
    "tuple": lambda build, node, whole: tuple(build.value(node["tuple"], whole=whole)),
    "map": lambda build, node, whole: OrderedDict(build.value(node["map"], whole=whole)),
    "tensor": lambda build, node, whole: torch.tensor(build.value(node["tensor"]), dtype=_dtype(node["dtype"])),
    "dtype": lambda build, node, whole: _dtype(node["dtype"]),
    "float": lambda build, node, whole: float(node["float"]),
    "unknown": lambda build, node, whole: _cannot(node["unknown"]),
}


def _cannot(why: str) -> Any:
    raise _CannotBuild(why)


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, str(name), None)
    # The name is a stranger's, and `torch` holds functions beside the types.
    if not isinstance(found, torch.dtype):
        raise RunFolderError(f"{name!r:.50} is no type of numbers")
    return found


def is_ours(path: str) -> bool:
    """Whether a name is in one of the rooms that records are built from."""
    module = str(path).partition(":")[0]
    # With the dot: a module whose name only begins like a room's is none of it.
    return any(f"{module}.".startswith(f"{room}.") for room in (*_ROOMS, *_FUNCTIONS, _OPTIMIZERS))


def stands_in(package: str) -> bool:
    """Whether a package that is not loaded yet would come from the working directory, where files of strangers lie."""
    if package in sys.modules:
        return False
    found = find_spec(package)
    place = None if found is None else found.origin or next(iter(found.submodule_search_locations or ()), None)
    # the folder that holds the package, or the module of its name
    return place is not None and Path.cwd() in list(Path(place).absolute().parents)[:2]


def fits(found: Any, module: str, name: str) -> bool:
    """Whether what a name led to is defined there, and of a kind that a record may name."""
    if module == "torch.nn.functional":  # some of its functions are of torch's own library
        own = getattr(found, "__module__", None) in (module, "torch._C._nn", "torch")
        return "." not in name and callable(found) and own  # with a dot `torch.from_file` would be one of them
    # Where it was found must be where it was defined, else an import inside a room would open another module.
    where, called = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    # Of what was one module when the run was stored and is a package now, its classes are found one level deeper.
    deeper = is_ours(module) and inspect.isclass(found) and str(where).startswith(f"{module}.")
    if called != name or not (where == module or deeper):
        return False
    if not inspect.isclass(found):
        return isinstance(found, FunctionType) and (module in _FUNCTIONS or not is_ours(module))
    kinds = (nn.Module, Recorded, torch.optim.Optimizer)
    holds_code = any(base.__name__ in _HOLD_CODE for base in found.__mro__)
    return (issubclass(found, kinds) or dataclasses.is_dataclass(found)) and not holds_code


def _paths(node: Node) -> Iterator[str]:
    """Every class and function that a record names."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict):
        yield from (path for path in (node.get("make"), node.get("name")) if isinstance(path, str) and ":" in path)
    for one in inner:
        yield from _paths(one)
