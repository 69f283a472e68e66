"""Every method under one budget: MNIST, Fashion-MNIST and a part of CIFAR-10 with few labels.

python benchmarks/methods.py [--data DIR] [--only WORD ...] [--processes N]

One small ConvNet (4.2 million multiply-adds an image of 28 x 28), the same labels, unlabeled samples, steps, batch,
optimizer and teacher decay for all. Labels beside those to train on validate: the "best" figures are of the step with
the highest validation accuracy, the "last" ones of the last step. No setting was chosen on test data: see SETTINGS.
Finished runs are kept in benchmarks/results/methods.json and are not run again; interrupt it when you like.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from stored import read, store
from tqdm import tqdm

import selftrain as st
from selftrain import data, pipeline, strategies
from selftrain.catalog import METHODS, build
from selftrain.data.base.samples import Subset

RESULT = Path(__file__).parent / "results" / "methods.json"
STEPS, SEEDS, PILE, VALIDATION = 1000, 3, 10_000, 50
COMMAND = "python benchmarks/methods.py --data DIR"
TASK = st.Classification(10)
NOT_MEASURED = (
    "label_propagation",
    "unimatch",
    "unimatch_v2",
)  # lives on features that are there before it; made for masks
DECAY = {"decay": 0.99}  # papers: 0.999 and more, over a thousand times as many steps
CONFIDENT = DECAY | {"distance": "ce", "hard": True, "unlabeled_weight": 1.0, "select": st.select.above(0.95)}
# The others are the constructors'. What was tried: benchmarks/choose.py, on labels of another seed and training samples
# outside the pile.
SETTINGS: dict[str, dict[str, Any]] = {name: DECAY for name in METHODS if name not in NOT_MEASURED} | {
    "pseudo_label": DECAY | {"select": st.select.above(0.95)},
    "vat": DECAY | {"eps": 2.0, "noise": "fresh", "on_labeled": False},
    "reviewer": DECAY | {"review_decay": 0.995},
    "mixmatch": DECAY | {"unlabeled_weight": 5.0, "rampup": st.ramp_linear(0.4)},
    "freematch": DECAY | {"threshold_decay": 0.99},
    "softmatch": DECAY | {"threshold_decay": 0.99},
    "adamatch": DECAY | {"align_decay": 0.99},
    "fst": CONFIDENT,
    "fst_d": CONFIDENT,
    "fst_w": CONFIDENT,
    "cps": DECAY | {"rampup": st.ramp_linear(0.4)},
    "ensemble": DECAY | {"quorum": 1.0, "hard": True, "select": st.select.above(0.95)},
}
WHY = {  # of what is not the constructor's default
    "decay": "papers use 0.999 and more over a thousand times as many steps; every method ships such an average",
    "pseudo_label": "without a threshold it confirms its own errors",
    "vat": "the paper's 6 to 8 are for inputs of four times as many numbers; 1 and weight 1 were not better; measured "
    "before the paper's passes were the default, which benchmarks/passes.py compares",
    "reviewer": "slower than the teacher, and within reach of the steps",
    "mixmatch": "the paper's 75 after 1/64 of the stage drowns the labels; best of 5, 20 and 75 on held-out samples",
    "freematch": "the means must follow within the steps",
    "softmatch": "the means must follow within the steps",
    "adamatch": "the means must follow within the steps",
    "fst": "the targets of the paper's segmentation code: confident decisions, cross-entropy",
    "fst_d": "as `fst`",
    "fst_w": "as `fst`",
    "cps": "from scratch the cross loss must not come before the labels: without a ramp-up it collapses to one class",
    "ensemble": "a stricter rule than the majority: all must agree, at 0.95",
}
WARMUP = {"soft_labels": 300}  # supervised steps before, as in the paper; they count
VARIANTS: dict[str, tuple[str, float, dict[str, Any]]] = {  # rows beside: name -> (method, factor on steps, settings)
    "mean_teacher_2x": ("mean_teacher", 2, {}),  # as many passes as fst
    "mean_teacher_4x": ("mean_teacher", 4, {}),  # as many passes as fst_d and fst_w
    "mean_teacher_hard": ("mean_teacher", 1, CONFIDENT),  # the targets of fst, without the look ahead
    "mean_teacher_hard_2x": ("mean_teacher", 2, CONFIDENT),
    "mean_teacher_hard_4x": ("mean_teacher", 4, CONFIDENT),
    "supervised_6th": ("supervised", 1 / 6, {}),  # as many steps as a round of curriculum_labeling has
}
GENERATIONS = ("noisy_student", "curriculum_labeling")  # pipelines: their stages share the steps
FEW = ("supervised", "mean_teacher", "fst_d", "fst_w", "fixmatch", "freematch", "mixmatch", "soft_labels", "jointmatch")


class Job(NamedTuple):
    """One training."""

    dataset: str
    labels: int
    strategy: str
    seed: int


def jobs() -> Iterator[Job]:
    """All rows of the benchmark, seed by seed."""
    named = [name for name in METHODS if name not in NOT_MEASURED]
    everything = [*named, *GENERATIONS, *VARIANTS, "supervised_all"]
    plan = [("mnist", 100, everything), ("fashion_mnist", 100, everything)]
    plan += [
        ("mnist", 40, FEW),
        ("fashion_mnist", 40, FEW),
        ("fashion_mnist", 250, FEW),
        ("cifar10", 250, [*FEW, "supervised_all"]),
    ]
    for seed, (dataset, labels, names) in itertools.product(range(SEEDS), plan):
        yield from (Job(dataset, labels, name, seed) for name in names)


def make_pile(dataset: str, labels: int, seed: int, root: Path | None) -> data.Pile:
    """``labels`` to train on, 5 a class (2 at 40 labels) to validate, and 10,000 without: about ten epochs."""
    validation = min(VALIDATION, labels // 2)
    whole = data.load(dataset, labels=labels + validation, validation=validation, seed=seed, root=root)
    assert whole.unlabeled is not None
    rows = np.random.default_rng(seed).permutation(len(whole.unlabeled))[:PILE]
    truth = whole.unlabeled_truth()
    return data.Pile(
        whole.labeled,
        Subset(whole.unlabeled, np.sort(rows), annotated=False),
        whole.validation,
        whole.test,
        classes=whole.classes,
        views=whole.views,
        truth=None if truth is None else truth[torch.from_numpy(np.sort(rows))],
        source=whole.source,
    )


def make_network(dataset: str, outputs: int = 1) -> torch.nn.Module:
    """Two conv blocks with a flat read-out."""
    size, channels = (32, 3) if dataset == "cifar10" else (28, 1)
    return st.Classifier(st.ConvEncoder(size, channels), 10 * outputs)


def train(job: Job, root: Path | None, steps: int = STEPS) -> dict[str, Any]:
    """Train and test one method."""
    torch.set_num_threads(1)
    if job.strategy == "supervised_all":
        return ceiling(job, root, steps)
    name, factor, more = VARIANTS.get(job.strategy, (job.strategy, 1, {}))
    pile = make_pile(job.dataset, job.labels, job.seed, root)
    if name in GENERATIONS:
        return generations(job, name, pile, steps)
    steps = round(factor * steps)
    torch.manual_seed(job.seed)
    settings: dict[str, Any] = SETTINGS[name] | more
    warmup = min(WARMUP.get(name, 0), steps // 2)
    stage = warm_up(job, pile, warmup) if warmup else None
    plan = st.BatchPlan(labeled=16, unlabeled_ratio=5, seed=job.seed) if warmup else st.BatchPlan(32, 2, job.seed)
    make = st.learner(lambda: make_network(job.dataset, METHODS[name].outputs), lr=2e-3, init_from=stage)
    strategy = build(name, TASK, make, unlabeled=len(pile.unlabeled_ids()), label_shape=(10,), **settings)
    run = st.fit(strategy, pile, steps=steps - warmup, plan=plan)
    return row(job, run, steps, run.seconds + (stage.seconds if stage else 0))


def warm_up(job: Job, pile: data.Pile, steps: int) -> st.Run:
    """The supervised steps that come first."""
    make = st.learner(lambda: make_network(job.dataset), lr=2e-3)
    strategy = build("supervised", TASK, make, unlabeled=0, label_shape=(10,), **SETTINGS["supervised"])
    return st.fit(strategy, pile, steps=steps, plan=st.BatchPlan(32, 2, job.seed))


def generations(job: Job, name: str, pile: data.Pile, steps: int) -> dict[str, Any]:
    """A pipeline of several trainings, which share the steps evenly."""
    learner = partial(st.learner, lambda: make_network(job.dataset), lr=2e-3)
    first = partial(strategies.Supervised, **DECAY)
    torch.manual_seed(job.seed)
    if name == "noisy_student":
        student, lengths = partial(strategies.NoisyStudent, **DECAY), {"teacher": steps // 4, "student": steps // 4}
        stages = pipeline.noisy_student(TASK, learner, steps=lengths, teacher=first, student=student)
    else:
        round_, lengths = partial(strategies.CurriculumLabeling, **DECAY), {"first": steps // 6, "round": steps // 6}
        stages = pipeline.curriculum_labeling(TASK, learner, steps=lengths, first=first, round=round_)
    done = pipeline.run_pipeline(stages, pile, plan=st.BatchPlan(32, 2, job.seed), test=False)
    total = sum(r.get("steps") or 0 for r in done.rows)
    return row(job, done.run, total, sum(r["seconds"] for r in done.rows))


def ceiling(job: Job, root: Path | None, steps: int) -> dict[str, Any]:
    """Supervised training with as many labels as the pile has samples, in batches of 96."""
    labels = None if job.dataset == "cifar10" else PILE + VALIDATION  # its part has no more
    pile = data.load(job.dataset, labels=labels, validation=VALIDATION, seed=job.seed, root=root)
    torch.manual_seed(job.seed)
    make = st.learner(lambda: make_network(job.dataset), lr=2e-3)
    strategy = build("supervised", TASK, make, unlabeled=0, label_shape=(10,), **SETTINGS["supervised"])
    run = st.fit(strategy, pile, steps=steps, plan=st.BatchPlan(96, 1, job.seed))
    return row(job, run, steps, run.seconds)


def row(job: Job, run: st.Run, steps: int, seconds: float) -> dict[str, Any]:
    """What is stored of a finished run."""
    return job._asdict() | {
        "steps": steps,
        "test_accuracy": run.evaluate("test", which="last")["accuracy"],
        "test_accuracy_best": run.evaluate("test", which="best")["accuracy"],
        "validation_accuracy": run.last["validation"]["accuracy"],
        "used": run.train.get("train/used"),
        "pseudo_label_accuracy": run.ledger.summary().get("pseudo_label_accuracy"),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder of MNIST and CIFAR-10; default: see the guide")
    parser.add_argument("--fashion", type=Path, default=None, help="folder of Fashion-MNIST; default: see the guide")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = read(options.result)
    done = {Job(*(r[key] for key in Job._fields)) for r in rows}
    todo = [job for job in jobs() if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} runs are done, {len(todo)} to do")
    pool = ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"))
    with pool:
        roots = {"fashion_mnist": options.fashion}
        futures = [pool.submit(train, job, roots.get(job.dataset, options.data)) for job in todo]
        for future in tqdm(as_completed(futures), total=len(futures), disable=None, unit="run"):
            rows.append(future.result())
            store(options.result, rows, place, COMMAND)


def place(row: dict[str, Any]) -> int:
    """Where a row stands in the file."""
    order = {job: i for i, job in enumerate(jobs())}
    return order.get(Job(*(row[key] for key in Job._fields)), -1)


def _wanted(job: Job, words: Sequence[str]) -> bool:
    name = "-".join(map(str, job))
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    main()
