"""Labels that spread over graphs of pixels and of pretrained features, beside classifiers that see the labels alone.

python benchmarks/graphs.py [--fashion DIR] [--cache DIR] [--only WORD ...] [--report]

The first 10,000 training images of Fashion-MNIST with 40 and 100 labels, five draws of the labels, as many of each
class; error on all others of these images, as in Calder et al. 2020 (there 70,000 images and features of a VAE). The
features are those of the LeJEPA stage of benchmarks/complementary.py (draw 0), trained without labels on 10,000 of the
60,000 training images for 1,500 steps. Nothing is chosen here: neighbors and settings are the constructors', pixels and
features are not standardized for a graph, and ``poisson_volume`` has the shares of the labels, which are equal as the
draws are.
Finished rows are kept in benchmarks/results/graphs.json and not made again; interrupt it when you like.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from complementary import CACHE, stage
from complementary import Job as Training
from numpy.typing import NDArray
from problems import PROBLEMS
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from stored import read, store
from tqdm import tqdm

import selftrain as st
from selftrain import data
from selftrain.graph import knn_graph
from selftrain.graph.propagation import METHODS

RESULT = Path(__file__).parent / "results" / "graphs.json"
COMMAND = "python benchmarks/graphs.py --fashion DIR"
ROWS, DRAWS = 10_000, 5
PLAN = (  # set, labels, features
    ("fashion_mnist", 40, "lejepa"),
    ("fashion_mnist", 40, "pixels"),
    ("fashion_mnist", 100, "lejepa"),
    ("fashion_mnist", 100, "pixels"),
)
ALONE = ("nearest", "logistic")
Array = NDArray[Any]


class Job(NamedTuple):
    """One row."""

    dataset: str
    labels: int
    features: str
    method: str
    draw: int


def jobs() -> Iterator[Job]:
    """All rows, those of one graph in a row."""
    for column, method, draw in itertools.product(PLAN, (*ALONE, *METHODS), range(DRAWS)):
        yield Job(*column, method, draw)


def draw_labels(y: Array, labels: int, draw: int) -> Array:
    """Class of each row, -1 but for as many rows of each class, (N,)."""
    rng, given = np.random.default_rng(draw), np.full(len(y), -1)
    for code in range(10):
        rows = rng.choice(np.flatnonzero(y == code), labels // 10, replace=False)
        given[rows] = code
    return given


def error(method: str, x: Array, graph: Any, y: Array, given: Array) -> float:
    """Share of the unlabeled rows that are decided wrongly."""
    known = given >= 0
    if method in METHODS:
        said = METHODS[method](graph, given, 10).argmax(1)
    elif method == "nearest":
        said = KNeighborsClassifier(1).fit(x[known], given[known]).predict(x)
    else:
        scaler = StandardScaler().fit(x)
        model = LogisticRegression(max_iter=2000).fit(scaler.transform(x[known]), given[known])
        said = model.predict(scaler.transform(x))
    return float((said != y)[~known].mean())


def images(dataset: str, features: str, folders: Mapping[str, Path | None], cache: Path) -> tuple[Array, Array]:
    """Features and classes of the images, from the cache or made now."""
    done = cache / f"graphs-{dataset}-{features}.npz"
    if not done.exists():
        whole = data.load(dataset, labels=None, root=folders["fashion"])
        found: list[Array] = []
        truth: list[Array] = []
        encoder = None
        if features != "pixels":
            problem = next(p for name, p in PROBLEMS.items() if name[0] == dataset)
            labels = next(name[1] for name in PROBLEMS if name[0] == dataset)
            start = stage(Training(dataset, labels, features, "", 0), folders, cache)
            encoder = st.learner(lambda: problem.network(1), init_from=start)().model.encoder.eval()
        for batch in whole.evaluation("labeled", 1000, torch.device("cpu")) or ():
            with torch.no_grad():
                found.append((batch.x.flatten(1) if encoder is None else encoder(batch.x)).numpy())
            truth.append(batch.annotation.numpy())
            if sum(map(len, truth)) >= ROWS:
                break
        np.savez(done.with_suffix(".part.npz"), x=np.concatenate(found)[:ROWS], y=np.concatenate(truth)[:ROWS])
        done.with_suffix(".part.npz").rename(done)
    with np.load(done) as stored:
        return stored["x"], stored["y"]


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table: error in percent, mean and standard deviation over the draws."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        key = (row["dataset"], row["labels"], row["features"], row["method"])
        found.setdefault(key, []).append(100 * row["error"])
    names = " | ".join(f"{dataset}, {labels}, {features}" for dataset, labels, features in PLAN)
    lines = [f"| error, % | {names} |", "| --- |" + " ---: |" * len(PLAN)]
    for method in (*ALONE, *METHODS):
        cells = []
        for column in PLAN:
            values = found.get((*column, method), [])
            cells.append(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, default=None, help="folder of Fashion-MNIST; default: see the guide")
    parser.add_argument("--only", nargs="*", default=[], help="make only rows whose name holds one of these words")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of stages and features")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--report", action="store_true", help="print the table and end")
    options = parser.parse_args()
    rows = read(options.result)
    if options.report:
        print(report(rows))
        return
    torch.set_num_threads(1)
    folders = {"fashion": options.fashion}
    order = {job: i for i, job in enumerate(jobs())}
    done = {Job(*(row[key] for key in Job._fields)) for row in rows}
    todo = [job for job in order if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} rows are done, {len(todo)} to do")
    options.cache.mkdir(parents=True, exist_ok=True)
    shown, graph = "", None
    for job in tqdm(todo, disable=None, unit="row"):
        if shown != f"{job.dataset}-{job.features}":
            shown = f"{job.dataset}-{job.features}"
            x, y = images(job.dataset, job.features, folders, options.cache)
            kept = options.cache / f"graphs-{shown}-graph.npz"
            if not kept.exists():
                sparse.save_npz(kept, knn_graph(x, metric="euclidean" if job.features == "pixels" else "cosine"))
            graph = sparse.load_npz(kept)
        given, begun = draw_labels(y, job.labels, job.draw), time.perf_counter()
        figures = {"error": error(job.method, x, graph, y, given), "seconds": round(time.perf_counter() - begun, 2)}
        rows.append(job._asdict() | figures)
        store(options.result, rows, lambda row: order[Job(*(row[key] for key in Job._fields))], COMMAND)


def _wanted(job: Job, words: Sequence[str]) -> bool:
    name = "-".join(map(str, job))
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    main()
