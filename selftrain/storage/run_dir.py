"""The folder of a run: who may write into it, and the files a run leaves there."""

from __future__ import annotations

import json
import math
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.errors import RunFolderError, setting
from selftrain.storage import checkpoint
from selftrain.storage.atomic import remove_parts, whole_file, write_text
from selftrain.storage.fields import COUNT, Number, read_fields

SETTINGS, RECORD = "run.json", "rebuild.json"  # what a resumed run must share; what it is built again from
LABELS = "pseudo_labels.csv"
CANDIDATES, CANDIDATES_TABLE = "candidates.json", "candidates.md"  # what a portfolio has tried
CARD, SUMMARY = "export.json", "summary.json"
STABILITY = "stability.json"  # how far predictions have settled, sample by sample
REPORT = "report.html"  # the page of a run, and of a comparison
CHECKPOINTS = "checkpoints"
REPLACED = ".replaced"  # while a run is replaced: what else is in its folder is of the old one
BEGUN = (SETTINGS, RECORD, REPLACED)  # one of them is in the folder of a run from its first to its last moment
RUN_MARKS = (*BEGUN, CHECKPOINTS)
SNAPSHOTS, INDEX = "snapshots", "snapshots.json"  # folder of weights along the way, and the list in it
PROJECTOR, PROJECTOR_CONFIG = "projector", "projector_config.pbtxt"  # features that TensorBoard shows
PROJECTED = ("tensors.tsv", "metadata.tsv", "sprite.png")
# Parts of the settings that tell data, views and optimizers; runs of earlier versions lack them.
FINGERPRINT = ("data", "classes", "views", "optimizers", "defaults")
_PARTS: Any = (Number(),)  # of a normalization: one number, or some for each axis
for _ in range(3):
    _PARTS = (*_PARTS, [_PARTS])
_PARTS = (*_PARTS, None)
_CARD = {
    "strategy": str,
    "steps": COUNT,
    "versions": {str: (str, None)},
    "input": {"shape": ([COUNT], None), "mean": _PARTS, "std": _PARTS, "table": (dict, ...)},
    "encoder": (dict, None),
}
OWN = (
    SETTINGS,
    RECORD,
    "metrics.jsonl",
    SUMMARY,
    "export.safetensors",
    CARD,
    LABELS,
    CANDIDATES,
    CANDIDATES_TABLE,
    PROJECTOR_CONFIG,
    STABILITY,
    REPORT,
)


def prepare_folder(out: str | Path | None, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> Path | None:
    """Claim the folder of a run and write its settings.

    Raises:
        RunFolderError: if it holds a run and neither ``resume`` nor ``overwrite`` is set, if there is nothing to
            resume, if the settings differ from those of the run to resume, or if it cannot be written.
    """
    folder = claimed(out, RUN_MARKS, "run", resume=resume, overwrite=overwrite)
    if folder is None:
        return None
    # a run that was killed while it replaced another one begins anew, as it was about to
    if resume and not is_replaced(folder):
        _check_same(folder, settings)
        # the lock is held, so that nobody is writing them: they are of a process that was killed
        for place in (folder, folder / CHECKPOINTS, folder / SNAPSHOTS):
            remove_parts(place)
        return folder
    try:
        if resume or overwrite:
            for name in OWN:  # before anything is changed
                if (folder / name).is_dir():
                    raise RunFolderError(f"{folder / name} is a folder; move it away")
            # first of all: whenever this is cut short, nobody takes what is left for a run, and all know what to do
            mark_replaced(folder)
            _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in (SETTINGS, RECORD):  # other things in it may be the user's
            remove_parts(folder, name)
        write_text(folder / SETTINGS, json.dumps(settings, indent=1))
        (folder / REPLACED).unlink(missing_ok=True)
    except (OSError, RunFolderError) as error:
        raise RunFolderError(f"cannot write into {folder}: {error}") from error
    return folder


def mark_replaced(folder: Path) -> None:
    """Declare the run in a folder, if there is one, as replaced: from now on it can only be begun anew."""
    if any((folder / name).exists() for name in RUN_MARKS):
        write_text(folder / REPLACED, "the run in this folder is being replaced\n")


def is_replaced(folder: str | Path) -> bool:
    """Whether the run in a folder was to be replaced by one that has not begun: what is there is of the old one."""
    return (Path(folder) / REPLACED).exists()


def claimed(out: str | Path | None, marks: Sequence[str], what: str, *, resume: bool, overwrite: bool) -> Path | None:
    """The folder that may be written to, if any: it holds nothing of the kind, or that is continued or replaced.

    Args:
        out: The folder; ``None``: nothing is stored.
        marks: Files or folders of which one that is taken has at least one.
        what: What it is called.
        resume: Whether to continue what is in it.
        overwrite: Whether to replace what is in it.

    Raises:
        RunFolderError: if it may not be written; the message says what to do.
    """
    if resume and overwrite:
        raise RunFolderError(f"resume and overwrite exclude each other: continue the {what} or replace it")
    if out is None:
        if resume:
            raise RunFolderError(f"resume needs the folder of the {what}: pass out=...")
        return None
    folder, go_on = Path(out), setting("resume", True, of="")
    held = any((folder / name).exists() for name in marks)
    if resume and not held:
        raise RunFolderError(f"{folder} holds no {what} to resume; start it without {go_on.removesuffix('=True')}")
    if held and not (resume or overwrite):
        replace = setting("overwrite", True, of="")
        raise RunFolderError(f"{folder} already holds a {what}; pass {go_on}, {replace} or another folder")
    return folder


def remove_run(folder: Path) -> None:
    """Remove a run that another one has left in its folder, and nothing else."""
    # Without these settings it is a folder of the user's that happens to have the name.
    if (folder / SETTINGS).is_file():
        prepare_folder(folder, {}, resume=False, overwrite=True)
        (folder / SETTINGS).unlink()
        with suppress(OSError):  # something of the user's is in it
            folder.rmdir()


def export_weights(weights: Mapping[str, Tensor], folder: Path, name: str = "export.safetensors") -> Path:
    """Write weights as a ``.safetensors`` file, whole or not at all."""
    from safetensors.torch import save

    # safetensors refuses tensors in other memory orders, such as channels last
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    path = folder / name
    with whole_file(path) as part:
        part.write_bytes(content)
    return path


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import numpy

    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}


