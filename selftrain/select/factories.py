"""Rules by a short call, as they are written in code and on the command line."""

from __future__ import annotations

from typing import Any

from selftrain.select.adaptive import ClassWise, Flex, Free, Relative, Soft
from selftrain.select.base import Above, Everything, Quantile, Selector, TopShare


def everything() -> Selector:
    """Keep every unit."""
    return Everything()


def above(threshold: float = 0.95) -> Selector:
    """Keep units whose confidence reaches ``threshold``."""
    return Above(threshold)


def top(share: float = 0.5) -> Selector:
    """Keep the most confident ``share`` of each batch."""
    return TopShare(share)


def quantile(share: float = 0.5, **settings: Any) -> Selector:
    """Keep what lies above a moving quantile: about ``share`` of all units; see ``Quantile``."""
    return Quantile(share, **settings)


def flex(unlabeled: int, groups: int, **settings: Any) -> Selector:
    """Lower the threshold of slowly learned classes (FlexMatch); see ``Flex``."""
    return Flex(unlabeled, groups, **settings)


def free(groups: int, **settings: Any) -> Selector:
    """Thresholds from the network's own confidence (FreeMatch); see ``Free``."""
    return Free(groups, **settings)


def soft(groups: int, **settings: Any) -> Selector:
    """Gaussian weights around the mean confidence (SoftMatch); see ``Soft``."""
    return Soft(groups, **settings)


def relative(threshold: float = 0.9) -> Selector:
    """A threshold relative to the confidence on labeled samples (AdaMatch); see ``Relative``."""
    return Relative(threshold)


def class_wise(groups: int, **settings: Any) -> Selector:
    """One threshold scaled by the presence of each class (JointMatch); see ``ClassWise``."""
    return ClassWise(groups, **settings)
