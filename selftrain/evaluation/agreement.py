"""Whether several looks at a sample lead to one decision: looks at a part of the pile, and how many of them side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selftrain.mix import pick
from selftrain.runtime import signals
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Task, unmoved
from selftrain.types import BatchPlan, Needs, Pile, Target

LOOKS = ("weak", "weak2", "weak3")  # the same recipe, with draws of their own
SAMPLE = 2000  # rows of the pile that are looked at
FEW_LOOKED = 500  # the same at each evaluation of a run
_BATCH = 50  # all looks of a batch are held at once
_EPOCH = 2**31 - 1  # no run gets there: no network has learned from its draws


def siding(task: Task, values: Tensor, shown: Tensor) -> Tensor:
    """Share of the looks at a unit that side with their consensus.

    Args:
        task: Kind of output; it says what siding means.
        values: Prediction of each look in one geometry, shape (N, B, C, *S), in [0, 1].
        shown: 1 where the look shows the unit, else 0, shape (N, B, *U). Other looks are not asked.

    Returns:
        Share of the looks that show the unit, shape (B, *U), in [0, 1]; 0 where none does.
    """
    spread = torch.stack([task.spread(mask) for mask in shown])
    mean = (values * spread).sum(0) / spread.sum(0).clamp(min=1)
    asked = torch.where(spread > 0, values, mean)  # a look that is not asked must not move the consensus
    return (task.agree(asked) * shown).sum(0) / shown.sum(0).clamp(min=1)


def pile_looks(
    strategy: SupervisedStrategy, pile: Pile, views: Sequence[str], *, limit: int = SAMPLE, seed: int = 0
) -> Iterator[tuple[Tensor, list[Target]]]:
    """What a strategy ships for several views of the same unlabeled samples, batch by batch.

    The samples are the first rows of a pass over the pile in an order of its own, so a random choice; it and the draws
    of the views depend on ``seed`` alone. The strategy is in evaluation mode meanwhile.

    Args:
        strategy: A trained strategy.
        pile: Its data.
        views: Names of the views.
        limit: Most samples that are looked at, at least 1.
        seed: Key of the choice and of the draws.

    Yields:
        Rows of the unlabeled set, shape (B,), and for each view its prediction, brought back to the geometry of the
        unmoved image; units that a view does not show are not valid. Nothing if there are no unlabeled samples.
    """
    left = min(limit, len(pile.unlabeled_ids()))
    if not left:
        return
    device, most = next(strategy.parameters()).device, _BATCH * len(views)
    fits = getattr(pile.evaluation("pile", most, device), "batch_size", most) // len(views)  # masks may be large
    # batches of nearly one size: what fills up the last one is computed for nothing
    size = math.ceil(left / math.ceil(left / max(1, min(_BATCH, fits))))
    stream = pile.stream(Needs(views=tuple(views)), BatchPlan(size, 1.0, seed), device)
    with strategy.evaluating():
        for batch, *_ in stream.epoch(_EPOCH):
            signals.check()
            index = batch.unlabeled.index[:left]  # the rows that fill up the last batch have been seen
            shown = [batch.unlabeled[name] for name in views]
            said = [unmoved(strategy.task, strategy.predict(view.x), view) for view in shown]
            yield index, [pick(target, slice(len(index))) for target in said]
            left -= len(index)
            if not left:
                return


def view_agreement(strategy: SupervisedStrategy, pile: Pile, *, limit: int = SAMPLE, seed: int = 0) -> float | None:
    """Share of the units of unlabeled samples on which a strategy decides alike on three weak views.

    Only units that all three show count (pixels of the image, joints whose place is inside it).

    Args:
        strategy: A trained strategy.
        pile: Its data.
        limit: Most samples that are looked at.
        seed: Key of the choice of samples and of the views' draws.

    Returns:
        The share in [0, 1]; ``None`` if there are no such units.
    """
    alike = counted = 0
    for _, looks in pile_looks(strategy, pile, LOOKS, limit=limit, seed=seed):
        # shown by all: outside of a view a prediction is padding, which agrees with nothing
        shown = torch.stack([look.mask() for look in looks]).amin(0) > 0
        one = strategy.task.agree(torch.stack([look.value for look in looks])).all(0)
        alike, counted = alike + int((one & shown).sum()), counted + int(shown.sum())
    return alike / counted if counted else None


@torch.no_grad()
def pile_figures(strategy: SupervisedStrategy, pile: Pile, *, batch_size: int = 500) -> tuple[dict[str, float], int]:
    """What can be said of a strategy without any label, on an excerpt of the pile; none of it says what is right.

    Args:
        strategy: A trained strategy.
        pile: Its data.
        batch_size: Samples asked at a time.

    Returns:
        ``confidence``: mean over the units; ``views_agree``: ``view_agreement``, if there is any; ``share/CLASS``: of
            the units that are decided for each class, where units have classes. And the number of samples.
    """
    task, device = strategy.task, next(strategy.parameters()).device
    sure, units, rows = 0.0, 0, 0
    counts = torch.zeros(task.groups, dtype=torch.double)
    with strategy.evaluating():
        for batch in pile.evaluation("unlabeled", batch_size, device) or ():
            signals.check()
            value = strategy.predict(batch.x)
            confidence = task.confidence(value)
            sure, units, rows = sure + float(confidence.double().sum()), units + confidence.numel(), rows + len(value)
            if task.has_classes:
                counts += torch.bincount(task.label(value).flatten(), minlength=task.groups).cpu()
    figures = {"confidence": sure / max(1, units)}
    agree = view_agreement(strategy, pile, limit=FEW_LOOKED)
    figures |= {} if agree is None else {"views_agree": agree}
    if task.has_classes:
        names = pile.classes if len(pile.classes) == task.groups else range(task.groups)
        figures |= {f"share/{name}": float(n) / max(1, units) for name, n in zip(names, counts, strict=True)}
    return figures, rows
