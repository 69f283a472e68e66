"""Run a pipeline from its first stage to its last, or to where it is stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from selftrain.engine.run import Figures, Run, evaluate
from selftrain.errors import DataError
from selftrain.pipeline.folder import claim
from selftrain.pipeline.labeling import Labeling
from selftrain.pipeline.report import publish, table
from selftrain.pipeline.stages import Best, Stage
from selftrain.pipeline.state import Job, Past, Row
from selftrain.runtime import signals
from selftrain.runtime.distributed import is_first
from selftrain.storage.lock import locked
from selftrain.types import BatchPlan, Pile

Part = Stage | Labeling | Best


@dataclass
class PipelineRun:
    """What a pipeline left.

    Attributes:
        past: Runs and tables of the finished stages, by name.
        rows: The report, one row a finished stage.
        finished: Whether all stages are.
        out: Folder of the pipeline, or ``None``.
    """

    past: Past
    rows: list[Row]
    finished: bool
    out: Path | None = None

    @property
    def run(self) -> Run:
        """Run of the last finished stage that has weights, with those it hands on.

        Raises:
            ValueError: if no stage has finished.
        """
        if not len(self.past):
            raise ValueError("no stage of the pipeline has finished; continue it with resume=True")
        return self.past[list(self.past)[-1]]

    def evaluate(self, data: object = "test") -> Figures:
        """Figures of what the pipeline ships, on a part of the pile or another data set."""
        return evaluate(self.run.strategy, self.run.pile, data)

    def export(self) -> Mapping[str, torch.Tensor]:
        """Weights of what the pipeline ships, see ``learner(init_from=...)``."""
        return self.run.export()

    def table(self) -> str:
        """The report as text, one line a stage."""
        return table(self.rows)


@signals.handle_signals()
def run_pipeline(
    stages: Sequence[Part],
    pile: Pile,
    out: str | Path | None = None,
    *,
    plan: BatchPlan | None = None,
    device: torch.device | str | None = None,
    monitor: Mapping[str, object] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stop_after: int | None = None,
    test: bool = True,
) -> PipelineRun:
    """Run stages one after another; each gets what those before have left.

    In ``out`` every stage has a folder ``NN-name``. Beside them are ``report.json``, ``report.txt`` and, in files of
    TensorBoard and ``metrics.jsonl``, the figures and alarms of all stages on one axis of steps.

    Args:
        stages: ``Stage``, ``Labeling`` and ``Best`` in order.
        pile: Labeled, unlabeled and, if there is one, validation and test data.
        out: Folder of the pipeline; ``None``: nothing is stored.
        plan: Batch sizes, seed and workers of stages without a plan of their own.
        device: Where to train; ``None``: where the strategies are.
        monitor: Further data to evaluate on during training, see ``fit``.
        resume: Continue the pipeline in ``out``: finished stages are taken from their folders, an interrupted one goes
            on at its checkpoint. The stages must be the same; more may follow.
        overwrite: Replace the pipeline in ``out``.
        stop_after: End after this many steps over all stages, with a checkpoint: the rest is for ``resume``.
        test: Whether the report shows figures on the test part. They choose nothing.

    Raises:
        RunFolderError: if ``out`` holds a pipeline and neither ``resume`` nor ``overwrite`` is set, or was started with
            other stages or settings.
        ValueError: for no stages, two of one name, a name that comes too late, or best weights without validation.
        DataError: if there is nothing to label.
    """
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"stop_after is {stop_after}; it must be at least 1")
    # before any stage runs: a name that is missing would be noticed after hours
    check_order(stages)
    check_data(stages, pile)
    where = None if device is None else torch.device(device)
    about = [{"kind": type(stage).__name__, "name": stage.name} | stage.about() for stage in stages]
    folder = None if out is None else Path(out)
    # Of several processes one alone writes; a second lock of the same folder would refuse its own run.
    with locked(folder if is_first() else None, create=not resume):
        if is_first():  # of several processes
            claim(out, about, resume=resume, overwrite=overwrite)
        job = Job(pile, folder, plan or BatchPlan(), where, monitor, resume, overwrite, stop_after, test)
        for number, stage in enumerate(stages, 1):
            # A signal between two stages meets no loop that would heed it.
            signals.check()
            row = stage.run(job, number)
            if row is None:  # it was stopped before its end
                break
            job.rows.append({"number": number, "name": stage.name} | row)
        finished = len(job.rows) == len(stages)
        if folder is not None and is_first():
            publish(folder, job.rows, finished=finished)
        return PipelineRun(job.past, job.rows, finished, folder)


def check_order(stages: Sequence[Part]) -> None:
    """Refuse a list in which a stage cannot find what it needs.

    Raises:
        ValueError: for no stages, two of one name, or a name that does not train before it is needed.
    """
    if not stages:
        raise ValueError("the pipeline has no stages; give at least one")
    known: list[str] = []
    trained: list[str] = []
    labeled: list[str] = []
    for stage in stages:
        if stage.name in known:
            raise ValueError(f"two stages are named {stage.name!r}; give each its own name")
        late = [name for name in stage.needs() if name not in trained]
        if late:
            raise ValueError(
                f"stage {stage.name!r} needs {late[0]!r}, which does not train before it; known: {trained}"
            )
        if isinstance(stage, Labeling) and stage.completes not in (None, *labeled):
            raise ValueError(
                f"stage {stage.name!r} completes {stage.completes!r}, no table before it; known: {labeled}"
            )
        known.append(stage.name)
        # A labeling stage leaves a table and no weights.
        (labeled if isinstance(stage, Labeling) else trained).append(stage.name)


def check_data(stages: Sequence[Part], pile: Pile) -> None:
    """Refuse a pile that a stage has nothing to find in.

    Raises:
        ValueError: if weights are chosen on validation data and there are none.
        DataError: if there is nothing to label.
    """
    chosen = [s.name for s in stages if isinstance(s, Best) or (isinstance(s, Stage) and s.which == "best")]
    if chosen and pile.evaluation("validation", 1, torch.device("cpu")) is None:
        raise ValueError(f"stage {chosen[0]!r} is chosen on validation data, and the pile has none; use which='last'")
    if any(isinstance(s, Labeling) for s in stages) and not len(pile.unlabeled_ids()):
        raise DataError("the pile has no unlabeled samples to label; give it some, or train on labels alone")
