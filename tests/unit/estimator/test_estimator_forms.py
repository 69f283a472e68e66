"""One set of numbers in every form that arrays have, and images of every height and width, at both estimators."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from selftrain.errors import DataError
from selftrain.estimator import PretrainedEncoder, SelfTrainClassifier

COUNT = 20
Y = np.where(np.arange(COUNT) < 8, np.arange(COUNT) % 2, -1)
EXACT = np.random.RandomState(0).randint(-4, 5, (COUNT, 3)).astype(np.float64)  # what every type below can hold
FRAME = pd.DataFrame(EXACT, columns=["a", "b", "c"])
QUICK = {"steps": 1, "random_state": 0}
FORMS = {
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "half": lambda x: torch.from_numpy(x).half(),
    "float16": lambda x: x.astype(np.float16),
    "float8": lambda x: torch.from_numpy(x).float().to(torch.float8_e4m3fn),
    "gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "list of tensors": lambda x: list(torch.from_numpy(x).bfloat16().requires_grad_()),
    "list of arrays": list,
    "transposed": lambda x: torch.from_numpy(x.T.copy()).T,
    "negative view": lambda x: torch._neg_view(torch.from_numpy(-x)),
    "big-endian": lambda x: x.astype(">f8"),
    "negative strides": lambda x: x[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
    "read-only": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    "lists": lambda x: x.tolist(),
    "integers": lambda x: x.astype(np.int8),
    "longdouble": lambda x: x.astype(np.longdouble),
    "objects": lambda x: x.astype(object),
    "frame": lambda x: FRAME,
    "nullable": lambda x: FRAME.astype("Int64"),
    "frame of Arrow": lambda x: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "table of Arrow": lambda x: pa.Table.from_pandas(FRAME),
    "nothing masked": lambda x: np.ma.MaskedArray(x, mask=np.zeros_like(x, dtype=bool)),
}


@pytest.fixture(scope="module")
def expected():
    return SelfTrainClassifier(**QUICK).fit(EXACT, Y).predict_proba(EXACT)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", FORMS)
def test_numbers_in_any_form_are_the_same_numbers(form, expected):
    rows = FORMS[form](EXACT)
    model = SelfTrainClassifier(**QUICK).fit(rows, Y)
    np.testing.assert_array_equal(model.predict_proba(rows), expected)
    assert model.score(rows, Y) == (expected.argmax(1) == Y)[Y >= 0].mean()


@pytest.mark.parametrize("form", ["bfloat16", "gradient", "big-endian", "table of Arrow"])
def test_an_encoder_reads_them_too(form):
    rows = FORMS[form](EXACT)
    found = PretrainedEncoder(recipe="vicreg", **QUICK).fit(rows).transform(rows)
    assert found.shape == (COUNT, 128)


SERIES = np.random.RandomState(1).randn(COUNT, 1, 12)
QUANTIZED = torch.ops.aten.quantize_per_tensor(torch.from_numpy(EXACT).float(), 1.0, 0, torch.qint8)
REFUSED = {  # rows, words of the message, and the rows that its remedy makes
    "sparse tensor": (torch.from_numpy(EXACT).to_sparse(), r"X\.to_dense\(\)", lambda x: x.to_dense()),
    "masked": (np.ma.MaskedArray(EXACT, mask=EXACT > 3), r"masked; fill them in \(X\.filled", lambda x: x.filled(0)),
    "quantized": (QUANTIZED, "qint8.*dense tensor", lambda x: x.dequantize()),
    "no data": (torch.empty(COUNT, 3, device="meta"), "meta.*dense tensor", lambda x: torch.zeros(x.shape)),
    "ragged": (
        [row[:, : 8 + i % 3] for i, row in enumerate(SERIES)],
        r"row 1 of X has shape \(1, 9\), row 0 has \(1, 8\)",
        lambda x: [row[:, :8] for row in x],
    ),
    "text": (np.array([["a", "b"]] * COUNT), "numeric values", lambda x: (x == "a").astype(float)),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_table_of_numbers_is_refused_and_its_remedy_works(form):
    rows, words, remedy = REFUSED[form]
    model = SelfTrainClassifier(**QUICK)
    with pytest.raises(DataError, match=words):
        model.fit(rows, Y)
    assert model.fit(remedy(rows), Y).predict(remedy(rows)).shape == (COUNT,)


SHAPES = [(30, 30), (30, 32), (13, 13), (32, 30), (30, 30, 1), (5, 7), (3, 2), (1, 9), (67, 5), (8, 8), (3, 13, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_every_height_and_width(shape):
    images = np.random.RandomState(0).rand(COUNT, *shape)
    model = SelfTrainClassifier(channels="first" if shape[0] == 3 and len(shape) == 3 else None, **QUICK).fit(images, Y)
    assert model.predict(images[:2]).shape == (2,)
    assert model.inputs_.read(images[:1]).shape[1:] == model.inputs_.shape
    assert all(side % 4 == 0 for side in model.inputs_.shape[1:])


@pytest.mark.parametrize("shape", [(30, 30), (13, 18), (5, 7)])
@pytest.mark.parametrize("recipe", ["mae", "ijepa", "simclr"])
def test_encoders_of_every_height_and_width(recipe, shape):
    images = np.random.RandomState(0).rand(COUNT, *shape)
    assert len(PretrainedEncoder(recipe=recipe, **QUICK).fit(images).transform(images[:3])) == 3


@pytest.mark.parametrize("length", [7, 13, 1, 101])
def test_series_of_every_length(length):
    series = np.random.RandomState(0).randn(COUNT, 2, length)
    assert SelfTrainClassifier(kind="series", **QUICK).fit(series, Y).predict(series[:2]).shape == (2,)
