"""Pseudo-masks and joints as files, against what the run predicts, pixel by pixel."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import selftrain as st
from selftrain import data, strategies, toy
from selftrain.errors import DataError, RunFolderError
from selftrain.labels.ledger import Ledger
from selftrain.labels.maps import at_original, file_names, palette, placement
from selftrain.labels.review import read_review


@pytest.fixture(scope="module", params=["segmentation", "keypoints"])
def case(request):
    kind = request.param
    torch.manual_seed(0)
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
            assert (np.abs(points[:, :2] + 0.5 - cells.numpy() * per_cell) <= 0.51 * per_cell).all()  # between cells
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


# -- reviewed: accept, reject, accept but for what is doubtful, correct elsewhere ------------------------------------
@pytest.fixture
def dense_pile(case):
    kind = case[0]
    draw = np.random.default_rng(0)
    x = draw.random((8, 1, 12, 12), dtype=np.float32)
    y = draw.integers(0, 3, (8, 12, 12)) if kind == "segmentation" else 10 * draw.random((8, 2, 3)).astype(np.float32)
    sets = data.ArraySet(x[:4], y[:4]), data.ArraySet(x[2:], ids=list("abcdef"))
    return kind, data.Pile(*sets, views=data.TensorViews(mean=0.5, std=0.3))


def test_a_review_of_masks_and_joints_goes_back_into_the_pile(dense_pile, tmp_path):
    """It could only reject: the page refused to accept masks, and the file's accepted ones were refused, too."""
    kind, pile = dense_pile
    run = st.fit(strategies.PseudoLabel(toy.task(kind), toy.learner(kind)), pile, steps=2)
    ledger = run.label(threshold=0.0)
    folder = ledger.to_masks(tmp_path / "labels")
    rows = list(csv.DictReader((folder / "labels.csv").open(newline="")))
    value = run.strategy.predict(torch.cat([b.x for b in pile.evaluation("pile", 100, torch.device("cpu"))]))
    sure = run.strategy.task.confidence(value)
    above = round(float(sure[1].median()), 2)
    rows[0]["verdict"], rows[2]["verdict"] = "accept", "reject"
    rows[1] |= {"verdict": "accept", "correction": str(above)}
    if kind == "segmentation":  # a person draws in the mask itself
        drawn = Image.open(folder / "masks" / "a.png")
        drawn.putpixel((3, 5), 2)
        drawn.save(folder / "masks" / "a.png")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    review = read_review(folder / "labels.csv", pile.classes, set("abcdef"))
    assert review.text() == "1 accepted, 1 corrected, 1 rejected"
    after = pile.reviewed(review)
    assert (len(after.labeled), list(after.unlabeled.ids)) == (6, ["d", "e", "f"])
    first, second = after.labeled.annotations[4:]
    assert list(after.labeled.ids)[4:] == ["a", "b"]
    if kind == "segmentation":
        wanted = value[0].argmax(0)
        wanted[5, 3] = 2
        assert torch.equal(first.long(), wanted)
        kept = torch.round(255 * sure[1]) >= 255 * above  # to an eighth bit
        assert torch.equal(second.long(), torch.where(kept, value[1].argmax(0), 255))
        assert 0 < int((second == 255).sum()) < 144
    else:
        assert torch.allclose(first[:, :2], 12 * ledger.units[0, :, 3:].float() - 0.5, atol=0.01)
        assert first[:, 2].tolist() == [1, 1]
        assert second[:, 2].tolist() == (sure[1] >= above).float().tolist()
    # what was accepted is learned from
    again = st.fit(strategies.Supervised(toy.task(kind), toy.learner(kind)), after, steps=1)
    assert again.steps == 1


