"""Remedies of the messages of ``data/views``."""

from functools import partial

import torch
from remedies import Row, setting

from selftrain.data import PointViews, SeriesViews, SparseViews, TableViews, TensorViews
from selftrain.data.views.base import check_name
from selftrain.data.views.features import FeatureViews
from selftrain.data.views.presets import Strong, Weak
from selftrain.data.views.spectrogram import fit_grid, log_spectrogram

IMAGES, SERIES = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 64)
CLOUDS, ROWS = torch.rand(2, 9, 3), torch.rand(2, 3)


def seen(views, inputs, name="strong"):
    """A view of inputs, finite and of their shape."""
    view = views(name, inputs, torch.arange(len(inputs)), 0)
    assert view.x.isfinite().all()
    assert len(view.x) == len(inputs)


def weak(**settings):
    return seen(TensorViews(weak=Weak(**settings)), IMAGES, "weak")


def strong(**settings):
    return seen(TensorViews(strong=Strong(**settings)), IMAGES)


def of(maker, inputs, **settings):
    return seen(maker(**settings), inputs)


points, series, table = partial(of, PointViews, CLOUDS), partial(of, SeriesViews, SERIES), partial(of, TableViews, ROWS)
spectrum = partial(log_spectrogram, SERIES, window=32, hop=16)

ROWS_OF = {
    "data/views/base.py": [
        setting("no view {}; known are", check_name, "name", "stron", "plain", "weak", "strong", "weak2")
    ],
    "data/views/features.py": [
        Row(
            "encode them like those of training",
            lambda: seen(FeatureViews(), ROWS),
            lambda: seen(FeatureViews(), torch.rand(2, 5, 4)),
        )
    ],
    "data/views/image.py": [
        Row("use TableViews for tables", lambda: seen(TensorViews(), ROWS), lambda: seen(TableViews(), ROWS))
    ],
    "data/views/table.py": [
        setting("{} is {}; it must be 0 or more", table, "weak_noise", -1.0, 0.0),
        setting("{} is {}; it must be 0 or more", table, "strong_noise", -1.0, 0.0),
        setting("replace is {}", table, "replace", 1.5, 0.0, 1.0),
        setting("columns are counted from 0", table, "categorical", [-1], [0]),
        Row("use TensorViews for images", lambda: seen(TableViews(), IMAGES), lambda: seen(TensorViews(), IMAGES)),
    ],
    "data/views/points.py": [
        setting("it is in degrees", points, "weak_angle", 181, 0, 180),
        setting("it is in degrees", points, "strong_angle", -1, 0, 180),
        setting("scale is {}", points, "scale", (2, 1), (0.5, 0.5)),
        setting("known are 0, 1, 2, or None", points, "axis", 3, 0, 1, 2, None),
        setting("jitter is {}", points, "jitter", -1, 0),
        setting("jitter_limit is {}", points, "jitter_limit", 0, 1e-6),
        setting("drop is {}", points, "drop", 1, 0, 0.99),
        Row("SeriesViews are for series", lambda: of(PointViews, SERIES), lambda: of(SeriesViews, SERIES)),
        Row(
            "turn in their plane; leave it out",
            lambda: of(PointViews, CLOUDS[..., :2], axis=1),
            lambda: of(PointViews, CLOUDS[..., :2]),
        ),
    ],
    "data/views/presets.py": [
        setting("shift is {}", weak, "shift", 1, 0, 0.9),
        setting("crop is {}", weak, "crop", (0.5, 1.5), (1, 1), (0.1, 0.2)),
        setting("operations is {}", strong, "operations", -1, 0),
        setting("operations is {}", strong, "operations", (3, 1), (1, 3)),
        setting("magnitude is {}", strong, "magnitude", 2, 0, 1),
        setting("cutout is {}", strong, "cutout", 2, 0, 1),
        setting("no operation {}", strong, "point", ("sharpness",), ("brightness",)),
        setting("pad is {}", weak, "pad", "mirror", "reflect", "edge"),
    ],
    "data/views/sparse.py": [
        *(
            setting("it is a probability, in [0, 1)", partial(of, SparseViews, ROWS), name, 1.0, 0.0)
            for name in ("weak_drop", "strong_drop")
        ),
        Row("use TensorViews for images", lambda: of(SparseViews, IMAGES), lambda: of(TensorViews, IMAGES)),
    ],
    "data/views/series.py": [
        *(setting("it must be in [0, 1)", series, name, 1, 0, 0.9) for name in ("shift", "gain", "scaling")),
        *(setting("it must be in [0, 1]", series, name, 1.5, 0, 1) for name in ("mask", "drop")),
        *(setting("it must be 0 or more", series, name, -1, 0) for name in ("weak_jitter", "strong_jitter")),
        setting("clip is {}", series, "clip", 0, 1e-3, None),
        setting("crop is {}", series, "crop", (0.5, 1.5), (1, 1), (0.1, 0.2)),
        setting("pad is {}", series, "pad", "mirror", "edge", "wrap"),
        Row("TensorViews are for images", lambda: of(SeriesViews, IMAGES), lambda: of(TensorViews, IMAGES)),
        Row("TensorViews are for images", lambda: of(SeriesViews, ROWS), lambda: of(TableViews, ROWS)),
        Row(
            "convert them to float",
            lambda: of(SeriesViews, SERIES.long()),
            lambda: of(SeriesViews, SERIES.long().float()),
        ),
    ],
    "data/views/spectrogram.py": [
        setting("{} is {}; it must be at least {}", spectrum, "hop", 0, 1),
        setting("{} is {}; it must be at least {}", spectrum, "window", 1, 2),
        setting("{} is {}; it must be above 0", spectrum, "floor", 0, 1e-3),
        Row(
            "give bins as well, or leave it out",
            lambda: spectrum(rate=100),
            lambda: spectrum(rate=100, bins=4),
            lambda: spectrum(),
        ),
        Row(
            "give floats (N, C, L)",
            lambda: log_spectrogram(SERIES.long(), window=8),
            lambda: log_spectrogram(SERIES.long().float(), window=8),
        ),
        setting("give a shorter window", spectrum, "window", 65, 64),
        Row(
            "give fewer bins or a longer window",
            lambda: spectrum(bins=40, rate=100),
            lambda: spectrum(bins=4, rate=100),
            lambda: log_spectrogram(torch.rand(1, 1, 512), window=512, hop=64, bins=40, rate=100),
        ),
        setting("patch is {}", partial(fit_grid, x=torch.rand(2, 1, 9, 9)), "patch", 0, 1),
        Row("give (..., F, T)", lambda: fit_grid(torch.rand(9), 2), lambda: fit_grid(torch.rand(9)[None], 2)),
    ],
}
