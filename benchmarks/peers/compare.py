"""Beside other libraries, each as it is on PyPI: processor time a step, memory, accuracy at equal steps and labels.

    python benchmarks/peers/compare.py [WORD ...] [--environments DIR] [--fashion DIR] [--result FILE]

What it needs: Linux, Python 3.11, a package registry that ``pip`` reaches, 12 GB of disk (semilearn and lightly bring
torch along), and the files of Fashion-MNIST (Debian: ``apt-get install dataset-fashion-mnist``). Each peer gets an
environment of its own below ``--environments``, made when it is first needed; selftrain runs in the environment of this
script. A peer that is there already is left as it is.

Steps are timed in turns: each side is a process of its own, one computes at a time, one thread, and what is compared
are turns that follow one another, by the processor time of their processes. Networks, batches, pictures, labels and the
settings of the optimizer are the same; loops, loaders, views and averages of weights are each library's own. Rows that
the file has are kept; WORDs choose rows by their names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import stored  # noqa: E402

from selftrain.data.readers.decoding import read_idx  # noqa: E402
from selftrain.networks.token_grid import Layout  # noqa: E402
from selftrain.pretrain.maskers import MultiBlock  # noqa: E402

RESULT, COMMAND = HERE.parent / "results" / "peers.json", "python benchmarks/peers/compare.py"
PEERS = {  # what pip installs for each
    "semilearn": ["semilearn==0.3.2", "torch==2.14.1", "torchvision==0.29.1"],
    "lightly": ["lightly==1.6.0", "timm==1.0.31", "torch==2.14.1", "torchvision==0.29.1"],
    "scikit-learn": ["scikit-learn==1.9.1"],
}
ROUNDS, LABELS, STEPS, SEEDS = 12, 40, 300, 3
ACCURATE = range(3, 11)  # seeds of pictures; on those before it was tried out
Row = dict[str, Any]


def interpreter(peer: str, environments: Path) -> str:
    """The Python of a peer's environment, which is made if it is not there."""
    folder = environments / peer
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[peer]], check=True)
        (folder / "made").write_text("\n".join(PEERS[peer]), encoding="utf-8")
    return str(python)


