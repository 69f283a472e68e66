"""What a user gets who picks nothing, beside what takes a second: SelfTrainClassifier and rivals on real data.

python benchmarks/first_result.py --packages DIR --images DIR --cache DIR [--only WORD ...] [--report | --write]

The problems, and where their files come from, are those of benchmarks/first_problems.py: 15 tables, digits, series,
texts, and features of networks at rest, with 4 to 25 labels of every class. Every method gets the same rows, and is
asked for other rows, the test. ``SelfTrainClassifier`` and the rivals have their defaults, but that networks rivals
train on MNIST and Fashion-MNIST have 200 steps; graphs have the 7 nearest neighbors, because the default kernel finds
no neighbor among many columns; rivals see images and series as rows of numbers, images within [0, 1].

Each (problem, method, draw) runs in one thread on the CPU; ``seconds`` are those of the processor. Finished rows are
kept in the result file and not run again; rows of ``SelfTrainClassifier`` know the code that made them, and those of
other code are run anew. ``--draws-from 100 --result FILE`` is for development: settings of the library are chosen there
and on other sets (benchmarks/portfolio.py), never on the draws that are reported, which begin at 10. Rows of the tables
that benchmarks/tables_compare.py had stored, the same runs, were taken over without their seconds. ``--report`` prints
what is stored as Markdown, ``--write`` puts it into docs/first-result.md; README.md has its part by
benchmarks/tables.py.
"""

from __future__ import annotations

import argparse
import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import first_page
import numpy as np
import torch
from first_problems import PROBLEMS, TIME, Places, Problem, add_places, load
from stored import Row, read, store
from tables_compare import FIRST, LabelsOnly, forest, graph, self_training

import selftrain
from selftrain import SelfTrainClassifier

RESULT = Path(__file__).parent / "results" / "first_result.json"
COMMAND = "python benchmarks/first_result.py --packages DIR --images DIR --cache DIR"
LARGE, STEPS = 5000, 200  # piles of more images are learned by rivals' networks in so many steps


class Job(NamedTuple):
    """One run."""

    problem: str
    method: str
    seed: int


class Rival(NamedTuple):
    """A way to learn: who does it, made by seed and pile, and whether it takes rows as they are."""

    make: Callable[[int, Problem], Any]
    own: bool = False


def ours(seed: int, problem: Problem, strategy: str | None = None) -> Any:
    """SelfTrainClassifier as it comes, or with a strategy by name."""
    if strategy is None:
        return SelfTrainClassifier(kind=problem.kind, random_state=seed)
    steps = STEPS if problem.kind == "image" and len(problem.y) > LARGE else None
    # nothing beside it whose weights an alarm would ship: this is the method as it was
    alone: dict[str, Any] = {"baseline": False, "on_alarm": "warn"}
    return SelfTrainClassifier(strategy=strategy, kind=problem.kind, steps=steps, random_state=seed, **alone)


def _logistic(seed: int, problem: Problem) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LabelsOnly(LogisticRegression(max_iter=1000))


METHODS: dict[str, Rival] = {
    first_page.DEFAULT: Rival(ours, own=True),
    "FreeMatch, the default before": Rival(partial(ours, strategy="freematch"), own=True),
    "LabelSpreading": Rival(lambda seed, _: graph(seed, kind="LabelSpreading")),
    "SelfTrainingClassifier(logistic)": Rival(lambda seed, _: self_training(seed, base="logistic")),
    "SelfTrainingClassifier(forest)": Rival(lambda seed, _: self_training(seed, base="forest")),
    "labels alone: logistic": Rival(_logistic),
    "labels alone: forest": Rival(lambda seed, _: forest(seed)),
    "labels alone: same network": Rival(partial(ours, strategy="supervised"), own=True),
}
CHEAPEST = ("labels alone: logistic", "LabelSpreading", "SelfTrainingClassifier(logistic)", "labels alone: forest")


