"""Files that somebody has damaged or made to harm: each ends in success or in one of the library's own errors."""

from __future__ import annotations

import csv
import io
import json
import signal
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from harness import Bench, Trial, drawn
from PIL import Image
from safetensors.torch import save as to_safetensors

import selftrain as st
from selftrain import data
from selftrain.handlers.snapshots import read as read_snapshots
from selftrain.labels.review import read_review
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import read_card

SECONDS = 20  # one file may take: more is a hang
Use = Callable[[Path], Any]


class Hang(BaseException):
    """A file took too long."""


@contextmanager
def limited(seconds: int) -> Any:
    """Raise ``Hang`` after so many seconds of processor time."""

    def late(*given: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# -- whole files -------------------------------------------------------------------------------------------------------
def picture(draw: Random, suffix: str) -> bytes:
    shape = (12, 9) if draw.random() < 0.3 else (12, 9, 3)
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    return file.getvalue()


def arrays(draw: Random) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(draw.randrange(2**32))
    return {"x": rng.normal(size=(12, 5)).astype(np.float32), "y": np.arange(12) % 4 - 1}


def table(draw: Random) -> list[list[str]]:
    rows = [[f"{draw.gauss(0, 1):.3f}", draw.choice("abc"), draw.choice(["x", "y", ""])] for _ in range(12)]
    return [["height", "kind", "label"], *rows[:9], ["0.5", "a", "x"], ["0.1", "b", "y"], ["0.2", "c", ""]]


def as_csv(rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


def ledger(draw: Random) -> st.Ledger:
    book = st.Ledger([f"sample {i}" for i in range(6)], ["a", "b"])
    said = st.types.PseudoLabels(torch.arange(4), torch.rand(4, 2).softmax(1), torch.ones(4))
    book.write(said, st.Classification(2), 3)
    return book


# -- what is done with them --------------------------------------------------------------------------------------------
def use_picture(path: Path) -> None:
    samples = data.FileSet([path], size=8)
    assert samples.images(np.zeros(1, np.int64)).shape == (1, 3, 8, 8)


def use_arrays(path: Path) -> None:
    pile = data.from_arrays_file(path)
    for samples in (pile.labeled, pile.unlabeled):
        if samples is not None and len(samples):
            assert torch.isfinite(samples.images(np.arange(len(samples))).float()).all()


def use_table(path: Path) -> None:
    pile = data.from_table(path, label="label")
    for samples in (pile.labeled, pile.unlabeled):
        if samples is not None:
            assert torch.isfinite(samples.images(np.arange(len(samples)))).all()


def use_ledger(path: Path) -> None:
    book = st.Ledger.read(path)
    assert bool(((book.confidence >= 0) & (book.confidence <= 1)).all())
    read_review(path, book.classes)


def use_labels(path: Path) -> None:
    folder = path.parent / "images"
    folder.mkdir(exist_ok=True)
    for name in "abcd":
        (folder / f"{name}.png").write_bytes(picture(Random(0), "png"))
    data.from_folder(folder, labels_csv=path, size=8)


def use_checkpoint(path: Path) -> None:
    checkpoint.load(path, checkpoint._digest(path))  # as if the manifest were forged too


def use_manifest(path: Path) -> None:
    place = path.parent / "checkpoints"
    place.mkdir(exist_ok=True)
    for name in (checkpoint.MANIFEST, checkpoint.COPY):
        (place / name).write_bytes(path.read_bytes())
    checkpoint.load_newest(place)


def use_weights(path: Path) -> None:
    st.load_weights(torch.nn.Linear(3, 2), weights_of(path))


def use_card(path: Path) -> None:
    read_card(path.rename(path.with_name("export.json")).parent)


def use_snapshots(path: Path) -> None:
    (path.parent / "snapshots").mkdir(exist_ok=True)
    path.rename(path.parent / "snapshots" / "snapshots.json")
    read_snapshots(path.parent)


def _npy(draw: Random) -> bytes:
    file = io.BytesIO()
    np.save(file, arrays(draw)["x"])
    return file.getvalue()


def _npz(draw: Random) -> bytes:
    file = io.BytesIO()
    (np.savez if draw.random() < 0.5 else np.savez_compressed)(file, **arrays(draw))
    return file.getvalue()


def _parquet(draw: Random) -> bytes:
    import pandas

    header, *rows = table(draw)
    frame = pandas.DataFrame(rows, columns=header).astype({"height": float})
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def _ledger_csv(draw: Random) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return ledger(draw).to_csv(Path(folder) / "ledger.csv").read_bytes()


def _pt(draw: Random) -> bytes:
    file = io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, "state": {"step": 3, "weights": torch.rand(20)}}, file)
    return file.getvalue()


