"""Do pretraining and self-training add up? Every start with every method, on the same few labels.

python benchmarks/complementary.py [--data DIR] [--only WORD ...] [--processes N]

{no pretraining, MAE, I-JEPA, LeJEPA} x {supervised, mean teacher, FST-D, FixMatch, soft labels} on Fashion-MNIST with
40 labels and MNIST with 20, and the same 2 x 2 (with and without each) on a part of CIFAR-10; 3 seeds. One ConvNet in
all starts, the same labels, unlabeled samples, steps and teacher decay as benchmarks/methods.py. A stage is trained
once for each data set and seed, on the unlabeled samples alone, and kept in --cache. "scratch_plateau" rows train the
labels alone four times as long: a start must beat what more steps buy.
Finished runs are kept in benchmarks/results/complementary.json and not run again; interrupt it when you like.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from methods import SETTINGS, TASK, WARMUP, make_network, make_pile
from stored import read, store
from torch import nn
from tqdm import tqdm

import selftrain as st
from selftrain import data, pretrain
from selftrain.build import weights_of
from selftrain.catalog import METHODS, build
from selftrain.data.recipes import Strong, Weak

RESULT = Path(__file__).parent / "results" / "complementary.json"
CACHE = Path.home() / ".cache" / "selftrain" / "complementary"
STEPS, SEEDS = 1000, 3
COMMAND = "python benchmarks/complementary.py --data DIR"
STAGES: dict[str, Callable[[nn.Module], Any]] = {
    "mae": lambda encoder: pretrain.MAE(encoder, mask_ratio=0.6, normalize=False),
    "ijepa": pretrain.IJEPA,
    "lejepa": pretrain.LeJEPA,
}
STAGE_STEPS = {"mae": 3000, "ijepa": 3000, "lejepa": 1500}  # about as many seconds each
STAGE_BATCH = {"mae": 64, "ijepa": 64, "lejepa": 128}
METHOD_NAMES = ("supervised", "mean_teacher", "fst_d", "fixmatch", "soft_labels")
FULL = [("fashion_mnist", 40), ("mnist", 20)]
PAIRS = [("cifar10", 250)]


class Job(NamedTuple):
    """One training."""

    dataset: str
    labels: int
    pretraining: str
    strategy: str
    seed: int


def jobs() -> Iterator[Job]:
    """All rows, seed by seed."""
    for seed in range(SEEDS):
        for (dataset, labels), start, name in itertools.product(FULL, ("none", *STAGES), METHOD_NAMES):
            yield Job(dataset, labels, start, name, seed)
        for (dataset, labels), start, name in itertools.product(PAIRS, ("none", "mae", "lejepa"), METHOD_NAMES[::3]):
            yield Job(dataset, labels, start, name, seed)
        for dataset, labels in FULL + PAIRS:
            yield Job(dataset, labels, "none", "scratch_plateau", seed)


def train(job: Job, root: Path | None, cache: Path) -> dict[str, Any]:
    """Pretrain if asked and not yet done, then train and test one method."""
    torch.set_num_threads(1)
    pile = make_pile(job.dataset, job.labels, job.seed, root)
    start = None if job.pretraining == "none" else stage(job, root, cache)
    name, steps = (job.strategy, STEPS) if job.strategy in METHODS else ("supervised", 4 * STEPS)
    torch.manual_seed(job.seed)
    warmup = WARMUP.get(name, 0)
    before = warm_up(job, pile, start, warmup) if warmup else start
    plan = st.BatchPlan(labeled=16, unlabeled_ratio=5, seed=job.seed) if warmup else st.BatchPlan(32, 2, job.seed)
    make = st.learner(lambda: make_network(job.dataset, METHODS[name].outputs), lr=2e-3, init_from=before)
    settings: dict[str, Any] = SETTINGS[name]
    strategy = build(name, TASK, make, unlabeled=len(pile.unlabeled_ids()), label_shape=(10,), **settings)
    run = st.fit(strategy, pile, steps=steps - warmup, plan=plan)
    return job._asdict() | {
        "steps": steps,
        "test_accuracy": run.evaluate("test")["accuracy"],
        "test_accuracy_best": run.evaluate("test", which="best")["accuracy"],
        "validation_accuracy": run.last["validation"]["accuracy"],
        "seconds": round(run.seconds, 1),
    }


def warm_up(job: Job, pile: data.Pile, start: Any, steps: int) -> st.Run:
    """The supervised steps that come first; they count."""
    make = st.learner(lambda: make_network(job.dataset), lr=2e-3, init_from=start)
    strategy = build("supervised", TASK, make, unlabeled=0, label_shape=(10,), **SETTINGS["supervised"])
    return st.fit(strategy, pile, steps=steps, plan=st.BatchPlan(32, 2, job.seed))


def stage(job: Job, root: Path | None, cache: Path) -> dict[str, torch.Tensor]:
    """Weights of the pretrained encoder, from the cache or trained now on the unlabeled samples."""
    out = cache / f"{job.dataset}-{job.labels}-{job.pretraining}-{job.seed}"
    done = out / "export.safetensors"
    if not done.exists():
        pile = make_pile(job.dataset, job.labels, job.seed, root)
        crops = data.TensorViews(  # crops and light for two views; the masked stages look at the weak one
            Weak(shift=0.1, flip=job.dataset != "mnist", crop=(0.4, 1.0) if job.pretraining == "lejepa" else None),
            Strong(operations=2, point=("brightness", "contrast"), magnitude=0.4, cutout=0.0),
        )
        unlabeled = data.Pile(None, pile.unlabeled, views=crops, classes=pile.classes)
        torch.manual_seed(job.seed)
        strategy = STAGES[job.pretraining](make_network(job.dataset).encoder)
        plan = st.BatchPlan(1, STAGE_BATCH[job.pretraining], job.seed)
        steps, begun = STAGE_STEPS[job.pretraining], (out / "run.json").exists()
        st.fit(strategy, unlabeled, steps=steps, plan=plan, out=out, resume=begun)
    return dict(weights_of(done))


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder of MNIST and CIFAR-10; default: see the guide")
    parser.add_argument("--fashion", type=Path, default=None, help="folder of Fashion-MNIST; default: see the guide")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the pretrained stages")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = read(options.result)
    done = {Job(*(r[key] for key in Job._fields)) for r in rows}
    todo = [job for job in jobs() if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} runs are done, {len(todo)} to do")
    roots = {"fashion_mnist": options.fashion}
    needed = sorted({(j.dataset, j.labels, j.pretraining, j.seed) for j in todo if j.pretraining != "none"})
    pool = ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"))
    with pool:  # every stage first: two runs must not train the same one
        first = [Job(d, n, start, "supervised", seed) for d, n, start, seed in needed]
        waiting = [pool.submit(stage, j, roots.get(j.dataset, options.data), options.cache) for j in first]
        for future in tqdm(as_completed(waiting), total=len(waiting), disable=None, unit="stage"):
            future.result()
        futures = [pool.submit(train, j, roots.get(j.dataset, options.data), options.cache) for j in todo]
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
