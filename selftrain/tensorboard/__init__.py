"""What TensorBoard shows of a run. The engine calls it as one handler among others."""

from selftrain.tensorboard.handler import TensorBoard
from selftrain.tensorboard.settings import Dashboard

__all__ = ["Dashboard", "TensorBoard"]
