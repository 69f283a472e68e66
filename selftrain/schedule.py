"""Factors that change over a stage: learning-rate schedules and ramp-ups, pure functions of progress in [0, 1].

A schedule that depends on progress alone has no state: a run that resumes, or a virtual step that is undone, cannot
get it wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def _with_warmup(warmup: float, after: Schedule) -> Schedule:
    """Rise linearly from 0 to 1 over the first ``warmup`` share, then follow ``after`` over the rest."""
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; it is a share of the stage in [0, 1)")

    def factor(progress: float) -> float:
        if progress < warmup:
            return (progress / warmup) * 0.99 + 0.01  # never exactly 0: a step without effect would only cost time
        return after((progress - warmup) / (1 - warmup))

    return factor


def constant(*, warmup: float = 0.0) -> Schedule:
    """Stay at 1 after a linear warm-up over the share ``warmup`` of the stage."""
    return _with_warmup(warmup, lambda _: 1.0)


def cosine(*, warmup: float = 0.0, cycles: float = 0.5, final: float = 0.0) -> Schedule:
    """Fall along a cosine from 1 towards ``final``.

    Args:
        warmup: Share of the stage with a linear rise, in [0, 1).
        cycles: Part of a full cosine: 0.5 ends at ``final``; 7/32 is FixMatch's ``cos(7 pi t / 16 T)`` (Sohn et al.
            2020, section 2.4), which ends at about 0.195.
        final: Floor of the factor, in [0, 1].
    """
    if not 0 < cycles <= 0.5:
        raise ValueError(f"cycles is {cycles}; it must be in (0, 0.5]")
    if not 0 <= final <= 1:
        raise ValueError(f"final is {final}; it must be in [0, 1]")

    def fall(progress: float) -> float:
        if cycles == 0.5:
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
        return max(final, math.cos(2 * math.pi * cycles * progress))

    return _with_warmup(warmup, fall)


def ramp_linear(length: float = 0.4, *, start: float = 0.0) -> Schedule:
    """Stay at 0 until ``start``, rise linearly to 1 over the next ``length`` of the stage (0: at once)."""
    return lambda progress: float(progress >= start) if length <= 0 else min(1.0, max(0.0, (progress - start) / length))


def ramp_sigmoid(length: float = 0.4) -> Schedule:
    """Rise as ``exp(-5 (1 - t)^2)`` over the first ``length`` of the stage (Laine & Aila 2017, section 2)."""
    return lambda progress: 1.0 if length <= 0 else math.exp(-5 * (1 - min(1.0, progress / length)) ** 2)
