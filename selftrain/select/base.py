"""Rules without a model of the classes: which pseudo-labels count, by the confidence of units alone.

A rule is a module, called as ``rule(evidence)``; rules with a memory keep it in buffers and so in the checkpoint. In
training mode a rule takes the batch into its memory, in evaluation mode it only judges (virtual steps use that).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from selftrain.runtime.finite import HostCount
from selftrain.tasks import Task
from selftrain.types import Recorded


@dataclass(frozen=True)
class ScoredBatch:
    """What a rule may know of a batch of predictions, whatever the kind of output.

    Args:
        confidence: Of each unit, shape (B, *U), in [0, 1].
        group: What thresholds may differ by: the decided class, or the joint, shape (B, *U), integer.
        presence: Mean prediction for each group, shape (groups,): mean class probability, or mean height of a joint's
            peak.
        index: Rows of the unlabeled set, shape (B,).
        labeled: Confidence of the labeled units of this step, any shape; ``None`` unless the rule ``reads_labeled``.
        entropy: Of each unit's distribution, in nats, shape (B, *U); ``None`` unless the rule ``reads_entropy``.
    """

    confidence: Tensor
    group: Tensor
    presence: Tensor
    index: Tensor
    labeled: Tensor | None = None
    entropy: Tensor | None = None


@torch.no_grad()
def score(
    task: Task, value: Tensor, index: Tensor, labeled: Tensor | None = None, *, entropy: bool = False
) -> ScoredBatch:
    """What a rule may know of a prediction.

    Args:
        task: Kind of output.
        value: Prediction of the unlabeled batch, shape (B, C, *S), in [0, 1].
        index: Rows of the unlabeled set, shape (B,).
        labeled: Prediction of the labeled batch, or ``None``.
        entropy: Whether a rule asks for entropies.
    """
    # Labeled samples are asked for the prediction, not for the label: a label is always sure.
    sure = None if labeled is None else task.confidence(labeled)
    spread = None
    if entropy:
        p = task.distribution(value)
        spread = -(p * p.clamp(min=1e-8).log()).sum(-1)
    return ScoredBatch(task.confidence(value), task.group(value), task.presence(value), index, sure, spread)


class Selector(Recorded, nn.Module):
    """Base of the rules: give each unit a weight in [0, 1], without gradient.

    Attributes:
        rejects: Whether the rule can leave units out at all.
        reads_labeled: Whether it needs ``ScoredBatch.labeled``.
        reads_entropy: Whether it needs ``ScoredBatch.entropy``.
    """

    # Read by the self-check: a rule that cannot reject is never reported for keeping everything.
    rejects: bool = True
    reads_labeled: bool = False
    reads_entropy: bool = False

    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weights of the units, shape (B, *U)."""
        raise NotImplementedError


class Everything(Selector):
    """Keep every unit."""

    rejects = False

    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1 for all."""
        return torch.ones_like(evidence.confidence)


class Above(Selector):
    """Keep a unit whose confidence reaches a fixed threshold.

    Source: Sohn et al., "FixMatch", 2020, arXiv:2001.07685, eq. 4 (``>=``, so the threshold itself passes).

    Args:
        threshold: Confidence needed, in [0, 1]; above 1, up to 2, nothing passes (with a warning).
    """

    def __init__(self, threshold: float = 0.95) -> None:
        super().__init__()
        # `not >=` and not `<`: NaN fails every comparison, so it is refused as well.
        if not threshold >= 0:
            raise ValueError(f"threshold is {threshold}; it must be 0 or more")
        if threshold > 2:  # meant as a percentage, and hours later nothing was learned from
            raise ValueError(f"threshold is {threshold}; confidences are in [0, 1]: give 0.95 for 95 %")
        if threshold > 1:
            warnings.warn(f"threshold is {threshold}: no confidence is above 1, so nothing will be used", stacklevel=3)
        self.threshold = threshold

    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the threshold, else 0.0."""
        return (evidence.confidence >= self.threshold).to(evidence.confidence)


