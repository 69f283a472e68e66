"""What a run and its supervised control have in common: folder, settings, self-check, log and device."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from selftrain.engine.run import Run
from selftrain.engine.session import Session
from selftrain.errors import TrainingError
from selftrain.handlers.baseline import LabelsOnly
from selftrain.handlers.gradcheck import fingerprint, unchanged
from selftrain.handlers.selfcheck import SelfCheck
from selftrain.labels.ledger import Ledger
from selftrain.runtime.distributed import check_alike, from_first, here, is_first, joined_stream, same_start
from selftrain.storage.run_dir import SETTINGS, prepare_folder
from selftrain.strategy.base import Strategy
from selftrain.tensorboard.writer import Board
from selftrain.types import BatchPlan, Pile, Stream

BASELINE = "baseline"  # folder of the supervised control, inside that of the run


@dataclass(frozen=True)
class Stage:
    """What the run and its supervised control have in common."""

    pile: Pile
    plan: BatchPlan
    total: int
    monitor: dict[str, object]
    times: tuple[int, int, int | None]  # steps between rows of the log, evaluations, checkpoints
    device: torch.device
    resume: bool
    overwrite: bool

    def open(
        self, strategy: Strategy, stream: Stream, out: str | Path | None, marks: dict[str, Any], *, check: bool
    ) -> Session:
        """Claim the folder and make ready to train, from the newest checkpoint if the run is resumed."""
        settings = {"total_steps": self.total, "plan": asdict(self.plan) | {"workers": None, "timeout": None}}
        settings |= settings_of(strategy) | marks
        claim = {"resume": self.resume, "overwrite": self.overwrite}
        _check_ranks(self.pile, settings | claim)
        from_first(lambda: (prepare_folder(out, settings, **claim), None)[1])
        folder = None if out is None else Path(out)
        pile, where, seed = self.pile, self.device, self.plan.seed
        ledger = Ledger(pile.unlabeled_ids(), pile.classes, pile.unlabeled_truth()).to(where)
        session = Session(
            Run(strategy, pile, ledger, folder), stream, seed, self.total, self.monitor, *self.times, where
        )
        session.settings = settings
        if check:
            session.check = SelfCheck(
                strategy, ledger, pile, total=self.total, per_epoch=stream.steps_per_epoch, seed=seed, device=where
            )
        if self.resume:
            session.restore()
        same_start(strategy, (learner.optimizer for learner in strategy.learners()))
        return session

    def again(self, begins: bool) -> Stage:
        """The same for what is inside the folder of a run that ``begins``, perhaps after one that got nowhere."""
        return replace(self, resume=False, overwrite=True) if begins and self.resume else self

    def open_control(self, control: LabelsOnly | None, session: Session) -> Session | None:
        """The supervised control in a folder inside the run's; its start is stored at once, for a run to resume."""
        folder = None if session.run.out is None else session.run.out / BASELINE
        if control is None:
            if self.overwrite and folder is not None:
                from_first(lambda: _clear(folder))
            return None
        if session.run.baseline is not None:  # done before
            return None
        stream = joined_stream(self.pile, control.needs(), self.plan, self.device)
        beside = self.open(control, stream, folder, {}, check=False)
        if not self.resume:
            beside.save(0)
        return beside

    def train_control(self, control: Session, strategy: Strategy) -> None:
        """Train the control to the end; the ``strategy`` it was copied from must not notice."""
        before = fingerprint(strategy)
        with self.board(control) as board:
            control.train(board, self.total)
        if not unchanged(before, fingerprint(strategy)):
            name = type(strategy).__name__
            raise TrainingError(
                f"training the baseline changed {name} itself: a function among its attributes holds on to it; "
                "make it a method, or pass baseline=False (the checkpoint of the run is as it was)"
            )

    def board(self, session: Session) -> Board:
        """The log of a session, with its settings if it begins."""
        board = Board(session.run.out if is_first() else None, session.start if self.resume else None)
        if session.start == 0:
            board.text("settings", f"```\n{json.dumps(session.settings, indent=1)}\n```", 0)
        return board


def _check_ranks(pile: Pile, settings: dict[str, Any]) -> None:
    """Refuse processes that were given different samples or settings."""
    if here() is None:
        return
    names = hashlib.sha256("\0".join(str(name) for name in pile.unlabeled_ids()).encode()).hexdigest()
    samples = {"unlabeled samples": len(pile.unlabeled_ids()), "unlabeled ids (SHA-256)": names}
    check_alike(samples | settings)


def _clear(folder: Path) -> None:
    """Remove the control that an earlier run left, and nothing else."""
    if (folder / SETTINGS).is_file():
        prepare_folder(folder, {}, resume=False, overwrite=True)
        (folder / SETTINGS).unlink()
        with suppress(OSError):  # something of the user's is in it
            folder.rmdir()


def settings_of(strategy: Strategy) -> dict[str, Any]:
    """What the user chose, as far as numbers, text and switches say it: a run is resumed with the same only."""
    chosen = {
        f"{name}.{key}".lstrip("."): value
        for name, module in strategy.named_modules()
        for key, value in vars(module).items()
        if _plain(value) and not key.startswith("_") and key != "training"
    }
    rates = [learner.base_rates for learner in strategy.learners()]
    return {"strategy": type(strategy).__name__, "settings": chosen, "learning_rates": rates}


def _plain(value: object) -> bool:
    """Whether a value is a number, a text or a switch, or some of them in order."""
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(isinstance(v, (bool, int, float, str)) for v in values)
