"""Which pseudo-labels count: rules from the confidence of units to their weight. Any rule works with any strategy.

>>> from selftrain import select
>>> rule = select.above(0.95)  # or select.free(10), select.soft(10), select.top(0.5), ...
"""

from selftrain._compat import renamed
from selftrain.select.adaptive import ClassWise, Flex, Free, Relative, Soft
from selftrain.select.base import Above, Everything, ImageShare, Quantile, ScoredBatch, Selector, TopShare, score
from selftrain.select.factories import (
    above,
    class_wise,
    everything,
    flex,
    free,
    image_share,
    quantile,
    relative,
    soft,
    top,
)

__all__ = [
    "Above", "ClassWise", "Everything", "ScoredBatch", "Flex", "Free", "ImageShare", "Quantile", "Relative", "Selector",
    "Soft", "TopShare", "above", "class_wise", "everything", "flex", "free", "image_share", "quantile", "relative",
    "score", "soft", "top",
]  # fmt: skip


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
