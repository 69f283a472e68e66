"""From two folders, 400 pictures and 20 masks, to a mask of each picture as PNG.

python examples/segmentation.py [--fast] [--out DIR]

Writes the clean pictures of domain_adaptation.py as a user would have them: DIR/photos/000.png, ... and, of the first
20, DIR/masks/000.png, ...; DIR/test/images and DIR/test/masks to judge by.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from common import beside, options, train
from domain_adaptation import CLASSES, make_pictures
from PIL import Image

import selftrain as st
from selftrain import data, networks, strategies
from selftrain.mix import CutMixSeg

PICTURES, MASKS = 400, 20


def write_folders(photos: Path, masks: Path, count: int, labels: int, seed: int) -> None:
    """PNG files: pictures in color, and the masks of the first ``labels`` as numbers of classes."""
    for folder in (photos, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for row, (x, y) in enumerate(zip(*make_pictures(count, seed, noisy=False), strict=True)):
        Image.fromarray((255 * x.transpose(1, 2, 0)).round().astype("uint8")).save(photos / f"{row:03d}.png")
        if row < labels:
            Image.fromarray(y.astype("uint8")).save(masks / f"{row:03d}.png")


def main() -> None:
    """Write, check, read, train, export."""
    chosen = options(__doc__, "segmentation", steps=600, fast=2)
    photos, masks, test = (chosen.out / name for name in ("photos", "masks", "test"))
    write_folders(photos, masks, PICTURES, MASKS, chosen.seed)
    write_folders(test / "images", test / "masks", 200, 200, chosen.seed + 1000)
    print(data.check(photos, masks=masks, classes=CLASSES).text())
    pile = data.from_masks(photos, masks, classes=CLASSES, test=test, cache=True)
    print(pile)

    task = st.Segmentation(len(CLASSES))
    make = st.learner(lambda: networks.UNet(len(CLASSES)), lr=3e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "mean_teacher": partial(strategies.MeanTeacher, task, make, decay=0.98, mix=CutMixSeg(1.0)),
        "mt_hard": partial(strategies.MeanTeacher, task, make, decay=0.98, mix=CutMixSeg(1.0), hard=True, distance="ce", select=st.select.above(0.9), unlabeled_weight=1.0),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98, select=st.select.above(0.9), mix=CutMixSeg(1.0)),
    }  # fmt: skip
    plan = st.BatchPlan(labeled=8, unlabeled_ratio=1, seed=chosen.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["mean_iou"] for name, run in runs.items()}))

    run = runs["mean_teacher"]
    folder = run.ledger.to_masks(chosen.out / "labels")
    print(f"masks of all pictures and how sure each pixel is: {folder}")


if __name__ == "__main__":
    main()
