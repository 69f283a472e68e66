"""Disks and files that fail or harm: the quick part; ``run.py`` does each hundreds of times."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sys

import fuzzing
import harness
import hostile
import numpy as np
import pytest
import run
import storing
import torch
from PIL import EpsImagePlugin

import selftrain as st
from selftrain import data
from selftrain.data.base import memory
from selftrain.data.readers import decoding, scanning
from selftrain.networks.optim import weights_of

TRIALS = [
    (storing.damaged, 2),
    (storing.full, 1),
    (storing.removed, 2),
    (storing.no_files, 2),
    (storing.not_allowed, 1),
    (storing.two_at_once, 1),
]


@pytest.mark.skipif(sys.platform != "linux", reason="limits and users are those of Linux")
@pytest.mark.parametrize(("fault", "count"), TRIALS, ids=[fault.__name__ for fault, _ in TRIALS])
def test_nothing_is_lost(bench, tmp_path, fault, count):
    for place in [tmp_path, *tmp_path.parents][:4]:
        os.chmod(place, os.stat(place).st_mode | 0o055)
    for number in range(count):
        with harness.scratch(tmp_path, number) as folder:
            trial = fault(bench, folder, number)
        assert trial.survived, trial


@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_a_damaged_file_is_refused_or_harmless(kind, tmp_path):
    for number in range(12):
        with harness.scratch(tmp_path, number) as folder:
            trial = fuzzing.fuzzed(kind)(None, folder, number)
        assert trial.survived, f"trial {number}: {trial.problem}"


def test_the_fuzzer_tells_a_crash_and_a_hang(tmp_path, monkeypatch):
    def crash(path):
        raise IndexError("ours")

    def hang(path):
        while True:
            pass

    monkeypatch.setattr(fuzzing, "SECONDS", 1)
    for use, word in ((crash, "IndexError"), (hang, "Hang")):
        monkeypatch.setitem(fuzzing.KINDS, "x", ("x", lambda draw: b"x", use))
        trial = fuzzing.fuzzed("x")(None, tmp_path, 1)
        assert not trial.survived
        assert word in trial.problem


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_what_is_made_to_harm_does_none(kind, tmp_path):
    for number in range(8):
        with harness.scratch(tmp_path, number) as folder:
            trial = hostile.harmful(kind)(None, folder, number)
        assert trial.survived, f"trial {number}: {trial.problem}"


# -- made to harm ------------------------------------------------------------------------------------------------------
def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = fuzzing.bomb_zip(tmp_path / "x.npz", 16 << 20)
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr("selftrain.data.readers.arrays.machine_memory", lambda: 1 << 20)
    with pytest.raises(st.DataError, match=r"unpacks to 0\.0 GiB and this machine has 0\.0"):
        data.from_arrays_file(path)
    packed = tmp_path / "images.gz"
    head = b"\0\0\x08\x01" + (10).to_bytes(4, "big")
    packed.write_bytes(gzip.compress(head + bytes(100_000)))
    with pytest.raises(st.DataError, match="no whole IDX file"):
        decoding.read_idx(tmp_path / "images")
    packed.write_bytes(gzip.compress(b"\0\0\x08\x02" + b"\xff" * 8))
    with pytest.raises(st.DataError, match="its head announces"):
        decoding.read_idx(tmp_path / "images")
    assert memory.machine_memory() > 1 << 28


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_file_runs_code(tmp_path):
    mark = tmp_path / "it ran"
    bomb = np.array([Bomb(mark)], dtype=object)
    np.save(tmp_path / "x.npy", bomb, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=bomb)
    torch.save({"weight": Bomb(mark)}, tmp_path / "x.safetensors")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Bomb(mark)))
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Bomb(mark)))
    mark.unlink(missing_ok=True)
    for name in ("x.npy", "x.npz", "raw.npy", "raw.npz"):
        with pytest.raises(st.DataError):
            data.from_arrays_file(tmp_path / name)
    with pytest.raises(st.CheckpointError):
        weights_of(tmp_path / "x.safetensors")
    with pytest.raises(st.CheckpointError):
        st.PseudoLabelTable.load(tmp_path / "x.safetensors", st.Classification(2))
    assert not mark.exists()


def test_an_image_that_is_a_program_is_not_run(tmp_path, monkeypatch):
    """PostScript under the name of a picture, which Pillow would hand to Ghostscript."""
    mark, ghostscript = tmp_path / "it ran", tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # it is looked for once
    path = tmp_path / "x.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(st.DataError, match=r"x\.png"):
        data.FileSet([path], size=8).images(np.zeros(1, np.int64))
    assert scanning.scan_file(path, "x.png").damage == "unreadable"
    assert not mark.exists()


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/passwd", "a/../../secret.png", "C:\\secret.png", "..\\secret.png"]
)
def test_labels_cannot_lead_out_of_the_folder(tmp_path, path):
    (tmp_path / "images").mkdir()
    for place in (tmp_path / "images" / "a.png", tmp_path / "secret.png"):
        place.write_bytes(fuzzing.picture(harness.drawn("picture", 0), "png"))
    (tmp_path / "labels.csv").write_text(f"path,label\na.png,x\n{path},y\n")
    with pytest.raises(st.DataError, match="leads out of the folder"):
        data.from_folder(tmp_path / "images", labels_csv=tmp_path / "labels.csv", size=8)


def test_names_of_samples_do_not_become_formulas(tmp_path):
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "plain"]
    text = st.Ledger(names, ["=1"]).to_csv(tmp_path / "x.csv").read_text()
    cells = [line.split(",")[0].strip('"') for line in text.splitlines()[1:]]
    assert all(cell.startswith("'") for cell in cells[:5])
    assert st.Ledger.read(tmp_path / "x.csv").ids[0] == names[0]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path)])
def test_a_table_replaces_no_device(tmp_path, make):
    make(tmp_path / "x.csv")
    with pytest.raises(st.RunFolderError, match="x.csv is not a regular file"):
        st.Ledger(["a"], ["b"]).to_csv(tmp_path / "x.csv")
    with pytest.raises(st.RunFolderError, match="/dev/null is not a regular file"):
        st.Ledger(["a"], ["b"]).to_csv("/dev/null")


# -- the page ----------------------------------------------------------------------------------------------------------
def test_the_page_shows_the_stored_rows_and_each_is_a_kind_of_fault():
    rows = json.loads(run.RESULTS.read_text())
    assert {row["fault"] for row in rows} <= run.faults().keys()
    assert all(row.keys() == {"fault", "injected", "survived", "lost", "seconds"} for row in rows)
    assert run.PAGE.read_text() == run.page(), "python tests/reliability/run.py --page"
