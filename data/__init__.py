"""Data sets, splits, views and streams."""

from selftrain.data.base.ragged import pad_series
from selftrain.data.base.samples import ArraySet, Samples, Subset
from selftrain.data.base.sparse import SparseSet
from selftrain.data.base.splits import Split, split
from selftrain.data.base.stored import StoredSet
from selftrain.data.checks.checking import check
from selftrain.data.checks.findings import DataReport, Finding
from selftrain.data.loading.stream import PairedStream
from selftrain.data.pile import Pile
from selftrain.data.readers.arrays import from_arrays_file
from selftrain.data.readers.datasets import load, names
from selftrain.data.readers.encoding import TableColumn, TableEncoding
from selftrain.data.readers.files import FileSet
from selftrain.data.readers.folders import from_folder
from selftrain.data.readers.keypoints import from_keypoints
from selftrain.data.readers.masks import from_masks
from selftrain.data.readers.paths import from_path
from selftrain.data.readers.tables import from_table
from selftrain.data.readers.wrapped import DatasetSet, from_dataset
from selftrain.data.views.albumentations import AlbumentationsViews
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.features import FeatureViews
from selftrain.data.views.image import TensorViews
from selftrain.data.views.points import PointViews
from selftrain.data.views.presets import Strong, Weak
from selftrain.data.views.series import SeriesViews
from selftrain.data.views.sparse import SparseViews
from selftrain.data.views.spectrogram import fit_grid, log_spectrogram
from selftrain.data.views.table import TableViews

__all__ = [
    "AlbumentationsViews",
    "ArraySet",
    "SparseSet",
    "SparseViews",
    "DataReport",
    "DatasetSet",
    "FeatureViews",
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
    "from_keypoints",
    "from_masks",
    "from_path",
    "from_table",
    "load",
    "log_spectrogram",
    "names",
    "pad_series",
    "split",
]
