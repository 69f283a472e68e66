"""Factors that change over a stage: learning-rate schedules and ramp-ups, pure functions of progress in [0, 1].

A schedule that depends on progress alone has no state: a run that resumes, or a virtual step that is undone, cannot
get it wrong. Each is a small frozen object and no closure, so that it can be compared, printed, named in a config file
and built again; any other function of progress will do as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from selftrain.types import plain_settings

Schedule = Callable[[float], float]


@plain_settings
@dataclass(frozen=True, kw_only=True)
class Constant:
    """Stay at 1 after a linear warm-up over the share ``warmup`` of the stage.

    Args:
        warmup: Share of the stage with a linear rise, in [0, 1).
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}; it is a share of the stage in [0, 1)")

    def __call__(self, progress: float) -> float:
        """The factor when the share ``progress`` of the stage lies behind."""
        if progress < self.warmup:
            return (progress / self.warmup) * 0.99 + 0.01  # never exactly 0: a step without effect would only cost time
        # The fall has the time after the warm-up to itself: begun earlier, the rate would jump down where they meet.
        return self._after((progress - self.warmup) / (1 - self.warmup))

    def _after(self, progress: float) -> float:
        return 1.0


@plain_settings
@dataclass(frozen=True, kw_only=True)
class Cosine(Constant):
    """Fall along a cosine from 1 towards ``final``.

    Args:
        warmup: Share of the stage with a linear rise, in [0, 1).
        cycles: Part of a full cosine: 0.5 ends at ``final``; 7/32 is FixMatch's ``cos(7 pi t / 16 T)`` (Sohn et al.
            2020, section 2.4), which ends at about 0.195.
        final: Floor of the factor, in [0, 1].
    """

    cycles: float = 0.5
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cycles <= 0.5:
            raise ValueError(f"cycles is {self.cycles}; it must be in (0, 0.5]")
        if not 0 <= self.final <= 1:
            raise ValueError(f"final is {self.final}; it must be in [0, 1]")

    def _after(self, progress: float) -> float:
        # Two curves: half a cycle is the usual raised cosine, less is FixMatch's plain one, which is cut at the floor.
        if self.cycles == 0.5:
            return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
        return max(self.final, math.cos(2 * math.pi * self.cycles * progress))


@plain_settings
@dataclass(frozen=True)
class RampLinear:
    """Stay at 0 until ``start``, rise linearly to 1 over the next ``length`` of the stage.

    Args:
        length: Share of the stage with the rise; 0: at once.
        start: Share of the stage before it.
    """

    length: float = 0.4
    _: KW_ONLY
    start: float = 0.0

    def __call__(self, progress: float) -> float:
        """The factor when the share ``progress`` of the stage lies behind."""
        if self.length <= 0:
            return float(progress >= self.start)
        return min(1.0, max(0.0, (progress - self.start) / self.length))


@plain_settings
@dataclass(frozen=True)
class RampSigmoid:
    """Rise as ``exp(-5 (1 - t)^2)`` over the first ``length`` of the stage (Laine & Aila 2017, section 2).

    Args:
        length: Share of the stage with the rise; 0: at once.
    """

    length: float = 0.4

    def __call__(self, progress: float) -> float:
        """The factor when the share ``progress`` of the stage lies behind."""
        # Begins at exp(-5) = 0.007 and not at 0, as in the paper.
        return 1.0 if self.length <= 0 else math.exp(-5 * (1 - min(1.0, progress / self.length)) ** 2)


# as they are written in code: st.cosine(warmup=0.1)
constant, cosine, ramp_linear, ramp_sigmoid = Constant, Cosine, RampLinear, RampSigmoid
