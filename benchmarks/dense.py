"""Masks and joints: few labels, with and without the pictures beside them.

python benchmarks/dense.py --data DIR [DIR] [--only WORD ...] [--choose]

CamVid (street scenes, 11 classes, 367 + 101 + 233 frames) at 80 x 60, seg64_6 (garments on photographs, 6 classes),
kpt64 (four corners of a garment) and openfield4 (four points of a mouse from above, 116 frames). The folders hold
``camvid_120x90.npz`` (X, M, split), ``seg64.npz`` (X_train, M_train, X_test, M_test), ``kpt64.npz`` (X, P, V of both
parts) and ``openfield4_128x96.npz`` (X, P). Labels are drawn by the seed; all rows of a set have the same network,
views, batches, learning rate and teacher decay, and the figure is that of the averaged weights after the last step, on
the test set. Settings were chosen on CamVid's validation set, with labels of another seed (``--choose``), those of
``long`` rows at their length.

Rows ``by name`` are what ``st.fit(name, pile, steps=300)`` gives, with nothing set. Finished runs are kept in
benchmarks/results/dense.json and not run again; interrupt it when you like. ``dense_page.py --write`` writes the page.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from stored import read, store
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import selftrain as st
from selftrain import data, mix, networks, pretrain, strategies
from selftrain.data.views.presets import Strong, Weak
from selftrain.networks.optim import weights_of

RESULT = Path(__file__).parent / "results" / "dense.json"
CHOICES = Path(__file__).parent / "results" / "choose_dense.json"
CACHE = Path.home() / ".cache" / "selftrain" / "dense"
COMMAND = "python benchmarks/dense.py --data DIR DIR"
SEEDS, CHOICE_SEED, BY_NAME, LONG = 3, 100, 300, 5000
STEPS = {"camvid": 1500, "seg64_6": 1500, "kpt64": 300, "openfield4": 300}
CHOICE_STEPS = 800
BATCH = {"camvid": 4, "seg64_6": 4, "kpt64": 16, "openfield4": 16}
SIZE = {"camvid": (60, 80), "seg64_6": (64, 64)}
CLASSES = {"camvid": 11, "seg64_6": 6}
JOINTS = ("kpt64", "openfield4")
NEAR = 0.05  # of the width: joints so near to the truth are right
STAGE = {"steps": 1500, "batch": 16}
SIX = np.array([0, 1, 2, 1, 3, 1, 4, 1, 4, 5, 4], np.uint8)  # background, top, trouser, dress, shoe, bag
STRONG = {
    "all": Strong(geometric=(), cutout=0.0),
    "light": Strong(point=("brightness", "contrast", "gamma"), magnitude=0.5, geometric=(), cutout=0.0),
}
HARD: dict[str, Any] = {"hard": True, "distance": "ce", "unlabeled_weight": 1.0}
# Passes of a step, in passes of one labeled batch without gradient; a pass that is learned from counts as three.
PASSES = {"supervised": 3, "full": 3, "mean_teacher": 7, "unimatch": 13, "fst_d": 28}
EQUAL = PASSES["mean_teacher"]  # what the rows of equal passes have, times the steps

Array = NDArray[Any]
Row = dict[str, Any]


class Job(NamedTuple):
    """One training."""

    task: str
    dataset: str
    labels: int
    strategy: str
    pretraining: str
    seed: int


class Problem(NamedTuple):
    """Pictures and their masks or joints."""

    x: Array
    y: Array
    x_validation: Array | None
    y_validation: Array | None
    x_test: Array
    y_test: Array


def jobs() -> Iterator[Job]:
    """All rows, what matters most first."""
    methods, joints = ("supervised", "mean_teacher", "unimatch", "fst_d"), ("supervised", "mean_teacher")
    long = ("supervised, long", "mean_teacher, long", "unimatch, long", "fst_d, long")
    equal = ("supervised, equal passes", "unimatch, equal passes", "fst_d, equal passes")
    plan: list[tuple[str, int, Sequence[str], str]] = [
        ("kpt64", 200, ("supervised, by name",), "none"),
        ("openfield4", 20, ("supervised, by name",), "none"),
        ("camvid", 23, methods, "none"),
        ("camvid", 367, ("full",), "none"),
        ("camvid", 23, long[:2], "none"),
        ("camvid", 367, ("full, long",), "none"),
        ("camvid", 23, long[2:], "none"),
        ("kpt64", 50, joints, "none"),
        ("camvid", 23, ("supervised", "mean_teacher"), "mae"),
        ("seg64_6", 20, methods, "none"),
        ("openfield4", 20, joints, "none"),
        ("camvid", 23, equal, "none"),
        ("camvid", 92, methods, "none"),
        ("seg64_6", 100, methods, "none"),
        ("kpt64", 200, joints, "none"),
    ]
    for (dataset, labels, names, start), seed in itertools.product(plan, range(SEEDS)):
        task = "keypoints" if dataset in JOINTS else "segmentation"
        yield from (Job(task, dataset, labels, name, start, seed) for name in names)


def find(folders: Sequence[Path], name: str) -> Any:
    """The arrays of a set.

    Raises:
        SystemExit: no folder has them.
    """
    for folder in folders:
        if (folder / name).exists():
            return np.load(folder / name)
    raise SystemExit(f"{name} is in none of {[str(folder) for folder in folders]}; say where with --data")


def problem(dataset: str, folders: Sequence[Path]) -> Problem:
    """Pictures, and masks of class numbers (255: void) or joints (K, 3) in pixels with whether each is known."""
    if dataset == "camvid":
        z = find(folders, "camvid_120x90.npz")
        x = np.stack([cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA) for image in z["X"]])
        y = np.stack([cv2.resize(mask, (80, 60), interpolation=cv2.INTER_NEAREST) for mask in z["M"]])
        y[y == CLASSES["camvid"]] = 255
        parts = [z["split"] == name for name in ("train", "val", "test")]
        train, validation, test = ((x[part], y[part]) for part in parts)
        return Problem(*train, *validation, *test)
    if dataset == "seg64_6":
        z = find(folders, "seg64.npz")
        return Problem(z["X_train"], SIX[z["M_train"]], None, None, z["X_test"], SIX[z["M_test"]])
    if dataset == "kpt64":
        z = find(folders, "kpt64.npz")
        train, test = (
            np.concatenate([z[f"P_{part}"], z[f"V_{part}"][..., None]], -1).astype(np.float32)
            for part in ("train", "test")
        )
        return Problem(z["X_train"], train, None, None, z["X_test"], test)
    z = find(folders, "openfield4_128x96.npz")
    order = np.random.default_rng(0).permutation(len(z["X"]))  # neighbors of one film: no order of their own
    places = z["P"]
    known = np.isfinite(places).all(-1, keepdims=True)
    y = np.concatenate([places, known], -1).astype(np.float32)
    train, test = order[:80], order[80:]
    return Problem(z["X"][train], y[train], None, None, z["X"][test], y[test])


def make_pile(job: Job, p: Problem, strong: str = "light") -> data.Pile:
    """``labels`` rows that the seed draws, and the others without."""
    named = "by name" in job.strategy
    kept = np.random.default_rng(job.seed).permutation(len(p.x))[: job.labels]
    hidden = np.setdiff1d(np.arange(len(p.x)), kept)
    y = p.y.copy()
    if job.task == "segmentation":
        y[hidden] = 255
        names = [str(number) for number in range(CLASSES[job.dataset])]
    else:
        y[hidden, :, 2] = 0
        names = [f"point {number}" for number in range(p.y.shape[1])]
    # a film from above has no left and right that a mirror would change, a street has none among its classes
    views = data.TensorViews(Weak(flip=True, crop=(0.4, 1.0)), STRONG[strong]) if job.task == "segmentation" else None
    overlap: Any = "include" if len(hidden) == 0 else "exclude"
    given = {} if named else {"views": views}
    return data.Pile.from_arrays(p.x, y, p.x_test, p.y_test, classes=names, overlap=overlap, **given)


class HalfEncoder(networks.UNetEncoder):
    """The way down of a U-Net on pictures whose 2 x 2 pixels lie behind one another: a third of the work."""

    def __init__(self, size: tuple[int, int] = (60, 80), widths: Sequence[int] = (32, 64, 96)) -> None:
        super().__init__((size[0] // 2, size[1] // 2), 12, widths=widths)
        self.shape = (3, *size)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps, the finest at half of the resolution."""
        return super().maps(F.pixel_unshuffle(x, 2))


