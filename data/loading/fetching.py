"""Reading the rows of one step, in whichever process; what fails is named by set and row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from selftrain.data.base.reading import blamed, read_rows
from selftrain.data.base.samples import Samples
from selftrain.data.loading.orders import BatchIndices, cycle, one_pass
from selftrain.data.loading.rare_classes import RareClasses
from selftrain.data.views.base import ViewMaker, in_two_parts
from selftrain.types import BatchPlan, View

EpochStep = tuple[int, int]  # epoch and step
LABELED, UNLABELED = "labeled", "unlabeled"


class RawPart(NamedTuple):
    """Rows of one set. ``images`` is ``None`` when the views were made where the rows were read."""

    rows: Tensor
    key: Tensor
    epoch: int
    images: Tensor | None
    views: dict[str, tuple[Tensor | None, ...]]  # of a view, what has to be carried over
    annotation: Tensor | None


class RawBatch(NamedTuple):
    """What one step needs of both sets."""

    labeled: RawPart | None
    unlabeled: RawPart | None


@dataclass(frozen=True)
class Fetcher:
    """Fetches the rows of step (epoch, step); holds no state."""

    labeled: Samples | None
    unlabeled: Samples | None
    views: ViewMaker
    labeled_names: Sequence[str]
    names: Sequence[str]
    plan: BatchPlan
    steps: int
    share: tuple[int, int] = (0, 1)
    rare: RareClasses | None = None

    def __getitem__(self, job: EpochStep) -> RawBatch:
        return self.fetch(job, lambda part: None)

    def fetch(self, job: EpochStep, begins: Callable[[str], None]) -> RawBatch:
        """The rows of a step; ``begins`` hears the name of each set before its rows are read."""
        labeled = unlabeled = None
        if self.labeled is not None and self.labeled_names:
            begins(LABELED)
            labeled = self._part(self.labeled, LABELED, self.indices(job, LABELED), self.labeled_names)
        if self.unlabeled is not None and self.names:
            begins(UNLABELED)
            unlabeled = self._part(self.unlabeled, UNLABELED, self.indices(job, UNLABELED), self.names)
        return RawBatch(labeled, unlabeled)

    def indices(self, job: EpochStep, part: str) -> BatchIndices:
        """Which rows of a set a step reads.

        Labeled rows cycle beside an unlabeled set; alone, they are the set an epoch passes over once. By rare-class
        sampling they are drawn anew at each step, either way.
        """
        epoch, step = job
        seed, labeled = self.plan.seed, len(self.labeled or ())
        if part == UNLABELED:
            indices = one_pass(len(self.unlabeled or ()), self.plan.unlabeled, step, seed=seed, epoch=epoch)
            return _shared(indices, self.share)
        if self.rare is None and self.unlabeled is None:
            indices = one_pass(labeled, self.plan.labeled, step, seed=seed, epoch=epoch)
        else:
            draw = cycle if self.rare is None else self.rare.draw
            indices = draw(labeled, self.plan.labeled, epoch * self.steps + step, seed=seed)
        # keys below zero: a labeled row shares no draws with the unlabeled row of the same number
        return _shared(indices._replace(key=-1 - indices.key), self.share)

    def _part(self, samples: Samples, part: str, indices: BatchIndices, names: Sequence[str]) -> RawPart:
        exact = getattr(self.views, "exact", False)
        images: Tensor | None = read_rows(samples, indices.rows, f"the {part} set", exact)
        # whole annotations lie in memory (they are small); only inputs are read
        annotation = None if samples.annotations is None else samples.annotations[indices.rows]
        views: dict[str, tuple[Tensor | None, ...]] = {}
        # one-by-one pipelines on the CPU are the slow part: they run beside training, in the loader processes
        if self.views.on_workers and images is not None:
            views, images = {name: self._view(samples, part, indices, name, images) for name in names}, None
        return RawPart(indices.rows, indices.key, indices.epoch, images, views, annotation)

    def _view(
        self, samples: Samples, part: str, indices: BatchIndices, name: str, images: Tensor
    ) -> tuple[Tensor | None, ...]:
        maker: Any = self.views.begun if in_two_parts(self.views) else self.views  # type: ignore[attr-defined]

        def make(places: slice) -> tuple[Tensor | None, ...]:
            view: View = maker(name, images[places], indices.key[places], indices.epoch)
            return view.x, view.theta, view.places, view.pixels

        return blamed(make, samples, indices.rows, f"cannot make the view {name!r} of", f"the {part} set")


def _shared(indices: BatchIndices, share: tuple[int, int]) -> BatchIndices:
    """The rows of one share, in their order."""
    number, shares = share
    if shares == 1:
        return indices
    # a contiguous share for each process: together they are the batch of one process, in its order
    rows, key = indices.rows.tensor_split(shares)[number], indices.key.tensor_split(shares)[number]
    return indices._replace(rows=rows, key=key)
