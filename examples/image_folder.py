"""From a folder of images to a table of pseudo-labels and a page to review them on.

python examples/image_folder.py [--fast] [--out DIR]

Writes the digits of scikit-learn as PNG files, as a user would have them: DIR/photos/zero/..., a few of each class,
DIR/photos/unlabeled/..., and DIR/test/zero/... Checks the folder, trains the labels alone and FixMatch, and writes
DIR/fixmatch/pseudo_labels.csv and DIR/review.html. About half a minute on a core (--fast: some 8).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from common import beside, options, train
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import selftrain as st
from selftrain import data, strategies

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
EACH, HELD_OUT = 3, 1  # labels of each class, and those of them that training does not see


def write_folder(out: Path, seed: int) -> None:
    """PNG files in sub-folders; of the training images most are in ``unlabeled``."""
    digits = load_digits()
    training, test = train_test_split(np.arange(len(digits.target)), stratify=digits.target, random_state=seed)
    for part, rows in (("photos", training), ("test", test)):
        left = dict.fromkeys(NAMES, EACH if part == "photos" else len(rows))
        for row in rows:
            name = NAMES[digits.target[row]]
            place = out / part / (name if left[name] else "unlabeled")
            left[name] = max(left[name] - 1, 0)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[row] * 255 / 16).astype(np.uint8)).save(place / f"{row:04d}.png")


def main() -> None:
    """Write, check, read, train, export."""
    chosen = options(__doc__, "image_folder", steps=300, fast=40)
    write_folder(chosen.out, chosen.seed)
    print(data.check(chosen.out / "photos", mode="L").text())  # what is wrong, and what training would do
    held_out = HELD_OUT * len(NAMES)
    pile = data.from_folder(chosen.out / "photos", test=chosen.out / "test", mode="L", validation=held_out)
    print(pile)

    task = st.Classification(len(NAMES))
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(size=8, embed_dim=64), len(NAMES)), lr=2e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98),
    }
    plan = st.BatchPlan(labeled=20, unlabeled_ratio=4, seed=chosen.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["accuracy"] for name, run in runs.items()}))

    page = st.write_review(runs["fixmatch"], pile, chosen.out / "review.html", samples=300)
    print(f"pseudo-labels: {chosen.out / 'fixmatch' / 'pseudo_labels.csv'}; review them in a browser: {page}")


if __name__ == "__main__":
    main()
