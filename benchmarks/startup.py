"""How long it takes until something happens, from a cold process: help, a first step, an estimator on 200 rows.

    python benchmarks/startup.py [--rounds 3] [--result FILE]

Processor time of each process, from its start on, with one thread and files that have been read before; the least of
some rounds, which take turns. Goals (docs/performance.md): ``train --help`` 3 s, a first step 6 s, an estimator 0.3 s
for each network or simple model that is tried.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "startup.json"
FIRST_STEP = """
import sys, time
import selftrain as st
from selftrain import data, strategies
from selftrain.handlers import Handler
class End(Handler):
    def end_step(self, step):
        print("@", time.process_time(), 1, flush=True)
        sys.exit()
make = st.learner(lambda: st.Classifier(st.ConvEncoder(8, embed_dim=32), 10))
strategy = strategies.FixMatch(st.Classification(10), make)
st.fit(strategy, data.load("digits", labels=40, seed=0), steps=1, handlers=[End()])
"""
ESTIMATOR = """
import time, warnings
import numpy as np
from sklearn.datasets import make_classification
import selftrain as st
warnings.simplefilter("ignore")
x, y = make_classification(200, 20, n_informative=8, n_classes=4, random_state=0)
y[np.random.default_rng(0).permutation(200)[40:]] = -1
{first}begun = time.process_time()
model = st.SelfTrainClassifier({settings}).fit(x, y)
tried = [row for row in getattr(model, "candidates_", []) if row["seconds"]]
print("@", time.process_time() - begun, len(tried) or model.members, flush=True)
"""
PARTS = {
    "import selftrain": "import time, selftrain; print('@', time.process_time(), 1)",
    "selftrain --help": ["--help"],
    "selftrain train --help": ["train", "--help"],
    "first step of a digits run": FIRST_STEP,
    "SelfTrainClassifier(), 200 rows, first fit": ESTIMATOR.format(first="", settings=""),
    "SelfTrainClassifier(), 200 rows": ESTIMATOR.format(first="st.SelfTrainClassifier().fit(x, y)\n", settings=""),
    "SelfTrainClassifier(strategy='freematch', steps=100), 200 rows": ESTIMATOR.format(
        first="st.SelfTrainClassifier(strategy='freematch', steps=1).fit(x, y)\n",
        settings="strategy='freematch', steps=100",
    ),
}


def measured(part: str | list[str]) -> tuple[float, int]:
    """Seconds, and how many models they were for."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    if isinstance(part, list):  # of a process that says nothing of itself: what its end tells
        call = [sys.executable, "-m", "selftrain", *part]
        before = os.times()
        subprocess.run(call, env=variables, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system, 1
    call = [sys.executable, "-c", part]
    said = subprocess.run(call, env=variables, capture_output=True, text=True).stdout
    found = [line.split() for line in said.splitlines() if line.startswith("@ ")]
    assert found, f"nothing was said: {said}"
    return float(found[-1][1]), int(found[-1][2])


def main() -> None:
    """Measure all, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    rounds = [[measured(part) for part in PARTS.values()] for _ in range(given.rounds)]
    rows = []
    for name, turns in zip(PARTS, zip(*rounds, strict=True), strict=True):
        seconds, models = min(turns)
        rows.append({"part": name, "seconds": round(seconds, 3), "models": models})
        print(rows[-1])
    content = {"command": "python benchmarks/startup.py", "rows": rows}
    given.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
