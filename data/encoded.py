"""Features of a frozen encoder, computed once and kept on disk: a step on the head then costs what the head costs.

A file of features is named by what they were made of: the encoder's weights and card, the content of the rows, the
maker of views, their number and seed. Other weights or other data are another file; a damaged one is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.identity import content_of_samples
from selftrain.data.base.reading import read_rows, to_device
from selftrain.data.base.samples import Rows, Samples
from selftrain.data.views.base import ViewMaker
from selftrain.errors import DataError, RunFolderError
from selftrain.storage.atomic import PART, check_target, write_json

FORMAT = 1  # of the files: part of their names
_BATCH = 128  # rows of a pass
_SECONDS = 10.0  # after which rows are brought to the disk
_BYTES = 2**26  # that a sum is made of at a time


class EncodedSet:
    """Rows of stored features.

    Args:
        features: All rows that are stored, (R, V, D): V looks at each, the plain one first.
        rows: Which of them these are.
        annotations: Of each row, or ``None``.
        ids: Names of the rows.
        looks: That rows are handed out with; of one that is stored the others are copies.
    """

    def __init__(
        self,
        features: np.ndarray[Any, Any],
        rows: Rows,
        annotations: Tensor | None,
        ids: Sequence[str],
        looks: int,
    ) -> None:
        self.features, self.rows, self.annotations, self.ids, self.looks = features, rows, annotations, ids, looks

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, index: Rows) -> Tensor:
        """Features of some rows, (B, looks, D)."""
        return torch.from_numpy(np.ascontiguousarray(self.features[self.rows[index]])).expand(-1, self.looks, -1)

    def __getstate__(self) -> dict[str, Any]:
        """A file is opened again by whoever gets a copy, such as a loader process: it is not copied."""
        state, mapped = dict(vars(self)), isinstance(self.features, np.memmap)
        return state | {"features": Path(str(self.features.filename))} if mapped else state  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(self.features, Path):
            self.features = np.load(self.features, mmap_mode="r")


def stored_features(
    encoder: Any,
    samples: Samples,
    rows: Rows,
    views: ViewMaker,
    looks: int,
    *,
    device: torch.device,
    cache: str | Path | None,
    progress: bool | None = None,
) -> np.ndarray[Any, Any]:
    """Features (R, 1 + 2 looks, D) of rows of a set, read from a file or computed (and written).

    Args:
        encoder: With ``embed_dim`` and ``key()``, at rest and on ``device``.
        samples: The set.
        rows: Row numbers, which are the keys of the views' draws as well.
        views: Maker of views, with the encoder's normalization and the key of the draws.
        looks: Weak views of a row, and as many strong ones; 0: the plain one alone.
        device: Where to compute.
        cache: Folder of the files; ``None``: nothing is written.
        progress: Whether to show a bar; ``None``: if standard error is a terminal.
    """
    from tqdm.auto import tqdm

    def fill(target: np.ndarray[Any, Any], first: int = 0) -> Iterator[int]:
        hidden = None if progress is None else not progress  # tqdm: None hides it unless it is a terminal
        with tqdm(total=len(rows), initial=first, disable=hidden, unit="row", desc="features") as bar:
            for start in range(first, len(rows), _BATCH):
                index = torch.from_numpy(rows[start : start + _BATCH])
                images = to_device(read_rows(samples, index, "the set", getattr(views, "exact", False)), device)
                names = [("plain", 0), *((name, look + 1) for name in ("weak", "strong") for look in range(looks))]
                for place, (name, epoch) in enumerate(names):
                    x = views(name, images, index.to(device), epoch).x
                    found = encoder(x.float())
                    if tuple(found.shape) != (len(index), encoder.embed_dim):
                        raise DataError(
                            f"the encoder gives {tuple(found.shape)} for {len(index)} inputs; features must be "
                            f"{(len(index), encoder.embed_dim)}, as its embed_dim says"
                        )
                    target[start : start + len(index), place] = found.detach().float().cpu().numpy()
                bar.update(len(index))
                yield start + len(index)

    shape = (len(rows), 1 + 2 * looks, encoder.embed_dim)
    content = None if cache is None else content_of_samples(samples, rows)
    if cache is None or content is None:  # rows that are other ones each time they are read have no name
        features = np.empty(shape, np.float32)
        for _ in fill(features):
            pass
        return features
    told = [FORMAT, encoder.key(), content, _in_words(views), looks, shape]
    name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]
    return _kept(Path(cache), name, shape, fill)


def _kept(
    folder: Path, name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray[Any, Any], int], Iterator[int]]
) -> np.ndarray[Any, Any]:
    """The features of a name: from their file if it is whole, else they are made and written.

    Rows that were computed before an interrupt are not computed again.
    """
    from filelock import FileLock

    path, note = folder / f"{name}.npy", folder / f"{name}.json"
    part, begun = folder / f"{name}.npy{PART}", folder / f"{name}.begun.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        with lock:  # a second writer of the same features waits, and then finds them
            if not _is_whole(path, note):
                check_target(path)
                done = _rows_done(part, begun, shape)
                target = np.lib.format.open_memmap(part, mode="r+" if done else "w+", dtype=np.float32, shape=shape)
                said = time.monotonic()
                try:
                    for rows in fill(target, done):
                        done = rows
                        if time.monotonic() - said > _SECONDS:
                            _say_done(target, begun, done)
                            said = time.monotonic()
                finally:
                    _say_done(target, begun, done)
                    del target
                    if not done:  # as it was before
                        part.unlink()
                        begun.unlink()
                os.replace(part, path)
                # last: features without their sum are made anew
                write_json(note, {"shape": shape, "bytes": path.stat().st_size, "sum": _sum(path)})
                begun.unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot write features into {folder}: {error}; choose another folder") from error
    found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r")
    return found


def _say_done(target: np.ndarray[Any, Any], begun: Path, rows: int) -> None:
    """Note how many rows are on the disk: they first, then the note."""
    target.flush()  # type: ignore[attr-defined]
    write_json(begun, {"rows": rows})


def _rows_done(part: Path, begun: Path, shape: tuple[int, ...]) -> int:
    """How many of the rows an interrupted writer has left; 0 where it cannot be told."""
    try:
        rows = json.loads(begun.read_text(encoding="utf-8"))["rows"]
        fits = np.load(part, mmap_mode="r").shape == shape
        return rows if fits and isinstance(rows, int) and 0 < rows <= shape[0] else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _is_whole(path: Path, note: Path) -> bool:
    """Whether a file of features is there and as it was written."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        return bool(path.stat().st_size == told["bytes"] and _sum(path) == told["sum"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sum(path: Path) -> str:
    total = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while part := file.read(_BYTES):
            total.update(part)
    return total.hexdigest()


def _in_words(views: Any) -> str:
    """A maker of views by its class and settings."""
    arguments = getattr(views, "arguments", None) or vars(views)
    fitted = {key: getattr(views, key, None) for key in ("mean", "std", "span", "seed")}
    plain = {
        key: value.tolist() if isinstance(value, Tensor) else repr(value) for key, value in (arguments | fitted).items()
    }
    return f"{type(views).__module__}.{type(views).__qualname__} {plain}"
