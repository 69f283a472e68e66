"""What a check of data found, as fields, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from selftrain.data.base.summary import shown

Level = Literal["stops", "harms", "note"]
_HEADINGS: Mapping[Level, str] = {
    "stops": "Training would stop at this",
    "harms": "Training would run, but its result could not be trusted",
    "note": "Good to know",
}


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Args:
        kind: A word for programs, such as ``"truncated"``; the guide lists all.
        level: ``"stops"``: training refuses the data; ``"harms"``: it runs, but learns or measures something wrong;
            ``"note"``: it is dealt with.
        text: One sentence, with the remedy where there is one.
        samples: The files or rows; those that belong together (copies of one content) in one group.
        reasons: What is wrong with each group, or empty.
    """

    kind: str
    level: Level
    text: str
    samples: Sequence[Sequence[str]] = ()
    reasons: Sequence[str] = ()

    def lines(self, limit: int) -> list[str]:
        """The finding as indented lines, with the first ``limit`` groups."""
        found = [f"  [{self.kind}] {self.text}"]
        for place, group in enumerate(self.samples[:limit]):
            reason = f": {self.reasons[place]}" if self.reasons else ""
            found.append(f"    {' = '.join(map(shown, group))}{reason}")
        if len(self.samples) > limit:
            found.append(f"    and {len(self.samples) - limit:,} more")
        return found


@dataclass(frozen=True)
class DataReport:
    """What a check of data found; ``print(report.text())`` shows it.

    Args:
        source: What was checked.
        files: Files or rows that were read.
        parts: Samples that training would use, by part: labeled, unlabeled, validation, test.
        classes: How many samples of each class each of the labeled parts has.
        findings: What was found, the worst first.
        shape: Shape of one sample, such as ``[3, 32, 32]``, or ``None`` where it is not known.
        memory: Bytes: ``sample`` for one decoded sample, ``all`` for all of them.
        summary: What else its reader has to say, in lines: columns by kind, what was left out.
    """

    source: str
    files: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    shape: Sequence[int] | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    summary: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing stops training and nothing harms its result."""
        return all(finding.level == "note" for finding in self.findings)

    def of(self, kind: str) -> list[Sequence[str]]:
        """The groups of samples of one kind of finding."""
        return [group for finding in self.findings if finding.kind == kind for group in finding.samples]

    def as_dict(self) -> dict[str, Any]:
        """All fields and ``ok`` as plain numbers, texts and lists, which JSON can hold."""
        # asdict leaves tuples as they are, where JSON that is read back has lists.
        plain = asdict(self)
        plain["findings"] = [
            found | {"samples": [list(group) for group in found["samples"]], "reasons": list(found["reasons"])}
            for found in plain["findings"]
        ]
        return plain | {"summary": list(self.summary), "ok": self.ok}

    def text(self, limit: int = 5) -> str:
        """The report for a person.

        Args:
            limit: Samples of each finding to list.
        """
        # Names come from whoever made the files: control characters would reach the terminal.
        lines = [
            f"{shown(self.source)}: {self.files:,} samples read",
            *self._parts(),
            *(f"  {line}" for line in self.summary),
        ]
        for level, heading in _HEADINGS.items():
            found = [finding for finding in self.findings if finding.level == level]
            if found:
                lines += ["", f"{heading}:", *(line for finding in found for line in finding.lines(limit))]
        return "\n".join([*lines, "", self._summary()])

    def _parts(self) -> list[str]:
        lines = []
        for part, count in self.parts.items():
            counts = [f"{shown(name)} {of[part]:,}" for name, of in self.classes.items() if part in of][:20]
            more = ", ..." if len(self.classes) > 20 and counts else ""
            lines.append(f"  {part:<11}{count:>9,}" + (f"   {', '.join(counts)}{more}" if counts else ""))
        return lines

    def _summary(self) -> str:
        """What would happen on training."""
        if any(finding.level == "stops" for finding in self.findings):
            return "On training: an error before the first step. See above for what to repair."
        counts = [f"{count:,} {part}" for part, count in self.parts.items() if count]
        left_out = sum(len(f.samples) for f in self.findings if f.kind == "skipped")
        words = f"On training: {', '.join(counts)} samples"
        if self.shape is not None:
            words += f" of shape {'x'.join(map(str, self.shape))}"
        if left_out:
            words += f"; {left_out:,} files left out"
        if not self.parts.get("labeled"):
            words += "; no labels, so only pretraining is possible"
        elif not self.parts.get("unlabeled"):
            words += "; no unlabeled samples, so training would be supervised only"
        if self.memory:
            words += f"; {_readable_size(self.memory['all'])} if all are held in memory"
        return words + "."


def _readable_size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
