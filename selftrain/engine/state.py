"""What a session carries from step to step, its checkpoints, and the files of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.engine.run import Run, versions
from selftrain.engine.skipping import Skipping
from selftrain.errors import CheckpointError, RunFolderError
from selftrain.evaluation.quality import Quality
from selftrain.handlers.selfcheck import Alarm, SelfCheck
from selftrain.runtime.distributed import from_first, is_first
from selftrain.storage import checkpoint
from selftrain.storage.atomic import write_json
from selftrain.storage.run_dir import CARD, CHECKPOINTS, SUMMARY, export_weights, has_begun
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tensorboard import Dashboard
from selftrain.tensorboard.writer import Board
from selftrain.types import Stream

_FORM: dict[type, tuple[str, ...]] = {  # parts of a stored state; those of the last kind may be None
    int: ("step", "samples"),
    list: ("alarms",),
    dict: ("strategy", "ledger", "window", "counts", "last", "best", "train", "unchecked"),
    float: ("seconds",),
    object: ("best_state", "baseline", "before", "check", "due"),
}


def _check_form(state: Any) -> None:
    """Refuse a state whose parts are not of their kind."""
    for kind, names in _FORM.items():
        for name in names:
            part = state.get("due") if name == "due" else state[name]
            good = isinstance(part, dict | None) if kind is object else isinstance(part, kind)
            if not good or (kind is int and part < 0):
                raise ValueError(f"its {name} is {part!r:.100}")


@dataclass
class Carried:
    """State of a session, which is stored and taken back, and what is made of it at the end.

    Args:
        run: What is filled in.
        stream: Training batches.
        seed: Key of the steps' random numbers.
        total: Steps of the stage.
        monitor: Further data to evaluate on, by name.
        log_every: Steps between two rows of the log.
        eval_every: Steps between evaluations.
        checkpoint_every: Steps between checkpoints; ``None``: at each evaluation.
        device: Where the strategy is.
        check: The self-check; ``None``: none.
        snapshots: Steps whose weights are stored.
        progress: Whether to show a progress bar; ``None``: on a terminal.
        dashboard: What TensorBoard shows beside scalars; ``None``: nothing.
        skipping: What becomes of steps that meet numbers that are not finite.
    """

    run: Run
    stream: Stream
    seed: int
    total: int
    monitor: Mapping[str, object]
    log_every: int
    eval_every: int
    checkpoint_every: int | None
    device: torch.device
    check: SelfCheck | None = None
    snapshots: frozenset[int] = frozenset()
    progress: bool | None = None
    dashboard: Dashboard | None = None
    start: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    window: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    samples: int = 0  # of the last validation
    known: Quality | None = None  # of the finished run's pseudo-labels
    skipping: Skipping = field(default_factory=Skipping)
    stored: int = -1  # step of the newest checkpoint
    due: dict[str, Any] | None = None  # of an evaluation that a stop cut short

    # -- checkpoints -----------------------------------------------------------------------------------------------
    def save(self, step: int) -> None:
        """Write the checkpoint of this step."""
        run = self.run
        if run.out is None:
            return
        state = {
            "step": step,
            "strategy": run.strategy.state_dict(),
            "ledger": run.ledger.state_dict(),
            "window": self.window,
            "counts": self.counts,
            "samples": self.samples,
            "last": run.last,
            "best": run.best,
            "best_state": run.best_state,
            "train": run.train,
            "seconds": run.seconds,
            "alarms": [asdict(alarm) for alarm in run.alarms],
            "unchecked": run.unchecked,
            "baseline": run.baseline,
            "before": run.before,
            "check": None if self.check is None else self.check.state_dict(),
            "due": self.due,
            "skipping": self.skipping.state_dict(),
        }
        self.stored = step
        if not is_first():
            return
        if not run.out.is_dir():
            raise RunFolderError(f"{run.out} is gone: it was removed or renamed during the run; start the run anew")
        checkpoint.save(run.out / CHECKPOINTS, state, step)
        write_json(run.out / CARD, self.card(step))  # now, for whoever goes on from a run that is not finished

    def restore(self) -> None:
        """Take the newest checkpoint of the run folder; ``start`` becomes its step, 0 if there is none yet."""
        run = self.run
        assert run.out is not None  # resume without a folder is refused before
        folder = run.out
        state = from_first(
            lambda: checkpoint.load_newest(folder / CHECKPOINTS, self.device) if has_begun(folder) else None
        )
        if state is None:
            return
        try:
            _check_form(state)
            run.strategy.load_state_dict(state["strategy"])
            run.ledger.load_state_dict(state["ledger"])
            self._take(state)
        except Exception as error:  # a state of another form raises any type; the user needs one
            raise CheckpointError(
                f"the checkpoint in {run.out} does not fit this strategy and data: {error}"
            ) from error
        self.start = self.stored = state["step"]

    def _take(self, state: dict[str, Any]) -> None:
        run = self.run
        self.window, self.counts, self.samples = state["window"], state["counts"], state["samples"]
        run.last, run.best, run.best_state = state["last"], state["best"], state["best_state"]
        run.train, run.seconds = state["train"], state["seconds"]
        run.alarms = [Alarm(**alarm) for alarm in state["alarms"]]
        run.unchecked, run.baseline, run.before = state["unchecked"], state["baseline"], state["before"]
        self.due = state.get("due")
        self.skipping.load_state_dict(state.get("skipping", {"count": 0, "row": []}))
        run.skipped = self.skipping.count
        if self.check is not None and state["check"] is not None:
            self.check.load_state_dict(state["check"])

    # -- a finished run --------------------------------------------------------------------------------------------
    def finish(self, board: Board | None) -> None:
        """Write the files of a finished run; the log hears of it once (``None``: it has heard)."""
        run = self.run
        if run.out is None:
            return
        quality = self.quality()
        if not is_first():
            return
        if bool((run.ledger.seen > 0).any()):
            run.ledger.to_csv(run.out / "pseudo_labels.csv")
        if quality is not None and board is not None:
            board.text("quality", quality.text(), self.total)
        if self.dashboard is not None and board is not None:
            board.finished()
        export_weights(run.export(), run.out)
        write_json(run.out / CARD, self.card(self.total))
        self.summarize()

    def summarize(self) -> None:
        """Write the figures of a finished run."""
        run = self.run
        if run.out is None or not is_first():
            return
        rows = {"last": run.last, "best": run.best, "train": run.train, "seconds": run.seconds, "skipped": run.skipped}
        rows |= {"alarms": [asdict(alarm) for alarm in run.alarms], "unchecked": run.unchecked}
        rows |= {"before": run.before, "baseline": run.baseline, "ledger": run.ledger.summary(), "versions": versions()}
        quality = self.quality()
        write_json(run.out / SUMMARY, rows | {"quality": None if quality is None else quality.to_dict()})

    def quality(self) -> Quality | None:
        """What can be known of the pseudo-labels without their truth, if there are any; measured once."""
        labels = isinstance(self.run.strategy, SupervisedStrategy) and bool((self.run.ledger.seen > 0).any())
        if self.known is None and labels:
            self.known = self.run.quality()
        return self.known

    def card(self, step: int) -> dict[str, Any]:
        """What travels with the weights of a step, see ``runfolder.read_card``."""
        strategy = self.run.strategy
        given = getattr(self.run.pile, "card", None)
        shipped = getattr(strategy, "shipped", None)
        network = shipped() if callable(shipped) and not isinstance(shipped, nn.Module) else shipped
        return {
            "strategy": type(strategy).__name__,
            "steps": step,
            "versions": versions(),
            "input": {"shape": None, "mean": None, "std": None} if given is None else given(),
            "encoder": _described(getattr(network, "encoder", network)),
        }


def _described(network: object) -> dict[str, Any] | None:
    """Class and sizes of an encoder; ``None`` if it says none."""
    sizes = {key: getattr(network, key, None) for key in ("shape", "grid", "embed_dim", "token_dim")}
    return None if None in sizes.values() else {"class": type(network).__name__} | sizes
