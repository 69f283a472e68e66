"""Rules whose thresholds follow the training: FlexMatch, FreeMatch, SoftMatch, AdaMatch and JointMatch as ``Selector``.

Written on groups (classes, or joints), so that pixels and joints work unchanged. They name no teacher and no mix: any
of them can be passed to any strategy.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from selftrain.runtime.finite import expect, expect_rows
from selftrain.select.base import ScoredBatch, Selector, check_decay

Mapping = Literal["convex", "linear", "concave"]
MAPPINGS = ("convex", "linear", "concave")


class Flex(Selector):
    """Lower the threshold of groups that are learned slowly: curriculum pseudo-labeling.

    Source: Zhang et al., "FlexMatch", NeurIPS 2021, arXiv:2110.08263, eq. 5 to 8, in the order of the released code:
    the batch is judged with the counts before it, then written down. A row remembers the last group it was confident
    of. As long as no row has one, the thresholds are 0.

    Args:
        unlabeled: Number of unlabeled samples N.
        groups: Number of classes or joints.
        threshold: Highest threshold tau, in (0, 1].
        warmup: Count the units that were never confident as a rival of the largest group (eq. 7).
        mapping: M(b) from the share of counts to the share of tau: ``"convex"`` b / (2 - b), ``"linear"`` b,
            ``"concave"`` ln(b + 1) / ln 2.
        units: Unit axes of one sample: ``()``, ``(H, W)`` or ``(joints,)``.

    Attributes:
        known: Last confident group of each unit, -1 before, shape (N, *U).
        counts: How many units have none, then how many each group has, shape (groups + 1,).

    Raises:
        ValueError: for sizes below 1, a threshold outside (0, 1], an unknown mapping, or (at a step) rows outside N,
            other units or another number of groups.
    """

    only_trained_with = ("known", "counts")
    known: Tensor
    counts: Tensor

    def __init__(
        self,
        unlabeled: int,
        groups: int,
        *,
        threshold: float = 0.95,
        warmup: bool = True,
        mapping: Mapping = "convex",
        units: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        _check_sizes(unlabeled=unlabeled, groups=groups)
        _check_threshold(threshold)
        if mapping not in MAPPINGS:
            raise ValueError(f"mapping is {mapping!r}; choose one of {', '.join(MAPPINGS)}")
        self.groups, self.threshold, self.warmup, self.mapping = groups, threshold, warmup, mapping
        # One cell for every unit of the unlabeled set, pixels included: the narrowest type that holds the groups.
        known = torch.full((unlabeled, *units), -1, dtype=torch.int16 if groups < 2**15 else torch.int32)
        self.register_buffer("known", known)
        self.register_buffer("counts", torch.tensor([known.numel()] + [0] * groups))

    @torch.no_grad()
    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the threshold of the unit's group, else 0.0; then remember what is confident."""
        _check_groups(evidence, self.groups)
        # Judged by the counts before this batch, as the released code does.
        level = self.threshold * self._mapped(self.progress()).to(evidence.confidence)
        kept = (evidence.confidence >= level[evidence.group]).to(evidence.confidence)
        if self.training:
            self._remember(evidence)
        return kept

    def progress(self) -> Tensor:
        """Learning effect beta of each group in [0, 1], shape (groups,)."""
        unused, used = self.counts[0], self.counts[1:]
        # Without warm-up no unit may be confident yet: the floor of 1 keeps 0 / 0 out, and all thresholds are 0.
        rival = torch.maximum(used.max(), unused) if self.warmup else used.max()
        return used / rival.clamp(min=1)

    def _remember(self, evidence: ScoredBatch) -> None:
        index = self._checked(evidence)
        if not evidence.confidence.numel():
            return
        # A pass may meet a sample twice: its rows are counted once before and once after.
        rows = index.sort().values
        once = torch.cat([torch.ones_like(rows[:1]), (rows[1:] != rows[:-1]).long()])
        before = self.known[rows]
        # By the full tau (eq. 5): a unit that only a lowered threshold lets through must not lift its group's count.
        # To pick the sure ones out would wait for the device: in the place of each other unit the last sure one is
        # written once more, or where there is none, what the first unit has.
        sure, group = (evidence.confidence >= self.threshold).flatten(), evidence.group.flatten().to(self.known)
        cells = torch.arange(before[0].numel(), device=index.device)
        cells = (index[:, None] * len(cells) + cells).flatten()
        last = (sure * torch.arange(1, len(sure) + 1, device=index.device)).argmax(0, keepdim=True)
        known = self.known.view(-1)
        kept = torch.where(sure[last], group[last], known[cells[last]])
        known[torch.where(sure, cells, cells[last])] = torch.where(sure, group, kept)
        # The difference of these rows: counting the whole memory anew would cost each step a pass over all N.
        self.counts += self._counted(self.known[rows], once) - self._counted(before, once)

    def _counted(self, known: Tensor, once: Tensor) -> Tensor:
        """How many units of rows (B, *U) have no group, and each group; ``once`` (B,) is 0 for rows that come again."""
        counts = once.view(-1, *[1] * (known.dim() - 1)).expand(known.shape).flatten()
        return torch.zeros_like(self.counts).scatter_add_(0, known.flatten().long() + 1, counts)

    def _checked(self, evidence: ScoredBatch) -> Tensor:
        """Rows within the memory, which must have units like those of the batch."""
        rows = len(self.known)

        def outside(row: int) -> Exception:
            return ValueError(f"row {row} is outside {rows}; set unlabeled=len(pile.unlabeled)")

        index = expect_rows(evidence.index, rows, outside)
        if len(index):
            expect(evidence.index.min(), lambda row: row >= 0, lambda row: outside(int(row)))
        mine, theirs = tuple(self.known.shape[1:]), tuple(evidence.group.shape[1:])
        if mine != theirs:
            raise ValueError(f"a sample has units {theirs}, the rule {mine}; set units={theirs}")
        return index.clamp(min=0)

    def _mapped(self, share: Tensor) -> Tensor:
        if self.mapping == "convex":
            return share / (2 - share)
        return share if self.mapping == "linear" else torch.log2(share + 1)


