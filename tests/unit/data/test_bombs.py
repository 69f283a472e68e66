"""Small files that say they hold very much: refused at once, with the value and the remedy."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selftrain import data
from selftrain.data.readers import tabular
from selftrain.errors import DataError
from selftrain.labels.ledger import COLUMNS, Ledger


def equal_rows(path, names, count):
    pq.write_table(pa.table({name: pa.array(np.zeros(count, np.int8)) for name in names}), path)
    return path


def test_a_parquet_table_that_is_larger_than_the_memory(tmp_path, monkeypatch):
    path = equal_rows(tmp_path / "a.parquet", ["a", "label"], 1000)
    monkeypatch.setattr(tabular, "machine_memory", lambda: 100_000)
    with pytest.raises(DataError, match="has 1,000 rows of 2 columns, as a table .*; save the numbers as .npy files"):
        data.from_table(path, label="label")
    # the remedy
    for name, values in (("x", np.eye(20, 5)), ("y", np.arange(20) % 2)):
        np.save(tmp_path / f"{name}.npy", values)
    assert data.from_arrays_file(tmp_path).labeled is not None


def test_a_ledger_of_equal_rows(tmp_path):
    path = equal_rows(tmp_path / "a.parquet", COLUMNS, 1_000_000)
    with pytest.raises(DataError, match=r"has 1,000,000 rows in [\d,]+ bytes, which cannot all differ"):
        Ledger.read(path)


def test_a_table_of_endless_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(tabular, "_MOST", 3)
    (tmp_path / "a.csv").write_text("a,b,c,label\n" + "1,2,3,x\n4,5,6,y\n" * 10)
    with pytest.raises(
        DataError, match=r"has 4 columns; of more than 3 .* save the numbers as an array, numpy.savez\("
    ):
        data.from_table(tmp_path / "a.csv", label="label")
    np.savez(tmp_path / "data.npz", x=np.eye(20, 3), y=np.array(["x", "y"] * 10))
    assert list(data.from_arrays_file(tmp_path / "data.npz").classes) == ["x", "y"]


def test_an_archive_of_endless_names_is_not_read(tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for i in range(300):
            archive.writestr(f"c{i}.npy", content.getvalue() if i == 0 else b"never read")
    with pytest.raises(DataError, match="has an array 'c0'; known are x, y"):
        data.from_arrays_file(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_long_head_is_not_to_be_trusted(name, tmp_path):
    """The advice of numpy would run code; ours is to save numbers."""
    values = np.zeros(1, np.dtype([(f"c{i}", "u1") for i in range(3000)]))
    np.save(tmp_path / name, values) if name == "a.npy" else np.savez(tmp_path / name, x=values, y=[0])
    with pytest.raises(DataError, match="Header info length") as caught:
        data.from_arrays_file(tmp_path / name)
    assert "pickle" not in str(caught.value)
