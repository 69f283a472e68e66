"""Probes with few labels: repeated draws of labels from a pool, and few-shot episodes."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch

from selftrain.evaluation.probing.arrays import (
    Array,
    Classes,
    Numbers,
    Scale,
    check_many_classes,
    check_width,
    with_classes,
)
from selftrain.evaluation.probing.linear import logistic
from selftrain.runtime.rng import step_key

FewShot = Literal["logistic", "centroid"]


class FewLabel(NamedTuple):
    """Accuracies over draws of labels.

    Attributes:
        mean: In [0, 1].
        sd: Sample standard deviation over the draws.
        values: One accuracy a draw.
    """

    mean: float
    sd: float
    values: tuple[float, ...]


class Episodes(NamedTuple):
    """Accuracies over few-shot episodes.

    Attributes:
        mean: In [0, 1].
        interval: Bounds of the mean at 95 %: ``mean -+ 1.96 sd / sqrt(episodes)``.
        values: One accuracy an episode.
    """

    mean: float
    interval: tuple[float, float]
    values: tuple[float, ...]


def label_draws(labels: Array, *, per_class: int = 10, draws: int = 5, seed: int = 0) -> list[Classes]:
    """Rows of each draw, ``per_class`` of each class, shape (classes * per_class,), ordered by class.

    They depend on ``labels`` and ``seed`` alone, so every method judged with the same seed sees the same labels. More
    draws leave the first ones as they are, and a larger ``per_class`` adds rows to each.

    Args:
        labels: Classes of the pool, shape (n,), integers; -1: no label, never drawn.
        per_class: Labels of each class, >= 1.
        draws: >= 1.
        seed: Key of the draws.

    Raises:
        ValueError: for a class with fewer labels (it is named), or an argument out of range.
    """
    # features play no part in the draws: zeros stand for them, so that labels are checked as everywhere
    y = with_classes("pool", np.zeros((len(labels), 1)), labels, unknown=True)[1]
    if per_class < 1 or draws < 1:
        raise ValueError(f"per_class is {per_class} and draws {draws}; both must be at least 1")
    rows = {int(c): np.flatnonzero(y == c) for c in np.unique(y[y >= 0])}
    for c, found in rows.items():
        if len(found) < per_class:
            raise ValueError(f"class {c} has {len(found)} labels; per_class is {per_class} and can be at most that")
    return [np.concatenate(_drawn(list(rows.values()), per_class, step_key(seed, draw))) for draw in range(draws)]


def few_label(
    features: Array,
    labels: Array,
    test_features: Array,
    test_labels: Array,
    *,
    per_class: int = 10,
    draws: int = 5,
    seed: int = 0,
    C: float = 1.0,
) -> FewLabel:
    """Accuracy of logistic regression on few labels, over several draws of them (``label_draws``).

    Features are standardized by the whole pool, which takes no labels. C is fixed: few labels leave none to tune it.

    Args:
        features: The pool, shape (n, D).
        labels: Its classes, shape (n,), integers; -1: no label, such rows help to standardize only.
        test_features: Features to classify, shape (m, D).
        test_labels: Their classes, shape (m,), integers >= 0.
        per_class: Labels of each class, >= 1.
        draws: >= 2; five or more to compare methods.
        seed: Key of the draws; the same one for all methods that are compared.
        C: See ``logistic_probe``.

    Raises:
        ValueError: for shapes or labels that do not fit, a class with too few labels, or an argument out of range.
    """
    if draws < 2 or C <= 0:
        raise ValueError(f"draws is {draws} and C {C}; at least 2 draws (for a spread) and C above 0 are needed")
    x, y = with_classes("features", features, labels, unknown=True)
    asked, truth = with_classes("test features", test_features, test_labels)
    check_many_classes(y[y >= 0])
    check_width(x, asked)
    scale = Scale(x)
    x, asked = scale(x), scale(asked)
    chosen = label_draws(labels, per_class=per_class, draws=draws, seed=seed)
    values = [float((logistic(x[rows], y[rows], asked, C) == truth).mean()) for rows in chosen]
    return FewLabel(float(np.mean(values)), float(np.std(values, ddof=1)), tuple(values))


def episodes(
    features: Array,
    labels: Array,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 600,
    seed: int = 0,
    classifier: FewShot = "logistic",
) -> Episodes:
    """Accuracy on many small problems: a few classes, a few labels of each, other samples of them to classify.

    Features are scaled to length 1. The usual protocol judges on classes that pretraining has not seen.

    Source: Lu et al. 2022, "Self-Supervision Can Be a Good Few-Shot Learner" (UniSiam), arXiv:2207.09176: logistic
    regression with C = 1, 15 queries a class, 3,000 episodes there. ``"centroid"``: Wang et al. 2019, "SimpleShot",
    arXiv:1911.04623 (the nearest mean; without its centering).

    Args:
        features: Shape (n, D).
        labels: Classes, shape (n,), integers >= 0; classes with fewer than ``shots + queries`` samples are left out.
        ways: Classes an episode, >= 2.
        shots: Labels a class, >= 1.
        queries: Samples of each class to classify, >= 1.
        episodes: >= 2.
        seed: Key of the episodes, which depend on it and on ``labels`` alone; more of them leave the first as they are.
        classifier: ``"logistic"`` or ``"centroid"``.

    Raises:
        ValueError: for shapes or labels that do not fit, less than ``ways`` classes that are large enough, or an
            argument out of range.
    """
    if ways < 2 or min(shots, queries) < 1 or episodes < 2:
        raise ValueError(
            f"ways is {ways}, shots {shots}, queries {queries} and episodes {episodes}; at least 2, 1, 1, 2 are needed"
        )
    if classifier not in ("logistic", "centroid"):
        raise ValueError(f"classifier is {classifier!r}; choose 'logistic' or 'centroid'")
    x, y = with_classes("features", features, labels)
    rows = [found for found in (np.flatnonzero(y == c) for c in np.unique(y)) if len(found) >= shots + queries]
    if len(rows) < ways:
        raise ValueError(
            f"{len(rows)} classes have {shots + queries} samples or more; lower ways ({ways}) or queries ({queries})"
        )
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    values = [
        _episode(x, rows, (ways, shots, queries), step_key(seed, number), classifier) for number in range(episodes)
    ]
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / math.sqrt(episodes)
    return Episodes(mean, (mean - half, mean + half), tuple(values))


def _episode(x: Numbers, rows: list[Classes], sizes: tuple[int, int, int], key: int, classifier: FewShot) -> float:
    """Accuracy on the queries of one episode."""
    ways, shots, queries = sizes
    # a key for the classes and one for the samples: neither choice depends on the other
    classes = _order(len(rows), torch.Generator().manual_seed(key))[:ways]
    drawn = np.stack(_drawn([rows[c] for c in classes], shots + queries, step_key(key, 1)))  # (ways, shots + queries)
    given, asked = x[drawn[:, :shots]], x[drawn[:, shots:]].reshape(ways * queries, -1)
    if classifier == "centroid":
        means = given.mean(1)
        # the nearest mean: of |a - m|^2 the part |a|^2 is the same for all means and left out
        found = (asked @ means.T - (means**2).sum(1) / 2).argmax(1)
    else:
        found = logistic(given.reshape(ways * shots, -1), np.arange(ways).repeat(shots), asked, 1.0)
    return float((found == np.arange(ways).repeat(queries)).mean())


def _drawn(rows: list[Classes], count: int, key: int) -> list[Classes]:
    """The first ``count`` of each array in random order."""
    generator = torch.Generator().manual_seed(key)
    # the whole order is drawn and cut: a larger count adds rows and changes none
    return [found[_order(len(found), generator)[:count]] for found in rows]


def _order(count: int, generator: torch.Generator) -> Classes:
    order: Classes = torch.randperm(count, generator=generator).numpy()
    return order
