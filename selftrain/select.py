"""Which pseudo-labels count: confidence of units -> weight of units. Knows nothing of teachers, mixes or tasks.

A rule is a module, called as ``select(confidence, label)`` with two tensors of shape (B, *U); rules with a memory keep
it in buffers and so in the checkpoint.
"""

from __future__ import annotations

from torch import Tensor, nn


class Select(nn.Module):
    """Base of the rules: give each unit a weight in [0, 1] by its confidence and decision, without gradient."""

    def forward(self, confidence: Tensor, label: Tensor) -> Tensor:
        """Weights (B, *U) of units with ``confidence`` (B, *U) in [0, 1] and integer ``label`` (B, *U)."""
        raise NotImplementedError


class Everything(Select):
    """Keep every unit."""

    def forward(self, confidence: Tensor, label: Tensor) -> Tensor:
        """Weight 1 for all."""
        return confidence.new_ones(confidence.shape)


class Above(Select):
    """Keep a unit whose confidence reaches a fixed threshold.

    Source: Sohn et al., "FixMatch", 2020, arXiv:2001.07685, eq. 4 (``>=``, so the threshold itself passes).

    Args:
        threshold: Confidence needed, in [0, 1]; above 1 nothing passes.
    """

    def __init__(self, threshold: float = 0.95) -> None:
        super().__init__()
        if threshold < 0:
            raise ValueError(f"threshold is {threshold}; it must be 0 or more")
        self.threshold = threshold

    def forward(self, confidence: Tensor, label: Tensor) -> Tensor:
        """Weight 1.0 at or above the threshold, else 0.0."""
        return (confidence >= self.threshold).to(confidence)


class TopShare(Select):
    """Keep the most confident share of the batch.

    Args:
        share: Share of units kept, in (0, 1]; ties at the border are all kept.
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; it must be in (0, 1]")
        self.share = share

    def forward(self, confidence: Tensor, label: Tensor) -> Tensor:
        """Weight 1.0 at or above the batch's (1 - share) order statistic, else 0.0."""
        if not confidence.numel():
            return confidence.detach()
        kept = max(1, round(confidence.numel() * self.share))
        border = confidence.flatten().topk(kept).values[-1]
        return (confidence >= border).to(confidence)


def everything() -> Select:
    """Keep every unit."""
    return Everything()


def above(threshold: float = 0.95) -> Select:
    """Keep units whose confidence reaches ``threshold``."""
    return Above(threshold)


def top(share: float = 0.5) -> Select:
    """Keep the most confident ``share`` of each batch."""
    return TopShare(share)
