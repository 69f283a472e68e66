"""Image files read once, in parallel, to know which can be used: the same answer for any number of threads."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np

from selftrain.data.base.samples import Limits
from selftrain.data.base.summary import shown
from selftrain.data.readers.decoding import IMAGE_FORMATS, Mode, is_cut, to_bytes, transparency, used_range
from selftrain.data.readers.known import KnownFiles
from selftrain.errors import DataError, setting

OnError = Literal["raise", "skip", "defer"]
Damage = Literal["missing", "empty", "unreadable", "truncated", "too large"]
T = TypeVar("T")
R = TypeVar("R")
_CHUNK = 1 << 20
_FORM = 1  # of what is kept of a file; another one for every change of Scanned or of how files are read


@dataclass(frozen=True)
class Scanned:
    """What one image file is.

    Args:
        id: Its name.
        size: Bytes.
        mode: Pillow's mode of it, such as ``"RGB"``, ``"L"``, ``"P"``, ``"CMYK"``, ``"I;16"``; empty if unreadable.
        form: Its format, such as ``"PNG"``; empty if unreadable.
        height: Rows, as it will be shown (after the camera's orientation); 0 if unreadable.
        width: Columns.
        content: Hash of its pixels, or, if unreadable, of its bytes.
        damage: What is wrong with it; ``None``: nothing.
        reason: The same in words.
        used: Values that a gray file of more than 8 bits uses, see ``used_range``; ``None``: another file.
        left: Levels of the colors of a file of 16 bits a color that are left of it in 8; ``None``: another file.
        frames: Pictures that it holds: pages, or frames of an animation.
        transparency: Whether it is transparent somewhere, and so that nothing is left on white.
        turned: Whether the camera noted another orientation.
    """

    id: str
    size: int = 0
    mode: str = ""
    form: str = ""
    height: int = 0
    width: int = 0
    content: str = ""
    damage: Damage | None = None
    reason: str = ""
    used: tuple[float, float] | None = None
    left: int | None = None
    frames: int = 1
    transparency: Literal["none", "some", "all"] = "none"
    turned: bool = False


def scan(
    paths: Sequence[Path],
    ids: Sequence[str],
    mode: Mode = "RGB",
    workers: int | None = None,
    limits: Limits | None = None,
) -> list[Scanned]:
    """Decode image files as training will, in ``mode`` and between ``limits``, and say what each is, in their order.

    ``workers`` are threads; ``None``: as many as there are processors, at most 16. Files that were found sound before
    are known again, see ``KnownFiles``.
    """
    from PIL import Image, __version__

    Image.init()  # loads the decoders once, before there are threads
    known = KnownFiles(paths, ids, __version__, _FORM, mode, limits)
    found = [_again(id, known[id]) for id in ids]
    left = [row for row, file in enumerate(found) if file is None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decoders, about notes in files that are no part of the picture
        decoded = in_parallel(lambda row: scan_file(paths[row], ids[row], mode, limits), left, workers)
    for row, file in zip(left, decoded, strict=True):
        found[row] = file
    whole = cast("list[Scanned]", found)
    if left:
        # a damaged one is looked at again: whoever repairs it may keep its times
        known.keep({file.id: astuple(file)[1:] for file in whole if file.damage is None})
    return whole


def _again(id: str, told: Any) -> Scanned | None:
    with contextlib.suppress(TypeError):
        file = Scanned(id, *told)
        return replace(file, used=None if file.used is None else (file.used[0], file.used[1]))
    return None


def in_parallel(function: Callable[[T], R], jobs: Iterable[T], workers: int | None = None) -> list[R]:
    """Results of a function, in the order of the jobs; decoding and hashing let other threads run."""
    count = min(16, os.cpu_count() or 1) if workers is None else workers
    if count < 0:
        raise ValueError(f"workers is {workers}; it must be 0 or more")
    if count <= 1:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, jobs))


def scan_file(path: Path, id: str, mode: Mode = "RGB", limits: Limits | None = None) -> Scanned:
    """Decode one image file."""
    from PIL import Image

    try:
        if not path.is_file():
            return Scanned(id, damage="missing", reason="there is no file of this name (or it is no regular one)")
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        return Scanned(id, damage="missing", reason=f"{error}")
    if not size:
        return Scanned(id, damage="empty", reason="the file is empty", content=_hash_of_bytes(path))
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as opened:
            kind, form = opened.mode, opened.format or ""
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and opened.width * opened.height > most:
                reason = f"{opened.width} x {opened.height} pixels, more than the {most:,} that Pillow takes for safe"
                return Scanned(id, size, damage="too large", reason=reason, content=_hash_of_bytes(path))
            cut = is_cut(opened)
            pixels = to_bytes(opened, mode, id, limits=limits)
            used = used_range(opened)
            left = round(np.ptp(np.percentile(pixels, (0.1, 99.9)))) + 1 if cut else None
            more = _more(opened)
    except MemoryError:  # no fault of the file
        raise
    except Exception as error:  # a decoder that is fed with garbage may raise anything
        return Scanned(
            id, size, content=_hash_of_bytes(path), damage=_damage(error), reason=_damage_reason(error, path, id)
        )
    # of the pixels: the same picture in two formats is a copy
    content = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()
    return Scanned(id, size, kind, form, pixels.shape[0], pixels.shape[1], content, used=used, left=left, **more)


def _more(opened: Any) -> dict[str, Any]:
    """What else a decoded file says of itself."""
    orientation = opened.getexif().get(0x0112, 1)
    clear = transparency(opened)  # before the frames are counted, which may move on to another
    frames = 1
    if opened.format != "MPO":  # a preview, or a map of distances, beside the picture
        with contextlib.suppress(Exception):  # the frames behind the first are not read, and their damage does no harm
            frames = int(getattr(opened, "n_frames", 1))
    return {"frames": frames, "transparency": clear, "turned": orientation in range(2, 9)}


def _damage(error: Exception) -> Damage:
    if "bomb" in type(error).__name__.lower():
        return "too large"
    # Pillow has one class of errors for all damage: only the words tell a file that was cut short.
    text = str(error).lower()
    return "truncated" if any(word in text for word in ("truncated", "not enough", "unexpected end")) else "unreadable"


def _damage_reason(error: Exception, path: Path, id: str) -> str:
    """What went wrong, without the file's own name and without advice."""
    text = str(error) or type(error).__name__
    text = text.removeprefix(f"cannot read image {id}: ").removesuffix("; repair or remove it")
    if text.startswith("cannot identify image file"):
        return "it is no image that can be identified, whatever its name says"
    return text.replace(str(path), "it")


def _hash_of_bytes(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def usable(scanned: Sequence[Scanned], on_error: OnError, most: float, source: str) -> list[int]:
    """Places of the files that can be used.

    Those that cannot are an error (``on_error="raise"``) or left out (``"skip"``), up to a share of ``most``.

    Raises:
        DataError: a damaged file, or more of them than may be left out; the first ones are named.
    """
    bad = [file for file in scanned if file.damage is not None]
    share = len(bad) / max(1, len(scanned))
    # above a share it is the folder that is wrong, not a file
    if bad and (on_error == "raise" or share > most):
        listed = "".join(f"\n  {shown(file.id)}: {file.reason}" for file in bad[:10])
        rest = f"\n  and {len(bad) - 10:,} more" if len(bad) > 10 else ""
        remedy = f"repair or remove them, or leave them out with {setting('on_error', 'skip')}"
        if on_error == "skip":
            limit = setting("max_skipped", most)
            remedy = f"that is more than {limit}: check the folder, repair or remove them, or raise it"
        raise DataError(f"{len(bad):,} of {len(scanned):,} files in {source} cannot be read; {remedy}:{listed}{rest}")
    return [place for place, file in enumerate(scanned) if file.damage is None]
