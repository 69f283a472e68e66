"""What a report says of a comparison of runs, and of a portfolio without a run folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selftrain.errors import printable
from selftrain.labels.ledger import Ledger
from selftrain.report import charts
from selftrain.report.charts import Estimate, percent
from selftrain.report.content import Section, log_of, pile_section, tried, with_own_version, yaml_like
from selftrain.storage.run_dir import versions


def of_comparison(result: Mapping[str, Any], title: str) -> dict[str, Any]:
    """What ``compare.json`` holds, as a page.

    Args:
        result: Rows, runs, answer and settings, as ``selftrain compare`` writes them.
        title: Name of the comparison.
    """
    rows = result["rows"]
    gains = [
        Estimate(f"{row['strategy']} over {row['over']}", row["gain"], row["low"], row["high"])
        for row in rows
        if row["gain"] is not None
    ]
    figures = [charts.whiskers("Gain in points, with its interval", gains, signed=True)] if gains else []
    # files of before it was stored are of classes
    figure = {"accuracy": "right"}.get(result.get("figure", "accuracy"), str(result.get("figure")).replace("_", " "))
    figures.append(charts.whiskers(f"{figure[:1].upper()}{figure[1:]}, mean of all runs", [_mean(row) for row in rows]))
    cells = [
        [
            row["strategy"], percent(row["accuracy"]),
            "" if row["gain"] is None else f"{100 * row['gain']:+.1f}", row["answer"],
            "" if row["low"] is None else f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
            row["over"] or "", "" if row["spread"] is None else f"{100 * row['spread']:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    head = ["strategy", figure, "gain", "answer", "interval", "over", "std over runs"]
    first = next((row["answer"] for row in rows if row["answer"] in ("pays", "hurts")), "")
    tone = "good" if any(row["answer"] == "pays" for row in rows) else "bad" if first else ""
    judged = f"{result['samples']:,} {result['part']} samples, {result['cells']} run(s) of each strategy; gains are "
    notes = [
        f"Judged on {judged}paired sample by sample, and all intervals hold together with 95 %.",
        *(f"{text[:1].upper()}{text[1:]}." for text in result.get("cautions", ())),
    ]
    runs = [
        [run["strategy"], str(run["draw"]), str(run["seed"]), percent(run["accuracy"]),
         charts.share_bar(run["accuracy"]), f"{run['step']:,}"]
        for run in result["runs"]
    ]  # fmt: skip
    return {
        "title": printable(title),
        "facts": [("compared", f"{len(rows)} strategies"), ("runs", str(len(runs))), ("floor", result["floor"])],
        "alarms": [],
        "fallback": None,
        "sections": [
            Section("verdict", "Does it pay here?", result["answer"], notes, figures, head, cells, tone=tone),
            Section("runs", "How do draws and seeds differ?", head=["strategy", "draw", "seed", figure, "", "step"],
                    rows=runs),
            Section("again", "How is it made again?", texts=[
                ("settings", yaml_like(result.get("settings", {}))),
                ("versions", yaml_like(with_own_version(versions()))),
            ]),
        ],
    }  # fmt: skip


def of_portfolio(records: Sequence[Mapping[str, Any]], ledger: Ledger, title: str) -> dict[str, Any]:
    """What a portfolio has tried, and the pseudo-labels of its blend."""
    names = [printable(str(name)) for name in ledger.classes]
    return {
        "title": printable(title),
        "facts": [
            ("tried", f"{len(records)} ways"),
            ("classes", str(len(names))),
            ("unlabeled", f"{len(ledger):,} rows"),
        ],
        "alarms": [],
        "fallback": None,
        "sections": [
            tried(records),
            *pile_section(ledger, None, names, log_of(None)),
            Section("again", "Versions", texts=[("versions", yaml_like(with_own_version(versions())))]),
        ],
    }


def _mean(row: Mapping[str, Any]) -> Estimate:
    """Mean of a row and one standard deviation over its runs."""
    half = row["spread"]
    low, high = (None, None) if half is None else (max(0.0, row["accuracy"] - half), min(1.0, row["accuracy"] + half))
    return Estimate(row["strategy"], row["accuracy"], low, high, reference=row["answer"] == "floor")
