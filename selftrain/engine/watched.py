"""What a session makes of its steps: rows of the log, evaluations, the best weights, alarms."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from selftrain.engine.run import Run, measure
from selftrain.engine.state import Carried
from selftrain.handlers.selfcheck import Findings, SelfTrainingWarning
from selftrain.runtime.distributed import is_first, keep_together
from selftrain.tensorboard.writer import Board


@dataclass
class Watched(Carried):
    """A session's log and evaluations; arguments as of ``Carried``."""

    # -- rows of the log -------------------------------------------------------------------------------------------
    def note(self, values: Mapping[str, Tensor]) -> None:
        """Add scalars to the means that the next row of the log will hold."""
        for name, value in values.items():
            value = value.detach().double()
            self.window[name] = self.window[name] + value if name in self.window else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def log(self, step: int, board: Board) -> None:
        """Write the means since the last row."""
        row = {name: float(total) / self.counts[name] for name, total in self.window.items()}
        rates = [group["lr"] for x in self.run.strategy.learners() for group in x.optimizer.param_groups[:1]]
        row |= {"skipped": float(self.run.skipped)} if self.run.skipped else {}
        row = {f"train/{name}": v for name, v in (row | {"lr": rates[0]}).items()}
        self.run.train = self.run.train | row
        self.window, self.counts = {}, {}
        board.scalars(row, step)

    def tell(self, found: Findings, step: int, board: Board) -> None:
        """Log what the self-check found; an alarm whose kind is new is kept and warned of."""
        board.scalars(found.scalars, step)
        for kind, reason in found.unchecked.items():
            self.run.unchecked[kind] = reason
            board.text(f"unchecked/{kind}", reason, step)
        known = {alarm.kind for alarm in self.run.alarms}
        for alarm in found.alarms:
            if alarm.kind not in known:
                self.run.alarms.append(alarm)
                board.alarm(alarm.kind, alarm.text, step)
                if is_first():
                    warnings.warn(f"{alarm.kind} at step {step}: {alarm.text}", SelfTrainingWarning, stacklevel=2)

    # -- evaluations -----------------------------------------------------------------------------------------------
    def judge(self, step: int, board: Board) -> None:
        """Evaluate, keep the best weights, look for alarms."""
        run = self.run
        keep_together(run.strategy)
        self.evaluate(step, board)
        board.scalars({f"ledger/{key}": v for key, v in run.ledger.summary().items()}, step)
        figures = run.last.get("validation", {})
        figure = figures.get(run.strategy.monitor)
        if figure is not None and figure > run.best.get(run.strategy.monitor, float("-inf")):
            run.best = figures | {"step": step}
            run.best_state = {k: _copy(v) for k, v in run.strategy.state_dict().items()}
        if self.check is not None:
            self.tell(self.check.judge(step, figures, self.samples), step, board)
            self.tell(self.check.judge_features(step, run.last.get("unlabeled", figures)), step, board)

    def evaluate(self, step: int, board: Board) -> None:
        """Figures of every part that is watched."""
        run, found = self.run, {}
        for name, data in {**{part: part for part in run.strategy.judged_on}, **self.monitor}.items():
            if run.pile.evaluation(data, 1, self.device) is not None:
                found[name] = measure(run.strategy, run.pile, data)  # a stop here leaves no trace
        for name, (figures, samples) in found.items():
            run.last[name] = figures
            self.samples = samples if name == "validation" else self.samples
            board.scalars({f"{name}/{key}": v for key, v in figures.items()}, step)

    def control(self, board: Board) -> None:
        """Evaluate before the first step: what the weights taken over are worth as they are."""
        self.evaluate(0, board)
        self.run.before = {name: dict(figures) for name, figures in self.run.last.items()}

    def untrained(self) -> Mapping[str, float]:
        """Figures of the unlabeled samples before the first step, where the strategy is judged on them."""
        run, part = self.run, "unlabeled"
        known = (run.before or {}).get(part)
        if known is not None:
            return known
        if part not in run.strategy.judged_on or run.pile.evaluation(part, 1, self.device) is None:
            return {}
        return measure(run.strategy, run.pile, part)[0]

    def compare(self, control: Run, board: Board) -> None:
        """Take in the figures of the finished supervised control."""
        run, self.run.baseline = self.run, control.last
        for name, figures in control.last.items():
            board.scalars({f"baseline/{name}/{key}": v for key, v in figures.items()}, self.total)
        if self.check is not None:
            here, there = run.last.get("validation", {}), control.last.get("validation", {})
            self.tell(self.check.compare(self.total, here, there, self.samples), self.total, board)
        self.save(self.total)
        self.summarize()


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
