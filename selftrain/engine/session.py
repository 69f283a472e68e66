"""One call of the engine on one strategy: the loop, and when what is due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from tqdm import tqdm

from selftrain.engine.skipping import TooManySkipped
from selftrain.engine.watched import Watched
from selftrain.handlers import snapshots
from selftrain.runtime import signals
from selftrain.runtime.distributed import alone, any_rank, is_first
from selftrain.runtime.rng import seed_step, step_key
from selftrain.storage.run_dir import SUMMARY
from selftrain.tensorboard import Show, Stopwatch
from selftrain.tensorboard.speed import EVALUATING, WAITING
from selftrain.tensorboard.writer import Board
from selftrain.types import Batch, Clock, PseudoLabels, Report


@dataclass
class Session(Watched):
    """Train one strategy and do what is due after each step; arguments as of ``Carried``."""

    def train(self, board: Board, end: int) -> None:
        """Take the steps from ``start`` to ``end``."""
        if self.start == 0 and self.check is not None:
            self.check.begin(self.untrained())
        show, watch = self.open_dashboard(board), Stopwatch(self.device)
        begun, per_epoch = time.perf_counter() - self.run.seconds, self.stream.steps_per_epoch
        hidden = not is_first() or (None if self.progress is None else not self.progress)
        self.catch_up(end, board, show)
        self.skipping.begin(self.run.strategy)
        with tqdm(total=self.total, initial=self.start, disable=hidden, unit="step") as bar:
            step = self.start
            while step < end:
                epoch, inside = divmod(step, per_epoch)
                for batches in self.stream.epoch(epoch, inside):
                    watch.lap(WAITING)
                    due = self.judged(step + 1)
                    with nullcontext() if show is None else show.watching(due):
                        report = self.attempt(batches, Clock(step, epoch, self.total), board)
                    step += 1
                    watch.step(_samples(batches[0]), settle=due)
                    if step % per_epoch == 0:
                        self.note(self.run.strategy.end_epoch(Clock(step, epoch, self.total)))
                    self.run.seconds = time.perf_counter() - begun
                    self.after(step, end, batches, report, board, show)
                    watch.lap(EVALUATING)
                    if self.logged(step):
                        board.timings(watch.row(), step)
                    bar.update()
                    self.heed(step)
                    if step >= end:
                        break
        if step >= self.total:
            told = self.run.out is not None and (self.run.out / SUMMARY).is_file()  # the last file of a finished run
            self.finish(None if told else board)

    def attempt(self, batches: Sequence[Batch], clock: Clock, board: Board) -> Report | None:
        """Take a step and note what it reports; ``None``: it was left out and left no trace but in the count."""
        step = clock.step + 1
        try:
            report = self.skipping.attempt(step, lambda: self.one_step(batches, clock))
        except TooManySkipped as error:
            board.alarm("not_finite", str(error), step)
            self.save(step)
            raise
        self.run.skipped = self.skipping.count
        if report is not None:
            self.enter(report, clock.step)
        return report

    def one_step(self, batches: Sequence[Batch], clock: Clock) -> Report:
        """The strategy's step."""
        strategy = self.run.strategy
        seed_step(step_key(self.seed, clock.step), self.device)
        strategy.train()
        for learner in strategy.learners():
            learner.set_lr(clock.progress)
        batch, *extra = batches
        if not batch.has_unlabeled and strategy.views:
            return strategy.step_labeled(batch, clock)
        return strategy.step(batch, clock, *extra)

    def enter(self, report: Report, step: int) -> None:
        """Note what a step reports, in the log and in the ledger."""
        strategy = self.run.strategy
        self.note(report.scalars)
        self.note({"grad_norm": torch.stack([x.grad_norm for x in strategy.learners()]).mean()})
        if report.pseudo_labels is not None:
            self.note(self.run.ledger.write(report.pseudo_labels, strategy.task, step))  # type: ignore[arg-type]

    def judged(self, step: int) -> bool:
        """Whether the run is evaluated once so many steps are done."""
        return step % self.eval_every == 0 or step == self.total or step in self.snapshots

    def logged(self, step: int) -> bool:
        """Whether the log gets a row once so many steps are done."""
        return step % self.log_every == 0 or step == self.total

    def after(
        self, step: int, end: int, batches: Sequence[Batch], report: Report | None, board: Board, show: Show | None
    ) -> None:
        """What is due once ``step`` steps are done: check, log, evaluation, dashboard, checkpoint."""
        judged = self.judged(step)
        if self.check is not None and report is not None:
            self.tell(self.check.watch(step, batches, report, judged=judged), step, board)
        if self.logged(step):
            self.log(step, board)
        if judged:
            self.examine(step, batches[0], report or Report({}), board, show)
        self.keep(step, end)

    def examine(self, step: int, batch: Batch, report: Report, board: Board, show: Show | None) -> None:
        """Evaluate; where a stop cuts that short, the state is stored with what it takes to evaluate anew."""
        random = torch.get_rng_state()
        try:
            self.judge(step, board)
        except signals.Stop:
            said = report.pseudo_labels
            self.due = {"random": random, "said": None if said is None else vars(said)}
            self.save(step)
            raise
        if show is not None:
            with alone():  # the first rank's own affair: the others have no folder to draw into
                show.evaluated(step, self.run.last, batch, report)

    def catch_up(self, end: int, board: Board, show: Show | None) -> None:
        """Do the evaluation at ``start`` that a stop cut short."""
        if self.due is None:
            return
        due, self.due = self.due, None
        batch, *_ = next(iter(self.stream.epoch(*divmod(self.start - 1, self.stream.steps_per_epoch))))
        torch.set_rng_state(due["random"].cpu())
        report = Report({}, None if due["said"] is None else PseudoLabels(**due["said"]))
        self.examine(self.start, batch, report, board, show)
        self.keep(self.start, end)

    def keep(self, step: int, end: int) -> None:
        """Store snapshot and checkpoint where they are due."""
        if step in self.snapshots and self.run.out is not None and is_first():
            snapshots.add(self.run.out, step, self.run.export(), self.run.last, self.card(step))
        if step % (self.checkpoint_every or self.eval_every) == 0 or step == end:
            self.save(step)

    def heed(self, step: int) -> None:
        """Stop after this step if a signal asked for it, on whichever rank, with a checkpoint."""
        if any_rank(signals.requested()):
            if self.stored != step:
                self.save(step)
            any_rank(False)  # none leaves while the first one writes
            signals.stop()

    def open_dashboard(self, board: Board) -> Show | None:
        """The dashboard of the run, if there is one and a folder for it; laid out where the run begins."""
        run = self.run
        if self.dashboard is None or run.out is None:
            return None
        times = {"total": self.total, "eval_every": self.eval_every}
        show = Show(self.dashboard, board, run.strategy, run.pile, run.ledger, device=self.device, **times)
        if self.start == 0:
            show.begin(self.settings, [*run.strategy.judged_on, *self.monitor])
        return show


def _samples(batch: Batch) -> int:
    """Labeled and unlabeled samples of a step."""
    return sum(len(part.index) for part in batch.parts)
