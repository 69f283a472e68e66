"""How time and memory grow with the classes, the rows, the held-out samples and the pictures of a problem.

    python benchmarks/growth.py [WORD ...] [--code NAME] [--result FILE] [--pictures FOLDER]

Each figure is of a process of its own on one thread: seconds of the processor, and the highest resident memory less
was before. An exponent is the slope of the least squares line through the logarithms of the three largest sizes: 1 is
linear, 0 is none. ``--code`` names the state of the library that is measured, such as ``before`` and ``after`` of a
change; rows that the file has are kept, so another state needs another name. WORDs choose parts.

Parts: ``classes`` and ``samples``: an evaluation by either, the other being 1,000 samples or 100 classes; ``fixmatch
classes`` and ``fixmatch rows``: a step of FixMatch on a table; ``soft_labels rows``: a checkpoint after an evaluation,
with its bytes in place of the memory; ``pictures``: to read a folder of JPEG files of 160 x 160 pixels, and ``pictures
again``: the same in a second process.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import stored
import torch

import selftrain as st
from selftrain import catalog, data
from selftrain.handlers import Handler, Progress, SelfCheck

RESULT = Path(__file__).parent / "results" / "growth.json"
COLUMNS, MIB = 20, 2**20
Measured = tuple[float, float]  # seconds, MiB


def highest() -> float:
    """The highest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], object]) -> Measured:
    """Seconds and further memory of one piece of work."""
    before, start = highest(), time.process_time()
    work()
    return time.process_time() - start, highest() - before


def problem(rows: int, classes: int, held_out: int = 100) -> data.Pile:
    """Noise as a table: one label a class, but 10,000 at most; all else is without labels or held out."""
    rng = np.random.default_rng(0)
    sets = [
        data.ArraySet(rng.normal(size=(count, COLUMNS)).astype(np.float32), np.arange(count) % classes)
        for count in (max(classes, 64), rows, held_out)
    ]
    return data.Pile(
        *sets, classes=[str(number) for number in range(classes)], views=data.TableViews(mean=0.0, std=1.0)
    )


def built(name: str, classes: int, rows: int) -> Any:
    """A strategy with a small network."""
    make = st.learner(lambda: st.toy.mlp(COLUMNS, classes))
    return catalog.build(name, st.Classification(classes), make, unlabeled=rows, label_shape=(classes,))


def evaluation(classes: int, held_out: int) -> Measured:
    """Figures of a network and its teacher."""
    pile, strategy = problem(64, classes, held_out), built("mean_teacher", classes, 64)
    st.evaluate(strategy, problem(64, classes, 8), "validation")  # all is loaded
    return timed(lambda: st.evaluate(strategy, pile, "validation"))


class Clock(Handler):
    """Note the time after each step."""

    def begin(self, context: Any) -> None:
        """Nothing was noted yet."""
        self.times = list[float]()

    def end_step(self, step: int) -> None:
        """Note it."""
        self.times.append(time.process_time())


def steps(classes: int, rows: int, count: int = 25) -> Measured:
    """A step of FixMatch, after five that build what is built once."""
    pile, clock = problem(rows, classes), Clock()
    strategy, plan, quiet = (
        built("fixmatch", classes, rows),
        st.BatchPlan(16, 7),
        [clock, Progress(False), SelfCheck(False)],
    )
    settings: dict[str, Any] = {"plan": plan, "handlers": quiet, "baseline": False, "evaluation": st.Evaluation(10**6)}
    _, more = timed(partial(st.fit, strategy, pile, steps=count, **settings))
    return (clock.times[-2] - clock.times[4]) / (count - 6), more  # the last one ends the run


def checkpoint(rows: int, classes: int) -> Measured:
    """Time and bytes of a run of five steps with an evaluation and a checkpoint after it."""
    pile, strategy = problem(rows, classes), built("soft_labels", classes, rows)
    with tempfile.TemporaryDirectory() as place:
        quiet = [Progress(False), SelfCheck(False)]
        out = Path(place) / "run"
        seconds, _ = timed(
            lambda: st.fit(strategy, pile, out=out, steps=5, plan=st.BatchPlan(16, 7), handlers=quiet, baseline=False)
        )
        newest = max((out / "checkpoints").rglob("*"), key=lambda path: path.stat().st_size)
        return seconds, newest.stat().st_size / MIB


