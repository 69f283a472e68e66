"""What the commands print: how a run begins and ends, figures, and how to go on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from selftrain.cli import TERMINATED, Terminated
from selftrain.data import Pile
from selftrain.engine.loop import Run
from selftrain.metrics.intervals import clopper_pearson
from selftrain.storage.run_dir import CANDIDATES_TABLE
from selftrain.strategy.base import Strategy, SupervisedStrategy

FEW = 50  # validation samples below which the choice of weights is mostly chance


def begun(config: str, out: Path) -> None:
    """The resolved settings, and where the run is."""
    print(config)
    print(f"run        {out}", flush=True)


def finished(run: Run, pile: Pile, total: int) -> None:
    """Figures of a run, where it is, and what to do next."""
    print()
    if isinstance(run.strategy, SupervisedStrategy):
        _of_labels(run, pile)
    else:
        for part, figures in run.last.items():
            print(f"{part:<11}{in_words(figures)}")
    for alarm in run.alarms:
        print(f"alarm      {alarm.kind}: {' '.join(alarm.text.split())}")
    if run.fallback is not None:
        print(f"shipped    {run.fallback.message}")
    print(f"run        {run.out}")
    if not (run.out is not None and (run.out / "summary.json").is_file()):
        print(f"stopped before step {total}; go on with --resume --out {run.out}")


def tried(records: Sequence[Mapping[str, Any]], out: Path) -> None:
    """What is in a blend, and where the whole table is."""
    blended = [f"{100 * row['weight']:.0f} % {row['name']}" for row in records if row["weight"]]
    print(f"blend      {', '.join(blended)}")
    print(f"tried      {len(records)} ways, each judged on labels that it did not see: {out / CANDIDATES_TABLE}")


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


def judged(strategy: Strategy, samples: int) -> int | None:
    """How many answers an accuracy is of; ``None``: unknown, as neighboring pixels are not right by chance alone."""
    return samples if isinstance(strategy, SupervisedStrategy) and strategy.task.one_unit else None


def of_classes(found: Mapping[str, Any]) -> str:
    """Precision and recall of each class as lines; empty where there are no classes."""
    rows = found.get("classes", {})
    if not rows:
        return ""
    lines = [f"{'class':<20} {'precision':>9} {'recall':>9} {'samples':>9}"]
    for name, row in rows.items():
        lines.append(f"{name[:20]:<20} {row['precision']:>9.3f} {row['recall']:>9.3f} {row['samples']:>9,}")
    return "\n".join(lines) + "\n"


@contextmanager
def silent() -> Iterator[None]:
    """Without what a run prints: one of many is told of in a line."""
    with redirect_stdout(StringIO()):
        yield


@contextmanager
def told_how_to_resume(command: str, out: Path) -> Iterator[None]:
    """When a run is stopped, say how it goes on; meanwhile signals are for the engine, which stores the run first."""
    main = threading.current_thread() is threading.main_thread()
    # the engine takes over ordinary handlers only: with ours in place SIGTERM would end the run before it is stored
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL) if main else None
    try:
        yield
    except (KeyboardInterrupt, Terminated, SystemExit) as stop:
        print(f"\nselftrain: go on with: selftrain {command} --resume --out {out}", file=sys.stderr)
        if isinstance(stop, SystemExit) and stop.code == TERMINATED:
            raise Terminated from stop
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _of_labels(run: Run, pile: Pile) -> None:
    parts = [part for part in ("validation", "test") if getattr(pile, part) is not None]
    for part in parts:
        samples = judged(run.strategy, len(getattr(pile, part)))
        if run.best_state is not None:
            words = in_words(run.evaluate(part, which="best"), samples)
            print(f"{part:<11}{words}: weights of step {int(run.best['step'])}, the best on validation")
        print(f"{part:<11}{in_words(run.evaluate(part), samples)}: last weights")
    held_out = len(pile.validation or ())
    if run.best_state is not None and held_out < FEW:
        words = "validation samples hardly tell which weights are best; hold back more, or trust the last"
        print(f"caution    {held_out} {words}")
    if not parts:
        print(
            "no labels were held out, so nothing tells how good it is; --data.validation 0.2 holds back a fifth of them"
        )
    for part, figures in (run.baseline or {}).items():
        samples = judged(run.strategy, len(getattr(pile, part) or ()))
        print(f"baseline   {part}: {in_words(figures, samples)}: labels alone")
    found = run.ledger.summary()
    if found:
        print(f"pile       {_accepted(found)}")


def _accepted(summary: Mapping[str, float]) -> str:
    words = [f"{100 * summary['accepted']:.1f} % of the pseudo-labels accepted"]
    if "pseudo_label_accuracy" in summary:
        words.append(f"{100 * summary['pseudo_label_accuracy']:.1f} % of these right")
    return ", ".join(words)
