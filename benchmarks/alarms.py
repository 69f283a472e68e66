"""What the alarms of a run miss, and what they raise in vain: many small runs, each beside the labels alone.

python benchmarks/alarms.py --keel DIR [DIR ...] [--features FILE.npz] [--only WORD ...] [--report] [--write]

Sets are those of benchmarks/tables_compare.py with 4 labels a class and with its own number; four of them also with a
pile whose classes are rarer and rarer, down to a tenth, which the labels do not show; and, if the file
cifar10_effnet_lite0_96.npz of benchmarks/first_problems.py is given, its pile with 40 and 250 labels. Each run has the
settings of ``SelfTrainClassifier(strategy=...)``; its supervised baseline has the same start, labels and steps. What is
stored of a run is what an alarm may look at, and beside it how good both are on the rows without a label, which no
alarm may look at. Draws of labels are of no other benchmark; the bound of ``class_drift`` was set on the first draw of
five sets (SEEN). Finished rows are kept in benchmarks/results/alarms.json. ``--report`` prints what the alarms miss and
raise in vain, also over the runs with held-out labels that benchmarks/results holds; ``--write`` puts that into
docs/trust.md.
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
from tables import load as load_rows
from tables import replace
from tables_compare import SETS as EACH
from tables_compare import hide, load
from torch import Tensor

import selftrain as st
from selftrain.catalog import METHODS, make_strategy
from selftrain.data import Pile
from selftrain.handlers import DataSummary, Handler, Progress
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.handlers.selfcheck import HARMFUL
from selftrain.metrics.significance import ERRORS, MARGIN, drifted
from selftrain.networks.by_name import make_network
from selftrain.strategy.base import Strategy

PAGE = Path(__file__).parent.parent / "docs" / "trust.md"
RESULT = Path(__file__).parent / "results" / "alarms.json"
COMMAND = "python benchmarks/alarms.py --keel DIR --features FILE"
STRATEGIES = ("fixmatch", "uda", "freematch")
STEPS, BATCH, PILE, SEEDS = 500, 32, 2500, (40, 41)
FEATURES = {"cifar10 features": (4, 25)}  # labels of each class
SEEN = ("cifar10 features", "wine", "breast_cancer", "digits", "vowel")  # with the first draw they set DRIFT
SKEWED = (
    "penbased",
    "segment",
    "texture",
    "satimage",
)  # also with a pile in which the first class is ten times the last


class Job(NamedTuple):
    """One run."""

    dataset: str
    each: int
    strategy: str
    seed: int


def jobs() -> list[Job]:
    """All runs, draw by draw; those with the fewest labels first."""
    few = {name: min(each) for name, each in FEATURES.items()} | dict.fromkeys(EACH, 4)
    few |= {f"{name} skewed": 4 for name in SKEWED}
    more = {name: max(each) for name, each in FEATURES.items()} | EACH
    return [
        Job(name, each, strategy, seed)
        for seed in SEEDS
        for sizes in (few, more)
        for name, each in sizes.items()
        for strategy in STRATEGIES
    ]


class Course(Handler):
    """Keeps how good the run is at each evaluation."""

    def __init__(self, ask: Any) -> None:
        self.ask, self.course = ask, []

    def begin(self, context: Any) -> None:
        """Forget an earlier run."""
        self.context, self.course = context, []

    def after_evaluation(self, step: int, figures: Any) -> None:
        """Ask."""
        self.course.append([step, self.ask(self.context.strategy)["accuracy"]])


def work(job: Job, folders: Sequence[Path], features: Path | None) -> Row:
    """Train a method and its baseline, and note what can be seen of both."""
    torch.set_num_threads(1)
    if job.dataset in FEATURES:
        stored = np.load(features)  # type: ignore[arg-type]
        rows = np.random.RandomState(0).permutation(len(stored["arr_0"]))[:PILE]
        x, truth = stored["arr_0"][rows].astype(np.float32), stored["arr_1"][rows]
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    else:
        source = load(job.dataset.removesuffix(" skewed"), folders)
        x, truth = source.x.astype(np.float32), source.y
    y = hide(truth, job.each, job.seed)
    if job.dataset.endswith("skewed"):
        share = 10.0 ** -(truth / truth.max())
        kept = (y >= 0) | (np.random.RandomState(job.seed).uniform(size=len(y)) < share)
        x, y, truth = x[kept], y[kept], truth[kept]
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


# -- what the rows say -------------------------------------------------------------------------------------------------
def alarmed(row: Row) -> list[str]:
    """Alarms of a row that speak against its weights; class drift as the library judges it now."""
    prior = torch.tensor(row["labels"], dtype=torch.double)
    run, control = (torch.tensor(row[name]["counts"], dtype=torch.double) for name in ("run", "baseline"))
    found = [kind for kind, _ in row["alarms"] if kind in HARMFUL]
    far = drifted(run / run.sum(), control / control.sum(), prior / prior.sum(), int(run.sum()))
    return [*found, *(["class_drift"] if far else [])]


def outcome(gains: Sequence[float], alarms: Sequence[bool]) -> list[str]:
    """Cells: runs, those that lose more than two points and how many of these are told, alarms in vain, worst loss."""
    lost = [told for gain, told in zip(gains, alarms, strict=True) if gain < -MARGIN]
    vain = [gain for gain, told in zip(gains, alarms, strict=True) if told and gain > 0]
    shipped = [0.0 if told else gain for gain, told in zip(gains, alarms, strict=True)]
    given_up = f"{len(vain)}" + (f" ({100 * np.mean(vain):+.1f})" if vain else "")
    means = [
        f"{100 * np.mean(gains):+.1f}, {100 * min(gains):+.1f}",
        f"{100 * np.mean(shipped):+.1f}, {100 * min(shipped):+.1f}",
    ]
    return [str(len(gains)), f"{sum(lost)} of {len(lost)}", given_up, *means]


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what they are of."""

    def of(row: Row) -> str:
        name = row["dataset"]
        if name in SEEN and row["seed"] == SEEDS[0]:
            return "features, tables: they set the bound"
        if name in FEATURES:
            return f"features of CIFAR-10, {row['each'] * len(row['labels'])} labels"
        if name.endswith("skewed"):
            return "tables, pile skewed ten to one"
        return "tables"

    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(of(row), []).append(row)
    return found


