"""Rules by a short call, as they are written in code and on the command line."""

from __future__ import annotations

from typing import Literal

from selftrain.arguments import checked
from selftrain.select.adaptive import ClassWise, Flex, Free, Mapping, Relative, Soft
from selftrain.select.base import Above, Everything, ImageShare, Quantile, Selector, TopShare


@checked
def everything() -> Selector:
    """Keep every unit."""
    return Everything()


@checked
def above(threshold: float = 0.95) -> Selector:
    """Keep units whose confidence reaches ``threshold``."""
    return Above(threshold)


@checked
def top(share: float = 0.5, *, by: Literal["confidence", "entropy"] = "confidence") -> Selector:
    """Keep the most confident ``share`` of each batch, or that of the lowest entropy; see ``TopShare``."""
    return TopShare(share, by=by)


@checked
def image_share(threshold: float = 0.968, *, border: tuple[float, float] = (0.0, 0.0)) -> Selector:
    """Weigh each sample by the share of its units whose confidence reaches ``threshold``; see ``ImageShare``."""
    return ImageShare(threshold, border=border)


@checked
def quantile(share: float = 0.5, *, decay: float = 0.99) -> Selector:
    """Keep what lies above a moving quantile: about ``share`` of all units; see ``Quantile``."""
    return Quantile(share, decay=decay)


@checked
def flex(
    unlabeled: int,
    groups: int,
    *,
    threshold: float = 0.95,
    warmup: bool = True,
    mapping: Mapping = "convex",
    units: tuple[int, ...] = (),
) -> Selector:
    """Lower the threshold of slowly learned classes (FlexMatch); see ``Flex``."""
    return Flex(unlabeled, groups, threshold=threshold, warmup=warmup, mapping=mapping, units=units)


@checked
def free(
    groups: int, *, decay: float = 0.999, quantile: float | None = None, limits: tuple[float, float] | None = None
) -> Selector:
    """Thresholds from the network's own confidence (FreeMatch); see ``Free``."""
    return Free(groups, decay=decay, quantile=quantile, limits=limits)


@checked
def soft(groups: int, *, decay: float = 0.999, sigmas: float = 2.0) -> Selector:
    """Gaussian weights around the mean confidence (SoftMatch); see ``Soft``."""
    return Soft(groups, decay=decay, sigmas=sigmas)


@checked
def relative(threshold: float = 0.9) -> Selector:
    """A threshold relative to the confidence on labeled samples (AdaMatch); see ``Relative``."""
    return Relative(threshold)


@checked
def class_wise(groups: int, *, threshold: float = 0.98, decay: float = 0.9) -> Selector:
    """One threshold scaled by the presence of each class (JointMatch); see ``ClassWise``."""
    return ClassWise(groups, threshold=threshold, decay=decay)
