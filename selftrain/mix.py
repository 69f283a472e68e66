"""Mixing samples of a batch with one another, inputs and targets together: functions, and modules for strategies.

A ``Mix`` is called as ``mix(x, target, task)`` and returns the mixed pair.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.runtime.devices import sent
from selftrain.runtime.distributed import mixes_own, on_own_rows
from selftrain.runtime.rng import own_randomness
from selftrain.tasks import Task
from selftrain.tasks.base import AdjustedTarget
from selftrain.types import HardTarget, Labeled, Recorded, Target

MixFunction = TypeVar("MixFunction", bound=Callable[..., tuple[Tensor, Target]])
_NO_CLASS = -1  # of pixels that are not valid


def cat(*targets: Target) -> Target:
    """Join targets along the batch; validity is kept (all valid where a part says nothing).

    Raises:
        DataError: they have different numbers of pixels.
        ValueError: a label whose loss is adjusted would be joined with others.
    """
    _refuse_adjusted(*targets)
    sizes = {tuple(t.shape[1:]) for t in targets}
    if len(sizes) > 1:
        raise DataError(
            f"labels and predictions have shapes {sorted(sizes)} a sample, which this strategy joins; let the network "
            "enlarge its logits to the size of the masks: F.interpolate(logits, x.shape[-2:], mode='bilinear')"
        )
    valid = None
    if any(t.valid is not None for t in targets):
        valid = torch.cat([t.mask() > 0 for t in targets])
    weight = torch.cat([t.weight for t in targets])
    if all(isinstance(t, HardTarget) for t in targets):
        return targets[0].having(torch.cat([t.tensors[0] for t in targets]), weight, valid)
    return Target(torch.cat([t.value for t in targets]), weight, valid)


def pick(target: Target, rows: Tensor | slice) -> Target:
    """Some rows of a target, by number or as a slice."""
    return target.each(lambda tensor: tensor[rows])


def _in_ranks(mix: MixFunction) -> MixFunction:
    """Of several processes each mixes its own rows, unless ``Ranks(mix="joint")`` is set."""

    @functools.wraps(mix)
    def mixed(x: Tensor, target: Target, task: Task, **settings: Any) -> tuple[Tensor, Target]:
        if type(x) is Tensor or not mixes_own(x) or target.tensors[0].requires_grad:
            return mix(x, target, task, **settings)
        by: Target | None = settings.get("by")
        place = len(target.tensors)

        def own(x: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
            mine = {} if by is None else {"by": by.having(*known[place:])}
            x, made = mix(x, target.having(*known[:place]), task, **(settings | mine))
            return (x, *made.tensors)

        x, *known = on_own_rows(own, x, *target.tensors, *(() if by is None else by.tensors))
        return x, target.having(*known)

    return cast(MixFunction, mixed)


@_in_ranks
def mixup(
    x: Tensor, target: Target, task: Task, *, alpha: float = 1.0, biased: bool = False, per_sample: bool = False
) -> tuple[Tensor, Target]:
    """Blend each sample with a random partner of the batch, inputs and targets by the same share.

    Source: Zhang et al., "mixup", 2018, arXiv:1710.09412, eq. 1, with a share ``lambda ~ Beta(alpha, alpha)``. The
    blended target is such that a loss linear in its target equals ``lambda w_i L_i + (1 - lambda) w_j L_j``.

    Args:
        x: Inputs, shape (B, ...).
        target: Their targets.
        task: Says how unit weights meet the axes of a value.
        alpha: Concentration of the Beta distribution; 0 leaves everything as it is.
        biased: Take the larger of lambda and 1 - lambda, so that each row stays nearer to itself than to its partner
            (Berthelot et al. 2019, MixMatch, arXiv:1905.02249, eq. 9).
        per_sample: Draw a share for each row, as MixMatch does; else one for the batch, as the paper's code does.
    Gradient: flows to ``x``.

    Raises:
        ValueError: for a negative ``alpha``.
    """
    _check_alpha(alpha)
    if alpha == 0:
        return x, target
    # Share first, partners second: both come from the generator of the step, so their order is part of a run's result.
    share = sent(_shares(alpha, len(x), biased), x.device) if per_sample else _share(alpha, biased)
    partner = torch.randperm(len(x), device=x.device)
    own = _along(share, x)
    return own * x + (1 - own) * x[partner], blend(target, pick(target, partner), share, task)


@_in_ranks
def cutmix(x: Tensor, target: Target, task: Task, *, alpha: float = 1.0) -> tuple[Tensor, Target]:
    """Paste a rectangle of a random partner into each image.

    Source: Yun et al., "CutMix", 2019, arXiv:1905.04899, algorithm 1. A target with site axes is pasted like the
    image (at its own resolution), a target without them is blended by the share of the area. One rectangle a batch.

    Args:
        x: Images, shape (B, c, H, W).
        target: Their targets.
        task: Says how unit weights meet the axes of a value.
        alpha: Concentration of the Beta distribution of the kept area; 0 leaves everything as it is.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if ``x`` is no batch of images, or for a negative ``alpha``.
    """
    if x.dim() != 4:
        raise ValueError(f"cutmix needs images (B, c, H, W), got shape {tuple(x.shape)}")
    _check_alpha(alpha)
    if alpha == 0:
        return x, target
    pasted = _rectangle(x.shape[-2], x.shape[-1], 1 - _beta(alpha), x.device)
    partner = torch.randperm(len(x), device=x.device)
    other = pick(target, partner)
    mixed = torch.where(pasted, x[partner], x)
    if len(target.shape) == 2:
        # By the pixels that were pasted: a rectangle is cut off at the border, so the drawn share would be wrong.
        return mixed, blend(target, other, 1 - float(pasted.float().mean()), task)
    return mixed, _paste(target, other, _resize(pasted[None, None], target.shape[-2:]))


@_in_ranks
def cutmix_seg(
    x: Tensor,
    target: Target,
    task: Task,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: float = 0.3,
) -> tuple[Tensor, Target]:
    """Paste a box of another image into some images, each with a box of its own.

    Source: French et al., "Semi-supervised semantic segmentation needs strong, varied perturbations", BMVC 2020,
    arXiv:1906.01916, section 3.3, whose boxes cover half of each image (``probability=1, area=(0.5, 0.5)``); defaults
    are those of UniMatch's released code. A box lies within the image, no image is its own partner, and targets are
    pasted or blended as by ``cutmix``. Differs: a side is cut to that of the image, where both draw anew.

    Args:
        x: Images, shape (B, c, H, W).
        target: Their targets.
        task: Says how unit weights meet the axes of a value.
        probability: Of each image to get a box, in [0, 1].
        area: Smallest and largest share of the image that a box covers, in (0, 1].
        aspect: Smallest ratio of height to width, in (0, 1]; the largest is its inverse.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if ``x`` is no batch of images, and for settings out of range.
    """
    if x.dim() != 4:
        raise ValueError(f"cutmix_seg needs images (B, c, H, W), got shape {tuple(x.shape)}")
    _check_boxes(probability, area, aspect)
    if len(x) < 2:
        return x, target
    order = torch.randperm(len(x))
    partner = torch.empty_like(order).scatter_(0, order, order.roll(1))
    # on the host, as all draws: a few numbers an image
    share = torch.empty(len(x)).uniform_(*area)
    ratio = torch.empty(len(x)).uniform_(aspect, 1 / aspect)
    sides = torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()], 1).clamp(max=1) * torch.tensor(x.shape[2:])
    pasted = _boxes(sides.round() * (torch.rand(len(x), 1) < probability), x)
    partner = sent(partner, x.device)
    other = pick(target, partner)
    return torch.where(pasted, x[partner], x), _paste_boxes(target, other, pasted, task)


@_in_ranks
def classmix(x: Tensor, target: Target, task: Task, *, by: Target | None = None) -> tuple[Tensor, Target]:
    """Paste the pixels of half of the classes of a random partner into each image.

    Source: Olsson et al., "ClassMix", WACV 2021, arXiv:2007.07936, algorithm 1: floor(n / 2) of the n classes that the
    partner's own target shows (the union over the batch, as in other code, may paste nothing). Pixels that are not
    valid have no class: they do not count and are not pasted.

    Args:
        x: Images, shape (B, c, H, W).
        target: Their pixel targets, shape (B, C, h, w).
        task: A segmentation.
        by: Targets of the same shape whose classes are pasted; ``None``: ``target``.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if the targets have no class for each pixel, or ``x`` is no batch of images.
    """
    _check_classes(x, target)
    partner = torch.randperm(len(x), device=x.device)
    other = pick(target, partner)
    classes = _classes(other if by is None else pick(by, partner), task)
    # At the resolution of the targets, where the classes are known; the images get the enlarged mask.
    pasted = torch.stack([torch.isin(row, _half(row)) for row in classes])
    mixed = torch.where(_resize(pasted[:, None], x.shape[-2:]), x[partner], x)
    return mixed, _paste(target, other, pasted[:, None])


def source_classmix(
    x: Tensor, target: Target, task: Task, labeled: Labeled, *, classes: Literal["picture", "batch"] = "picture"
) -> tuple[Tensor, Target]:
    """Paste half of the classes of a labeled image, with its labels, into each unlabeled one.

    Source: Tranheden et al., "DACS", WACV 2021, arXiv:2007.08702, algorithm 1: half of the n classes, rounded up as in
    the released code. Differs: pasted pixels are as the labeled view shows them; there the mixture's colors are changed
    afterwards, here those of the strong view are before.

    Args:
        x: Unlabeled images, shape (B, c, H, W).
        target: Their pixel targets, shape (B, C, h, w).
        task: A segmentation.
        labeled: Images of the same size and their targets; each is pasted about as often as any other.
        classes: Drawn from those of each labeled ``"picture"``, or once from those of the ``"batch"``, as code that
            builds on DACS does (DAFormer, FST): a picture that shows none of them then pastes nothing.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if the targets have no class for each pixel, or images differ in size.
    """
    _check_classes(x, target)
    partner = _labeled_partners(x, labeled)
    other = pick(labeled.target, partner)
    there = _classes(other, task)
    drawn = _half(there, up=True) if classes == "batch" else None
    pasted = torch.stack([torch.isin(row, _half(row, up=True) if drawn is None else drawn) for row in there])
    mixed = torch.where(_resize(pasted[:, None], x.shape[-2:]), labeled.x[partner].to(x.dtype), x)
    return mixed, _paste(target, other, pasted[:, None])


def label_injection(
    x: Tensor,
    target: Target,
    task: Task,
    labeled: Labeled,
    value: Tensor,
    *,
    injected: tuple[float, float] = (8.0, 2.0),
    pasted: tuple[float, float] = (4.0, 4.0),
) -> tuple[Tensor, Target]:
    """Paste a box of another unlabeled image into each, with a box of a labeled one in it where its labels are unsure.

    Source: Zhao et al., "Augmentation Matters" (AugSeg), CVPR 2023, arXiv:2212.04976, adaptive label injection: an
    image's confidence rho is the mean over its units of the largest probability times 1 minus the entropy as a share
    of the largest possible; with probability 1 - rho a box of a labeled image lies on it before it lends its own box
    to another. Areas are drawn as in the released code. Differs: each image draws its own area, boxes lie within the
    image, and no image is its own partner; a batch of one keeps the labeled box itself.

    Args:
        x: Unlabeled images, shape (B, c, H, W).
        target: Their targets.
        task: Says how unit weights meet the axes of a value, and how sure a unit is.
        labeled: Images of the same size and their targets; each lends about as often as any other.
        value: What was predicted of the unlabeled images, shape (B, C, *S), in [0, 1].
        injected: Concentrations of the Beta distribution of the area that a labeled image does *not* take.
        pasted: The same of the box of another unlabeled image.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if ``x`` is no batch of images or sizes differ, and for a concentration that is not positive.
    """
    if x.dim() != 4:
        raise ValueError(f"label_injection needs images (B, c, H, W), got shape {tuple(x.shape)}")
    _check_injection(injected, pasted)
    # rho_i of each image: sure of one choice, and of nothing beside it
    p = task.distribution(value)
    entropy = -(p * p.clamp(min=1e-8).log()).sum(-1) / math.log(p.shape[-1])
    rho = (task.confidence(value) * (1 - entropy)).view(len(x), -1).mean(1)
    lent = _labeled_partners(x, labeled)
    unsure = sent(torch.rand(len(x)), x.device) > rho
    box = _boxes(_box_sides(x, injected), x) & unsure[:, None, None, None]
    shown = torch.where(box, labeled.x[lent].to(x.dtype), x)
    told = _paste_boxes(target, pick(labeled.target, lent), box, task)
    if len(x) < 2:
        return shown, told
    order = torch.randperm(len(x))
    partner = sent(torch.empty_like(order).scatter_(0, order, order.roll(1)), x.device)
    box = _boxes(_box_sides(x, pasted), x)
    return torch.where(box, shown[partner], x), _paste_boxes(target, pick(told, partner), box, task)


@_in_ranks
def keypoint_mix(
    x: Tensor, target: Target, task: Task, *, size: float = 0.15, pairs: int = 1, by: Target | None = None
) -> tuple[Tensor, Target]:
    """Copy a patch around one joint onto the place of another; the targets stay where they were.

    Source: Yun et al., "Teacher-Reviewer-Student", 2025, arXiv:2501.09565, Keypoint-Mix. The paper's text could not be
    read beyond its abstract: size, number and choice of the pairs are a reconstruction.

    Args:
        x: Images, shape (B, c, H, W).
        target: Heatmaps of their joints, shape (B, K, h, w).
        task: Keypoints.
        size: Side of the patch as a share of the shorter side of the image, in (0, 1].
        pairs: Pairs of different joints (from, to), drawn anew for each image from those that are valid and weigh
            something. An image with fewer than two stays as it is.
        by: Targets of the same shape whose joints are copied; ``None``: ``target``.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if the targets are no heatmaps of joints or ``x`` is no batch of images, and for a size or a number
            of pairs out of range.
    """
    _check_joints("keypoint_mix", x, target)
    _check_patch(size, pairs)
    side = max(1, round(size * min(x.shape[-2:])))
    shown = target if by is None else by
    places = _places(task.label(shown.value), shown.value.shape[-2:], x.shape[-2:])
    # A joint that does not count has a highest cell as well, where it is not.
    counted = (shown.weight * shown.mask() > 0).tolist()
    mixed = x.clone()
    for row, joints in enumerate(places):
        there = [place for place, counts in zip(joints, counted[row], strict=True) if counts]
        for start, end in _pairs(len(there), pairs):
            # From the image as it was: a later pair must not copy what an earlier one has pasted.
            _copy_patch(x[row], mixed[row], there[start], there[end], side)
    return mixed, target


@_in_ranks
def joint_occlusion(
    x: Tensor,
    target: Target,
    task: Task,
    *,
    probability: float = 0.5,
    threshold: float = 0.9,
    size: float = 20 / 256,
    by: Target | None = None,
) -> tuple[Tensor, Target]:
    """Hide one sure joint of some images behind a patch of another place of the image; the targets stay.

    Source: Raychaudhuri et al., "Prior-guided Source-free Domain Adaptation for Human Pose Estimation" (POST), ICCV
    2023, arXiv:2308.13954, adaptive keypoint occlusion; the numbers are those of its released code. A reconstruction:
    what the patch shows is not described, here a random place of the same image.

    Args:
        x: Images, shape (B, c, H, W).
        target: Heatmaps of their joints, shape (B, K, h, w).
        task: Keypoints.
        probability: Of each image to lose a joint, in [0, 1].
        threshold: Height of the peak from which on a joint is sure, in [0, 1]. It must also be valid and weigh
            something: of hard targets, whose peaks are 1, all joints that a strategy's ``select`` has kept are sure.
        size: Side of the patch as a share of the shorter side of the image, in (0, 1].
        by: Targets of the same shape whose joints are hidden; ``None``: ``target``.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if the targets are no heatmaps of joints or ``x`` is no batch of images, and for settings out of
            range.
    """
    _check_joints("joint_occlusion", x, target)
    _check_occlusion(probability, threshold, size)
    side, (height, width) = max(1, round(size * min(x.shape[-2:]))), x.shape[-2:]
    shown = target if by is None else by
    places = _places(task.label(shown.value), shown.value.shape[-2:], x.shape[-2:])
    sure = ((shown.weight * shown.mask() > 0) & (task.confidence(shown.value) >= threshold)).tolist()
    mixed = x.clone()
    for row, joints in enumerate(places):
        there = [place for place, counts in zip(joints, sure[row], strict=True) if counts]
        if there and float(torch.rand(())) < probability:
            hidden = there[int(torch.randint(len(there), ()))]
            _copy_patch(
                x[row], mixed[row], (int(torch.randint(height, ())), int(torch.randint(width, ()))), hidden, side
            )
    return mixed, target


class Mix(Recorded, nn.Module):
    """Base of the mixes: blend inputs (B, ...) and targets of one batch with one another.

    Attributes:
        reads_labeled: Whether it takes the labeled samples too, by ``with_labeled`` in place of ``forward``.
        reads_prediction: Whether it takes what was predicted of the samples as well, by ``with_prediction``.
    """

    reads_labeled: bool = False
    reads_prediction: bool = False

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """The mixed inputs and targets, of the same shapes."""
        raise NotImplementedError

    def with_labeled(self, x: Tensor, target: Target, task: Task, labeled: Labeled) -> tuple[Tensor, Target]:
        """The same of a mix that reads labeled samples."""
        raise NotImplementedError

    def with_prediction(
        self, x: Tensor, target: Target, task: Task, labeled: Labeled, value: Tensor
    ) -> tuple[Tensor, Target]:
        """The same of a mix that reads predictions ``value`` (B, C, *S) too."""
        raise NotImplementedError

    def in_step(
        self, x: Tensor, target: Target, task: Task, labeled: Labeled | None = None, value: Tensor | None = None
    ) -> tuple[Tensor, Target]:
        """The mixture by whichever of the three reads what it must; without labeled samples always by ``forward``."""
        if self.reads_prediction and labeled is not None and value is not None:
            return self.with_prediction(x, target, task, labeled, value)
        if self.reads_labeled and labeled is not None:
            return self.with_labeled(x, target, task, labeled)
        mixed: tuple[Tensor, Target] = self(x, target, task)
        return mixed

    def alike(
        self,
        x: Tensor,
        targets: Sequence[Target],
        task: Task,
        labeled: Labeled | None = None,
        value: Tensor | None = None,
    ) -> list[tuple[Tensor, Target]]:
        """The same mixture of inputs for several targets of theirs, each with the mixed inputs: by the same draws.

        A mix that pastes what a target shows goes by the first one; one of your own that does so without saying it here
        makes a mixture for each.

        Args:
            x: Inputs, shape (B, ...).
            targets: Targets of each of several networks.
            task: Says how unit weights meet the axes of a value.
            labeled: The labeled samples, for a mix that reads them; ``None``: they are in ``x``.
            value: What was predicted of ``x``, for a mix that reads it.
        """
        made: list[tuple[Tensor, Target]] = []
        for i, target in enumerate(targets):
            # All but the last give their draws back, so that what comes later is as after one mixture.
            with own_randomness(x.device) if i + 1 < len(targets) else contextlib.nullcontext():
                made.append(self._by(targets[0], x, target, task, labeled, value))
        return made

    def _by(self, by: Target, x: Tensor, target: Target, task: Task, *more: Any) -> tuple[Tensor, Target]:
        """One of the mixtures of ``alike``, where ``by`` says what is pasted."""
        return self.in_step(x, target, task, *more)


class Mixup(Mix):
    """``mixup`` with settings: see there.

    Args:
        alpha: Concentration of the Beta distribution; 0 leaves everything as it is.
        biased: Each row stays nearer to itself than to its partner.
        per_sample: Draw a share for each row; else one for the batch.
    """

    def __init__(self, alpha: float = 1.0, *, biased: bool = False, per_sample: bool = False) -> None:
        super().__init__()
        _check_alpha(alpha)
        self.alpha, self.biased, self.per_sample = alpha, biased, per_sample

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Blend with a random partner."""
        return mixup(x, target, task, alpha=self.alpha, biased=self.biased, per_sample=self.per_sample)


