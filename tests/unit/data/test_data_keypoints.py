"""Pictures and joints in files: COCO JSON; a bright dot in each picture tells where its joint is seen."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selftrain as st
from selftrain import data
from selftrain.data import Pile
from selftrain.errors import DataError

NAMES = ["left_eye", "right_eye"]


def coco(root: Path, people: list[dict[str, Any]], pictures: list[str], name: str = "joints.json", **kind: Any) -> Path:
    images = [{"id": i, "file_name": path, "width": 40, "height": 30} for i, path in enumerate(pictures)]
    known = [{"id": i, "category_id": 1, **person} for i, person in enumerate(people)]
    kinds = [{"id": 1, "name": "face", "keypoints": NAMES, **kind}]
    (root / name).write_text(json.dumps({"images": images, "annotations": known, "categories": kinds}))
    return root / name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for i, (x, y) in enumerate([(12, 9), (25, 20), (20, 15), (8, 8)]):
        pixels = np.zeros((30, 40), np.uint8)
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 200
        Image.fromarray(pixels).convert("RGB").save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def quiet(*values: Any, **settings: Any) -> Pile:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.from_keypoints(*values, **settings)


def person(picture: int, *joints: float, box: Any = None) -> dict[str, Any]:
    return {"image_id": picture, "keypoints": list(joints)} | ({} if box is None else {"bbox": box})


def dot(picture: Any) -> tuple[float, float]:
    """Center of brightness, (x, y)."""
    light = picture[0].double().numpy()
    rows, columns = np.indices(light.shape)
    return float((light * columns).sum() / light.sum()), float((light * rows).sum() / light.sum())


TWO = [person(0, 12, 9, 2, 0, 0, 0), person(1, 0, 0, 0, 25, 20, 1), person(2, *[0] * 6)]


def test_whole_pictures(root: Path) -> None:
    pile = quiet(root / "images", coco(root, TWO, ["0.png", "1.png", "2.png"]))
    assert pile.labeled.annotations.tolist() == [[[12, 9, 2], [0, 0, 0]], [[0, 0, 0], [25, 20, 1]]]
    assert pile.unlabeled_ids() == ["2.png", "3.png"]
    assert list(pile.classes) == NAMES
    assert list(pile.pairs) == [(0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = st.fit("fixmatch", pile, steps=1, plan=st.BatchPlan(1, 1))
    assert [tuple(pair) for pair in run.strategy.task.pairs] == [(0, 1)]
    assert run.predict(pile).shape == (4, 2, 3)
    said = run.predict(pile.unlabeled)
    run.label(pile.unlabeled, threshold=0).to_masks(root / "labels")  # and read back, half a pixel at most beside
    again = data.from_keypoints(root / "images", root / "labels" / "keypoints.json")
    np.testing.assert_allclose(again.labeled.annotations[..., :2], said[..., :2], atol=0.51)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_joints_go_where_their_pictures_go(root: Path, fit: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # much is cut off
        pile = data.from_keypoints(
            root / "images", coco(root, TWO, ["0.png", "1.png", "2.png"]), size=(60, 50), fit=fit
        )
    for row, joint in enumerate((0, 1)):
        np.testing.assert_allclose(
            pile.labeled.annotations[row, joint, :2], dot(pile.labeled.images(np.array([row]))[0]), atol=0.1
        )


def test_boxes_are_cropped(root: Path) -> None:
    people = [
        person(1, 25, 20, 2, 0, 0, 0, box=[18, 14, 12, 14]),
        person(1, 0, 0, 0, 0, 0, 0, box=[1, 1, 9, 9]),  # beyond the edge with its margin
        person(0, 12, 9, 2, 38, 28, 2, box=[2, 2, 18, 12]),
    ]
    file = coco(root, people, ["0.png", "1.png"])
    with pytest.raises(DataError, match="boxes have many sizes; say to which to bring them: size=128"):
        data.from_keypoints(root / "images", file)
    pile = quiet(root / "images", file, size=(32, 24))
    assert list(pile.labeled.ids) == ["0.png#2", "1.png#0"]
    assert pile.unlabeled_ids() == ["1.png#1"]
    assert pile.labeled.images(np.arange(2)).shape == (2, 3, 32, 24)
    for row in range(2):
        np.testing.assert_allclose(
            pile.labeled.annotations[row, 0, :2], dot(pile.labeled.images(np.array([row]))[0]), atol=0.1
        )
    with pytest.raises(DataError, match=r"1\.png has several annotations in .*; say crop=True"):
        data.from_keypoints(root / "images", file, crop=False)


def test_pairs_by_flip_idx_and_held_out_files(root: Path) -> None:
    file = coco(root, TWO[:1], ["0.png"], flip_idx=[0, 1])
    held = coco(root, [person(0, 25, 20, 2, 0, 0, 0)], ["1.png"], "held.json")
    pile = quiet(root / "images", file, test=held, validation=held)
    assert list(pile.test.ids) == ["1.png"] == list(pile.validation.ids)
    assert pile.unlabeled_ids() == ["2.png", "3.png"]
    assert list(quiet(root / "images", coco(root, TWO, ["0.png", "1.png", "2.png"], flip_idx=[1, 0])).pairs) == [(0, 1)]


def test_what_does_not_fit_is_told(root: Path) -> None:
    file = coco(root, [person(0, 12, 9, 2, 55, 9, 2)], ["0.png"])
    with pytest.warns(UserWarning, match=r"1 joints outside their picture are .* missing, such as joint 1 of 0\.p"):
        pile = data.from_keypoints(root / "images", file)
    assert pile.labeled.annotations[0, :, 2].tolist() == [2, 0]
    assert any("outside their picture" in line for line in pile.summary.left_out)
    with pytest.raises(DataError, match=r"there is no file .*9\.png; correct the path"):
        data.from_keypoints(root / "images", coco(root, TWO[:1], ["9.png"]))
    with pytest.raises(DataError, match=r"leads out of the folder"):
        data.from_keypoints(root / "images", coco(root, TWO[:1], ["../0.png"]))
    (root / "bad.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="is no COCO JSON of keypoints .*; it needs images, annotations with keypoints"):
        data.from_keypoints(root / "images", root / "bad.json")
    other = coco(root, TWO[:1], ["0.png"], "other.json", keypoints=["nose", "tail"])
    with pytest.raises(DataError, match=r"other\.json has other joints .*; give files with the same keypoints"):
        data.from_keypoints(root / "images", file, test=other)
    file = coco(root, [person(0, 12, 9, 2, 55, 9, 2)], ["0.png"])
    Image.new("RGB", (20, 15)).save(root / "images" / "0.png")
    with pytest.raises(DataError, match=r"0\.png is 15x20, .* of a picture of 30x40; bring the picture to that size"):
        data.from_keypoints(root / "images", file, size=16)
    Image.new("RGB", (40, 30)).save(root / "images" / "0.png")
    with pytest.warns(UserWarning, match="outside"):
        assert len(data.from_keypoints(root / "images", file).labeled) == 1


def test_the_check_knows_joints(root: Path) -> None:
    file = coco(root, [person(0, 12, 9, 2, 55, 9, 2)], ["0.png"])
    report = data.check(root / "images", joints=file)
    words = [finding.text for finding in report.findings if finding.level == "harms"]
    assert words[0].startswith("1 joints outside their picture")
    assert any(line == "joints     left_eye 1, right_eye 0" for line in report.summary)
    far = Pile.from_arrays(np.zeros((2, 6, 8)), np.array([[[1, 1], [9, 1]], [[1, 1], [2, 2]]], float))
    told = [finding for finding in data.check(far).findings if finding.kind == "joint outside"]
    assert told[0].samples == [["0: joint 1"]]
    assert "give x and y in pixels of it, NaN where" in told[0].text
    near = Pile.from_arrays(np.zeros((2, 6, 8)), np.array([[[1, 1], [np.nan, 1]], [[1, 1], [2, 2]]], float))
    assert not [finding for finding in data.check(near).findings if finding.kind == "joint outside"]  # the remedy


@pytest.mark.parametrize("first", [0, 1])
def test_the_skeleton_is_drawn_and_sides_are_told(root: Path, first: int) -> None:
    file = coco(root, TWO, ["0.png", "1.png", "2.png"], skeleton=[[first, first + 1]])
    pile = quiet(root / "images", file)
    assert [tuple(pair) for pair in pile.skeleton] == [(0, 1)]
    assert "sides      left_eye and right_eye: change places in mirror images" in pile.summary_lines()
    coco(root, TWO, ["0.png"], "plain.json", flip_idx=[0, 1])
    with pytest.raises(DataError, match="the skeleton in .* has a joint 7, and there are 2; mend or remove it"):
        quiet(root / "images", coco(root, TWO, ["0.png", "1.png", "2.png"], skeleton=[[1, 7]]))
    quiet(root / "images", coco(root, TWO, ["0.png", "1.png", "2.png"]))  # the remedy


def test_sides_stay_known_where_pseudo_labels_are_read_back(root: Path) -> None:
    joints = np.array([[[12.0, 9], [20, 9]], [[25, 20], [9, 9]], [[np.nan] * 2] * 2])
    pictures = [np.array(Image.open(root / "images" / f"{i}.png")) for i in range(3)]
    pile = Pile.from_arrays(np.stack(pictures), joints, classes=["a", "b"], ids=["0.png", "1.png", "2.png"])
    pile.pairs = [(0, 1)]  # as nothing in their names says
    run = st.fit("fixmatch", pile, steps=1, plan=st.BatchPlan(2, 1), baseline=False)
    run.label(threshold=0.0).to_masks(root / "labels")
    again = data.from_keypoints(root / "images", root / "labels" / "keypoints.json")
    assert [tuple(pair) for pair in again.pairs] == [(0, 1)]
