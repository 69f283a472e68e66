"""The handlers that every run has unless it is given others."""

from __future__ import annotations

from collections.abc import Iterable

from selftrain.handlers import (
    DataSummary,
    Handler,
    LedgerWriter,
    MetricsLog,
    NonFiniteGuard,
    Progress,
    SelfCheck,
)
from selftrain.report import ReportPage
from selftrain.tensorboard import TensorBoard


def with_defaults(given: Iterable[Handler]) -> list[Handler]:
    """The handlers of a run in the order in which they hear of events.

    One that is given takes the place of that of its class; others come behind. The guard is first, as it may end the
    run before anybody has looked; the log of training scalars comes after those that add to its rows.

    Raises:
        TypeError: for something that is no handler.
        ValueError: for two in the same place: both would write the same rows, or keep the same state.
    """
    given = list(given)
    for handler in given:
        if not isinstance(handler, Handler):
            raise TypeError(f"{handler!r} is no handler; derive its class from selftrain.handlers.Handler")
    kinds = (NonFiniteGuard, LedgerWriter, SelfCheck, MetricsLog, TensorBoard, DataSummary, Progress, ReportPage)
    found: list[Handler] = []
    for kind in kinds:
        own = [handler for handler in given if isinstance(handler, kind)]
        if len(own) > 1:
            raise ValueError(f"handlers holds {len(own)} of {kind.__name__}; give one")
        found += own or [kind()]
    return found + [handler for handler in given if not isinstance(handler, kinds)]
