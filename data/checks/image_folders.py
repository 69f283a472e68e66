"""A check of a folder of images, file by file."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from selftrain.data.base.labels import NoLabel
from selftrain.data.base.samples import Limits
from selftrain.data.checks.contents import KnownSample, class_findings, content_findings, count, make_report
from selftrain.data.checks.findings import DataReport, Finding, Level
from selftrain.data.readers.decoding import Fit, Mode, few_levels, few_upper_levels
from selftrain.data.readers.files import as_extent
from selftrain.data.readers.folders import LabelFault, list_folder, list_held_out
from selftrain.data.readers.left_out import class_notes, file_notes, folder_notes
from selftrain.data.readers.scanning import OnError, Scanned, scan
from selftrain.errors import DataError, setting

_DAMAGE = {
    "missing": "listed or linked, but not there",
    "empty": "empty",
    "unreadable": "that no decoder can read",
    "truncated": "cut short",
    "too large": "too large to open safely",
}
_MODES = {"P": "palette", "CMYK": "CMYK", "L": "gray", "LA": "gray with transparency", "RGBA": "with transparency"}


def folder_report(
    root: Path,
    labels_csv: str | os.PathLike[str] | None,
    held_out: Mapping[str, Path],
    size: int | tuple[int, int] | None,
    fit: Fit,
    mode: Mode,
    limits: Limits | None,
    on_error: OnError,
    max_skipped: float,
    workers: int | None,
    no_label: NoLabel = -1,
) -> DataReport:
    """What is wrong with a folder of images; arguments as of ``check``, ``held_out`` the folders of other parts."""
    findings: list[Finding] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report says the same
            listings = {"": list_folder(root, labels_csv, no_label)}
    except DataError as error:
        return DataReport(str(root), findings=[Finding("refused", "stops", str(error))])
    classes = listings[""].classes
    for part, place in held_out.items():
        try:
            # Told, and the check goes on: the other findings do not depend on it, and one run is to tell all.
            listings[part] = list_held_out(place, classes, no_label)
        except DataError as error:
            findings.append(Finding("refused", "stops", f"{part}: {error}"))
    roots = {"": root, **held_out}
    scanned: dict[str, list[Scanned]] = {
        part: scan(
            [roots[part] / name for name in found.paths],
            [f"{part}:{name}" if part else name for name in found.paths],
            mode,
            workers,
            limits,
        )
        for part, found in listings.items()
    }
    files = [file for part in scanned.values() for file in part]
    faults = listings[""].faults
    missing = [Scanned(f.path, damage="missing", reason=f.text) for f in faults if f.kind == "missing"]
    findings += _fault_findings(faults)
    findings += _damage_findings(scanned | {"": [*scanned[""], *missing]}, on_error, max_skipped)
    whole = [file for file in files if file.damage is None]
    findings += _mode_findings(whole, mode, limits) + _size_findings(whole, size) + _name_findings(whole)
    known = [
        KnownSample(part or ("labeled" if label >= 0 else "unlabeled"), file.id, label, file.content)
        for part, found in listings.items()
        for file, label in zip(scanned[part], found.y, strict=True)
        if file.damage is None
    ]
    findings += content_findings(known, classes) + class_findings(known, classes)
    notes = [note for place in roots.values() for note in folder_notes(place, labels_csv)]
    notes += file_notes(whole, None if size is None else as_extent(size), fit)
    findings += [Finding(note.kind, "note", note.text, [[name] for name in note.files]) for note in notes]
    findings += [Finding(note.kind, "harms", note.text) for note in class_notes(classes)]
    extent = _usual_extent(whole, size)
    shape = None if extent is None else [1 if mode == "L" else 3, *extent]
    said = [f"labels     {note}" for note in listings[""].notes]
    return make_report(str(root), len(files), known, classes, findings, shape, 1, said)


def _fault_findings(faults: Sequence[LabelFault]) -> list[Finding]:
    """Lines of the CSV that are wrong; files that are missing are damaged ones."""
    words = {
        "outside": "of the CSV leading out of the folder; correct or remove",
        "twice": "of the CSV listing a file again; keep one",
    }
    found = []
    for kind, text in words.items():
        lines = [fault for fault in faults if fault.kind == kind]
        if lines:
            reasons = [fault.text for fault in lines]
            found.append(Finding(kind, "stops", f"{count(lines, 'line')} {text}", [[f.path] for f in lines], reasons))
    return found


def _damage_findings(parts: Mapping[str, Sequence[Scanned]], on_error: OnError, most: float) -> list[Finding]:
    damaged = {part: [file for file in files if file.damage is not None] for part, files in parts.items()}
    bad = [file for files in damaged.values() for file in files]
    if not bad:
        return []
    # the rule of from_folder, part by part, so that the report says what training would do
    crowded = [part for part, files in damaged.items() if len(files) > most * len(parts[part])]
    left_out = on_error == "skip" and not crowded
    found = []
    for damage, words in _DAMAGE.items():
        some = [file for file in bad if file.damage == damage]
        if some:
            text = f"{count(some, 'file')} {words}; " + ("left out of training" if left_out else "repair or remove")
            level: Level = "note" if left_out else "stops"
            found.append(Finding(damage, level, text, [[f.id] for f in some], [f.reason for f in some]))
    if left_out:
        found.append(Finding("skipped", "note", f"{count(bad, 'file')} left out of training", [[f.id] for f in bad]))
    elif on_error == "skip":
        bad, files = damaged[crowded[0]], parts[crowded[0]]
        text = (
            f"{len(bad):,} of {count(files, 'file')} are more than {setting('max_skipped', most)} allows to leave out"
        )
        found.append(Finding("too many", "stops", text))
    return found


def _mode_findings(files: Sequence[Scanned], mode: Mode, limits: Limits | None) -> list[Finding]:
    """Files that are stored in another way than most."""
    modes = Counter(file.mode for file in files)
    found = []
    usual = modes.most_common(1)[0][0] if modes else ""
    for other, number in modes.most_common()[1:]:
        kind = "16 or 32 bits a pixel" if other.startswith("I") else _MODES.get(other, other)
        text = f"{number:,} of {count(files, 'file')} stored as {kind}, not {usual}; read as {mode}"
        if other.startswith("I"):
            text += f", {65535 if limits is None else limits[1]:g} as 255"
        found.append(Finding("mode", "note", text, [[file.id] for file in files if file.mode == other]))
    deep = [file for file in files if file.used is not None]
    if words := few_levels([file.used for file in deep if file.used is not None], limits):
        found.append(Finding("gray levels", "harms", words, [[file.id] for file in deep]))
    cut = [file for file in files if file.left is not None]
    if words := few_upper_levels([file.left for file in cut if file.left is not None]):
        found.append(Finding("color levels", "harms", words, [[file.id] for file in cut]))
    return found


def _usual_extent(files: Sequence[Scanned], size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is not None:
        return (size, size) if isinstance(size, int) else size
    extents = Counter((file.height, file.width) for file in files)
    return extents.most_common(1)[0][0] if extents else None


def _size_findings(files: Sequence[Scanned], size: int | tuple[int, int] | None) -> list[Finding]:
    """Files of another size than most."""
    extents = Counter((file.height, file.width) for file in files)
    if len(extents) < 2:
        return []
    usual = extents.most_common(1)[0][0]
    odd = [file for file in files if (file.height, file.width) != usual]
    remedy = (
        f"pass {setting('size')} to bring all to one"
        if size is None
        else "all are brought to {}x{}".format(*_usual_extent(files, size) or usual)
    )
    text = f"{count(odd, 'file')} not of the usual size {usual[0]}x{usual[1]}; {remedy}"
    reasons = [f"{file.height}x{file.width}" for file in odd]
    return [Finding("size", "stops" if size is None else "note", text, [[file.id] for file in odd], reasons)]


def _name_findings(files: Sequence[Scanned]) -> list[Finding]:
    """Files whose ending names another format than they have."""
    endings = {"JPG": "JPEG", "TIF": "TIFF", "PGM": "PPM", "PNM": "PPM"}
    odd = []
    for file in files:
        ending = file.id.rpartition(".")[2].upper()
        # MPO is what many cameras write under the ending .jpg.
        if {endings.get(ending, ending), file.form} not in ({file.form}, {"JPEG", "MPO"}):
            odd.append(file)
    if not odd:
        return []
    text = f"{count(odd, 'file')} of another format than the ending says; read all the same"
    return [Finding("ending", "note", text, [[file.id] for file in odd], [file.form for file in odd])]
