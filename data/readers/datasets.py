"""Public data sets by name, each as a pile.

A reader returns the whole set in memory; splitting and views are the same for all. Nothing is downloaded unless the
files are found neither under ``root`` nor where the operating system's packages put them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.base.samples import ArraySet
from selftrain.data.base.splits import Overlap
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.decoding import encoded_images, read_idx
from selftrain.data.readers.known import cache_folder
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.image import TensorViews
from selftrain.data.views.presets import Strong, Weak
from selftrain.errors import DataError

Root = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Raw:
    """A whole data set as arrays; ``y`` is -1 where the set itself has no label."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any
    classes: Sequence[str]
    source: str


@dataclass(frozen=True)
class PublicSet:
    """How a data set is read and shown."""

    read: Callable[[Path | None], Raw]
    weak: Weak
    strong: Strong


@readable_again
def load(
    name: str,
    labels: int | None = 100,
    *,
    seed: int = 0,
    validation: float | None = 0,
    root: Root = None,
    overlap: Overlap = "exclude",
    views: ViewMaker | None = None,
) -> Pile:
    """Load a data set, keep a few labels and hide the others.

    Hidden labels become ``pile.unlabeled_truth()``, which is for monitoring only.

    Args:
        name: One of ``names()``.
        labels: Labels to use in all, evenly over the classes; ``None``: all.
        seed: Key of the choice of labels.
        validation: Labels to hold back for validation, taken from ``labels``: a count, or a share below 1.
        root: Folder with the files: IDX files, the project's ``.npz`` files, or what torchvision downloads; default:
            the operating system's package where there is one, else ``$SELFTRAIN_DATA`` or ``~/.cache/selftrain``, with
            a download by torchvision.
        overlap: ``"exclude"`` or ``"include"``: whether labeled images are unlabeled ones too.
        views: Maker of views; default: recipes that suit the set.

    Returns:
        The pile; ``pile.source`` says which files were used.

    Raises:
        ValueError: an unknown name.
        DataError: files that are missing or cannot be read.
    """
    if name not in _KNOWN:
        hint = "; files and folders are read by selftrain.data.from_path" if Path(str(name)).exists() else ""
        raise ValueError(f"no data set {name!r}; known are {', '.join(names())}{hint}")
    known = _KNOWN[name]
    raw = known.read(None if root is None else Path(root))
    training = ArraySet(raw.x, raw.y)
    return Pile.from_samples(
        training,
        ArraySet(raw.x_test, raw.y_test),
        classes=raw.classes,
        labels=labels,
        validation=validation,
        overlap=overlap,
        seed=seed,
        views=views or TensorViews(known.weak, known.strong),
        source=raw.source,
    )


def names() -> Sequence[str]:
    """Names that ``load`` knows."""
    return sorted(_KNOWN)


def _digits(root: Path | None) -> Raw:
    """scikit-learn's 1,797 digits; a quarter, evenly over the classes, is the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype(np.uint8)
    # with a seed of its own: the test set is the same for every choice of labels
    x, x_test, y, y_test = train_test_split(x, digits.target, test_size=0.25, stratify=digits.target, random_state=0)
    return Raw(x, y, x_test, y_test, [str(i) for i in range(10)], "scikit-learn load_digits")


def _mnist_like(torchvision_name: str, npz: str, packaged: str, classes: Sequence[str]) -> Callable[[Path | None], Raw]:
    """Reader of a set in MNIST's format: an npz file or IDX files in ``root``, an installed package, or a download."""

    def read(root: Path | None) -> Raw:
        # from the nearest to the farthest: what the user names, what a package installed, a download last
        if root is not None and (root / npz).is_file():
            return _npz(root / npz, classes)
        for folder in [Path(packaged)] if root is None else [root, root / torchvision_name / "raw"]:
            if any((folder / f"train-images-idx3-ubyte{end}").is_file() for end in ("", ".gz")):
                x, x_test = (read_idx(folder / f"{part}-images-idx3-ubyte") for part in ("train", "t10k"))
                y, y_test = (read_idx(folder / f"{part}-labels-idx1-ubyte") for part in ("train", "t10k"))
                return Raw(x, y, x_test, y_test, classes, f"IDX files in {folder}")
        return _torchvision(torchvision_name, root, classes=classes)

    return read