def card_of(weights: Path) -> Path:
    """Where the card of a file of weights is: beside it, under the same name."""
    return weights.with_suffix(Path(CARD).suffix)


def read_card(source: str | Path) -> dict[str, Any]:
    """What a run says of its weights: of those it exports (known from its first checkpoint on), or of a snapshot.

    Args:
        source: Run folder, ``export.safetensors`` or ``export.json`` in it, or a snapshot (``select_snapshot``).

    Returns:
        ``strategy``, ``steps`` (that these weights have learned), ``versions``, ``input`` (``shape``, ``mean`` and
        ``std`` of a plain input, ``None`` where unknown) and ``encoder`` (its class, ``shape``, ``grid``,
        ``embed_dim``, ``token_dim``, or ``None``).

    Raises:
        RunFolderError: if there is none or it cannot be read.
    """
    path = Path(source)
    path = path / CARD if path.is_dir() else card_of(path)
    card: dict[str, Any] = read_fields(path, _CARD, "a card is written with the checkpoints of a run and each snapshot")
    return card


def has_begun(out: str | Path | None) -> bool:
    """Whether the run in a folder has stored a checkpoint to go on from."""
    return out is not None and not is_replaced(out) and not checkpoint.is_empty(Path(out) / CHECKPOINTS)


def _check_same(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / SETTINGS
    if not path.is_file():
        raise RunFolderError(f"{folder} holds no run to resume; start it without resume")
    before = read_fields(path, {str: object}, "start anew in another folder")
    if before.get("format") is None and settings.get("format") is not None:
        raise RunFolderError(
            f"the run in {folder} was started by selftrain 0.1, whose steps are not these; finish it there, "
            f"or start from its weights: learner(init_from={str(folder)!r})"
        )
    # by way of JSON as the stored ones: tuples have become lists there, and names of keys text
    settings = {k: v for k, v in settings.items() if k in before or k not in FINGERPRINT}
    before, now = _flat(before), _flat(json.loads(json.dumps(settings)))
    changed = {k: (before.get(k), now.get(k)) for k in before.keys() | now.keys() if not _alike(k, before, now)}
    if changed:
        text = "; ".join(f"{k}: was {old!s:.200}, is {new!s:.200}" for k, (old, new) in sorted(changed.items()))
        other = {key.partition(".")[0] for key in changed}
        if other == {"total_steps"}:
            raise RunFolderError(
                f"the run in {folder} was started with another length ({text}), by which its schedules go; to train on "
                f"from where it is, as a stage of its own: fit(pretrain={str(folder)!r}, out=OTHER FOLDER); to "
                "stop in between and go on exactly, plan the whole length: Checkpoints(stop_after=...)"
            )
        raise RunFolderError(
            f"the run in {folder} was started with other {'data' if other <= {'data', 'classes'} else 'settings'} "
            f"({text}); use them, or a new folder"
        )


def _alike(name: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    old, new = before.get(name), now.get(name)
    if name.startswith("views."):
        # Means of the same data are sums in another order on another machine.
        return old == new or _close(old, new)
    # Another version of PyTorch has more settings, or fewer.
    return old == new or (".groups." in name and (name in before) != (name in now))


def _close(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_close, old, new))
    numbers = isinstance(old, float) and isinstance(new, float)
    return math.isclose(old, new, rel_tol=1e-5) if numbers else bool(old == new)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of names, so that a message names just what differs."""
    rows: dict[str, Any] = {}
    for key, value in settings.items():
        rows |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return rows


def _clear(folder: Path) -> None:
    """Remove what a run made, and nothing else."""
    for name in OWN:
        (folder / name).unlink(missing_ok=True)
    remove_parts(folder)
    for events in folder.glob("events.out.tfevents.*"):
        if not events.is_dir():
            events.unlink()
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    for snapshot in (folder / SNAPSHOTS).glob("step-*.safetensors"):
        snapshot.unlink()
        card_of(snapshot).unlink(missing_ok=True)
    (folder / SNAPSHOTS / INDEX).unlink(missing_ok=True)
    for name in PROJECTED:
        (folder / PROJECTOR / name).unlink(missing_ok=True)
    with suppress(OSError):  # there is none, or something of the user's is in it
        (folder / PROJECTOR).rmdir()
