"""What a task is, and the plain one: classification, one label a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.tasks.geometry import grid_of_places, map_of, squared_map
from selftrain.types import HardTarget, Recorded, Target, View


class Task(Protocol):
    """The questions that may be asked about outputs: by strategies, and by all that shows or judges what they learned.

    Shapes: see ``selftrain.types``.
    """

    monitor: str
    groups: int  # what thresholds and priors may differ by: classes, or joints
    has_classes: bool  # whether a unit decides among the groups (a class), or has one already and decides on a place
    one_unit: bool  # whether a sample is one unit, so that it has one label

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (C, *S) of a prediction for an input of a shape."""
        ...

    def encode(self, annotation: Tensor) -> Target:
        """Turn annotations of the data set into a target of weight 1."""
        ...

    def probs(self, logits: Tensor) -> Tensor:
        """Turn raw outputs (B, C, *S) into values in [0, 1]; gradients flow through."""
        ...

    def confidence(self, value: Tensor) -> Tensor:
        """How sure each unit is: (B, C, *S) -> (B, *U) in [0, 1]."""
        ...

    def margin(self, value: Tensor) -> Tensor:
        """Distance of each unit's first choice to its second: (B, C, *S) -> (B, *U) in [0, 1]."""
        ...

    def label(self, value: Tensor) -> Tensor:
        """Decision of each unit as an integer: (B, C, *S) -> (B, *U)."""
        ...

    def group(self, value: Tensor) -> Tensor:
        """Group of each unit: its decided class, or its joint: (B, C, *S) -> (B, *U), in [0, groups)."""
        ...

    def presence(self, value: Tensor) -> Tensor:
        """Mean prediction for each group: (B, C, *S) -> (groups,): mean class probability, or mean height of a peak."""
        ...

    def harden(self, value: Tensor) -> Tensor:
        """Replace each unit's value by its decision at full confidence, (B, C, *S) -> (B, C, *S)."""
        ...

    def decide(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """Target of the hardened values, which need not be made."""
        ...

    def sharpen(self, value: Tensor, temperature: float) -> Tensor:
        """Raise to the power ``1/temperature`` and normalize where values are probabilities; gradients flow through."""
        ...

    def distribution(self, value: Tensor) -> Tensor:
        """Each unit's distribution over its choices, along the last axis: classes, or cells of a heatmap."""
        ...

    def reweigh(self, value: Tensor, factor: Tensor) -> Tensor:
        """Multiply the probability of each class by its factor (C,) and normalize; refused where there are no classes.

        Raises:
            ValueError: for joints, which have no prior.
        """
        ...

    def agree(self, values: Tensor) -> Tensor:
        """Which members side with the consensus: (N, B, C, *S) -> (N, B, *U) bool."""
        ...

    def units(self, value: Tensor, confidence: Tensor, accepted: Tensor) -> Tensor:
        """What is said of each group of a sample: (B, C, *S) and units (B, *U) twice -> (B, groups, 3 or 5).

        Share of the sample's units, their mean confidence, share of them that is accepted, and of joints x and y.
        """
        ...

    def changed(self, before: Tensor, now: Tensor) -> Tensor:
        """Which samples are decided otherwise, of two answers (B, groups, 3 or 5) of ``units``: (B,) bool."""
        ...

    def spread(self, weight: Tensor) -> Tensor:
        """Make unit weights (B, *U) broadcastable to (B, C, *S)."""
        ...

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Sum of weight times unit loss over the number of valid units; gradients flow to ``logits``."""
        ...

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Mean squared difference of values, weighted and divided like ``loss``; gradients flow to ``logits``."""
        ...

    def warp(self, target: Target, view: View) -> Target:
        """Carry a target into the geometry of a view."""
        ...

    def update(self, value: Tensor, target: Target) -> Tensor:
        """Additive statistic of a batch of predictions, for ``compute``."""
        ...

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """Figures of a summed tally; the one named ``monitor`` judges a run."""
        ...


def weighted_mean(unit_loss: Tensor, target: Target) -> Tensor:
    """Sum of weight x unit loss over valid units, divided by the number of *valid* units (not of kept ones).

    Source: Sohn et al., "FixMatch", 2020, arXiv:2001.07685, eq. 4 divides by the whole batch; invalid units (void
    pixels) are left out as in UniMatch. No valid or no kept unit gives 0 that still has a gradient path.

    Args:
        unit_loss: Loss of each unit, shape (B, *U).
        target: Its weights and validity.
    Gradient: flows to ``unit_loss`` only.
    """
    # Weights are detached: with a gradient a network could lower its loss by being unsure. Selection never enters the
    # denominator: divided by the kept units, a single sure sample would pull as hard as a whole batch.
    mask = target.mask()
    return (unit_loss * target.weight.detach() * mask).sum() / mask.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
    # From logits: the logarithm of a probability that has underflowed to 0 is infinite.
    return -(value * logits.log_softmax(1)).sum(1)


class AdjustedTarget(Target):
    """What a person said, whose loss is to be adjusted for how often it is said; it stays so in parts and weights."""

    def having(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """The same with other ``tensors``."""
        return AdjustedTarget(value, weight, valid)


class Classification(Recorded):
    """One label a sample; a unit is a sample.

    ``label_counts`` adjusts the loss of labels, and of nothing else, for unequal classes: ``log_softmax(z + tau log
    pi)``, so that z itself is what it would be of balanced labels. Source: Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021, arXiv:2007.07314, its loss. Pseudo-labels keep the plain loss: their shares are the pile's.

    Args:
        classes: Number of classes, at least 2.
        label_counts: How many labels each class has, or their shares pi, each above 0; ``None``: no adjustment.
            Strategies that blend labels with pseudo-labels (``MixMatch``, ``CurriculumLabeling``) refuse it.
        tau: Strength of the adjustment, >= 0; the paper's 1 makes up for all of it.

    Raises:
        ValueError: for fewer than 2 classes, counts that are not one a class and above 0, or a negative ``tau``.
    """

    monitor = "accuracy"
    has_classes = one_unit = True

    def __init__(self, classes: int, *, label_counts: Sequence[float] | None = None, tau: float = 1.0) -> None:
        if classes < 2:
            raise ValueError(f"classes is {classes}; a classification needs at least 2")
        if label_counts is not None and (len(label_counts) != classes or not min(label_counts) > 0):
            raise ValueError(
                f"label_counts is {list(label_counts)}; give {classes} numbers above 0, the labels of each class"
            )
        if not tau >= 0:
            raise ValueError(f"tau is {tau}; it must be 0 or more")
        self.classes = self.groups = classes
        self.label_counts, self.tau = label_counts, tau

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A probability for each class."""
        return (self.classes,)

    def encode(self, annotation: Tensor) -> Target:
        """One-hot targets of class indices (B,).

        Raises:
            DataError: if an index is outside [0, classes).
        """
        if annotation.dim() != 1:
            shape = tuple(annotation.shape)
            raise DataError(f"labels have shape {shape}; classification needs one a sample, masks need Segmentation")
        check_classes(annotation, annotation, self.classes)
        value = F.one_hot(annotation.long(), self.classes).float()
        kind = Target if self.label_counts is None else AdjustedTarget
        return kind(value, value.new_ones(len(value)))

    def probs(self, logits: Tensor) -> Tensor:
        """Softmax over axis 1."""
        return logits.softmax(1)

    def confidence(self, value: Tensor) -> Tensor:
        """Largest probability."""
        return value.amax(1)

    def margin(self, value: Tensor) -> Tensor:
        """Largest minus second largest probability."""
        first, second = value.topk(2, dim=1).values.unbind(1)
        return first - second

    def label(self, value: Tensor) -> Tensor:
        """Most probable class."""
        return value.argmax(1)

    def group(self, value: Tensor) -> Tensor:
        """The decided class."""
        return self.label(value)

    def presence(self, value: Tensor) -> Tensor:
        """Mean probability of each class over all units."""
        # Probabilities and not decisions: alignment, FreeMatch and JointMatch are defined on the mean prediction.
        return value.movedim(1, -1).flatten(0, -2).mean(0)

    def harden(self, value: Tensor) -> Tensor:
        """One-hot at the most probable class."""
        # By `label`: a tie must be the same decision in every answer. one_hot puts the classes last.
        return F.one_hot(self.label(value), value.shape[1]).movedim(-1, 1).to(value)

    def decide(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """Target of the most probable classes."""
        return Target(self.harden(value), weight, valid)

    def sharpen(self, value: Tensor, temperature: float) -> Tensor:
        """``p^(1/T)`` normalized over classes (Berthelot et al. 2019, MixMatch, eq. 7)."""
        # As logarithms: at a low temperature all powers underflow, and 0 / 0 is left. The floor keeps log 0 out.
        return value.clamp(min=1e-12).log().div(temperature).softmax(1)

    def distribution(self, value: Tensor) -> Tensor:
        """Class probabilities along the last axis, (B, *S, C)."""
        return value.movedim(1, -1)

    def reweigh(self, value: Tensor, factor: Tensor) -> Tensor:
        """Multiply each class by its factor and normalize over classes."""
        scaled = value * factor.view(1, -1, *[1] * (value.dim() - 2))
        # The floor: factors may leave a unit nothing in any class.
        return scaled / scaled.sum(1, keepdim=True).clamp(min=1e-12)

    def agree(self, values: Tensor) -> Tensor:
        """Members whose class is that of the mean probability."""
        each: Tensor = self.label(values.flatten(0, 1)).unflatten(0, values.shape[:2])
        return each == self.label(values.mean(0))

    def units(self, value: Tensor, confidence: Tensor, accepted: Tensor) -> Tensor:
        """Of each class: share of the units, mean confidence (0 where there are none), share accepted."""
        label = self.label(value).flatten(1).view(1, len(value), -1)
        layers = torch.stack([torch.ones_like(confidence), confidence, accepted.to(confidence)]).view(3, len(value), -1)
        sums = layers.new_zeros(3, len(value), self.groups).scatter_add_(2, label.expand(3, -1, -1), layers)
        many, (sure, taken) = sums[0].clamp(min=1), sums[1:]
        return torch.stack([sums[0] / label.shape[2], sure / many, taken / many], -1)

    def changed(self, before: Tensor, now: Tensor) -> Tensor:
        """Samples whose largest class is another one."""
        return before[..., 0].argmax(1) != now[..., 0].argmax(1)

    def spread(self, weight: Tensor) -> Tensor:
        """Add the class axis."""
        return weight.unsqueeze(1)

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Cross-entropy with soft targets in nats; of labels with adjusted logits, see ``label_counts``."""
        check_shape(logits, target)
        if self.label_counts is not None and isinstance(target, AdjustedTarget):
            logits = logits + self.tau * logits.new_tensor(self.label_counts).log()
        return weighted_mean(_cross_entropy(logits, target.value), target)

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Squared difference of probabilities, mean over classes (Tarvainen & Valpola 2017)."""
        # Mean over the classes, as in Mean Teacher's code: weights made for a sum over them are to be multiplied by C.
        return weighted_mean((self.probs(logits) - target.value).square().mean(1), target)

    def warp(self, target: Target, view: View) -> Target:
        """A class does not move: the target as it is."""
        return target

    def update(self, value: Tensor, target: Target) -> Tensor:
        """Counts (3, classes) of valid units of weight > 0: decided rightly, truly of each class, decided for it."""
        keep = target.mask() * target.weight > 0
        known = target.label.long() if isinstance(target, HardTarget) else self.label(target.value)
        truth, guess = known[keep], self.label(value)[keep]
        # No confusion matrix: of 10,000 classes it would be 0.8 GB a batch.
        counts = [torch.bincount(units, minlength=self.classes) for units in (truth[truth == guess], truth, guess)]
        # Double: a part of masks has more pixels than the 2**24 up to which float32 counts by ones.
        return torch.stack(counts).double()

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``accuracy`` and ``balanced_accuracy`` (mean recall of the classes present), in [0, 1]."""
        hits, rows, _ = tally
        recall = hits[rows > 0] / rows[rows > 0]
        return {"accuracy": ratio(hits.sum(), rows.sum()), "balanced_accuracy": ratio(recall.sum(), len(recall))}


def relative(source: View, destination: View) -> View:
    """View of ``destination`` as seen from ``source``: its map sends a place of the one to that of the other.

    A label made on a weak view that was itself moved reaches the strong view through ``weak^-1`` after ``strong``.
    """
    return _Between(source, destination) if source.moved else destination


class _Between(View):
    """A view as seen from another; the map is found when a task asks for it, for classes do not move."""

    moved = True

    def __init__(self, source: View, destination: View) -> None:
        places = destination.places
        if places is None and source.places is not None:  # so that all ask for the map of each pixel
            size = destination.x.shape[-2:]
            places = grid_of_places(View(destination.x, map_of(destination)), size, source.places)
        vars(self).update(x=destination.x, places=places, pixels=destination.pixels, ends=(source, destination))

    @cached_property
    def theta(self) -> Tensor | None:
        """The map of each sample, (B, 2, 3)."""
        source, destination = vars(self)["ends"]
        if source.theta is None or destination.places is not None:
            return None
        # Homogeneous, so that a map can be inverted and multiplied with its offset.
        back: Tensor = torch.linalg.inv(squared_map(source.theta))
        return (back if destination.theta is None else back @ squared_map(destination.theta))[:, :2]


def decided(task: Task, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
    """``Task.decide``, or its like for a task of the user's own that has none."""
    decide = getattr(task, "decide", None)
    return Target(task.harden(value), weight, valid) if decide is None else decide(value, weight, valid)


def has_classes(task: Task) -> bool:
    """Whether units have classes, with shares that can be compared; joints have places instead."""
    share = torch.full((task.groups,), 1 / task.groups)
    try:
        task.reweigh(share[None], share)  # refused where there are none
    except ValueError:
        return False
    return True


def unmoved(task: Task, value: Tensor, view: View) -> Target:
    """A prediction (B, C, *S) of a view in the geometry of the unmoved image; what the view hides is not valid."""
    here = Target(value, torch.ones_like(task.confidence(value)))
    return task.warp(here, relative(view, View(view.x)))


def ratio(part: Tensor, whole: Tensor | int) -> float:
    """Share of a count, 0 where there is nothing."""
    # Wholes are counts: the floor only turns 0 / 0 into 0. A NaN would never compare as better or worse.
    return float(part) / max(float(whole), 1.0)


def check_shape(logits: Tensor, target: Target) -> None:
    """Raise DataError where a network's outputs are not those that the task needs."""
    if logits.shape[1:] != target.shape[1:]:
        given, needed = tuple(logits.shape[1:]), tuple(target.shape[1:])
        raise DataError(f"the network gives {given} a sample, the task needs {needed}; build it with that many outputs")


def check_classes(annotation: Tensor, labels: Tensor, classes: int) -> None:
    """Raise DataError with the place of the first of ``labels`` that is no class."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        row = (annotation == wrong[0]).nonzero()[0].tolist()
        raise DataError(
            f"label {wrong[0].item()} at position {row} is outside 0..{classes - 1}; check the class count: the task "
            f"has classes={classes}"
        )