class CutMix(Mix):
    """``cutmix`` with settings: see there.

    Args:
        alpha: Concentration of the Beta distribution of the kept area; 0 leaves everything as it is.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        _check_alpha(alpha)
        self.alpha = alpha

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Paste a rectangle of a random partner."""
        return cutmix(x, target, task, alpha=self.alpha)


class CutMixSeg(Mix):
    """``cutmix_seg`` with settings: see there.

    Args:
        probability: Of each image to get a box, in [0, 1].
        area: Smallest and largest share of the image that a box covers, in (0, 1].
        aspect: Smallest ratio of height to width, in (0, 1]; the largest is its inverse.
    """

    def __init__(
        self, probability: float = 0.5, *, area: tuple[float, float] = (0.02, 0.4), aspect: float = 0.3
    ) -> None:
        super().__init__()
        _check_boxes(probability, area, aspect)
        self.probability, self.area, self.aspect = probability, area, aspect

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Paste a box of another image."""
        return cutmix_seg(x, target, task, probability=self.probability, area=self.area, aspect=self.aspect)


class SourceClassMix(Mix):
    """``source_classmix`` with settings, for strategies that learn labeled samples beside unlabeled ones: see there.

    Args:
        classes: Drawn from those of each labeled ``"picture"``, or of the ``"batch"``.
    """

    reads_labeled = True

    def __init__(self, classes: Literal["picture", "batch"] = "picture") -> None:
        super().__init__()
        if classes not in ("picture", "batch"):
            raise ValueError(f"classes is {classes!r}; choose 'picture' or 'batch'")
        self.classes = classes

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Refused: there is nothing to paste."""
        raise ValueError("SourceClassMix pastes labeled samples, and there are none here; take ClassMix")

    def with_labeled(self, x: Tensor, target: Target, task: Task, labeled: Labeled) -> tuple[Tensor, Target]:
        """Paste half of the classes of labeled images."""
        return source_classmix(x, target, task, labeled, classes=self.classes)


