"""Another domain: 500 pictures with masks, and 500 recolored, noisy ones without.

python examples/domain_adaptation.py [--fast] [--out DIR]

The pictures are made here, 48 x 48 in color: disks, squares and bars on a cluttered ground. Trains a small U-Net on
the masks of the clean ones alone; goes on from there without any mask; by Mean Teacher and by FST-D, with
source-to-target ClassMix and statistics apart; and, as a ceiling, on masks of the noisy ones. Prints the mean IoU on
200 noisy test pictures: 48.5 % by the clean ones alone, 56.0 % without masks, 59.9 % adapted, 56.4 % by FST-D, 65.2 %
by masks of the noisy ones. With --seed 1: 30.8, 55.9, 38.3, FST-D was not run, 57.3.
Some ten minutes on a busy core, most of them FST-D's (--fast: some 10 s).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from common import beside, options, train

import selftrain as st
from selftrain import data, networks, strategies
from selftrain.mix import SourceClassMix

CLASSES = ["ground", "disk", "square", "bar"]
SIDE = 48


def make_pictures(count: int, seed: int, *, noisy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 3, SIDE, SIDE) in [0, 1] and their masks (count, SIDE, SIDE)."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    # dark blocks of any color below light shapes of any color: what a shape is, its outline tells
    x = 0.5 * random.random((count, 3, 6, 6)).repeat(8, 2).repeat(8, 3).astype(np.float32)
    masks = np.zeros((count, SIDE, SIDE), np.int64)
    for picture, mask in zip(x, masks, strict=True):
        for kind in random.permutation([1, 2, 3])[: random.integers(1, 4)]:
            (down, right), turn, size = random.uniform(8, SIDE - 8, 2), random.uniform(0, np.pi), random.uniform(5, 9)
            u = (rows - down) * np.cos(turn) + (columns - right) * np.sin(turn)
            v = (columns - right) * np.cos(turn) - (rows - down) * np.sin(turn)
            wide, high = [(size, size), (0.9 * size, 0.9 * size), (1.7 * size, 0.35 * size)][kind - 1]
            inside = np.hypot(u, v) < size if kind == 1 else (abs(u) < wide) & (abs(v) < high)
            picture[:, inside] = random.uniform(0.4, 1, (3, 1))
            mask[inside] = kind
        if noisy:  # another curve, contrast and brightness for each color
            curve = random.uniform(0.5, 1.0, (3, 1, 1))
            picture[:] = picture**curve * random.uniform(0.5, 0.9, (3, 1, 1)) + random.uniform(0, 0.2, (3, 1, 1))
        picture += random.normal(0, 0.12 if noisy else 0.04, picture.shape)
    return x.clip(0, 1), masks


def main() -> None:
    """Make pictures of two domains, hide the masks of one, train, compare."""
    chosen = options(__doc__, "domain_adaptation", steps=300, fast=2)
    (clean, masks), (noisy, hidden) = (make_pictures(500, chosen.seed + i, noisy=bool(i)) for i in (0, 1))
    test, none = make_pictures(200, chosen.seed + 1000, noisy=True), np.full_like(hidden, -1)
    read = partial(data.Pile.from_arrays, x_test=test[0], y_test=test[1], classes=CLASSES)
    pile = read(np.concatenate([clean, noisy]), np.concatenate([masks, none])).of_domains("clean", "noisy")
    print(pile)

    task, network = st.Segmentation(len(CLASSES)), partial(networks.UNet, len(CLASSES))
    make = st.learner(network, lr=3e-3)
    plan = st.BatchPlan(labeled=8, unlabeled_ratio=1, seed=chosen.seed)
    labels_alone = partial(strategies.Supervised, task, make, decay=0.98)
    decisions = {"decay": 0.98, "hard": True, "distance": "ce", "unlabeled_weight": 1.0}
    mixed = {"select": st.select.image_share(0.968), "mix": SourceClassMix(), "together": False} | decisions
    adapt = partial(strategies.MeanTeacher, task, make, **mixed)
    # four averages a step, which are as slow together as one by 0.98
    fst_d = partial(strategies.FutureSelfTraining, task, make, depth=3, **mixed | {"decay": 0.995})

    source = train("supervised", labels_alone, pile, chosen, plan)
    # at this rate weights hardly move: what adapts are the statistics of BatchNorm
    start = st.learner(network, lr=1e-7, init_from=source)
    source_free = partial(strategies.MeanTeacher, task, start, **decisions)
    target = read(noisy, none).normalized_as(source.inputs)
    runs = {
        "supervised": source,
        "source-free": train("source-free", source_free, target, chosen, plan),
        "adapted": train("adapted", adapt, pile, chosen, plan),
        "fst_d": train("fst_d", fst_d, pile, chosen, plan),
        "ceiling": train("ceiling", labels_alone, read(noisy, hidden), chosen, plan),
    }
    print(beside({name: run.evaluate("test")["mean_iou"] for name, run in runs.items()}))


if __name__ == "__main__":
    main()
