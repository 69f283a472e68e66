"""Folders of the command line: whether a command may write into one, and the settings that it has noted there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selftrain.cli.parser import CONFIG, HEAD, read_config, trusted
from selftrain.engine.spec import read_record
from selftrain.errors import RunFolderError
from selftrain.front.building import is_pretrained
from selftrain.runtime.distributed import is_first
from selftrain.storage.lock import LOCK
from selftrain.storage.run_dir import BEGUN, RECORD, SETTINGS, claimed


def claim(out: str | Path, *, resume: bool, overwrite: bool, marks: Sequence[str] = BEGUN) -> Path:
    """Check, before data are read, that a command may write into a folder; what holds no run of ours is never written.

    Args:
        out: The folder.
        resume: Whether what is in it is continued.
        overwrite: Whether what is in it is replaced.
        marks: Files that what the command makes leaves there.

    Raises:
        RunFolderError: for a folder that may not be written.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; say --out with the name of a folder")
    if is_first():  # of several processes the first checks, for all
        claimed(folder, marks, "run", resume=resume, overwrite=overwrite)
        # whatever is said: --overwrite is for runs and may never meet files of another kind
        ours = any(_is_ours(folder / name) for name in marks)
        if not ours and folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
            raise RunFolderError(f"{folder} holds files and no run; say --out with a new folder (nothing was changed)")
    return folder


def _is_ours(mark: Path) -> bool:
    if mark.name != CONFIG or not mark.is_file():
        return mark.exists()
    # many projects have a file of this name; those of a comparison begin with how to use them
    with mark.open(encoding="utf-8", errors="replace") as file:
        return file.read(len(HEAD)) == HEAD


def settings_in(folder: str | Path, *, trust: bool | None = False) -> dict[str, Any]:
    """The settings that a run or a comparison was started with.

    Args:
        folder: Of ``train``, ``pretrain`` or ``compare``.
        trust: Whether they may name code that is not of selftrain, torch, torchvision and timm; ``None``: they are only
            to be compared.

    Raises:
        RunFolderError: a folder that the command line did not write, or that names other code.
    """
    place = Path(folder)
    # a run of version 0.1 has both files, a comparison the first alone
    if (place / CONFIG).is_file() and not (place / SETTINGS).is_file():
        found = read_config(place / CONFIG, trust=trust)
    else:
        found = read_record(place)["note"].get("settings", {})
    if not isinstance(found, dict) or not found:
        raise RunFolderError(f"{place} was not started by this command line: go on with it in Python")
    return dict(trusted(place, found, trust=trust))


def network_in(settings: Mapping[str, Any]) -> Any:
    """The network that options say: ``"auto"`` is that of the run which they start from, where it is known."""
    network, start = settings["network"], settings["init_from"]
    if network != "auto" or start is None or is_pretrained(start):
        return network
    return (settings_near(Path(start), trust=bool(settings["trust"])) or {}).get("network", network)


def settings_near(path: Path, *, trust: bool = False) -> dict[str, Any] | None:
    """Settings of the run that a folder, or a file of weights in it, is from; ``None``: not known."""
    # two levels: snapshots lie in a folder inside that of the run
    for place in [path] if path.is_dir() else list(path.parents)[:2]:
        if (place / RECORD).is_file() and read_record(place)["note"].get("settings"):
            return settings_in(place, trust=trust)
    return None
