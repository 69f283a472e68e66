"""What of pictures is not learned from is said, with a count: in a warning, in the summary, in the check."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selftrain import data
from selftrain.data.readers import decoding
from selftrain.errors import DataError

Make = Callable[[Path], None]


def picture(seed: int, width: int = 12, height: int = 12, mode: str = "RGB") -> Image.Image:
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate("ab"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            picture(10 * number + i).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def told(root: Path, **settings: Any) -> tuple[list[str], list[str], list[str]]:
    """Warnings, the summary, and findings of the check."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pile = data.from_folder(root, **settings)
    findings = [finding.text for finding in data.check(root, **settings).findings]
    return [str(one.message) for one in seen], list(pile.summary.left_out), findings


def white_on_clear(path: Path) -> None:
    image = np.full((12, 12, 4), 255, np.uint8)
    image[:, :6, 3] = 0
    Image.fromarray(image).save(path)


def moving(path: Path) -> None:
    picture(1).save(path, save_all=True, append_images=[picture(2)])


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(8).save(path, exif=exif)


def half_clear(path: Path) -> None:
    image = np.array(picture(7, mode="RGBA"))
    image[:, :, 3] = 128
    Image.fromarray(image).save(path)


_THINGS: dict[str, tuple[str, Make, str, bool]] = {
    "pages": ("c.tif", lambda p: picture(1).save(p, save_all=True, append_images=[picture(2), picture(3)]),
              r"1 file with several pictures \(pages or frames, 3 in all\): only the first", True),
    "gif": ("c.gif", moving, "frames, 2 in all", True),
    "webp": ("c.webp", moving, "frames, 2 in all", True),
    "png": ("c.png", moving, "frames, 2 in all", True),
    "heic": ("c.HEIC", lambda p: p.write_bytes(b"x"), r"1 file passed over: .*\(1 \.heic\); convert", True),
    "text": ("c.txt", lambda p: p.write_text("x"), r"1 file passed over: .*\(1 \.txt\)", False),
    "hidden": (".c.png", lambda p: picture(5).save(p), r"1 hidden file passed over: .* such as a/\.c\.png", False),
    "alpha": ("c.png", half_clear, "1 file with transparency, laid on white", False),
    "only alpha": ("c.png", white_on_clear, "1 file of one color once transparency is laid on white", True),
    "turned": ("c.jpg", turned, "1 file turned as the camera noted", False),
}  # fmt: skip


@pytest.mark.parametrize("thing", _THINGS)
def test_what_is_not_read_is_counted(thing: str, root: Path) -> None:
    name, make, words, warns = _THINGS[thing]
    make(root / "a" / name)
    warned, summary, findings = told(root)
    assert re.search(words, "".join(summary))
    assert [text for text in findings if text in summary] == summary
    assert warned == (summary if warns else [])


def test_ordinary_folders_leave_nothing_out(root: Path) -> None:
    picture(20).save(root / "a" / "OLD.JPEG")
    picture(21).save(root / "a" / "Old.Tif")
    assert told(root)[:2] == ([], [])
    assert len(data.from_folder(root).labeled) == 8


def test_links_to_what_is_read_already_are_counted(root: Path) -> None:
    os.symlink(root / "b", root / "c")
    warned, summary, _ = told(root)
    assert "1 link to a folder that is read already passed over, such as c" in warned[0]
    assert summary == warned[:1]