class Free(Selector):
    """Let the thresholds be what the network's own confidence says: one level, shared out over the groups.

    Source: Wang et al., "FreeMatch", ICLR 2023, arXiv:2205.07246, eq. 5, 7 and 8: tau is the moving mean of the
    confidence, group c has ``tau * p_c / max p`` with p the moving mean prediction. The batch is taken in first.

    Args:
        groups: Number of classes or joints.
        decay: Share of the old values that stays at each batch, in [0, 1).
        quantile: Take this quantile of the batch's confidence for the level instead of the mean, in (0, 1).
        limits: Lowest and highest level, e.g. (0, 0.95) as the paper does for SVHN; ``None``: free.

    Attributes:
        level: tau, starts at 1 / groups.
        presence: p, shape (groups,).
        histogram: Moving share of each group among the decisions, shape (groups,), for the fairness term.
    """

    level: Tensor
    presence: Tensor
    histogram: Tensor

    def __init__(
        self,
        groups: int,
        *,
        decay: float = 0.999,
        quantile: float | None = None,
        limits: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(groups=groups)
        check_decay(decay)
        if quantile is not None and not 0 < quantile < 1:
            raise ValueError(f"quantile is {quantile}; it must be in (0, 1), or None for the mean")
        if limits is not None and not 0 <= limits[0] <= limits[1]:
            raise ValueError(f"limits are {limits}; give the lowest and the highest level, both 0 or more")
        self.decay, self.quantile = decay, quantile
        self.lowest, self.highest = limits or (0.0, float("inf"))
        self.register_buffer("level", torch.full((), 1 / groups))
        for name in ("presence", "histogram"):
            self.register_buffer(name, torch.full((groups,), 1 / groups))

    @torch.no_grad()
    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the threshold of the unit's group, else 0.0."""
        _check_groups(evidence, len(self.presence))
        # The mean of an empty batch is NaN, which a moving mean never loses again.
        if self.training and evidence.confidence.numel():
            self._take_in(evidence)
        return (evidence.confidence >= self.thresholds()[evidence.group]).to(evidence.confidence)

    def thresholds(self) -> Tensor:
        """Threshold of each group, shape (groups,)."""
        share = self.presence / self.presence.max().clamp(min=1e-12)
        # Limited where it is read: the moving mean itself goes on outside of the limits.
        return self.level.clamp(self.lowest, self.highest) * share

    def _take_in(self, evidence: ScoredBatch) -> None:
        # In float32, the buffers' type: in half precision a step of 1 - decay = 0.001 is lost in rounding.
        flat = evidence.confidence.flatten().to(self.level)
        middle = flat.mean() if self.quantile is None else flat.quantile(self.quantile)
        groups = evidence.group.flatten()
        counts = (
            groups.new_zeros(len(self.histogram)).scatter_add_(0, groups, torch.ones_like(groups)).to(self.histogram)
        )
        self.level.lerp_(middle, 1 - self.decay)
        self.presence.lerp_(evidence.presence.to(self.presence), 1 - self.decay)
        self.histogram.lerp_(counts / counts.sum(), 1 - self.decay)


class Soft(Selector):
    """Weigh a unit by a Gaussian of how far its confidence falls short of the usual.

    Source: Chen et al., "SoftMatch", ICLR 2023, arXiv:2301.10921, eq. 6 to 8: weight
    ``exp(-min(confidence - mean, 0)^2 / (2 variance / sigmas^2))`` with moving mean and (unbiased) variance of the
    confidence; 1 above the mean. The batch is taken in first (a batch of one unit has no variance and leaves both). The
    paper weighs by predictions aligned to a uniform prior (``Align``) and learns them as they were
    (``align_targets=False`` of ``PseudoLabeling``); here both are settings of their own.

    Args:
        groups: Number of classes or joints; the mean starts at 1 / groups, the variance at 1.
        decay: Share of the old values that stays at each batch, in [0, 1).
        sigmas: How many times narrower than the confidences the Gaussian is, > 0.
    """

    rejects = False
    mean: Tensor
    variance: Tensor

    def __init__(self, groups: int, *, decay: float = 0.999, sigmas: float = 2.0) -> None:
        super().__init__()
        _check_sizes(groups=groups)
        check_decay(decay)
        if not sigmas > 0:
            raise ValueError(f"sigmas is {sigmas}; it must be above 0")
        self.decay, self.sigmas, self._groups = decay, sigmas, groups
        self.register_buffer("mean", torch.full((), 1 / groups))
        self.register_buffer("variance", torch.ones(()))

    @torch.no_grad()
    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weights in (0, 1]."""
        _check_groups(evidence, self._groups)
        flat = evidence.confidence.flatten().to(self.mean)
        if self.training and len(flat) > 1:  # one unit has no variance
            self.mean.lerp_(flat.mean(), 1 - self.decay)
            self.variance.lerp_(flat.var(), 1 - self.decay)
        short = (evidence.confidence - self.mean).clamp(max=0)
        # The floor: equal confidences have the variance 0, and 0 / 0 at their mean.
        return torch.exp(-short.square() * self.sigmas**2 / (2 * self.variance.clamp(min=1e-12)))


class Relative(Selector):
    """Keep what is nearly as sure as the labeled samples are: a threshold relative to their mean confidence.

    Source: Berthelot et al., "AdaMatch", ICLR 2022, arXiv:2106.04732, section 3.3: ``tau`` times the mean confidence
    on the labeled batch. No memory.

    Args:
        threshold: tau, in (0, 1]: 0.9 in the paper, 0.95 in re-implementations.
    """

    reads_labeled = True

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        _check_threshold(threshold)
        self.threshold = threshold

    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the relative threshold, else 0.0."""
        if evidence.labeled is None:
            raise ValueError("a relative threshold needs the confidence of the labeled batch; pass it as `labeled`")
        # Of this batch alone: the labeled samples of the step are the measure, so there is no state to resume.
        level = self.threshold * evidence.labeled.mean()
        return (evidence.confidence >= level).to(evidence.confidence)


class ClassWise(Selector):
    """Scale one threshold by how present each group is in the predictions.

    Source: Zou & Caragea, "JointMatch", EMNLP 2023, arXiv:2310.14583, released code: status ``a`` follows the mean
    prediction, group c has ``threshold * a_c / max a``. The batch is taken in first.

    Args:
        groups: Number of classes or joints.
        threshold: Threshold of the most present group, in (0, 1].
        decay: Share of the old status that stays at each batch, in [0, 1).
    """

    status: Tensor

    def __init__(self, groups: int, *, threshold: float = 0.98, decay: float = 0.9) -> None:
        super().__init__()
        _check_sizes(groups=groups)
        _check_threshold(threshold)
        check_decay(decay)
        self.threshold, self.decay = threshold, decay
        self.register_buffer("status", torch.full((groups,), 1 / groups))

    @torch.no_grad()
    def forward(self, evidence: ScoredBatch) -> Tensor:
        """Weight 1.0 at or above the threshold of the unit's group, else 0.0."""
        _check_groups(evidence, len(self.status))
        if self.training and evidence.confidence.numel():
            # JointMatch's two networks share one rule: a batch moves the status twice, as in the released code.
            self.status.lerp_(evidence.presence.to(self.status), 1 - self.decay)
        level = self.threshold * self.status / self.status.max().clamp(min=1e-12)
        return (evidence.confidence >= level[evidence.group]).to(evidence.confidence)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


def _check_groups(evidence: ScoredBatch, groups: int) -> None:
    if len(evidence.presence) != groups:
        raise ValueError(f"the task has {len(evidence.presence)} groups, the rule {groups}; set groups=task.groups")


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must be in (0, 1]")
