"""Units and origins: what does not change the meaning of numbers changes no result, and what would is said."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain import data, errors
from selftrain.cli import OK
from selftrain.cli.check_data import run as check_data
from selftrain.data import ArraySet, Pile
from selftrain.errors import DataError

RANDOM = np.random.default_rng(0)
Y = np.array([0, 1, 0, 1, -1, -1, -1, -1])
CT = RANDOM.integers(-1000, 3000, (8, 8, 8)).astype(np.int16)


def said_limits(text: object) -> tuple[float, float]:
    """The limits that a message names."""
    found = re.search(r"limits=\((-?[\d.]+), (-?[\d.]+)\)", str(text))
    assert found is not None, text
    return float(found[1]), float(found[2])


class Pictures:
    """A map-style set of pairs."""

    def __init__(self, x, y=Y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row], int(self.y[row])


@pytest.fixture
def dim(tmp_path):
    """16-bit files that use the lowest 8 bits, one pixel of each but for a sensor's dead one."""
    for number, label in enumerate(("cat", "dog") * 3):
        (tmp_path / label).mkdir(exist_ok=True)
        levels = RANDOM.integers(0, 256, (40, 40)).astype(np.uint16)
        levels[0, 0] = 65535
        Image.fromarray(levels).save(tmp_path / label / f"{number}.tif")
    return tmp_path


@contextmanager
def no_warning(words):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", words)
        yield


def array_doors(tmp_path):
    """Every door that takes images as arrays, as a function of further settings that gives the images it read."""
    np.savez(tmp_path / "ct.npz", x=CT, y=Y)
    np.save(tmp_path / "x.npy", CT)
    np.save(tmp_path / "y.npy", Y)
    rows = np.arange(4)
    return {
        "from_arrays": lambda **more: Pile.from_arrays(CT, Y, **more).labeled.images(rows),
        "npz": lambda **more: data.from_arrays_file(tmp_path / "ct.npz", **more).labeled.images(rows),
        "npy": lambda **more: data.from_arrays_file(tmp_path, **more).labeled.images(rows),
        "path": lambda **more: data.from_path(tmp_path, **more).labeled.images(rows),
        "dataset": lambda **more: data.from_dataset(Pictures(CT), **more).labeled.images(rows),
        "set": lambda **more: ArraySet(CT[:4], **more).images(rows),
    }


def test_every_door_of_arrays_takes_the_limits_that_its_error_names(tmp_path):
    for door, read in array_doors(tmp_path).items():
        with pytest.raises(DataError, match=r"limits=\(black, white\)"):
            read()
        x = read(limits=(-1000, 2999))
        expected = (torch.from_numpy(CT[[0, 1, 2, 3]].astype(np.float64))[:, None] + 1000) / 3999
        assert torch.allclose(x, expected.float()), door
        # a window of CT: what lies beyond is black or white
        assert (read(limits=(0, 1)) == torch.from_numpy(CT[:4] > 0)[:, None]).all(), door
    with pytest.raises(ValueError, match=r"limits are 'dark'; give two numbers"):
        Pile.from_arrays(CT, Y, limits="dark")
    for kind, x in (("series", CT), ("points", CT[:, :, :3]), (None, CT[:, 0])):
        with pytest.raises(ValueError, match="only images have black and white"):
            Pile.from_arrays(x, Y, kind=kind, limits=(0, 1))


def test_the_estimator_reads_pictures_of_any_type_by_one_pair_of_limits():
    model = st.SelfTrainClassifier(steps=1, random_state=0).fit(CT, Y)
    assert model.inputs_.limits == (CT.min(), CT.max())
    assert torch.equal(model.inputs_.read(CT), model.inputs_.read(CT.astype(np.float64)))
    # later rows by the same black and white, not by their own
    assert torch.equal(model.inputs_.read(CT[:1]), model.inputs_.read(CT)[:1])
    window = st.SelfTrainClassifier(steps=1, random_state=0, limits=(0, 400), pretrain="vicreg").set_params(
        pretrain=st.PretrainedEncoder(recipe="vicreg", steps=1)
    )
    window.fit(CT, Y)
    assert window.inputs_.limits == window.encoder_.inputs_.limits == (0, 400)
    with pytest.raises(ValueError, match="table data have no black and white"):
        st.SelfTrainClassifier(limits=(0, 1)).fit(np.ones((8, 2)), Y)


def test_deep_files_that_use_few_levels_are_told_with_a_remedy_that_keeps_them(dim):
    rows = np.arange(6)
    with pytest.warns(UserWarning, match="6 pictures of more than 8 bits .* 2 gray levels of 256 are left") as told:
        pile = data.from_folder(dim, mode="L")
    assert len(pile.labeled.images(rows).unique()) == 3
    [finding] = [f for f in data.check(dim).findings if f.kind == "gray levels"]
    assert finding.level == "harms"
    for text in (told[0].message, finding.text):
        with no_warning(".*gray level"):
            kept = data.from_folder(dim, mode="L", limits=said_limits(text))
        assert len(kept.labeled.images(rows).unique()) > 200
        assert not data.check(dim, limits=said_limits(text)).of("gray levels")
    # all parts, and a run that is opened again, by one pair
    held = data.from_folder(dim, mode="L", limits=(0, 255), test=dim, validation=dim)
    assert torch.equal(held.test.images(rows), held.validation.images(rows))
    assert held.origin["settings"]["limits"] == (0, 255)


def test_the_command_line_takes_the_limits_that_it_names(dim, capsys, monkeypatch):
    monkeypatch.setattr(errors, "as_options", True)
    check_data([str(dim)])
    found = re.search(r'--data\.limits "(\[0, \d+\])"', capsys.readouterr().out)
    assert found is not None
    assert check_data([str(dim), "--data.limits", found[1]]) == OK
    assert "gray level" not in capsys.readouterr().out


def test_limits_are_for_deep_files(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.fromarray(RANDOM.integers(0, 256, (4, 4)).astype(np.uint8)).save(tmp_path / label / "0.png")
    with pytest.raises(DataError, match="no gray files of more than 8 bits"):
        data.from_folder(tmp_path, limits=(0, 255))
    Image.fromarray(RANDOM.normal(300, 1, (4, 4)).astype(np.float32)).save(tmp_path / "a/1.tif")
    with pytest.raises(DataError, match=r"say which are black and white: limits=\(black, white\)"):
        data.from_folder(tmp_path)
    levels = data.from_folder(tmp_path, mode="L", limits=(295, 305)).labeled.images(np.array([0, 1, 2]))
    assert all(len(picture.unique()) > 8 for picture in levels)


def test_pictures_of_a_data_set_of_more_than_8_bits_are_told_and_kept_too(dim):
    pictures = [Image.open(file) for file in sorted(dim.rglob("*.tif"))]
    with pytest.warns(UserWarning, match="gray levels of 256 are left") as told:
        data.from_dataset(Pictures(pictures, Y), mode="L")
    with no_warning(".*gray level"):
        pile = data.from_dataset(Pictures(pictures, Y), mode="L", limits=said_limits(told[0].message))
    assert len(pile.labeled.images(np.arange(4)).unique()) > 200
