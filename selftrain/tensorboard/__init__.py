"""What TensorBoard shows of a run beside its scalars. The engine calls it without knowing what is in it."""

from selftrain.tensorboard.handler import Show
from selftrain.tensorboard.settings import Dashboard
from selftrain.tensorboard.speed import Stopwatch

__all__ = ["Dashboard", "Show", "Stopwatch"]
