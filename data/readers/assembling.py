"""A pile from the sets that a file or a user names: training samples, further unlabeled ones, held-out ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selftrain.data.base.joined import Joined
from selftrain.data.base.samples import Samples, Subset
from selftrain.data.base.splits import Overlap, split
from selftrain.data.base.units import by_class, rows_known
from selftrain.data.pile import Pile
from selftrain.data.views.base import ViewMaker
from selftrain.errors import DataError


def assemble(  # noqa: D417
    training: Samples | None,
    unlabeled: Samples | None = None,
    test: Samples | None = None,
    *,
    validation: float | Samples | None = 0,
    classes: Sequence[str],
    notes: Sequence[str] = (),
    labels: int | None = None,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
    source: str = "arrays",
    truth: Tensor | None = None,
) -> Pile:
    """Make a pile of what a reader has found.

    Args:
        training: Samples with class numbers, -1 = unlabeled, or with masks or joints; ``None``, or without annotations:
            there are no labels.
        unlabeled: Further samples without label, joined to those of ``training``.
        test: Samples with class numbers that only the final evaluation sees.
        validation: Labels to hold back, or a set of its own.
        notes: What was read of the labels, in sentences.
        classes, labels, overlap, seed, views, source, truth: As in ``Pile.from_samples``.

    Raises:
        DataError: no samples, or labels that cannot be used.
    """
    share = validation if isinstance(validation, int | float) else 0
    held_out = None if isinstance(validation, int | float) else validation
    if training is None or training.annotations is None:
        if share:
            raise DataError(f"validation is {share}, but no sample has a label to hold back")
        return Pile(None, joined(training, unlabeled), held_out, test, classes=classes, views=views, source=source)
    known = by_class(training.annotations)
    if labels is None and not bool((known >= 0).any()):
        labels = 0
    one_label = training.annotations.dim() == 1  # of masks and joints all that is known is whether a row has any
    names = classes if one_label else None
    parts = split(known, labels, classes=names, validation=share, seed=seed, overlap=overlap)
    rest = Subset(training, parts.unlabeled, annotated=False)
    pile = Pile(
        Subset(training, parts.labeled),
        joined(rest, unlabeled),
        Subset(training, parts.validation) if held_out is None else held_out,
        test,
        classes=classes,
        views=views,
        # nobody knows the class of further unlabeled rows, if they have one of these at all
        truth=rows_known(truth, training.annotations, parts.unlabeled, len(unlabeled or ())),
        source=source,
    )
    pile.summary = pile.summary.plus(labels=notes)
    return pile


def joined(first: Samples | None, second: Samples | None) -> Samples | None:
    """The rows of both sets; one of them alone as it is."""
    if not first or not second:
        return first or second
    return Joined(first, second, None)
