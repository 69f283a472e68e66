"""Few labels on a folder of photographs: what the colors alone tell, labels alone, and self-training at 224 pixels.

python examples/photographs.py [--data DIR] [--start NAME] [--fast] [--out DIR]

DIR/train has a folder a class, and pictures without label in ``unlabeled``; DIR/test has test pictures by class. Their
sizes and side ratios may differ. Without --data it is written: crops of the two photographs that scikit-learn ships,
eight of each with a label. ``--start resnet18@weights.pth`` (or a run, a folder, a name whose weights are on this
machine; nothing is downloaded) trains heads on features of these weights; docs/photographs.md says when that pays.
Prints test accuracies; some minutes on a core (--fast: seconds, 64 pixels).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import Options, beside, train
from jsonargparse import ArgumentParser
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression

import selftrain as st
from selftrain import data, strategies
from selftrain.metrics.features import color_histograms
from selftrain.networks.by_name import make_network

EACH, UNLABELED, TEST, CROP = 8, 60, 40, 160


def write_folder(out: Path, seed: int) -> None:
    """Crops of two photographs as JPEG files, the test from their right third."""
    draw = np.random.RandomState(seed)
    for name, picture in zip(("temple", "flower"), load_sample_images().images, strict=True):
        middle = 2 * picture.shape[1] // 3
        for place, count in ((f"train/{name}", EACH), ("train/unlabeled", UNLABELED), (f"test/{name}", TEST)):
            (out / place).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                low, high = (middle, picture.shape[1] - CROP) if "test" in place else (0, middle - CROP)
                top, left = draw.randint(picture.shape[0] - CROP), draw.randint(low, high)
                crop = Image.fromarray(picture[top : top + CROP, left : left + CROP])
                crop.save(out / place / f"{name[0]}{number:03d}.jpg")


def colors(pile: data.Pile) -> float:
    """Test accuracy of logistic regression on the histogram of colors: what a method has to beat."""
    x, asked = (color_histograms(part.images(np.arange(len(part)))).numpy() for part in (pile.labeled, pile.test))
    model = LogisticRegression(C=10, max_iter=1000).fit(x, pile.labeled.annotations.numpy())
    return float(model.score(asked, pile.test.annotations.numpy()))


def main() -> None:
    """Write or find the folder, read, train, compare."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path | None, default=None, help="folder of pictures; default: one is written")
    parser.add_argument("--start", type=str | None, default=None, help="encoder of selftrain.pretrained")
    parser.add_argument("--fast", action="store_true", help="64 pixels, 4 steps: shows that everything runs, no more")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and the training")
    parser.add_argument("--out", type=Path, default=Path("runs/photographs"), help="folder for all that is written")
    given = parser.parse_args()
    size, steps = (64, 4) if given.fast else (224, 150)
    folder = given.data or given.out / "photographs"
    if given.data is None:
        write_folder(folder, given.seed)

    views = data.TensorViews(data.Weak(flip=True, crop=(0.5, 1.0)))
    # whole pictures with black beside them; "crop" cuts off what is over, "stretch" changes the side ratio
    pile = data.from_folder(folder / "train", test=folder / "test", size=size, fit="pad", views=views)
    print(pile)
    chance = colors(pile)
    network = "vit"
    if given.start is not None:
        pile = pile.encoded(st.pretrained(given.start, size=size, frozen=True), views=2, cache=given.out / "features")
        network = "linear"

    kind, shape, classes = "image" if given.start is None else "table", pile.card()["shape"], len(pile.classes)
    make = st.learner(lambda: make_network(network, kind, tuple(shape), classes), lr=3e-3, weight_decay=0.05)
    task = st.Classification(classes)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.97),
        "freematch": partial(strategies.FreeMatch, task, make, decay=0.97),
    }
    plan, chosen = st.BatchPlan(labeled=16, unlabeled_ratio=2, seed=given.seed), Options(steps, given.seed, given.out)
    torch.manual_seed(given.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    scores = {name: run.evaluate("test")["accuracy"] for name, run in runs.items()}
    print(beside({"supervised": scores["supervised"], "colors": chance, "freematch": scores["freematch"]}))


if __name__ == "__main__":
    main()
