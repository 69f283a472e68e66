"""The problems of benchmarks/complementary.py: few labels, a pile, a network, and the stages that can fill its encoder.

Images are MNIST, Fashion-MNIST and a part of CIFAR-10; the table is KEEL's penbased (pen strokes of digits, 16
numbers); the series are JapaneseVowels (12 channels of cepstra, 9 speakers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from methods import make_network, make_pile
from sources import Source, series, table
from torch import nn

import selftrain as st
from selftrain import data, pretrain
from selftrain.data.views.presets import Strong, Weak

Folders = Mapping[str, Path | None]


class Stage(NamedTuple):
    """A way to pretrain an encoder."""

    make: Callable[[nn.Module], Any]
    steps: int
    batch: int
    views: Any = None  # of the stage alone; None: those of the pile


class Problem(NamedTuple):
    """What is learned, and from what."""

    pile: Callable[[int, Folders], data.Pile]
    network: Callable[[int], nn.Module]
    stages: Mapping[str, Stage]
    needs: str  # folder that the data come from


def images(name: str, labels: int) -> Problem:
    """A named set and the ConvNet of benchmarks/methods.py."""
    folder = "fashion" if name == "fashion_mnist" else "data"
    flip = name != "mnist"
    light = Strong(operations=2, point=("brightness", "contrast"), magnitude=0.4, cutout=0.0)
    looks = data.TensorViews(Weak(shift=0.1, flip=flip), light)
    crops = data.TensorViews(Weak(shift=0.1, flip=flip, crop=(0.4, 1.0)), light)
    return Problem(
        pile=lambda seed, folders: make_pile(name, labels, seed, folders[folder]),
        network=partial(make_network, name),
        stages={
            "mae": Stage(lambda e: pretrain.MAE(e, mask_ratio=0.6, normalize=False), 3000, 64, looks),
            "ijepa": Stage(pretrain.IJEPA, 2000, 64, looks),
            "lejepa": Stage(pretrain.LeJEPA, 1500, 128, crops),
        },
        needs=folder,
    )


def penbased(labels: int) -> Problem:
    """10 digits by 16 numbers, a transformer on columns."""

    def pile(seed: int, folders: Folders) -> data.Pile:
        return _pile(table("penbased", _given(folders, "keel")), labels, seed)

    return Problem(
        pile=pile,
        network=lambda outputs: st.Classifier(pretrain.table_transformer(16), 10 * outputs),
        stages={"tjepa": Stage(pretrain.TJEPA, 4000, 128)},
        needs="keel",
    )


def vowels(labels: int) -> Problem:
    """9 speakers by 12 channels of 29 samples, a transformer on stretches."""

    def pile(seed: int, folders: Folders) -> data.Pile:
        found = series("JapaneseVowels", _given(folders, "aeon"))
        return _pile(found._replace(x=found.x[..., :28], x_test=found.x_test[..., :28]), labels, seed, kind="series")

    return Problem(
        pile=pile,
        network=lambda outputs: st.Classifier(pretrain.series_transformer(28, 2, 12), 9 * outputs),
        stages={"ecgjepa": Stage(pretrain.ECGJEPA, 3000, 32)},
        needs="aeon",
    )


PROBLEMS: dict[tuple[str, int], Problem] = {
    ("fashion_mnist", 40): images("fashion_mnist", 40),
    ("mnist", 20): images("mnist", 20),
    ("cifar10", 250): images("cifar10", 250),
    ("penbased", 50): penbased(50),
    ("japanese_vowels", 27): vowels(27),
}


def _given(folders: Folders, name: str) -> Path:
    folder = folders[name]
    if folder is None:
        raise SystemExit(f"--{name} is missing: the folder of the package's files, see the head of the script")
    return folder


def _pile(found: Source, labels: int, seed: int, **form: Any) -> data.Pile:
    """``labels`` to train on and about half as many to validate."""
    classes = int(found.y.max()) + 1
    validation = labels // 2 // classes * classes
    return data.Pile.from_arrays(
        found.x,
        found.y,
        found.x_test,
        found.y_test,
        labels=labels + validation,
        validation=validation,
        seed=seed,
        **form,
    )
