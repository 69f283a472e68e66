"""How the settings of benchmarks/complementary.py were chosen: on other labels, and on samples that are in no pile.

python benchmarks/choose_start.py [--only WORD ...] [--processes N]

Fashion-MNIST, 40 labels of seed 100, accuracy on 5,000 training samples outside the pile. Test data are never read.
Results are kept in benchmarks/results/choose_start.json; what is there is not run again.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from choose import outside
from complementary import CACHE, PLAN, Job, fit, stage
from stored import read, store

RESULT = Path(__file__).parent / "results" / "choose_start.json"
SEED, LABELS, DATASET = 100, 40, "fashion_mnist"
FOLDERS = {"fashion": None}


class Candidate(NamedTuple):
    """A start, a method, and the factor on the learning rate of the encoder."""

    pretraining: str
    strategy: str
    encoder_lr: float


CANDIDATES = [
    Candidate(start, name, rate)
    for start in PLAN[DATASET, LABELS][0]
    for name in ("supervised", "fixmatch")
    for rate in (1.0, 0.3)
]


def pretrain(start: str, cache: Path) -> None:
    """Train a stage into the cache."""
    torch.set_num_threads(1)
    stage(Job(DATASET, LABELS, start, "supervised", SEED), FOLDERS, cache)


def train(candidate: Candidate, cache: Path) -> dict[str, Any]:
    """Train one candidate and measure it outside the pile."""
    torch.set_num_threads(1)
    job = Job(DATASET, LABELS, candidate.pretraining, candidate.strategy, SEED)
    pile = job.problem.pile(SEED, FOLDERS)
    run, _ = fit(job, pile, FOLDERS, cache, candidate.encoder_lr)
    accuracy = run.evaluate(outside(pile, LABELS), which="last")["accuracy"]
    return candidate._asdict() | {"accuracy": accuracy, "seconds": round(run.seconds, 1)}


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="run only candidates whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the pretrained stages")
    options = parser.parse_args()
    rows = read(RESULT)
    done = {tuple(row[key] for key in Candidate._fields) for row in rows}
    wanted = [c for c in CANDIDATES if not options.only or any(word in str(c) for word in options.only)]
    todo = [c for c in wanted if tuple(c) not in done]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        starts = sorted({c.pretraining for c in todo} - {"none"})
        for future in [pool.submit(pretrain, start, options.cache) for start in starts]:
            future.result()
        for future in as_completed([pool.submit(train, c, options.cache) for c in todo]):
            rows.append(future.result())
            print(rows[-1], flush=True)
            store(RESULT, rows, place, "python benchmarks/choose_start.py")


def place(row: dict[str, Any]) -> int:
    """Where a row stands in the file."""
    return CANDIDATES.index(Candidate(*(row[key] for key in Candidate._fields)))


if __name__ == "__main__":
    main()
