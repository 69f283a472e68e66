"""The book of pseudo-labels: for every unlabeled sample what was said of it, how surely, since when, how steadily."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from selftrain.metrics import expected_calibration_error, pseudo_label_accuracy
from selftrain.tasks import Task
from selftrain.types import PseudoLabels

COLUMNS = ("id", "label", "class", "confidence", "margin", "accepted", "first_accepted_step", "flips", "seen")


class Ledger(nn.Module):
    """Record the newest pseudo-label of every unlabeled sample; its tensors are saved with the checkpoint.

    For outputs with several units a sample (pixels, joints) a row holds the most frequent decision and the means of
    confidence and margin, and it is accepted when at least half of the units are.

    Args:
        ids: Name or path of each sample, N of them.
        classes: Names of the classes; may be empty (keypoints).
        truth: True class of each sample where known (-1 elsewhere), shape (N,); only for figures, never exported.

    Attributes:
        label: Last decision, shape (N,); -1: never labeled.
        confidence, margin: Of that decision, in [0, 1].
        accepted: Whether it was used.
        first_accepted: Step at which the sample was first used; -1: never.
        flips: How often the decision changed.
        seen: How often the sample was labeled.
    """

    truth: Tensor | None
    label: Tensor
    confidence: Tensor
    margin: Tensor
    accepted: Tensor
    first_accepted: Tensor
    flips: Tensor
    seen: Tensor

    def __init__(self, ids: Sequence[str], classes: Sequence[str] = (), truth: Tensor | None = None) -> None:
        super().__init__()
        n = len(ids)
        self.ids, self.classes = ids, classes
        self.register_buffer("truth", truth, persistent=False)
        for name, fill in (("label", -1), ("first_accepted", -1), ("flips", 0), ("seen", 0)):
            self.register_buffer(name, torch.full((n,), fill, dtype=torch.int32))
        for name in ("confidence", "margin"):
            self.register_buffer(name, torch.zeros(n))
        self.register_buffer("accepted", torch.zeros(n, dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.ids)

    @torch.no_grad()
    def write(self, said: PseudoLabels, task: Task, step: int) -> dict[str, Tensor]:
        """Enter the pseudo-labels of one step.

        Returns:
            Figures of this batch: ``flip_rate``, ``confidence``, and, where truth is known,
            ``pseudo_label_accuracy`` (of the accepted) and ``prediction_accuracy`` (of all).
        """
        index, label = said.index, _typical(task.label(said.value)).to(self.label)
        confidence, margin = _mean(task.confidence(said.value)), _mean(task.margin(said.value))
        accepted = _mean((said.weight > 0).float()) >= 0.5
        known = self.seen[index] > 0
        flipped = known & (self.label[index] != label)
        self.label[index], self.accepted[index] = label, accepted
        self.confidence[index], self.margin[index] = confidence, margin
        self.flips[index] += flipped.int()
        self.seen[index] += 1
        fresh = index[accepted & (self.first_accepted[index] < 0)]
        self.first_accepted[fresh] = step
        figures = {"confidence": confidence.mean(), "flip_rate": flipped.float().sum() / known.sum().clamp(min=1)}
        return figures | self._against_truth(index, label, accepted)

    def _against_truth(self, index: Tensor, label: Tensor, accepted: Tensor) -> dict[str, Tensor]:
        if self.truth is None:
            return {}
        used, every = pseudo_label_accuracy(label, accepted, self.truth[index])
        figures = {"pseudo_label_accuracy": used, "prediction_accuracy": every}
        return {name: value for name, value in figures.items() if not bool(value.isnan())}

    def summary(self) -> dict[str, float]:
        """Figures of the whole book.

        Returns:
            ``coverage`` (share of samples ever labeled), ``accepted`` (share of those), ``flips`` a sample,
            ``largest_class`` and ``smallest_class`` (shares of the accepted; one near 1 or 0 that should not be is a
            collapse) and, where truth is known, the two accuracies and ``calibration_error`` of the confidence.
        """
        seen = self.seen > 0
        if not bool(seen.any()):
            return {}
        rows = {
            "coverage": float(seen.float().mean()),
            "accepted": float(self.accepted[seen].float().mean()),
            "flips": float(self.flips[seen].float().mean()),
        }
        shares = self.class_shares()
        if len(self.classes):
            rows |= {"largest_class": float(shares.max()), "smallest_class": float(shares.min())}
        said = torch.nonzero(seen).squeeze(1)
        accuracy = self._against_truth(said, self.label[said], self.accepted[said])
        return rows | {name: float(value) for name, value in accuracy.items()} | self._calibration()

    def _calibration(self) -> dict[str, float]:
        if self.truth is None:
            return {}
        known = (self.seen > 0) & (self.truth >= 0)
        right = self.label[known] == self.truth[known]
        return {"calibration_error": expected_calibration_error(self.confidence[known], right)}

    def captions(self, index: Tensor) -> list[str]:
        """Short text for each of these rows: class, confidence in percent, ``*`` if accepted, ``!`` if known wrong."""
        columns = (self.label, self.confidence, self.accepted)
        rows = zip(*(column[index].tolist() for column in columns), strict=True)
        texts = [f"{self._class(c)[:6] or c} {100 * p:.0f}%{'*' if a else ''}" for c, p, a in rows]
        if self.truth is None:
            return texts
        wrong = ((self.truth[index] >= 0) & (self.truth[index] != self.label[index])).tolist()
        return [f"!{text}" if w else text for text, w in zip(texts, wrong, strict=True)]

    def class_shares(self) -> Tensor:
        """Share of each class among the accepted, shape (classes,), sums to 1 (or all 0 if none is)."""
        counts = torch.bincount(self.label[self.accepted].long().clamp(min=0), minlength=max(1, len(self.classes)))
        return counts / counts.sum().clamp(min=1)

    def to_csv(self, path: str | Path) -> Path:
        """Write one row a sample, in the order of the data set: columns ``COLUMNS``.

        Text that a spreadsheet would run as a formula is prefixed by an apostrophe. The file appears whole or not at
        all.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(self._rows())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _rows(self) -> list[tuple[object, ...]]:
        columns = (self.label, self.confidence, self.margin, self.accepted, self.first_accepted, self.flips, self.seen)
        rows = zip(self.ids, *(c.tolist() for c in columns), strict=True)
        return [
            (_plain(i), label, _plain(self._class(label)), f"{confidence:.6f}", f"{margin:.6f}", int(accepted), *rest)
            for i, label, confidence, margin, accepted, *rest in rows
        ]

    def _class(self, label: int) -> str:
        return str(self.classes[label]) if 0 <= label < len(self.classes) else ""


def _typical(label: Tensor) -> Tensor:
    """One decision a sample: the decision itself, or the most frequent one of its units."""
    return label if label.dim() == 1 else label.flatten(1).mode(1).values


def _mean(unit: Tensor) -> Tensor:
    """(B, *U) -> (B,)."""
    return unit.reshape(len(unit), -1).float().mean(1)


def _plain(text: object) -> str:
    """Disarm text that a spreadsheet would read as a formula."""
    text = str(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
