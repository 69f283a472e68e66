"""Remedies of the messages of ``data/readers``, ``data/pile.py`` and what stands around them."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from PIL import Image
from remedies import Elsewhere, Row, setting
from torch import nn
from torch.utils.data import IterableDataset

from selftrain import strategies, toy
from selftrain.data import (
    DatasetSet,
    FileSet,
    Pile,
    TableEncoding,
    from_arrays_file,
    from_dataset,
    from_folder,
    from_path,
    from_table,
    load,
)
from selftrain.data.base.samples import ArraySet
from selftrain.data.readers.decoding import read_idx
from selftrain.labels.review import read_review
from selftrain.networks.foundation import Foundation
from selftrain.strategy.base import Needs
from selftrain.types import BatchPlan, View

_draws = np.random.RandomState(0)
X = _draws.normal(size=(8, 3)).astype(np.float32)
Y = np.array([0, 1, 0, 1, 0, 1, -1, -1])
PICTURES = _draws.randint(0, 255, (6, 8, 8, 1)).astype(np.uint8)
CPU = torch.device("cpu")


def arrays(tmp, name="data.npz", **parts):
    """An array file with x and y, and what is given."""
    given = {"x": X, "y": Y} | parts
    np.savez(tmp / name, **{key: value for key, value in given.items() if value is not None})
    return from_arrays_file(tmp / name)


def folder_of(tmp, **parts):
    """A folder of .npy files."""
    for key, value in parts.items():
        np.save(tmp / f"{key}.npy", value)
    return from_arrays_file(tmp)


def frame(**columns):
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": [*"uvuvuv", None, None]} | columns)


def table(given=None, label="kind", **settings):
    """A pile from a table, whose rows can be read."""
    made = from_table(frame() if given is None else given, label, **settings)
    assert (made.labeled or made.unlabeled).images(np.arange(1)).isfinite().all()
    return made


def csv(tmp, text, label="kind", **settings):
    (tmp / "t.csv").write_text(text, encoding="utf-8")
    return table(tmp / "t.csv", label, **settings)


def folder(tmp, files=None, **settings):
    """A pile from a folder of pictures; ``files`` are sizes by name."""
    root = tmp / "pictures"
    for name, side in ({"cat/1.png": 8, "dog/1.png": 8} if files is None else files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if side is None:
            (root / name).write_bytes(b"no picture")
        elif isinstance(side, Image.Image):
            side.save(root / name)
        else:
            Image.new("RGB", (side, side), (side, 0, 0)).save(root / name)
    made = from_folder(root, **settings)
    made.labeled.images(np.arange(len(made.labeled)))
    return made


def listed(tmp, text, **files):
    """A pile from a folder with a CSV file of labels."""
    (tmp / "labels.csv").write_text(text, encoding="utf-8")
    return folder(tmp, files or None, labels_csv=tmp / "labels.csv")


class Items:
    """A data set of these items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.rand(3), 0), (torch.rand(3), 1)])


def odd(width):
    """An encoder that says this width of its three features."""
    return Foundation(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), embed_dim=width, mean=[0.0], std=[1.0], frozen=True
    )


class Bare:
    """Views of one's own, without mean and std."""

    def fitted(self, samples):
        return self

    def __call__(self, name, images, index, epoch):
        return View(images)


def reviewed(tmp):
    (tmp / "reviewed.csv").write_text("id,verdict,correction\ng,,1\n", encoding="utf-8")
    return tmp / "reviewed.csv"


def touched(path):
    path.write_bytes(b"1")
    return path


def made(tmp):
    (tmp / "made").mkdir(exist_ok=True)
    return tmp / "made"


def files(tmp, *sides, **settings):
    for i, side in enumerate(sides):
        Image.new("RGB", (side, side)).save(tmp / f"{i}.png")
    return FileSet([tmp / f"{i}.png" for i in range(len(sides))], **settings).images(np.arange(len(sides)))


