"""Remedies of single messages of many rooms: memory, downloads, pictures of other kinds, halves, time."""

import json
import struct
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from remedies import Elsewhere, Row
from rows_cli import QUICK, command
from rows_cli import data as from_file
from rows_files import drawn, gray, looked
from rows_stored import TASK, network, pile, stages, strategy

import selftrain as st
from selftrain import data, strategies
from selftrain.data import FileSet, Pile
from selftrain.data.loading.workers import _Loader
from selftrain.data.readers import datasets, decoding
from selftrain.pipeline import Stage, run_pipeline
from selftrain.pipeline.report import publish
from selftrain.portfolio.candidates import Candidate, within
from selftrain.portfolio.portfolio import _untried
from selftrain.types import BatchPlan

X = np.random.RandomState(0).normal(size=(16, 3)).astype(np.float32)
Y = np.where(np.arange(16) < 8, np.arange(16) % 2, -1)


def updated(factor=1.0, **settings):
    """Updates of a network whose gradients are this large."""
    learner = st.learner(network, optimizer="sgd", **settings)()
    for _ in range(40):
        learner.update(learner(torch.ones(2, 3)).float().square().mean() * factor)


def published(tmp, damaged):
    """The report of a pipeline again, after something else wrote into a log of it."""
    if not (tmp / "p").exists():
        run_pipeline(stages()[:1], pile(), tmp / "p")
    log = tmp / "p" / "01-teach" / "metrics.jsonl"
    log.write_text("{\n") if damaged else log.unlink()
    publish(tmp / "p", json.loads((tmp / "p" / "report.json").read_text())["stages"], finished=True)


class Silent(strategies.Supervised):
    """It says another figure than the one that chooses."""

    def evaluate(self, data, reference=None):
        return {"other": 1.0}


def best(which):
    made = Silent(TASK, st.learner(network))
    run_pipeline([Stage("teach", lambda past: made, 1, plan=BatchPlan(4), which=which)], pile())


def explained(tmp):
    """What a loader says of a process that hangs."""
    loader = SimpleNamespace(places=torch.tensor([[1, 0, 0, 0]]), _died=set, _said=lambda *place: "row 1")
    raise _Loader.explain(loader, RuntimeError("DataLoader timed out after 2 seconds"))


def longer(seconds):
    """Whether processes that read are waited for so long."""
    return _Loader(SimpleNamespace(plan=BatchPlan(4, workers=1, timeout=seconds)), False).loader.timeout == seconds


def idx(folder):
    folder.mkdir()
    for part, count in (("train", 40), ("t10k", 20)):
        head = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + bytes(range(count)) * 784)
        head = struct.pack(">4BI", 0, 0, 8, 1, count)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + bytes(i % 10 for i in range(count)))
    return folder


def download():
    """As if there was no connection."""
    with mock.patch("torchvision.datasets.MNIST", side_effect=RuntimeError("no connection")):
        datasets._torchvision("MNIST", None)


def little_memory(tmp, workers, *, free=False):
    """As if it was enough for one picture at a time."""
    root = drawn(tmp, dict.fromkeys(("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png"), gray))
    opaque = decoding._opaque

    def decode(*given):
        if threading.current_thread() is not threading.main_thread() and not free:
            raise MemoryError
        return opaque(*given)

    with mock.patch.object(decoding, "_opaque", decode):
        data.from_folder(root, workers=workers)