class TopShare(Selector):
    """Keep the most confident share of the batch.

    Args:
        share: Share of units kept, in (0, 1]; ties at the border are all kept.
        by: ``"confidence"``, or ``"entropy"``: that of the lowest entropy (0.8 in FST on Pascal VOC).

    Raises:
        ValueError: for a share out of range, another ``by``, or a batch that was scored without entropies.
    """

    def __init__(self, share: float = 0.5, *, by: Literal["confidence", "entropy"] = "confidence") -> None:
        super().__init__()
        _check_share(share)
        if by not in ("confidence", "entropy"):
            raise ValueError(f"by is {by!r}; choose 'confidence' or 'entropy'")
        self.share, self.by, self.reads_entropy = share, by, by == "entropy"

    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the batch's (1 - share) order statistic, else 0.0."""
        confidence = evidence.confidence
        if self.reads_entropy:
            if evidence.entropy is None:
                raise ValueError("the batch has no entropies, by which this rule judges; score(..., entropy=True)")
            confidence = -evidence.entropy
        if not confidence.numel():
            return confidence.detach()
        # At least one: of a small batch a small share rounds to none, and there would be no last value.
        kept = max(1, round(confidence.numel() * self.share))
        # By the value and not by the places of the largest: which of equal ones topk returns is not defined.
        border = confidence.flatten().topk(kept).values[-1]
        return (confidence >= border).to(confidence)


class ImageShare(Selector):
    """Give all units of a sample the share of its units whose confidence reaches a threshold.

    Source: Tranheden et al., "DACS", WACV 2021, arXiv:2007.08702, section 3.2 (as in ClassMix and FST, 0.968 there).
    Where a sample is one unit this is ``Above``. Rows at a border may weigh nothing: of 512 the upper 15 and the lower
    120 in DAFormer (Hoyer et al., CVPR 2022, arXiv:2111.14887) and FST, where the camera sees its own car; they are
    rows of the view, and count for the share as there.

    Args:
        threshold: Confidence needed, in [0, 1].
        border: Shares of the rows of a picture, at its top and at its bottom, that get weight 0, below 1 together.

    Raises:
        ValueError: for a threshold or a border out of range, or a border of what has no rows and columns.
    """

    def __init__(self, threshold: float = 0.968, *, border: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; it must be in [0, 1]")
        if not (min(border) >= 0 and sum(border) < 1):
            raise ValueError(
                f"border is {border}; give shares of the rows at the top and at the bottom, 0 or more and below 1 "
                "together, such as (15 / 512, 120 / 512)"
            )
        self.threshold, self.border = threshold, border

    def forward(self, evidence: ScoredBatch) -> Tensor:
        """The share of each sample, at each of its units."""
        sure = (evidence.confidence >= self.threshold).to(evidence.confidence)
        share = sure.mean([*range(1, sure.dim())], keepdim=True).expand_as(sure) if sure.dim() > 1 else sure
        if not any(self.border):
            return share
        if sure.dim() != 3:
            raise ValueError(
                f"border is {self.border}, and units of shape {tuple(sure.shape[1:])} have no rows and columns as "
                "pixels have; leave it out"
            )
        top, bottom = (round(part * sure.shape[1]) for part in self.border)
        counts = torch.zeros_like(share)
        counts[:, top : sure.shape[1] - bottom] = 1
        return share * counts


class Quantile(Selector):
    """Keep what lies above a moving quantile of the confidences: about ``share`` of all units, not of each batch.

    Source: the percentile threshold of Curriculum Labeling (Cascante-Bonilla et al. 2021, arXiv:2001.06001), followed
    through training by an exponential moving average with the warm start ``min(decay, 1 - 1/(t + 1))``. Differs: the
    paper takes the percentile over the whole unlabeled set, once a round (see ``selftrain.pipeline``).

    Args:
        share: Share of units kept in the long run, in (0, 1].
        decay: Share of the old threshold that stays at each batch, in [0, 1).
    """

    threshold: Tensor
    updates: Tensor

    def __init__(self, share: float = 0.5, *, decay: float = 0.99) -> None:
        super().__init__()
        _check_share(share)
        check_decay(decay)
        self.share, self.decay = share, decay
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self._count = HostCount()

    @torch.no_grad()
    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the threshold, this batch taken in, else 0.0."""
        if self.training and evidence.confidence.numel():
            kept = max(1, round(evidence.confidence.numel() * self.share))
            border = evidence.confidence.flatten().topk(kept).values[-1]
            # The first batch sets the threshold whole: moved slowly up from 0, it would let nearly all pass for long.
            stays = min(self.decay, 1 - 1 / (self._count.read(self.updates) + 1))
            self.threshold.lerp_(border.to(self.threshold), 1 - stays)
            self._count.add(self.updates)
        return (evidence.confidence >= self.threshold).to(evidence.confidence)


def check_decay(decay: float) -> None:
    """Refuse a decay that is no share."""
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}; it must be in [0, 1)")


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must be in (0, 1]")
