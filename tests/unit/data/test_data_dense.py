"""What has no number at every place is refused by name at every door, with a remedy that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import selftrain as st
from selftrain import data
from selftrain.data import ArraySet, Pile
from selftrain.errors import DataError

N = 12
Y = np.where(np.arange(N) < 6, np.arange(N) % 2, -1)
RAGGED = [np.ones((1, 20 + i % 3)) for i in range(N)]
BOXED = np.empty(N, dtype=object)
BOXED[:] = RAGGED
TABLE = np.random.default_rng(0).random((N, 4))
SIGNALS = np.fft.fft(TABLE)
MASKED = np.ma.masked_array(TABLE, TABLE > 0.9)

FAULTS: dict[str, tuple[Any, str | None, str, Any]] = {
    "list": (RAGGED, None, r"row 1 of \w+ has shape \(1, 21\), row 0 has \(1, 20\); cut or pad", "cut"),
    "objects": (BOXED, None, r"row 1 of \w+ has shape \(1, 21\)", "cut"),
    "tensors": ([torch.from_numpy(row) for row in RAGGED], None, r"row 1 of \w+ has shape \(1, 21\)", "cut"),
    "lists": ([[1.0, 2.0], [1.0]] * 6, None, r"row 1 of \w+ has shape \(1,\)", lambda x: np.stack([r[:1] for r in x])),
    "torch sparse": (torch.eye(N).to_sparse(), None, r"sparse tensor .*\.to_dense\(\)", lambda x: x.to_dense()),
    "torch csc": (torch.eye(N).to_sparse_csc(), None, r"sparse tensor .*\.to_dense\(\)", lambda x: x.to_dense()),
    "masked": (MASKED, None, r"values of \w+ are masked; .*\.filled\(0\)", lambda x: x.filled(0)),
    "quantized": (
        torch.quantize_per_tensor(torch.rand(N, 4), 0.1, 0, torch.quint8), None, r"dense tensor .*\.dequantize\(\)",
        lambda x: x.dequantize(),
    ),
    "meta": (torch.rand(N, 4, device="meta"), None, "without any value", lambda x: torch.zeros(x.shape)),
}  # fmt: skip
COMPLEX: dict[str, tuple[Any, str | None, str, Any]] = {
    "complex": (SIGNALS, None, "imaginary parts would be lost", lambda x: np.concatenate([x.real, x.imag], 1)),
    "complex tensor": (torch.from_numpy(SIGNALS), None, "imaginary parts would be lost", abs),
    "complex series": (SIGNALS[:, None], "series", r"x\.real, x\.imag", lambda x: np.concatenate([x.real, x.imag], 1)),
}


def remedied(x: Any, remedy: Any) -> Any:
    return np.stack([np.asarray(row)[..., :20] for row in x]) if remedy == "cut" else remedy(x)


@pytest.mark.parametrize("fault", FAULTS | COMPLEX)
def test_arrays(fault: str) -> None:
    x, kind, words, remedy = (FAULTS | COMPLEX)[fault]
    for attempt in (lambda: Pile.from_arrays(x, Y, kind=kind), lambda: ArraySet(x, kind=kind)):
        with pytest.raises(DataError, match=words):
            attempt()
    assert len(Pile.from_arrays(remedied(x, remedy), Y, kind=kind).labeled) == 6


@pytest.mark.parametrize("fault", FAULTS)
def test_estimators(fault: str) -> None:
    x, kind, words, remedy = FAULTS[fault]
    with pytest.raises(DataError, match=words):
        st.SelfTrainClassifier(kind=kind, steps=1).fit(x, Y)
    fitted = st.SelfTrainClassifier(kind=kind, steps=1, batch_size=4).fit(remedied(x, remedy), Y)
    with pytest.raises(DataError, match=words):
        fitted.predict(x)


class Rows(Dataset[Any]):
    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> Any:
        return self.rows[row], int(Y[row])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (torch.eye(N).to_sparse(), r"row 0 of the labeled set is a sparse tensor"),
        (torch.from_numpy(SIGNALS), "row 0 of the labeled set holds complex numbers"),
        ([MASKED[i] for i in np.argsort(-TABLE.max(1))], "row 0 of the labeled set are masked"),
    ],
    ids=["sparse", "complex", "masked"],
)
def test_data_sets(rows: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        data.from_dataset(Rows(rows))


def test_complex_numbers_in_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=SIGNALS, y=Y)
    np.save(tmp_path / "x.npy", SIGNALS)
    for path in ("rows.npz", "x.npy"):
        with pytest.raises(DataError, match="imaginary parts would be lost"):
            data.from_arrays_file(tmp_path / path)


def test_lists_of_tensors_and_rows_are_read() -> None:
    for rows in (list(torch.rand(N, 3)), [*TABLE], [[1, 2]] * N, TABLE.astype(object), [np.ones(2), torch.ones(2)] * 6):
        assert len(Pile.from_arrays(rows, Y).labeled) == 6
