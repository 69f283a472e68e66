"""What huge pages take off a step on the CPU: FixMatch with ``THP_MEM_ALLOC_ENABLE`` 1, which is the default, and 0.

python benchmarks/allocator.py

Each measurement is a process of its own, and the two settings take turns: milliseconds of processor time a step (median
of the steps after the first five), views included, one thread; writes benchmarks/results/allocator.json.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser

RESULT = Path(__file__).parent / "results" / "allocator.json"
ROUNDS = 3
# side, widths of the ConvNet, labeled rows of a batch (seven times as many unlabeled ones), steps
SIZES = ((28, (32, 64), 16, 30), (28, (32, 64), 64, 15), (96, (8, 16), 16, 15), (160, (8, 16), 16, 10))


def measure(side: int, widths: tuple[int, int], labeled: int, steps: int) -> dict[str, float]:
    """Milliseconds of a step and the process's largest memory in MB."""
    import torch

    import selftrain as st
    from selftrain import data, strategies
    from selftrain.types import Clock

    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (1024, 3, side, side), np.uint8)
    pile = data.Pile.from_arrays(images, np.where(np.arange(1024) < 128, np.arange(1024) % 10, -1))
    task = st.Classification(10)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(side, 3, widths=widths), 10))
    strategy = strategies.FixMatch(task, make)
    stream = pile.stream(strategy.needs(), st.BatchPlan(labeled, 7.0), torch.device("cpu"))
    batches = (batch for epoch in itertools.count() for [batch] in stream.epoch(epoch))
    spent = []
    strategy.train()
    for step in range(steps):
        begun = time.process_time()
        strategy.step(next(batches), Clock(step, 0, steps))
        spent.append(time.process_time() - begun)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step_ms": 1e3 * statistics.median(spent[5:]), "memory_mb": memory}


def main() -> None:
    """Run all, print the ratios, write the result."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, default=None, help="measure one size, in this process")
    one = parser.parse_args().one
    if one is not None:
        print(json.dumps(measure(*SIZES[one])))
        return
    rows = []
    for number, (side, _, labeled, _) in enumerate(SIZES):
        for turn in range(ROUNDS):
            for pages in "10":
                call = [sys.executable, __file__, "--one", str(number)]
                environment = os.environ | {"THP_MEM_ALLOC_ENABLE": pages}
                said = subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout
                found = json.loads(said.splitlines()[-1])
                rows.append({"side": side, "labeled": labeled, "round": turn, "huge_pages": pages == "1"} | found)
        mine = [[row for row in rows[-2 * ROUNDS :] if row["huge_pages"] is pages] for pages in (True, False)]
        ratios = [a["step_ms"] / b["step_ms"] for a, b in zip(*mine, strict=True)]
        print(side, labeled, [round(statistics.median(r["step_ms"] for r in part), 1) for part in mine], ratios)
    RESULT.write_text(json.dumps({"command": "python benchmarks/allocator.py", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
