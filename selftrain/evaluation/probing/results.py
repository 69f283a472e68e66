"""What a comparison found: rows of figures, and a table to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Figures = Mapping[str, float]
SCRATCH = "supervised from scratch"


@dataclass(frozen=True)
class ProbeRow:
    """Figures of one kind of features, or the accuracy of a network trained on labels."""

    name: str
    figures: Figures


@dataclass(frozen=True)
class ProbeReport:
    """Rows of a comparison, and what they were measured on; ``report["raw input"]`` are the figures of a row.

    Attributes:
        rows: The encoder first. Figures: ``knn``, ``logistic`` (mean over draws of few labels) and ``logistic_sd``,
            all in [0, 1]; ``rankme``, ``rankme_centered``, ``feature_std``; networks trained on labels have
            ``accuracy`` only.
        part: Part of the pile whose samples were classified.
        judged: Samples that were classified.
        labels: Labeled samples, of which ``knn`` uses all.
        per_class: Labels of each class in a draw.
        draws: Draws of labels.
        free: Samples that the figures without labels are of.
        scratch_steps: Steps that the row ``supervised from scratch`` was trained for; ``None``: not by the report.
    """

    rows: tuple[ProbeRow, ...]
    part: str
    judged: int
    labels: int
    per_class: int
    draws: int
    free: int
    scratch_steps: int | None = None

    def __getitem__(self, name: str) -> Figures:
        for row in self.rows:
            if row.name == name:
                return row.figures
        raise KeyError(f"no row {name!r}; there are {[row.name for row in self.rows]}")

    def table(self) -> str:
        """Columns of equal width, under a line that says what they are of; columns without a figure are left out.

        A control that was neither trained nor handed in has a row that says so.
        """
        columns = {"features": [row.name for row in self.rows]}
        columns |= {title: [show(row.figures) for row in self.rows] for title, show in _COLUMNS.items()}
        if not any(columns["accuracy"]):
            columns = {title: [*cells, _MISSING.get(title, "")] for title, cells in columns.items()}
        filled = {title: cells for title, cells in columns.items() if any(cells)}
        widths = [max(len(cell) for cell in (title, *cells)) for title, cells in filled.items()]
        lines = [list(filled), *(list(line) for line in zip(*filled.values(), strict=True))]
        shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "".join(f"{line.rstrip()}\n" for line in [self._head(), *shown])

    def _head(self) -> str:
        scratch = "" if self.scratch_steps is None else f"from scratch: the same, {self.scratch_steps} steps; "
        return (
            f"{self.judged} samples of {self.part}; kNN: {self.labels} labels; {scratch}logistic: {self.per_class} "
            f"labels a class, {self.draws} draws; ranks and std: {self.free} samples"
        )


def _shown(name: str, form: str) -> Callable[[Figures], str]:
    return lambda figures: format(figures[name], form) if name in figures else ""


def _logistic(figures: Figures) -> str:
    return f"{figures['logistic']:.4f} ± {figures['logistic_sd']:.4f}" if "logistic" in figures else ""


_MISSING = {"features": SCRATCH, "accuracy": "not given"}
_COLUMNS: dict[str, Callable[[Figures], str]] = {
    "kNN": _shown("knn", ".4f"),
    "logistic": _logistic,
    "accuracy": _shown("accuracy", ".4f"),
    "RankMe": _shown("rankme", ".1f"),
    "centered": _shown("rankme_centered", ".1f"),
    "std": _shown("feature_std", ".4f"),
}