class LabelInjection(Mix):
    """``label_injection`` with settings, for strategies that learn labeled samples beside unlabeled ones: see there.

    Args:
        injected: Concentrations of the Beta distribution of the area that a labeled image does *not* take.
        pasted: The same of the box of another unlabeled image.
    """

    reads_labeled = True
    reads_prediction = True

    def __init__(self, injected: tuple[float, float] = (8.0, 2.0), *, pasted: tuple[float, float] = (4.0, 4.0)) -> None:
        super().__init__()
        _check_injection(injected, pasted)
        self.injected, self.pasted = injected, pasted

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Refused: there is nothing to inject."""
        raise ValueError("LabelInjection pastes labeled samples, and there are none here; take CutMixSeg")

    def with_labeled(self, x: Tensor, target: Target, task: Task, labeled: Labeled) -> tuple[Tensor, Target]:
        """Refused: nothing says how sure the labels are."""
        raise ValueError("LabelInjection needs the predictions that labels are made of; take CutMixSeg")

    def with_prediction(
        self, x: Tensor, target: Target, task: Task, labeled: Labeled, value: Tensor
    ) -> tuple[Tensor, Target]:
        """Paste boxes, of labeled images where labels are unsure."""
        return label_injection(x, target, task, labeled, value, injected=self.injected, pasted=self.pasted)


class ClassMix(Mix):
    """``classmix``: see there."""

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Paste half of a random partner's classes."""
        return classmix(x, target, task)

    def _by(self, by: Target, x: Tensor, target: Target, task: Task, *more: Any) -> tuple[Tensor, Target]:
        return classmix(x, target, task, by=by)