def make_network(job: Job, p: Problem) -> torch.nn.Module:
    """A U-Net at half of the resolution for masks (290,000 weights), at the whole one for joints (338,000)."""
    if job.task == "keypoints":
        channels = 1 if p.x.ndim == 3 else 3
        return networks.PoseNet(networks.UNetEncoder(p.x.shape[1:3], channels), p.y.shape[1], head="unet")
    height, width = SIZE[job.dataset]
    return networks.PoseNet(
        HalfEncoder((height, width)), CLASSES[job.dataset], head="unet", size=(height // 2, width // 2)
    )


def make_strategy(name: str, task: Any, make: Any, **other: Any) -> Any:
    """A method as it was chosen; ``other`` are candidates of ``--choose``."""
    ema = {"decay": 0.99}
    if name in ("supervised", "full"):
        return strategies.Supervised(task, make, **ema)
    mixed = {} if isinstance(task, st.Keypoints) else {"mix": mix.CutMixSeg()}
    if name == "mean_teacher":  # squared difference to soft targets of all units, weight 10: its defaults
        return strategies.MeanTeacher(task, make, **ema | mixed | other)
    if name == "unimatch":  # as published: sure decisions, at 0.95
        return strategies.UniMatch(task, make, **ema | mixed | other)
    released: dict[str, Any] = HARD | {"depth": 3, "teacher_after": True, "select": st.select.top(0.8)}
    return strategies.FutureSelfTraining(task, make, **ema | mixed | released | other)


_SURE = {"select": st.select.above(0.9)}
CANDIDATES: dict[str, tuple[str, str, dict[str, Any]]] = {  # method, strong views, settings
    "supervised": ("supervised", "light", {}),
    "mean_teacher, decisions above 0.9, all operations": ("mean_teacher", "all", HARD | _SURE),
    "mean_teacher, soft targets, all operations": ("mean_teacher", "all", {}),
    "mean_teacher, decisions above 0.9": ("mean_teacher", "light", HARD | _SURE),
    "mean_teacher, soft targets": ("mean_teacher", "light", {}),
    "mean_teacher, all decisions": ("mean_teacher", "light", HARD),
    "mean_teacher, soft targets, weight 30": ("mean_teacher", "light", {"unlabeled_weight": 30.0}),
    "mean_teacher, soft targets, weight 100": ("mean_teacher", "light", {"unlabeled_weight": 100.0}),
    "mean_teacher, soft targets, decay 0.999": ("mean_teacher", "light", {"decay": 0.999}),
    "mean_teacher, decisions above 0.9, ClassMix": ("mean_teacher", "light", HARD | _SURE | {"mix": mix.ClassMix()}),
    "unimatch": ("unimatch", "light", {}),
}
_SHORT = [*CANDIDATES][:7]
COMPARED = {
    CHOICE_STEPS: _SHORT,
    LONG: [name for name in CANDIDATES if name not in (_SHORT[1], _SHORT[2], "mean_teacher, all decisions")],
}
CHOSEN: dict[str, dict[str, Any]] = {"mean_teacher, long": {"unlabeled_weight": 30.0}}


def method_of(job: Job) -> tuple[str, int]:
    """Name of the method, and its steps: fewer or more where passes are to be equal."""
    name, _, form = job.strategy.partition(", ")
    steps = {"by name": BY_NAME, "long": LONG}.get(form, STEPS[job.dataset])
    return name, round(steps * EQUAL / PASSES[name]) if form == "equal passes" else steps


def train(job: Job, folders: Sequence[Path], cache: Path) -> Row:
    """Train and test one method."""
    p = problem(job.dataset, folders)
    pile, (name, steps) = make_pile(job, p), method_of(job)
    begun = time.perf_counter()
    if job.strategy.endswith("by name"):
        run = st.fit(name, pile, steps=steps, plan=st.BatchPlan(seed=job.seed), evaluation=st.Evaluation(every=steps))
        passes = PASSES[name] * steps
    else:
        run, passes = fit(job, pile, p, name, steps, folders, cache), PASSES[name] * steps
    seconds = round(time.perf_counter() - begun, 1)
    return job._asdict() | figures(job, run, p) | {"steps": steps, "passes": passes, "seconds": seconds}


def fit(
    job: Job, pile: data.Pile, p: Problem, name: str, steps: int, folders: Sequence[Path], cache: Path, **other: Any
) -> st.Run:
    """The finished run of one method."""
    start = None if job.pretraining == "none" else stage(job, p, cache)
    task: Any = (
        st.Keypoints(p.y.shape[1], tuple(p.x.shape[1:3]))
        if job.task == "keypoints"
        else st.Segmentation(CLASSES[job.dataset])
    )
    torch.manual_seed(job.seed)
    make = st.learner(lambda: make_network(job, p), lr=3e-3, precision="bf16", init_from=start)
    plan = st.BatchPlan(BATCH[job.dataset], 1, job.seed)
    other = CHOSEN.get(job.strategy, {}) | other
    return st.fit(
        make_strategy(name, task, make, **other), pile, steps=steps, plan=plan, evaluation=st.Evaluation(every=steps)
    )


def figures(job: Job, run: st.Run, p: Problem) -> dict[str, float]:
    """What a finished run is worth on the test set, and on the validation set where there is one."""
    if job.task == "segmentation":
        found = {"score": run.evaluate("test")["mean_iou"]}
        if p.x_validation is not None and p.y_validation is not None:
            held = data.ArraySet(p.x_validation, p.y_validation)
            found["validation"] = run.evaluate(held)["mean_iou"]
        return found
    known = p.y_test[..., 2] > 0
    gap = np.linalg.norm(run.predict(p.x_test)[..., :2] - p.y_test[..., :2], axis=-1)[known] / p.x_test.shape[2]
    return {"score": float((gap <= NEAR).mean()), "nme": float(gap.mean())}


def stage(job: Job, p: Problem, cache: Path) -> dict[str, Tensor]:
    """Weights of the encoder after a masked stage on all training pictures, from the cache or trained now."""
    out = cache / f"{job.dataset}-{job.pretraining}-{job.seed}"
    done = out / "export.safetensors"
    if not done.exists():
        height, width = (side // 8 * 8 for side in SIZE[job.dataset])  # whole cells
        top = (p.x.shape[1] - height) // 2
        views = data.TensorViews(Weak(flip=True, shift=0.0, crop=(0.4, 1.0)))
        pile = data.Pile(None, data.ArraySet(p.x[:, top : top + height, :width]), views=views)
        torch.manual_seed(job.seed)
        strategy = pretrain.MAE(HalfEncoder((height, width)), mask_ratio=0.6)
        plan, begun = st.BatchPlan(1, STAGE["batch"], job.seed), (out / "run.json").exists()
        st.fit(strategy, pile, steps=STAGE["steps"], plan=plan, out=out, resume=begun)
    return dict(weights_of(done))


def choose(folders: Sequence[Path], result: Path, cache: Path) -> None:
    """Candidates on labels of another seed, judged on the validation set of CamVid."""
    rows = read(result)
    p = problem("camvid", folders)
    todo = [(steps, name) for steps, names in COMPARED.items() for name in names]
    for steps, name in todo:
        if (steps, name) in {(row["steps"], row["candidate"]) for row in rows}:
            continue
        method, strong, other = CANDIDATES[name]
        job = Job("segmentation", "camvid", 23, method, "none", CHOICE_SEED)
        run = fit(job, make_pile(job, p, strong), p, method, steps, folders, cache, **other)
        score = figures(job, run, p)["validation"]
        rows.append({"candidate": name, "labels": 23, "seed": CHOICE_SEED, "steps": steps, "validation": score})
        print(name, steps, score, flush=True)
        store(result, rows, lambda row: todo.index((row["steps"], row["candidate"])), f"{COMMAND} --choose")


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of the .npz files")
    parser.add_argument("--only", nargs="*", default=[], help="run only jobs whose name holds one of these words")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the pretrained stages")
    parser.add_argument("--choose", action="store_true", help="compare settings on validation pictures, and end")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.choose:
        choose(options.data, options.result or CHOICES, options.cache)
        return
    result = options.result or RESULT
    rows = read(result)
    order = {job: number for number, job in enumerate(jobs())}
    done = {Job(*(row[key] for key in Job._fields)) for row in rows}
    todo = [job for job in order if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} runs are done, {len(todo)} to do")
    for job in tqdm(todo, disable=None, unit="run"):
        rows.append(train(job, options.data, options.cache))
        print(rows[-1], flush=True)
        store(result, rows, lambda row: order[Job(*(row[key] for key in Job._fields))], COMMAND)


def _wanted(job: Job, words: Sequence[str]) -> bool:
    name = "-".join(map(str, job))
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    main()
