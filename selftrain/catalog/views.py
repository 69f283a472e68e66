"""Makers of views by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from selftrain.data import AlbumentationsViews, PointViews, SeriesViews, TableViews, TensorViews, ViewMaker

VIEWS: Mapping[str, Callable[..., ViewMaker]] = {
    "tensor": TensorViews,
    "albumentations": AlbumentationsViews,
    "table": TableViews,
    "series": SeriesViews,
    "points": PointViews,
}
