"""What a report says of a run, question by question: sentences, charts and tables for the template."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup
from torch import Tensor

from selftrain.errors import RunFolderError, printable, setting
from selftrain.evaluation.accuracy_estimate import estimate_accuracy
from selftrain.evaluation.cross_fitted import CrossFitted
from selftrain.evaluation.judging import Decisions, bars_of, bins_of, of_class
from selftrain.handlers.metrics_log import METRICS, read_row
from selftrain.handlers.selfcheck import Alarm
from selftrain.labels.ledger import Ledger
from selftrain.metrics.intervals import clopper_pearson
from selftrain.networks.described import describe, settings_in_short
from selftrain.report import charts
from selftrain.report.charts import Curve, Estimate, percent
from selftrain.report.examples import Showing, mistakes, pseudo_labels, unit_of
from selftrain.report.held_out import NEAR, Judged, judge, mean_with_interval
from selftrain.storage.run_dir import CARD, RECORD, SETTINGS, versions
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.tensorboard.class_names import worst_groups
from selftrain.types import Pile

BASELINE = "baseline"  # folder and name of the labels alone
_SQUARE, _ROWS = 20, 60  # classes in the matrix, and in a table; of more those that are most often wrong
_DRAWS = 100  # of an interval


class RunLike(Protocol):
    """What a report reads of a run, see ``selftrain.Run``."""

    strategy: Strategy
    pile: Pile
    ledger: Ledger
    out: Path | None
    last: dict[str, dict[str, float]]
    best: dict[str, float]
    before: dict[str, dict[str, float]] | None
    seconds: float
    alarms: list[Alarm]
    unchecked: dict[str, str]
    skipped: int
    baseline: dict[str, dict[str, float]] | None
    cross_fitted: CrossFitted | None
    fallback: Any


@dataclass(frozen=True)
class Section:
    """A question and its answer.

    Attributes:
        key: Of its place in the page.
        question: Its title.
        answer: One sentence.
        notes: What limits the answer, or what to do.
        figures: Charts side by side.
        head, rows: A table; cells are texts or markup.
        groups: Samples.
        texts: Pairs of title and longer text, folded up.
        tone: ``"good"``, ``"bad"`` or ``""``.
    """

    key: str
    question: str
    answer: str = ""
    notes: Sequence[str] = ()
    figures: Sequence[Any] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    groups: Sequence[Any] = ()
    texts: Sequence[tuple[str, str]] = ()
    tone: str = ""


def of_run(run: RunLike, baseline: Strategy | None, *, samples: int, seconds: float | None) -> dict[str, Any]:
    """Everything that the page of a run says.

    Args:
        run: Finished or stopped.
        baseline: The labels alone, trained; ``None``: these weights are not known.
        samples: Held-out samples that are asked, at most.
        seconds: That they may take; ``None``: any.
    """
    strategy, folder = run.strategy, run.out
    try:
        pile: Pile | None = run.pile
    except RunFolderError:
        pile = None  # arrays in memory are gone with their program
    task = strategy.task if isinstance(strategy, SupervisedStrategy) else None
    log = log_of(folder)
    sections = []
    names: list[str] = []
    if isinstance(strategy, SupervisedStrategy) and task is not None:
        ledger = run.ledger
        given = [printable(str(name)) for name in ledger.classes]
        names = given if len(given) == task.groups else [f"joint {i}" for i in range(task.groups)]
        judged = None if pile is None else judge(strategy, baseline, pile, samples=samples, seconds=seconds)
        sections.append(_verdict(run, judged, strategy, pile))
        sections += _tried(strategy)
        if judged is not None:
            units = judged.tally is not None  # a task of the user's own may tell none
            sections.append((_groups if units else _classes)(judged, names, strategy, ledger))
        sections += pile_section(ledger, judged, names, log, one=task.one_unit)
        if judged is not None:
            sections += _trust(judged, ledger, strategy)
        if pile is not None:
            sections += _worth_a_look(strategy, judged, ledger, pile, names)
    else:
        sections.append(_pretraining(run))
    sections += _training(run, log)
    sections.append(_again(run, pile))
    return {
        "title": "run" if folder is None else folder.resolve().name,
        "facts": [(name, text) for name, text in _facts(run, pile) if text],
        "alarms": [(alarm.kind.replace("_", " "), alarm.message, alarm.remedy) for alarm in run.alarms],
        "fallback": None if run.fallback is None else run.fallback.message,
        "sections": sections,
    }


# -- is it better? -----------------------------------------------------------------------------------------------------
def _verdict(run: RunLike, judged: Judged | None, strategy: SupervisedStrategy, pile: Pile | None) -> Section:
    question = "Is it better than the labels alone?"
    if judged is None:
        why = "No labels were held out, so nobody knows."
        if run.cross_fitted is not None:
            worse = "Probably not: the signs are that it is worse"
            why = f"No labels were held out. {worse if run.cross_fitted.worse else 'No sign that it is worse'}."
            why += f" It is behind a simple model: {run.cross_fitted.rival()}." if run.cross_fitted.behind else ""
        notes = [f"Hold some back ({setting('validation')})."]
        if pile is None:
            why, notes = (
                "The data of this run are not here, so its networks cannot be asked.",
                ["Pass them: selftrain.open_run(folder, pile=...).report()."],
            )
        return Section("verdict", question, why, [*notes, *_stored(run)])
    one, unit = strategy.task.one_unit, unit_of(strategy.task)
    own = mean_with_interval(judged.share, single=one)
    rows, said = [Estimate("this run", *own)], f"{percent(own[0])} {'' if one else f'of the {unit} '}right"
    about = f"{len(judged.share):,} {judged.part} samples" + (
        f", evenly spaced among {judged.of:,}" if judged.of > len(judged.share) else ""
    )
    answer, tone = f"It cannot be told: {said} on {about}, and the labels alone were not trained beside it.", ""
    notes = ["Train them too: baseline=True in Python, --baseline on the command line."]
    figures = []
    alone = [row for row in getattr(strategy, "candidates", ()) if row["family"] == "labels alone" and row["accuracy"]]
    if alone:
        best = max(alone, key=lambda row: float(row["accuracy"]))
        answer = f"{said[:1].upper()}{said[1:]} on {about}."
        text = f"the best of them, {best['name']}, has {percent(best['accuracy'])} of the labels right that were hidden"
        notes = [f"Ways with labels alone are among what was tried: {text} from it."]
    if judged.baseline_share is not None:
        rows.append(Estimate("labels alone", *mean_with_interval(judged.baseline_share, single=one), reference=True))
        gain, low, high = mean_with_interval(judged.share - judged.baseline_share)
        tone = "good" if low > 0 else "bad" if high < 0 else ""
        word = {"good": "Yes", "bad": "No, it is worse"}.get(tone, "It cannot be told")
        change = f"{100 * gain:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        answer = f"{word}: {said}, {percent(rows[1].value)} with the labels alone ({change}), on {about}."
        points = Estimate("difference, in points", gain, max(-1.0, low), min(1.0, high))
        figures.append(charts.whiskers("Gain over the labels alone, with its 95 % interval", [points], signed=True))
        notes = []
        if one and len(judged.share) < 100:
            # two standard errors of a share near one half: 2 * sqrt(0.25 / n)
            least = 100 / len(judged.share) ** 0.5
            notes.append(f"{len(judged.share)} samples tell differences of about {least:.0f} points at best.")
        notes.append(
            "Both were asked about the same samples. Another draw of labels may change the answer: selftrain compare."
        )
        if run.fallback is not None and run.fallback.to == BASELINE:
            answer, tone = f"The run ships what the labels alone give: {said} on {about}.", "bad"
            notes.insert(0, run.fallback.message)
    figures.insert(0, charts.whiskers(f"Right {unit}, with 95 % intervals", rows))
    return Section("verdict", question, answer, [*notes, *_stored(run)], figures, tone=tone)


def _simple(found: CrossFitted) -> list[str]:
    """Simple models, which are rivals too, and what they say of a run and of the labels alone."""
    return [
        f"Simple models on the labels alone, out of {found.folds} folds: {found.simple()}.",
        f"A forest that learned the labels alone says of {percent(found.agrees)} of {found.rows:,} unlabeled rows what "
        f"this run says, and of {percent(found.alone_agrees)} what the labels alone say.",
        f"A logistic regression that learned the classes of this run there, and no label, has {percent(found.taught)} "
        f"of the labels right; from those of the labels alone {percent(found.alone_taught)}.",
    ]


def _stored(run: RunLike) -> list[str]:
    """Figures that the run itself has noted, in a line for each part."""
    found = [] if run.cross_fitted is None else _simple(run.cross_fitted)
    for name, parts in (("At its last evaluation", run.last), ("Labels alone", run.baseline or {})):
        for part, figures in parts.items():
            plain = [f"{key} {value:.4g}" for key, value in figures.items() if "/" not in key]
            found += [f"{name}, {part}: {', '.join(plain)}."] if plain else []
    return found


def _tried(strategy: SupervisedStrategy) -> list[Section]:
    """What a portfolio has tried, best first."""
    records: Sequence[Mapping[str, Any]] = getattr(strategy, "candidates", ())
    return [tried(records)] if records else []


def tried(records: Sequence[Mapping[str, Any]]) -> Section:
    """Ways that were tried, each judged on labels that it did not see; see ``SelfTrainClassifier.candidates_``."""
    blend = [row for row in records if row["weight"]]
    said = ", ".join(f"{percent(row['weight'], 0)} {row['name']}" for row in blend)
    rows = []
    for row in records:
        known = row["accuracy"] is not None
        half = 2 * (row["standard_error"] or 0)
        low, high = (max(0.0, row["accuracy"] - half), min(1.0, row["accuracy"] + half)) if known else (None, None)
        rows.append(
            [
                row["name"], row["family"], percent(row["accuracy"]) if known else "\N{EN DASH}",
                charts.share_bar(row["accuracy"], low, high) if known else "", f"{row['loss']:.3f}" if known else "",
                percent(row["weight"], 0), f"{row['seconds']:.1f}", row["reason"],
            ]
        )  # fmt: skip
    head = ["way", "family", "right", "hidden labels, two standard errors", "loss", "weight", "seconds", "reason"]
    notes = ["Each was judged on labels that were hidden from it; labels alone are among them."]
    return Section("tried", "What was tried?", f"The blend: {said}." if said else "", notes, head=head, rows=rows)


# -- which classes? ----------------------------------------------------------------------------------------------------
def _classes(judged: Judged, names: Sequence[str], strategy: SupervisedStrategy, _: Ledger) -> Section:
    found, groups = judged.units, len(names)
    accuracy = found.accuracy(groups)
    other = None if judged.baseline is None else judged.baseline.accuracy(groups)
    lowest = worst_groups(accuracy, _ROWS)
    rows = []
    for c in sorted(lowest, key=lambda c: (float(accuracy[c].nan_to_num(2.0)), c)):
        size, right = int((found.truth == c).sum()), int(found.right[found.truth == c].sum())
        low, high = clopper_pearson(right, size, 0.975) if size and strategy.task.one_unit else (None, None)
        base = None if other is None or bool(other[c].isnan()) else float(other[c])
        value = right / size if size else None
        rows.append(
            [
                names[c], f"{size:,}", percent(value), charts.share_bar(value, low, high, base),
                *([percent(base)] if other is not None else []),
                *([_taken_for(found.decisions(c, groups), c, names)] if strategy.task.has_classes else []),
            ]
        )  # fmt: skip
    figures = []
    if strategy.task.has_classes:
        square = worst_groups(accuracy, _SQUARE)
        counts = found.confusion(square, groups)[: len(square), : len(square)]
        figures.append(charts.confusion([names[c] for c in square], counts.tolist()))
    known = [row for row in rows if row[2] != "\N{EN DASH}"]
    answer = (
        f"Most often wrong: {known[0][0]}, {known[0][2]} right."
        if known and known[0][2] != percent(1.0)
        else "None: all are right."
    )
    head = ["class" if strategy.task.has_classes else "joint", judged.part, "right", ""]
    head += ["labels alone"] if other is not None else []
    head += ["mostly taken for"] if strategy.task.has_classes else []
    notes = [f"The {len(rows)} most often wrong of {groups}."] if groups > len(rows) else []
    marks = " the thick mark the labels alone," if other is not None else ""
    notes.append(f"Bars: the share right;{marks} thin lines 95 % intervals." if strategy.task.one_unit else "")
    return Section("classes", "What is wrong?", answer, [note for note in notes if note], figures, head, rows)


def _groups(judged: Judged, names: Sequence[str], strategy: SupervisedStrategy, ledger: Ledger) -> Section:
    """Each class of masks, or each joint."""
    assert judged.tally is not None
    (first, second, third), alone, other = judged.tally, judged.baseline_tally, None
    masks = strategy.task.has_classes
    value = first / (second + third - first) if masks else first / second
    if alone is not None:
        other = alone[0] / (alone[1] + alone[2] - alone[0]) if masks else alone[0] / alone[1]
    taken = _taken(ledger)
    rows = []
    for c in sorted(worst_groups(value, _ROWS), key=lambda c: (float(value[c].nan_to_num(2.0)), c)):
        share = second[c] / second.sum() if masks else third[c] / second[c]
        cells = [names[c], percent(float(value[c])), charts.share_bar(_known(value, c), mark=_known(other, c))]
        cells += [percent(_known(other, c))] if other is not None else []
        cells += [percent(float(share), 1 if masks else 2), percent(_known(taken, c))]
        if masks:
            cells += [percent(float(first[c] / second[c])), _taken_for(judged.units.decisions(c, len(names)), c, names)]
        else:
            cells += [f"{int(second[c]):,}"]
        rows.append(cells)
    figure, unit = ("IoU", "class") if masks else (f"within {100 * NEAR:g} %", "joint")
    head = [unit, figure, "", *(["labels alone"] if other is not None else [])]
    head += ["of the pixels", "accepted", "found", "mostly taken for"] if masks else ["distance", "accepted", "known"]
    answer = f"{figure[:1].upper()}{figure[1:]}: {percent(float(value.nanmean()))} on average over the "
    answer += f"{'classes' if masks else 'joints'}; lowest: {rows[0][0]}, {rows[0][1]}."
    marks = "; the thick mark: the labels alone" if other is not None else ""
    notes = [f"The {len(rows)} lowest of {len(names)}."] if len(names) > len(rows) else []
    notes += [
        f"IoU: intersection over union of all {judged.part} pixels with a label{marks}. Found: the share of its pixels."
        if masks
        else f"Within {100 * NEAR:g} %: joints nearer to their truth than this share of the picture's longer side (PCK)"
        f"{marks}. Distance: their mean distance in the same measure (NME).",
        "Accepted: share of the pseudo-labels of the pile that is learned from.",
    ]
    figures = []
    if masks:
        square = worst_groups(value, _SQUARE)
        counts = judged.units.confusion(square, len(names))[: len(square), : len(square)]
        figures.append(charts.confusion([names[c] for c in square], counts.tolist()))
    return Section("classes", "What is wrong?", answer, notes, figures, head, rows)


def _taken(ledger: Ledger) -> Tensor | None:
    """Share of the units of each class, or joint, of the pile that is accepted."""
    if ledger.units is None:
        return None
    share, _, taken = ledger.units[ledger.seen > 0].double().cpu().unbind(2)[:3]
    return (share * taken).sum(0) / share.sum(0)


def _known(values: Tensor | None, place: int) -> float | None:
    """One of some numbers, if it is one."""
    value = math.nan if values is None else float(values[place])
    return None if math.isnan(value) else value


def _taken_for(row: Tensor, own: int, names: Sequence[str]) -> str:
    wrong = row.clone()
    wrong[own] = 0
    most = int(wrong.argmax())
    return f"{names[most]} ({int(wrong[most]):,})" if int(wrong[most]) else ""


# -- the pile ----------------------------------------------------------------------------------------------------------
def pile_section(
    ledger: Ledger, judged: Judged | None, names: Sequence[str], log: _Log, *, one: bool = True
) -> list[Section]:
    """How much of the pile was learned from, and how right its labels were."""
    summary = ledger.summary()
    if not summary:
        return []
    used = summary["accepted"] * summary["coverage"]
    truth = summary.get("pseudo_label_accuracy")
    answer = f"{percent(used)} of {len(ledger):,} unlabeled samples"
    notes = []
    accepted = ledger.accepted.cpu() & (ledger.seen.cpu() > 0)
    if truth is not None:
        what = "of these pseudo-labels" if one else "of their units"
        iou = summary.get("pseudo_label_mean_iou")
        of_masks = "" if iou is None else f", mean IoU {percent(iou)} (of all, accepted or not, "
        of_masks += "" if iou is None else f"{percent(summary['prediction_mean_iou'])})"
        answer += f", {percent(truth)} {what} right by the truth that is known here{of_masks}"
    if judged is not None and bool(accepted.any()):
        sure = ledger.confidence.cpu()[accepted].double().clamp(0, 1)
        e = estimate_accuracy(judged.sure.double(), judged.share.double(), sure, draws=_DRAWS)
        text = f"{percent(e.value)} right by estimate ({percent(e.low)} to {percent(e.high)})"
        answer += f"; {text}" if truth is not None else f", {text}"
        notes.append("The estimate goes by held-out samples of the same confidence.")
    title = "Learned from and right, by step" if truth is not None else "Learned from, by step"
    lines = [
        log.curve("train/used", "share learned from", 0),
        log.curve("train/pseudo_label_accuracy", "of these right", 2),
    ]
    figures = [charts.curves(title, lines, shares=True)] if any(len(line.points) > 1 for line in lines) else []
    rows, head = list[list[Any]](), ["class", "labels", "learned from", "", "right", "", "confidence", "changes"]
    # a class each: where the truth is known, nothing has to be estimated, and of very many classes it takes too long
    asked = one and truth is None and judged is not None and len(names) <= _SQUARE
    sure, label = ledger.confidence.cpu().double().clamp(0, 1), ledger.label.cpu()
    for c, row in enumerate(ledger.per_class() if one else ()):
        share = row.accepted / row.count if row.count else None
        value, low, high = row.precision, None, None
        if asked and judged is not None:
            estimate = of_class(c, _decisions(judged), sure, label, accepted, 0, _DRAWS)
            value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
        rows.append(
            [
                names[c], f"{row.count:,}", f"{row.accepted:,}", charts.share_bar(share), percent(value),
                charts.share_bar(value, low, high), "" if row.confidence is None else f"{row.confidence:.2f}",
                "" if row.flips is None else f"{row.flips:.2f}",
            ]
        )  # fmt: skip
    rows = sorted(rows, key=lambda row: -int(row[1].replace(",", "")))[:_ROWS]
    if rows:
        notes.append(f"By class: right {'by the truth' if truth is not None else 'by estimate'} of those learned from.")
    return [Section("pile", "How much of the pile was used, and how right?", f"{answer}.", notes, figures, head, rows)]


def _trust(judged: Judged, ledger: Ledger, strategy: SupervisedStrategy) -> list[Section]:
    """How far confidence can be believed."""
    held = judged.units
    seen, used = ledger.seen.cpu() > 0, ledger.accepted.cpu()
    sure = ledger.confidence.cpu().double().clamp(0, 1)
    one = strategy.task.one_unit
    gap = float(held.confidence.double().mean()) - float(held.right.double().mean())
    word = "surer than it is right" if gap > 0 else "less sure than it is right"
    answer = (
        f"On average it is {100 * abs(gap):.1f} points {word}."
        if abs(gap) >= 0.005
        else "It is as sure as it is right."
    )
    bars = (bars_of(sure[seen & used]), bars_of(sure[seen & ~used])) if one else ([], [])
    about = (f"of {judged.part} samples", "decisions" if one else unit_of(strategy.task))
    figure = charts.reliability(bins_of(_decisions(judged)), *bars, *about)
    return [Section("trust", "Can its confidence be believed?", answer, figures=[figure])]


def _decisions(judged: Judged) -> Decisions:
    held = judged.units
    return held.confidence.double().clamp(0, 1), held.said, held.right


def _worth_a_look(
    strategy: SupervisedStrategy, judged: Judged | None, ledger: Ledger, pile: Pile, names: Sequence[str]
) -> list[Section]:
    showing = Showing(pile)
    wrong = None if judged is None else mistakes(strategy, judged, showing, names)
    groups = ([] if wrong is None else [wrong]) + pseudo_labels(strategy, ledger, showing, names)
    if not groups:
        return []
    return [Section("look", "What should I look at?", groups=groups)]


# -- how it went -------------------------------------------------------------------------------------------------------
class _Log:
    """Rows of ``metrics.jsonl``, by name; empty where nothing was stored."""

    def __init__(self, path: Path | None) -> None:
        self.found: dict[str, list[tuple[float, float]]] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else ():
            try:
                row = read_row(line)
            except ValueError:
                continue  # a kill has cut it
            step = float(row.pop("step"))
            for name, value in row.items() if "alarm" not in row else ():
                if value is not None:
                    self.found.setdefault(name, []).append((step, float(value)))

    def curve(self, key: str, name: str, style: int) -> Curve:
        """One of its series."""
        return Curve(printable(name), self.found.get(key, []), style)


def log_of(folder: Path | None) -> _Log:
    """The log of a run in its folder."""
    return _Log(None if folder is None else folder / METRICS)


def _training(run: RunLike, log: _Log) -> list[Section]:
    """Curves over steps."""
    figures: list[Markup] = []
    monitor, alone = run.strategy.monitor, log_of(None if run.out is None else run.out / BASELINE)
    kinds = [monitor] if monitor else ["knn", "rankme"]
    for kind in kinds:
        lines = [log.curve(f"{part}/{kind}", part, i) for i, part in enumerate(list(run.last)[:4])]
        lines += [alone.curve(f"validation/{kind}", "validation, labels alone", -1)]
        lines = [line for line in lines if len(line.points) > 1]
        if lines:
            shares = all(0 <= y <= 1 for line in lines for _, y in line.points)
            figures.append(charts.curves(f"{kind}, held-out samples", lines, shares=shares))
    losses = [name for name, points in log.found.items() if name.startswith("train/loss/") and len(points) > 1][:4]
    if losses:
        lines = [log.curve(name, name.removeprefix("train/loss/"), i) for i, name in enumerate(losses)]
        figures.append(charts.curves("loss of training", lines, shares=False))
    notes = [f"{run.skipped} steps were left out: something was not finite."] if run.skipped else []
    if not figures:
        return (
            []
            if run.out is not None
            else [
                Section(
                    "training", "How did the training go?", "A run without a folder keeps no log: pass out=...", notes
                )
            ]
        )
    return [Section("training", "How did the training go?", notes=notes, figures=figures)]


def _pretraining(run: RunLike) -> Section:
    """A stage that knows no classes."""
    notes = [*_stored(run)]
    if run.before:
        notes += [f"Before the first step, {part}: " + ", ".join(f"{k} {v:.4g}" for k, v in row.items() if "/" not in k)
                  + "." for part, row in run.before.items()]  # fmt: skip
    answer = "A stage of pretraining: it knows no classes. What it is worth, the run that starts from it tells."
    return Section("verdict", "Are the features good?", answer, notes)


def _facts(run: RunLike, pile: Pile | None) -> list[tuple[str, str]]:
    """What was trained on what."""
    strategy = run.strategy
    sizes = []
    for part in ("labeled", "unlabeled", "validation", "test"):
        samples: Any = getattr(pile, part, None)
        if hasattr(samples, "__len__"):
            sizes.append(f"{len(samples):,} {part}")
    learners = list(strategy.learners())
    weights = sum(p.numel() for p in learners[0].model.parameters()) if learners else 0
    network = f"{type(learners[0].model).__name__}, {weights:,} weights" if learners else ""
    if len(learners) > 1:
        network += f", {len(learners)} networks that learn"
    source = str(getattr(pile, "source", None) or getattr(run, "source", ""))
    return [
        ("method", type(strategy).__name__),
        ("data", source),
        ("samples", ", ".join(sizes)),
        (
            "classes",
            f"{len(run.ledger.classes)}" if isinstance(strategy, SupervisedStrategy) and run.ledger.classes else "",
        ),
        ("network", network),
        ("time", f"{run.seconds:,.0f} s" if run.seconds >= 10 else f"{run.seconds:.1f} s"),
    ]


def _again(run: RunLike, pile: Pile | None) -> Section:
    """Settings, versions, and how the run is made again, opened and reviewed."""
    folder, place = run.out, repr(str(run.out))
    settings: Any = settings_in_short(describe(run.strategy))
    ways, used, note = [], versions(), dict[str, Any]()
    if folder is not None:
        card, record, stored = (_read(folder / name) for name in (CARD, RECORD, SETTINGS))
        note, used = record.get("note") or {}, card.get("versions") or used
        settings = {key: stored[key] for key in ("strategy", "settings", "total_steps", "plan") if key in stored}
        ways = [f"run = selftrain.open_run({place})"]
        if note.get("command"):
            own, other = shlex.quote(str(folder)), shlex.quote(f"{folder}-again")
            ways = [f"selftrain {note['command']} --config {own} --out {other}", f"selftrain review {own}", *ways]
            settings = note.get("settings", settings)
    origin = getattr(pile, "origin", None)
    if origin is not None and not note:
        reader = str(origin["reader"]).rpartition(":")[2]
        given = ", ".join(f"{name}={value!r}" for name, value in origin["settings"].items() if value is not None)
        ways.insert(0, f"pile = selftrain.data.{reader}({given})")
    texts = [("commands", "\n".join(ways))] if ways else []
    texts.append(("settings", yaml_like(settings)))
    texts.append(("versions", yaml_like(with_own_version(used))))
    return Section("again", "How is it made again?", texts=texts)


def with_own_version(others: Mapping[str, str]) -> dict[str, str]:
    """Versions, that of this library first."""
    import selftrain

    return {"selftrain": selftrain.__version__, **others}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a page is written without it
    return found if isinstance(found, dict) else {}


def yaml_like(value: Any, indent: int = 0) -> str:
    """Settings as lines of name and value, without those that are not set."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            lines.append(f"{' ' * indent}{name}:\n{yaml_like(inner, indent + 2)}")
        elif inner is not None and inner != {}:
            lines.append(f"{' ' * indent}{name}: {charts.short(str(inner), 400)}")
    return "\n".join(lines)
