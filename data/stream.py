"""Labeled and unlabeled batches side by side, each a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selftrain.data.orders import Taken, cycle, one_pass
from selftrain.data.samples import Samples
from selftrain.data.views import ViewMaker
from selftrain.errors import DataError
from selftrain.types import Batch, BatchPlan, Labeled, Needs, Unlabeled, View

Job = tuple[int, int]


class _Part(NamedTuple):
    """Fetched rows of one set. ``images`` is ``None`` when the views were made where the rows were fetched."""

    rows: Tensor
    key: Tensor
    epoch: int
    images: Tensor | None
    views: dict[str, tuple[Tensor, Tensor | None]]
    annotation: Tensor | None


class _Fetched(NamedTuple):
    labeled: _Part | None
    unlabeled: _Part | None


@dataclass(frozen=True)
class _Fetcher:
    """Fetches the rows of step (epoch, step), in whichever process; holds no state."""

    labeled: Samples | None
    unlabeled: Samples | None
    views: ViewMaker
    labeled_names: Sequence[str]
    names: Sequence[str]
    plan: BatchPlan
    steps: int
    share: tuple[int, int] = (0, 1)

    def __getitem__(self, job: Job) -> _Fetched:
        epoch, step = job
        labeled = unlabeled = None
        if self.labeled is not None and self.labeled_names:
            taken = self._labeled_rows(len(self.labeled), epoch, step)
            labeled = self._part(self.labeled, taken, self.labeled_names)
        if self.unlabeled is not None and self.names:
            taken = one_pass(len(self.unlabeled), self.plan.unlabeled, step, seed=self.plan.seed, epoch=epoch)
            unlabeled = self._part(self.unlabeled, taken, self.names)
        return _Fetched(labeled, unlabeled)

    def _part(self, samples: Samples, taken: Taken, names: Sequence[str]) -> _Part:
        taken = _shared(taken, self.share)
        images: Tensor | None = samples.images(taken.rows.numpy())
        annotation = None if samples.annotations is None else samples.annotations[taken.rows]
        views: dict[str, tuple[Tensor, Tensor | None]] = {}
        if self.views.on_workers and images is not None:
            made = {name: self.views(name, images, taken.key, taken.epoch) for name in names}
            views, images = {name: (view.x, view.theta) for name, view in made.items()}, None
        return _Part(taken.rows, taken.key, taken.epoch, images, views, annotation)

    def _labeled_rows(self, n: int, epoch: int, step: int) -> Taken:
        """Labeled rows cycle beside an unlabeled set; alone, they are the set an epoch passes over once."""
        size = self.plan.labeled
        if self.unlabeled is None:
            taken = one_pass(n, size, step, seed=self.plan.seed, epoch=epoch)
        else:
            taken = cycle(n, size, epoch * self.steps + step, seed=self.plan.seed)
        # keys below zero: a labeled row shares no draws with the unlabeled row of the same number
        return taken._replace(key=-1 - taken.key)


class _Remote(Dataset["_Fetched | DataError"]):
    """A fetcher for loader processes: bad data are handed over, since an exception would arrive wrapped in a trace."""

    def __init__(self, fetch: _Fetcher) -> None:
        self.fetch = fetch

    def __getitem__(self, job: Job) -> _Fetched | DataError:
        try:
            return self.fetch[job]
        except DataError as error:
            return error


class PairedStream:
    """Batches of a run: an epoch is one pass over the unlabeled set; labeled rows cycle.

    Without an unlabeled set an epoch is one pass over the labeled set. Every batch is full: where the rows do not
    divide evenly, the last batch is filled up from the pass's first rows, with draws of their own. Batches depend on
    (seed, epoch, step) alone, so an epoch can be entered anywhere, and the number of loader processes changes nothing.
    The global random state is neither read nor changed.

    Args:
        labeled: Samples with annotations, or ``None``.
        unlabeled: Samples, or ``None``.
        views: Maker of views; its ``seed`` is replaced by the plan's.
        needs: What the strategy needs.
        plan: Sizes, seed and loader processes.
        device: Where batches go.

    Attributes:
        steps_per_epoch: Batches an epoch.
        share: The share of each batch's rows that is delivered, as ``needs`` says.

    Raises:
        ValueError: when both sets are missing or empty, or a batch has fewer rows than there are shares.
    """

    def __init__(
        self,
        labeled: Samples | None,
        unlabeled: Samples | None,
        views: ViewMaker,
        needs: Needs,
        plan: BatchPlan,
        device: torch.device,
    ) -> None:
        labeled, unlabeled = labeled or None, unlabeled or None
        if unlabeled is not None:
            self.steps_per_epoch = -(-len(unlabeled) // plan.unlabeled)
        elif labeled is not None:
            self.steps_per_epoch = -(-len(labeled) // plan.labeled)
        else:
            raise ValueError("a stream needs labeled or unlabeled samples; both sets are empty")
        self.needs, self.plan, self.device = needs, plan, device
        self.views = views.seeded(plan.seed)
        # loader processes get names only: encode and warp may belong to a strategy with all its networks
        names = [] if needs.encode is None else [needs.labeled_view]
        self.share = needs.share
        _check_share(self.share, plan.labeled if labeled and names else None)
        _check_share(self.share, plan.unlabeled if unlabeled and needs.views else None)
        parts = (labeled, unlabeled, self.views, names, list(needs.views))
        self._fetch = _Fetcher(*parts, plan, self.steps_per_epoch, self.share)
        self._idle: DataLoader[_Fetched | DataError] | None = None

    def epoch(self, number: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Batches of epoch ``number`` from its step ``start`` on.

        Args:
            number: Epoch, >= 0.
            start: First step, in [0, steps_per_epoch].

        Yields:
            A list of one batch and the ``needs.extra_batches`` that follow it; after the epoch's last batch comes its
            first again.

        Raises:
            ValueError: ``start`` outside the epoch.
        """
        if number < 0 or not 0 <= start <= self.steps_per_epoch:
            raise ValueError(f"epoch {number} has no step {start}; its steps are 0 to {self.steps_per_epoch - 1}")
        return self._windows(number, start)

    def _windows(self, number: int, start: int) -> Iterator[Sequence[Batch]]:
        if start == self.steps_per_epoch:
            return
        ahead = self.needs.extra_batches
        jobs = [(number, step % self.steps_per_epoch) for step in range(start, self.steps_per_epoch + ahead)]
        window: deque[Batch] = deque(maxlen=ahead + 1)
        for fetched in self._fetched(jobs):
            window.append(self._batch(fetched))
            if len(window) == ahead + 1:
                yield list(window)

    def _fetched(self, jobs: list[Job]) -> Iterator[_Fetched]:
        if not self.plan.workers:
            yield from map(self._fetch.__getitem__, jobs)
            return
        # a loader in use is not shared: an epoch begun inside another gets processes of its own
        loader, self._idle = self._idle or self._loader(), None
        try:
            yield from self._items(loader, jobs)
        except Exception:
            del loader  # ends its processes at once; the error's trace would keep them waiting
            raise
        except GeneratorExit:
            self._idle = loader
            raise
        self._idle = loader

    def _items(self, loader: DataLoader[_Fetched | DataError], jobs: list[Job]) -> Iterator[_Fetched]:
        _jobs(loader)[:] = jobs
        for item in loader:
            if isinstance(item, DataError):
                del loader
                raise item
            yield item

    def _loader(self) -> DataLoader[_Fetched | DataError]:
        jobs: list[Job] = []
        return DataLoader(
            _Remote(self._fetch),
            batch_size=None,
            sampler=jobs,
            num_workers=self.plan.workers,
            persistent_workers=True,
            collate_fn=_unchanged,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else the loader would draw its base seed from the global state
        )

    def _batch(self, fetched: _Fetched) -> Batch:
        return Batch(self._labeled(fetched.labeled), self._unlabeled(fetched.unlabeled))

    def _labeled(self, part: _Part | None) -> Labeled | None:
        if part is None or part.annotation is None or self.needs.encode is None:
            return None
        name = self.needs.labeled_view
        view = self._views(part, [name])[name]
        target = self.needs.encode(self._here(part.annotation))
        if self.needs.warp is not None:
            target = self.needs.warp(target, view)
        return Labeled(view.x, target, self._here(part.rows))

    def _unlabeled(self, part: _Part | None) -> Unlabeled | None:
        if part is None:
            return None
        return Unlabeled(self._views(part, self.needs.views), self._here(part.rows))

    def _views(self, part: _Part, names: Sequence[str]) -> dict[str, View]:
        if part.images is None:
            return {
                name: View(self._here(x), None if theta is None else self._here(theta))
                for name, (x, theta) in part.views.items()
            }
        images, key = self._here(part.images), self._here(part.key)
        return {name: self.views(name, images, key, part.epoch) for name in names}

    def _here(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


def _shared(taken: Taken, share: tuple[int, int]) -> Taken:
    """The rows of one share, in their order."""
    number, shares = share
    if shares == 1:
        return taken
    rows, key = taken.rows.tensor_split(shares)[number], taken.key.tensor_split(shares)[number]
    return taken._replace(rows=rows, key=key)


def _check_share(share: tuple[int, int], rows: int | None) -> None:
    if rows is not None and rows < share[1]:
        raise ValueError(f"a batch of {rows} rows cannot be shared among {share[1]} processes; make it larger")


def _unchanged(item: Any) -> Any:
    return item


def _jobs(loader: DataLoader[_Fetched | DataError]) -> list[Job]:
    jobs = loader.sampler
    if not isinstance(jobs, list):
        raise TypeError("the loader's sampler is not the list of jobs")
    return jobs
