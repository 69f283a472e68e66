"""What strategies are made of: the interface, and parts that several methods share."""

from selftrain._compat import renamed
from selftrain.networks.student import MakeLearner
from selftrain.strategy.base import Predictor, Strategy, SupervisedStrategy

__all__ = ["MakeLearner", "Predictor", "Strategy", "SupervisedStrategy"]


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
