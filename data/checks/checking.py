"""A check of a folder, a file or a pile before training: what is broken, double, mislabeled or leaks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from selftrain.data.base.samples import Limits, Rows, Samples, check_limits, exact_rows
from selftrain.data.checks.contents import PARTS, KnownSample, class_findings, content_findings, count, make_report
from selftrain.data.checks.findings import DataReport, Finding
from selftrain.data.checks.image_folders import folder_report
from selftrain.data.checks.units import mask_findings, unit_findings
from selftrain.data.pile import Pile
from selftrain.data.readers.decoding import Fit, Mode
from selftrain.data.readers.folders import has_masks
from selftrain.data.readers.paths import from_path, holds_arrays
from selftrain.data.readers.scanning import OnError, in_parallel
from selftrain.errors import DataError
from selftrain.types import plain_settings

_CHUNK = 256


@plain_settings
def check(
    source: Pile | str | os.PathLike[str],
    labels_csv: str | os.PathLike[str] | None = None,
    *,
    test: Any = None,
    validation: Any = None,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    mode: Mode = "RGB",
    limits: Limits | None = None,
    on_error: OnError = "raise",
    max_skipped: float = 0.1,
    workers: int | None = None,
    **settings: Any,
) -> DataReport:
    """Say what is wrong with data, and what would happen on training; nothing is changed.

    A folder of images is read file by file: damaged files, copies of one content, contents with two classes, contents
    that are in training and test, lines of the CSV that cannot be used, odd modes and sizes. With ``masks`` or
    ``joints`` (as of ``from_masks`` and ``from_keypoints``): masks without picture or of another size, numbers that are
    no class, masks that are void all over, classes without a pixel, joints outside their picture. Arrays, tables and
    piles are read row by row: copies, contradictions, leaks, rows that cannot be used. Contents are compared by hash,
    after decoding: the same picture as PNG and as BMP is a copy, a picture that JPEG changed by one gray level is not.

    Args:
        source: Folder of images, a folder or file of arrays, a table, or a pile.
        labels_csv: As in ``from_folder``.
        test: As in ``from_folder`` or ``from_table``.
        validation: A folder or table of its own, as there.
        size: What images would be brought to, as in ``from_folder``.
        fit: How they would be brought to it.
        mode: What images would be converted to.
        limits: Values of images that mean black and white, as in ``from_folder`` or ``from_arrays_file``.
        on_error: What training would do with damaged files, as in ``from_folder``.
        max_skipped: As in ``from_folder``.
        workers: Threads that read; ``None``: as many as there are processors, at most 16.
        **settings: Further arguments of the reader, such as ``label`` of ``from_table``, or ``no_label``.

    Returns:
        The report. Data that cannot be used at all are a finding too, no exception.

    Raises:
        ValueError: arguments that do not fit the source.
    """
    if isinstance(source, Pile):
        return _pile_report(source, workers)
    path = Path(source)
    units = path.is_dir() and ({"masks", "joints"} & set(settings) or (labels_csv is None and has_masks(path)))
    if path.is_dir() and not units and not holds_arrays(path):
        no_label = settings.pop("no_label", -1)
        if settings:
            raise ValueError(f"a folder of images takes no {', '.join(settings)}")
        folders = {"test": test, "validation": validation}
        roots = {part: Path(place) for part, place in folders.items() if place is not None}
        limits = check_limits(limits)
        return folder_report(path, labels_csv, roots, size, fit, mode, limits, on_error, max_skipped, workers, no_label)
    given = {"test": test, "validation": validation, "labels_csv": labels_csv, "limits": limits}
    settings |= {name: value for name, value in given.items() if value is not None}
    if units:
        settings |= {"size": size, "fit": fit, "mode": mode, "on_error": on_error, "max_skipped": max_skipped}
        settings |= {"workers": workers}
        if "joints" not in settings and (faults := mask_findings(path, settings)):
            return DataReport(str(path), findings=faults)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report says the same
            pile = from_path(path, **settings)
    except DataError as error:
        return DataReport(str(path), findings=[Finding("refused", "stops", str(error))])
    return _pile_report(pile, workers)


def _pile_report(pile: Pile, workers: int | None) -> DataReport:
    known: list[KnownSample] = []
    lost: list[tuple[str, str]] = []
    first: Tensor | None = None
    for part in PARTS:
        samples: Samples | None = getattr(pile, part)
        if samples is not None:
            _read_part(part, samples, workers, known, lost)
            if first is None:
                with contextlib.suppress(DataError):  # which the finding about this row tells
                    first = samples.images(np.zeros(1, np.int64))
    shape, width = (None, 1) if first is None else (list(first.shape[1:]), first.element_size())
    findings = []
    if lost:
        text = f"{count(lost, 'sample')} that cannot be used; correct or remove"
        findings.append(Finding("unreadable", "stops", text, [[n] for n, _ in lost], [reason for _, reason in lost]))
    if pile.skipped:
        names, reasons = [[name] for name, _ in pile.skipped], [reason for _, reason in pile.skipped]
        findings.append(Finding("skipped", "note", f"{count(names, 'file')} left out of training", names, reasons))
    findings += [Finding("reading", "harms", text) for text in pile.summary.doubts]
    findings += [Finding("reading", "note", text) for text in pile.summary.notes]
    if pile.shifted:
        text = f"{pile.shifted}: a network with BatchNorm needs a strategy with together=False"
        findings.append(Finding("domains", "note", text))
    findings += content_findings(known, pile.classes) + class_findings(known, pile.classes)
    shares, of_units = unit_findings(pile)
    findings += of_units
    said = [*shares, *(f"labels     {note}" for note in pile.summary.labels), *pile.summary.lines()]
    return make_report(pile.source, len(known) + len(lost), known, pile.classes, findings, shape, width, said)


def _read_part(
    part: str, samples: Samples, workers: int | None, known: list[KnownSample], lost: list[tuple[str, str]]
) -> None:
    """Hash all rows of a part, in parallel, in their order."""

    def read(start: int) -> list[tuple[str, str]]:
        return _contents(samples, np.arange(start, min(start + _CHUNK, len(samples))))

    # annotations that an unlabeled set may have are never read
    classes = samples.annotations if part != "unlabeled" else None
    classes = None if classes is None or classes.ndim != 1 else classes
    # In the order of the rows: the report must be the same for any number of threads.
    chunks = in_parallel(read, range(0, len(samples), _CHUNK), workers)
    for row, (content, reason) in enumerate(found for chunk in chunks for found in chunk):
        name = samples.ids[row]
        # Held-out rows count from 0 as training rows do: under one name two different samples would pass for one.
        if part in ("validation", "test") and not name.startswith(part):
            name = f"{part}:{name}"
        if reason:
            lost.append((name, reason))
        else:
            label = -1 if classes is None else int(classes[row])
            known.append(KnownSample(part, name, label, content))


def _contents(samples: Samples, rows: Rows) -> list[tuple[str, str]]:
    """Hash of each row, or the reason why it cannot be read."""
    # Row by row only where a chunk fails: one damaged file must not hide the others of its chunk.
    try:
        images = exact_rows(samples, rows)  # rounded, seconds of one minute would be copies of each other
    except DataError as error:
        return (
            [("", str(error))] if len(rows) == 1 else [_contents(samples, rows[i : i + 1])[0] for i in range(len(rows))]
        )
    values = images.numpy()
    # rows of one content in two shapes or types are no copies
    head = repr((values.dtype.str, values.shape[1:])).encode()
    return [(hashlib.blake2b(head + row.tobytes(), digest_size=16).hexdigest(), "") for row in values]