def _npz(path: Path, classes: Sequence[str] | None) -> Raw:
    """An npz file with ``X`` (or JPEG bytes ``data`` cut at ``offsets``), ``y`` and the mask ``test``."""
    with np.load(path) as file:
        x = file["X"] if "X" in file else encoded_images(file["data"], file["offsets"], str(path))
        y, test = file["y"].astype(np.int64), file["test"].astype(bool)
        classes = [str(name) for name in file["classes"]] if classes is None else classes
    return Raw(x[~test], y[~test], x[test], y[test], classes, str(path))


def _cifar10(root: Path | None) -> Raw:
    npz = None if root is None else root / "cifar10_jpeg.npz"
    return _npz(npz, None) if npz is not None and npz.is_file() else _torchvision("CIFAR10", root)


def _torchvision(
    kind: str,
    root: Path | None,
    argument: str = "train",
    parts: tuple[Any, Any] = (True, False),
    classes: Sequence[str] | None = None,
) -> Raw:
    """Any of torchvision's classification sets that keep their images in ``data``."""
    from torchvision import datasets

    folder = root or cache_folder()
    try:
        # torchvision looks for whole files first, so that nothing is downloaded where they are.
        training, test = [getattr(datasets, kind)(folder, download=True, **{argument: part}) for part in parts]
    except (OSError, RuntimeError) as error:
        raise DataError(f"{kind} is not in {folder} and cannot be downloaded ({error}); pass root=FOLDER") from error
    # SVHN and STL10 call them labels, the other sets targets.
    y, y_test = (
        np.asarray(getattr(s, "targets", getattr(s, "labels", None))).astype(np.int64) for s in (training, test)
    )
    names = classes or [str(name) for name in training.classes]
    return Raw(np.asarray(training.data), y, np.asarray(test.data), y_test, names, f"torchvision {kind} in {folder}")


_FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_PHOTO = (Weak(flip=True), Strong(pad="reflect"))
# Not mirrored: the mirror image of most digits is no digit. What a shift brings in is 0, the background.
_HANDWRITTEN = (Weak(pad="zero"), Strong(point=("brightness", "contrast", "gamma"), magnitude=0.7, cutout=0.4))
_SMALL = (
    Weak(pad="zero"),
    Strong(point=("brightness", "contrast", "gamma"), magnitude=0.5, cutout=0.4),
)

_KNOWN: dict[str, PublicSet] = {
    "digits": PublicSet(_digits, *_SMALL),
    "mnist": PublicSet(
        _mnist_like("MNIST", "mnist70k.npz", "/usr/share/datasets/mnist", [str(i) for i in range(10)]), *_HANDWRITTEN
    ),
    "fashion_mnist": PublicSet(
        _mnist_like("FashionMNIST", "fashion_mnist70k.npz", "/usr/share/datasets/fashion-mnist", _FASHION),
        Weak(flip=True, pad="zero"),
        Strong(),
    ),
    "cifar10": PublicSet(_cifar10, *_PHOTO),
    "cifar100": PublicSet(partial(_torchvision, "CIFAR100"), *_PHOTO),
    "svhn": PublicSet(
        partial(_torchvision, "SVHN", argument="split", parts=("train", "test"), classes=[str(i) for i in range(10)]),
        Weak(),
        Strong(pad="reflect"),
    ),
    # 5,000 labeled and 100,000 unlabeled training images
    "stl10": PublicSet(partial(_torchvision, "STL10", argument="split", parts=("train+unlabeled", "test")), *_PHOTO),
}
