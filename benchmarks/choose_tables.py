"""How the default of SelfTrainClassifier on tables was chosen: on other draws of labels, and on rows of the pile.

python benchmarks/choose_tables.py --keel DIR [DIR ...] [--processes N] [--only WORD ...] [--report]

Half of the sets of benchmarks/tables_compare.py, draws 0 and 1 of the labels (the comparison has 10 to 14).
Candidates are judged by their accuracy on the unlabeled rows of the pile; the rows that the comparison tests on are
never read. Finished rows are kept in benchmarks/results/choose_tables.json and not run again; ``--report`` prints the
means instead.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stored import Row, read, store
from tables_compare import METHODS, hide, load, ours, ranks
from tables_compare import SETS as EACH

RESULT = Path(__file__).parent / "results" / "choose_tables.json"
COMMAND = "python benchmarks/choose_tables.py --keel DIR"
DRAWS = (0, 1)
SETS = {name: EACH[name] for name in ("wine", "digits", "vowel", "segment", "satimage", "ring", "vehicle", "phoneme")}
CANDIDATES = {name: make for name, make in METHODS.items() if name != "SelfTrainClassifier"} | {
    name: partial(ours, strategy=name)
    for name in ("fixmatch", "softmatch", "freematch", "mean_teacher", "uda", "pseudo_label", "soft_labels")
}
# measured before the paper's passes were the default, see benchmarks/passes.py
CANDIDATES["vat"] = partial(ours, strategy="vat", strategy_params={"noise": "fresh", "on_labeled": False})


class Job(NamedTuple):
    """One candidate on one draw of labels."""

    dataset: str
    candidate: str
    seed: int


def work(job: Job, folders: Sequence[Path]) -> Row:
    """Fit one candidate and measure it on the unlabeled rows of its pile."""
    import torch

    torch.set_num_threads(1)
    source = load(job.dataset, folders)
    y, begun = hide(source.y, SETS[job.dataset], job.seed), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = CANDIDATES[job.candidate](job.seed).fit(source.x, y).predict(source.x)
    accuracy = float((predicted == source.y)[y < 0].mean())
    return job._asdict() | {"accuracy": accuracy, "seconds": round(time.perf_counter() - begun, 2)}


def jobs() -> list[Job]:
    """All runs, draw by draw."""
    return [Job(dataset, candidate, seed) for seed in DRAWS for dataset in SETS for candidate in CANDIDATES]


def place(row: Row) -> int:
    """Where a row stands in the file."""
    return jobs().index(Job(*(row[key] for key in Job._fields)))


def report(rows: Sequence[Row]) -> str:
    """Mean accuracy in percent, mean rank and seconds of each candidate over the sets and draws that all have."""
    score = {Job(*(row[key] for key in Job._fields)): row for row in rows}
    names = [name for name in CANDIDATES if any(job.candidate == name for job in score)]
    whole = [(d, s) for s in DRAWS for d in SETS if all(Job(d, name, s) in score for name in names)]
    if not whole:
        return "no set has all candidates yet"
    table = np.array([[score[Job(d, name, s)]["accuracy"] for name in names] for d, s in whole])
    seconds = np.array([[score[Job(d, name, s)]["seconds"] for name in names] for d, s in whole])
    lines = [f"{len(whole)} draws", "| candidate | accuracy | mean rank | seconds |", "| --- | --- | --- | --- |"]
    figures = zip(names, table.mean(0), ranks(table).mean(0), seconds.mean(0), strict=True)
    lines += [f"| {n} | {100 * a:.1f} | {r:.2f} | {s:.1f} |" for n, a, r, s in sorted(figures, key=lambda f: -f[1])]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keel", type=Path, nargs="*", default=[], help="folders of .dat files")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose set or candidate holds a word")
    parser.add_argument("--report", action="store_true", help="print the means of what is stored")
    options = parser.parse_args()
    rows: list[Any] = read(RESULT)
    if options.report:
        print(report(rows))
        return
    done = {Job(*(row[key] for key in Job._fields)) for row in rows}
    wanted = [job for job in jobs() if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} runs are done, {len(wanted)} to do")
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, job, options.keel) for job in wanted]):
            rows.append(future.result())
            store(RESULT, rows, place, COMMAND)


def _wanted(job: Job, words: Sequence[str]) -> bool:
    return not words or any(word in name for word in words for name in (job.dataset, job.candidate))


if __name__ == "__main__":
    main()