def pictures(count: int, folder: str) -> Measured:
    """The pile of a folder."""
    return timed(lambda: data.from_folder(folder, size=64, workers=1))


def write_pictures(folder: Path, count: int) -> None:
    """JPEG files of noise that is smooth, in two classes."""
    from PIL import Image

    rng = np.random.default_rng(count)
    for number in range(count):
        place = folder / "ab"[number % 2] / f"{number:06}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8))
        coarse.resize((160, 160)).save(place, quality=85)


PARTS: dict[str, tuple[Callable[..., Measured], list[int], tuple[Any, ...]]] = {
    "classes": (evaluation, [10, 100, 1_000, 5_000, 10_000], (1_000,)),
    "samples": (lambda size, classes: evaluation(classes, size), [1_000, 10_000, 100_000], (100,)),
    "fixmatch classes": (steps, [10, 100, 1_000, 10_000], (2_000,)),
    "fixmatch rows": (lambda size, classes: steps(classes, size), [1_000, 10_000, 100_000, 1_000_000], (10,)),
    "soft_labels rows": (checkpoint, [1_000, 10_000, 100_000], (100,)),
    "pictures": (pictures, [500, 1_000, 2_000, 4_000], ()),
    "pictures again": (pictures, [500, 1_000, 2_000, 4_000], ()),
}


def run(part: str, size: int, more: Sequence[Any]) -> Measured:
    """One figure, in the process that this is called in."""
    torch.set_num_threads(1)
    return PARTS[part][0](size, *PARTS[part][2], *more)


def exponents(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Slopes of each part and code: of the seconds and of the memory; ``None`` where a figure is 0."""
    found = []
    for part, code in dict.fromkeys((row["part"], row["code"]) for row in rows if "size" in row):
        own = sorted((r for r in rows if (r["part"], r["code"]) == (part, code) and "size" in r), key=_size)[-3:]
        slopes: dict[str, Any] = {}
        for figure, low in (("seconds", 0.0), ("mib", 1.0)):  # below a MiB it is the allocator that is measured
            values = [row[figure] for row in own]
            if len(own) == 3 and min(values) > low:
                line = np.polyfit(np.log([row["size"] for row in own]), np.log(values), 1)
                slopes[figure] = round(float(line[0]), 2)
        found.append({"part": part, "code": code, "exponents": slopes})
    return found


def _size(row: dict[str, Any]) -> int:
    return int(row["size"])


def main() -> None:
    """Measure what is missing, and store each row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--code", default="after")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--pictures", type=Path, help="where the pictures are written, and found again")
    given = parser.parse_args()
    rows = [row for row in stored.read(given.result) if "size" in row]
    done = {(row["part"], row["code"], row["size"]) for row in rows}
    order = {part: number for number, part in enumerate(PARTS)}
    with tempfile.TemporaryDirectory() as place:
        os.environ["SELFTRAIN_DATA"] = f"{place}/known"  # nothing of the user's is read or written
        folder = given.pictures or Path(place)
        for part, size in [(part, size) for part, (_, sizes, _) in PARTS.items() for size in sizes]:
            if (part, given.code, size) in done or any(word not in part for word in given.words):
                continue
            images = folder / f"pictures-{size}"
            if part.startswith("pictures") and not images.is_dir():
                write_pictures(images, size)
            more = (str(images),) if part.startswith("pictures") else ()
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                seconds, mib = pool.submit(run, part, size, more).result()
            rows.append(
                {"part": part, "code": given.code, "size": size, "seconds": round(seconds, 4), "mib": round(mib, 1)}
            )
            print(rows[-1], flush=True)
            stored.store(
                given.result,
                rows + exponents(rows),
                lambda row: (order[row["part"]], row["code"] != "before", "size" not in row, row.get("size", 0)),  # type: ignore[arg-type,return-value]
                "python benchmarks/growth.py",
            )


if __name__ == "__main__":
    main()
