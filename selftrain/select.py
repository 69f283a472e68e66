"""Which pseudo-labels count: rules from the confidence of units to their weight. Any rule works with any strategy.

>>> from selftrain import select
>>> rule = select.above(0.95)  # or select.free(10), select.soft(10), select.top(0.5), ...
"""

from __future__ import annotations

from typing import Any

from selftrain.adaptive import ClassWise, Flex, Free, Relative, Soft
from selftrain.rules import Above, Everything, Evidence, Quantile, Select, TopShare, look

__all__ = [
    "Above", "ClassWise", "Everything", "Evidence", "Flex", "Free", "Quantile", "Relative", "Select", "Soft",
    "TopShare", "above", "class_wise", "everything", "flex", "free", "look", "quantile", "relative", "soft", "top",
]  # fmt: skip


def everything() -> Select:
    """Keep every unit."""
    return Everything()


def above(threshold: float = 0.95) -> Select:
    """Keep units whose confidence reaches ``threshold``."""
    return Above(threshold)


def top(share: float = 0.5) -> Select:
    """Keep the most confident ``share`` of each batch."""
    return TopShare(share)


def quantile(share: float = 0.5, **settings: Any) -> Select:
    """Keep what lies above a moving quantile: about ``share`` of all units; see ``Quantile``."""
    return Quantile(share, **settings)


def flex(unlabeled: int, groups: int, **settings: Any) -> Select:
    """Lower the threshold of slowly learned classes (FlexMatch); see ``Flex``."""
    return Flex(unlabeled, groups, **settings)


def free(groups: int, **settings: Any) -> Select:
    """Thresholds from the network's own confidence (FreeMatch); see ``Free``."""
    return Free(groups, **settings)


def soft(groups: int, **settings: Any) -> Select:
    """Gaussian weights around the mean confidence (SoftMatch); see ``Soft``."""
    return Soft(groups, **settings)


def relative(threshold: float = 0.9) -> Select:
    """A threshold relative to the confidence on labeled samples (AdaMatch); see ``Relative``."""
    return Relative(threshold)


def class_wise(groups: int, **settings: Any) -> Select:
    """One threshold scaled by the presence of each class (JointMatch); see ``ClassWise``."""
    return ClassWise(groups, **settings)
