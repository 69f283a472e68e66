"""The state of a run: what is carried from step to step, how it is stored, and what a finished run leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from selftrain.engine import spec
from selftrain.engine.identity import identity_of_run
from selftrain.engine.run import Fallback, Figures, Run, measure
from selftrain.engine.speed import Chosen
from selftrain.engine.times import EVALUATIONS, Checkpoints, Evaluation, OnAlarm
from selftrain.errors import CheckpointError, RunFolderError, UsageError
from selftrain.evaluation.agreement import pile_figures
from selftrain.evaluation.cross_fitted import CrossFitted
from selftrain.evaluation.quality import Quality
from selftrain.handlers.base import Context, Handler
from selftrain.labels.ledger import Ledger
from selftrain.networks.copying import answering_state, copied, frozen_storages, is_frozen
from selftrain.networks.ema import Teacher
from selftrain.networks.student import Learner
from selftrain.runtime.distributed import Shards, check_alike, from_first, here, is_first, same_start, whole_state
from selftrain.storage import checkpoint
from selftrain.storage.atomic import write_json
from selftrain.storage.fields import Number, check
from selftrain.storage.run_dir import CARD, CHECKPOINTS, SUMMARY, export_weights, has_begun, prepare_folder, versions
from selftrain.storage.states import load_into, restored, storable
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import BatchPlan, Pile, Stream


def refuse_unshardable(learners: Sequence[Learner], followers: Sequence[Teacher]) -> None:
    """Refuse what ``Ranks(weights="sharded")`` has no meaning for.

    Raises:
        UsageError: says what and why.
    """
    why = ""
    for learner in learners:
        if learner.compiles:
            why = "compile=True holds on to whole weights"
        elif learner.precision == "fp16":
            why = "precision='fp16' has to know of overflows in all shares; precision='bf16' has not"
    kinds = {type(learner.model) for learner in learners}
    for teacher in followers:
        if type(teacher.model) not in kinds:
            why = f"a teacher follows a part of a network ({type(teacher.model).__name__}) that is not run as a whole"
    if why:
        raise UsageError(f"weights cannot be sharded here: {why}; take Ranks(weights='copied')")


@dataclass(kw_only=True)
class TrainState(Context):
    """All that a run carries from step to step. It is stored as one, and taken back as one.

    Args:
        stream: Training batches.
        monitor: Further data to evaluate on, by name.
        checkpoint_every: Steps between checkpoints.

    Attributes:
        step: Steps that are done.
        best: Figures of the best evaluation on validation, and its step.
        best_state: The strategy's state then, as far as answers depend on it.
        seconds: Time spent in training.
        counts: Samples that the figures rest on, by part; ``None``: none yet.
        baseline: Figures of the supervised baseline, by part.
        due: What it takes to make up for an evaluation that a signal cut short.
        without_labels: Whether there is no labeled sample to learn from: figures of the pile itself are followed then.
        on_alarm: What is done about an alarm that speaks against the weights.
        keeps_sound: Whether the last weights that nothing speaks against are kept, as a run that is to fall back and
            has no baseline has nothing else to ship.
        sound: These: ``step`` and ``strategy``.
        fallback: What is shipped in place of the last weights, as ``Fallback``.
        stored: Step of the newest checkpoint.
        finished: Whether the run was finished before.
        read_back: Whether a checkpoint of this process was read again.
    """

    stream: Stream
    monitor: Mapping[str, object]
    checkpoint_every: int
    step: int = 0
    best: Figures = field(default_factory=dict)
    best_state: dict[str, Any] | None = None
    seconds: float = 0.0
    counts: dict[str, int] | None = None
    baseline: dict[str, Figures] | None = None
    due: dict[str, Any] | None = None
    on_alarm: OnAlarm = "warn"
    without_labels: bool = False
    at_once: int = 500
    keeps_sound: bool = False
    sound: dict[str, Any] | None = None
    fallback: dict[str, Any] | None = None
    stored: int = -1
    finished: bool = False
    read_back: bool = False
    quality: Quality | None = None
    _handler_states: Mapping[str, Any] = field(default_factory=dict)

    # -- evaluation ------------------------------------------------------------------------------------------------
    def evaluation_due(self, step: int) -> bool:
        """Whether the run is evaluated once so many steps are done."""
        regular = step % self.evaluate_every == 0 or step == self.total
        return regular or any(handler.wants_evaluation(step) for handler in self.handlers)

    def measure(self, part: object) -> Figures | None:
        """Figures of a part of the pile, now; ``None`` where it is empty."""
        if self.pile.evaluation(part, 1, self.device) is None:
            return None
        return measure(self.strategy, self.pile, part, batch_size=self.at_once)[0]

    def evaluate(self) -> dict[str, Figures]:
        """Figures of every part that is watched; a stop in between leaves no trace."""
        # Nothing of the run changes until all is measured: after a stop in between the evaluation is due again.
        found = {}
        for name, data in {**{part: part for part in self.strategy.judged_on}, **self.monitor}.items():
            if self.pile.evaluation(data, 1, self.device) is not None:
                found[name] = measure(self.strategy, self.pile, data, batch_size=self.at_once)
        if self.without_labels and isinstance(self.strategy, SupervisedStrategy):
            found["unlabeled"] = pile_figures(self.strategy, self.pile, batch_size=self.at_once)
        self.samples = found["validation"][1] if "validation" in found else self.samples
        self.counts = (self.counts or {}) | {name: count for name, (_, count) in found.items()}
        self.figures |= {name: figures for name, (figures, _) in found.items()}
        return {name: figures for name, (figures, _) in found.items()}

    def keep_start(self, *, continued: bool) -> None:
        """Keep the figures of the weights of a run that begins with trained ones: they are its control."""
        if self.step or not (continued or self.without_labels):
            return  # a run that is resumed has them
        self.before = {name: dict(figures) for name, figures in self.evaluate().items()}
        if self.without_labels:
            self.keep_sound()  # what else is there to fall back to

    def keep_best(self) -> None:
        """Keep the weights if no evaluation on validation was better."""
        figures, monitor = self.figures.get("validation", {}), self.strategy.monitor
        figure = figures.get(monitor)
        # Strictly above: of equal evaluations the first one stays the best.
        if figure is not None and figure > self.best.get(monitor, float("-inf")):
            self.best = figures | {"step": self.step}
            # A state holds the tensors themselves, which training goes on to change.
            self.best_state = answering_state(self.strategy)

    def keep_sound(self) -> None:
        """Keep the weights to fall back to, if no alarm and no handler speaks against them."""
        if self.keeps_sound and not self.harmful() and all(handler.sound() for handler in self.handlers):
            self.sound = {"step": self.step, "strategy": answering_state(self.strategy)}

    @contextmanager
    def shared_out(self) -> Iterator[None]:
        """Inside, ranks hold shares of all networks, where ``Ranks(weights="sharded")`` asks for it.

        After an error they stay in shares: ranks that are not at the same place cannot put them together.

        Raises:
            UsageError: it is a method, or has a setting, for which that has no meaning.
        """
        learners = list(self.strategy.learners())
        networks = {f"network {number}": learner.model for number, learner in enumerate(learners, 1)}
        frozen = [p for learner in learners for p in learner.frozen()]
        followers = [m for m in self.strategy.modules() if isinstance(m, Teacher)]
        networks |= {f"teacher {number}": teacher.model for number, teacher in enumerate(followers, 1)}
        group = here()
        if group is not None and group.options.weights == "sharded":
            refuse_unshardable(learners, followers)
        shards = Shards(networks, [learner.optimizer for learner in learners], frozen)
        yield
        if group is not None and group.sharded:
            self.best_state = whole_state(self.best_state, everywhere=True)
            self.sound = whole_state(self.sound, everywhere=True)
        shards.join()

    def falls_back(self) -> bool:
        """Whether the run is to ship something else than its last weights, and does not yet."""
        return self.on_alarm == "fallback" and bool(self.harmful()) and self.fallback is None

    def harmful(self) -> list[str]:
        """Kinds of the alarms that speak against the weights."""
        return [alarm.kind for alarm in self.alarms if alarm.harmful]

    # -- handlers --------------------------------------------------------------------------------------------------
    def _named(self) -> dict[str, Any]:
        """Handlers by the names that their states are stored under."""
        names: dict[str, Any] = {}
        for handler in self.handlers:
            name = type(handler).__name__
            names[f"{name} {sum(n.split()[0] == name for n in names) + 1}" if name in names else name] = handler
        return names

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Inside, the handlers watch the run.

        Raises:
            CheckpointError: if what was stored of one does not fit it.
            RunFolderError: if the disk refuses a log.
        """
        problem: BaseException | None = None
        # A handler may show what a network says: that a run goes on must not count as a pass.
        attributes = copied(self.attributes.state_dict())
        try:
            for name, handler in self._named().items():
                # State comes after `begin`, which forgets what an earlier run has left in the handler.
                handler.begin(self)
                # A run may go on with other handlers than it began with: one without a stored state begins anew.
                if name in self._handler_states:
                    with self.fitting():
                        handler.load_state_dict(self._handler_states[name])
            self.attributes.load_state_dict(attributes)
            yield
        except BaseException as error:
            problem = error
            raise
        finally:
            self._close(problem)

    def _close(self, problem: BaseException | None) -> None:
        refused: OSError | None = None
        for handler in self.handlers:
            try:
                handler.close()
            except OSError as error:
                refused = error
        problem = problem or refused  # the error that is under way says more
        gone = self.folder is not None and not self.folder.is_dir()
        if isinstance(problem, OSError) and (gone or problem is refused):
            raise RunFolderError(f"cannot write into {self.folder}: {problem}") from problem

    # -- checkpoints -----------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to continue bit for bit."""
        own = {name: getattr(self, name) for name in spec.OWN_STATE}
        own["cross_fitted"] = None if self.cross_fitted is None else asdict(self.cross_fitted)
        handlers = {name: handler.state_dict() for name, handler in self._named().items()}
        # What is stored here is all there is: random numbers are keyed and schedules are functions of progress.
        return own | {
            "strategy": self.strategy.state_dict(),
            "attributes": self.attributes.state_dict(),
            "ledger": self.ledger.state_dict(),
            "handlers": {name: state for name, state in handlers.items() if state},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave; handlers get their part when they begin.

        Raises:
            CheckpointError: if it does not fit.
        """
        state = {**dict.fromkeys(spec.LATER), **state}
        with self.fitting():
            # A checkpoint may be damaged or forged: a wrong type is an error here, not in a step that uses it.
            check(state, spec.STATE | {"step": Number(0, self.total, whole=True)}, "its state")
            load_into(self.strategy, state["strategy"])
            # After the weights, of which an attribute may be a view.
            self.attributes.load_state_dict(state.get("attributes", {}))
            load_into(self.ledger, state["ledger"])
            self._handler_states = state["handlers"]
            for name in spec.OWN_STATE:
                setattr(self, name, state[name])
            self.cross_fitted = CrossFitted.stored(state["cross_fitted"])
            frozen, own = frozen_storages(self.strategy), self.strategy.state_dict()
            for kept in (self.best_state, (self.sound or {}).get("strategy")):
                if kept is not None:  # what the file has would be held beside what no step moves
                    kept.update({name: value for name, value in own.items() if is_frozen(value, frozen)})
        self.start = self.stored = self.step

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """A state of another form raises any type of error inside; the user needs one."""
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"the checkpoint in {self.out} does not fit this strategy and data: {error}"
            ) from error

    def save(self, step: int) -> None:
        """Write the checkpoint of this step."""
        if self.out is None:
            return
        state = whole_state(self.state_dict()) | {"step": step}  # on every rank: gathering may take all of them
        self.stored = step
        if not is_first():
            return
        # Storing would quietly make the folder anew, with checkpoints and without the settings they belong to.
        if not self.out.is_dir():
            raise RunFolderError(f"{self.out} is gone: it was removed or renamed during the run; start the run anew")
        path = checkpoint.save(self.out / CHECKPOINTS, state, step)
        if not self.read_back:
            # Once: what cannot be read must not be found out when the run is over. Later ones have the same types.
            checkpoint.load(path)
            self.read_back = True
        write_json(self.out / CARD, self.card(step))  # now, for whoever goes on from a run that is not finished

    def restore(self) -> None:
        """Take the newest checkpoint of the run folder, if there is one yet."""
        assert self.out is not None  # resume without a folder is refused before
        folder = self.out
        state = from_first(
            lambda: checkpoint.load_newest(folder / CHECKPOINTS, self.device) if has_begun(folder) else None
        )
        self.finished = (folder / SUMMARY).is_file()  # the last file of a finished run
        if state is not None:
            self.load_state_dict(state)
        # 0 where nothing was stored yet: all that the attempt before has logged is dropped.
        self.resumed_at = self.start

    # -- what a run leaves behind ----------------------------------------------------------------------------------
    def run(self) -> Run:
        """The run as its user gets it."""
        return Run(
            self.strategy, self.pile, self.ledger, self.out,
            last=self.figures, best=self.best, best_state=self.best_state, before=self.before, train=self.train,
            steps=self.step, samples=self.counts or {}, seconds=self.seconds,
            alarms=self.alarms, unchecked=self.unchecked, skipped=len(self.left_out),
            baseline=self.baseline, cross_fitted=self.cross_fitted,
            fallback=None if self.fallback is None else Fallback(**self.fallback),
        )  # fmt: skip

    def finish(self) -> None:
        """Write the files of a finished run; its log hears of it once."""
        if self.out is None:
            return
        labels = isinstance(self.strategy, SupervisedStrategy) and bool((self.ledger.seen > 0).any())
        self.quality = self.run().quality() if labels else None
        if not self.finished:
            if self.quality is not None:
                self.log_text("quality", self.quality.text(), self.total)
            for handler in self.handlers:
                handler.end()
        if not is_first():
            return
        if bool((self.ledger.seen > 0).any()):
            self.ledger.to_csv(self.out / "pseudo_labels.csv")
        export_weights(self.strategy.export(), self.out)
        write_json(self.out / CARD, self.card(self.total))
        # The last file: a folder with a summary is that of a finished run.
        self.summarize()

    def summarize(self) -> None:
        """Write the figures of a finished run."""
        if self.out is None or not is_first():
            return
        rows = {"last": self.figures, "best": self.best, "train": self.train, "seconds": self.seconds}
        rows |= {"skipped": len(self.left_out), "alarms": [asdict(alarm) for alarm in self.alarms]}
        rows |= {"unchecked": self.unchecked, "before": self.before, "baseline": self.baseline}
        rows |= {"fallback": self.fallback}
        rows |= {} if self.cross_fitted is None else {"cross_fitted": asdict(self.cross_fitted)}
        rows |= {"ledger": self.ledger.summary(), "versions": versions()}
        quality = None if self.quality is None else self.quality.to_dict()
        write_json(self.out / SUMMARY, rows | {"quality": quality})

    def card(self, step: int) -> dict[str, Any]:
        """What travels with the weights of a step, see ``selftrain.read_card``."""
        run = self.run()
        network: Any = run.network if hasattr(self.strategy, "shipped") else None
        encoder = getattr(network, "encoder", network)
        sizes = {key: getattr(encoder, key, None) for key in ("shape", "grid", "embed_dim", "token_dim")}
        return {
            "strategy": type(self.strategy).__name__,
            "steps": step,
            "versions": versions(),
            "input": run.inputs,
            "encoder": None if None in sizes.values() else {"class": type(encoder).__name__} | sizes,
        } | ({} if self.fallback is None else {"fallback": self.fallback, "steps": self.fallback["step"]})


@dataclass(frozen=True)
class Setup:
    """What a run and its supervised baseline have in common."""

    pile: Pile
    plan: BatchPlan
    total: int
    evaluation: Evaluation
    checkpoints: Checkpoints
    device: torch.device
    formats: Chosen | None = None

    def open(
        self,
        strategy: Strategy,
        stream: Stream,
        out: Path | None,
        handlers: Sequence[Handler],
        chosen: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> TrainState:
        """Claim the folder and make ready to train, from the newest checkpoint if the run is resumed.

        Args:
            strategy: To be trained.
            stream: Its batches.
            out: Its folder.
            handlers: That watch it.
            chosen: Further settings that a run is resumed with alike only.
            resume: See ``fit``.
            overwrite: See ``fit``.
        """
        pile, every = self.pile, self.evaluation.every or max(1, self.total // EVALUATIONS)
        # Loader processes and their patience change no result: a run may go on with others.
        settings = {"total_steps": self.total, "plan": asdict(self.plan) | {"workers": None, "timeout": None}}
        settings |= spec.settings_of(strategy) | dict(chosen)
        settings |= identity_of_run(strategy, pile)
        claim = {"resume": resume, "overwrite": overwrite}
        # Ranks that differ are refused before the first one has touched the folder. What a run may go on with otherwise
        # must be the same on all ranks, too: each evaluation and each checkpoint is a meeting.
        meetings = {
            "evaluation": {"every": every, "monitor": [*self.evaluation.monitor]},
            "checkpoints": {"every": self.checkpoints.every, "stop_after": self.checkpoints.stop_after},
            "handlers": [type(handler).__name__ for handler in handlers],
        }
        check_alike({"unlabeled samples": len(pile.unlabeled_ids())} | meetings | settings | claim)
        speed = None if self.formats is None else self.formats.stored()
        # What ranks send one another is limited to what a checkpoint may hold: a path is not among it.
        from_first(lambda: (prepare_folder(out, settings, **claim), None)[1])
        from_first(lambda: spec.write_record(out, strategy, pile, self.checkpoints.note, speed))
        ledger = Ledger(pile.unlabeled_ids(), pile.classes, pile.unlabeled_truth()).to(self.device)
        state = TrainState(
            strategy=strategy, pile=pile, ledger=ledger, out=out, folder=out if is_first() else None,
            device=self.device, seed=self.plan.seed, total=self.total, steps_per_epoch=stream.steps_per_epoch,
            evaluate_every=every, parts=[*strategy.judged_on, *self.evaluation.monitor], settings=settings,
            handlers=handlers, stream=stream, monitor=self.evaluation.monitor,
            checkpoint_every=self.checkpoints.every or every, at_once=self.evaluation.batch_size,
            speed=None if self.formats is None else self.formats.told,
        )  # fmt: skip
        if resume:
            state.restore()
        if out is not None:
            storable({"strategy": strategy.state_dict()})  # what cannot be stored is said before the first step
        # Each rank has drawn its networks from a random state of its own before `fit`.
        same_start(strategy, (learner.optimizer for learner in strategy.learners()))
        if here() is not None:
            attributes = restored(from_first(lambda: storable(state.attributes.state_dict())))
            state.attributes.load_state_dict(attributes)
        return state