def wide(tmp, largest):
    """Pictures of 16 bits a color, which Pillow does not write."""
    for number, label in enumerate("abab"):
        (tmp / "wide" / label).mkdir(exist_ok=True, parents=True)
        color = np.random.RandomState(number).randint(0, largest, (9, 9, 3))
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in color)
        parts = (
            (b"IHDR", struct.pack(">IIBBBBB", 9, 9, 16, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        )
        chunks = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts]
        (tmp / "wide" / label / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    data.from_folder(tmp / "wide")


def brightened(number):
    from PIL import Image

    color = np.random.RandomState(number).randint(0, 256, (9, 9, 3))
    return Image.fromarray(color.astype(np.uint8))


def other_kinds(tmp):
    """A folder with a gray picture among those in color, and one whose ending names another format."""
    files = {f"{label}/{n}.png": brightened for label in ("ant", "bee") for n in range(3)} | {"ant/gray.png": gray}
    root = drawn(tmp, files)
    brightened(7).save(root / "bee" / "odd.png", "BMP")
    return root


def read_all_the_same(tmp):
    return len(data.from_folder(other_kinds(tmp), size=8).labeled) == 8


def read(tmp, damaged):
    root = drawn(tmp, {"1.png": gray})
    path = root / "1.png"
    if damaged:
        path.write_bytes(path.read_bytes()[:60])
    FileSet([path]).images(np.zeros(1, np.int64))


def compared(*, launched):
    group = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"} if launched else {}
    words = ("compare", *from_file(), "--strategies", "supervised", "--network", "mlp", *QUICK, "--out", "compared")
    with mock.patch.dict("os.environ", group):
        command(*words)


def labeled_too(*, launched):
    group = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"} if launched else {}
    words = ("train", *from_file(), "--strategy", "fixmatch", "--network", "mlp", *QUICK, "--out", "labeled_too")
    with mock.patch.dict("os.environ", group):
        command(*words, *(["--label_to", "labels.csv"] if launched else []))
    if not launched:
        command("label", "labeled_too")


def tried(budget):
    """What is told of a candidate if so many seconds are allowed."""
    candidate = Candidate("a", "graph", "plain", lambda seed: None, 1.0)
    return "" if candidate in within([candidate], 3, budget) else _untried(candidate, budget)["reason"]


def configured(out, *words, settings='{"strategy": null}'):
    Path("config.json").write_text(settings)
    return lambda: command("train", "--config", "config.json", *from_file(), *QUICK, "--out", out, *words)


ROWS_OF = {
    "selftrain/cli/train.py": [
        Elsewhere(
            "brings its {}; leave --{} out", "unit/cli/test_cli_without_labels.py::test_a_run_brings_task_and_network"
        ),
        Row(
            "is for one process; say afterwards selftrain label",
            lambda: labeled_too(launched=True),
            lambda: labeled_too(launched=False),
        ),
        Row(
            "strategy is null; name one",
            lambda: configured("null")(),
            lambda: configured("named", "--strategy", "freematch", "--network", "mlp")(),
            lambda: configured("out", "--network", "mlp", settings="{}")(),
        ),
    ],
    "selftrain/engine/beside.py": [
        Elsewhere(
            "make it a method, or pass baseline=False",
            "unit/handlers/test_selfcheck.py::test_a_control_that_trains_the_run_itself_is_an_error",
        ),
        Elsewhere(
            "take the last ones: on_alarm='warn'",
            "unit/engine/test_on_alarm.py::test_what_cannot_be_fallen_back_to_is_told_and_the_remedy_works",
        ),
    ],
    "selftrain/handlers/selfcheck.py": [
        Elsewhere(
            "Lower the learning rate, down to 1e-7",
            "unit/engine/test_without_labels.py::test_at_a_tiny_rate_the_statistics_of_batchnorm_adapt_and_nothing_else",
        ),
        Elsewhere(
            "Lower the teacher's decay so that it follows sooner",
            "unit/handlers/test_selfcheck.py::test_what_is_said_about_a_teacher_behind_its_student_helps",
        ),
        Elsewhere(
            "Train longer if the rank is rising",
            "unit/pretrain/test_pretrain_stage.py::test_what_is_said_about_a_collapse_helps",
        ),
    ],
    "selftrain/estimator/automatic.py": [
        Elsewhere(
            "choose another folder",
            "unit/estimator/test_estimator_automatic.py::test_what_was_tried_is_stored_and_no_run_is_replaced",
        ),
    ],
    "selftrain/networks/student.py": [
        Row(
            "at any scale; lower the learning rate or use bf16",
            lambda: updated(1e15, precision="fp16"),
            lambda: updated(precision="fp16", lr=0.01),
            lambda: updated(1e15, precision="bf16", lr=1e-18),
        ),
    ],
    "selftrain/pipeline/report.py": [
        Row(
            "delete it, and the report is without it",
            lambda tmp: published(tmp, damaged=True),
            lambda tmp: published(tmp, damaged=False),
        ),
    ],
    "selftrain/pipeline/stages.py": [
        Row("use which='last'", lambda: best("best"), lambda: best("last")),
    ],
    "selftrain/cli/compare_runs.py": [
        Row("compare runs in one process", lambda: compared(launched=True), lambda: compared(launched=False)),
    ],
    "selftrain/portfolio/portfolio.py": [
        Row("raise budget", lambda: tried(0.0), lambda: tried(1e6)),
    ],
    "data/base/labels.py": [
        Row(
            ", or say {}",
            lambda: Pile.from_arrays(X, np.where(Y < 0, -5, Y)),
            lambda: Pile.from_arrays(X, np.where(Y < 0, -5, Y), no_label=[-1, -5]),
        ),
        Row(
            "a measured number and no class; name the column",
            lambda: Pile.from_arrays(X, ["high", 0.25] * 8),
            lambda: Pile.from_arrays(X, ["high", "low"] * 8),
        ),
    ],
    "data/checks/image_folders.py": [
        *(
            Row(says, lambda tmp: looked(other_kinds(tmp), size=8), read_all_the_same)
            for says in ("stored as {}, not {}; read as {}", "read all the same")
        ),
    ],
    "data/loading/workers.py": [
        Row(
            "allow more with BatchPlan(timeout=...)",
            explained,
            lambda: longer(300),
            lambda: st.fit(strategy(), pile(), steps=1, plan=BatchPlan(4, workers=0)),
        ),
    ],
    "data/readers/datasets.py": [
        Row(
            "pass root=FOLDER",
            download,
            lambda tmp: data.load("mnist", labels=10, root=idx(tmp / "mnist")),
        ),
    ],
    "data/readers/decoding.py": [
        Row(
            "read with fewer workers, or free memory",
            lambda tmp: little_memory(tmp, workers=2),
            lambda tmp: little_memory(tmp, workers=0),
            lambda tmp: little_memory(tmp, workers=2, free=True),
        ),
        Row(
            "save them with 8 bits, brightened first",
            lambda tmp: wide(tmp, 256),
            lambda tmp: data.from_folder(drawn(tmp, {f"{c}/{n}.png": brightened for c in "ab" for n in range(2)})),
        ),
    ],
    "data/readers/scanning.py": [
        Row("; repair or remove it", lambda tmp: read(tmp, damaged=True), lambda tmp: read(tmp, damaged=False)),
    ],
}