def test_what_a_review_of_masks_cannot_use_is_named(dense_pile, tmp_path):
    kind, pile = dense_pile
    run = st.fit(strategies.PseudoLabel(toy.task(kind), toy.learner(kind)), pile, steps=1)
    folder = run.label(threshold=0.0).to_masks(tmp_path / "labels")

    def reviewed(text, **where):
        (folder / "labels.csv").write_text(f"id,verdict,correction\n{text}\n")
        return read_review(folder / "labels.csv", pile.classes, **where)

    with pytest.raises(DataError, match="give the confidence below which pixels or joints are void, from 0 to 1"):
        reviewed("a,accept,cow")
    assert pile.reviewed(reviewed("a,accept,0.5")).labeled.annotations.shape[0] == 5
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(DataError, match=r"what run.ledger.to_masks\(folder\) wrote"):
        reviewed("a,accept,", masks=elsewhere)
    if kind == "segmentation":
        with pytest.raises(DataError, match=r"there is no mask .*zebra.png; put it there"):
            reviewed("zebra.jpg,accept,")
        review = reviewed("a,accept,")
        Image.open(folder / "masks" / "a.png").convert("RGB").save(folder / "masks" / "a.png")
        with pytest.raises(DataError, match=r"has colors \(RGB\) and no class numbers; save it with its palette"):
            pile.reviewed(review)
        (folder / "masks" / "a.png").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"cannot be read: .*write it anew: run.ledger.to_masks\(folder\)"):
            pile.reviewed(review)
        with pytest.raises(
            DataError, match="labels here are classes; apply the review to the pile its ledger is about"
        ):
            data.Pile(data.ArraySet(np.zeros((2, 3)), [0, 1]), data.ArraySet(np.ones((2, 3)), ids=["a", "b"])).reviewed(
                review
            )
    else:
        with pytest.raises(DataError, match="has no joints of 'zebra'; write it anew"):
            reviewed("zebra,accept,")


