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
from selftrain.engine.summary import (
    accepted,
    compared_with_start,
    from_start,
    in_words,
    judged,
    of_portfolio,
    weights_in_words,
)
from selftrain.storage.run_dir import CANDIDATES_TABLE, REPORT
from selftrain.strategy.base import SupervisedStrategy


def begun(config: str, out: Path) -> None:
    """The resolved settings, and where the run is."""
    print(config)
    print(f"run        {out}", flush=True)


def finished(run: Run, pile: Pile, total: int) -> None:
    """Figures of a run, where it is, and what to do next."""
    print()
    if isinstance(run.strategy, SupervisedStrategy):
        told = _of_start if compared_with_start(run) else _of_labels
        told(run, pile)
    else:
        for part, figures in run.last.items():
            print(f"{part:<11}{in_words(figures)}")
    for alarm in run.alarms:
        print(f"alarm      {alarm.kind}: {' '.join(alarm.text.split())}")
    if run.fallback is not None:
        print(f"shipped    {run.fallback.message}")
    print(f"run        {run.out}")
    if run.out is not None and (run.out / REPORT).is_file():
        print(f"page       {run.out / REPORT}: open it in a browser")
    if not (run.out is not None and (run.out / "summary.json").is_file()):
        print(f"stopped before step {total}; go on with --resume --out {run.out}")


def tried(records: Sequence[Mapping[str, Any]], out: Path) -> None:
    """What is in a blend, and where the whole table is."""
    blended = [f"{100 * row['weight']:.0f} % {row['name']}" for row in records if row["weight"]]
    print(f"blend      {', '.join(blended)}")
    print(f"tried      {len(records)} ways, each judged on labels that it did not see: {out / CANDIDATES_TABLE}")


def of_classes(found: Mapping[str, Any]) -> str:
    """Precision and recall of each class, of masks IoU and Dice, of joints PCK as lines; else empty."""
    rows, joints = found.get("classes", {}), found.get("joints")
    if joints:
        lines = [f"{name[:20]:<20} {share:>9.3f}" for name, share in joints["per_joint"].items()]
        told = f"NME {joints['nme']:.4f}, OKS-AP {joints['ap']:.3f}, {joints['pixels']:.2f} pixels"
        return "\n".join([f"{'joint':<20} {'PCK@0.05':>9}", *lines, told]) + "\n"
    if not rows:
        return ""
    areas = [("IoU", "iou"), ("Dice", "f1")] if "iou" in next(iter(rows.values())) else []
    shares = [*areas, ("precision", "precision"), ("recall", "recall")]
    lines = [
        f"{'class':<20} {' '.join(f'{title:>9}' for title, _ in shares)} {'samples' if not areas else 'pixels':>9}"
    ]
    for name, row in rows.items():
        told = " ".join(f"{row[key]:>9.3f}" for _, key in shares)
        lines.append(f"{name[:20]:<20} {told} {row['samples']:>9,}")
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


def _of_start(run: Run, pile: Pile) -> None:
    """Where there was no label: the start beside what the run made of it."""
    for name, line in from_start(run):
        print(f"{name:<12} {line}")
    print(f"{'pile':<12} {accepted(run.ledger.summary())}")


def _of_labels(run: Run, pile: Pile) -> None:
    parts = [part for part in ("validation", "test") if getattr(pile, part) is not None]
    for part in parts:
        samples = judged(run.strategy, len(getattr(pile, part)))
        if run.best_state is not None:
            words = in_words(run.evaluate(part, which="best"), samples)
            print(f"{part:<11}{words}: weights of step {int(run.best['step'])}, the best on validation")
        print(f"{part:<11}{in_words(run.evaluate(part), samples)}: last weights")
    if run.best_state is not None:
        print(f"weights    {weights_in_words(run)}")
    if run.cross_fitted is not None:
        print(f"simple     {run.cross_fitted.simple()}, out of fold")
        print(f"agreement  {run.cross_fitted.signs()}")
        if run.cross_fitted.behind:
            print(f"rival      {run.cross_fitted.rival()}")
    elif not parts:
        alone = dict(of_portfolio(run.strategy)).get("labels alone")
        nothing = "no labels were held out, so nothing tells how good it is; --data.validation 0.2 holds back a fifth"
        print(f"alone      {alone}" if alone else f"{nothing} of them")
    for part, figures in (run.baseline or {}).items():
        samples = judged(run.strategy, len(getattr(pile, part) or ()))
        print(f"baseline   {part}: {in_words(figures, samples)}: labels alone")
    found = run.ledger.summary()
    if found:
        print(f"pile       {accepted(found)}")
