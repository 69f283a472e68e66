"""The stage that labels the samples on which a network had settled while it trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.errors import RunFolderError
from selftrain.handlers.snapshots import read
from selftrain.labels.stability import stability
from selftrain.labels.table import PseudoLabelTable
from selftrain.networks.optim import weights_of
from selftrain.pipeline.labeling import Labeling
from selftrain.pipeline.state import Job, Row
from selftrain.runtime.distributed import is_first
from selftrain.storage.atomic import write_json
from selftrain.storage.fields import Number, read_fields
from selftrain.storage.run_dir import SNAPSHOTS, STABILITY
from selftrain.tasks import Task
from selftrain.types import plain_settings


@plain_settings
@dataclass(frozen=True)
class ReliableLabeling(Labeling):
    """Let a stage label, and keep the samples on which its snapshots are most of one mind.

    Source: Yang et al., "ST++", CVPR 2022, arXiv:2106.05095, section 3.3. The other arguments are those of
    ``Labeling``. ``stability.json`` in its folder has the score of each unlabeled sample, in their order.

    Args:
        by: Name of the stage that labels; it was trained with ``handlers=[Snapshots(3, spacing="even")]``.
        share: Of the samples that are kept, in (0, 1]: the most stable ones, of equals the more confident.

    Raises:
        ValueError: for a ``share`` out of its range.
        RunFolderError: when it runs, if the stage has no snapshots, or its own file was damaged.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; it must be above 0 and at most 1")

    def about(self) -> Row:
        """What a resumed pipeline must share."""
        return super().about() | {"share": self.share}

    def kept(self, labels: PseudoLabelTable, job: Job, number: int) -> PseudoLabelTable:
        """The labels of the most stable samples; the others weigh nothing."""
        return labels.only(most_stable(self._stability(job, number), labels.confidence, self.share))

    def _stability(self, job: Job, number: int) -> Tensor:
        """Of each sample, now or as it was stored."""
        folder, run = job.folder(number, self.name), job.past[self.by]
        # of several processes each finds the same, as of the table
        path = folder / STABILITY if folder is not None and is_first() else None
        if path is not None and path.is_file():  # of this pipeline: what is replaced is removed
            again = f"delete {path}, and it is made again"
            rows = read_fields(path, {"stability": [Number(0)]}, again)["stability"]
            if len(rows) != len(job.pile.unlabeled_ids()):
                raise RunFolderError(f"{path} is of {len(rows)} samples and the pile of others; {again}")
            return torch.tensor(rows, dtype=torch.double)
        rows = [] if run.out is None else read(run.out)
        if run.out is None or len(rows) < 2:
            raise RunFolderError(
                f"stage {self.by!r} has {len(rows)} snapshots, and {self.name!r} compares them; train it with "
                "options={'handlers': [Snapshots(3, spacing='even')]} and give the pipeline a folder (out=...)"
            )
        snapshots = [weights_of(run.out / SNAPSHOTS / row["file"]) for row in rows]
        task: Task = run.strategy.task  # type: ignore[assignment]
        found = stability(task, run.network, snapshots, job.pile, batch_size=self.batch_size)
        if path is not None:
            write_json(path, {"stability": found.tolist()})
        return found


def most_stable(stability: Tensor, confidence: Tensor, share: float) -> Tensor:
    """Which samples are the most stable: a ``share`` of them, rounded down, at least one.

    Args:
        stability: Of each sample, shape (N,).
        confidence: Of its units, shape (N, *U): of equally stable samples the ones with the highest mean come first,
            then the earlier ones.
        share: In (0, 1].

    Returns:
        Shape (N,), bool.
    """
    sure = confidence.double().reshape(len(confidence), -1).mean(1)
    order = sure.argsort(descending=True, stable=True)
    order = order[stability[order].argsort(descending=True, stable=True)]
    kept = torch.zeros(len(stability), dtype=torch.bool)
    kept[order[: max(1, int(len(order) * share))]] = True
    return kept
