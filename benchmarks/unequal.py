"""Unequal classes: what each part does for a long tail of labels, on piles with the same, equal and reversed shares.

python benchmarks/unequal.py [--data DIR] [--fashion DIR] [--only WORD ...] [--processes N]
python benchmarks/unequal.py --write     docs/unequal-classes.md from what is stored, without a run

Fashion-MNIST and MNIST, halved to 16 x 16, and scikit-learn's digits; the most frequent class has ratio times as many
labels as the rarest. Small ConvNet, 3 seeds, the same steps for all (a generation of CReST has as many). Test sets are
balanced, so accuracy is balanced accuracy. Parts have the values of their papers, but for the decay of averages, which
the steps must be able to follow, and five turns less of DARP. No setting was chosen by a run of this benchmark but the
number of steps: in trials, which printed test figures too, FixMatch used 1 % of the pile after 300.
Finished runs are kept in benchmarks/results/unequal.json and not run again; interrupt it when you like.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from methods_page import DOCS, table
from stored import Row, read, store
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import selftrain as st
from selftrain import data, pipeline, strategies
from selftrain.select.alignment import Align
from selftrain.select.darp import Darp
from selftrain.select.debias import AdjustLabels, Debias

RESULT, PAGE = Path(__file__).parent / "results" / "unequal.json", DOCS / "unequal-classes.md"
COMMAND = "python benchmarks/unequal.py"
STEPS, SEEDS, GENERATIONS = 800, 3, 3
PILES, RATIOS = ("same", "reversed", "uniform"), (100, 50, 10)
SETS = {  # most labels of a class, most of the pile, validation and test rows of each class
    "fashion_mnist": (100, 1000, 10, 200),
    "mnist": (100, 1000, 10, 200),
    "digits": (50, 70, 5, 40),
}
MARKS = "<!-- figures -->", "<!-- /figures -->"
NAMES = {"fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "digits": "digits"}


class Job(NamedTuple):
    """One training."""

    dataset: str
    ratio: int
    pile: str
    method: str
    seed: int


class Problem(NamedTuple):
    """What a method may know: counts of labels, and, where it is told, shares of the pile."""

    pile: data.Pile
    counts: list[float]
    known: list[float]


Make = Callable[[st.Classification, Problem], Any]
SLOW: dict[str, Any] = {"decay": 0.99}
PLAIN = st.Classification(10)


def fixmatch(align: Any = None, **more: Any) -> Callable[..., Any]:
    """FixMatch with an alignment that is made for a problem."""

    def build(task: st.Classification, problem: Problem, learner: Any) -> Any:
        made = None if align is None else align(task, problem)
        return strategies.FixMatch(task, learner, align=made, **SLOW, **more)

    return build


def freematch(align: Any = None) -> Callable[..., Any]:
    """The same with FreeMatch's thresholds."""

    def build(task: st.Classification, problem: Problem, learner: Any) -> Any:
        made = None if align is None else align(task, problem)
        return strategies.FreeMatch(task, learner, align=made, threshold_decay=0.99, **SLOW)

    return build


def darp(target: Callable[[Problem], Any]) -> Callable[..., Any]:
    """DARP to some shares."""
    return lambda task, problem: Darp(task, target=target(problem), decay=0.99, iterations=5)


