"""How fast pictures are decoded while a run goes on, and what of them stays in memory.

python benchmarks/decoding.py --out DIR [--pictures 400] [--processes 0 1 2]

Writes JPEG files of 640 x 480 pixels (crops of the photographs that scikit-learn ships, with noise), reads them as
``from_folder`` does without ``cache``, at 224 pixels, and takes steps on the weak views of 64 pictures. Prints pictures
a second by the clock, in one process a CPU second too, and the resident memory of the first process before and after
two passes.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import selftrain as st
from selftrain import data
from selftrain.types import Needs


def write(folder: Path, count: int) -> None:
    """So many files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(one).resize((800, 540)) for one in load_sample_images().images]
    for number in range(count):
        draw = np.random.RandomState(number)
        left, top = draw.randint(160), draw.randint(60)
        crop = np.asarray(pictures[number % 2].crop((left, top, left + 640, top + 480)), np.int16)
        noisy = (crop + draw.randint(-6, 7, crop.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:05d}.jpg", quality=90)


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Write what is missing, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--processes", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if len(list(options.out.glob("*.jpg"))) < options.pictures:
        write(options.out, options.pictures)
    pile = data.from_folder(options.out, size=224, workers=1)
    for processes in options.processes:
        plan = st.BatchPlan(labeled=1, unlabeled_ratio=64, workers=processes)
        memory, spent, start = resident(), time.process_time(), time.perf_counter()
        stream = pile.stream(Needs(("weak",)), plan, torch.device("cpu"))
        seen = sum(len(step[0].unlabeled["weak"].x) for epoch in (0, 1) for step in stream.epoch(epoch))
        clock = time.perf_counter() - start
        each = f", {seen / (time.process_time() - spent):.0f} a CPU second" if not processes else ""
        print(
            f"{processes} processes: {seen / clock:.0f} pictures a second by the clock{each}; "
            f"{memory:.0f} MiB before, {resident():.0f} MiB after {seen} pictures "
            f"({seen * 3 * 224 * 224 / 2**20:.0f} MiB decoded)",
            flush=True,
        )


if __name__ == "__main__":
    main()
