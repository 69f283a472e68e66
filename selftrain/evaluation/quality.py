"""How good pseudo-labels are where nobody knows the truth: judged from held-out labels, the ledger and more views."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from selftrain.errors import setting
from selftrain.evaluation.accuracy_estimate import Estimate, estimate_accuracy
from selftrain.evaluation.agreement import LOOKS, pile_looks, view_agreement
from selftrain.evaluation.calibration import Calibration, calibrate, calibration_at, predictions
from selftrain.labels.ledger import Ledger
from selftrain.metrics.calibration_error import pseudo_label_accuracy
from selftrain.metrics.significance import effective_classes
from selftrain.mix import pick
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Task
from selftrain.types import Pile, Target


@dataclass(frozen=True)
class Quality:
    """What is known of a ledger's pseudo-labels; see ``report``. ``None``: cannot be told.

    Attributes:
        coverage: Share of the samples ever labeled.
        accepted: Share of those that is accepted.
        flip_rate: Share of re-labelings that changed the decision.
        agreement: Mean share of the members, or of the looks of one, that side with an accepted decision.
        classes: Names of the classes, in the order of the next three.
        class_shares: Share of each class among the accepted.
        prior: Share of each class that was expected.
        class_ratio: Found over expected; ``None`` where nothing was expected.
        total_variation: Half the summed difference of the two: the share of labels that would have to change class.
        effective_classes: Exponential of the entropy of the class shares: how many classes there are in effect.
        held_out: Samples with held-out labels.
        calibration: Of the shipped predictions on them, which stands for that of the pseudo-labels where their truth is
            not known; ``None`` for keypoints.
        estimate: Estimated accuracy of the accepted pseudo-labels.
        true_accuracy: Their accuracy where the truth is known.
        view_agreement: Share of units of the pile on which the shipped prediction is the same on three weak views.
        pile_calibration: Of the shipped predictions on the pile where the truth is known, before and after the
            temperature of ``calibration``; classification only.
    """

    coverage: float
    accepted: float
    flip_rate: float | None
    agreement: float | None
    classes: tuple[str, ...]
    class_shares: tuple[float, ...]
    prior: tuple[float, ...] | None
    class_ratio: tuple[float | None, ...] | None
    total_variation: float | None
    effective_classes: float | None
    held_out: int = 0
    calibration: Calibration | None = None
    estimate: Estimate | None = None
    true_accuracy: float | None = None
    view_agreement: float | None = None
    pile_calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, texts, lists and dictionaries, for JSON."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    def text(self) -> str:
        """A few lines to read."""
        lines = [f"labeled {self.coverage:.1%} of the pile, accepted {self.accepted:.1%} of those"]
        if self.estimate is None:
            why = (
                "nothing is accepted"
                if self.held_out
                else f"no held-out labels; hold some back ({setting('validation')})"
            )
            lines.append(f"accuracy of the accepted: unknown ({why})")
        else:
            e = self.estimate
            lines.append(
                f"accuracy of the accepted: {e.value:.1%}, between {e.low:.1%} and {e.high:.1%} "
                f"(from {self.held_out} held-out samples)"
            )
        if self.true_accuracy is not None:
            lines.append(f"true accuracy of the accepted: {self.true_accuracy:.1%}")
        return "\n".join([*lines, *self._details()])

    def _details(self) -> list[str]:
        lines = []
        if self.pile_calibration is not None:
            c = self.pile_calibration
            lines.append(f"{_calibrated(c)} (pseudo-labels, by the truth of {c.samples})")
        if self.calibration is not None:
            lines.append(f"{_calibrated(self.calibration)} ({self.held_out} held-out samples)")
        if self.flip_rate is not None:
            lines.append(f"flip rate {self.flip_rate:.1%}")
        if self.agreement is not None:
            lines.append(f"agreement of the members or looks {self.agreement:.1%}")
        if self.view_agreement is not None:
            lines.append(f"decided alike on {len(LOOKS)} weak views {self.view_agreement:.1%}")
        if self.effective_classes is not None:
            lines.append(f"classes in effect {self.effective_classes:.1f} of {len(self.classes)}")
        if self.total_variation is not None and self.class_ratio is not None:
            known = [(r, name) for r, name in zip(self.class_ratio, self.classes, strict=True) if r is not None]
            (least, rare), (most, frequent) = min(known), max(known)
            lines.append(
                f"distance to the expected class shares {self.total_variation:.3f}: "
                f"{rare} {least:.2f} times, {frequent} {most:.2f} times as often"
            )
        return lines


def report(
    strategy: SupervisedStrategy,
    pile: Pile,
    ledger: Ledger,
    part: object = "validation",
    *,
    prior: Tensor | None = None,
    seed: int = 0,
) -> Quality:
    """Judge the pseudo-labels of a run.

    The accuracy of the accepted ones is estimated from how often the strategy is right on held-out labels at the same
    confidence. That supposes that confidence means the same on both. Two things speak against it, and both make the
    estimate too high: labels made early in a run are from a weaker network than the one that is measured (so judge a
    run that has passed over the pile with a trained network), and a network that has learned its own mistakes is surer
    of them than of mistakes on samples it has never seen. ``benchmarks/quality.py`` shows the first.

    For masks and joints a row is a sample, as in the ledger: mean confidence, and the share of its units that is right.

    Agreement of views and calibration of the pseudo-labels are those of the strategy as it is now, on a random sample
    of the pile (up to 2,000 rows); the pseudo-labels of the ledger may be older.

    Args:
        strategy: The trained strategy.
        pile: Its data.
        ledger: Its pseudo-labels.
        part: Labels that no network was trained on: a part of the pile, or another data set. Without any the estimate
            is left out.
        prior: Expected share of each class among the pile, shape (classes,); ``None``: that of the held-out labels.
        seed: Of the draws for the interval, of the sample and of its views.

    Raises:
        ValueError: for a prior of another shape, negative or all 0.
    """
    agreement = view_agreement(strategy, pile, seed=seed)
    quality = replace(from_ledger(ledger, prior), view_agreement=agreement)
    if pile.evaluation(part, 1, next(strategy.parameters()).device) is None:
        return quality
    has_classes = strategy.task.has_classes and len(ledger.classes) > 0
    rows = _held_out(strategy, pile, part, has_classes=has_classes)
    if not rows:
        return quality
    confidence, correct, classes = (torch.tensor(column) for column in zip(*rows, strict=True))
    # the held-out labels are the best guess at how the classes of the pile are spread
    if prior is None and has_classes:
        shares = torch.bincount(classes, minlength=len(ledger.classes)).double()
        quality = replace(from_ledger(ledger, shares), view_agreement=agreement)
    # rounding may lift a mean of probabilities above 1
    accepted = ledger.confidence[ledger.accepted].clamp(0, 1)
    estimate = estimate_accuracy(confidence.clamp(0, 1), correct, accepted, seed=seed) if len(accepted) else None
    quality = replace(quality, held_out=len(rows), estimate=estimate)
    if not has_classes:
        return quality
    calibration = calibrate(strategy, pile, part)
    # fitted to held-out labels: the truth of the pile has had no part in it
    known = _pile_calibration(strategy, pile, calibration.temperature, seed)
    return replace(quality, calibration=calibration, pile_calibration=known)


def from_ledger(ledger: Ledger, prior: Tensor | None = None) -> Quality:
    """What the ledger alone tells, without a strategy or held-out labels.

    Args:
        ledger: The pseudo-labels.
        prior: Expected shares of the classes, shape (classes,), any scale; ``None``: not compared.

    Raises:
        ValueError: for a prior of another shape, negative or all 0.
    """
    figures, shares = ledger.summary(), ledger.class_shares() if len(ledger.classes) else torch.zeros(0)
    # the first look at a row is no re-labeling
    again = (ledger.seen - 1).clamp(min=0).sum()
    said = ledger.accepted & (ledger.agreement >= 0)
    expected = None if prior is None else ledger.checked_prior(prior)
    counted = bool(shares.sum() > 0)
    right = None
    if ledger.truth is not None and ledger.units is None and bool((ledger.accepted & (ledger.truth >= 0)).any()):
        right = float(pseudo_label_accuracy(ledger.label, ledger.accepted, ledger.truth)[0])
    ratio = None
    if expected is not None and counted:
        rows = zip(shares.tolist(), expected.tolist(), strict=True)
        # a class that was not expected has no ratio, however often it was found
        ratio = tuple(found / share if share > 0 else None for found, share in rows)
    return Quality(
        coverage=figures.get("coverage", 0.0),
        accepted=figures.get("accepted", 0.0),
        flip_rate=float(ledger.flips.sum() / again) if again > 0 else None,
        agreement=float(ledger.agreement[said].double().mean()) if bool(said.any()) else None,
        classes=tuple(map(str, ledger.classes)),
        class_shares=tuple(shares.tolist()),
        prior=None if expected is None else tuple(expected.tolist()),
        class_ratio=ratio,
        total_variation=None if expected is None or not counted else total_variation(shares, expected),
        effective_classes=effective_classes(shares) if counted else None,
        true_accuracy=right,
    )


def total_variation(shares: Tensor, prior: Tensor) -> float:
    """Half the summed absolute difference of two distributions, in [0, 1]."""
    return float((shares.double().cpu() - prior.double().cpu()).abs().sum() / 2)


def _held_out(
    strategy: SupervisedStrategy, pile: Pile, part: object, *, has_classes: bool
) -> list[tuple[float, float, int]]:
    """Of each held-out sample with a label: mean confidence, share of its units that is right, most frequent class."""
    task, rows = strategy.task, []
    for value, target in predictions(strategy, pile, part):
        valid = target.mask() > 0
        confidence, labeled = (
            task.confidence(value).reshape(len(value), -1).mean(1),
            valid.reshape(len(value), -1).any(1),
        )
        for i in torch.nonzero(labeled).squeeze(1).tolist():
            # sample by sample, as a row of the ledger is one, whose confidences are judged by these
            given = pick(target, slice(i, i + 1))
            right = _share_right(task, value[i : i + 1], given)
            rows.append((float(confidence[i]), right, _typical(task, given) if has_classes else 0))
    return rows


def _pile_calibration(strategy: SupervisedStrategy, pile: Pile, temperature: float, seed: int) -> Calibration | None:
    """What the temperature does to predictions for the pile whose truth is known; ``None``: it is of none."""
    truth = pile.unlabeled_truth()
    if truth is None or truth.ndim > 1:
        return None
    values, classes = [], []
    for index, (look,) in pile_looks(strategy, pile, ("plain",), seed=seed):
        if look.value.dim() != 2:  # the truth of a sample says nothing of its pixels
            return None
        right = truth.to(index.device)[index]
        values.append(look.value[right >= 0])
        classes.append(right[right >= 0])
    value, target_class = torch.cat(values), torch.cat(classes)
    return calibration_at(value, target_class, temperature) if len(value) else None


def _calibrated(c: Calibration) -> str:
    """Both errors in words."""
    after = "unknown" if c.error_after is None else f"{c.error_after:.3f}"
    return f"calibration error {c.error_before:.3f}, at temperature {c.temperature:.2f} {after}"


def _typical(task: Task, target: Target) -> int:
    """The class that most valid units of one sample have."""
    found = target.value * task.spread(target.mask())
    return int(found.reshape(found.shape[1], -1).sum(1).argmax())


def _share_right(task: Task, value: Tensor, target: Target) -> float:
    """Share of one sample's units that is right, by the task's own measure."""
    if task.has_classes and task.one_unit:  # the measure counts all classes, for each sample
        return float(task.label(value)[0] == target.value[0].argmax())
    figures = task.compute(task.update(value, target))
    # of masks the monitored figure is a mean over classes, which is no share of units
    return figures["accuracy"] if "accuracy" in figures else figures[task.monitor]


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