def test_held_out_files_without_a_class_are_counted(root: Path, tmp_path: Path) -> None:
    for name in ("a/1.png", "loose.png", "unlabeled/2.png"):
        (tmp_path / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(len(name)).save(tmp_path / "test" / name)
    with pytest.warns(UserWarning, match="2 of the test files have no class and are left out, such as loose.png"):
        data.from_folder(root, test=tmp_path / "test")


# ------------------------------------------------------------------ fit


def wide(root: Path) -> Path:
    for number, name in enumerate("ab"):
        for i in range(3):
            image = np.full((16, 64, 3), 100, np.uint8)
            image[:, :8] = 255 * number
            image[i, 30] = 7
            Image.fromarray(image).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("size", [(64, 16), (16, 40)])
def test_what_is_cut_off_is_said(size: tuple[int, int], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        picture(ord(name), 16, 64).save(tmp_path / name / "tall.png")
    for where in told(tmp_path, size=16):
        assert "2 pictures cropped to 16x16: up to 75% of a picture is cut off at its edges; keep all with" in where[0]
    assert told(tmp_path, size=(64, 16)) == ([], [], [])


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_the_remedies_for_what_is_cut_off_keep_the_edges(fit: Any, root: Path) -> None:
    warned, summary, _ = told(wide(root), size=16, fit=fit)
    assert not warned + summary
    folder = data.from_folder(root, size=16, fit=fit).labeled.images(np.arange(6)).float()
    images = [Image.open(path) for path in sorted(root.rglob("*.png"))]
    pairs = list(zip(images, [0, 0, 0, 1, 1, 1], strict=True))
    other = data.from_dataset(pairs, size=16, fit=fit).labeled.images(np.arange(6)).float()
    files = data.FileSet(sorted(root.rglob("*.png")), size=16, fit=fit).images(np.arange(6)).float()
    for seen in (folder, other, files):
        assert (seen[:3].mean(0) - seen[3:].mean(0)).abs().max() > 200
        assert seen.shape == (6, 3, 16, 16)
    if fit == "pad":
        assert folder[:, :, :6].max() == 0  # the side ratio is kept, and the rest is black


def test_a_data_set_says_what_is_cut_off(root: Path) -> None:
    images = [Image.open(path) for path in sorted(wide(root).rglob("*.png"))]
    with pytest.warns(UserWarning, match="of 6 pictures .* looked at, 6 pictures cropped to 16x16: up to 75%"):
        data.from_dataset([(image, i % 2) for i, image in enumerate(images)], size=16)


@pytest.mark.parametrize("size", [0, 2.5, (8,), (8, 0), "8"])
def test_sizes_that_are_none_are_refused(size: Any, root: Path) -> None:
    with pytest.raises(ValueError, match="whole numbers of at least 1|without quotes: size=8"):
        data.from_folder(root, size=size)


# ------------------------------------------------------------------ memory


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_pictures_are_not_damaged_because_memory_is_short(on_error: Any, root: Path, monkeypatch: Any) -> None:
    def short(*given: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(decoding, "_opaque", short)
    for attempt in (
        lambda: data.from_folder(root, on_error=on_error),
        lambda: data.check(root, on_error=on_error),
        lambda: data.FileSet([root / "a" / "0.png"]).images(np.zeros(1, np.int64)),
        lambda: data.from_dataset([(picture(1), 0), (picture(2), 1)]),
    ):
        with pytest.raises(MemoryError, match="memory is too short to decode image"):
            attempt()
    monkeypatch.undo()
    assert len(data.from_folder(root, on_error=on_error).labeled) == 6


def test_damage_is_still_damage(root: Path) -> None:
    (root / "a" / "0.png").write_bytes((root / "a" / "0.png").read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        data.from_folder(root)


# ------------------------------------------------------------------ arrays and data sets

ROWS = np.random.default_rng(0).random((8, 3))
LABELS = np.array([0, 1] * 4)


def arrays(root: Path, **named: Any) -> Path:
    root.mkdir()
    for name, array in named.items():
        np.save(root / f"{name}.npy", array)
    return root


def test_arrays_of_other_names_are_told(tmp_path: Path) -> None:
    place = arrays(tmp_path / "rows", x=ROWS, labels=LABELS)
    with pytest.warns(UserWarning, match=r"passed over in .* \(1\): labels.npy; .*y\.npy") as seen:
        pile = data.from_path(place)
    assert list(pile.summary.left_out) == [str(seen[0].message)]
    (place / "labels.npy").rename(place / "y.npy")
    (place / "readme.txt").write_text("of 1998")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pile = data.from_path(place)
    assert len(pile.labeled) == 8
    assert "(1): readme.txt" in pile.summary.left_out[0]


def test_an_array_alone_says_what_lies_beside_it(tmp_path: Path) -> None:
    place = arrays(tmp_path / "rows", x=ROWS, y=LABELS)
    pile = data.from_path(place / "x.npy")
    assert list(pile.summary.left_out) == ["y.npy beside x.npy: pass the folder to read all"]
    assert len(data.from_path(place).labeled) == 8


def test_splits_of_other_names_are_told() -> None:
    pairs = [(row, int(y)) for row, y in zip(ROWS, LABELS, strict=True)]
    splits = {"train": pairs, "test": pairs, "extra": pairs[:5]}
    with pytest.warns(UserWarning, match=r"splits passed over: extra \(5 rows\)"):
        pile = data.from_dataset(splits)
    assert "extra (5 rows)" in pile.summary.left_out[0]
    with pytest.raises(DataError, match="'valid' and 'dev' are both the validation samples"):
        data.from_dataset({"train": pairs, "valid": pairs, "dev": pairs})


@pytest.mark.parametrize("lone", ["x_test", "y_test"])
def test_half_a_test_set_is_refused(lone: str) -> None:
    given: Any = {"x_test": ROWS, "y_test": LABELS}
    with pytest.raises(DataError, match=f"there is {lone} but no"):
        data.Pile.from_arrays(ROWS, LABELS, **{lone: given[lone]})
    assert len(data.Pile.from_arrays(ROWS, LABELS, **given).test) == 8


def test_folders_above_the_classes_are_told(root: Path) -> None:
    for name, of in (("train", "a"), ("test", "b")):
        (root.parent / "above" / name).mkdir(parents=True)
        (root / of).rename(root.parent / "above" / name / of)
    with pytest.warns(UserWarning, match="the classes test, train look like parts of a split"):
        data.from_folder(root.parent / "above")
    (root.parent / "above" / "test" / "b").rename(root.parent / "above" / "test" / "a")
    pile = data.from_folder(root.parent / "above" / "train", test=root.parent / "above" / "test")
    assert [len(pile.labeled), len(pile.test)] == [3, 3]


def test_further_columns_of_other_tables_are_told() -> None:
    rows = {"size": [1.0, 2.5, 3.5, 4.0], "kind": list("abab")}
    more = rows | {"weight": [1.0, 2.5, 3.0, 5.0]}
    with pytest.warns(UserWarning, match="1 of the columns of the test table are unknown .* not read: weight"):
        pile = data.from_table(rows, "kind", test=more)
    assert "weight" in pile.summary.left_out[-1]
    with pytest.warns(UserWarning, match="1 of the columns of the table are unknown"):
        data.from_table(more, encoding=pile.encoding)
