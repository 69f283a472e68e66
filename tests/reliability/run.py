"""Inject each kind of fault many times and store what became of it.

    python tests/reliability/run.py                  # the long part: about an hour on two idle cores
    python tests/reliability/run.py --share 0.02     # a trial of it
    python tests/reliability/run.py --only kill      # kinds whose names contain a word

Each trial draws its numbers from the name of its fault and its own number, so a trial can be repeated. Counts,
survivors and seconds are added to ``benchmarks/results/reliability.json`` after each trial; a command that was stopped
goes on where it was. ``--page`` writes the table into ``docs/reliability.md`` and does nothing else. Rows:
``{"fault", "injected", "survived", "lost", "seconds"}``, where ``lost`` is the largest number of training steps that
any trial had to take again. Ends with status 1 if something has not survived.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "reliability.json", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- reliability table -->\n", "<!-- /reliability table -->"
Row = dict[str, Any]


def faults() -> dict[str, tuple[int, Callable[..., Any]]]:
    """Every kind of fault, how often the long part injects it, and what injects it."""
    import fuzzing
    import killing
    import loading
    import ranking
    import spoiling
    import storing

    kinds: dict[str, tuple[int, Callable[..., Any]]] = {
        "kill -9 at any time": (200, killing.killed_any_time),
        "kill -9 at a change of a file": (200, killing.killed_at_a_file),
        "kill -9 in an evaluation": (60, killing.killed_while_evaluating),
        "SIGTERM": (60, killing.terminated),
        "SIGINT": (60, killing.interrupted),
        "signal in an evaluation": (60, killing.terminated_while_evaluating),
        "two signals in an endless step": (30, killing.asked_twice),
        "damaged file of a checkpoint": (200, storing.damaged),
        "full disk": (100, storing.full),
        "folder removed or renamed": (60, storing.removed),
        "link, pipe or folder as target": (60, storing.no_files),
        "folder without permission": (10, storing.not_allowed),
        "two runs in one folder": (30, storing.two_at_once),
        "loader process fails": (30, loading.faulty(loading.fail)),
        "loader process killed": (30, loading.faulty(loading.die)),
        "loader process hangs": (10, loading.faulty(loading.hang)),
        "one of two ranks killed": (30, ranking.killed),
    }
    kinds |= {f"number that is not finite, {where}": (30, spoiling.spoiled(where)) for where in spoiling.WHERE}
    return kinds | {f"damaged {kind}": (2000, fuzzing.fuzzed(kind)) for kind in fuzzing.KINDS}


def stored() -> dict[str, Row]:
    """Rows so far, by fault."""
    if not RESULTS.exists():
        return {}
    return {row["fault"]: row for row in json.loads(RESULTS.read_text())}


def run(only: str, share: float, workplace: str | None) -> int:
    """Inject what is missing; the number of trials that have not survived, ever."""
    import torch
    from harness import Bench, scratch

    torch.set_num_threads(1)
    rows, order = stored(), list(faults())
    with tempfile.TemporaryDirectory(dir=workplace) as place:
        Path(place).chmod(0o755)
        bench = Bench(Path(place))
        for fault, (count, inject) in faults().items():
            if only not in fault:
                continue
            row = rows.setdefault(fault, {"fault": fault, "injected": 0, "survived": 0, "lost": 0, "seconds": 0.0})
            while row["injected"] < max(1, round(count * share)):
                number, begun = row["injected"], time.monotonic()
                with scratch(Path(place), number) as folder:
                    trial = inject(bench, folder, number)
                if not trial.survived:
                    print(f"{fault}, trial {number}: {trial.problem}", flush=True)
                row["injected"], row["survived"] = number + 1, row["survived"] + trial.survived
                row["lost"] = max(row["lost"], trial.lost)
                row["seconds"] = round(row["seconds"] + time.monotonic() - begun, 2)
                _store(rows, order)
            print(_line(row), flush=True)
    return sum(row["injected"] - row["survived"] for row in rows.values())


def _store(rows: dict[str, Row], order: list[str]) -> None:
    from selftrain.runfolder import write_text

    lines = [json.dumps(rows[fault]) for fault in order if fault in rows]
    write_text(RESULTS, "[\n" + ",\n".join(lines) + "\n]\n")


def _line(row: Row) -> str:
    return f"| {row['fault']} | {row['injected']:,} | {row['survived']:,} | {row['lost']} | {row['seconds']:.0f} |"


def table() -> str:
    """The rows as Markdown."""
    head = "| fault | injected | survived | steps lost at most | seconds |\n| --- | ---: | ---: | ---: | ---: |\n"
    return head + "".join(_line(row) + "\n" for row in stored().values())


def page() -> str:
    """The page with the present table."""
    text = PAGE.read_text()
    return text[: text.index(BEGIN) + len(BEGIN)] + "\n" + table() + "\n" + text[text.index(END) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="word that the names of the faults contain")
    parser.add_argument("--share", type=float, default=1.0, help="share of the long part's counts")
    parser.add_argument("--workplace", help="folder for the runs; default: that of temporary files")
    parser.add_argument("--page", action="store_true", help="write the table into the page")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page())
        return
    sys.exit(1 if run(given.only, given.share, given.workplace) else 0)


if __name__ == "__main__":
    main()