class KeypointMix(Mix):
    """``keypoint_mix`` with settings: see there.

    Args:
        size: Side of a patch as a share of the shorter side of the image, in (0, 1].
        pairs: Pairs of different joints (from, to), drawn anew for each image.
    """

    def __init__(self, size: float = 0.15, *, pairs: int = 1) -> None:
        super().__init__()
        _check_patch(size, pairs)
        self.size, self.pairs = size, pairs

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Copy patches from joint to joint."""
        return keypoint_mix(x, target, task, size=self.size, pairs=self.pairs)

    def _by(self, by: Target, x: Tensor, target: Target, task: Task, *more: Any) -> tuple[Tensor, Target]:
        return keypoint_mix(x, target, task, size=self.size, pairs=self.pairs, by=by)


class JointOcclusion(Mix):
    """``joint_occlusion`` with settings: see there.

    Args:
        probability: Of each image to lose a joint, in [0, 1].
        threshold: Height of the peak from which on a joint is sure, in [0, 1].
        size: Side of the patch as a share of the shorter side of the image, in (0, 1].
    """

    def __init__(self, probability: float = 0.5, *, threshold: float = 0.9, size: float = 20 / 256) -> None:
        super().__init__()
        _check_occlusion(probability, threshold, size)
        self.probability, self.threshold, self.size = probability, threshold, size

    def forward(self, x: Tensor, target: Target, task: Task) -> tuple[Tensor, Target]:
        """Hide joints."""
        return self._by(target, x, target, task)

    def _by(self, by: Target, x: Tensor, target: Target, task: Task, *more: Any) -> tuple[Tensor, Target]:
        settings = {"probability": self.probability, "threshold": self.threshold, "size": self.size}
        return joint_occlusion(x, target, task, **settings, by=by)


def blend(first: Target, second: Target, share: float | Tensor, task: Task) -> Target:
    """Target whose linear loss is ``share * w1 * L1 + (1 - share) * w2 * L2``; ``share``: one, or one a row (B,)."""
    _refuse_adjusted(first, second)
    share = _along(share, first.weight)
    w1, w2 = share * first.weight * first.mask(), (1 - share) * second.weight * second.mask()
    weight = w1 + w2
    # A unit that counts nowhere has no mean: it takes the plain one, and weighs 0.
    part = task.spread(torch.where(weight > 0, w1 / weight.clamp(min=1e-12), share * torch.ones_like(weight)))
    valid = None if first.valid is None and second.valid is None else (first.mask() + second.mask()) > 0
    return Target(part * first.value + (1 - part) * second.value, weight, valid)


def _refuse_adjusted(*targets: Target) -> None:
    # in a blend nobody can say how much of a loss is that of a label
    if any(isinstance(target, AdjustedTarget) for target in targets):
        raise ValueError(
            "this strategy joins labels with pseudo-labels in one loss, and the task adjusts the loss of labels alone; "
            "leave label_counts out, or take a strategy that keeps them apart, such as FixMatch"
        )


def _paste(target: Target, other: Target, pasted: Tensor) -> Target:
    """Take ``other`` where ``pasted`` (B or 1, 1, h, w); units without sites of their own count as far as both do."""
    if target.weight.dim() != len(target.shape) - 1:
        value = torch.where(pasted, other.value, target.value)
        # The map of a joint is now of either image, or of both in part: it counts only as far as both do.
        touched = pasted.flatten(1).any(1)[:, None]
        weight = torch.where(touched, torch.minimum(target.weight, other.weight), target.weight)
        return Target(value, weight, target.mask() * torch.where(touched, other.mask(), 1) > 0)
    valid, inside = None, pasted[:, 0]
    if target.valid is not None or other.valid is not None:
        valid = torch.where(inside, other.mask(), target.mask()) > 0
    weight = torch.where(inside, other.weight, target.weight)
    if isinstance(target, HardTarget) and isinstance(other, HardTarget):
        return target.having(torch.where(inside, other.label, target.label), weight, valid)
    return Target(torch.where(pasted, other.value, target.value), weight, valid)


def _paste_boxes(target: Target, other: Target, pasted: Tensor, task: Task) -> Target:
    """Take ``other`` in the pixels ``pasted`` (B, 1, H, W) of the images, or blend labels of whole images by area."""
    if len(target.shape) == 2:
        return blend(target, other, 1 - pasted.float().mean((1, 2, 3)), task)
    return _paste(target, other, _resize(pasted, target.shape[-2:]))


def _boxes(sides: Tensor, x: Tensor) -> Tensor:
    """Boxes of whole pixels, ``sides`` (B, 2) high and wide, anywhere within each image: (B, 1, H, W), boolean."""
    start = (torch.rand(len(x), 2) * (torch.tensor(x.shape[2:]) - sides + 1)).floor()
    bounds = sent(torch.stack([start, start + sides]), x.device)[..., None]  # (2, B, 2, 1)
    rows, columns = (torch.arange(side, device=x.device) for side in x.shape[2:])
    inside_rows = (rows >= bounds[0, :, 0]) & (rows < bounds[1, :, 0])
    inside_columns = (columns >= bounds[0, :, 1]) & (columns < bounds[1, :, 1])
    return (inside_rows[:, :, None] & inside_columns[:, None])[:, None]


def _box_sides(x: Tensor, kept: tuple[float, float]) -> Tensor:
    """Sides (B, 2) of boxes of the form of the image, of which a share from this Beta distribution is kept."""
    share = 1 - torch.distributions.Beta(*kept).sample((len(x),))
    return (share.sqrt()[:, None] * torch.tensor(x.shape[2:])).round()


def _labeled_partners(x: Tensor, labeled: Labeled) -> Tensor:
    """A row of the labeled images for each image of ``x``."""
    if labeled.x.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"labeled images are {tuple(labeled.x.shape[1:])} and unlabeled ones {tuple(x.shape[1:])}; give views of "
            "one size"
        )
    order = torch.randperm(len(labeled.x))
    return sent(order[torch.arange(len(x)) % len(order)], x.device)


def _resize(mask: Tensor, size: torch.Size) -> Tensor:
    """Boolean (B, 1, H, W) at another resolution."""
    if mask.shape[-2:] == size:
        return mask
    # nearest-exact: torch's `nearest` takes the upper left neighbor and shifts the mask.
    inside: Tensor = F.interpolate(mask.float(), size=tuple(size), mode="nearest-exact") > 0.5
    return inside


def _classes(target: Target, task: Task) -> Tensor:
    """Class of each pixel, (B, h, w); ``_NO_CLASS`` where there is none."""
    label = target.label.long() if isinstance(target, HardTarget) else task.label(target.value)
    return torch.where(target.mask() > 0, label, _NO_CLASS)


def _half(classes: Tensor, *, up: bool = False) -> Tensor:
    """A random half (rounded down, or ``up``) of the classes that occur."""
    found: Tensor = classes.unique()
    found = found[found != _NO_CLASS]
    order = torch.randperm(len(found), device=found.device)
    return found[order[: (len(found) + up) // 2]]


def _check_classes(x: Tensor, target: Target) -> None:
    if x.dim() != 4 or len(target.shape) != 4 or target.weight.dim() != 3:
        raise ValueError(f"classmix needs a class for each pixel, got {_shapes(x, target)}; use cutmix or mixup")


def _check_boxes(probability: float, area: tuple[float, float], aspect: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; it must be in [0, 1]")
    if not 0 < area[0] <= area[1] <= 1 or not 0 < aspect <= 1:
        raise ValueError(f"area is {area} and aspect {aspect}; shares must rise within (0, 1], as (0.02, 0.4) and 0.3")


def _check_injection(injected: tuple[float, float], pasted: tuple[float, float]) -> None:
    if not min(*injected, *pasted) > 0:
        raise ValueError(f"injected is {injected} and pasted {pasted}; concentrations must be above 0, as (8, 2)")


def _pairs(joints: int, pairs: int) -> list[tuple[int, int]]:
    """Random pairs of different numbers below ``joints``; none if there are fewer than two."""
    if joints < 2:
        return []
    # A shift of 1 to joints - 1 never leads back to the joint itself, so none is pasted on its own place.
    start = torch.randint(joints, (pairs,))
    end = (start + torch.randint(1, joints, (pairs,))) % joints
    return list(zip(start.tolist(), end.tolist(), strict=True))


def _places(cells: Tensor, heatmap: torch.Size, image: torch.Size) -> list[list[tuple[int, int]]]:
    """Cells of joints (B, K) in a heatmap -> (row, column) in the image, nested lists."""
    # Centers of cells: from their corners every patch would lie half a cell too high and too far left.
    rows = (cells // heatmap[1] + 0.5) * image[0] / heatmap[0]
    columns = (cells % heatmap[1] + 0.5) * image[1] / heatmap[1]
    pairs: list[list[tuple[int, int]]] = torch.stack([rows, columns], -1).long().tolist()
    return pairs


def _copy_patch(source: Tensor, image: Tensor, start: tuple[int, int], end: tuple[int, int], side: int) -> None:
    """Write the square of ``source`` around ``start`` over the place ``end`` of ``image``, cut at the borders."""
    spans = []
    for near, there, size in zip(start, end, image.shape[-2:], strict=True):
        # By the nearer border of both places: the two must be of one shape, and negative places count from behind.
        low = max(-(side // 2), -near, -there)
        high = min(side - side // 2, size - near, size - there)
        spans.append((near, there, low, high))
    (r0, r1, top, bottom), (c0, c1, left, right) = spans
    image[:, r1 + top : r1 + bottom, c1 + left : c1 + right] = source[:, r0 + top : r0 + bottom, c0 + left : c0 + right]


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"alpha is {alpha}; it must be 0 or more, and finite")


def _check_patch(size: float, pairs: int) -> None:
    if not 0 < size <= 1 or pairs < 1:
        raise ValueError(f"size is {size} and pairs {pairs}; size must be in (0, 1] and pairs at least 1")


def _check_joints(name: str, x: Tensor, target: Target) -> None:
    if x.dim() != 4 or target.value.dim() != 4 or target.weight.dim() != 2:
        raise ValueError(f"{name} needs heatmaps (B, K, h, w) of images, got {_shapes(x, target)}")


def _check_occlusion(probability: float, threshold: float, size: float) -> None:
    if not (0 <= probability <= 1 and 0 <= threshold <= 1 and 0 < size <= 1):
        raise ValueError(
            f"an occlusion has probability {probability}, threshold {threshold} and size {size}; all must be in "
            "[0, 1], and size above 0"
        )


def _shapes(x: Tensor, target: Target) -> str:
    return f"targets {tuple(target.shape)} for inputs {tuple(x.shape)}"


def _beta(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _share(alpha: float, biased: bool) -> float:
    """One share for a batch."""
    share = _beta(alpha)
    return max(share, 1 - share) if biased else share


def _shares(alpha: float, rows: int, biased: bool) -> Tensor:
    """A share for each row, (rows,), drawn on the CPU like all others."""
    shares: Tensor = torch.distributions.Beta(alpha, alpha).sample((rows,))
    return torch.maximum(shares, 1 - shares) if biased else shares


def _along(share: float | Tensor, values: Tensor) -> float | Tensor:
    """Shares of rows (B,) beside values (B, ...), in their number format; one share for all stays as it is."""
    if not isinstance(share, Tensor):
        return share
    dtype = values.dtype if values.is_floating_point() else share.dtype
    return share.to(dtype).view(-1, *[1] * (values.dim() - 1))


def _rectangle(height: int, width: int, area: float, device: torch.device) -> Tensor:
    """Boolean (height, width) mask of a rectangle around a random center, clipped at the border."""
    h, w = round(height * area**0.5), round(width * area**0.5)
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    top, left = row - h // 2, column - w // 2
    inside: Tensor = (rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w)
    return inside
