"""Labeled and unlabeled batches side by side, each a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from selftrain.data.base.reading import annotations_on, to_device
from selftrain.data.base.samples import Samples
from selftrain.data.loading.fetching import Fetcher, RawPart
from selftrain.data.loading.rare_classes import rare_classes
from selftrain.data.loading.workers import Workers
from selftrain.data.views.base import ViewMaker, in_two_parts
from selftrain.types import Batch, BatchPlan, Labeled, Needs, Target, Unlabeled, View


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
        ValueError: when both sets are missing or empty, a batch has fewer rows than there are shares, or targets have
            places and the geometry of the views is not known.
        DataError: rare-class sampling of labels that are no classes.
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
            # an epoch is a pass over what is most: every unlabeled row is seen once, whatever number of labels cycles
            # beside
            self.steps_per_epoch = -(-len(unlabeled) // plan.unlabeled)
        elif labeled is not None:
            self.steps_per_epoch = -(-len(labeled) // plan.labeled)
        else:
            raise ValueError("a stream needs labeled or unlabeled samples; both sets are empty")
        self.needs, self.plan, self.device = needs, plan, device
        self.views = views.seeded(plan.seed)
        if hasattr(views, "placed"):  # where places cost time, or are not known
            self.views = self.views.placed(needs.places)  # type: ignore[attr-defined]
        # loader processes get names only: encode and warp may belong to a strategy with all its networks
        names = [] if needs.encode is None else [needs.labeled_view]
        self.share = needs.share
        _check_divisible(self.share, plan.labeled if labeled and names else None)
        _check_divisible(self.share, plan.unlabeled if unlabeled and needs.views else None)
        parts = (labeled, unlabeled, self.views, names, list(needs.views))
        rare = None
        if plan.rare_class_temperature is not None and labeled is not None and needs.encode is not None:
            rare = rare_classes(labeled, needs.encode, plan.rare_class_temperature)
        self._fetch = Fetcher(*parts, plan, self.steps_per_epoch, self.share, rare)
        self._workers = Workers(self._fetch, pin_memory=device.type == "cuda")

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
        # looking ahead over the end of an epoch shows its beginning: draws of the next one belong to the next one
        jobs = [(number, step % self.steps_per_epoch) for step in range(start, self.steps_per_epoch + ahead)]
        # virtual steps look at batches ahead; each is fetched once and shown several times
        window: deque[Batch] = deque(maxlen=ahead + 1)
        for raw in self._workers(jobs) if self.plan.workers else map(self._fetch.__getitem__, jobs):
            unlabeled = self._unlabeled(raw.unlabeled)
            window.append(Batch(self._labeled(raw.labeled, unlabeled), unlabeled))
            if len(window) == ahead + 1:
                yield list(window)

    def _labeled(self, part: RawPart | None, unlabeled: Unlabeled | None) -> Labeled | None:
        if part is None and self.needs.no_labels is not None and unlabeled is not None:
            return self.needs.no_labels(next(iter(unlabeled.views.values())).x)
        if part is None or part.annotation is None or self.needs.encode is None:
            return None
        name = self.needs.labeled_view
        view = self._views(part, [name])[name]
        target = self._target(part.annotation)
        # the target moves with its view: a mask of a shifted picture is the shifted mask
        if self.needs.warp is not None:
            target = self.needs.warp(target, view)
        return Labeled(view.x, target, self._here(part.rows))

    def _target(self, annotation: Tensor) -> Target:
        """Annotations as the strategy wants them, on the device."""
        assert self.needs.encode is not None
        if annotation.dim() > 1:
            return self.needs.encode(annotations_on(annotation, self.device, non_blocking=True))
        # a number a sample is checked and encoded here, on the host: on the device the check would wait for it
        return self.needs.encode(annotation).each(self._here)

    def _unlabeled(self, part: RawPart | None) -> Unlabeled | None:
        if part is None:
            return None
        return Unlabeled(self._views(part, self.needs.views), self._here(part.rows))

    def _views(self, part: RawPart, names: Sequence[str]) -> dict[str, View]:
        if part.images is None:
            made = {name: View(*parts).each(self._here) for name, parts in part.views.items()}  # type: ignore[arg-type]
            if not in_two_parts(self.views):
                return made
            finished: Any = self.views.finished  # type: ignore[attr-defined]
            return {name: replace(view, x=finished(view.x)) for name, view in made.items()}
        # views are made here, on the training device, whole batches at a time; loader processes only read
        images, key = self._here(part.images), part.key
        if not getattr(self.views, "keys_on_host", False):
            key = self._here(key)
        return {name: self.views(name, images, key, part.epoch) for name in names}

    def _here(self, tensor: Tensor) -> Tensor:
        # pinned memory is copied while the step before still computes
        return to_device(tensor, self.device, non_blocking=True)


def _check_divisible(share: tuple[int, int], rows: int | None) -> None:
    if rows is not None and rows < share[1]:
        raise ValueError(f"a batch of {rows} rows cannot be shared among {share[1]} processes; make it larger")
