"""How much memory a large pile, a large ledger and an evaluation of large masks take.

python benchmarks/memory.py [PART ...] [--images N] [--rows N] [--steps N] [--pictures N] [--result FILE]
python benchmarks/memory.py --write     puts the stored figures into docs/reliability.md and measures nothing

The pile: images of 28 x 28 in a .npy file that is written here, read row by row by ``StoredSet``, 40 of them labeled;
FixMatch with a small ConvNet, 2 x 16 loaded samples a step. Resident memory is read every 100 steps, from the
100th on; "growth_mib" is the largest of these readings less the first. The ledger: every row gets a label once, in
batches of 100,000, then it is exported and read back. "peak_mib" of a part is the highest resident memory of its own
process less what it had when its libraries were loaded. The evaluation: 500 pictures of 512 x 512 with masks of 21
classes, in memory, and a small U-Net; its "peak_mib" is all that its process has. Seconds are those of the processor.
PARTs are pile, ledger and evaluation; rows of others stay in the file.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

import selftrain as st
from selftrain import data, strategies
from selftrain.data.base.samples import RowNumbers
from selftrain.engine.loop import versions
from selftrain.handlers import SelfCheck
from selftrain.types import PseudoLabels

RESULT = Path(__file__).parent / "results" / "memory.json"
SIDE, LABELS, CLASSES, BLOCK = 28, 40, 10, 100_000
MIB = 2**20
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- memory -->\n", "<!-- /memory -->"


def resident() -> float:
    """Resident memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def highest() -> float:
    """The highest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_images(path: Path, count: int) -> None:
    """Noise as images (N, 28, 28), uint8, written block by block."""
    rng = np.random.default_rng(0)
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE))
    for start in range(0, count, BLOCK):
        part = images[start : start + BLOCK]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()


class Watched(strategies.FixMatch):
    """FixMatch that notes the resident memory every 100 steps."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.readings: list[float] = []

    def step(self, batch: Any, clock: Any, *extra: Any) -> Any:
        """One step of FixMatch."""
        if clock.step and clock.step % 100 == 0:
            self.readings.append(resident())
        return super().step(batch, clock, *extra)


def pile_part(folder: str, count: int, steps: int) -> dict[str, Any]:
    """Train on a pile in a file."""
    torch.set_num_threads(1)
    path = Path(folder) / "pile.npy"
    write_images(path, count)
    loaded = resident()
    labeled = data.ArraySet(np.load(path, mmap_mode="r")[:LABELS].copy(), np.arange(LABELS) % CLASSES)
    pile = data.Pile(labeled, data.StoredSet(path), classes=[str(c) for c in range(CLASSES)])
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(SIDE, widths=(8, 16)), CLASSES), lr=1e-3)
    strategy, begun = Watched(st.Classification(CLASSES), make), time.process_time()
    st.fit(strategy, pile, steps=steps, plan=st.BatchPlan(16, 1), handlers=[SelfCheck(False)])
    readings = strategy.readings
    return {
        "part": "pile",
        "images": count,
        "file_mib": round(path.stat().st_size / MIB, 1),
        "steps": steps,
        "resident_mib": round(readings[0], 1),
        "growth_mib": round(max(readings) - readings[0], 1),
        "peak_mib": round(max(readings) - loaded, 1),
        "seconds": round(time.process_time() - begun, 1),
    }


def ledger_part(folder: str, rows: int) -> dict[str, Any]:
    """Fill, export and read a ledger."""
    torch.set_num_threads(1)
    loaded, begun = resident(), time.process_time()
    ledger = st.Ledger(RowNumbers(rows), [str(c) for c in range(CLASSES)])
    task, generator = st.Classification(CLASSES), torch.Generator().manual_seed(0)
    for start in range(0, rows, BLOCK):
        index = torch.arange(start, min(rows, start + BLOCK))
        value = torch.rand(len(index), CLASSES, generator=generator).softmax(1)
        ledger.write(PseudoLabels(index, value, torch.ones(len(index))), task, step=start)
    filled, row = highest() - loaded, {"part": "ledger", "rows": rows}
    row |= {"filled_mib": round(filled, 1), "fill_seconds": round(time.process_time() - begun, 1)}
    for name, write in (("csv", ledger.to_csv), ("parquet", ledger.to_parquet)):
        begun = time.process_time()
        path = write(Path(folder) / f"pseudo_labels.{name}")
        row |= {f"{name}_seconds": round(time.process_time() - begun, 1)}
        row |= {f"{name}_mib": round(path.stat().st_size / MIB, 1)}
    row["written_peak_mib"] = round(highest() - loaded, 1)
    begun = time.process_time()
    again = st.Ledger.read(Path(folder) / "pseudo_labels.parquet")
    row["read_seconds"] = round(time.process_time() - begun, 1)
    if len(again) != rows or not torch.equal(again.confidence, ledger.confidence):
        raise SystemExit("the ledger that was read is not the one that was written")
    return row


