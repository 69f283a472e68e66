"""What paired_draws.py tells of its rows; without what trains."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t, wilcoxon

DRAWS, START = 10, "lejepa"
PROBLEMS = (("fashion_mnist", 40), ("mnist", 20))
METHODS = ("supervised", "fixmatch", "soft_labels")
KEYS = ("dataset", "labels", "pretraining", "strategy", "seed")
Row = Mapping[str, Any]


def report(rows: Sequence[Row]) -> str:
    """One line a problem and method: what the start adds to it on the same draws."""
    lines = [
        "| problem | method | draws | without | with | gain, 95 % interval | draws above | p |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    first, again = (
        {tuple(row[key] for key in KEYS): 100 * row["test_accuracy"] for row in rows if row["repeat"] == repeat}
        for repeat in (False, True)
    )
    for (dataset, labels), name in itertools.product(PROBLEMS, METHODS):
        pairs = [
            [first.get((dataset, labels, start, name, draw)) for start in ("none", START)] for draw in range(DRAWS)
        ]
        both = [(without, with_) for without, with_ in pairs if without is not None and with_ is not None]
        if len(both) < 2:
            continue
        gains = [with_ - without for without, with_ in both]
        mean, error = statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5
        half = float(t.ppf(0.975, len(gains) - 1)) * error
        sides = [f"{statistics.mean(side):.1f} ± {statistics.stdev(side):.1f}" for side in zip(*both, strict=True)]
        lines.append(
            f"| {dataset}, {labels} | `{name}` | {len(both)} | {sides[0]} | {sides[1]} "
            f"| {mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f}) | {sum(g > 0 for g in gains)} "
            f"| {wilcoxon(gains).pvalue:.3f} |"
        )
    if again:
        differs = max(abs(first[run] - value) for run, value in again.items())
        told = f"Trained again on the same machine ({len(again)} of these): largest difference {differs:.1f} points."
        lines += ["", told]
    return "\n".join(lines)
