"""Pictures with masks through the command line and by the name of a strategy: trained on, judged, written as PNG."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from PIL import Image

import selftrain as st
from selftrain import data
from selftrain.cli import main as cli
from selftrain.cli.evaluate_run import evaluated
from selftrain.cli.parser import parse
from selftrain.cli.piles import read_pile
from selftrain.cli.train import parser
from selftrain.errors import UsageError
from selftrain.evaluation.dense import mask_figures
from selftrain.front import building

BRIEF = ["--steps", "1", "--plan.labeled", "2", "--plan.unlabeled_ratio", "1", "--self_check", "false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("masks"), np.random.default_rng(0)
    for name in ("photos", "masks"):
        (root / name / "a").mkdir(parents=True)
    for i in range(8):
        pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "photos" / "a" / f"{i}.png")
        if i < 4:
            Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(root / "masks" / "a" / f"{i}.png")
    line = ["train", "--data", str(root / "photos"), "--masks", str(root / "masks")]
    line += ["--data.classes", "{sky: 0, road: 1}"]
    assert cli.main([*line, "--strategy", "fixmatch", "--out", str(root / "run"), "--baseline", "false", *BRIEF]) == 0
    return root


def test_a_run_from_two_folders_writes_masks_as_png(place, capsys):
    run = st.open_run(place / "run")
    assert type(run.strategy.task).__name__ == "Segmentation"
    assert list(run.classes) == ["sky", "road"]
    assert cli.main(["label", str(place / "run"), "--out", str(place / "labels"), "--threshold", "0"]) == 0
    written = sorted(path.relative_to(place).as_posix() for path in place.glob("labels/masks/**/*.png"))
    assert written == [f"labels/masks/a/{i}.png" for i in range(4, 8)]
    # read back as labels, each pixel with its confidence as weight
    again = data.from_masks(
        place / "photos", place / "labels/masks", weights=place / "labels/confidence", classes=["sky", "road"]
    )
    assert list(again.labeled.ids) == [f"a/{i}.png" for i in range(4, 8)]
    target = st.Segmentation(2).encode(again.labeled.annotations[:1])
    assert 0.49 < target.weight.min() <= target.weight.max() <= 1
    assert cli.main(["predict", str(place / "run"), str(place / "photos"), "--out", str(place / "all.npz")]) == 0
    np.testing.assert_array_equal(np.load(place / "all.npz")["predictions"][4], again.labeled.annotations[0, 0])


def test_other_pictures_are_judged_with_their_masks(place, capsys):
    line = ["evaluate", str(place / "run"), "--data", str(place / "photos"), "--masks", str(place / "masks")]
    assert cli.main([*line, "--part", "labeled"]) == 0
    assert "mean_iou" in capsys.readouterr().out


def test_a_folder_of_both_and_config_files(place, capsys, tmp_path):
    (tmp_path / "images").symlink_to(place / "photos")
    (tmp_path / "masks").symlink_to(place / "masks")
    file = tmp_path / "train.yaml"
    file.write_text(f"data: {{path: {place / 'photos'}, size: 8}}\nmasks: {place / 'masks'}\n")
    for words, side in ((["--data", str(tmp_path)], 16), (["--config", str(file)], 8)):
        settings, _ = parse(parser(), words, {"strategy": "freematch"})
        assert read_pile(settings).labeled.annotations.shape == (4, side, side)
    assert cli.main(["train", "--masks", str(place / "masks")]) == 2
    assert "is for a folder of pictures; say --data PICTURES beside it" in capsys.readouterr().err


def test_a_strategy_by_its_name_takes_the_task_from_the_masks(place):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pile = data.from_masks(place / "photos", place / "masks", classes=["left lane", "right lane"])
        run = st.fit("fixmatch", pile, steps=1, plan=st.BatchPlan(2, 1))
    assert [tuple(pair) for pair in run.strategy.task.pairs] == [(0, 1)]
    assert run.predict(pile).shape == (8, 16, 16)


def test_the_check_and_joints_have_the_same_words(place, capsys, tmp_path):
    line = ["check-data", str(place / "photos"), "--masks", str(place / "masks")]
    assert cli.main([*line, "--data.classes", "[sky, road, car]"]) == 1
    assert "no pixel of class car" in capsys.readouterr().out
    images = [{"id": i, "file_name": f"a/{i}.png"} for i in range(2)]
    points = [{"id": i, "image_id": i, "category_id": 1, "keypoints": [2, 3, 2]} for i in range(2)]
    kinds = [{"id": 1, "keypoints": ["nose"]}]
    file = tmp_path / "joints.json"
    file.write_text(json.dumps({"images": images, "annotations": points, "categories": kinds}))
    assert cli.main(["check-data", str(place / "photos"), "--labels", str(file)]) == 0
    assert "joints     nose 2" in capsys.readouterr().out
    settings, _ = parse(parser(), ["--task", "keypoints", "--data", str(place / "photos"), "--labels", str(file)], {})
    pile = read_pile(settings)
    assert pile.labeled.annotations.tolist() == [[[2, 3, 2]], [[2, 3, 2]]]
    assert building.Problem.of(pile, 1).posed(pile, settings["task"]).task["init_args"]["size"] == [16, 16]


def test_mirror_images_and_windows_are_asked(place, capsys, tmp_path):
    draw = np.random.default_rng(1)
    for name in ("large", "large_masks"):
        (tmp_path / name).mkdir()
    for i in range(2):
        pixels = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "large" / f"{i}.png")
        Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(tmp_path / "large_masks" / f"{i}.png")
    line = ["evaluate", str(place / "run"), "--data", str(tmp_path / "large"), "--masks", str(tmp_path / "large_masks")]
    line += ["--data.size", "null", "--part", "labeled", "--json", str(tmp_path / "found.json")]
    assert cli.main(line) == 1
    assert "resize the data first" in capsys.readouterr().err
    pile = data.from_masks(tmp_path / "large", tmp_path / "large_masks", classes={"sky": 0, "road": 1})
    run = st.open_run(place / "run")
    pile = run.shown(pile, any_size=True)
    found = []
    for words, looks in ((["--overlap", "0.5"], {"overlap": 0.5}), (["--overlap", "0", "--flip", "true"], {})):
        assert cli.main([*line, *words]) == 0
        told = json.loads((tmp_path / "found.json").read_text())
        wanted = mask_figures(run.strategy, pile, "labeled", **(looks or {"overlap": 0.0, "flip": True}))
        assert told["figures"]["mean_iou"] == pytest.approx(wanted.mean_iou)
        assert told["classes"]["sky"]["iou"] == pytest.approx(wanted.iou["sky"])
        found.append(wanted.iou["sky"])
    assert found[0] != found[1]
    other = data.Pile.from_arrays(draw.normal(size=(12, 3)), np.arange(12) % 2, draw.normal(size=(4, 3)), [0, 1, 0, 1])
    run = st.open_run(st.fit("supervised", other, steps=1, out=tmp_path / "classes", baseline=False).out, pile=other)
    with pytest.raises(
        UsageError, match="--overlap for those on masks, and this one is of Classification; leave it out"
    ):
        evaluated(run, other, "test", flip=True)
    assert evaluated(run, other, "test")["samples"]  # the remedy