# -- runs --------------------------------------------------------------------------------------------------------------
def work(job: Job, places: Places) -> Row:
    """Run one method on one draw of labels."""
    torch.set_num_threads(1)
    problem, rival = load(job.problem, job.seed, places), METHODS[job.method]
    model = rival.make(job.seed, problem)
    x, x_test = (shown(rows, problem.kind, model, own=rival.own) for rows in (problem.x, problem.x_test))
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parts of a graph without a label, no convergence, alarms
        fitted = model.fit(x, problem.y)
        trained = time.process_time()
        predicted = fitted.predict(x_test)
    accuracy = float((predicted == problem.y_test).mean())
    figures = {"group": PROBLEMS[job.problem].group, "labels": int((problem.y >= 0).sum()), "rows": len(problem.y)}
    return (
        job._asdict()
        | figures
        | {"test": len(problem.y_test), "test_accuracy": accuracy}
        | {"seconds": round(trained - begun, 2), "seconds_predict": round(time.process_time() - trained, 2)}
        | ({"code": code(), **choice(fitted)} if job.method == first_page.DEFAULT else {})
    )


def shown(rows: Any, kind: str, model: Any, *, own: bool) -> Any:
    """Rows as a method reads them: the library as they are, rivals as rows of numbers, dense where they must be."""
    if not own and not hasattr(rows, "toarray"):
        rows = rows.reshape(len(rows), -1)
        return rows / np.float32(255) if rows.dtype == np.uint8 else rows
    sparse = hasattr(rows, "toarray") and own and not model.__sklearn_tags__().input_tags.sparse
    return rows.toarray() if sparse else rows


def code() -> str:
    """A short hash of the library's source: rows of the default are of one version of it."""
    root, digest = Path(selftrain.__file__).parent, hashlib.sha256()
    paths = [path for part in ("portfolio", "graph") for path in (root / part).rglob("*.py")]
    for path in sorted([*paths, root / "portfolio" / "prior.json", root / "estimator" / "automatic.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def choice(model: Any) -> Row:
    """What the default chose."""
    return {"chosen": str(model.strategy_)}


def jobs(first: int, draws: int) -> list[Job]:
    """All runs: cheap methods and small piles first, the default last."""
    order = sorted(METHODS, key=lambda name: (name == first_page.DEFAULT, name not in CHEAPEST))
    found = [
        Job(problem, method, seed)
        for method in order
        for problem in PROBLEMS
        for seed in range(first, first + (1 if PROBLEMS[problem].group == TIME else draws))
    ]

    def turn(job: Job) -> tuple[Any, ...]:
        large = "MNIST" in job.problem
        return order.index(job.method), large, job.seed if large or job.method == first_page.DEFAULT else 0

    return sorted(found, key=turn)


def place(row: Row) -> int:
    """Where a row stands in the file."""
    cell = list(PROBLEMS).index(row["problem"]) * 100 + list(METHODS).index(row["method"])
    return 1000 * cell + int(row["seed"])


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    parser.add_argument("--draws", type=int, default=5, help="draws of labels")
    parser.add_argument("--draws-from", type=int, default=FIRST, help="the first draw; from 100 on for development")
    parser.add_argument("--without", nargs="*", default=[], help="run nothing that has one of these words there")
    parser.add_argument("--only", nargs="*", default=[], help="run only what has a word in problem, group or method")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--report", action="store_true", help="print what is stored")
    parser.add_argument("--write", action="store_true", help="put what is stored into docs/first-result.md")
    options = parser.parse_args()
    if options.report or options.write:
        first_page.show(read(options.result), write=options.write)
        return
    rows = [row for row in read(options.result) if row.get("code", code()) == code()]
    done = {Job(*(row[key] for key in Job._fields)) for row in rows}
    wanted = [
        job
        for job in jobs(options.draws_from, options.draws)
        if job not in done and (not options.only or _has(job, options.only)) and not _has(job, options.without)
    ]
    print(f"{len(done)} runs are done, {len(wanted)} to do", flush=True)
    for job in wanted:
        rows.append(work(job, Places(options.packages, options.images, options.cache)))
        store(options.result, rows, place, COMMAND)
        print(f"{job.problem}, {job.method}, {job.seed}: {100 * rows[-1]['test_accuracy']:.1f}", flush=True)


def _has(job: Job, words: Sequence[str]) -> bool:
    return any(word in name for word in words for name in (*job[:2], PROBLEMS[job.problem].group))


if __name__ == "__main__":
    main()
