"""Where a review page has its content from: the ledger of a run, and the samples it is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.engine.run import Run
from selftrain.engine.spec import open_run
from selftrain.errors import DataError
from selftrain.labels.ledger import Ledger
from selftrain.labels.thumbnails import shrunk
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tensorboard.tiles import SMALL, tiles, with_heat, with_labels
from selftrain.types import Pile

_BATCH, _ASKED = 256, 32
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """Inputs of the samples that are shown, in their order.

    Attributes:
        pile: The data.
        rows: Rows of the set, shape (M,).
        part: ``"unlabeled"`` or ``"labeled"``.
        points: Whether inputs with three axes are clouds of points and not series.
    """

    pile: Pile
    rows: Rows
    points: bool
    part: str = "unlabeled"

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self) -> Iterator[Tensor]:
        """Inputs in order, at most 256 at once: as the set has them, or plain views where the pile shows no set."""
        samples: Any = getattr(self.pile, self.part, None)
        # not the view, which is normalized for networks: a person knows the sample as it is
        if hasattr(samples, "images"):
            for start in range(0, len(self.rows), _BATCH):
                yield samples.images(self.rows[start : start + _BATCH])
        elif len(self.rows):
            whole = _plain(self.pile, self.rows)
            yield from whole.split(_BATCH)

    def some(self, size: int) -> Inputs:
        """Up to ``size`` of the samples, evenly spaced."""
        # rows may be sorted by margin: the first ones would be no fair sample of them
        step = max(1, -(-len(self.rows) // size))
        return dataclasses.replace(self, rows=self.rows[::step])


@dataclass(frozen=True)
class Painted(Inputs):
    """Pictures beside what a strategy says of their pixels or joints; of pixels a third one shows where it doubts.

    Attributes:
        strategy: It is asked.
        side: Longer side of a picture in pixels, at most; small pictures are enlarged.
    """

    _: dataclasses.KW_ONLY
    strategy: SupervisedStrategy
    side: int

    @property
    def panels(self) -> int:
        """Pictures beside one another."""
        return 3 if self.strategy.task.has_classes else 2

    def batches(self) -> Iterator[Tensor]:
        """Pictures side by side, (B, 3, h, panels x w), in [0, 1]."""
        samples: Any = getattr(self.pile, self.part, None)
        for rows in np.array_split(self.rows, -(-len(self.rows) // _ASKED)):
            if hasattr(samples, "images"):
                raw = torch.as_tensor(samples.images(rows))
                x = self.pile.views("plain", raw, torch.from_numpy(rows), 0).x  # type: ignore[attr-defined]
            else:
                x = raw = _plain(self.pile, rows)
            with self.strategy.evaluating():
                value = self.strategy.predict(x.to(next(self.strategy.parameters()).device)).cpu()
            small = max(raw.shape[-2:]) < SMALL
            shown = tiles(raw) if small else shrunk(raw, self.side).float().div(255).expand(-1, 3, -1, -1)
            sure = self.strategy.task.confidence(value)
            panels = [shown, with_labels(shown, value, torch.ones_like(sure), getattr(self.pile, "skeleton", ()))]
            yield torch.cat(panels + ([with_heat(shown, 1 - sure)] if self.panels == 3 else []), 3)


def inputs_of(pile: Pile, rows: Rows, part: str = "unlabeled") -> Inputs:
    """The inputs of these rows of a part."""
    from selftrain.data import PointViews  # not at once: `import selftrain` does without the data sets

    return Inputs(pile, rows, isinstance(getattr(pile, "views", None), PointViews), part)


def opened(
    run: Run | Ledger | str | Path, pile: Pile, strategy: SupervisedStrategy | None
) -> tuple[Ledger, SupervisedStrategy | None, str]:
    """Ledger, strategy (``None``: unknown) and name of a run.

    Raises:
        ValueError: a run that makes no pseudo-labels.
        DataError: a ledger's file that cannot be read.
        RunFolderError: a folder without a run, or one that cannot be built again.
        CheckpointError: weights that do not fit ``strategy``.
    """
    if isinstance(run, Run):
        if not isinstance(run.strategy, SupervisedStrategy):
            raise ValueError(f"{type(run.strategy).__name__} makes no pseudo-labels to review; pass a run that does")
        return run.ledger, run.strategy, "run" if run.out is None else run.out.name
    if isinstance(run, Ledger):
        return run, strategy, "ledger"
    path = Path(run)
    if path.is_dir():
        # resolved first: a path such as `.` has no name of its own
        return (*opened(open_run(path, pile=pile, strategy=strategy), pile, strategy)[:2], path.resolve().name)
    return Ledger.read(path, list(pile.classes)), strategy, path.stem


def is_painted(pile: Pile, strategy: SupervisedStrategy | None) -> bool:
    """Whether decisions are of pixels or joints, which are painted over the pictures: a sample has several.

    Raises:
        ValueError: they are, and there is no strategy to ask.
    """
    task = None if strategy is None else strategy.task
    found = task is not None and not (task.has_classes and task.one_unit)
    for part in ("labeled", "validation"):
        # without a strategy the task is not known: annotations of masks and joints have more than one axis
        batches = pile.evaluation(part, 1, torch.device("cpu"))
        first = None if batches is None else next(iter(batches))
        found |= first is not None and first.annotation.dim() > 1
    if (found or not len(pile.classes)) and strategy is None:
        raise ValueError("masks or joints are not in the ledger; pass the run, its folder or strategy=... to draw them")
    return found


def rows_in_pile(ledger: Ledger, pile: Pile, rows: Tensor) -> Rows:
    """Rows of the unlabeled set that these rows of the ledger are about: the same ones, or those with the same id.

    Raises:
        DataError: an id that the pile does not have, or has twice.
    """
    ids, asked = pile.unlabeled_ids(), rows.tolist()
    if len(ids) == len(ledger) and all(str(ids[row]) == str(ledger.ids[row]) for row in asked):
        return np.array(asked, dtype=np.int64)
    place: dict[str, int] = {}
    for row, name in enumerate(ids):
        # an id that occurs twice cannot say which sample is meant; that matters only if it is asked for
        place[str(name)] = -1 if str(name) in place else row
    found = [place.get(str(ledger.ids[row])) for row in asked]
    for row, at in zip(asked, found, strict=True):
        if at is None or at < 0:
            problem = "no unlabeled sample has" if at is None else "several unlabeled samples have"
            raise DataError(f"{problem} the id {ledger.ids[row]!r} of the ledger; pass the pile that the run was on")
    return np.array(found, dtype=np.int64)


def _plain(pile: Pile, rows: Rows) -> Tensor:
    """Plain views of these rows of the pile, in this order."""
    wanted = {int(row): place for place, row in enumerate(rows)}
    found: dict[int, Tensor] = {}
    start = 0
    # a pile gives its rows in order only; those that are not asked for are passed over
    for batch in pile.evaluation("pile", _BATCH, torch.device("cpu")) or ():
        for i in range(len(batch.x)):
            if start + i in wanted:
                found[wanted[start + i]] = batch.x[i]
        start += len(batch.x)
    return torch.stack([found[place] for place in range(len(rows))])
