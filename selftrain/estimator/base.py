"""What both estimators share: checking rows as scikit-learn does, and calling the engine quietly and repeatably."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from selftrain.arguments import Named, check
from selftrain.data import PointViews, SparseSet, TableEncoding
from selftrain.data.base.form import Form
from selftrain.data.base.ragged import channel_axis, pad_series
from selftrain.data.base.samples import ArraySet, tell_normalized
from selftrain.data.readers.raw import read_raw
from selftrain.data.readers.tables import table_views
from selftrain.errors import DataError
from selftrain.estimator.inputs import Array, Inputs, as_frame, learn_frame, learn_inputs, no_numbers_in, numbers
from selftrain.networks.by_name import BLOCK
from selftrain.runtime.devices import find_device
from selftrain.runtime.rng import own_randomness
from selftrain.wrapper.rows import check_row_shape, is_frame, validated


class EngineEstimator(Named, BaseEstimator):  # type: ignore[misc]
    """An estimator that calls the engine quietly and repeatably."""

    steps: Any
    epochs: Any
    device: Any
    random_state: Any

    def _seed(self) -> int:
        """A number that all draws of a fit follow from."""
        try:
            return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        except ValueError as error:
            raise ValueError(f"random_state is {self.random_state!r:.80}; give a whole number or None") from error

    def _device(self) -> torch.device:
        return find_device("cpu" if self.device is None else self.device)

    def _length(self, default: int) -> dict[str, Any]:
        """Steps or epochs of a stage."""
        if self.steps is None and self.epochs is None:
            return {"steps": default}
        return {"steps": self.steps, "epochs": self.epochs}

    @contextmanager
    def _alone(self, seed: int) -> Iterator[None]:
        """Draws from ``seed`` that leave the caller's random state as it was."""
        with own_randomness(self._device()):
            # networks are drawn from the global state, which the caller gets back as it was
            torch.manual_seed(seed)
            yield


class NetworkEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, EngineEstimator):  # type: ignore[misc]
    """An estimator around networks that reads tables, images, series and point clouds.

    Attributes:
        n_features_in_: Numbers in a row: its columns, or all its pixels or samples.
        encoding_: How the rows of a data frame became numbers; ``None``: they were numbers.
    """

    network: Any
    kind: Any
    channels: Any
    limits: Any
    table: Any
    views: Any
    verbose: Any
    inputs_: Inputs
    encoding_: TableEncoding | None = None

    def _learn_rows(self, X: Any) -> Array:
        """Check settings and rows of ``fit``, and find out how to read these."""
        check(type(self).__init__, self.get_params(deep=False))
        form: dict[str, Any] = {"ensure_min_samples": 2, "ensure_min_features": 1}
        rows = self._checked(X, reset=True, **form)
        if hasattr(rows, "tocsr") and self.kind not in (None, "table"):
            raise ValueError(
                f"X is a sparse matrix, which is a table, but kind is {self.kind!r}; leave kind out, or pass "
                f"X.toarray(), reshaped to the axes of {self.kind} data"
            )
        block = BLOCK if isinstance(self.network, str) else 1
        self.inputs_ = learn_inputs(
            rows, self.kind, self.channels, lambda kind: block if kind != "table" else 1, self.limits
        )
        return rows

    def _rows(self, X: Any) -> Array:
        """Rows to predict, checked against those of ``fit``."""
        check_is_fitted(self)
        rows = self._checked(X, reset=False)
        if self.inputs_.kind == "image" and self.inputs_.limits is not None:
            tell_normalized(rows, self.inputs_.limits, stacklevel=4)
        return rows

    def _checked(self, X: Any, *, reset: bool, **form: Any) -> Array:
        """Finite numbers; tables also have the columns, and their names, of ``fit``."""
        if reset:
            self.__dict__.pop("inputs_", None)  # of a fit to other rows
            self.encoding_ = None
        if self.kind in (None, "table"):
            X = as_frame(X)
        if self._is_named(X, reset):
            return self._learn_frame(X) if reset else self._encoded(X)
        if hasattr(X, "tocsr"):
            table: Array = validated(self, X, reset=reset, accept_sparse="csr", dtype="numeric", **form)
            return table
        X = numbers(self._as_series(X, reset) if self.kind == "series" else X)
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
        given = self.inputs_.given if hasattr(self, "inputs_") else (getattr(self, "n_features_in_", 0),)
        # a table's columns have names, which scikit-learn's check reads; it refuses more than two axes
        if not reset and (len(given) > 1 or len(shape) > 2):
            if self.kind == "series" and len(shape) == 3 and hasattr(self, "inputs_"):
                self.inputs_.check(X)
            else:
                check_row_shape(shape[1:], given)
        if len(shape) <= 2:
            rows: Array = validated(self, X, reset=reset, dtype="numeric", **form)
            return rows
        try:
            form["ensure_all_finite"] = "allow-nan" if self.kind == "series" else True
            rows = check_array(X, allow_nd=True, dtype="numeric", estimator=type(self).__name__, **form)
        except ValueError as error:
            raise DataError(str(error)) from error
        if reset:
            self.n_features_in_ = int(np.prod(rows.shape[1:]))
        return rows

    def _is_named(self, X: Any, reset: bool) -> bool:
        """Whether rows are a table of names, dates or gaps, or one that settings are given for."""
        if not reset:
            return self.encoding_ is not None
        if self.kind in (None, "table") and is_frame(X):
            return self.table is not None or bool(no_numbers_in(X))
        if self.table is not None:
            raise ValueError(
                f"table is {self.table!r}, but X is no data frame; pass pandas.DataFrame(X), or leave table out"
            )
        return False

    def _learn_frame(self, X: Any) -> Array:
        """The rows of ``fit`` out of a data frame with names, dates or gaps."""
        validated(self, X, reset=True, skip_check_array=True)
        if len(X) < 2:
            raise DataError(f"X has {len(X)} row(s); give at least 2")
        self.encoding_, rows = learn_frame(X, self.table or {})
        return rows

    def _encoded(self, X: Any) -> Array:
        """Rows as numbers, as those of ``fit`` became some."""
        assert self.encoding_ is not None
        if is_frame(X):
            validated(self, X, reset=False, skip_check_array=True)
        width = (len(self.encoding_.features),)
        samples = read_raw(X, Form("table", width, table=self.encoding_.as_dict()))
        rows: Array = samples.images(np.arange(len(samples))).numpy()
        return rows

    def _own_views(self, samples: ArraySet | SparseSet) -> Any:
        """The maker of views that was given, or one where the rows alone do not tell which."""
        if self.views is not None or self.inputs_.kind == "points":
            return self.views or PointViews()
        if self.encoding_ is None or isinstance(samples, SparseSet):
            return None
        return table_views(self.encoding_, samples.x)

    def _as_series(self, X: Any, reset: bool) -> Any:
        """Series in any form as one array."""
        if reset:
            self._channel_axis = channel_axis(X, self.channels)
        # a matrix is series of one channel, unless those of fit had more: then it is rows of another shape
        if reset or not isinstance(X, np.ndarray) or X.ndim != 2 or self.inputs_.given[0] == 1:
            X = pad_series(X, self._channel_axis)
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan, tags.input_tags.sparse = False, True
        tags.input_tags.three_d_array = True
        return tags
