"""How much TensorBoard shows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selftrain.types import plain_settings

_SHORTEST = 10  # runs of at least this part of ``every`` have figures at their end


@plain_settings
@dataclass(frozen=True)
class Dashboard:
    """What ``fit`` draws at its evaluations; nothing of it changes the training.

    Args:
        every: Steps between two drawings of figures, curves and the projector, which cost half a second to two: they
            are drawn at the first evaluation after so many steps, and at the end of a run of at least a tenth as many.
        samples: Held-out samples that figures of classes and of trust rest on, at most; they are evenly spaced.
        classes: Classes that are shown one by one, at most: evenly spaced ones. Figures show those with the lowest
            accuracy.
        pictures: Samples in a picture, at most; 0: no pictures.
        skeleton: Pairs of joints that lines are drawn between, such as ``((0, 1), (1, 2))``; ``None``: those that the
            data name (``Pile.skeleton``).
        points: Samples in the projector, at most; 0: none.
        figures: Whether there are figures, curves and the projector at all.

    Raises:
        ValueError: for a number out of range.
    """

    every: int = 1000
    samples: int = 2000
    classes: int = 20
    pictures: int = 32
    skeleton: Sequence[tuple[int, int]] | None = None
    points: int = 1000
    figures: bool = True

    def __post_init__(self) -> None:
        for name, least in (("every", 1), ("samples", 1), ("classes", 1), ("pictures", 0), ("points", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} or more")

    def due(self, step: int, before: int, total: int) -> bool:
        """Whether figures are drawn at the evaluation of a step, which follows one at the step ``before``."""
        last = step == total and _SHORTEST * total >= self.every
        # whether a multiple was passed: evaluations need not fall on one
        return self.figures and (last or step // self.every > before // self.every)
