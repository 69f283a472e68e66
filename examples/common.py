"""What the examples share.

The short ones: options, one training, results beside the floor. quickstart.py and images.py: the methods, many small
trainings in two processes with finished rows kept, one table.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser
from tqdm import tqdm

import selftrain as st
from selftrain.catalog import build
from selftrain.engine.loop import versions
from selftrain.networks.student import MakeLearner
from selftrain.types import Pile

Row = dict[str, Any]
STRATEGIES = ("supervised", "mean_teacher", "fixmatch", "fst_d", "soft_labels")
TASK = st.Classification(10)


class Options(NamedTuple):
    """What the short examples can be told."""

    steps: int
    seed: int
    out: Path


def options(doc: str | None, name: str, *, steps: int, fast: int) -> Options:
    """Read ``--fast`` (``fast`` steps in place of ``steps``), ``--steps``, ``--seed`` and ``--out`` (``runs/name``)."""
    parser = ArgumentParser(description=doc)
    parser.add_argument("--fast", action="store_true", help=f"{fast} steps: shows that everything runs, no more")
    parser.add_argument("--steps", type=int, default=None, help=f"steps of a training; default: {steps}")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of labels, the networks and the training")
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for runs and results")
    given = parser.parse_args()
    return Options(given.steps or (fast if given.fast else steps), given.seed, given.out)


def train(name: str, make: Callable[[], st.Strategy], pile: Pile, chosen: Options, plan: st.BatchPlan) -> st.Run:
    """Build a strategy on networks that start from the seed, and train it in a folder of its own."""
    torch.manual_seed(chosen.seed)
    return st.fit(make(), pile, out=chosen.out / name, steps=chosen.steps, plan=plan, overwrite=True)


def beside(accuracies: Mapping[str, float], *, floor: str = "supervised") -> str:
    """One line a method: accuracy in %, and how far it is above or below the floor."""
    width = max(map(len, accuracies))
    lines = []
    for name, accuracy in accuracies.items():
        gain = "" if name == floor else f"  ({100 * (accuracy - accuracies[floor]):+.1f})"
        lines.append(f"{name:{width}}  {100 * accuracy:5.1f} %{gain}")
    return "\n".join(lines)


def make_strategy(name: str, make: MakeLearner, unlabeled: int, *, decay: float) -> st.Strategy:
    """Build a strategy by name; ``unlabeled`` is the number of unlabeled samples, ``decay`` that of the teacher."""
    sure: dict[str, Any] = {"select": st.select.above(0.95), "hard": True, "distance": "ce", "unlabeled_weight": 1}
    settings = {"fst_d": sure | {"decay": decay}, "soft_labels": {}}.get(name, {"decay": decay})
    return build(name, TASK, make, unlabeled=unlabeled, label_shape=(TASK.classes,), **settings)


def run_jobs(
    work: Callable[..., Row],
    jobs: Sequence[tuple[Any, ...]],
    out: Path,
    settings: dict[str, Any],
    *,
    processes: int = 2,
) -> list[Row]:
    """Run ``work(*job, out)`` for every job, each in one thread; rows already in ``out/rows`` are not run again."""
    (out / "rows").mkdir(parents=True, exist_ok=True)
    _same_settings(out / "settings.json", settings)
    files = [out / "rows" / ("-".join(map(str, job)) + ".json") for job in jobs]
    todo = [(job, file) for job, file in zip(jobs, files, strict=True) if not file.exists()]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} runs are already in {out}; delete the folder to repeat them")
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = [pool.submit(_store, work, job, out, file) for job, file in todo]
        for future in tqdm(futures, disable=None, unit="run"):
            future.result()
    return [json.loads(file.read_text()) for file in files]


def _same_settings(file: Path, settings: dict[str, Any]) -> None:
    """Finished rows count only if they were made with the same settings."""
    text = json.dumps(settings)
    if file.exists() and file.read_text() != text:
        sys.exit(f"{file.parent} holds rows made with {file.read_text()}, not {text}; delete it or pass another --out")
    file.write_text(text)


def python() -> str:
    """How to call this interpreter from here."""
    path = os.path.relpath(sys.executable)
    return sys.executable if path.startswith("..") else path


def _store(work: Callable[..., Row], job: tuple[Any, ...], out: Path, file: Path) -> None:
    row = work(*job, out)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(row))
    os.replace(part, file)


def _one_thread() -> None:
    torch.set_num_threads(1)  # two processes with one thread each are faster than one with two


def write_results(rows: list[Row], out: Path, **more: Any) -> Path:
    """Write ``results.json``: the command, versions of what it depends on, and all rows."""
    path = out / "results.json"
    command = " ".join(["python", *sys.argv])
    path.write_text(json.dumps({"command": command, "versions": versions(), **more, "rows": rows}, indent=1))
    return path


def table(rows: Iterable[Row], keys: tuple[str, ...]) -> str:
    """One line a combination of ``keys``: mean and standard deviation over seeds, and the means of the rest."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in keys), []).append(row)
    head = [*keys, "test accuracy %", "used %", "pseudo-label acc. %", "seconds"]
    lines = [[*key, *_cells(group)] for key, group in groups.items()]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    padded = [[cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in [head, *lines]]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _cells(group: list[Row]) -> list[str]:
    scores = [100 * row["test_accuracy"] for row in group]
    spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    seconds = statistics.mean(row["seconds"] for row in group)
    shares = [_share(group, "used"), _share(group, "pseudo_label_accuracy")]
    return [f"{statistics.mean(scores):.1f}{spread}", *shares, f"{seconds:.0f}"]


def _share(group: list[Row], key: str) -> str:
    values = [100 * row[key] for row in group if row[key] is not None and not math.isnan(row[key])]
    return f"{statistics.mean(values):.0f}" if values else "-"