ALIGNMENTS: Mapping[str, Any] = {
    "align_labeled": lambda task, problem: Align(task, target="labeled", decay=0.99),
    "align_known": lambda task, problem: Align(task, target=problem.known, decay=0.99),
    "align_pile": lambda task, problem: Align(task, target="pile", decay=0.99),
    "debias": lambda task, problem: Debias(task, decay=0.99),
    "adjust_labels": lambda task, problem: AdjustLabels(task, problem.counts),
    "darp_labeled": darp(lambda problem: "labeled"),
    "darp_known": darp(lambda problem: problem.known),
    "darp_pile": darp(lambda problem: "pile"),
}
METHODS: dict[str, tuple[bool, Callable[..., Any]]] = {  # whether the loss of labels is adjusted; the strategy
    "supervised": (False, lambda task, problem, learner: strategies.Supervised(task, learner, **SLOW)),
    "supervised+adjusted": (True, lambda task, problem, learner: strategies.Supervised(task, learner, **SLOW)),
    "fixmatch": (False, fixmatch()),
    "freematch": (False, freematch()),
    "fixmatch+adjusted": (True, fixmatch()),
    "freematch+adjusted": (True, freematch()),
    **{f"fixmatch+{name}": (False, fixmatch(align)) for name, align in ALIGNMENTS.items()},
    "freematch+debias": (False, freematch(ALIGNMENTS["debias"])),
}
CREST = {  # generations
    "crest": lambda shares, learner: strategies.FixMatch(PLAIN, learner, **SLOW),
    "crest+": lambda shares, learner: strategies.FixMatch(
        PLAIN, learner, align=Align(PLAIN, target=shares, decay=0.99), **SLOW
    ),
}
WHAT = {
    "supervised": "labels alone",
    "supervised+adjusted": "labels alone, `label_counts=`",
    "fixmatch": "`FixMatch`",
    "freematch": "`FreeMatch`",
    "fixmatch+adjusted": "`FixMatch`, `label_counts=`",
    "freematch+adjusted": "`FreeMatch`, `label_counts=`",
    "fixmatch+align_labeled": '`FixMatch`, `Align(target="labeled")`',
    "fixmatch+align_known": "`FixMatch`, `Align` to the pile's true shares",
    "fixmatch+align_pile": '`FixMatch`, `Align(target="pile")`',
    "fixmatch+debias": "`FixMatch`, `Debias`",
    "fixmatch+adjust_labels": "`FixMatch`, `AdjustLabels`",
    "fixmatch+darp_labeled": '`FixMatch`, `Darp(target="labeled")`',
    "fixmatch+darp_known": "`FixMatch`, `Darp` to the pile's true shares",
    "fixmatch+darp_pile": '`FixMatch`, `Darp(target="pile")`',
    "freematch+debias": "`FreeMatch`, `Debias`",
    "crest": f"`crest` of `FixMatch`, {GENERATIONS} generations",
    "crest+": f"`crest` of `FixMatch`, aligned, {GENERATIONS} generations",
}


FIRST = (
    "supervised", "supervised+adjusted", "fixmatch", "freematch", "fixmatch+adjusted", "fixmatch+align_known",
    "fixmatch+align_pile", "fixmatch+debias", "fixmatch+darp_labeled", "fixmatch+darp_pile", "crest+",
)  # fmt: skip


def jobs() -> Iterator[Job]:
    """All rows: of each problem first what tells most, and of that every seed."""
    rest = tuple(name for name in WHAT if name not in FIRST)
    for dataset, ratio, names in itertools.product(SETS, RATIOS, (FIRST, rest)):
        if dataset == "digits" and ratio > SETS[dataset][0]:
            continue  # it has too few samples for a class with one label
        for seed, pile, method in itertools.product(range(SEEDS), PILES, names):
            yield Job(dataset, ratio, pile, method, seed)


def tail(most: int, ratio: int) -> list[int]:
    """Counts of 10 classes that fall from ``most`` to ``most / ratio`` by equal factors, at least 1."""
    return [max(1, round(most * ratio ** (-c / 9))) for c in range(10)]


def halved(images: Tensor) -> Tensor:
    """28 x 28 to 16 x 16: two pixels of border, then means of 2 x 2; smaller ones as they are."""
    if images.shape[-1] < 28:
        return images
    return F.avg_pool2d(F.pad(images.float(), (2, 2, 2, 2)), 2).round().to(torch.uint8)


