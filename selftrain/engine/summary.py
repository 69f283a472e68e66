"""A run in a few lines, for a person: what was trained on what, how good it is, what is wrong, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from selftrain.errors import printable
from selftrain.handlers.selfcheck import WORSE_THAN_SUPERVISED
from selftrain.metrics.intervals import clopper_pearson
from selftrain.metrics.significance import FEW
from selftrain.strategy.base import Strategy, SupervisedStrategy

if TYPE_CHECKING:
    from selftrain.engine.run import Run

_WIDTH = 110  # of a line
_BASELINE, _SELF = "labels alone", "self-trained"


def in_words(figures: Mapping[str, float], samples: int | None = None) -> str:
    """What is shipped in a line: its figures, shares in percent; of an accuracy its 95 % interval over the samples."""
    texts = []
    for name, value in figures.items():
        if "/" in name:  # of one of several networks
            continue
        text = f"{name} {100 * value:.1f} %" if name.endswith(("accuracy", "knn")) else f"{name} {value:.4g}"
        if name == "accuracy" and samples:
            # each bound is one-sided: two of 0.975 hold at 95 % together; rounding gives back the count of right ones
            low, high = clopper_pearson(round(value * samples), samples, 0.975)
            text += f" of {samples:,} (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        texts.append(text)
    return ", ".join(texts)


def judged(strategy: Strategy, samples: int | None) -> int | None:
    """How many answers an accuracy is of; ``None``: unknown, as neighboring pixels are not right by chance alone."""
    return samples if isinstance(strategy, SupervisedStrategy) and strategy.task.one_unit else None


def accepted(summary: Mapping[str, float]) -> str:
    """How many pseudo-labels of a ledger count, and how many of these are right where that is known."""
    words = [f"{100 * summary['accepted']:.1f} % of the pseudo-labels accepted"]
    if "pseudo_label_accuracy" in summary:
        iou = summary.get("pseudo_label_mean_iou")
        told = "" if iou is None else f" (mean IoU {100 * iou:.1f} %)"
        words.append(f"{100 * summary['pseudo_label_accuracy']:.1f} % of these right{told}")
    return ", ".join(words)


def rows(run: Run) -> list[tuple[str, str]]:
    """A run as at most ten pairs of a name and a line of text."""
    where = "not stored; fit(out=FOLDER) stores it" if run.out is None else str(run.out)
    supervised = isinstance(run.strategy, SupervisedStrategy)
    ways = len(getattr(run.strategy, "candidates", ()))
    what = f"auto, {ways} ways" if ways else f"{type(run.strategy).__name__}, {run.steps:,} steps"
    found = [
        ("strategy", f"{what} in {run.seconds:,.0f} s"),
        ("data", run._told_data().removeprefix("Pile(").removesuffix(")")),
        *_figures(run),
    ]
    if supervised:
        figures = run._ledger_figures()
        found += [("pile", accepted(figures))] if figures else []
    kinds = ", ".join(f"{alarm.kind} at step {alarm.step:,}" for alarm in run.alarms)
    found += [("alarms", f"{kinds}: see run.alarms" if kinds else "none")]
    found += [("shipped", run.fallback.message)] if run.fallback is not None else []
    # what is shipped in place of a run's weights is none of them
    found += [("weights", weights_in_words(run))] if run.best_state is not None and run.fallback is None else []
    found += [("folder", where), ("next", _next(supervised))]
    return [(name, _cut(" ".join(printable(text).split()))) for name, text in found]


def weights_in_words(run: Run) -> str:
    """Which weights a run with a validation set ships, and why."""
    count, step = run.samples.get("validation", 0), int(run.best.get("step", run.steps))
    if run.ships == "best":
        return f"the best on validation ({count:,} labels), of step {step:,} of {run.steps:,}"
    return f"the last, as {count:,} validation labels hardly tell which are best; {FEW} or more choose"


def text(run: Run) -> str:
    """A run in at most ten lines."""
    return "\n".join(f"{name:<13}{line}" for name, line in rows(run))


def html(run: Run) -> str:
    """The same as a table for notebooks."""
    cells = [
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(line)}</td></tr>'
        for name, line in rows(run)
    ]
    return f"<table>{''.join(cells)}</table>"


def _figures(run: Run) -> list[tuple[str, str]]:
    """Labels alone beside self-training, on what tells most."""
    parts = [part for part in ("test", "validation", *run.last) if part in run.last]
    simple = run.cross_fitted
    fitted = (
        [] if simple is None else [("rival", simple.rival()) if simple.behind else ("out of fold", simple.simple())]
    )
    if simple is not None and not parts:
        return [*fitted, ("agreement", simple.signs())]
    tried = of_portfolio(run.strategy)
    if tried and not parts:
        return tried
    if not parts:
        ways = "validation=0.2 holds back a fifth" if run.baseline is not None else "validation=0.2 or baseline=True"
        why = run.unchecked.get(WORSE_THAN_SUPERVISED, "no labels were held out")
        return [("figures", f"none ({ways} gives some): {why}")]
    if compared_with_start(run):
        return from_start(run)
    part = parts[0]
    samples, monitor = judged(run.strategy, run.samples.get(part)), run.strategy.monitor

    def line(figures: Mapping[str, float]) -> str:
        known = {monitor: figures[monitor]} if monitor in figures else figures
        return f"{part} {in_words(known, samples)}"

    if not isinstance(run.strategy, SupervisedStrategy):
        return [("figures", line(run.last[part]))]
    if tried:
        return [*tried, (_SELF, line(run.last[part]))]
    beside = (run.baseline or {}).get(part)
    alone = "not trained; fit(baseline=True) trains them beside it" if beside is None else line(beside)
    return [(_BASELINE, alone), (_SELF, line(run.last[part])), *fitted]


def compared_with_start(run: Run) -> bool:
    """Whether there was no label to learn from, so that figures of the start stand beside those of the run."""
    return "confidence" in (run.before or {}).get("unlabeled", {})


def from_start(run: Run) -> list[tuple[str, str]]:
    """The start beside what the run made of it: on labels that are held out, or what can be said without any."""
    before = run.before or {}
    parts: list[str] = [part for part in ("test", "validation") if part in run.last and part in before]
    rows = []
    for part in parts or ["unlabeled"]:
        samples = judged(run.strategy, run.samples.get(part))
        rows += [("start", f"{part} {in_words(before[part], samples)}")]
        rows += [(_SELF, f"{part} {in_words(run.last[part], samples)}")]
    if not parts:
        shares = [{k: v for k, v in row["unlabeled"].items() if k[:6] == "share/"} for row in (before, run.last)]
        moved = sum(abs(shares[1][name] - share) for name, share in shares[0].items()) / 2
        told = f"; class shares have moved by {100 * moved:.1f} %" if shares[0] else ""
        rows += [("truth", f"no label says how many are right{told}")]
    return rows


def of_portfolio(strategy: Strategy) -> list[tuple[str, str]]:
    """What a portfolio knows of the labels alone, which are among what it tries, and what it blends."""
    tried: Sequence[Mapping[str, Any]] = getattr(strategy, "candidates", ())
    if not tried:
        return []
    alone = [row for row in tried if row["family"] == "labels alone" and row["accuracy"] is not None]
    best = max(alone, key=lambda row: float(row["accuracy"]), default=None)
    text = "no label could be hidden from any way"
    if best is not None:
        share = f"{100 * best['accuracy']:.1f} ± {100 * best['standard_error']:.1f} %"
        text = f"{share} of labels that were hidden from it: {best['name']}, the best"
    blend = ", ".join(f"{100 * row['weight']:.0f} % {row['name']}" for row in tried if row["weight"])
    return [(_BASELINE, text), ("blend", blend)]


def _next(supervised: bool) -> str:
    if not supervised:
        return "st.learner(network, init_from=run), run.export(folder)"
    return "run.predict(data), run.label(data), run.export(folder), run.ledger.to_csv(file)"


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 4] + " ..."
