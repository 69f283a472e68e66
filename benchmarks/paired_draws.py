"""Does a start add to self-training? Ten draws of the labels, each method with and without the same start.

python benchmarks/paired_draws.py [--data DIR] [--fashion DIR] [--only WORD ...] [--processes N] [--report]

benchmarks/complementary.py has every start and method on three draws, and three draws carry no claim. Here are the
pairs that the README names, on ten draws, trained by one version of the code on one machine: {none, LeJEPA} x
{supervised, FixMatch, soft labels} on Fashion-MNIST with 40 labels and MNIST with 20. Draw 0 is trained twice: the rows
of the second time ("repeat") must equal those of the first.
Finished runs are kept in benchmarks/results/paired_draws.json and not run again; interrupt it when you like.
``--report`` prints a table: mean gain, its 95 % interval (t, paired by draw), and the
two-sided p of Wilcoxon's signed ranks.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from complementary import CACHE, Job, stage, train
from paired_page import DRAWS, METHODS, PROBLEMS, START, Row, report
from stored import read, store
from tqdm import tqdm

RESULT = Path(__file__).parent / "results" / "paired_draws.json"
COMMAND = "python benchmarks/paired_draws.py --data DIR --fashion DIR"


def jobs() -> Iterator[tuple[Job, bool]]:
    """All trainings, draw by draw; whether it is the second time."""
    for (dataset, labels), draw in itertools.product(PROBLEMS, range(DRAWS)):
        for start, name in itertools.product(("none", START), METHODS):
            yield Job(dataset, labels, start, name, draw), False
    for dataset, labels in PROBLEMS:
        yield Job(dataset, labels, "none", "fixmatch", 0), True


def run(job: Job, repeat: bool, folders: Mapping[str, Path | None], cache: Path) -> dict[str, Any]:
    """Train and test one method."""
    return train(job, folders, cache) | {"repeat": repeat}


def key(row: Row) -> tuple[Job, bool]:
    """Which training a stored row is of."""
    return Job(*(row[name] for name in Job._fields)), row["repeat"]


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder of MNIST; default: see the guide")
    parser.add_argument("--fashion", type=Path, default=None, help="folder of Fashion-MNIST; default: see the guide")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=CACHE.with_name("paired_draws"), help="folder of the stages")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--report", action="store_true", help="print the table of what there is, train nothing")
    options = parser.parse_args()
    rows = read(options.result)
    if options.report:
        print(report(rows))
        return
    folders = {"data": options.data, "fashion": options.fashion}
    order = {one: i for i, one in enumerate(jobs())}
    done = set(map(key, rows))
    wanted = [one for one in order if not options.only or any(w in "-".join(map(str, one[0])) for w in options.only)]
    todo = [one for one in wanted if one not in done]
    print(f"{len(done)} runs are done, {len(todo)} to do")
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        # Draw by draw, so that an interrupted run leaves whole pairs; a stage is trained by one process alone.
        for _, group in itertools.groupby(todo, key=lambda one: (one[0].dataset, one[0].seed, one[1])):
            members = list(group)
            firsts = [job for job, _ in members if job.pretraining != "none"][:1]
            stages = [pool.submit(stage, job, folders, options.cache) for job in firsts]
            plain = [one for one in members if one[0].pretraining == "none"]
            futures = [pool.submit(run, *one, folders, options.cache) for one in plain]
            for future in stages:
                future.result()
            futures += [pool.submit(run, *one, folders, options.cache) for one in members if one not in plain]
            for future in tqdm(as_completed(futures), total=len(futures), disable=None, unit="run"):
                rows.append(future.result())
                store(options.result, rows, lambda row: order.get(key(row), -1), COMMAND)


if __name__ == "__main__":
    main()
