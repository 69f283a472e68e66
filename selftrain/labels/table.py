"""The table of labels: what a student reads, the refinements, figures and storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selftrain._compat import old_method, renamed
from selftrain.errors import CheckpointError
from selftrain.labels.refine import balanced_weight, by_rows, check_units, check_value, percentile, rebalanced_weight
from selftrain.labels.table_file import digest_of, read_labels, write_labels
from selftrain.metrics.calibration_error import pseudo_label_accuracy
from selftrain.networks.described import describe
from selftrain.strategy.pseudo_labeling import PseudoLabel
from selftrain.tasks import Task, decided
from selftrain.types import PseudoLabels, Target


class PseudoLabelTable(nn.Module):
    """One pseudo-label for each unlabeled sample, with a weight for each of its units.

    The table never changes: a step reads it, nothing writes it. So ``state_dict`` holds its SHA-256 instead of its
    tensors, and loading the state of a run that learned other labels is refused. ``recipe``, the chain of refinements
    as text, is a setting that a resumed run must share.

    Args:
        task: Kind of output; it says what a decision is.
        value: The teacher's predictions of plain inputs, shape (N, C, *S), in [0, 1], float32 or float16.
        confidence: Of each unit, shape (N, *U), in [0, 1]; ``None``: that of ``value``. Refinements keep it.
        weight: Of each unit, shape (N, *U), >= 0; ``None``: 1.
        recipe: How the table was refined.

    Raises:
        ValueError: for an empty table, another dtype, shapes that do not fit, or a confidence that is not finite.
    """

    value: Tensor
    weight: Tensor
    confidence: Tensor

    def __init__(
        self,
        task: Task,
        value: Tensor,
        *,
        confidence: Tensor | None = None,
        weight: Tensor | None = None,
        recipe: str = "",
    ) -> None:
        super().__init__()
        check_value(value)
        confidence = by_rows(value, task.confidence) if confidence is None else confidence
        weight = torch.ones_like(confidence) if weight is None else weight
        check_units(value, confidence, weight)
        for name, tensor in (("value", value), ("weight", weight), ("confidence", confidence)):
            self.register_buffer(name, tensor.detach(), persistent=False)
        self._task, self.recipe = task, recipe
        self._digest = ""

    def __len__(self) -> int:
        return len(self.value)

    # -- reading -----------------------------------------------------------------------------------------------------
    def pseudo_label(self, index: Tensor, *, hard: bool = False) -> PseudoLabel:
        """Targets of these rows in the geometry of the plain image, and what to tell the ledger.

        Args:
            index: Rows of the unlabeled set, shape (B,).
            hard: Decisions at full confidence instead of the stored values.
        Gradient: none.

        Raises:
            ValueError: for a row beyond the table.
        """
        # a GPU reports an index out of range as a failed assertion that names neither row nor table
        row = int(index.max()) if len(index) else -1
        if row >= len(self):
            raise ValueError(f"row {row} is outside the labels of {len(self)} samples; label the pile you train on")
        value, weight = self.value[index].float(), self.weight[index]
        target = decided(self._task, value, weight) if hard else Target(value, weight)
        return PseudoLabel(target, PseudoLabels(index, value, weight, unmoved=True))

    guess = old_method("guess", "pseudo_label")

    @property
    def label(self) -> Tensor:
        """Decision of each unit, shape (N, *U), integer."""
        return by_rows(self.value, self._task.label)

    # -- refining ----------------------------------------------------------------------------------------------------
    def above(self, threshold: float) -> PseudoLabelTable:
        """Keep units whose confidence reaches ``threshold`` (Noisy Student: 0.3); the others get weight 0.

        Raises:
            ValueError: for a negative threshold.
        """
        if not threshold >= 0:
            raise ValueError(f"threshold is {threshold}; it must be 0 or more")
        return self._refined(f"above({threshold:g})", weight=self.weight * (self.confidence >= threshold))

    def top_percent(self, percent: float) -> PseudoLabelTable:
        """Keep units at or above the ``100 - percent``-th percentile of all confidences; the others get weight 0.

        Source: Cascante-Bonilla et al., "Curriculum Labeling", 2021, arXiv:2001.06001. The percentile is that of every
        unit of the unlabeled set, whatever its weight, interpolated linearly; ties are all kept.

        Args:
            percent: In (0, 100]; 100 keeps everything.

        Raises:
            ValueError: for a ``percent`` outside that range.
        """
        if not 0 < percent <= 100:
            raise ValueError(f"percent is {percent}; it must be in (0, 100], and 20 is a fifth")
        threshold = percentile(self.confidence, 100 - percent)
        # float32 would round the threshold, perhaps above the unit that it is the confidence of
        kept = self.confidence.double() >= threshold
        return self._refined(f"top_percent({percent:g})", weight=self.weight * kept)

    def balanced(self, per_class: int | None = None, *, max_copies: float | None = None) -> PseudoLabelTable:
        """Let every predicted class count as ``per_class`` units.

        Of a class with more kept units the most confident ``per_class`` stay (the earlier row at equal confidence). A
        rarer class is duplicated in the paper; here its ``n`` units get ``per_class / n`` times their weight, which is
        the same expected gradient for uniformly drawn units, up to the factor that ``normalized`` takes out. A class
        that nothing was assigned to stays empty.

        Source: Xie et al., "Noisy Student", 2020, arXiv:1911.04252 (130,000 images for each of 1,000 classes).
        Differs: weights instead of copies chosen at random.

        Args:
            per_class: Units a class, samples or pixels; ``None``: the mean over the classes.
            max_copies: Largest factor for a rare class; ``None``: no limit, as in the paper.

        Raises:
            ValueError: for keypoints (a joint has no class to balance), a ``per_class`` or ``max_copies`` below 1.
        """
        if not self._has_classes:
            raise ValueError("keypoints cannot be balanced: a joint has a place and no class; leave out balanced()")
        for name, number in (("per_class", per_class), ("max_copies", max_copies)):
            if number is not None and not number >= 1:
                raise ValueError(f"{name} is {number}; it must be at least 1")
        quota = per_class or max(1, int(self.kept.sum()) // self.value.shape[1])
        limit = float("inf") if max_copies is None else max_copies
        weight = balanced_weight(self.weight, self.confidence, self._units_by_class(), quota, limit)
        cap = "" if max_copies is None else f", max_copies={max_copies:g}"
        return self._refined(f"balanced({quota}{cap})", weight=weight)

    def rebalanced(self, counts: Sequence[float], alpha: float = 1 / 3) -> PseudoLabelTable:
        """Keep the most confident units of each predicted class: nearly all of a rare one, few of a frequent one.

        Of the class with the l-th largest count the share ``(N_{C+1-l} / N_1)^alpha`` of its kept units stays, rounded
        up (of equally confident ones the earlier row), N being the counts from large to small.

        Source: Wei et al., "CReST", 2021, arXiv:2102.09559.

        Args:
            counts: Labels of each class, or their shares, each above 0.
            alpha: In (0, 1].

        Raises:
            ValueError: for keypoints, counts that are not one a class and above 0, or an ``alpha`` out of range.
        """
        classes = self.value.shape[1]
        if not self._has_classes:
            raise ValueError("keypoints cannot be rebalanced: a joint has no class; leave out rebalanced()")
        if len(counts) != classes or not min(counts) > 0 or not 0 < alpha <= 1:
            raise ValueError(
                f"counts is {list(counts)} and alpha {alpha}; give {classes} numbers above 0, the labels of each "
                "class, and an alpha in (0, 1]"
            )
        weight = rebalanced_weight(self.weight, self.confidence, self._units_by_class(), counts, alpha)
        said = ", ".join(f"{count:g}" for count in counts)
        return self._refined(f"rebalanced([{said}], {alpha:g})", weight=weight)

    def normalized(self) -> PseudoLabelTable:
        """Scale the weights to a mean of 1.

        A loss divided by all units of a batch, used or not, is then in expectation the mean over the used ones, as in
        Noisy Student, where the others are taken out of the set. With no unit kept the table stays as it is.
        """
        mean = float(self.weight.double().mean())
        return self._refined("normalized()", weight=self.weight / (mean if mean > 0 else 1.0))

    def only(self, kept: Tensor) -> PseudoLabelTable:
        """Keep some samples; the units of the others get weight 0.

        Args:
            kept: Which, shape (N,), bool.

        Raises:
            ValueError: for another shape or type.
        """
        if kept.shape != (len(self),) or kept.dtype != torch.bool:
            raise ValueError(f"kept is {kept.dtype} of shape {tuple(kept.shape)}; give a bool for each of {len(self)}")
        weight = self.weight * kept.view(-1, *[1] * (self.weight.dim() - 1))
        return self._refined(f"only({int(kept.sum())} of {len(self)})", weight=weight)

    def completed(self, other: PseudoLabelTable) -> PseudoLabelTable:
        """Take units that do not count from another table, with their weights; those that do stay.

        Raises:
            ValueError: the other table is of other samples or units.
        """
        if other.value.shape != self.value.shape:
            shapes = f"{tuple(self.value.shape)} and {tuple(other.value.shape)}"
            raise ValueError(f"labels have shapes {shapes}; complete a table by one of the same pile and task")
        kept = self.kept
        value = torch.where(self._task.spread(kept), self.value, other.value.to(self.value.dtype))
        confidence = torch.where(kept, self.confidence, other.confidence)
        weight = torch.where(kept, self.weight, other.weight)
        recipe = f"{self.recipe}.completed({other.recipe})".lstrip(".")
        return PseudoLabelTable(self._task, value, confidence=confidence, weight=weight, recipe=recipe)

    def hard(self) -> PseudoLabelTable:
        """Replace each value by its decision at full confidence; weights and ``confidence`` stay."""
        return self._refined("hard()", value=by_rows(self.value, self._task.harden).to(self.value.dtype))

    def sharpened(self, temperature: float) -> PseudoLabelTable:
        """Sharpen (temperature below 1) or soften (above 1) the values; weights and ``confidence`` stay.

        Raises:
            ValueError: for a temperature that is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0 (use hard() for the limit of 0)")
        value = by_rows(self.value, lambda part: self._task.sharpen(part, temperature))
        return self._refined(f"sharpened({temperature:g})", value=value.to(self.value.dtype))

    def _refined(self, word: str, *, value: Tensor | None = None, weight: Tensor | None = None) -> PseudoLabelTable:
        return PseudoLabelTable(
            self._task,
            self.value if value is None else value,
            confidence=self.confidence,
            weight=self.weight if weight is None else weight,
            recipe=f"{self.recipe}.{word}".lstrip("."),
        )

    @property
    def _has_classes(self) -> bool:
        """Whether a unit is of one class; a joint is not."""
        # values are (N, C, *S); classes have weights (N, *S), joints (N, C)
        return self.value.shape[2:] == self.weight.shape[1:]

    def _units_by_class(self) -> list[Tensor]:
        """For each class the numbers of its kept units, in order."""
        label, kept = self.label.flatten(), self.kept.flatten()
        return [(kept & (label == c)).nonzero().squeeze(1) for c in range(self.value.shape[1])]

    # -- figures -----------------------------------------------------------------------------------------------------
    @property
    def kept(self) -> Tensor:
        """Which units count, shape (N, *U), bool."""
        return self.weight > 0

    @property
    def floor(self) -> float:
        """Lowest confidence of a kept unit; NaN if none is kept."""
        sure = self.confidence[self.kept]
        return float(sure.min()) if sure.numel() else float("nan")

    def counts(self) -> list[int]:
        """Kept units of each predicted class; empty for keypoints."""
        return [len(units) for units in self._units_by_class()] if self._has_classes else []

    def summary(self, truth: Tensor | None = None) -> dict[str, float]:
        """Figures of the table.

        Args:
            truth: True class of each sample, -1 where unknown, shape (N,); only samples that are units are compared.

        Returns:
            ``samples``, ``units``, ``kept`` (units of weight above 0), ``used`` (their share), ``weight`` (mean over
            all units), ``confidence`` and ``floor`` (mean and lowest of the kept), ``largest_class`` and
            ``smallest_class`` (shares of the kept) and, against ``truth``, ``pseudo_label_accuracy`` (of the kept) and
            ``prediction_accuracy`` (of all).
        """
        kept, counts = int(self.kept.sum()), self.counts()
        rows = {
            "samples": float(len(self)),
            "units": float(self.weight.numel()),
            "kept": float(kept),
            "used": kept / self.weight.numel(),
            "weight": float(self.weight.double().mean()),
            "confidence": float(self.confidence[self.kept].double().mean()),
            "floor": self.floor,
        }
        if kept and counts:
            rows |= {"largest_class": max(counts) / kept, "smallest_class": min(counts) / kept}
        return rows | self._against(truth)

    def _against(self, truth: Tensor | None) -> dict[str, float]:
        if truth is None or truth.ndim > 1 or truth.shape != self.weight.shape:
            return {}
        of_kept, of_all = pseudo_label_accuracy(self.label, self.weight, truth.to(self.weight.device))
        figures = {"pseudo_label_accuracy": float(of_kept), "prediction_accuracy": float(of_all)}
        # NaN, which is not equal to itself, where nothing was compared
        return {name: figure for name, figure in figures.items() if figure == figure}

    # -- storage -----------------------------------------------------------------------------------------------------
    @property
    def digest(self) -> str:
        """SHA-256 of values, weights and confidences."""
        # each checkpoint asks for it; the table never changes, so it is read through once
        if not self._digest:
            self._digest = digest_of(dict(self.named_buffers()))
        return self._digest

    def described(self) -> dict[str, Any]:
        """For the record of a run: one without labels, which its students, once trained, do without."""
        sizes = {"shape": list(self.value.shape), "units": list(self.weight.shape)}
        settings = {"task": describe(self._task), "recipe": self.recipe, **sizes}
        return {"make": f"{__name__}:{_LabelsElsewhere.__name__}", "settings": settings}

    def get_extra_state(self) -> dict[str, str]:
        """What tells this table from another."""
        return {"digest": self.digest}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Refuse the state of a run that learned other labels.

        Raises:
            ValueError: if the sums differ.
        """
        if state["digest"] != self.digest:
            raise ValueError(
                f"the run was started with other pseudo-labels (SHA-256 {state['digest'][:12]}, now "
                f"{self.digest[:12]}); store a table with save() and read it with PseudoLabelTable.load() to continue"
            )

    def save(self, path: str | Path) -> Path:
        """Write the table as a ``.safetensors`` file, whole or not at all.

        Raises:
            CheckpointError: if it cannot be written.
        """
        return write_labels(path, dict(self.named_buffers()), self.recipe, self.digest)

    @classmethod
    def load(cls, path: str | Path, task: Task) -> PseudoLabelTable:
        """Read what ``save`` wrote.

        Raises:
            CheckpointError: if the file is missing, damaged or holds something else.
        """
        tensors, recipe, digest = read_labels(path)
        try:
            labels = cls(task, recipe=recipe, **tensors)
        except ValueError as error:
            raise CheckpointError(f"{path} holds no usable labels: {error}") from error
        # safetensors has no sum of its own: a bit that flipped in the numbers is only noticed here
        if labels.digest != digest:
            raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one written with it")
        return labels


class _LabelsElsewhere(PseudoLabelTable):
    """In the place of the labels of a run that was opened from its folder: nothing is learned from them."""

    def __init__(self, task: Task, recipe: str, shape: list[int], units: list[int]) -> None:
        # expanded, so that the values of a large table take the memory of one number
        nothing = torch.zeros(1)
        super().__init__(task, nothing.expand(shape), confidence=nothing.expand(units), recipe=recipe)

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Stand for the labels of the run, whichever they were."""
        self._digest = state["digest"]

    def pseudo_label(self, index: Tensor, *, hard: bool = False) -> PseudoLabel:
        """Refuse.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError("the labels of this run are not in its folder; build its strategy with them to train on")


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