def make_problem(job: Job, roots: Mapping[str, Path | None]) -> Problem:
    """Labels, pile, validation and test rows; which class is frequent is drawn by the seed."""
    whole = data.load(job.dataset, labels=None, root=roots.get(job.dataset))
    most, most_of_pile, held_out, tested = SETS[job.dataset]
    draw = np.random.default_rng(job.seed)
    order = draw.permutation(10)
    counts, shown = tail(most, job.ratio), tail(most_of_pile, job.ratio)
    if job.pile == "reversed":
        shown = shown[::-1]
    elif job.pile == "uniform":
        shown = [sum(shown) // 10] * 10
    truth, rows = whole.labeled.annotations.numpy(), dict[str, list[Any]](labeled=[], validation=[], unlabeled=[])
    for place, c in enumerate(order):
        mine = iter(draw.permutation(np.flatnonzero(truth == c)))
        for part, number in (("labeled", counts[place]), ("validation", held_out), ("unlabeled", shown[place])):
            rows[part] += list(itertools.islice(mine, number))
    sets = {part: np.sort(np.array(chosen)) for part, chosen in rows.items()}
    inputs = {part: halved(whole.labeled.images(chosen)) for part, chosen in sets.items()}
    of_test = whole.test.annotations.numpy()
    chosen = np.sort(np.concatenate([np.flatnonzero(of_test == c)[:tested] for c in range(10)]))
    pile = data.Pile(
        data.ArraySet(inputs["labeled"], truth[sets["labeled"]]),
        data.ArraySet(inputs["unlabeled"]),
        data.ArraySet(inputs["validation"], truth[sets["validation"]]),
        data.ArraySet(halved(whole.test.images(chosen)), of_test[chosen]),
        classes=whole.classes,
        views=type(whole.views)(whole.views.weak, whole.views.strong),
        truth=torch.from_numpy(truth[sets["unlabeled"]]),
        source=whole.source,
    )
    labels, true = (np.bincount(truth[sets[part]], minlength=10) for part in ("labeled", "unlabeled"))
    return Problem(pile, labels.astype(float).tolist(), (true / true.sum()).tolist())


def train(job: Job, roots: Mapping[str, Path | None]) -> Row:
    """Train and test one method."""
    torch.set_num_threads(1)
    problem, plan, begun = make_problem(job, roots), st.BatchPlan(32, 2, job.seed), time.perf_counter()
    size = problem.pile.card()["shape"][-1]
    learner = st.learner(lambda: st.Classifier(st.ConvEncoder(size, 1, widths=(16, 32), embed_dim=64), 10), lr=2e-3)
    torch.manual_seed(job.seed)
    if job.method in CREST:
        options = {"handlers": [], "evaluation": st.Evaluation(every=STEPS)}
        make = CREST[job.method]
        run = pipeline.crest(
            lambda shares: make(shares, learner), problem.pile, steps=STEPS, generations=GENERATIONS, plan=plan,
            options=options,
        )[-1]  # fmt: skip
    else:
        adjusted, build = METHODS[job.method]
        task = st.Classification(10, label_counts=problem.counts) if adjusted else PLAIN
        strategy = build(task, problem, learner)
        run = st.fit(strategy, problem.pile, steps=STEPS, plan=plan, evaluation=st.Evaluation(every=STEPS))
    seconds = time.perf_counter() - begun
    said, true = answers(run, problem.pile, "test")
    recall = [float((said[true == c] == c).float().mean()) for c in range(10)]
    frequent_first = sorted(range(10), key=lambda c: -problem.counts[c])
    said, true = answers(run, problem.pile, "validation")
    return job._asdict() | {
        "balanced_accuracy": statistics.mean(recall),
        "recall": [recall[c] for c in frequent_first],  # from the most to the fewest labels
        "validation_accuracy": float((said == true).float().mean()),
        "pseudo_label_accuracy": run.ledger.summary().get("pseudo_label_accuracy"),
        "used": run.train.get("train/used"),
        "alarms": [alarm.kind for alarm in run.alarms],
        "seconds": round(seconds, 1),
    }


def answers(run: st.Run, pile: data.Pile, part: str) -> tuple[Tensor, Tensor]:
    """Decisions of the last weights, and the true classes."""
    batches = list(pile.evaluation(part, 500, torch.device("cpu")) or ())
    with run.strategy.evaluating():
        said = torch.cat([run.strategy.predict(batch.x).argmax(1) for batch in batches])
    return said, torch.cat([batch.annotation for batch in batches])


def write(rows: Sequence[Row]) -> None:
    """Put the figures into the page, between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(before + MARKS[0] + "\n" + figures(rows) + "\n" + MARKS[1] + after, encoding="utf-8")


def figures(rows: Sequence[Row]) -> str:
    """Tables of what has run, and the names of what has not."""
    done = {Job(*(r[key] for key in Job._fields)) for r in rows}
    parts, planned = [], list(jobs())
    for dataset, ratio in dict.fromkeys((job.dataset, job.ratio) for job in planned):
        mine = [r for r in rows if (r["dataset"], r["ratio"]) == (dataset, ratio)]
        if mine:
            parts += [f"### {NAMES[dataset]}, ratio {ratio}", balanced(mine), tails(mine)]
    missing = [job for job in planned if job not in done]
    if missing:
        counts = Counter((NAMES[job.dataset], job.ratio) for job in missing)
        named = "; ".join(f"{name} at {ratio}: {number}" for (name, ratio), number in counts.items())
        never = [what for method, what in WHAT.items() if all(job.method != method for job in done)]
        parts.append(
            f"**Not run yet: {len(missing)} of {len(planned)} trainings** ({named}). `{COMMAND}` goes on with them."
            + (f" Without any row: {'; '.join(never)}." if never else "")
        )
    return "\n\n".join(parts)


def balanced(rows: Sequence[Row]) -> str:
    """Balanced accuracy of each method by pile, mean and deviation over the seeds."""
    piles = [pile for pile in PILES if any(r["pile"] == pile for r in rows)]
    lines = []
    for method, what in WHAT.items():
        cells = [[100 * r["balanced_accuracy"] for r in rows if (r["method"], r["pile"]) == (method, p)] for p in piles]
        if any(cells):
            lines.append([what, *(_spread(cell) for cell in cells)])
    return "Balanced accuracy in %, mean ± standard deviation (seeds).\n\n" + table(
        ["method", *(f"pile: {pile}" for pile in piles)], lines
    )


def tails(rows: Sequence[Row]) -> str:
    """Recall of each class, from the most to the fewest labels, mean over the seeds."""
    lines = []
    for pile, (method, what) in itertools.product(PILES, WHAT.items()):
        found = [r["recall"] for r in rows if (r["method"], r["pile"]) == (method, pile)]
        if found:
            lines.append([pile, what, *(f"{100 * statistics.mean(each):.0f}" for each in zip(*found, strict=True))])
    head = ["pile", "method", *(str(place) for place in range(1, 11))]
    return "Recall of each class in %, from the most labels (1) to the fewest (10), mean over seeds.\n\n" + table(
        head, lines
    )


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} ({len(values)})"


def main() -> None:
    """Run what is missing, store every row as it comes; or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder of MNIST; default: see the guide")
    parser.add_argument("--fashion", type=Path, default=None, help="folder of Fashion-MNIST; default: see the guide")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--write", action="store_true", help="write the tables of the page")
    options = parser.parse_args()
    rows = read(options.result)
    done = {Job(*(r[key] for key in Job._fields)) for r in rows}
    if options.write:
        return write(rows)
    wanted = (
        job for job in jobs() if not options.only or any(word in "-".join(map(str, job)) for word in options.only)
    )
    todo = [job for job in wanted if job not in done]
    print(f"{len(done)} runs are done, {len(todo)} to do")
    places = {job: i for i, job in enumerate(jobs())}
    roots = {"mnist": options.data, "fashion_mnist": options.fashion}
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(train, job, roots) for job in todo]
        for future in tqdm(as_completed(futures), total=len(futures), disable=None, unit="run"):
            rows.append(future.result())
            store(options.result, rows, lambda r: places[Job(*(r[key] for key in Job._fields))], COMMAND)


if __name__ == "__main__":
    main()
