"""Inject each kind of fault many times and store what became of it.

    python tests/reliability/run.py                  # the long part: half an hour on two cores
    python tests/reliability/run.py --share 0.02     # a trial of it
    python tests/reliability/run.py --only kill      # kinds whose names contain a word

Each trial draws its numbers from the name of its fault and its own number, so a trial can be repeated. Two processes
(``--processes``) share them out. Counts, survivors and seconds are added to ``benchmarks/results/reliability.json``
(``--result``) in the order of the numbers; a command that was stopped goes on where it was. ``--page`` writes the table
into ``docs/reliability.md`` and does nothing else. Rows: ``{"fault", "injected", "survived", "lost", "seconds"}``;
``lost`` is the largest number of training steps that any trial had to take again, ``seconds`` are those of all trials
together. Ends with status 1 if something has not survived.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "reliability.json", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- reliability table -->\n", "<!-- /reliability table -->"
Row = dict[str, Any]


def faults() -> dict[str, tuple[int, Callable[..., Any]]]:
    """Every kind of fault, how often the long part injects it, and what injects it."""
    import fuzzing
    import hostile
    import killing
    import loading
    import ranking
    import spoiling
    import storing
    import structures

    kinds: dict[str, tuple[int, Callable[..., Any]]] = {
        "kill -9 at any time": (320, killing.killed_any_time),
        "kill -9 at a change of a file": (320, killing.killed_at_a_file),
        "kill -9 in an evaluation": (80, killing.killed_while_evaluating),
        "SIGTERM": (80, killing.terminated),
        "SIGINT": (80, killing.interrupted),
        "signal in an evaluation": (40, killing.terminated_while_evaluating),
        "two signals in an endless step": (20, killing.asked_twice),
        "damaged file of a checkpoint": (160, storing.damaged),
        "full disk": (80, storing.full),
        "folder removed or renamed": (60, storing.removed),
        "link, pipe or folder as target": (48, storing.no_files),
        "folder without permission": (8, storing.not_allowed),
        "two runs in one folder": (20, storing.two_at_once),
        "loader process fails": (12, loading.faulty(loading.fail)),
        "loader process killed": (12, loading.faulty(loading.die)),
        "loader process hangs": (4, loading.faulty(loading.hang)),
        "one of two ranks killed": (12, ranking.killed),
    }
    kinds |= {f"number that is not finite, {where}": (12, spoiling.spoiled(where)) for where in spoiling.WHERE}
    kinds |= {kind: (200, hostile.harmful(kind)) for kind in hostile.KINDS}
    kinds |= {f"any content, {name}": (16, structures.any_of(name)) for name in structures.CASES}
    return kinds | {f"damaged {kind}": (800, fuzzing.fuzzed(kind)) for kind in fuzzing.KINDS}


def stored(path: Path) -> dict[str, Row]:
    """Rows so far, by fault."""
    if not path.exists():
        return {}
    return {row["fault"]: row for row in json.loads(path.read_text())}


def run(path: Path, only: str, share: float, workplace: str | None, processes: int) -> int:
    """Inject what is missing; the number of trials that have not survived, ever."""
    import torch
    from harness import Bench

    torch.set_num_threads(1)
    rows = stored(path)
    with tempfile.TemporaryDirectory(dir=workplace) as place:
        Path(place).chmod(0o755)
        bench = Bench(Path(place))
        for fault, (count, inject) in faults().items():
            if only in fault:
                row = rows.setdefault(fault, {"fault": fault, "injected": 0, "survived": 0, "lost": 0, "seconds": 0.0})
                trial = partial(_trial, inject, bench, Path(place))
                for _ in fill(row, trial, max(1, round(count * share)), processes):
                    _store(path, rows)
                print(_line(row), flush=True)
    return sum(row["injected"] - row["survived"] for row in rows.values())


def _trial(inject: Callable[..., Any], bench: Any, place: Path, number: int) -> Any:
    from harness import scratch

    with scratch(place, number) as folder:
        return inject(bench, folder, number)


def fill(row: Row, trial: Callable[[int], Any], count: int, processes: int) -> Iterator[None]:
    """Do the trials that a row lacks, and enter them in the order of their numbers; stops each second to be stored."""
    from workers import shared_out

    numbers, since = range(row["injected"], count), time.monotonic()
    with closing(shared_out(trial, numbers, processes)) as outcomes:
        for number, (outcome, seconds) in zip(numbers, outcomes, strict=True):
            if not outcome.survived:
                print(f"{row['fault']}, trial {number}: {outcome.problem}", flush=True)
            row["injected"], row["survived"] = number + 1, row["survived"] + outcome.survived
            row["lost"], row["seconds"] = max(row["lost"], outcome.lost), row["seconds"] + seconds
            if number + 1 == count or time.monotonic() - since > 1:
                since = time.monotonic()
                yield


def _store(path: Path, rows: dict[str, Row]) -> None:
    from selftrain.storage.atomic import write_text

    known = [rows[fault] for fault in faults() if fault in rows]
    lines = [json.dumps(row | {"seconds": round(row["seconds"], 2)}) for row in known]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def _line(row: Row) -> str:
    return f"| {row['fault']} | {row['injected']:,} | {row['survived']:,} | {row['lost']} | {row['seconds']:.0f} |"


def table() -> str:
    """The rows as Markdown."""
    head = "| fault | injected | survived | steps lost at most | seconds |\n| --- | ---: | ---: | ---: | ---: |\n"
    return head + "".join(_line(row) + "\n" for row in stored(RESULTS).values())


def page() -> str:
    """The page with the present table."""
    text = PAGE.read_text()
    return text[: text.index(BEGIN) + len(BEGIN)] + "\n" + table() + "\n" + text[text.index(END) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="word that the names of the faults contain")
    parser.add_argument("--share", type=float, default=1.0, help="share of the long part's counts")
    parser.add_argument("--workplace", help="folder for the runs; default: that of temporary files")
    parser.add_argument("--processes", type=int, default=2, help="trials at a time")
    parser.add_argument("--result", type=Path, default=RESULTS, help="file of the rows")
    parser.add_argument("--page", action="store_true", help="write the table into the page")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page())
        return
    if given.processes < 1:
        parser.error(f"--processes is {given.processes}; it must be at least 1")
    lost = run(given.result, given.only, given.share, given.workplace, given.processes)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
