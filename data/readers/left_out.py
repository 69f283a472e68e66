"""What of a folder of images is not learned from, in sentences with a count: files, frames, edges, transparency."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selftrain.data.base.summary import shown
from selftrain.data.readers.decoding import Fit
from selftrain.data.readers.files import IMAGE_SUFFIXES
from selftrain.data.readers.scanning import Scanned
from selftrain.errors import setting

_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}
CUT = 0.2  # share of a picture that may be cut off before it is a warning
# Endings of pictures that are not read: somebody who has them means to learn from them.
OTHER_PICTURES = (
    *(".apng", ".avif", ".cr2", ".dcm", ".dng", ".eps", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".jpe", ".jxl"),
    *(".nef", ".nii", ".npy", ".pbm", ".pnm", ".psd", ".raw", ".svg", ".tga", ".dib"),
)


@dataclass(frozen=True)
class Note:
    """One kind of thing that is left out: a word for programs, a sentence, the files, and whether it is a warning."""

    kind: str
    text: str
    files: Sequence[str]
    warns: bool = False


def folder_notes(root: Path, labels_csv: str | os.PathLike[str] | None = None) -> list[Note]:
    """What lies below a folder and is not read."""
    found: dict[str, list[str]] = {"other": [], "hidden": [], "again": []}
    for place, name, why in _not_read(root):
        found[why].append((Path(place) / name).relative_to(root).as_posix())
    hidden, again = sorted(found["hidden"]), sorted(found["again"])
    csv = None if labels_csv is None else os.path.realpath(labels_csv)
    others = sorted(path for path in found["other"] if os.path.realpath(root / path) != csv)
    notes = []
    if others:
        endings = Counter(Path(path).suffix.lower() or "no ending" for path in others)
        named = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(5))
        more = f" and {len(endings) - 5} more endings" if len(endings) > 5 else ""
        text = f"{_count(others, 'file')} passed over: the name does not end like that of an image ({named}{more})"
        pictures = [path for path in others if path.lower().endswith(OTHER_PICTURES)]
        if pictures:
            remedy = f"convert what is a picture to one of {', '.join(IMAGE_SUFFIXES)}"
            text += f"; {remedy}, such as {shown(pictures[0])}"
        notes.append(Note("passed over", text, others, bool(pictures)))
    if hidden:
        text = f"{_count(hidden, 'hidden file')} passed over: a name begins with a dot, such as {shown(hidden[0])}"
        notes.append(Note("hidden", text, hidden))
    if again:
        text = f"{_count(again, 'link')} to a folder that is read already passed over, such as {shown(again[0])}"
        notes.append(Note("link", text, again, True))
    return notes


def _not_read(root: Path) -> Iterator[tuple[str, str, str]]:
    """Folder, name and reason of what is passed over."""
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders[:] = []
            yield os.path.dirname(place), os.path.basename(place), "again"
            continue
        seen.add(real)
        folders.sort()
        dotted = any(part.startswith(".") for part in Path(place).relative_to(root).parts)
        for name in files:
            image = name.lower().endswith(IMAGE_SUFFIXES)
            if image and (dotted or name.startswith(".")):
                yield place, name, "hidden"
            elif not image and not dotted and not name.startswith("."):
                yield place, name, "other"


def class_notes(classes: Sequence[str]) -> list[Note]:
    """Whether folders are probably not the classes that they are taken for."""
    # the most frequent mistake: the folder above the one that was meant
    splits = [name for name in classes if name.lower() in _SPLIT_NAMES]
    if not splits:
        return []
    names = ", ".join(map(shown, splits))
    text = f"the classes {names} look like parts of a split; pass one as folder and the other as test="
    return [Note("split as class", text, [], True)]


def file_notes(files: Sequence[Scanned], size: tuple[int, int] | None, fit: Fit) -> list[Note]:
    """What of readable files is not learned from."""
    notes = []
    several = [file for file in files if file.frames > 1]
    if several:
        frames = sum(file.frames for file in several)
        text = (
            f"{_count(several, 'file')} with several pictures (pages or frames, {frames:,} in all): only the first of "
            "each is read; save the others as files of their own"
        )
        notes.append(Note("frames", text, _ids(several), True))
    cut = (
        [(file, cut_off(file.height, file.width, size)) for file in files] if size is not None and fit == "crop" else []
    )
    cut = [(file, share) for file, share in cut if share > 0.01]
    if size is not None and cut:
        notes.append(Note("cut off", cut_words([s for _, s in cut], size), _ids([f for f, _ in cut]), _warns(cut)))
    clear = [file for file in files if file.transparency == "some"]
    if clear:
        notes.append(Note("transparency", f"{_count(clear, 'file')} with transparency, laid on white", _ids(clear)))
    vanished = [file for file in files if file.transparency == "all"]
    if vanished:
        text = (
            f"{_count(vanished, 'file')} of one color once transparency is laid on white: what they show is in the "
            "alpha channel alone; lay them on another color before"
        )
        notes.append(Note("transparency", text, _ids(vanished), True))
    turned = [file for file in files if file.turned]
    if turned:
        notes.append(Note("turned", f"{_count(turned, 'file')} turned as the camera noted", _ids(turned)))
    return notes


def cut_off(height: int, width: int, size: tuple[int, int] | None) -> float:
    """Share of a picture that scaling and a centered crop to ``size`` cut off."""
    if size is None or not height or not width:
        return 0.0
    ratio = (width * size[0]) / (height * size[1])
    return 1 - min(ratio, 1 / ratio)


def cut_words(shares: Sequence[float], size: tuple[int, int]) -> str:
    """What to say of pictures of which such shares are cut off."""
    ways = " or ".join(setting("fit", fit) for fit in ("pad", "stretch"))
    return (
        f"{_count(shares, 'picture')} cropped to {size[0]}x{size[1]}: up to {max(shares):.0%} of a picture is cut "
        f"off at its edges; keep all with {ways}"
    )


def _warns(cut: Sequence[tuple[Scanned, float]]) -> bool:
    return max(share for _, share in cut) >= CUT


def _ids(files: Sequence[Scanned]) -> list[str]:
    return [file.id for file in files]


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things):,} {word}" + ("" if len(things) == 1 else "s")
