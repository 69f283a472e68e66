"""Memory that training on a large sparse matrix takes, beside what the dense one would.

    python benchmarks/sparse_memory.py

20,000 rows of 50,000 columns, one entry in a thousand: FixMatch for 30 steps and answers for all rows, in a process of
its own for each door. The peak is that of the whole process; what it has before the data are made is printed beside it.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import selftrain as st
from selftrain import data
from selftrain.estimator import SelfTrainClassifier

ROWS, COLUMNS, DENSITY, STEPS = 20_000, 50_000, 0.001, 30
RESULTS = Path(__file__).parent / "results" / "sparse_memory.json"


def peak() -> float:
    """The most memory that the process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def problem() -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows, of which each class has columns of its own, with 100 labels, and the truth."""
    from scipy import sparse

    draw = np.random.default_rng(0)
    truth, each = draw.integers(0, 2, ROWS), int(COLUMNS * DENSITY)
    half = COLUMNS // 2
    columns = draw.integers(0, half, (ROWS, each)) + half * (draw.random((ROWS, each)) < 0.1 + 0.8 * truth[:, None])
    places = np.repeat(np.arange(ROWS), each), columns.ravel()
    x = sparse.csr_matrix((draw.random(ROWS * each).astype(np.float32), places), (ROWS, COLUMNS))
    return x, np.where(np.arange(ROWS) < 100, truth, -1), truth


def measure(door: str, told: Any) -> None:
    """Train and ask through one door, and tell what it took."""
    before, begun = peak(), time.perf_counter()
    x, y, truth = problem()
    made = peak()
    if door == "st.fit":
        run = st.fit("fixmatch", data.Pile.from_arrays(x, y), steps=STEPS)
        right = run.predict(x).astype(int) == truth
    else:
        right = SelfTrainClassifier(strategy="fixmatch", steps=STEPS, random_state=0).fit(x, y).predict(x) == truth
    told.send({
        "door": door, "before": before, "with_data": made, "peak": peak(), "accuracy": float(right.mean()),
        "seconds": time.perf_counter() - begun,
    })  # fmt: skip


def main() -> None:
    """Measure both doors, print a line each, and store them."""
    rows = []
    for door in ("st.fit", "SelfTrainClassifier"):
        here, there = multiprocessing.get_context("spawn").Pipe(False)
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(door, there))
        process.start()
        rows.append(here.recv())
        process.join()
        row, dense = rows[-1], ROWS * COLUMNS * 4 / 2**20
        print(
            f"{door:<20} before {row['before']:,.0f} MB, peak {row['peak']:,.0f} MB, dense {dense:,.0f} MB, "
            f"accuracy {row['accuracy']:.1%}, {row['seconds']:.0f} s"
        )
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
