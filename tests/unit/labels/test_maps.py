"""Pseudo-masks and joints as files, against what the run predicts, pixel by pixel."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain import strategies, toy
from selftrain.errors import DataError, RunFolderError
from selftrain.labels.ledger import Ledger
from selftrain.labels.maps import file_names, palette


@pytest.fixture(scope="module", params=["segmentation", "keypoints"])
def case(request):
    kind = request.param
    strategy = strategies.PseudoLabel(toy.task(kind), toy.learner(kind))
    return kind, st.fit(strategy, toy.pile(kind), steps=2)


def test_masks_and_joints_are_those_that_the_run_predicts(case, tmp_path):
    kind, run = case
    value = run.strategy.predict(torch.cat([b.x for b in run.pile.evaluation("pile", 100, torch.device("cpu"))]))
    sure = run.strategy.task.confidence(value)
    at = float(sure.median())
    ledger = run.label(threshold=at)
    folder = ledger.to_masks(tmp_path / "labels")
    assert Ledger.read(folder / "labels.csv").confidence == pytest.approx(ledger.confidence)
    ids = [str(name) for name in ledger.ids]
    if kind == "segmentation":
        for row, name in enumerate(ids):
            picture = Image.open(folder / "masks" / f"{name}.png")
            assert picture.mode == "P"
            wanted = torch.where(sure[row] >= at, value[row].argmax(0), 255)
            assert np.array_equal(np.array(picture), wanted.numpy())
            confidence = np.array(Image.open(folder / "confidence" / f"{name}.png"))
            assert np.abs(confidence / 255 - sure[row].numpy()).max() <= 0.5 / 255 + 1e-6
    else:
        told = json.loads((folder / "keypoints.json").read_text())
        size = next(iter(run.pile.evaluation("pile", 1, torch.device("cpu")))).x.shape[-2:]
        assert [one["file_name"] for one in told["images"]] == ids
        assert [(one["height"], one["width"]) for one in told["images"]] == [tuple(size)] * len(ids)
        for row, one in enumerate(told["annotations"]):
            points = np.array(one["keypoints"]).reshape(-1, 3)
            peak = value[row].flatten(1).argmax(1)
            cells = torch.stack([peak % value.shape[-1], peak // value.shape[-1]], 1) + 0.5
            per_cell = np.array([size[1] / value.shape[-1], size[0] / value.shape[-2]])
            assert (np.abs(points[:, :2] - cells.numpy() * per_cell) <= 0.51 * per_cell).all()  # between cells
            assert (points[:, 2] == 2 * (sure[row] >= at).numpy()).all()
            assert one["keypoint_scores"] == pytest.approx(sure[row].tolist(), abs=1e-3)
            assert one["num_keypoints"] == int((sure[row] >= at).sum())
    with pytest.raises(RunFolderError, match="is there already; choose another folder, or say overwrite=True"):
        ledger.to_masks(folder)
    ledger.to_masks(folder, overwrite=True)
    run.ledger.to_masks(tmp_path / "own")  # by the rule that run.label() has
    assert (tmp_path / "own" / "labels.csv").is_file()


def test_a_ledger_that_was_read_knows_no_pixels(case, tmp_path):
    path = case[1].ledger.to_csv(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"say run.label\(data\).to_masks\(folder\)"):
        Ledger.read(path).to_masks(tmp_path / "masks")


def test_a_ledger_of_classes_has_no_masks(tmp_path):
    ledger = Ledger(["a"], ["x", "y"])
    ledger.task, ledger.maps = st.Classification(2), list
    with pytest.raises(DataError, match=r"write ledger.to_csv\(path\)"):
        ledger.to_masks(tmp_path)
    assert ledger.to_csv(tmp_path / "labels.csv").is_file()
    ledger.task = st.Segmentation(256)
    with pytest.raises(DataError, match="a mask in a palette has room for 255: write the ledger"):
        ledger.to_masks(tmp_path)


def test_names_of_masks_stay_in_their_folder_and_apart():
    assert file_names(["a/b.jpg", "../c.d.png", "/e", "7"]) == ["a/b.png", "c.d.png", "e.png", "7.png"]
    with pytest.raises(DataError, match=r"'a.jpg' and 'a.png' would have one mask, a.png; give them other ids"):
        file_names(["a.jpg", "b.jpg", "a.png"])


def test_the_palette_is_that_of_pascal_voc():
    """Its first colors and void, from the development kit's table."""
    colors = np.array(palette()).reshape(256, 3).tolist()
    assert colors[:5] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colors[20] == [0, 64, 128]
    assert colors[255] == [224, 224, 192]
    assert len({tuple(color) for color in colors}) == 256
