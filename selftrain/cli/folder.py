"""Run folders of the command line: who may write into one, what is stored with a run, and how it is opened again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from selftrain.cli.parser import as_yaml, read_config, write_config
from selftrain.errors import RunFolderError
from selftrain.runtime.distributed import is_first
from selftrain.storage.atomic import write_json
from selftrain.storage.run_dir import SETTINGS

CONFIG, PROBLEM = "config.yaml", "problem.json"
_MARKS = (SETTINGS, CONFIG)


def claim(out: str | Path, *, resume: bool, overwrite: bool) -> Path:
    """Check that a command may write into a folder.

    A new or empty folder may be written. One that holds a run needs ``resume`` or ``overwrite``; one that holds
    anything else is never written: what is in it is not ours. Of several processes the first checks, for all.

    Raises:
        RunFolderError: for a folder that may not be written.
    """
    folder = Path(out)
    if not is_first():
        return folder
    if resume and overwrite:
        raise RunFolderError("--resume and --overwrite exclude each other: continue the run or replace it")
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; say --out with the name of a folder")
    if holds_run(folder):
        if not (resume or overwrite):
            raise RunFolderError(
                f"{folder} already holds a run; say --resume, --overwrite, or --out with another folder"
            )
    elif resume:
        raise RunFolderError(f"{folder} holds no run to resume; start it without --resume")
    elif folder.exists() and any(folder.iterdir()):
        raise RunFolderError(f"{folder} holds files and no run; say --out with a new folder (nothing was changed)")
    return folder


def holds_run(folder: Path) -> bool:
    """Whether a folder is that of a run: it has the settings that the engine or the command line stores."""
    return any(_is_ours(folder / name) for name in _MARKS)


def unfinished(folder: Path) -> bool:
    """Whether a run can go on from a checkpoint; one that was stopped before the first starts anew."""
    return (folder / "checkpoints" / "manifest.json").is_file()


@contextmanager
def recorded(folder: Path, command: str, settings: Mapping[str, Any], problem: Mapping[str, Any]) -> Iterator[str]:
    """Store the resolved settings of a run before it begins; taken back if it does not even begin."""
    if not is_first():
        yield as_yaml(settings)
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = write_config(folder / CONFIG, command, settings)
    write_json(folder / PROBLEM, dict(problem))
    try:
        yield text
    except BaseException:
        if not (folder / SETTINGS).exists():
            for name in (CONFIG, PROBLEM):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it
                folder.rmdir()
        raise


def settings_in(folder: str | Path) -> dict[str, Any]:
    """The settings that a run was started with.

    Raises:
        RunFolderError: a folder that the command line did not write.
    """
    place = Path(folder)
    if not (place / CONFIG).is_file():
        what = "no run" if not holds_run(place) else "a run that was not started by this command line: use it in Python"
        raise RunFolderError(f"{place} holds {what}" if place.is_dir() else f"there is no run folder {place}")
    return read_config(place / CONFIG)


def problem_in(folder: str | Path) -> dict[str, Any]:
    """What the data of a run were.

    Raises:
        RunFolderError: it cannot be read, or the folder has been trained in anew without the command line.
    """
    path = Path(folder) / PROBLEM
    try:
        plain = dict(json.loads(path.read_text(encoding="utf-8")))
        steps = json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))["total_steps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"cannot read the run in {folder}: {error}") from error
    if steps != plain.get("steps"):
        raise RunFolderError(f"{folder} holds another run than its {CONFIG} tells of; train it with this command line")
    return plain


def config_near(path: Path) -> dict[str, Any] | None:
    """Settings of the run that a folder, or a file of weights in it, is from; ``None``: not known."""
    places = [path] if path.is_dir() else list(path.parents)[:2]
    for place in places:
        if (place / CONFIG).is_file():
            return read_config(place / CONFIG)
    return None


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith("# selftrain ") if path.name == CONFIG else '"total_steps"' in text
