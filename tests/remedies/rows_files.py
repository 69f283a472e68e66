"""Remedies of the messages of files: what a check finds, what is left out, what is stored; and of opened runs."""

import warnings
from functools import partial
from unittest import mock

import numpy as np
import torch
from PIL import Image
from remedies import Elsewhere, Row, setting
from safetensors.torch import save_file
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.data import ArraySet, DatasetSet, Pile, StoredSet
from selftrain.data.readers.scanning import in_parallel
from selftrain.graph.neighbors import _approximate, knn_graph
from selftrain.labels.ledger import Ledger
from selftrain.labels.review import read_review
from selftrain.runtime.distributed.group import Ranks
from selftrain.storage.tensors import read_tensors
from selftrain.storage.untrusted import from_yaml
from selftrain.tensorboard import settings as board
from selftrain.types import PseudoLabels

_draws = np.random.RandomState(0)
X = _draws.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 2
PART = np.where(np.arange(12) < 6, Y, -1)
TALL = torch.ones(6, 2, 3)  # joints in 12 rows and 6 columns of cells
TALL[..., 0], TALL[..., 1] = torch.rand(6, 2) * 5, 6 + torch.rand(6, 2) * 5
HEADER = "id,label,class,confidence,verdict,correction\n"


def looked(*parts, **settings):
    """What a check says."""
    return str(data.check(*parts, **settings))


def arrays(x=X, y=Y, **settings):
    return looked(Pile.from_arrays(x, y, **settings))


def shown(tmp, files, **settings):
    """What a check says of a folder of pictures."""
    return looked(drawn(tmp, files), **settings)


