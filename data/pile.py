"""All samples of one problem: labeled, unlabeled, validation and test, with the views that show them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.evaluation import Evaluation, check_annotated
from selftrain.data.samples import ArraySet, Channels, Excerpt, Samples, Subset
from selftrain.data.splits import Overlap, check_labels, split, warn_missing
from selftrain.data.stream import PairedStream
from selftrain.data.table_views import TableViews
from selftrain.data.views import TensorViews, ViewMaker
from selftrain.errors import DataError
from selftrain.types import Annotated, BatchPlan, Needs

_PARTS = ("labeled", "validation", "test")
_EXCERPT = 2000  # unlabeled rows that figures without labels are made from


class Pile:
    """Labeled, unlabeled, validation and test samples of one problem.

    Annotations with one number per sample are taken for classes and checked; others (masks, points) pass as they are.

    Args:
        labeled: Samples with annotations, or ``None`` (then only label-free learning is possible).
        unlabeled: Samples, or ``None``; annotations they may have are never read.
        validation: Samples with annotations to choose the best checkpoint on, or ``None``.
        test: Samples with annotations that only the final evaluation sees, or ``None``.
        classes: Names; default: the numbers up to the largest label.
        views: Maker of views; default: ``TensorViews()`` or, for tables, ``TableViews()``. Where it has no mean and
            std, those of the unlabeled samples (without any: of the labeled ones) are filled in.
        truth: Class of every unlabeled row where it is known, -1 elsewhere, (N,); read for monitoring only.
        source: Where the data are from, one line.

    Attributes:
        labeled, unlabeled, validation, test: The sets; an empty one is ``None``.

    Raises:
        DataError: no samples at all, or a label outside the classes (row and value are named).

    Warns:
        UserWarning: a class without a label, by name.
    """

    def __init__(
        self,
        labeled: Samples | None,
        unlabeled: Samples | None,
        validation: Samples | None = None,
        test: Samples | None = None,
        *,
        classes: Sequence[str] | None = None,
        views: ViewMaker | None = None,
        truth: Tensor | None = None,
        source: str = "arrays",
    ) -> None:
        self.labeled, self.unlabeled = labeled or None, unlabeled or None
        self.validation, self.test = validation or None, test or None
        for part in _PARTS:
            if getattr(self, part) is not None:
                check_annotated(part, getattr(self, part))
        reference = self.unlabeled or self.labeled
        if reference is None:
            raise DataError("the pile has neither labeled nor unlabeled samples; check where the data are read")
        self.classes: Sequence[str] = self._checked_classes(classes)
        self.views = (views or _default_views(reference)).fitted(reference)
        self.source = source
        self._truth = self._checked_truth(truth)

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        classes: Sequence[str] | None = None,
        labels: int | None = None,
        validation: float = 0,
        overlap: Overlap = "exclude",
        seed: int = 0,
        ids: Sequence[str] | None = None,
        channels: Channels | None = None,
        views: ViewMaker | None = None,
        source: str = "arrays",
    ) -> Pile:
        """Make a pile from arrays.

        Args:
            x: Training inputs, as in ``ArraySet``.
            y: Class numbers, shape (N,); -1 = unlabeled.
            x_test: Test inputs, or ``None``.
            y_test: Their class numbers.
            classes: Names; default: the numbers up to the largest label.
            labels: Use only so many labels, evenly over the classes; the others become ``truth``. ``None``: all.
            validation: Labels to hold back, as in ``split``.
            overlap: Whether labeled rows are also unlabeled ones, as in ``split``.
            seed: Key of the choice of labels.
            ids: Names of the training rows; default their numbers.
            channels: Where the channel axis is, as in ``ArraySet``.
            views: Maker of views.
            source: Where the data are from, one line.

        Raises:
            DataError: inputs or labels that cannot be used; the message names row, value and remedy.
        """
        annotations = check_labels(y, classes)
        training = ArraySet(x, annotations, ids, channels=channels)
        test = None if x_test is None else ArraySet(x_test, check_labels(y_test, classes), channels=channels)
        return cls.from_samples(
            training,
            test,
            classes=classes,
            labels=labels,
            validation=validation,
            overlap=overlap,
            seed=seed,
            views=views,
            source=source,
        )

    @classmethod
    def from_samples(
        cls,
        training: Samples,
        test: Samples | None = None,
        *,
        classes: Sequence[str] | None = None,
        labels: int | None = None,
        validation: float = 0,
        overlap: Overlap = "exclude",
        seed: int = 0,
        views: ViewMaker | None = None,
        source: str = "arrays",
    ) -> Pile:
        """Make a pile from one training set with class numbers (-1 = unlabeled); arguments as in ``from_arrays``."""
        if training.annotations is None:
            raise DataError("the training samples have no annotations; give class numbers, -1 where unlabeled")
        annotations = training.annotations
        if classes is None:
            classes = _numbered(y for y in (annotations, None if test is None else test.annotations) if y is not None)
        parts = split(annotations, labels, classes=classes, validation=validation, seed=seed, overlap=overlap)
        return cls(
            Subset(training, parts.labeled),
            Subset(training, parts.unlabeled, annotated=False),
            Subset(training, parts.validation),
            test,
            classes=classes,
            views=views,
            truth=annotations[torch.from_numpy(parts.unlabeled)],
            source=source,
        )

    def stream(self, needs: Needs, plan: BatchPlan, device: torch.device) -> PairedStream:
        """The training batches of a strategy.

        Raises:
            DataError: the strategy needs labels and there are none.

        Warns:
            UserWarning: the strategy asks for unlabeled views and there are no unlabeled samples.
        """
        if needs.encode is not None and self.labeled is None:
            raise DataError("no sample has a label; learn without labels first: see selftrain.pretrain")
        if needs.encode is None and self.unlabeled is None:
            raise DataError("no unlabeled samples to learn from without labels; pass labeled images as unlabeled too")
        if needs.views and self.unlabeled is None:
            warnings.warn("no unlabeled samples: training is supervised only", stacklevel=2)
        return PairedStream(self.labeled, self.unlabeled, self.views, needs, plan, device)

    def evaluation(self, part: object, batch_size: int, device: torch.device) -> Iterable[Annotated] | None:
        """Plain samples with annotations.

        Args:
            part: ``"labeled"``, ``"validation"``, ``"test"``, or a set with annotations; ``"unlabeled"`` gives up to
                2,000 rows, evenly spaced, with annotation -1, for figures that need no labels.
            batch_size: Samples a batch, > 0; the last batch may be smaller.
            device: Where batches go.

        Returns:
            Batches, iterable any number of times; ``None`` when the part is empty.

        Raises:
            ValueError: an unknown part.
            DataError: the set has no annotations.
        """
        if isinstance(part, str) and part not in ("unlabeled", *_PARTS):
            raise ValueError(f"no part {part!r}; known are unlabeled, {', '.join(_PARTS)}, or pass a set")
        samples: object = getattr(self, part) if isinstance(part, str) else part
        if samples is None:
            return None
        if not isinstance(samples, Samples):
            raise ValueError(f"{type(samples).__name__} is no set of samples; pass one, or {', '.join(_PARTS)}")
        if not len(samples):
            return None
        if part == "unlabeled":
            samples = Excerpt(samples, _EXCERPT)
        return Evaluation(samples, self.views, batch_size, device)

    def unlabeled_ids(self) -> Sequence[str]:
        """A stable name for every unlabeled row."""
        return [] if self.unlabeled is None else self.unlabeled.ids

    def unlabeled_truth(self) -> Tensor | None:
        """Class of every unlabeled row where it is known, -1 elsewhere, (N,); ``None`` when none is known."""
        return self._truth

    def __repr__(self) -> str:
        sizes = {part: len(getattr(self, part) or ()) for part in ("labeled", "unlabeled", *_PARTS[1:])}
        counts = ", ".join(f"{size:,} {part}" for part, size in sizes.items())
        reference = self.unlabeled or self.labeled
        shape = "" if reference is None else "x".join(map(str, reference.images(np.zeros(1, np.int64)).shape[1:]))
        return f"Pile({counts}; {len(self.classes)} classes; inputs {shape}; from {self.source})"

    def _checked_classes(self, classes: Sequence[str] | None) -> Sequence[str]:
        found = {part: _class_numbers(part, getattr(self, part), classes) for part in _PARTS}
        labels = {part: numbers for part, numbers in found.items() if numbers is not None}
        classes = _numbered(labels.values()) if classes is None else classes
        if "labeled" in labels:
            warn_missing(labels["labeled"], classes)
        return list(classes)

    def _checked_truth(self, truth: Tensor | None) -> Tensor | None:
        if truth is None or self.unlabeled is None or bool((truth < 0).all()):
            return None
        if len(truth) != len(self.unlabeled):
            raise DataError(f"{len(self.unlabeled)} unlabeled samples but {len(truth)} true labels; give one for each")
        return check_labels(truth, self.classes)


def _class_numbers(part: str, samples: Samples | None, classes: Sequence[str] | None) -> Tensor | None:
    """Checked class numbers of a part; ``None`` where it is missing or its annotations are no classes."""
    if samples is None or samples.annotations is None or samples.annotations.ndim != 1:
        return None
    labels = check_labels(samples.annotations, classes)
    hidden = (labels < 0).nonzero()
    if len(hidden):
        row = int(hidden[0])
        raise DataError(f"label -1 at row {row} of the {part} samples means unlabeled; give its class or leave it out")
    return labels


def _numbered(labels: Iterable[Tensor]) -> Sequence[str]:
    """Class names 0, 1, ... up to the largest label."""
    return [str(i) for i in range(1 + max((int(y.max()) for y in labels if len(y)), default=-1))]


def _default_views(samples: Samples) -> ViewMaker:
    is_table = samples.images(np.zeros(1, np.int64)).ndim == 2
    return TableViews() if is_table else TensorViews()
