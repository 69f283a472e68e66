"""Pictures and masks in files: two folders, and the layouts of others."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain import data
from selftrain.data import Pile
from selftrain.errors import DataError

RED, BLUE = (200, 0, 0), (0, 0, 200)


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    """Columns from dark to bright, so that each pixel tells its column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.tile(np.arange(size[0], dtype=np.uint8) * 10, (size[1], 1))
    Image.fromarray(ramp).convert("RGB").save(path)
    return path


def mask(path: Path, values: Any, palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        made.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    made.save(path)
    return path


LEFT = np.tile(np.arange(8) >= 4, (6, 1)).astype(np.uint8)  # 0 left, 1 right
STEPS = np.tile(np.arange(8) % 3, (6, 1)).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a", "b/c", "d", "e"):
        picture(tmp_path / "images" / f"{name}.png")
    mask(tmp_path / "masks" / "a.png", LEFT, palette=True)
    mask(tmp_path / "masks" / "b" / "c.png", STEPS)
    return tmp_path


def quiet(*values: Any, **settings: Any) -> Pile:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.from_masks(*values, **settings)


def test_two_folders(root: Path) -> None:
    for pile in (quiet(root / "images", root / "masks"), quiet(root)):
        assert list(pile.labeled.ids) == ["a.png", "b/c.png"]
        assert pile.unlabeled_ids() == ["d.png", "e.png"]
        assert list(pile.classes) == ["0", "1", "2"]
        found = pile.labeled.annotations[torch.arange(2)]
        assert found.dtype == torch.uint8
        np.testing.assert_array_equal(found, np.stack([LEFT, STEPS]))
        assert pile.origin["settings"]["images"] == pile.source
    few = quiet(root, labels=1, classes=["sky", "road", "car"])
    assert [len(few.labeled), len(few.unlabeled)] == [1, 3]
    assert few.unlabeled.annotations is None


def test_masks_are_read_when_they_are_asked_for(root: Path) -> None:
    pile = quiet(root)
    kept = quiet(root, cache=True)
    assert kept.labeled.annotations[0].tolist() == LEFT.tolist()
    for place in ("a.png", "b/c.png"):
        (root / "masks" / place).unlink()
    with pytest.raises(DataError, match=r"a\.png"):
        pile.labeled.annotations[torch.arange(1)]
    assert kept.labeled.annotations[0].tolist() == LEFT.tolist()


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_pictures_and_masks_are_brought_to_one_size_together(root: Path, fit: Any) -> None:
    picture(root / "images" / "d.png", (16, 6))
    mask(root / "masks" / "d.png", np.tile(np.arange(16) // 4, (6, 1)) * 20)
    picture(root / "images" / "a.png", (16, 12))  # a mask of half the size, of one shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pile = data.from_masks(root, size=(6, 8), fit=fit)
    row = list(pile.labeled.ids).index("d.png")
    seen = pile.labeled.images(np.array([row]))[0, 0].numpy() / 10
    found = pile.labeled.annotations[row].numpy()
    inside = found != 255
    assert inside.all() == (fit != "pad")
    assert set(np.unique(found[inside])) == ({20, 40} if fit == "crop" else {0, 20, 40, 60})  # no number between two
    found = found // 20
    # the class of each pixel is that of the column that the picture shows there
    middle = slice(1, -1)
    assert np.abs(seen[inside] // 4 - found[inside])[middle].max() <= 1
    assert (np.abs((seen - 2) / 4 - found) < 0.75)[inside].all()
    assert pile.labeled.annotations.shape == (3, 6, 8)


def test_colors_numbers_and_void(root: Path) -> None:
    for path in (root / "masks").rglob("*.png"):
        path.unlink()
    shades = np.zeros((6, 8, 3), np.uint8)
    shades[:, :4], shades[:, 4:7] = RED, BLUE
    Image.fromarray(shades).save(root / "masks" / "a.png")
    with pytest.raises(DataError, match=r"is in colors; say which class each is: colors=\{'class 0': \(0, 0, 0\), 'cl"):
        data.from_masks(root)
    with pytest.raises(DataError, match=r"colors \(0, 0, 0\), which are no class .*add them to colors.* as 'void'"):
        data.from_masks(root, colors={"sky": RED, "road": BLUE})
    pile = quiet(root, colors={"sky": RED, "road": BLUE, "void": (0, 0, 0)})
    assert list(pile.classes) == ["sky", "road"]
    assert pile.labeled.annotations[0][0].tolist() == [0] * 4 + [1] * 3 + [255]
    with pytest.raises(DataError, match="class 'car' has no color; add it to colors"):
        data.from_masks(root, colors={"sky": RED, "road": BLUE}, classes=["sky", "car"])
    with pytest.raises(DataError, match="there are 256 classes; .* list those you need"):
        data.from_masks(root, classes=list(map(str, range(256))), colors=dict.fromkeys(map(str, range(256)), RED))
    mask(root / "masks" / "a.jpg", np.tile(np.arange(8) * 30, (6, 1)))
    (root / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match="a JPEG mixes numbers at borders: save masks as PNG"):
        data.from_masks(root, classes=["sky", "road"])
    (root / "masks" / "a.jpg").unlink()
    mask(root / "masks" / "a.png", LEFT * 255)
    with pytest.raises(DataError, match=r"only 0 and 255, .*classes=\{'background': 0, 'object': 255\}"):
        data.from_masks(root)
    pile = quiet(root, classes={"background": 0, "object": 255})
    assert pile.labeled.annotations[0].tolist() == LEFT.tolist()
    assert list(pile.classes) == ["background", "object"]
    mask(root / "masks" / "a.png", LEFT * 7 + 3)
    with pytest.raises(DataError, match=r"a\.png with the numbers 3, 10, which are no class \(sky, road\); .*void="):
        data.from_masks(root, classes=["sky", "road"])
    assert quiet(root, classes={"sky": 3, "road": 10}).labeled.annotations[0].tolist() == LEFT.tolist()
    mask(root / "masks" / "a.png", LEFT + np.where(STEPS == 2, 9, 0))
    with pytest.raises(DataError, match=r"say void=\[9, 10, 255\]"):
        data.from_masks(root, classes=["sky", "road"])
    pile = quiet(root, classes=["sky", "road"], void=[9, 10, 255])
    np.testing.assert_array_equal(pile.labeled.annotations[0], np.where(STEPS == 2, 255, LEFT))


def test_what_does_not_fit_is_told(root: Path) -> None:
    mask(root / "masks" / "z.png", LEFT)
    mask(root / "masks" / "d.png", LEFT * 0 + 255)
    with pytest.warns(UserWarning, match="mask") as told:
        pile = data.from_masks(root, classes=["sky", "road", "car"])
    words = " ".join(str(one.message) for one in told)
    assert "1 mask without a picture left out, such as z.png" in words
    assert "1 mask void all over" in words
    assert len(pile.unlabeled) == 2
    assert any("z.png" in line for line in pile.summary.left_out)
    mask(root / "masks" / "e.png", LEFT[:4])
    with pytest.raises(DataError, match=r"e\.png: 4x8 for a picture of 6x8; .*NEAREST"):
        data.from_masks(root)
    whole = Image.open(root / "images" / "e.png")
    Image.open(root / "masks" / "e.png").resize(whole.size, Image.Resampling.NEAREST).save(root / "masks" / "e.png")
    with pytest.warns(UserWarning, match="left out"):
        assert len(data.from_masks(root).labeled) == 3  # the remedy
    (root / "masks" / "e.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 mask cannot be used, such as .*e\.png"):
        data.from_masks(root)
    with pytest.warns(UserWarning, match="left out"):
        pile = data.from_masks(root, on_error="skip", max_skipped=0.3)
    assert "e.png" in pile.unlabeled_ids()
    assert pile.skipped[0][0].endswith("e.png")
    with pytest.raises(DataError, match="no picture below .* has a mask; .*masks="):
        data.from_masks(root / "images", root / "images" / "b")


def test_folders_that_are_not_understood(root: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images/ and masks/; say .*masks=.FOLDER"):
        data.from_masks(root / "images")
    assert quiet(root / "images", masks=root / "masks").labeled is not None  # the remedy
    with pytest.raises(DataError, match="give one folder with pictures and masks, or the two"):
        data.from_masks(root, test=[root, root, root])
    picture(root / "images" / "a.jpg")
    with pytest.raises(DataError, match="several pictures in .* are called a, and there is one mask; rename them"):
        data.from_masks(root)
    (root / "images" / "a.jpg").rename(root / "images" / "f.jpg")
    assert len(quiet(root).labeled) == 2


def test_files_that_change_after_they_were_found(root: Path) -> None:
    pile = quiet(root, weights=root / "masks")
    mask(root / "masks" / "a.png", LEFT + 7)
    with pytest.raises(DataError, match=r"a\.png holds 7, which is no class; was it changed"):
        pile.labeled.annotations[0]
    mask(root / "masks" / "a.png", LEFT[:2])
    with pytest.raises(DataError, match=r"a\.png is 2x8, and its picture 6x8; was it changed"):
        pile.labeled.annotations[0]
    mask(root / "masks" / "a.png", LEFT)
    for given, words in (
        (np.full((6, 8), 300, np.uint16), "holds 300; save weights as gray"),
        (LEFT[:1], "another size"),
    ):
        (root / "sure").mkdir(exist_ok=True)
        Image.fromarray(given).save(root / "sure" / "a.png")
        with pytest.raises(DataError, match=words):
            quiet(root, weights=root / "sure").labeled.annotations[0]
    mask(root / "sure" / "a.png", LEFT)
    assert quiet(root, weights=root / "sure").labeled.annotations[0, 1].tolist() == LEFT.tolist()


def test_names_with_an_ending_and_masks_below_the_pictures(root: Path) -> None:
    for name in ("a", "b/c"):
        (root / "masks" / f"{name}.png").rename(root / "masks" / f"{name}_mask.png")
    (root / "masks").rename(root / "images" / "masks")
    pile = quiet(root / "images", root / "images" / "masks")
    assert [len(pile.labeled), len(pile.unlabeled)] == [2, 2]


def test_weights_say_how_much_a_pixel_counts(root: Path) -> None:
    sure = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    mask(root / "sure" / "a.png", sure)
    pile = quiet(root, weights=root / "sure")
    target = st.Segmentation(3).encode(pile.labeled.annotations[torch.arange(2)])
    np.testing.assert_allclose(target.weight[0], sure / 255, rtol=1e-6)
    assert target.weight[1].eq(1).all()  # a mask without a weight was drawn by a person
    other = pile.numbered_as(["2", "1", "0", "3"]).labeled.annotations
    assert other[0, 0].tolist() == np.where(LEFT, 1, 2).tolist()
    assert other[0, 1].tolist() == sure.tolist()
    with pytest.raises(DataError, match=r"no mask has a weight in .*such as a\.png"):
        data.from_masks(root, weights=root / "images" / "b")


def test_held_out_parts_have_folders_of_their_own(root: Path) -> None:
    for name in ("x", "y"):
        picture(root / "held" / "images" / f"{name}.png")
    mask(root / "held" / "masks" / "x.png", STEPS)
    held = root / "held"
    for given in (held, [held / "images", held / "masks"]):
        pile = quiet(root, test=given, validation=given)
        assert list(pile.test.ids) == ["x.png"]
        assert len(pile.validation) == 1
    assert len(quiet(root, validation=1, classes=["sky", "road"], void=[2, 255]).labeled) == 1


def test_a_folder_of_pictures_and_masks_is_no_folder_of_two_classes(root: Path) -> None:
    with pytest.raises(DataError, match=r"no two classes; read them with selftrain.data.from_masks\('"):
        data.from_folder(root)
    assert len(data.from_masks(str(root)).labeled) == 2  # the remedy
    for pile in (data.from_path(root), data.from_path(root / "images", masks=root / "masks")):
        assert pile.labeled.annotations.ndim == 3
    for name in ("a", "b/c"):  # classes that are called so
        (root / "masks" / f"{name}.png").rename(root / "masks" / f"{name}other.png")
    assert list(data.from_folder(root).classes) == ["images", "masks"]


def test_layout_of_pascal_voc(tmp_path: Path) -> None:
    for name in "abcd":
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    for name in "abc":
        mask(tmp_path / "SegmentationClass" / f"{name}.png", np.where(LEFT, 15, 0), palette=True)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    with pytest.warns(UserWarning, match="no labeled pixel is of class aeroplane"):
        pile = data.from_masks(tmp_path)
    assert [list(part.ids) for part in (pile.labeled, pile.unlabeled, pile.test)] == [
        ["a.jpg"],
        ["c.jpg", "d.jpg"],
        ["b.jpg"],
    ]
    assert pile.classes[15] == "person"
    assert len(pile.classes) == 21


def test_layout_of_cityscapes(tmp_path: Path) -> None:
    for part, name in (("train", "u_1"), ("val", "u_2"), ("test", "u_3"), ("train_extra", "u_4")):
        picture(tmp_path / "leftImg8bit" / part / "u" / f"{name}_leftImg8bit.png")
        if part in ("train", "val"):
            mask(tmp_path / "gtFine" / part / "u" / f"{name}_gtFine_labelIds.png", np.where(LEFT, 26, 4))
    with pytest.warns(UserWarning, match="no labeled pixel is of class road"):
        pile = data.from_masks(tmp_path)
    assert pile.labeled.annotations[0][0].tolist() == [255] * 4 + [13] * 4
    assert pile.classes[13] == "car"
    assert [len(part) for part in (pile.labeled, pile.unlabeled, pile.test)] == [1, 1, 1]
    for path in [*(tmp_path / "gtFine").rglob("*_labelIds.png")]:
        mask(path.with_name(path.name.replace("labelIds", "labelTrainIds")), np.where(LEFT, 13, 255))
    with pytest.warns(UserWarning, match="no labeled pixel"):
        again = data.from_masks(tmp_path)
    assert torch.equal(again.labeled.annotations[0], pile.labeled.annotations[0])


def test_the_check_knows_masks(root: Path) -> None:
    mask(root / "masks" / "z.png", LEFT)
    mask(root / "masks" / "d.png", LEFT * 0 + 255)
    report = data.check(root, classes=["sky", "road", "car", "dog"])
    words = " ".join(finding.text for finding in report.findings if finding.level == "harms")
    for text in ("no pixel of class dog; it can", "1 mask without a picture", "1 mask void all over"):
        assert text in words
    assert any(line.startswith("pixels     sky 4") for line in report.summary)
    assert data.check(root / "images", masks=root / "masks").ok is False
    mask(root / "masks" / "e.png", LEFT[:4] + 7)
    report = data.check(root, classes=["sky", "road", "car"])
    stops = {finding.kind for finding in report.findings if finding.level == "stops"}
    assert stops == {"mask size", "outside the classes"}
    for name in "zde":
        (root / "masks" / f"{name}.png").unlink()
    assert data.check(root, classes=["sky", "road", "car"]).ok
    even = Pile.from_arrays(np.zeros((2, 6, 8)), np.stack([LEFT, LEFT]), classes=["sky", "road"])
    assert data.check(even).summary[0] == "pixels     sky 50.0 %, road 50.0 %"


def test_data_sets_of_torchvision(tmp_path: Path) -> None:
    from torchvision import datasets

    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("a", "b"):
        picture(voc / "JPEGImages" / f"{name}.jpg")
        mask(voc / "SegmentationClass" / f"{name}.png", np.where(LEFT, 15, 255), palette=True)
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    with pytest.warns(UserWarning, match="no labeled pixel is of class background"):
        pile = data.from_dataset(datasets.VOCSegmentation(str(tmp_path), "2012", "train"), labels=1)
    assert [len(pile.labeled), len(pile.unlabeled), len(pile.classes)] == [1, 1, 21]
    assert pile.labeled.annotations[0, 0].tolist() == [255] * 4 + [15] * 4

    for part in ("train", "val"):
        picture(tmp_path / "leftImg8bit" / part / "u" / "x_leftImg8bit.png")
        mask(tmp_path / "gtFine" / part / "u" / "x_gtFine_labelIds.png", np.where(LEFT, 26, 4))
    sets = [datasets.Cityscapes(str(tmp_path), part, target_type="semantic") for part in ("train", "val")]
    with pytest.warns(UserWarning, match="no labeled pixel is of class road"):
        pile = data.from_dataset(sets[0], test=sets[1], size=6)
    assert pile.classes[13] == "car"
    assert pile.test.annotations[0, 0].tolist() == [255] * 3 + [13] * 3

    pets = tmp_path / "oxford-iiit-pet"
    picture(pets / "images" / "cat_1.jpg")
    mask(pets / "annotations" / "trimaps" / "cat_1.png", STEPS + 1)
    (pets / "annotations" / "trainval.txt").write_text("cat_1 1 1 1\n")
    given = datasets.OxfordIIITPet(str(tmp_path), target_types="segmentation")
    pile = quiet_set(given)
    assert list(pile.classes) == ["pet", "background"]
    np.testing.assert_array_equal(pile.labeled.annotations[0], np.where(STEPS == 2, 255, STEPS))
    with pytest.raises(DataError, match=r"which are no class \(pet\); add them to classes=.*, or say void="):
        data.from_dataset(given, classes={"pet": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(data.from_dataset(given, classes={"pet": 1}, no_label=[2, 3]).classes) == ["pet"]


def quiet_set(given: Any) -> Pile:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return data.from_dataset(given)
