"""What watches a run, one handler a file; a new one touches its own file alone.

>>> from selftrain.handlers import MetricsLog, SelfCheck
>>> every_step = [MetricsLog(every=1), SelfCheck(False)]  # for selftrain.fit(handlers=...)
"""

from selftrain.handlers.base import Context, Handler
from selftrain.handlers.data_summary import DataSummary
from selftrain.handlers.ledger_writer import LedgerWriter
from selftrain.handlers.metrics_log import MetricsLog
from selftrain.handlers.nonfinite import NonFiniteGuard
from selftrain.handlers.progress import Progress
from selftrain.handlers.selfcheck import SelfCheck
from selftrain.handlers.snapshots import Snapshots

__all__ = [
    "Context",
    "DataSummary",
    "Handler",
    "LedgerWriter",
    "MetricsLog",
    "NonFiniteGuard",
    "Progress",
    "SelfCheck",
    "Snapshots",
]
