"""What the alarms of a run miss, and what they raise in vain: many small runs, each beside the labels alone.

python benchmarks/alarms.py --keel DIR [DIR ...] [--features FILE.npz] [--only WORD ...] [--report] [--write]

Sets are those of benchmarks/tables_compare.py with 4 labels a class and with its own number, and, if a file of features
of the CIFAR-10 part is given (arrays ``x`` and ``y``), 2,500 of its rows with 40 and 250 labels. Each run has the
settings of ``SelfTrainClassifier(strategy=...)``; its supervised baseline has the same start, labels and steps. What is
stored of a run is what an alarm may look at, and beside it how good both are on the rows without a label, which no
alarm may look at. Draws of labels are of no other benchmark. The bounds of ``class_drift`` were chosen on the sets in
CHOSEN; the page tells the two groups apart. Finished rows are kept in benchmarks/results/alarms.json.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from stored import Row, read, store
from tables_compare import SETS as EACH
from tables_compare import hide, load
from torch import Tensor

import selftrain as st
from selftrain.catalog import METHODS, make_strategy
from selftrain.data import Pile
from selftrain.handlers import DataSummary, Handler, Progress
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.networks.by_name import make_network
from selftrain.strategy.base import Strategy

RESULT = Path(__file__).parent / "results" / "alarms.json"
COMMAND = "python benchmarks/alarms.py --keel DIR --features FILE"
STRATEGIES = ("fixmatch", "uda", "freematch")
STEPS, BATCH, PILE, SEEDS = 500, 32, 2500, (40, 41)
FEATURES = {"cifar10 features": (4, 25)}  # labels of each class


class Job(NamedTuple):
    """One run."""

    dataset: str
    each: int
    strategy: str
    seed: int


def jobs() -> list[Job]:
    """All runs, draw by draw; those with the fewest labels first."""
    few = {name: min(each) for name, each in FEATURES.items()} | dict.fromkeys(EACH, 4)
    more = {name: max(each) for name, each in FEATURES.items()} | EACH
    return [
        Job(name, each, strategy, seed)
        for seed in SEEDS
        for sizes in (few, more)
        for name, each in sizes.items()
        for strategy in STRATEGIES
    ]


class Course(Handler):
    """Keeps what the run says of the pile at each evaluation, and whether its classes were one-sided then."""

    def __init__(self, ask: Any) -> None:
        self.ask, self.course = ask, []

    def begin(self, context: Any) -> None:
        """Forget an earlier run."""
        self.context, self.course = context, []

    def after_evaluation(self, step: int, figures: Any) -> None:
        """Ask."""
        accepted = self.context.ledger.class_shares().tolist()
        self.course.append(self.ask(self.context.strategy) | {"step": step, "accepted": accepted})


def work(job: Job, folders: Sequence[Path], features: Path | None) -> Row:
    """Train a method and its baseline, and note what can be seen of both."""
    torch.set_num_threads(1)
    if job.dataset in FEATURES:
        stored = np.load(features)  # type: ignore[arg-type]
        rows = np.random.RandomState(0).permutation(len(stored["x"]))[:PILE]
        x, truth = stored["x"][rows].astype(np.float32), stored["y"][rows]
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    else:
        source = load(job.dataset, folders)
        x, truth = source.x.astype(np.float32), source.y
    y = hide(truth, job.each, job.seed)
    pile = Pile.from_arrays(x, y)
    classes, hidden = int(truth.max()) + 1, np.flatnonzero(y < 0)
    rest = torch.from_numpy(truth[hidden])
    steps, batch = STEPS, BATCH

    def ask(strategy: Strategy) -> dict[str, Any]:
        said = decisions(strategy, pile)
        return {
            "counts": torch.bincount(said, minlength=classes).tolist(),
            "accuracy": float((said == rest).float().mean()),
        }

    torch.manual_seed(job.seed)
    make = st.learner(
        lambda: make_network("auto", "table", tuple(x.shape[1:]), classes * METHODS[job.strategy].outputs),
        training=st.Training(lr=3e-3, weight_decay=0.01),
    )
    strategy = make_strategy(
        job.strategy,
        make,
        {},
        task=st.Classification(classes),
        label_shape=(classes,),
        unlabeled=len(hidden),
        steps=steps,
    )
    baseline = SupervisedBaseline(strategy)
    plan, course = st.BatchPlan(labeled=batch, unlabeled_ratio=2.0, seed=job.seed), Course(ask)
    quiet = {"plan": plan, "steps": steps}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.perf_counter()
        run = st.fit(strategy, pile, handlers=[course, DataSummary(False), Progress(False)], **quiet)
        between = time.perf_counter()
        st.fit(baseline, pile, handlers=[DataSummary(False), Progress(False)], **quiet)
    ended = time.perf_counter()
    mine, theirs = decisions(strategy, pile), decisions(baseline, pile)
    given = y >= 0
    return job._asdict() | {
        "labels": np.bincount(y[given], minlength=classes).tolist(),
        "run": ask(strategy),
        "baseline": ask(baseline),
        "agreement": float((mine == theirs).float().mean()),
        "reverse": [reverse(x, hidden, said.numpy(), y) for said in (mine, theirs)],
        "accepted": int(run.ledger.accepted.sum()),
        "accepted_shares": run.ledger.class_shares().tolist(),
        "accepted_right": run.ledger.summary().get("pseudo_label_accuracy"),
        "alarms": [[alarm.kind, alarm.step] for alarm in run.alarms],
        "course": course.course,
        "seconds": [round(between - begun, 2), round(ended - between, 2)],
    }


def decisions(strategy: Strategy, pile: Pile) -> Tensor:
    """The class that a strategy ships for each unlabeled row."""
    found = []
    with strategy.evaluating(), torch.no_grad():
        for batch in pile.evaluation("pile", 500, torch.device("cpu")) or ():
            found.append(strategy.predict(batch.x).argmax(1))
    return torch.cat(found)


def reverse(x: np.ndarray, hidden: np.ndarray, said: np.ndarray, y: np.ndarray) -> list[float]:
    """How often neighbors and a linear model that learn pseudo-labels alone are right on the given labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    given = np.flatnonzero(y >= 0)
    found = []
    for model in (KNeighborsClassifier(5), LogisticRegression(C=0.1, max_iter=50)):
        if len(np.unique(said)) < 2:
            found.append(float((y[given] == said[0]).mean()))
            continue
        found.append(float((model.fit(x[hidden], said).predict(x[given]) == y[given]).mean()))
    return found


def place(row: Row) -> int:
    """Where a row stands in the file."""
    return jobs().index(Job(*(row[key] for key in Job._fields)))


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keel", type=Path, nargs="*", default=[], help="folders of .dat files")
    parser.add_argument("--features", type=Path, default=None, help="features of the CIFAR-10 part, arrays x and y")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = read(options.result)
    done = {Job(*(row[key] for key in Job._fields)) for row in rows}
    todo = [job for job in jobs() if job not in done and (options.features or job.dataset not in FEATURES)]
    todo = [job for job in todo if not options.only or any(word in "-".join(map(str, job)) for word in options.only)]
    print(f"{len(done)} runs are done, {len(todo)} to do", flush=True)
    for job in todo:
        rows.append(work(job, options.keel, options.features))
        store(options.result, rows, place, COMMAND)
        last = rows[-1]
        print(
            job,
            f"{last['run']['accuracy']:.3f} {last['baseline']['accuracy']:.3f}",
            last["alarms"],
            last["seconds"],
            flush=True,
        )


if __name__ == "__main__":
    main()
