"""What simple models, cross-fitted, tell of runs without held-out labels: misses, alarms in vain, and what is shipped.

python benchmarks/cross_fitted.py --keel DIR [DIR ...] [--report] [--write]

Runs are those of the short recipe, ``st.fit("fixmatch" | "freematch", pile, baseline=True)`` with 300 steps, on the
tables of benchmarks/tables_compare.py with 4 and 10 labels a class, and on digits as pictures. Of each run is stored
what the two signs of selftrain.evaluation.cross_fitted say, which other alarms spoke against it, and, which no alarm
may look at, how good run, labels alone and the better simple model are on the rows without a label. Both signs, and
what they must say, were chosen on draws 60 and 70 with 4 labels a class (SEEN); the others are reported. What a run
cannot reach was chosen on photographs, so that for it all draws are reported. Finished rows are kept in
benchmarks/results/cross_fitted.json; ``--write`` puts the table into docs/trust.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from alarms import outcome
from stored import Row, read, store
from tables import replace
from tables_compare import SETS, hide, load

import selftrain as st
from selftrain.data import Pile
from selftrain.evaluation.class_shares import labeled_shares
from selftrain.evaluation.cross_fitted import CrossFitted, _forest, _logistic
from selftrain.handlers import DataSummary, Handler, Progress
from selftrain.handlers.selfcheck import COLLAPSE, HARMFUL, STREAK, WORSE_THAN_SUPERVISED, SelfCheck
from selftrain.metrics.significance import MARGIN

PAGE = Path(__file__).parent.parent / "docs" / "trust.md"
RESULT = Path(__file__).parent / "results" / "cross_fitted.json"
COMMAND = "python benchmarks/cross_fitted.py --keel DIR"
PICTURES, STEPS = "digits images", 300
DRAWS = ((60, 4), (70, 4), (60, 10), (70, 10), (61, 4), (71, 4), (72, 4))
SEEN = ((60, 4), (70, 4))


class Job(NamedTuple):
    """One run."""

    dataset: str
    each: int
    strategy: str
    seed: int


def jobs() -> list[Job]:
    """All runs."""
    found = [
        Job(name, each, strategy, seed)
        for seed, each in DRAWS
        for name in SETS
        for strategy in ("fixmatch", "freematch")
    ]
    return [Job(PICTURES, 4, strategy, 60) for strategy in ("fixmatch", "freematch")] + found


class Control(Handler):
    """Keeps the trained labels alone, and when pseudo-labels fell to far fewer classes than the labels."""

    def begin(self, context: Any) -> None:
        """Nothing is trained yet."""
        self.context, self.one_sided = context, list[int]()

    def after_evaluation(self, step: int, figures: Any) -> None:
        """What the alarm of collapse looks at, also where it is not told yet."""
        check = next(handler for handler in self.context.handlers if isinstance(handler, SelfCheck))
        ledger = self.context.ledger
        accepted, shares = int(ledger.accepted.sum()), ledger.class_shares().double()
        prior = labeled_shares(self.context.pile, self.context.strategy.task, self.context.device)
        if accepted and prior is not None and check._one_sided(step, shares, prior, accepted):
            self.one_sided.append(step)

    def after_baseline(self, step: int, figures: Any) -> None:
        """They are there."""
        self.strategy = self.context.control


def pile_of(job: Job, folders: Sequence[Path]) -> tuple[Pile, np.ndarray]:
    """Labels of a draw, and the truth of the others."""
    if job.dataset == PICTURES:
        from sklearn.datasets import load_digits

        found = load_digits()
        y = hide(found.target, job.each, job.seed)
        return Pile.from_arrays(found.images, y, limits=(0, 16)), found.target[y < 0]
    source = load(job.dataset, folders)
    y = hide(source.y, job.each, job.seed)
    return Pile.from_arrays(source.x.astype(np.float32), y), source.y[y < 0]


def accuracy(strategy: Any, pile: Pile, truth: np.ndarray) -> float:
    """On all unlabeled rows."""
    with strategy.evaluating(), torch.no_grad():
        batches = pile.evaluation("pile", 500, torch.device("cpu")) or ()
        said = torch.cat([strategy.predict(batch.x).argmax(1) for batch in batches])
    return float((said.numpy() == truth).mean())


def rival(pile: Pile, found: CrossFitted, truth: np.ndarray) -> float:
    """Accuracy of the better simple model, fitted on all labels, on all unlabeled rows."""
    parts: list[Any] = [pile.labeled, pile.unlabeled]
    known, asked = (np.asarray(part.images(np.arange(len(part)))).reshape(len(part), -1) for part in parts)
    model = _logistic(found.form) if found.logistic >= found.forest else _forest(0)
    said = model.fit(known, parts[0].annotations.numpy()).predict(asked)
    return float((said == truth).mean())


def work(job: Job, folders: Sequence[Path]) -> Row:
    """Train a method and its baseline, and note what can be seen of both."""
    torch.set_num_threads(1)
    (pile, truth), control, begun = pile_of(job, folders), Control(), time.perf_counter()
    settings = {"plan": st.BatchPlan(seed=job.seed), "steps": STEPS, "device": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet = [control, DataSummary(False), Progress(False)]
        run = st.fit(job.strategy, pile, baseline=True, handlers=quiet, **settings)
    assert run.cross_fitted is not None
    return job._asdict() | {
        "run": accuracy(run.strategy, pile, truth),
        "baseline": accuracy(control.strategy, pile, truth),
        "cross_fitted": asdict(run.cross_fitted),
        "rival": rival(pile, run.cross_fitted, truth),
        "alarms": [[alarm.kind, alarm.step] for alarm in run.alarms],
        "one_sided": control.one_sided,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def report(rows: Sequence[Row]) -> str:
    """Told, missed and in vain, of all alarms without the signs and with them."""
    lines = [
        "| labels | alarms | runs | worse by 2 points: told | in vain (given up) | gain: mean, worst | fallback |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups = {
        "4 a class, they set the signs": [r for r in rows if (r["seed"], r["each"]) in SEEN],
        "4 a class": [r for r in rows if r["each"] == 4 and (r["seed"], r["each"]) not in SEEN],
        "10 a class": [r for r in rows if r["each"] == 10],
    }
    for name, some in groups.items():
        gains = [r["run"] - r["baseline"] for r in some]
        others = [any(k in HARMFUL and k != WORSE_THAN_SUPERVISED for k, _ in r["alarms"]) for r in some]
        signs = [CrossFitted(**r["cross_fitted"]).worse for r in some]
        both = [a or b for a, b in zip(others, signs, strict=True)]
        for title, alarms in (("as before", others), ("and simple models", both)):
            lines.append(f"| {name} | {title} | " + " | ".join(outcome(gains, alarms)) + " |")
    return "\n".join(lines)


def first_steps(rows: Sequence[Row]) -> str:
    """What an alarm of collapse in the first 50 steps would have been worth."""
    early = [row for row in rows if row["one_sided"] and row["one_sided"][0] < STREAK]
    later = [row for row in early if row["one_sided"][-1] >= STREAK]
    gains = [100 * (row["run"] - row["baseline"]) for row in early]
    told = [step for row in rows for kind, step in row["alarms"] if kind == COLLAPSE]
    return (
        f"{len(early)} of {len(rows)} runs were one-sided before step {STREAK}, {len(later)} of these later; beside "
        f"the labels alone they gain {', '.join(f'{gain:+.1f}' for gain in sorted(gains))} points. "
        f"{len(told)} runs raised `collapse`, at steps {min(told)} to {max(told)}."
    )


def rivals(rows: Sequence[Row]) -> str:
    """How often a run is said to be behind the better simple model, and how often it is."""
    asked = [row for row in rows if row.get("rival") is not None]
    found = [CrossFitted(**row["cross_fitted"]) for row in asked]
    clear = sum(row["rival"] - row["run"] > MARGIN for row in asked)
    counts = []
    for told in (
        [one.behind for one in found],
        [one.most is not None and max(one.logistic, one.forest) - one.most > MARGIN for one in found],
    ):
        wrong = sum(one and row["run"] >= row["rival"] for one, row in zip(told, asked, strict=True))
        counts.append(f"{sum(told)} are said to be behind it, {wrong} of these in vain")
    return (
        f"Of {len(asked)} of these runs {clear} are more than two points below the better simple model. {counts[0]}; "
        f"with the share out of fold as it is {counts[1]}."
    )


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keel", type=Path, nargs="*", default=[], help="folders of .dat files")
    parser.add_argument("--report", action="store_true", help="print what is stored as Markdown")
    parser.add_argument("--write", action="store_true", help="put that into docs/trust.md")
    options = parser.parse_args()
    rows, order = read(RESULT), jobs()
    if options.report or options.write:
        text = f"{report(rows)}\n\n{first_steps(rows)}\n\n{rivals(rows)}"
        print(text)
        if options.write:
            PAGE.write_text(replace(PAGE.read_text(encoding="utf-8"), "cross-fitted", text), encoding="utf-8")
        return
    done = {Job(*(row[key] for key in Job._fields)) for row in rows if row.get("rival") is not None}
    for job in order:
        if job not in done:
            rows = [row for row in rows if Job(*(row[key] for key in Job._fields)) != job]
            rows.append(work(job, options.keel))
            store(RESULT, rows, lambda row: order.index(Job(*(row[key] for key in Job._fields))), COMMAND)
            last = rows[-1]
            print(job, f"{last['run']:.3f} {last['baseline']:.3f}", last["alarms"], last["seconds"], flush=True)


if __name__ == "__main__":
    main()
