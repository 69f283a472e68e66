"""Data sets, splits, views and streams."""

from selftrain.data.albumentations_views import AlbumentationsViews
from selftrain.data.datasets import load, names
from selftrain.data.files import FileSet
from selftrain.data.folders import from_folder
from selftrain.data.pile import Pile
from selftrain.data.point_views import PointViews
from selftrain.data.recipes import Strong, Weak
from selftrain.data.samples import ArraySet, Samples, Subset
from selftrain.data.series_views import SeriesViews
from selftrain.data.spectrogram import fit_grid, log_spectrogram
from selftrain.data.splits import Split, split
from selftrain.data.stream import PairedStream
from selftrain.data.table_views import TableViews
from selftrain.data.views import TensorViews, ViewMaker

__all__ = [
    "AlbumentationsViews",
    "ArraySet",
    "FileSet",
    "PairedStream",
    "Pile",
    "PointViews",
    "Samples",
    "SeriesViews",
    "Split",
    "Strong",
    "Subset",
    "TableViews",
    "TensorViews",
    "ViewMaker",
    "Weak",
    "fit_grid",
    "from_folder",
    "load",
    "log_spectrogram",
    "names",
    "split",
]