def test_pseudo_masks_are_read_back_by_the_door_of_masks(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 12, 12), dtype=np.uint8)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    names = ["a.jpg", "b.png", "d.png", "deep/c.png"]
    for name, pixels in zip(names, x, strict=True):
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    pile = data.Pile(
        data.ArraySet(x, x // 128), data.FileSet([tmp_path / "photos" / n for n in names], mode="L", ids=names)
    )
    run = st.fit(strategies.Supervised(st.Segmentation(2), st.learner(lambda: nn.Conv2d(1, 2, 1))), pile, steps=2)
    folder = run.label(threshold=0.5).to_masks(tmp_path / "labels")
    again = data.from_masks(
        tmp_path / "photos", folder / "masks", weights=folder / "confidence", mode="L", classes=["x", "y"]
    )
    assert list(again.labeled.ids) == names
    value = run.strategy.predict(torch.cat([b.x for b in pile.evaluation("pile", 9, torch.device("cpu"))]))
    # a run that has learned from a review of such files finds its data again, masks and all
    half = data.from_masks(tmp_path / "photos", folder / "masks", mode="L", labels=2, seed=1, classes=["x", "y"])
    (folder / "reviewed.csv").write_text(f"id,verdict,correction\n{half.unlabeled.ids[0]},accept,0.9\n")
    reviewed = half.reviewed(read_review(folder / "reviewed.csv", half.classes, half.review_ids()))
    strategy = strategies.Supervised(st.Segmentation(2), st.learner(lambda: nn.Conv2d(1, 2, 1)))
    st.fit(strategy, reviewed, steps=1, out=tmp_path / "run")
    known = st.open_run(tmp_path / "run", network=lambda: nn.Conv2d(1, 2, 1)).pile
    assert list(known.labeled.ids) == list(reviewed.labeled.ids)
    assert torch.equal(known.labeled.annotations[:], reviewed.labeled.annotations[:])
    mask, weight = again.labeled.annotations[:].unbind(1)
    assert torch.equal(mask.long(), value.argmax(1))
    assert torch.equal(weight.float(), (255 * value.amax(1)).round())


def test_joints_are_read_back_by_the_door_of_keypoints(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (3, 12, 16), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    names = ["a.png", "b.png", "c.png"]
    for name, pixels in zip(names, x, strict=True):
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    y = np.array([[[3, 4, 1], [9, 7, 1]]] * 3, dtype=np.float32)
    files = data.FileSet([tmp_path / "photos" / name for name in names], mode="L", ids=names)
    task = st.Keypoints(2, (12, 16), sigma=1.0)
    torch.manual_seed(0)
    run = st.fit(
        strategies.Supervised(task, st.learner(lambda: nn.Conv2d(1, 2, 3, padding=1))),
        data.Pile(data.ArraySet(x, y), files, classes=["nose", "tail"]),
        steps=1,
    )
    ledger = run.label(threshold=0.0)
    folder = ledger.to_masks(tmp_path / "labels")
    again = data.from_keypoints(tmp_path / "photos", folder / "keypoints.json", mode="L")
    assert list(again.labeled.ids) == names
    assert list(again.classes) == ["nose", "tail"]
    wanted = ledger.units[:, :, 3:].float() * torch.tensor([16.0, 12.0]) - 0.5
    assert torch.allclose(again.labeled.annotations[:][..., :2].float(), wanted, atol=0.01)


@pytest.mark.parametrize(("fit", "size"), [("crop", (20, 30)), ("pad", (20, 30)), ("stretch", (20, 30)), ("pad", 16)])
def test_masks_of_the_size_of_a_file_are_where_its_pixels_were(fit, size, tmp_path):
    """A picture of numbers is brought to the size of the network as files are, said again, and put back."""
    sides = (40, 45)
    disk = np.hypot(*(np.mgrid[:40, :45] - np.array([21, 17]).reshape(2, 1, 1))) < 12
    Image.fromarray((255 * disk).astype(np.uint8)).save(tmp_path / "a.png")
    seen = data.FileSet([tmp_path / "a.png"], mode="L", size=size, fit=fit)
    share = seen.images(np.zeros(1, np.int64))[0].float() / 255
    value, weight = torch.cat([1 - share, share]), torch.ones(share.shape[1:])
    label, sure = at_original(st.Segmentation(2), value, weight, *seen.original(0))
    assert label.shape == sure.shape == sides
    void = (label == 255).numpy()
    assert (sure.numpy()[void] == 0).all()
    assert np.mean(label.numpy()[~void] != disk[~void]) < 0.04
    if fit == "crop":  # 45 columns for 30: by the width, and 30 of 40 rows stay
        assert void[:5].all()
        assert void[-5:].all()
        assert not void[5:-5].any()
    else:
        assert not void.any()
    weight[:, : weight.shape[1] // 2] = 0
    half = at_original(st.Segmentation(2), value, weight, *seen.original(0))[0]
    assert (half[:, :22] == 255).all()
    assert (half[~torch.from_numpy(void)][-20:] < 255).all()


def test_a_run_and_its_ledger_write_masks_and_joints_of_the_files_own_size(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    for i in range(4):
        # smooth: of noise neighboring pixels have classes of their own, which no enlarging brings back
        blobs = Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        pixels = np.array(blobs.resize((30 + 10 * (i % 2), 20), Image.Resampling.BILINEAR))
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
        Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "masks" / "3.png").unlink()
    pile = data.from_masks(tmp_path / "photos", tmp_path / "masks", size=16)
    torch.manual_seed(0)
    make = st.learner(lambda: nn.Conv2d(3, 2, 3, padding=1), lr=0.01)
    run = st.fit(strategies.PseudoLabel(st.Segmentation(2), make), pile, steps=1, plan=st.BatchPlan(2, 1))
    one = run.label(tmp_path / "photos", threshold=0.0).to_masks(tmp_path / "all", original=True)
    assert [Image.open(one / "masks" / f"{i}.png").size for i in range(4)] == [(30, 20), (40, 20)] * 2
    assert not (one / "labels.csv").exists()
    own = run.ledger.to_masks(tmp_path / "own", original=True)
    assert np.array_equal(np.array(Image.open(own / "masks/3.png")), np.array(Image.open(one / "masks/3.png")))
    # read back beside the pictures, each pixel as sure as the network was
    again = data.from_masks(tmp_path / "photos", own / "masks", weights=own / "confidence", size=16, classes=["a", "b"])
    said = torch.from_numpy(run.predict(pile.unlabeled))[0]
    back = again.labeled.annotations[0][0]
    assert float((back[back < 255] == said[back < 255]).float().mean()) > 0.9
    toyed = st.fit(
        strategies.PseudoLabel(toy.task("keypoints"), toy.learner("keypoints")), toy.pile("keypoints"), steps=1
    )
    with pytest.raises(DataError, match="is not known here: they are arrays, or boxes of others; leave original out"):
        toyed.ledger.to_masks(tmp_path / "none", original=True)
    # a place in the middle of a picture that was padded lies in the middle of its file
    (top, rows), (left, columns) = placement((20, 40), (16, 16), "pad")
    assert ((8 - top) / rows, (8 - left) / columns) == pytest.approx((10, 20))