def evaluation_part(folder: str, pictures: int) -> dict[str, Any]:
    """Evaluate a U-Net on large pictures with masks."""
    torch.set_num_threads(1)
    x = torch.randint(0, 256, (1, 3, 512, 512), dtype=torch.uint8).expand(pictures, -1, -1, -1).contiguous()
    masks = (torch.arange(512 * 512) % 21).to(torch.uint8).view(512, 512).expand(pictures, -1, -1).contiguous()
    held = data.ArraySet(x, masks)
    names, views = [str(c) for c in range(21)], data.TensorViews(mean=0.5, std=0.25)
    pile = data.Pile(data.ArraySet(x[:2], masks[:2]), None, None, held, classes=names, views=views)
    make = st.learner(lambda: st.networks.UNet(21, widths=(4, 8)))
    strategy, begun = strategies.Supervised(st.Segmentation(21), make), time.process_time()
    st.evaluate(strategy, pile, "test")
    given = (x.nbytes + masks.nbytes) / MIB
    row = {"part": "evaluation", "pictures": pictures, "given_mib": round(given, 1)}
    return row | {"peak_mib": round(highest(), 1), "seconds": round(time.process_time() - begun, 1)}


def page(text: str, rows: Sequence[dict[str, Any]]) -> str:
    """The page with the figures in words between its marks."""
    pile, ledger, evaluation = rows
    words = (
        f"- A pile of {pile['images']:,} images in a file of {pile['file_mib']:.0f} MiB, {pile['steps']:,} steps of "
        f"FixMatch:\n  resident memory grows by {pile['growth_mib']} MiB from the 100th step to the last.\n"
        f"- A ledger of {ledger['rows']:,} rows: {ledger['filled_mib']:.0f} MiB filled, "
        f"{ledger['written_peak_mib']:.0f} MiB at most while it is written. CSV\n"
        f"  ({ledger['csv_mib']:.0f} MiB) takes {ledger['csv_seconds']:.0f} seconds of one core, Parquet "
        f"({ledger['parquet_mib']:.0f} MiB) {ledger['parquet_seconds']:.0f}, reading that back "
        f"{ledger['read_seconds']:.0f}.\n"
        f"- An evaluation of {evaluation['pictures']} pictures of 512 x 512 with masks of 21 classes, in memory "
        f"({evaluation['given_mib']:.0f} MiB):\n  {evaluation['peak_mib']:,.0f} MiB at most, all that the process has."
    )
    return text[: text.index(BEGIN) + len(BEGIN)] + f"\n{words}\n\n" + text[text.index(END) :]


def main() -> None:
    """Measure all parts that are asked for, each in a process of its own, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=["pile", "ledger", "evaluation"])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--write", action="store_true", help="put the stored figures into docs/reliability.md")
    options = parser.parse_args()
    stored = json.loads(options.result.read_text(encoding="utf-8"))["rows"] if options.result.exists() else []
    if options.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), stored), encoding="utf-8")
        return
    sizes = {"pile": (options.images, options.steps), "ledger": (options.rows,), "evaluation": (options.pictures,)}
    found = {row["part"]: row for row in stored}
    for part in options.parts:
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        ):
            found[part] = pool.submit(globals()[f"{part}_part"], folder, *sizes[part]).result()
        print(json.dumps(found[part]), flush=True)
    rows = [found[part] for part in sizes if part in found]
    content = {"command": "python benchmarks/memory.py", "versions": versions(), "rows": rows}
    options.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