def safe(pixels, do):
    """With another limit of Pillow's."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
    try:
        return do()
    finally:
        Image.MAX_IMAGE_PIXELS = before


def idx(tmp, values):
    head = bytes([0, 0, 8, 1]) + (4).to_bytes(4, "big")
    (tmp / "x").write_bytes(head + bytes(values))
    return tmp / "x"


LONG = {"a": _draws.normal(size=60).round(3), "b": _draws.normal(size=60), "kind": [*"uv"] * 30}
PAIRS = [(torch.rand(3), k % 2) for k in range(4)]
ENCODING = TableEncoding.from_dict(table(LONG).encoding)
LABELED = ArraySet(X[:6], torch.tensor(Y[:6]))
REVIEWED = Pile.from_arrays(X, Y, ids=list("abcdefgh"))
KEYPOINTS = ArraySet(np.zeros((2, 8, 8, 1), np.uint8), torch.ones(2, 2, 3))
MASKED = Pile(ArraySet(PICTURES, torch.zeros(6, 8, 8, dtype=torch.long)), ArraySet(PICTURES), classes=["a", "b"])
FLOATS = Image.fromarray(np.linspace(-5, 900, 64, dtype=np.float32).reshape(8, 8))
HOLES = Image.fromarray(np.where(np.eye(8) == 1, np.nan, 1).astype(np.float32))
ENCODED = {"shape": [3], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
TEXT = "a,kind\n" + "".join(f"{i},{'uv'[i % 2]}\n" for i in range(8))


def encode(encoder, **settings):
    return Pile.from_arrays(PICTURES, Y[:6]).encoded(encoder, views=0, **settings)


def stream(unlabeled=LABELED, labeled=LABELED, *, views=("weak",), labels=True, share=None, **plan):
    task = toy.task("classification").encode if labels else None
    needs = Needs(views=views, encode=task)
    return Pile(labeled, unlabeled).stream(needs, BatchPlan(2, **plan), CPU)


R = "data/readers"
ROWS_OF = {
    "data/pile.py": [
        Row(
            "check where the data are read",
            lambda: Pile(None, None),
            lambda: Pile(LABELED, None),
            lambda: Pile(None, LABELED),
        ),
        Row(
            "true labels; give one for each",
            lambda: Pile(LABELED, LABELED, truth=torch.ones(2, dtype=torch.long)),
            lambda: Pile(LABELED, LABELED, truth=torch.ones(6, dtype=torch.long)),
        ),
        Row(
            "pass both, or leave out {}",
            lambda: Pile.from_arrays(X, Y, x_test=X),
            lambda: Pile.from_arrays(X, Y, x_test=X[:6], y_test=Y[:6]),
            lambda: Pile.from_arrays(X, Y),
        ),
        Row(
            "the training samples have no annotations",
            lambda: Pile.from_samples(ArraySet(X)),
            lambda: Pile.from_samples(ArraySet(X, torch.tensor(Y))),
        ),
        Row(
            "learn both from the same columns",
            lambda: Pile.from_arrays(X[:, :2], Y).normalized_as(ENCODED),
            lambda: Pile.from_arrays(X, Y).normalized_as(ENCODED),
        ),
        Row(
            "resize the data first",
            lambda: Pile.from_arrays(PICTURES, Y[:6]).normalized_as({"shape": [1, 4, 4], "mean": [0.0], "std": [1.0]}),
            lambda: Pile.from_arrays(PICTURES[:, ::2, ::2], Y[:6], channels="last").normalized_as(
                {"shape": [1, 4, 4], "mean": [0.0], "std": [1.0]}
            ),
        ),
        Row(
            "take no mean and std; normalize the data before",
            lambda: Pile.from_arrays(X[:, None], Y, kind="series", views=Bare()).normalized_as(
                {"shape": [1, 3], "mean": [2.0], "std": [2.0]}
            ),
            lambda: Pile.from_arrays((X[:, None] - 2) / 2, Y, kind="series", views=Bare()).normalized_as(
                {"shape": [1, 3], "mean": None, "std": None}
            ),
        ),
        Row(
            "take the card of another copy",
            lambda: Pile.from_arrays(X, Y).normalized_as(ENCODED | {"mean": [1.0]}),
            lambda: Pile.from_arrays(X, Y).normalized_as(ENCODED),
        ),
        setting(
            "views is {}", lambda views: Pile.from_arrays(PICTURES, Y[:6]).encoded(odd(3), views=views), "views", -1, 0
        ),
        Row(
            "features are one row a sample: fine-tune it",
            lambda: MASKED.encoded(odd(3)),
            lambda: strategies.Supervised(toy.task("segmentation"), toy.learner("segmentation")),
        ),
        Row(
            "pass labeled images as unlabeled too",
            lambda: stream(None, labels=False),
            lambda: stream(LABELED, labels=False),
        ),
        setting(
            "or pass a set",
            lambda part: Pile(LABELED, None).evaluation(part, 2, CPU),
            "part",
            "all",
            "unlabeled",
            "pile",
            "labeled",
            "validation",
            "test",
            LABELED,
        ),
        setting(
            "is no set of samples",
            lambda part: Pile(LABELED, None).evaluation(part, 2, CPU),
            "part",
            X,
            "labeled",
            LABELED,
        ),
        Row(
            "is no review; read it first",
            lambda: REVIEWED.reviewed("reviewed.csv"),
            lambda tmp: REVIEWED.reviewed(read_review(reviewed(tmp), REVIEWED.classes)),
        ),
        Row(
            "apply a review to the pile its ledger is about",
            lambda: REVIEWED.reviewed({"z": 1}),
            lambda: REVIEWED.reviewed({"g": 1}),
        ),
        Row(
            "give each an id of its own",
            lambda: Pile.from_arrays(X, Y, ids=list("abcdefgg")).reviewed({"g": 1}),
            lambda: Pile.from_arrays(X, Y, ids=list("abcdefgh")).reviewed({"g": 1}),
        ),
        Row(
            "correct it, or add the class to the pile",
            lambda: REVIEWED.reviewed({"g": 2}),
            lambda: REVIEWED.reviewed({"g": 1}),
            lambda: Pile.from_arrays(X, Y, ids=list("abcdefgh"), classes=["u", "v", "w"]).reviewed({"g": 2}),
        ),
        Row(
            "reject it, or accept it in the file",
            lambda: MASKED.reviewed({MASKED.unlabeled.ids[0]: 1}),
            lambda: MASKED.reviewed({MASKED.unlabeled.ids[0]: -1}),
        ),
        Row(
            "give its class or leave it out",
            lambda: Pile(ArraySet(X, torch.tensor(Y)), None),
            lambda: Pile(ArraySet(X, torch.tensor(np.maximum(Y, 0))), None),
            lambda: Pile(LABELED, None),
        ),
    ],
    "data/encoded.py": [
        Row("as its embed_dim says", lambda: encode(odd(2)), lambda: encode(odd(3))),
        Row(
            "choose another folder",
            lambda tmp: encode(odd(3), cache=touched(tmp / "file")),
            lambda tmp: encode(odd(3), cache=tmp / "folder"),
        ),
    ],
    "data/loading/evaluation.py": [
        setting("batch_size is {}", lambda size: Pile(LABELED, None).evaluation("labeled", size, CPU), "size", 0, 1),
        Row(
            "give each one, or pass them as unlabeled",
            lambda: Pile(ArraySet(X), None),
            lambda: Pile(LABELED, None),
            lambda: Pile(None, ArraySet(X)),
        ),
    ],
    f"{R}/arrays.py": [
        Elsewhere(
            "save inputs as x",
            "unit/data/test_data_stored.py::test_files_that_a_run_is_asked_about_keep_their_order_and_their_names",
        ),
        Row(
            "has x_validation; leave out one of them",
            lambda tmp: (
                arrays(tmp, x_validation=X[:2], y_validation=Y[:2]),
                from_arrays_file(tmp / "data.npz", validation=2),
            ),
            lambda tmp: arrays(tmp, x_validation=X[:2], y_validation=Y[:2]),
            lambda tmp: (arrays(tmp), from_arrays_file(tmp / "data.npz", validation=2)),
        ),
        Row("save x as x.npy", lambda tmp: folder_of(made(tmp)), lambda tmp: folder_of(made(tmp), x=X)),
        Row(
            "convert it to one",
            lambda tmp: from_arrays_file(touched(tmp / "x.pt")),
            lambda tmp: arrays(tmp),
            lambda tmp: folder_of(made(tmp), x=X, y=Y),
        ),
        Row(
            "save plain numbers or text",
            lambda tmp: arrays(tmp, x=X.astype(object)),
            lambda tmp: arrays(tmp, x=X.astype(object).astype(float)),
            lambda tmp: arrays(tmp, y=np.where(Y < 0, "", Y.astype(str))),
        ),
        Row(
            "say {} for another",
            lambda tmp: arrays(tmp, x=None, y=None, inputs=X),
            lambda tmp: from_arrays_file(tmp / "data.npz", keys={"inputs": "x"}),
        ),
        Row(
            "add it, or leave out {}",
            lambda tmp: arrays(tmp, x_test=X),
            lambda tmp: arrays(tmp, x_test=X[:6], y_test=Y[:6]),
            lambda tmp: arrays(tmp),
        ),
        Row(
            "save all in one way",
            lambda tmp: arrays(tmp, x_test=X[:6], y_test=np.array(["0", "1"] * 3)),
            lambda tmp: arrays(tmp, x_test=X[:6], y_test=Y[:6]),
        ),
        Row(
            "{} beside {}: pass the folder to read all",
            lambda tmp: (folder_of(made(tmp), x=X, y=Y), from_arrays_file(tmp / "made" / "x.npy"))[1].summary.left_out[
                0
            ],
            lambda tmp: from_arrays_file(tmp / "made"),
        ),
    ],
    f"{R}/cells.py": [
        setting(
            "say number, number:,",
            lambda columns: table(columns=columns),
            "columns",
            {"a": "text"},
            {"a": "number"},
            {"a": "category"},
            {"a": "drop"},
        ),
        setting(
            "say number, number:,",
            lambda columns: table(frame(a=["1,5", "2,5", "3,5", "1,5"] * 2), columns=columns),
            "columns",
            {"a": "numbers"},
            {"a": "number:,"},
        ),
        setting(
            "say number, number:,",
            lambda columns: table(frame(a=[f"0{k}/03/2020" for k in range(1, 9)]), columns=columns),
            "columns",
            {"a": "day"},
            {"a": "date"},
            {"a": "date:%d/%m/%Y"},
        ),
    ],
    f"{R}/columns.py": [
        Row(
            "say category, drop, or {}",
            lambda: table(frame(a=[*"pqpqpqpq"]), columns={"a": "number"}),
            lambda: table(frame(a=[*"pqpqpqpq"]), columns={"a": "category"}),
            lambda: table(frame(a=[*"pqpqpqpq"]), columns={"a": "drop"}),
        ),
        Row(
            "say category, drop, or {}",
            lambda: table(frame(a=["2020_01_05"] * 8), columns={"a": "date"}),
            lambda: table(frame(a=["2020_01_05"] * 8), columns={"a": "date:%Y_%m_%d"}),
        ),
        Row(
            "which is {}; correct it or leave it empty",
            lambda: ENCODING.encode({"a": ["big"], "b": ["1"]}),
            lambda: ENCODING.encode({"a": ["1.5"], "b": ["1"]}),
            lambda: ENCODING.encode({"a": [""], "b": ["1"]}),
        ),
        Row(
            "and was learned from {}; turn it into these",
            lambda: ENCODING.encode({"a": pd.to_datetime(["2020-01-01"]), "b": ["1"]}),
            lambda: ENCODING.encode({"a": [1.5], "b": ["1"]}),
        ),
        Row(
            "correct it, or leave it out",
            lambda: table(frame(a=["1.5", "2,5"] * 4)),
            lambda: table(frame(a=["1.5", "2.5"] * 4)),
            lambda: table(frame(a=["1.5", "2,5"] * 4), columns={"a": "drop"}),
        ),
        Row(
            "which is no finite number",
            lambda: table(frame(a=[np.inf, *X[1:, 0]])),
            lambda: table(frame(a=[3.0, *X[1:, 0]])),
            lambda: table(frame(a=[None, *X[1:, 0]])),
        ),
        *(
            Elsewhere(says, "unit/data/test_data_columns.py::test_what_is_doubtful_is_told_and_the_remedy_helps")
            for says in (
                "if a column holds names, say {category}",
                "which teaches nothing: {}; leave it out",
                "row numbers or ids are learned from",
                "are rather ids: {}",
                "if they are codes, say {category}",
                "dates can be read in two ways",
                "to read the others as missing, say {number}",
            )
        ),
        Elsewhere(
            "numbers can be read in two ways",
            "unit/data/test_data_columns.py::test_thousands_or_decimals_is_asked_where_nothing_tells",
        ),
    ],
    f"{R}/datasets.py": [setting("no data set {}", partial(load, labels=50), "name", "digit", "digits")],
    f"{R}/decoding.py": [
        Row(
            "is no whole IDX file of bytes",
            lambda tmp: read_idx(idx(tmp, 3)),
            lambda tmp: read_idx(idx(tmp, 4)),
        ),
        Row(
            "raise PIL.Image.MAX_IMAGE_PIXELS if you trust it",
            lambda tmp: safe(60, lambda: files(tmp, 8)),
            lambda tmp: safe(60, lambda: files(tmp, 7)),
            lambda tmp: safe(64, lambda: files(tmp, 8)),
        ),
        Row(
            "holds values that are not finite; repair or remove it",
            lambda tmp: folder(
                tmp, {"cat/1.tif": HOLES, "dog/1.tif": HOLES}, mode="L", on_error="defer", size=8, limits=(0, 5)
            ),
            lambda tmp: folder(
                tmp,
                dict.fromkeys(["cat/1.tif", "dog/1.tif"], FLOATS),
                mode="L",
                on_error="defer",
                size=8,
                limits=(0, 5),
            ),
        ),
        Row(
            "say which are black and white",
            lambda tmp: folder(tmp, dict.fromkeys(["cat/1.tif", "dog/1.tif"], FLOATS), mode="L"),
            lambda tmp: folder(tmp, dict.fromkeys(["cat/1.tif", "dog/1.tif"], FLOATS), mode="L", limits=(-5, 900)),
        ),
    ],
    f"{R}/encoding.py": [
        Row(
            "pass what TableEncoding.as_dict returned",
            lambda: TableEncoding.from_dict({"columns": [{"name": 3}]}),
            lambda: TableEncoding.from_dict(TableEncoding.from_dict(table().encoding).as_dict()),
        ),
        Row(
            "leave it out ({}), {}use it as id ({}), or raise max_categories",
            lambda: table(frame(a=[*"pqrstuvw"]), max_categories=5),
            lambda: table(frame(a=[*"pqrstuvw"]), max_categories=5, columns={"a": "drop"}),
            lambda: table(frame(a=[*"pqrstuvw"]), max_categories=5, id="a"),
            lambda: table(frame(a=[*"pqrstuvw"]), max_categories=8),
        ),
        Row(
            "read what are no numbers as missing",
            lambda: table(frame(a=[*"12pqrstu"]), max_categories=5),
            lambda: table(frame(a=[*"12pqrstu"]), max_categories=5, columns={"a": "number"}),
        ),
    ],
    f"{R}/files.py": [
        Row(
            "correct its path or remove it from the list",
            lambda tmp: FileSet([touched(tmp / "a.png"), tmp / "b.png"]),
            lambda tmp: FileSet([touched(tmp / "a.png"), touched(tmp / "b.png")]),
            lambda tmp: FileSet([touched(tmp / "a.png")]),
        ),
        Row(
            "to bring all images to one size",
            lambda tmp: files(tmp, 8, 9),
            lambda tmp: files(tmp, 8, 9, size=8),
        ),
        setting("height and width must be whole numbers", lambda size: FileSet([], size=size), "size", 0, 1, (4, 5)),
        setting("{} is {}; known are {}", lambda mode: FileSet([], mode=mode), "mode", "CMYK", "L", "RGB"),
        setting("{} is {}; known are {}", lambda fit: FileSet([], fit=fit), "fit", "cut", "crop", "stretch"),
    ],
    f"{R}/folders.py": [
        Row(
            "on_error is {}",
            lambda tmp: folder(tmp, on_error="warn"),
            lambda tmp: folder(tmp, on_error="raise"),
            lambda tmp: folder(tmp, on_error="skip"),
            lambda tmp: folder(tmp, on_error="defer", size=8),
        ),
        Row(
            "has no gray files of more than 8 bits; leave them out",
            lambda tmp: folder(tmp, limits=(0, 5)),
            lambda tmp: folder(tmp),
        ),
        Row(
            "which training does not have; rename or remove it",
            lambda tmp: (
                folder(tmp, {"cat/1.png": 8, "dog/1.png": 8, "../test/cow/1.png": 8}),
                from_folder(tmp / "pictures", test=tmp / "test"),
            ),
            lambda tmp: ((tmp / "test/cow").rename(tmp / "test/cat"), from_folder(tmp / "pictures", test=tmp / "test")),
        ),
        Row(
            "pass {} to bring all to one size",
            lambda tmp: folder(tmp, {"cat/1.png": 8, "dog/1.png": 9}),
            lambda tmp: folder(tmp, {"cat/1.png": 8, "dog/1.png": 9}, size=8),
        ),
        Row(
            "pass the folder that holds the images",
            lambda tmp: from_folder(tmp / "nothing"),
            lambda tmp: folder(tmp),
        ),
        Row(
            "known endings are {}",
            lambda tmp: from_folder(made(tmp)),
            lambda tmp: folder(tmp),
        ),
        Row(
            "it needs path and label",
            lambda tmp: listed(tmp, "file,class\ncat/1.png,cat\n"),
            lambda tmp: listed(tmp, "path,label\ncat/1.png,cat\ndog/1.png,dog\n"),
        ),
        Row(
            "is listed twice{}; keep one line",
            lambda tmp: listed(tmp, "path,label\ncat/1.png,cat\ncat/1.png,dog\n"),
            lambda tmp: listed(tmp, "path,label\ncat/1.png,cat\ndog/1.png,dog\n"),
        ),
        Row(
            "paths must lie below {}",
            lambda tmp: listed(tmp, "path,label\n../1.png,cat\ndog/1.png,dog\n"),
            lambda tmp: listed(tmp, "path,label\ncat/1.png,cat\ndog/1.png,dog\n"),
        ),
        Row(
            "correct the path or remove the line",
            lambda tmp: listed(tmp, "path,label\ncat/9.png,cat\ndog/1.png,dog\ncat/1.png,cat\n"),
            lambda tmp: listed(tmp, "path,label\ncat/1.png,cat\ndog/1.png,dog\n"),
        ),
    ],
    f"{R}/paths.py": [
        Row(
            "there is no file or folder {}; correct the path",
            lambda tmp: (folder(tmp), from_path(tmp / "picture")),
            lambda tmp: from_path(tmp / "pictures"),
        ),
        Row(
            "pass a folder of images, or a file that ends in",
            lambda tmp: from_path(touched(tmp / "x.mat")),
            lambda tmp: (folder(tmp), from_path(tmp / "pictures")),
            lambda tmp: (arrays(tmp), from_path(tmp / "data.npz")),
            lambda tmp: (csv(tmp, TEXT), from_path(tmp / "t.csv", label="kind")),
        ),
    ],
    f"{R}/scanning.py": [
        Row(
            "or leave them out with {}",
            lambda tmp: folder(tmp, {"cat/1.png": 8, "cat/2.png": None, "dog/1.png": 8}),
            lambda tmp: folder(
                tmp, {"cat/1.png": 8, "cat/2.png": None, "dog/1.png": 8}, on_error="skip", max_skipped=0.5
            ),
            lambda tmp: folder(tmp, {"cat/1.png": 8, "cat/2.png": 8, "dog/1.png": 8}),
        ),
        Row(
            "check the folder, repair or remove them, or raise it",
            lambda tmp: folder(
                tmp, {"cat/1.png": 8, "cat/2.png": None, "dog/1.png": 8}, on_error="skip", max_skipped=0.1
            ),
            lambda tmp: folder(
                tmp, {"cat/1.png": 8, "cat/2.png": None, "dog/1.png": 8}, on_error="skip", max_skipped=0.5
            ),
        ),
    ],
    f"{R}/tables.py": [
        setting("categorical names column {}; the columns are", table, "categorical", ["c"], ["a"]),
        Row(
            "say one of them",
            lambda: table(columns={"kind": "category"}),
            lambda: table(),
        ),
        Row(
            "say one of them",
            lambda: table(columns={"a": "number"}, categorical=["a"]),
            lambda: table(columns={"a": "number"}),
            lambda: table(categorical=["a"]),
        ),
        Row(
            "there is a test or validation table but no label",
            lambda: table(label=None, test=frame()),
            lambda: table(label="kind", test=frame().dropna()),
        ),
        Row(
            "a measured number and no class; name the column",
            lambda: table(LONG, label="a"),
            lambda: table(LONG, label="kind"),
            lambda: table(LONG | {"a": np.where(LONG["a"] > 0, "high", "low")}, label="a"),
        ),
        Row(
            "is missing; give each row an id of its own",
            lambda: table(frame(a=["p", None, *"qrstuv"]), id="a"),
            lambda: table(frame(a=["p", "z", *"qrstuv"]), id="a"),
        ),
        Row(
            "occurs twice; give each row an id of its own, or leave out id",
            lambda: table(frame(a=[*"pqrstuvv"]), id="a"),
            lambda: table(frame(a=[*"pqrstuvw"]), id="a"),
            lambda: table(frame(a=[*"pqrstuvv"])),
        ),
    ],
    f"{R}/tabular.py": [
        setting("its columns are {}", table, "label", "sort", "kind"),
        Row(
            "pass a CSV or Parquet path, a data frame or a mapping",
            lambda: table([[1, 2]]),
            lambda: table(frame()),
            lambda: table({"a": list(range(8)), "kind": [*"uvuvuvuv"]}),
            lambda tmp: csv(tmp, TEXT),
            lambda tmp: (frame().to_parquet(tmp / "t.parquet"), table(tmp / "t.parquet")),
        ),
        Row("the first line must name the columns", lambda tmp: csv(tmp, ""), lambda tmp: csv(tmp, TEXT)),
        Row(
            "cells, but {} columns; correct it",
            lambda tmp: csv(tmp, TEXT + "1,u,3\n"),
            lambda tmp: csv(tmp, TEXT + "1,u\n"),
        ),
        Row(
            "it is left out: name it to use it",
            lambda tmp: csv(tmp, TEXT.replace("a,", ",", 1).replace("\n", ",5\n").replace("kind,5", "kind,b")),
            lambda tmp: csv(tmp, TEXT.replace("\n", ",5\n").replace("kind,5", "kind,b")),
        ),
        Row(
            "has two columns {}; rename one",
            lambda tmp: csv(tmp, TEXT.replace("\n", ",5\n").replace("kind,5", "kind,a")),
            lambda tmp: csv(tmp, TEXT.replace("\n", ",5\n").replace("kind,5", "kind,b")),
        ),
        Row(
            "turn it into a number or a name, or leave it out",
            lambda: table(frame(a=[[1, 2]] * 8)),
            lambda: table(frame(a=[sum([1, 2])] * 8)),
            lambda: table(frame(a=["[1, 2]"] * 8)),
            lambda: table(frame(a=[[1, 2]] * 8), columns={"a": "drop"}),
        ),
    ],
    f"{R}/wrapped.py": [
        Row(
            "{} ({}) has no len or no [number]; streams must be saved first",
            lambda: DatasetSet(Stream()),
            lambda: DatasetSet(list(Stream())),
        ),
        Row(
            "set ({}) has no len or no [number]; streams must be saved first",
            lambda: from_dataset(Stream()),
            lambda: from_dataset(Items(list(Stream()))),
        ),
        Row(
            "bring all to one (pictures: pass {})",
            lambda: DatasetSet(Items([Image.new("L", (8, 8)), Image.new("L", (9, 9))])).images(np.arange(2)),
            lambda: DatasetSet(Items([Image.new("L", (8, 8)), Image.new("L", (9, 9))]), size=8).images(np.arange(2)),
            lambda: DatasetSet(Items([Image.new("L", (8, 8)), Image.new("L", (8, 8))])).images(np.arange(2)),
        ),
        Row(
            "say column= or convert it",
            lambda: from_dataset(
                Items([{"image": np.array(["a", "b"]), "pixels": torch.rand(3), "label": k % 2} for k in range(4)])
            ),
            lambda: from_dataset(
                Items([{"image": np.array(["a", "b"]), "pixels": torch.rand(3), "label": k % 2} for k in range(4)]),
                column="pixels",
            ),
            lambda: from_dataset(Items([{"image": torch.rand(3), "label": k % 2} for k in range(4)])),
        ),
        Row(
            "none is called train or unlabeled: pass them one by one",
            lambda: from_dataset({"first": Items(PAIRS), "second": Items(PAIRS)}),
            lambda: from_dataset(Items(PAIRS), unlabeled=Items(PAIRS)),
        ),
        Row(
            "pass one, or join them first",
            lambda: from_dataset({"train": Items(PAIRS), "labeled": Items(PAIRS)}),
            lambda: from_dataset({"train": Items(PAIRS)}),
            lambda: from_dataset({"train": Items(PAIRS + PAIRS)}),
        ),
        Row(
            "give pairs (input, label), or pass the set as unlabeled",
            lambda: from_dataset(Items([torch.rand(3)] * 4)),
            lambda: from_dataset(Items(PAIRS)),
            lambda: from_dataset(None, unlabeled=Items([torch.rand(3)] * 4)),
        ),
        Row(
            "has none of {}, only {}; say {}=",
            lambda: from_dataset(Items([{"pixels": torch.rand(3), "label": k % 2} for k in range(4)])),
            lambda: from_dataset(Items([{"pixels": torch.rand(3), "label": k % 2} for k in range(4)]), column="pixels"),
        ),
        Row(
            "has none of {}, only {}; say {}=",
            lambda: from_dataset(Items([{"image": torch.rand(3), "sort": k % 2} for k in range(4)])),
            lambda: from_dataset(Items([{"image": torch.rand(3), "sort": k % 2} for k in range(4)]), label="sort"),
        ),
        Row(
            "known are {}: pass another one by itself",
            lambda: from_dataset({"train": Items(PAIRS), "extra": Items(PAIRS)}),
            lambda: from_dataset(Items(PAIRS), unlabeled=Items(PAIRS)),
        ),
    ],
}
