"""Reading the rows of one step, in whichever process; what fails is named by set and row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from selftrain.data.base.reading import blamed, read_rows
from selftrain.data.base.samples import Samples
from selftrain.data.loading.orders import Taken, cycle, one_pass
from selftrain.data.views.base import ViewMaker
from selftrain.types import BatchPlan

Job = tuple[int, int]  # epoch and step
LABELED, UNLABELED = "labeled", "unlabeled"


class Part(NamedTuple):
    """Fetched rows of one set. ``images`` is ``None`` when the views were made where the rows were fetched."""

    rows: Tensor
    key: Tensor
    epoch: int
    images: Tensor | None
    views: dict[str, tuple[Tensor, Tensor | None]]
    annotation: Tensor | None


class Fetched(NamedTuple):
    """What one step needs of both sets."""

    labeled: Part | None
    unlabeled: Part | None


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

    def __getitem__(self, job: Job) -> Fetched:
        return self.fetch(job, lambda part: None)

    def fetch(self, job: Job, begins: Callable[[str], None]) -> Fetched:
        """The rows of a step; ``begins`` hears the name of each set before its rows are read."""
        labeled = unlabeled = None
        if self.labeled is not None and self.labeled_names:
            begins(LABELED)
            labeled = self._part(self.labeled, LABELED, self.taken(job, LABELED), self.labeled_names)
        if self.unlabeled is not None and self.names:
            begins(UNLABELED)
            unlabeled = self._part(self.unlabeled, UNLABELED, self.taken(job, UNLABELED), self.names)
        return Fetched(labeled, unlabeled)

    def taken(self, job: Job, part: str) -> Taken:
        """Which rows of a set a step reads.

        Labeled rows cycle beside an unlabeled set; alone, they are the set an epoch passes over once.
        """
        epoch, step = job
        seed, labeled = self.plan.seed, len(self.labeled or ())
        if part == UNLABELED:
            taken = one_pass(len(self.unlabeled or ()), self.plan.unlabeled, step, seed=seed, epoch=epoch)
            return _shared(taken, self.share)
        if self.unlabeled is None:
            taken = one_pass(labeled, self.plan.labeled, step, seed=seed, epoch=epoch)
        else:
            taken = cycle(labeled, self.plan.labeled, epoch * self.steps + step, seed=seed)
        # keys below zero: a labeled row shares no draws with the unlabeled row of the same number
        return _shared(taken._replace(key=-1 - taken.key), self.share)

    def _part(self, samples: Samples, part: str, taken: Taken, names: Sequence[str]) -> Part:
        images: Tensor | None = read_rows(samples, taken.rows, f"the {part} set")
        annotation = None if samples.annotations is None else samples.annotations[taken.rows]
        views: dict[str, tuple[Tensor, Tensor | None]] = {}
        if self.views.on_workers and images is not None:
            views, images = {name: self._view(samples, part, taken, name, images) for name in names}, None
        return Part(taken.rows, taken.key, taken.epoch, images, views, annotation)

    def _view(
        self, samples: Samples, part: str, taken: Taken, name: str, images: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        def make(places: slice) -> tuple[Tensor, Tensor | None]:
            view = self.views(name, images[places], taken.key[places], taken.epoch)
            return view.x, view.theta

        return blamed(make, samples, taken.rows, f"cannot make the view {name!r} of", f"the {part} set")


def _shared(taken: Taken, share: tuple[int, int]) -> Taken:
    """The rows of one share, in their order."""
    number, shares = share
    if shares == 1:
        return taken
    rows, key = taken.rows.tensor_split(shares)[number], taken.key.tensor_split(shares)[number]
    return taken._replace(rows=rows, key=key)
