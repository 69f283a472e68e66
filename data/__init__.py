"""Data sets, splits, views and streams."""

from selftrain.data.albumentations_views import AlbumentationsViews
from selftrain.data.arrayfiles import from_arrays_file
from selftrain.data.checking import check
from selftrain.data.datasets import load, names
from selftrain.data.encoding import TableColumn, TableEncoding
from selftrain.data.files import FileSet
from selftrain.data.findings import DataReport, Finding
from selftrain.data.folders import from_folder
from selftrain.data.paths import from_path
from selftrain.data.pile import Pile
from selftrain.data.point_views import PointViews
from selftrain.data.recipes import Strong, Weak
from selftrain.data.samples import ArraySet, Samples, Subset
from selftrain.data.series_views import SeriesViews
from selftrain.data.spectrogram import fit_grid, log_spectrogram
from selftrain.data.splits import Split, split
from selftrain.data.stored import StoredSet
from selftrain.data.stream import PairedStream
from selftrain.data.table_views import TableViews
from selftrain.data.tables import from_table
from selftrain.data.views import TensorViews, ViewMaker
from selftrain.data.wrapped import DatasetSet, from_dataset

__all__ = [
    "AlbumentationsViews",
    "ArraySet",
    "DataReport",
    "DatasetSet",
    "FileSet",
    "Finding",
    "PairedStream",
    "Pile",
    "PointViews",
    "Samples",
    "SeriesViews",
    "Split",
    "StoredSet",
    "Strong",
    "Subset",
    "TableColumn",
    "TableEncoding",
    "TableViews",
    "TensorViews",
    "ViewMaker",
    "Weak",
    "check",
    "fit_grid",
    "from_arrays_file",
    "from_dataset",
    "from_folder",
    "from_path",
    "from_table",
    "load",
    "log_spectrogram",
    "names",
    "split",
]