def drawn(tmp, files):
    root = tmp / "pictures"
    for number, (name, make) in enumerate(files.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(make, bytes):
            (root / name).write_bytes(make)
        else:
            make(number).save(
                root / name, **({"save_all": True, "append_images": [make(9)]} if name.endswith(".tif") else {})
            )
    return root


def gray(number, side=8):
    return Image.fromarray(np.random.RandomState(number).randint(0, 255, (side, side)).astype(np.uint8))


def equal(number):
    return gray(77)


def wide(number):
    return Image.new("L", (40, 8), number)


def clear(number):
    """What it shows is in the alpha channel alone."""
    return Image.fromarray(
        np.dstack([np.full((8, 8, 3), 255), np.random.RandomState(number).randint(0, 255, (8, 8))]).astype(np.uint8)
    )


def opaque(number):
    return Image.alpha_composite(Image.new("RGBA", (8, 8), "black"), clear(number)).convert("RGB")


def deep(number, top=900):
    return Image.fromarray(np.random.RandomState(number).randint(0, top, (8, 8)).astype(np.uint16))


TWO = {"cat/1.png": gray, "dog/1.png": gray}


def posed(joints):
    pile = Pile(ArraySet(torch.rand(6, 1, 24, 12), joints), ArraySet(torch.rand(6, 1, 24, 12)))
    make = st.learner(lambda: nn.Conv2d(1, 2, 2, stride=2))
    st.fit(strategies.Supervised(st.Keypoints(2, (12, 6)), make), pile, steps=1, plan=st.BatchPlan(4))


def stored(tmp, array, cut=0):
    np.save(tmp / "x.npy", array)
    if cut:
        (tmp / "x.npy").write_bytes((tmp / "x.npy").read_bytes()[:-cut])
    return StoredSet(tmp / "x.npy").images(np.arange(2))


def changed(tmp, old, new):
    """A ledger's file in which somebody changed a number."""
    text = named("a").to_csv(tmp / "l.csv").read_text(encoding="utf-8")
    assert old in text
    (tmp / "l.csv").write_text(text.replace(old, new), encoding="utf-8")
    return Ledger.read(tmp / "l.csv")


def review(tmp, text, header=HEADER, encoding="utf-8"):
    (tmp / "l.csv").write_bytes((header + text).encode(encoding))
    return read_review(tmp / "l.csv", ("ant", "bee"))


def saved(tmp, content):
    if content is None:
        (tmp / "w.safetensors").write_bytes(b"nothing of the kind")
    else:
        save_file(content, tmp / "w.safetensors")
    return read_tensors(tmp / "w.safetensors")


class Random:
    """A data set whose items are drawn, or not."""

    def __init__(self, draws):
        self.draws = draws

    def __len__(self):
        return 4

    def __getitem__(self, row):
        return torch.rand(3) if self.draws else torch.full((3,), float(row))


def run(classes=2, **settings):
    """A step of training on rows of two classes."""
    strategy = strategies.Supervised(st.Classification(classes), st.learner(lambda: nn.Linear(3, 2)))
    return st.fit(strategy, Pile.from_arrays(X, PART), steps=1, plan=st.BatchPlan(4), **settings)


def without(package, do):
    """As if a package was not installed."""
    with mock.patch("importlib.util.find_spec", lambda name: None if name == package else object()):
        return do()


def deferred(tmp, files):
    """What a check says of a pile whose files are looked at when they are read."""
    views = data.TensorViews(mean=0.5, std=0.2)
    return looked(data.from_folder(drawn(tmp, files), on_error="defer", size=8, views=views))


def bad(tmp):
    (tmp / "1.png").write_bytes(b"no picture")
    return tmp / "1.png"


def skipped(tmp):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data.from_folder(tmp / "pictures", on_error="skip", max_skipped=0.5).skipped


def listed(tmp, lines):
    (tmp / "labels.csv").write_text("path,label\n" + lines, encoding="utf-8")
    return shown(tmp, TWO, labels_csv=tmp / "labels.csv")


def named(name):
    made = Ledger([name], ("ant", "bee"))
    made.write(PseudoLabels(torch.tensor([0]), torch.tensor([[0.9, 0.1]]), torch.ones(1)), st.Classification(2), 0)
    return made


OPENED = "unit/engine/test_open_run.py::test_"
ALBUM = "unit/data/test_data_albumentations.py::test_"
B, R, K, S = "data/base", "data/readers", "data/checks", "selftrain/storage"
ROWS_OF = {
    f"{B}/fitting.py": [
        Row(
            "as (y, x) all would lie inside: swap the two",
            lambda: posed(TALL[..., [1, 0, 2]]),
            lambda: posed(TALL[..., [1, 0, 2]][..., [1, 0, 2]]),
        ),
        Row(
            "divide x by {}, y by {}",
            lambda: posed(TALL * torch.tensor([2.0, 2, 1]) + torch.tensor([1.0, 0, 0])),
            lambda: posed((TALL * torch.tensor([2.0, 2, 1]) + torch.tensor([1.0, 0, 0])) / torch.tensor([2.0, 2, 1])),
        ),
        Row(
            "give x (column) and y (row) in cells",
            lambda: posed(TALL + torch.tensor([500.0, 500, 0])),
            lambda: posed(TALL),
        ),
        Row(
            "give x and y in cells",
            lambda: posed(TALL / torch.tensor([6.0, 12, 1])),
            lambda: posed(TALL / torch.tensor([6.0, 12, 1]) * torch.tensor([6.0, 12, 1])),
        ),
        Row(
            "{}: multiply by width and height",
            lambda: posed(TALL / torch.tensor([6.0, 12, 1])),
            lambda: posed(TALL / torch.tensor([6.0, 12, 1]) * torch.tensor([6.0, 12, 1])),
        ),
    ],
    f"{B}/stored.py": [
        Row(
            "save plain numbers or text",
            lambda tmp: stored(tmp, X.astype(object)),
            lambda tmp: stored(tmp, X),
        ),
        Row("is cut short", lambda tmp: stored(tmp, X, 8), lambda tmp: stored(tmp, X)),
    ],
    f"{K}/checking.py": [
        Row(
            "that cannot be used; correct or remove",
            lambda tmp: deferred(tmp, TWO | {"cat/2.png": b"no"}),
            lambda tmp: deferred(tmp, TWO | {"cat/2.png": gray}),
            lambda tmp: ((tmp / "pictures/cat/2.png").unlink(), deferred(tmp, TWO))[1],
        ),
    ],
    f"{K}/contents.py": [
        Row(
            "correct the labels, or remove all copies",
            lambda: arrays(np.repeat(X[:6], 2, 0)),
            lambda: arrays(np.repeat(X[:6], 2, 0), np.repeat(Y[:6], 2)),
            lambda: arrays(),
        ),
        Row(
            "which makes the result look better; remove one",
            lambda: arrays(x_test=X[:4], y_test=Y[:4]),
            lambda: arrays(x_test=X[:4] + 1, y_test=Y[:4]),
        ),
        Row(
            "the pile shows what is tested; remove one",
            lambda: arrays(y=np.where(np.arange(12) < 6, Y, -1), x_test=X[8:], y_test=Y[8:]),
            lambda: arrays(X[:8], np.where(np.arange(8) < 6, Y[:8], -1), x_test=X[8:], y_test=Y[8:]),
        ),
        Row(
            "label some of its samples",
            lambda: arrays(classes=["a", "b", "c"]),
            lambda: arrays(y=np.arange(12) % 3, classes=["a", "b", "c"]),
        ),
        Row(
            "give them one name, or they are learned as two",
            lambda: arrays(y=[*["Cat", "cat", "dog"] * 4]),
            lambda: arrays(y=[*["cat", "cat", "dog"] * 4]),
        ),
    ],
    f"{K}/image_folders.py": [
        Row(
            "of the CSV leading out of the folder; correct or remove",
            lambda tmp: listed(tmp, "../1.png,cat\ndog/1.png,dog\n"),
            lambda tmp: listed(tmp, "cat/1.png,cat\ndog/1.png,dog\n"),
            lambda tmp: listed(tmp, "dog/1.png,dog\n"),
        ),
        Row(
            "of the CSV listing a file again; keep one",
            lambda tmp: listed(tmp, "cat/1.png,cat\ncat/1.png,cat\n"),
            lambda tmp: listed(tmp, "cat/1.png,cat\n"),
        ),
        Row(
            "pass {} to bring all to one",
            lambda tmp: shown(tmp, TWO | {"cat/2.png": partial(gray, side=9)}),
            lambda tmp: shown(tmp, TWO | {"cat/2.png": partial(gray, side=9)}, size=8),
        ),
    ],
    f"{R}/decoding.py": [
        Row(
            "gray level{} of {} are left; say {}",
            lambda tmp: data.from_folder(drawn(tmp, {"cat/1.png": deep, "dog/1.png": deep}), mode="L"),
            lambda tmp: data.from_folder(tmp / "pictures", mode="L", limits=(0, 900)),
        ),
        Row(
            "cannot read image {}: {}; repair or remove it",
            lambda tmp: data.FileSet([bad(tmp)]).images(np.arange(1)),
            lambda tmp: (
                (gray(0).save(bad(tmp)), data.FileSet([tmp / "1.png"]).images(np.arange(1)))[1].shape == (1, 3, 8, 8)
            ),
        ),
    ],
    f"{R}/folders.py": [
        Row(
            "see pile.skipped",
            lambda tmp: data.from_folder(drawn(tmp, TWO | {"cat/2.png": b"no"}), on_error="skip", max_skipped=0.5),
            lambda tmp: [name for name, _ in skipped(tmp)] == ["cat/2.png"],
        ),
    ],
    f"{R}/left_out.py": [
        Row(
            "convert what is a picture to one of {}",
            lambda tmp: data.from_folder(drawn(tmp, TWO | {"cat/2.tga": gray})),
            lambda tmp: (
                Image.open(tmp / "pictures/cat/2.tga").save(tmp / "pictures/cat/2.png"),
                (tmp / "pictures/cat/2.tga").unlink(),
                data.from_folder(tmp / "pictures"),
            ),
        ),
        Row(
            "pass one as folder and the other as test=",
            lambda tmp: data.from_folder(
                drawn(
                    tmp,
                    {"train/cat/1.png": gray, "train/dog/1.png": gray, "test/cat/1.png": gray, "test/dog/1.png": gray},
                )
            ),
            lambda tmp: data.from_folder(tmp / "pictures/train", test=tmp / "pictures/test"),
        ),
        Row(
            "save the others as files of their own",
            lambda tmp: data.from_folder(drawn(tmp, {"cat/1.tif": gray, "dog/1.png": gray})),
            lambda tmp: (
                (tmp / "pictures/cat/1.tif").unlink(),
                data.from_folder(drawn(tmp, {"cat/1.png": gray, "cat/2.png": gray})),
            ),
        ),
        Row(
            "lay them on another color before",
            lambda tmp: data.from_folder(drawn(tmp, {"cat/1.png": clear, "dog/1.png": clear})),
            lambda tmp: data.from_folder(drawn(tmp, {"cat/1.png": opaque, "dog/1.png": opaque})),
        ),
        Row(
            "keep all with {}",
            lambda tmp: data.from_folder(drawn(tmp, {"cat/1.png": wide, "dog/1.png": wide}), size=8),
            lambda tmp: data.from_folder(tmp / "pictures", size=8, fit="pad"),
            lambda tmp: data.from_folder(tmp / "pictures", size=8, fit="stretch"),
        ),
    ],
    f"{R}/scanning.py": [setting("workers is {}", partial(in_parallel, len, ["a"]), "workers", -1, 0, 2)],
    f"{R}/wrapped.py": [
        Row("take its random transforms out", lambda: DatasetSet(Random(True)), lambda: DatasetSet(Random(False))),
    ],
    "data/views/albumentations.py": [
        Elsewhere("use TableViews for tables", f"{ALBUM}results_of_different_size_are_refused"),
        Elsewhere("end it with a crop or a resize", f"{ALBUM}results_of_different_size_are_refused"),
        Elsewhere("pass albumentations.Compose([...])", f"{ALBUM}a_pipeline_of_another_library_is_refused"),
        Elsewhere("has a Normalize", f"{ALBUM}a_pipeline_that_normalizes_is_refused_and_the_remedy_works"),
        Elsewhere("do not normalize in it", f"{ALBUM}a_pipeline_that_changes_the_scale_is_refused"),
    ],
    "selftrain/engine/spec.py": [
        Elsewhere("pass it: st.open_run({}, {}=...)", f"{OPENED}arrays_in_memory_are_asked_for_when_they_are_needed"),
        Elsewhere(
            "build it as it was and pass it: strategy=...", f"{OPENED}a_strategy_that_is_passed_takes_the_weights"
        ),
        Elsewhere(
            "it was changed after it was built", f"{OPENED}a_network_that_was_changed_after_it_was_built_is_noticed"
        ),
        Row(
            "pass the pile that the run was on",
            lambda tmp: (
                run(out=tmp / "r"),
                len(st.open_run(tmp / "r", pile=Pile.from_arrays(X[:9], PART[:9])).ledger),
            ),
            lambda tmp: len(st.open_run(tmp / "r", pile=Pile.from_arrays(X, PART)).ledger) == 6,
        ),
    ],
    "selftrain/_compat.py": [
        Row(
            "{} of fit will go in 1.0; pass {}",
            lambda: run(eval_every=1),
            lambda: run(evaluation=st.Evaluation(every=1)),
        ),
        Row(
            "is the old name of what {} says",
            lambda: run(eval_every=1, evaluation=st.Evaluation(every=1)),
            lambda: run(evaluation=st.Evaluation(every=1)),
        ),
    ],
    "selftrain/graph/neighbors.py": [
        Row(
            "approximate=True needs pynndescent",
            lambda: without("pynndescent", partial(knn_graph, X, approximate=True)),
            lambda: without("pynndescent", partial(knn_graph, X, approximate=False)),
        ),
        Row(
            "for a fast search, or set approximate=False if this is meant",
            lambda: without("pynndescent", partial(_approximate, None, 60_000)),
            lambda: without("pynndescent", partial(_approximate, False, 60_000)) is False,
            lambda: without("none", partial(_approximate, None, 60_000)),
        ),
    ],
    "selftrain/runtime/distributed/group.py": [
        setting("{} is {}; choose 'joint' or 'own'", Ranks, "batchnorm", "none", "joint", "own"),
        setting("weights is {}; choose 'copied' or 'sharded'", Ranks, "weights", "split", "copied", "sharded"),
        Elsewhere(
            "start it with torchrun",
            "unit/runtime/test_sharded.py::test_one_process_without_a_launcher_is_refused",
        ),
        setting("timeout is {} seconds", Ranks, "timeout", 0, 1),
    ],
    "selftrain/tensorboard/settings.py": [setting("{} is {}; it must be {} or more", board.Dashboard, "every", 0, 1)],
    f"{S}/tables.py": [
        Row(
            "from {} to {}; correct it",
            lambda tmp: changed(tmp, "0.9", "7.5"),
            lambda tmp: changed(tmp, "0.9", "0.5"),
        ),
        Row(
            "which Parquet needs; write CSV instead",
            lambda tmp: named("a\ud800").to_parquet(tmp / "l.parquet"),
            lambda tmp: named("a\ud800").to_csv(tmp / "l.csv"),
        ),
        Row(
            "save it as CSV in UTF-8",
            lambda tmp: review(tmp, "é,0,ant,0.5,accept,\n", encoding="latin-1"),
            lambda tmp: review(tmp, "é,0,ant,0.5,accept,\n"),
        ),
        Row(
            "put text that holds the delimiter in quotes",
            lambda tmp: review(tmp, "a,0,ant,0.5,accept,,b\n"),
            lambda tmp: review(tmp, '"a,b",0,ant,0.5,accept,\n'),
        ),
        Row("is empty; it needs the columns", lambda tmp: review(tmp, "", header=""), lambda tmp: review(tmp, "")),
        Row(
            "export it as CSV in UTF-8",
            lambda tmp: review(tmp, "a\n", header="id\n"),
            lambda tmp: review(tmp, "a,0,ant,0.5,accept,\n"),
        ),
        Row(
            "twice; remove one",
            lambda tmp: review(tmp, "a,a,reject,\n", header="id,id,verdict,correction\n"),
            lambda tmp: review(tmp, "a,reject,\n", header="id,verdict,correction\n"),
        ),
        Row(
            "is no whole Parquet file",
            lambda tmp: ((tmp / "l.parquet").write_bytes(b"PAR1"), Ledger.read(tmp / "l.parquet")),
            lambda tmp: (named("a").to_parquet(tmp / "l.parquet"), Ledger.read(tmp / "l.parquet")),
        ),
    ],
    f"{S}/tensors.py": [
        Row(
            "write it anew, or say another file",
            lambda tmp: saved(tmp, None),
            lambda tmp: saved(tmp, {"a": torch.ones(2)}),
        ),
    ],
    f"{S}/untrusted.py": [
        Row(
            "write without anchors (&) what is meant",
            lambda: from_yaml(
                "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b ["
                + "*a," * 99
                + "*a]\nc: &c ["
                + "*b," * 99
                + "*b]\nd: ["
                + "*c," * 99
                + "*c]\n"
            ),
            lambda: from_yaml("a: [1,1,1,1,1,1,1,1,1,1]\n"),
        ),
    ],
}