def started(python: str, script: str, settings: Row, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A side, on its way."""
    call = [python, str(HERE / script), json.dumps(settings)]
    pipe = subprocess.PIPE
    variables = {k: v for k, v in os.environ.items() if python == sys.executable or k != "PYTHONPATH"}
    variables |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.Popen(call, env=variables, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def figures(side: subprocess.Popen[str]) -> Row:
    """What a side says next."""
    assert side.stdout is not None
    for line in side.stdout:
        if line.startswith("@"):
            found: Row = json.loads(line[1:])
            return found
    raise SystemExit(f"{side.args} ended with status {side.wait()}; run it by hand to see why")


def in_turns(sides: dict[str, Callable[[], subprocess.Popen[str]]], rounds: int) -> dict[str, list[Row]]:
    """Let each side take its turns, one after another; the first one, which builds, is left out."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(start()) for name, start in sides.items()}
        for side in running.values():
            figures(side)
        turns: dict[str, list[Row]] = {name: [] for name in running}
        for _ in range(rounds):
            for name, side in running.items():
                assert side.stdin is not None
                side.stdin.write("go\n")
                side.stdin.flush()
                turns[name].append(figures(side))
        for side in running.values():
            assert side.stdin is not None
            side.stdin.close()
    return turns


def timed(
    name: str, sides: dict[str, Callable[[], subprocess.Popen[str]]], peer: str, *, rounds: int = ROUNDS, **more: Any
) -> list[Row]:
    """A row a side: milliseconds of a step, the most memory, and how many times as long the peer takes beside it."""
    turns = in_turns(sides, rounds)
    spent = {side: [statistics.median(turn["seconds"]) for turn in found] for side, found in turns.items()}
    rows = []
    for side, mine in spent.items():
        ratios = sorted(theirs / own for theirs, own in zip(spent[peer], mine, strict=True))
        row = {"what": "step", "name": name, "side": side, "step_ms": round(1e3 * statistics.median(mine), 2)}
        row |= {"memory_mb": round(turns[side][-1]["memory_mb"]), "peer_takes": _three(ratios)}
        rows.append(row | more)
    return rows


def _three(values: list[float]) -> list[float]:
    return [round(f(values), 3) for f in (min, statistics.median, max)]


def split(seed: int, side: int, fashion: Path, folder: Path) -> str:
    """A file with 20,000 pictures as RGB of so many pixels, 40 of them labeled, and the 10,000 of the test set."""
    path = folder / f"fashion-{side}-{seed}.npz"
    if not path.exists():
        pad, pixels, labels = (side - 28) // 2, {}, {}
        for part in ("train", "t10k"):
            gray = np.pad(read_idx(fashion / f"{part}-images-idx3-ubyte"), ((0, 0), (pad, pad), (pad, pad)))
            pixels[part] = np.repeat(gray[..., None], 3, 3)
            labels[part] = read_idx(fashion / f"{part}-labels-idx1-ubyte").astype(np.int64)
        draws = np.random.default_rng(seed)
        rows = draws.permutation(len(pixels["train"]))[:20_000]
        x, y = pixels["train"][rows], labels["train"][rows]
        labeled = np.concatenate([draws.permutation(np.flatnonzero(y == c))[: LABELS // 10] for c in range(10)])
        mean, std = (f(x[:1000] / 255, axis=(0, 1, 2)).astype(np.float32) for f in (np.mean, np.std))
        np.savez(path, x=x, y=y, labeled=labeled, mean=mean, std=std, test_x=pixels["t10k"], test_y=labels["t10k"])
    return str(path)


def steps_beside(
    name: str, network: str, side: int, labeled: int, given: argparse.Namespace, folder: Path
) -> list[Row]:
    """FixMatch beside semilearn's, in turns."""
    settings = {
        "network": network, "labeled": labeled, "unlabeled": 7 * labeled, "seed": 0, "steps": 10_000, "turn": 3,
        "data": split(0, side, given.fashion, folder),
    }  # fmt: skip
    peer = interpreter("semilearn", given.environments)

    def own(**training: Any) -> Callable[[], subprocess.Popen[str]]:
        return lambda: started(sys.executable, "selftrain_side.py", settings | {"training": training}, {})

    def theirs(pages: str) -> Callable[[], subprocess.Popen[str]]:
        return lambda: started(peer, "semilearn_side.py", settings, {"THP_MEM_ALLOC_ENABLE": pages})

    sides = {"semilearn": theirs("0"), "semilearn, huge pages": theirs("1"), "selftrain": own()}
    sides["selftrain, precision auto"] = own(precision="auto")
    return timed(name, sides, "semilearn", network=network, batch=f"{labeled}+{7 * labeled}")


def accurate(name: str, seed: int, given: argparse.Namespace, folder: Path) -> list[Row]:
    """Accuracy on the test set after as many steps with as many labels, of the student and of its average."""
    settings = {
        "network": "ConvNet", "labeled": 16, "unlabeled": 112, "seed": seed, "steps": STEPS, "turn": 0,
        "data": split(seed, 28, given.fashion, folder), "training": {},
    }  # fmt: skip
    peer = interpreter("semilearn", given.environments)
    sides = {
        "semilearn": (peer, "semilearn_side.py", settings),
        "selftrain": (sys.executable, "selftrain_side.py", settings),
        "selftrain, precision auto": (
            sys.executable,
            "selftrain_side.py",
            settings | {"training": {"precision": "auto"}},
        ),
        "labels alone": (sys.executable, "selftrain_side.py", settings | {"unlabeled": 0}),
    }
    rows = []
    for side, (python, script, given_to) in sides.items():
        with started(python, script, given_to, {}) as running:
            rows.append({"what": "accuracy", "name": name, "side": side, "seed": seed} | figures(running))
    return rows


def own_tokens(draws: int) -> float:
    """Tokens of the predictor a sample with selftrain's own masks: each target set goes with the whole context."""
    masks = [MultiBlock()(64, Layout((8, 8)), 0.0) for _ in range(draws)]
    return statistics.mean(len(m.targets) * (m.context.shape[2] + m.targets.shape[2]) for m in masks)


def pretrained(name: str, given: argparse.Namespace, folder: Path) -> list[Row]:
    """A step of MAE or I-JEPA beside lightly's, on a ViT-tiny of 64 patches; views are left out on both sides."""
    peer, masks = interpreter("lightly", given.environments), str(folder / "masks.pt")
    settings: Row = {"method": name.split(" ")[0], "batch": 64, "turn": 2, "masks": ""}
    with started(peer, "lightly_side.py", settings | {"write": masks, "steps": 60}, {}) as running:
        tokens = figures(running)["tokens"]
    sides = {
        "lightly": lambda: started(peer, "lightly_side.py", settings, {}),
        "selftrain": lambda: started(sys.executable, "selftrain_pretraining_side.py", settings | {"masks": masks}, {}),
    }
    more = (
        {"tokens": round(tokens, 1), "own_tokens": round(own_tokens(60), 1)} if settings["method"] == "I-JEPA" else {}
    )
    return timed(name, sides, "lightly", rounds=5, what="pretraining", method=settings["method"], **more)


def digits(name: str, seed: int, given: argparse.Namespace, folder: Path) -> list[Row]:
    """Accuracy and processor time on rows of numbers: the 64 of a digit, of which 40 rows have labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    draws = np.random.default_rng(seed)
    few = np.concatenate([draws.permutation(np.flatnonzero(y == c))[: LABELS // 10] for c in range(10)])
    partly = np.where(np.isin(np.arange(len(y)), few), y, -1)
    path = folder / f"digits-{seed}.npz"
    np.savez(path, x=x, y=partly, test_x=test_x, test_y=test_y)
    rows = []
    for python in (interpreter("scikit-learn", given.environments), sys.executable):
        with started(python, "rows_side.py", {"data": str(path), "own": python == sys.executable}, {}) as running:
            for side, found in figures(running).items():
                rows.append({"what": "rows", "name": name, "side": side, "seed": seed} | found)
    return rows


def jobs(given: argparse.Namespace, folder: Path) -> dict[str, Callable[[str], list[Row]]]:
    """What there is to measure, by name."""
    accuracy = f"fixmatch on Fashion-MNIST, {LABELS} labels, {STEPS} steps"
    found: dict[str, Callable[[str], list[Row]]] = {
        "fixmatch step, ConvNet 28 px, 16+112": lambda name: steps_beside(name, "ConvNet", 28, 16, given, folder)
    }
    for seed in range(SEEDS):
        found[f"digits, {LABELS} labels, seed {seed}"] = partial(_with, digits, seed, given, folder)
    for seed in ACCURATE:
        found[f"{accuracy}, seed {seed}"] = partial(_with, accurate, seed, given, folder)
    for method in ("I-JEPA", "MAE"):
        found[f"{method} step, ViT-tiny 32 px, 64"] = lambda name: pretrained(name, given, folder)
    found["fixmatch step, WRN-28-2 32 px, 4+28"] = lambda name: steps_beside(name, "WRN-28-2", 32, 4, given, folder)
    return found


def _with(make: Callable[..., list[Row]], seed: int, given: argparse.Namespace, folder: Path, name: str) -> list[Row]:
    return make(name, seed, given, folder)


def main() -> None:
    """Measure what is missing, and store it as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--environments", type=Path, default=Path("~/.cache/selftrain/peers").expanduser())
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    rows = stored.read(given.result)
    with tempfile.TemporaryDirectory() as folder:
        work = jobs(given, Path(folder))
        for name, measure in work.items():
            if name in {row["name"] for row in rows} or any(word not in name for word in given.words):
                continue
            for row in measure(name):
                rows.append(row)
                print(row, flush=True)
            stored.store(given.result, rows, lambda row: list(work).index(row["name"]), COMMAND)


if __name__ == "__main__":
    main()
