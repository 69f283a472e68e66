"""The folder of a pipeline: its files, the folders of its stages, and who may write into it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selftrain.errors import RunFolderError
from selftrain.storage.atomic import whole_file
from selftrain.storage.fields import read_fields
from selftrain.storage.run_dir import SETTINGS, claimed, mark_replaced

PIPELINE, LABELS, REPORT, TABLE = "pipeline.json", "labels.safetensors", "report.json", "report.txt"
Rows = Sequence[Mapping[str, Any]]


def check_name(name: str) -> None:
    """Refuse the name of a stage that would be no name of a folder.

    Raises:
        ValueError: for other characters than letters, digits, ``-``, ``_`` and ``.``.
    """
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name!r} names a folder; use letters, digits, '-', '_' and '.'")


def folder_name(number: int, name: str) -> str:
    """Folder of a stage inside that of the pipeline."""
    return f"{number:02d}-{name}"


def claim(out: str | Path | None, stages: Rows, *, resume: bool, overwrite: bool) -> Path | None:
    """Take the folder of a pipeline and write which stages it has.

    Args:
        out: The folder; ``None``: nothing is stored.
        stages: What a resumed pipeline must share, one row a stage.
        resume: Continue the pipeline in it.
        overwrite: Replace the pipeline in it.

    Raises:
        RunFolderError: if it holds a single run, or a pipeline that is neither continued nor replaced or has other
            stages; if there is nothing to continue, or it cannot be written.
    """
    folder = claimed(out, (PIPELINE,), "pipeline", resume=resume, overwrite=overwrite)
    if folder is None:
        return None
    if (folder / SETTINGS).exists():
        raise RunFolderError(f"{folder} holds a single run; choose another folder for the pipeline")
    rows = _agreed(folder, stages, overwrite=overwrite)
    # before the new stages are written down: one that is stopped and resumed would take the old ones for its own
    for number, row in enumerate(stages if overwrite else (), 1):
        mark_replaced(folder / folder_name(number, str(row["name"])))
    with whole_file(folder / PIPELINE, create=True) as part:
        part.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return folder


def _agreed(folder: Path, now: Rows, *, overwrite: bool) -> Rows:
    """The stages to write down, if those in the folder allow it; what a resumed call leaves out is kept."""
    path = folder / PIPELINE
    if not path.exists():
        return now
    before = read_fields(path, [{"name": str}], "begin the pipeline in another folder")
    if overwrite:
        _check_replaced(folder, before, now)
        return now
    _check_same(folder, before, now)
    # a call that resumes only the first stages must not make the later ones forgotten
    return max(before, now, key=len)


def _check_same(folder: Path, before: Rows, now: Rows) -> None:
    # As far as both go: more stages may follow, and a call may resume the first ones alone.
    for number, (old, new) in enumerate(zip(before, now, strict=False), 1):
        names = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if names:
            text = "; ".join(f"{key}: was {old.get(key)}, is {new.get(key)}" for key in names)
            raise RunFolderError(f"stage {number} in {folder} is another one ({text}); use the same, or a new folder")


def _check_replaced(folder: Path, before: Rows, now: Rows) -> None:
    """An overwritten pipeline leaves no stage of the old one behind."""
    old, new = ({folder_name(i, str(row["name"])) for i, row in enumerate(rows, 1)} for rows in (before, now))
    stale = sorted(name for name in old - new if (folder / name).exists())
    if stale:
        raise RunFolderError(f"{folder} holds stages the new pipeline does not have: {stale}; delete them first")
