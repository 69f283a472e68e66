"""Files and names made to harm: they are text, refused or harmless; nothing of theirs is run, unpacked or followed."""

from __future__ import annotations

import csv
import gzip
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from unittest import mock

import fuzzing
import numpy as np
import torch
from harness import Bench, Trial, drawn
from test_data_check import png_bomb
from test_reviewpage import Page, images, ledger_for, pile_of

import selftrain as st
from selftrain import data
from selftrain.data.readers import decoding
from selftrain.labels.page import write_review
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint

Harm = Callable[[Random, Path], None]  # raises AssertionError if it did harm

SCRIPTS = ["</script><script>hit=1</script>", "<img src=x onerror=hit=1>", "'\"><svg/onload=hit=1>", "javascript:hit=1"]
SCRIPTS += ["--><script>hit=1</script><!--", "${hit=1}`", "{{script}}", "\u2028hit=1", "</title><script>hit=1</script>"]
SCRIPTS += [
    "&lt;script&gt;",
    "]]>",
    "</style><style>*{display:none}</style>",
    "\u202egnp.exe",
    "\0",
    "\udcff",
    "__proto__",
]
FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "'=1",
    "=HYPERLINK(1)",
]
PATHS = ["../secret.png", "/etc/passwd", "a/../../secret.png", "C:\\secret.png", "..\\secret.png", "./../secret.png"]


def script(draw: Random, folder: Path) -> None:
    """HTML and scripts as names of files, classes and the page: all stays text, and comes back as it was."""
    ids = [f"{draw.choice(SCRIPTS)}{draw.choice(SCRIPTS)}{i}" for i in range(6)]
    classes = [draw.choice(SCRIPTS) + "a", draw.choice(SCRIPTS) + "b"]
    pile = pile_of(images(len(ids)), ids=ids, classes=classes)
    page = Page(write_review(ledger_for(pile), pile, folder / "page.html", name=draw.choice(SCRIPTS)))
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/json", None, "text/plain"], kinds
    assert sum(tag == "style" for tag, _ in page.tags) == 1
    assert not {"img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert sorted(page.data["rows"]["id"]) == sorted(ids)


def formula(draw: Random, folder: Path) -> None:
    """Formulas as names of files and classes: no cell of a table begins like one, and they come back as they were."""
    ids = [f"{draw.choice(FORMULAS)}{i}" for i in range(6)]
    classes = [draw.choice(FORMULAS) + "a", draw.choice(FORMULAS) + "b"]
    book = ledger_for(pile_of(images(len(ids)), ids=ids, classes=classes))
    path = book.to_csv(folder / "labels.csv")
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    cells = [row[name] for row in rows for name in ("id", "class")]
    assert not any(cell[:1] and cell[0] in "=+-@\t\r\n＝＋－＠" for cell in cells), cells
    assert list(st.Ledger.read(path, classes=classes).ids) == ids


def path_out(draw: Random, folder: Path) -> None:
    """Paths out of the folder, in labels and in an archive: refused, nothing is read or written there."""
    (folder / "images").mkdir()
    for place in (folder / "images" / "a.png", folder / "secret.png"):
        place.write_bytes(fuzzing.picture(draw, "png"))
    (folder / "labels.csv").write_text(f"path,label\na.png,x\n{draw.choice(PATHS)},y\n")
    _refused(lambda: data.from_folder(folder / "images", labels_csv=folder / "labels.csv", size=8), "leads out of")
    before = sorted(folder.rglob("*"))
    np.savez(folder / "images" / "x.npz", **{"x": np.eye(4), f"../{draw.choice('abc')}/../../evil": np.eye(4)})
    _refused(lambda: data.from_arrays_file(folder / "images" / "x.npz"))
    assert sorted(folder.rglob("*")) == sorted([*before, folder / "images" / "x.npz"])


def unpacked(draw: Random, folder: Path) -> None:
    """Archives and images of a few bytes that unpack to more than there is memory: refused before that."""
    kind = draw.choice(["npz", "idx", "png"])
    if kind == "npz":
        fuzzing.bomb_zip(folder / "x.npz", draw.choice([2, 4, 8]) << 20)
        with mock.patch("selftrain.data.readers.arrays.machine_memory", return_value=1 << 20):
            _refused(lambda: data.from_arrays_file(folder / "x.npz"), "unpacks to")
    elif kind == "idx":
        head = b"\0\0\x08\x01" + draw.randrange(1, 100).to_bytes(4, "big")
        (folder / "x.gz").write_bytes(gzip.compress(head + bytes(100_000)))
        _refused(lambda: decoding.read_idx(folder / "x"), "no whole IDX file")
    else:
        (folder / "images").mkdir()
        png_bomb(folder / "images" / "a.png", draw.randrange(20_000, 60_000), draw.randrange(20_000, 60_000))
        _refused(lambda: data.from_folder(folder / "images", size=8), "pixels")


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> object:
        return (open, (self.path, "w"))


def pickled(draw: Random, folder: Path) -> None:
    """Pickled code in arrays, weights, labels and checkpoints: refused, and not run."""
    mark, kind = folder / "it ran", draw.choice(["npy", "npz", "raw", "weights", "labels", "checkpoint"])
    ending = {"npy": "npy", "raw": "npy", "npz": "npz", "checkpoint": "pt"}.get(kind, "safetensors")
    path, bomb = folder / f"x.{ending}", Bomb(mark)
    if kind in ("npy", "npz"):
        save = np.save if kind == "npy" else np.savez
        save(path, np.array([bomb] * draw.randint(1, 3), dtype=object))
    elif kind == "raw":
        path.write_bytes(pickle.dumps(bomb, draw.randrange(2, pickle.HIGHEST_PROTOCOL + 1)))
    else:
        torch.save({"format": checkpoint.FORMAT, "state": {"step": bomb}}, path)
    mark.unlink(missing_ok=True)
    if kind == "weights":
        _refused(lambda: weights_of(path))
    elif kind == "labels":
        _refused(lambda: st.PseudoLabelTable.load(path, st.Classification(2)))
    elif kind == "checkpoint":
        _refused(lambda: checkpoint.load(path, checkpoint._digest(path)))
    else:
        _refused(lambda: data.from_arrays_file(path))
    assert not mark.exists(), f"code in {kind} was run"


def _refused(act: Callable[[], object], words: str = "") -> None:
    said = None
    try:
        act()
    except st.SelftrainError as error:
        said = str(error)
    assert said is not None, "it was not refused"
    assert words in said, said


KINDS: dict[str, Harm] = {
    "script in names on the review page": script,
    "formula in names in a table": formula,
    "path out of the folder": path_out,
    "file that unpacks to too much": unpacked,
    "pickled code in a file": pickled,
}


def harmful(kind: str) -> Callable[[Bench | None, Path, int], Trial]:
    """Trials of this kind."""

    def trial(bench: Bench | None, folder: Path, number: int) -> Trial:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                KINDS[kind](drawn(kind, number), folder)
        except Exception as error:
            return Trial(False, 0, f"{type(error).__name__}: {error}")
        return Trial(True)

    return trial