def below(figure: float, other: float, samples: int) -> bool:
    """Whether a share is clearly lower, as two independent draws: stored rows do not say which samples are right."""
    mean = (figure + other) / 2
    return other - figure > max(MARGIN, ERRORS * np.sqrt(2 * mean * (1 - mean) / samples))


def held_out() -> dict[str, tuple[list[float], list[bool]]]:
    """Stored runs with held-out labels beside the labels alone of the same draw: gains on the test, and alarms."""
    found: dict[str, tuple[list[float], list[bool]]] = {}
    for name, keys in (("methods", ()), ("complementary", ("pretraining",))):
        rows = [r for r in load_rows(f"{name}.json")["rows"] if r["steps"] and r.get("validation_accuracy") is not None]
        key = lambda r: tuple(r[k] for k in ("dataset", "labels", "seed", "steps", *keys))  # noqa: B023, E731
        floor = {key(r): r for r in rows if r["strategy"] == "supervised"}
        pairs = [(r, floor[key(r)]) for r in rows if key(r) in floor and not r["strategy"].startswith("supervised")]
        found[f"{name}.json"] = (
            [r["test_accuracy"] - f["test_accuracy"] for r, f in pairs],
            [below(r["validation_accuracy"], f["validation_accuracy"], min(50, r["labels"] // 2)) for r, f in pairs],
        )
    return found


def report(rows: Sequence[Row]) -> str:
    """Two tables: alarms without a held-out label, and the alarm that needs some."""
    head = "| runs of | runs | worse by 2 points: told | told in vain (given up) | gain: mean, worst | with fallback |"
    lines = [head, "| --- | --- | --- | --- | --- | --- |"]
    for name, some in groups(rows).items():
        gains = [r["run"]["accuracy"] - r["baseline"]["accuracy"] for r in some]
        lines.append(f"| {name} | " + " | ".join(outcome(gains, [bool(alarmed(r)) for r in some])) + " |")
    for name, (gains, alarms) in held_out().items():
        lines.append(f"| held-out labels, {name} | " + " | ".join(outcome(gains, alarms)) + " |")
    return "\n".join(lines)


def signals(rows: Sequence[Row]) -> str:
    """How well what can be seen without a held-out label tells the runs that lose: area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    def far(row: Row, name: str) -> float:
        counts, labels = (np.array(numbers, float) for numbers in (row[name]["counts"], row["labels"]))
        return float(np.abs(counts / counts.sum() - labels / labels.sum()).sum() / 2)

    seen = {
        "distance of the run's class shares from the labels', less that of the labels alone": lambda r: (
            far(r, "run") - far(r, "baseline")
        ),
        "the distance of the run's alone": lambda r: far(r, "run"),
        "disagreement with the labels alone": lambda r: 1 - r["agreement"],
        "errors on the labels of a logistic regression that learned the pseudo-labels alone, less those that it makes "
        "with the decisions of the labels alone": lambda r: r["reverse"][1][1] - r["reverse"][0][1],
        "the same of nearest neighbors": lambda r: r["reverse"][1][0] - r["reverse"][0][0],
    }
    lost = [r["run"]["accuracy"] - r["baseline"]["accuracy"] < -MARGIN for r in rows]
    lines = ["| signal | area under the curve |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {n} | {roc_auc_score(lost, [f(r) for r in rows]):.2f} |" for n, f in seen.items())])


def before_the_alarm(rows: Sequence[Row]) -> str:
    """Of runs that collapsed: weights of the evaluation before the one-sided ones against the labels alone."""
    pairs = []
    for row in rows:
        steps = [step for kind, step in row["alarms"] if kind == "collapse"]
        sound = [right for step, right in row["course"] if steps and step < steps[0] - STEPS // 10]
        if sound:
            pairs.append((sound[-1], row["baseline"]["accuracy"], row["run"]["accuracy"]))
    if not pairs:
        return "no run collapsed"
    sound, floor, last = (100 * np.mean(column) for column in zip(*pairs, strict=True))
    return (
        f"{len(pairs)} runs raised `collapse`: their last sound weights are right on {sound:.1f} % of the pile, their "
        f"last ones on {last:.1f}, the labels alone on {floor:.1f}; the labels alone are the best in "
        f"{sum(f > s for s, f, _ in pairs)} of {len(pairs)}."
    )


def place(row: Row) -> int:
    """Where a row stands in the file."""
    return jobs().index(Job(*(row[key] for key in Job._fields)))


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keel", type=Path, nargs="*", default=[], help="folders of .dat files")
    parser.add_argument(
        "--features",
        type=Path,
        default=None,
        help="features of the CIFAR-10 part, as benchmarks/first_problems.py keeps them",
    )
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--report", action="store_true", help="print what is stored as Markdown")
    parser.add_argument("--write", action="store_true", help="put that into docs/trust.md")
    options = parser.parse_args()
    rows = read(options.result)
    if options.report or options.write:
        text = f"{report(rows)}\n\n{before_the_alarm(rows)}\n\n{signals(rows)}"
        print(text)
        if options.write:
            PAGE.write_text(replace(PAGE.read_text(encoding="utf-8"), "alarms", text), encoding="utf-8")
        return
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
