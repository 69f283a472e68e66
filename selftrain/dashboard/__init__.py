"""What TensorBoard shows of a run beside its scalars. The engine calls it without knowing what is in it."""

from selftrain.dashboard.settings import Dashboard
from selftrain.dashboard.show import Show
from selftrain.dashboard.speed import Stopwatch

__all__ = ["Dashboard", "Show", "Stopwatch"]