def _manifest(draw: Random) -> bytes:
    entries = [{"file": "step-000000003.pt", "step": 3, "sha256": "0" * 64}]
    return json.dumps({"format": 1, "checkpoints": entries}).encode()


def _card(draw: Random) -> bytes:
    card = {"strategy": "FixMatch", "steps": 4, "versions": {}, "input": {"shape": [3], "mean": None, "std": None}}
    card["encoder"] = None
    return json.dumps(card).encode()


def _snapshots(draw: Random) -> bytes:
    return json.dumps([{"step": 3, "file": "step-3.safetensors", "figures": {"validation": {"knn": 0.5}}}]).encode()


KINDS: dict[str, tuple[str, Callable[[Random], bytes], Use]] = {
    "image png": ("x.png", lambda draw: picture(draw, "png"), use_picture),
    "image jpeg": ("x.jpg", lambda draw: picture(draw, "jpg"), use_picture),
    "image gif": ("x.gif", lambda draw: picture(draw, "gif"), use_picture),
    "image tiff": ("x.tif", lambda draw: picture(draw, "tif"), use_picture),
    "image webp": ("x.webp", lambda draw: picture(draw, "webp"), use_picture),
    "array npy": ("x.npy", _npy, use_arrays),
    "array npz": ("x.npz", _npz, use_arrays),
    "table csv": ("x.csv", lambda draw: as_csv(table(draw)), use_table),
    "table parquet": ("x.parquet", _parquet, use_table),
    "labels csv": ("x.csv", lambda draw: as_csv([["path", "label"], *[[f"{n}.png", n] for n in "abcd"]]), use_labels),
    "ledger csv": ("x.csv", _ledger_csv, use_ledger),
    "checkpoint": ("x.pt", _pt, use_checkpoint),
    "manifest json": ("x.json", _manifest, use_manifest),
    "card json": ("x.json", _card, use_card),
    "snapshots json": ("x.json", _snapshots, use_snapshots),
    "weights safetensors": (
        "x.safetensors",
        lambda draw: to_safetensors({"weight": torch.rand(2, 3), "bias": torch.rand(2)}),
        use_weights,
    ),
}


def mutated(content: bytes, draw: Random) -> bytes:
    """The bytes with a few accidents: bits flipped, pieces lost, doubled, moved, or replaced by telling values."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        if not changed:
            break
        at, length = draw.randrange(len(changed)), draw.choice([1, 2, 4, 16, 64])
        kind = draw.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = changed[at : at + length]
        elif kind == 3:
            changed[at : at + length] = draw.randbytes(length)
        elif kind == 4:
            telling = [
                b"\0",
                b"\xff" * 4,
                struct.pack("<i", -1),
                b"nan",
                b"inf",
                b"1e999",
                b"-1",
                b'"',
                b"[" * 50,
                b",",
            ]
            changed[at : at + 1] = draw.choice(telling)
        else:
            del changed[at:]
    return bytes(changed)


NAMED = (st.SelftrainError, ValueError, ImportError)


def fuzzed(kind: str) -> Callable[[Bench | None, Path, int], Trial]:
    """Trials on files of this kind; the first one is not damaged."""
    name, make, use = KINDS[kind]

    def trial(bench: Bench | None, folder: Path, number: int) -> Trial:
        draw = drawn(kind, number)
        path = folder / name
        content = make(draw)
        path.write_bytes(mutated(content, draw) if number else content)
        begun = time.process_time()
        try:
            with limited(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use(path)
        except st.SelftrainError as error:
            return Trial(number > 0 or kind == "manifest json", 0, str(error))
        except BaseException as error:
            return Trial(False, 0, f"{type(error).__name__} after {time.process_time() - begun:.1f} s: {error}")
        return Trial(True)

    return trial


def bomb_zip(path: Path, size: int) -> Path:
    """An .npz file of a few kilobytes that says it holds ``size`` bytes of zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (size // 1024, 1024)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header.getvalue())
        for _ in range(size // (1 << 20)):
            file.write(bytes(1 << 20))
    return path
