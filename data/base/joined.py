"""Two sets as one, and labeled sets to which samples of the pile were added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.samples import Rows, Samples, Subset, exact_rows, single
from selftrain.data.base.splits import check_labels
from selftrain.errors import DataError


class Joined:
    """The rows of one set and then those of another, without annotations of their own.

    Args:
        first, second: The sets; inputs of one shape. Where one has bytes and the other floats, bytes become floats in
            [0, 1].
        annotations: What is known of each row, those of ``first`` first, or ``None``.

    Raises:
        DataError: inputs of different shapes.
    """

    def __init__(self, first: Samples, second: Samples, annotations: Tensor | None) -> None:
        self.first, self.second = first, second
        self.annotations: Tensor | None = annotations
        self.gaps = any(getattr(one, "gaps", False) for one in (first, second))
        self.ids: Sequence[str] = [*first.ids, *second.ids]
        # read one row of each now: a batch with both would fail at a step that depends on the seed
        shapes = [tuple(s.images(np.zeros(1, np.int64)).shape[1:]) for s in (first, second) if len(s)]
        if len(set(shapes)) > 1:
            raise DataError(f"inputs have the shapes {shapes[0]} and {shapes[1]}; bring both sets to one shape")

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def images(self, index: Rows) -> Tensor:
        """Inputs of some rows of the two."""
        return single(self.exact(index))

    def exact(self, index: Rows) -> Tensor:
        """The same in the precision that they were given in, see ``exact_rows``."""
        index = np.asarray(index, dtype=np.int64)
        later = index >= len(self.first)
        if not later.any():
            return exact_rows(self.first, index)
        if later.all():
            return exact_rows(self.second, index - len(self.first))
        parts = [exact_rows(self.first, index[~later]), exact_rows(self.second, index[later] - len(self.first))]
        # a set of files and one of arrays may hold the same pictures in two types
        if parts[0].dtype != parts[1].dtype:
            parts = [part.float() / 255 if part.dtype == torch.uint8 else part for part in parts]
            wide = torch.promote_types(parts[0].dtype, parts[1].dtype)
            parts = [part.to(torch.promote_types(wide, torch.float32)) for part in parts]
        # each part is read in one piece; the rank of each row among both puts them back in the order asked for
        places = np.argsort(np.argsort(later, kind="stable"), kind="stable")
        return torch.cat(parts)[torch.from_numpy(places)]


def with_labels(labeled: Samples | None, added: Subset, classes: Tensor) -> Samples:
    """A labeled set and further samples with their labels; a sample that is in both has the one given here.

    Args:
        labeled: Samples with labels of the same kind, or ``None``.
        added: Rows of another set, or of the one that ``labeled`` is a subset of.
        classes: Their class numbers, masks or joints.
    """
    added = _of_innermost(added)
    if labeled is None:
        return _annotated(added.base, added.rows, classes)
    labeled = _of_innermost(labeled) if isinstance(labeled, Subset) else labeled
    given: Tensor
    if classes.dim() == 1:
        given = check_labels(labeled.annotations)
    else:
        assert labeled.annotations is not None
        given = labeled.annotations[:]  # masks of files are read here
        # behind each mask its weights: a person is sure
        classes = torch.stack([classes, torch.full_like(classes, 255)], 1) if given.dim() > classes.dim() else classes
        classes = classes.to(given.dtype)
    if not isinstance(labeled, Subset) or labeled.base is not added.base:
        return Joined(labeled, added, torch.cat([given, classes]))
    # a sample that was labeled before and is decided on anew must not be in the set twice
    stays = ~np.isin(labeled.rows, added.rows)
    rows = np.concatenate([labeled.rows[stays], added.rows])
    return _annotated(added.base, rows, torch.cat([given[torch.from_numpy(stays)], classes]))


def relabeled(samples: Samples, annotations: Tensor) -> Samples:
    """The same rows with other annotations; itself where they are the same."""
    known = samples.annotations
    if known is annotations:
        return samples
    same = known is not None and known.dtype == annotations.dtype and torch.equal(known, annotations)
    # a set of its own: the annotations of the one that was given stay
    return samples if same else _annotated(samples, np.arange(len(samples)), annotations)


def _annotated(base: Samples, rows: Rows, annotations: Tensor | None) -> Subset:
    subset = Subset(base, rows, annotated=False)
    subset.annotations = annotations
    return subset


def _of_innermost(subset: Subset) -> Subset:
    """The same rows of the innermost set."""
    base, rows = subset.base, subset.rows
    # subsets of subsets of one set are told to be of that set by its innermost base alone
    while isinstance(base, Subset):
        rows = base.rows[rows]
        base = base.base
    return _annotated(base, rows, subset.annotations)
