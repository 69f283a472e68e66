"""Samples of one content, classes that cannot be learned, and the report of both."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from selftrain.data.base.labels import one_class
from selftrain.data.checks.findings import DataReport, Finding, Level

PARTS = ("labeled", "unlabeled", "validation", "test")
_LEVELS: Sequence[Level] = ("stops", "harms", "note")


@dataclasses.dataclass(frozen=True)
class KnownSample:
    """One sample: its part, its name in the report, its class (-1 = none) and the hash of its content."""

    part: str
    name: str
    label: int
    content: str


def content_findings(known: Sequence[KnownSample], classes: Sequence[str]) -> list[Finding]:
    """Samples of one content: contradictions, leaks and mere copies."""
    groups: dict[str, list[KnownSample]] = defaultdict(list)
    for sample in known:
        groups[sample.content].append(sample)
    found: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
    for group in groups.values():
        if len({(sample.name, sample.part in PARTS[:2]) for sample in group}) < 2:
            continue  # one sample, perhaps a labeled one that is also shown without its label
        names = sorted({sample.name for sample in group})
        labels = sorted({sample.label for sample in group if sample.label >= 0})
        if len(labels) > 1:
            found["contradiction"].append((names, " or ".join(_class_name(classes, label) for label in labels)))
        copies = _copies({sample.part for sample in group})
        # A contradiction is told in place of the copy it also is, a leak beside it, for it harms in another way.
        if len(labels) < 2 or copies.startswith("leak"):
            found[copies].append((names, ""))
    texts: Mapping[str, tuple[Level, str]] = {
        "contradiction": ("harms", "with several classes; correct the labels, or remove all copies"),
        "leak": ("harms", "in training and in validation or test, which makes the result look better; remove one"),
        "leak unlabeled": ("harms", "unlabeled and in validation or test: the pile shows what is tested; remove one"),
        "overlap": ("note", "labeled and unlabeled; the unlabeled copy teaches nothing new"),
        "duplicate": ("note", "more than once in one part; each copy counts"),
    }
    return [
        Finding(
            kind,
            level,
            f"{count(found[kind], 'content')} {text}",
            [g for g, _ in found[kind]],
            [r for _, r in found[kind] if r],
        )
        for kind, (level, text) in texts.items()
        if kind in found
    ]


def count(things: Sequence[object], word: str) -> str:
    """How many there are, in words."""
    return f"{len(things):,} {word}" + ("" if len(things) == 1 else "s")


def _class_name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)


def _copies(parts: set[str]) -> str:
    """What it means that a content is in these parts."""
    # In the order of harm: a content that is in three parts is reported for the worst of its meetings.
    if parts & {"validation", "test"} and "labeled" in parts or {"validation", "test"} <= parts:
        return "leak"
    if parts & {"validation", "test"} and "unlabeled" in parts:
        return "leak unlabeled"
    return "overlap" if len(parts) > 1 else "duplicate"


def class_findings(known: Sequence[KnownSample], classes: Sequence[str]) -> list[Finding]:
    """Classes that cannot be learned or told apart."""
    labeled = Counter(sample.label for sample in known if sample.part == "labeled" and sample.label >= 0)
    found = []
    # Without any label the summary says so once, in place of a finding for each class.
    without = [name for number, name in enumerate(classes) if not labeled[number]] if labeled else []
    if without:
        text = f"no label for class {', '.join(without)}; it can never be predicted: label some of its samples"
        found.append(Finding("no label", "harms", text))
    if len(labeled) == 1:
        level: Level = "stops" if len(classes) == 1 else "harms"
        found.append(Finding("one class", level, one_class(_class_name(classes, next(iter(labeled))))))
    # "Cat" and "cat " come from two people, not from two classes
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike["".join(name.split()).casefold()].append(name)
    twins = [names for names in alike.values() if len(names) > 1]
    if twins:
        text = "classes differ in capitals or spaces only; give them one name, or they are learned as two"
        found.append(Finding("class names", "harms", text, twins))
    # a note, no fault: real classes are like that, but thresholds and thereby pseudo-labels favor the large ones
    if labeled and max(labeled.values()) >= 10 * min(labeled.values()):
        most, least = max(labeled, key=lambda y: labeled[y]), min(labeled, key=lambda y: labeled[y])
        words = [f"{_class_name(classes, y)} {labeled[y]:,}" for y in (most, least)]
        found.append(Finding("imbalance", "note", f"labels per class differ by a factor of 10: {', '.join(words)}"))
    return found


def make_report(
    source: str,
    files: int,
    known: Sequence[KnownSample],
    classes: Sequence[str],
    findings: Sequence[Finding],
    shape: Sequence[int] | None,
    width: int,
    summary: Sequence[str] = (),
) -> DataReport:
    """The report; ``width`` is the number of bytes a value takes, ``summary`` what the reader has to say."""
    sizes = Counter(sample.part for sample in known)
    counts = Counter((sample.part, sample.label) for sample in known if sample.label >= 0)
    parts = [part for part in PARTS if part != "unlabeled" and sizes[part]]
    per_class = {name: {part: counts[part, number] for part in parts} for number, name in enumerate(classes)}
    sample = 0 if shape is None else int(np.prod(shape)) * width
    return DataReport(
        source,
        files,
        {part: sizes[part] for part in PARTS},
        per_class,
        sorted(findings, key=lambda finding: _LEVELS.index(finding.level)),
        shape,
        {} if shape is None else {"sample": sample, "all": sample * len(known)},
        summary,
    )
