"""The answer of a comparison: means, paired differences to the floor with intervals, and what may be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.cli.starts import HISTOGRAM, Entrant, Role


@dataclass(frozen=True)
class Cell:
    """One strategy on one draw of labels with one seed.

    Args:
        strategy: Its name.
        draw: Key of the labels.
        seed: Key of everything else.
        part: What it was judged on.
        right: 1 for each judged sample that was right, else 0, (N,); of masks and joints what each adds to the figure,
            see ``selftrain.metrics.jackknife``.
        step: That the judged weights have learned.
    """

    strategy: str
    draw: int
    seed: int
    part: str
    right: NDArray[np.float64]
    step: int


@dataclass(frozen=True)
class Row:
    """What is known of one strategy; shares in [0, 1].

    Args:
        strategy: Its name.
        accuracy: The figure of the comparison (accuracy, mean IoU, PCK), mean over draws and seeds.
        spread: Standard deviation over them; ``None``: there is one.
        gain: Mean accuracy beyond that of ``over`` on the same draws and seeds; ``None``: it is the floor.
        low, high: Interval of the gain.
        answer: ``"pays"``, ``"hurts"`` or ``"cannot be told"``; of the floor ``"floor"``.
        over: The best of the rows that it has to beat.
        role: What is asked of it, see ``selftrain.cli.starts.Entrant``.
    """

    strategy: str
    accuracy: float
    spread: float | None
    gain: float | None
    low: float | None
    high: float | None
    answer: str
    over: str | None = None
    role: Role = "method"


@dataclass(frozen=True, repr=False)
class Verdict:
    """All rows, and how they were judged.

    Args:
        rows: The floor first.
        floor: Its name.
        part: What was judged on.
        samples: Number of them, the mean over draws.
        cells: Pairs of draw and seed.
        level: Of each interval: so that all of them hold together with 95 %.
        runs: Accuracy of each run.
        unjudged: Names of the classes that have labels and no judged sample.
        figure: What ``accuracy`` of rows and runs is: ``"accuracy"``, or of masks and joints the task's ``monitor``.
    """

    rows: Sequence[Row]
    floor: str
    part: str
    samples: int
    cells: int
    level: float
    runs: Sequence[Mapping[str, Any]]
    unjudged: Sequence[str] = ()
    figure: str = "accuracy"

    def __repr__(self) -> str:
        return self.text()

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**asdict(self), "answer": self.answer(), "cautions": self.cautions()}

    def text(self) -> str:
        """The table and the answer for a person."""
        one = {row.over for row in self.rows} <= {None, self.floor}
        width = max(22, *(len(row.strategy) for row in self.rows))
        gain = f"gain over {self.floor}" if one else "gain"
        head = f"{'strategy':<{width}} {self.figure:>16} {gain:>22} {'interval':>18}{'' if one else '  over'}"
        lines = [head, *(_line(row, width, one) for row in self.rows), ""]
        lines.append(
            f"judged on {self.samples:,} {self.part} samples, {self.cells} run(s) of each strategy; in percent"
        )
        return "\n".join([*lines, *self.cautions(), "", self.answer()])

    def cautions(self) -> list[str]:
        """What weakens the answer."""
        found = []
        if self.cells < 3:
            found.append(
                "few draws and seeds: another draw of labels may change the answer; add --draws 0 1 2 with --resume"
            )
        if self.part == "validation":
            found.append(
                "judged on labels that were taken from the training: with a test set all labels could be learned from"
            )
        if self.unjudged:
            found.append(
                f"no {self.part} sample is of {', '.join(self.unjudged)}: their answers are not judged; add some"
            )
        costless = next((row for row in self.rows if row.strategy == HISTOGRAM), None)
        if costless is not None and all(row.accuracy < costless.accuracy for row in self.rows if row is not costless):
            found.append(
                "logistic regression on the histogram of colors, which costs nothing, is above all that was trained; "
                "start from weights of others (--init-from pretrained:NAME), or train for longer"
            )
        if self.figure == "accuracy" and self.samples < 100:  # of other figures the intervals alone tell
            found.append(
                # two standard errors of a share near one half: 2 * sqrt(0.25 / n)
                f"{self.samples} judged samples tell differences of {100 / self.samples**0.5:.0f} points at best"
            )
        return found

    def answer(self) -> str:
        """One sentence: does self-training pay on these data? And one before it where starts are compared."""
        others = [row for row in self.rows if row.role == "method"]
        starts = [row for row in self.rows if row.role == "start"]
        alone = any(row.over not in (None, self.floor) for row in others)
        floor = "what labels alone give on the same start" if alone else self.floor
        found = [_answer("Another start", f"labels alone on {self.floor.partition('.')[2]}", starts)] if starts else []
        return " ".join([*found, _answer("Self-training", floor, others)] if others or not found else found)


def _answer(what: str, floor: str, rows: Sequence[Row]) -> str:
    """Whether something pays, by its rows."""
    paying = sorted((row for row in rows if row.answer == "pays"), key=lambda row: -(row.gain or 0))
    if paying:
        best = paying[0]
        gain, low, high = (100 * (value or 0) for value in (best.gain, best.low, best.high))
        between = f"interval {low:+.1f} to {high:+.1f}"
        return f"{what} pays here: {best.strategy} gains {gain:.1f} points over {best.over} ({between})."
    if rows and all(row.answer == "hurts" for row in rows):
        return f"{what} does not pay here: all that was tried is worse than {floor}."
    return (
        f"It cannot be told whether {what[0].lower()}{what[1:]} pays here: no gain over {floor} is beyond chance. "
        "More draws, seeds, steps or judged samples would tell."
    )


def judged(
    cells: Mapping[str, Sequence[Cell]], rows: Sequence[Entrant], unjudged: Sequence[str] = (), figure: str = "accuracy"
) -> Verdict:
    """Compare every row with all that it has to beat, pair by pair of draw and seed.

    What it has to beat is the best of them on the very samples that judge: a choice that favors the rival, so that it
    makes no row pay by chance.

    The interval of a gain has two parts, added as variances: that of the judged samples (paired: sample by sample), and
    that between draws and seeds (Student's t; with one pair it is unknown and left out). Levels are divided by the
    number of rows (Bonferroni), so that trying many does not make one of them pay by chance.
    """
    floor = rows[0].title
    base = cells[floor]
    level = 1 - 0.05 / max(1, len(cells) - 1)
    found_rows = [_row(row, cells, level) for row in rows]
    runs = [
        {"strategy": c.strategy, "draw": c.draw, "seed": c.seed, "accuracy": float(c.right.mean()), "step": c.step}
        for found in cells.values()
        for c in found
    ]
    samples = round(float(np.mean([len(cell.right) for cell in base])))
    return Verdict(found_rows, floor, base[0].part, samples, len(base), level, runs, unjudged, figure)


def _row(row: Entrant, cells: Mapping[str, Sequence[Cell]], level: float) -> Row:
    runs = cells[row.title]
    accuracies = np.array([cell.right.mean() for cell in runs])
    mean, spread = float(accuracies.mean()), float(accuracies.std(ddof=1)) if len(runs) > 1 else None
    beaten = []
    for floor in row.floors:
        pairs = [cell.right - other.right for cell, other in zip(runs, cells[floor], strict=True)]
        gain, half = float(np.mean([pair.mean() for pair in pairs])), _half_width(pairs, runs, level)
        # no difference of shares is beyond 1, whatever few draws say
        beaten.append((gain, max(-1.0, gain - half), min(1.0, gain + half), floor))
    if not beaten:
        return Row(row.title, mean, spread, None, None, None, "floor", role=row.role)
    gain, low, high, over = min(beaten)
    answer = "pays" if low > 0 else "hurts" if high < 0 else "cannot be told"
    return Row(row.title, mean, spread, gain, low, high, answer, over, row.role)


def _half_width(pairs: Sequence[NDArray[np.float64]], runs: Sequence[Cell], level: float) -> float:
    """Half of the interval of the mean of paired differences."""
    from scipy import stats

    normal = float(stats.norm.ppf(0.5 + level / 2))
    if runs[0].part == "test":  # one set for all draws: the same samples
        mean = np.mean(pairs, axis=0)
        # one sample has no spread to tell: an infinite half, by which nothing pays
        of_samples = mean.std(ddof=1) / np.sqrt(len(mean)) if len(mean) > 1 else np.inf
    else:
        # each draw holds back other samples: their variances add, where those of one set would not
        parts = [pair.var(ddof=1) / len(pair) if len(pair) > 1 else np.inf for pair in pairs]
        of_samples = np.sqrt(np.sum(parts)) / len(pairs)
    if len(pairs) < 2:
        return float(normal * of_samples)
    means = np.array([pair.mean() for pair in pairs])
    between = means.std(ddof=1) / np.sqrt(len(means)) * float(stats.t.ppf(0.5 + level / 2, len(means) - 1))
    return float(np.hypot(normal * of_samples, between))


def _line(row: Row, width: int, one: bool) -> str:
    accuracy = f"{100 * row.accuracy:.1f}" + ("" if row.spread is None else f" ± {100 * row.spread:.1f}")
    gain = "" if row.gain is None else f"{100 * row.gain:+.1f}"
    between = "" if row.low is None or row.high is None else f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
    said = "" if row.gain is None else row.answer if one else f"{row.over}: {row.answer}"
    return f"{row.strategy:<{width}} {accuracy:>16} {gain:>22} {between:>18}  {said}".rstrip()
