"""One call of the engine on one strategy: the loop, its log, evaluations, alarms and storage."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from selftrain import checkpoint, interrupt, snapshots
from selftrain.board import Board
from selftrain.dashboard import Dashboard, Show, Stopwatch
from selftrain.dashboard.speed import EVALUATING, WAITING
from selftrain.errors import CheckpointError, RunFolderError
from selftrain.quality import Quality
from selftrain.randomness import seed_step, step_key
from selftrain.ranks import alone, any_rank, from_first, is_first, keep_together
from selftrain.run import Run, measure, versions
from selftrain.runfolder import CARD, CHECKPOINTS, SUMMARY, export_weights, has_begun, write_json
from selftrain.selfcheck import Alarm, Findings, SelfCheck, SelfTrainingWarning
from selftrain.skipping import Skipping, TooManySkipped
from selftrain.strategy import SupervisedStrategy
from selftrain.types import Batch, Clock, PseudoLabels, Report, Stream


@dataclass
class Session:
    """Train one strategy and carry what that needs from step to step.

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

    # -- the loop, from the outside in -----------------------------------------------------------------------------
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
            learner.pace(clock.progress)
        batch, *extra = batches
        if batch.unlabeled is None and strategy.views:
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
        except interrupt.Stop:
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
        if any_rank(interrupt.requested()):
            if self.stored != step:
                self.save(step)
            any_rank(False)  # none leaves while the first one writes
            interrupt.stop()

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

    def quality(self) -> Quality | None:
        """What can be known of the pseudo-labels without their truth, if there are any; measured once."""
        labels = isinstance(self.run.strategy, SupervisedStrategy) and bool((self.run.ledger.seen > 0).any())
        if self.known is None and labels:
            self.known = self.run.quality()
        return self.known

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

    # -- logging and evaluation ------------------------------------------------------------------------------------
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

    # -- storage ---------------------------------------------------------------------------------------------------
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
            run.strategy.load_state_dict(state["strategy"])
            run.ledger.load_state_dict(state["ledger"])
            self._take(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint in {run.out} does not fit this strategy and data: {error}"
            ) from error
        self.start = self.stored = int(state["step"])

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


def _samples(batch: Batch) -> int:
    """Labeled and unlabeled samples of a step."""
    return sum(len(part.index) for part in (batch.labeled, batch.unlabeled) if part is not None)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _described(network: object) -> dict[str, Any] | None:
    """Class and sizes of an encoder; ``None`` if it says none."""
    sizes = {key: getattr(network, key, None) for key in ("shape", "grid", "embed_dim", "token_dim")}
    return None if None in sizes.values() else {"class": type(network).__name__} | sizes
