"""What the guard against NaN costs: a good step, and a bad one.

PYTHONPATH=. python benchmarks/guard.py --device cpu

A good step pays its share of a copy of the state: one copy in 64 steps once a run is under way. A bad step costs the
steps since the newest copy, which are taken once more: half of 64 on average, and none or few right after another one.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch

import selftrain as st
from selftrain import strategies
from selftrain.handlers.nonfinite import EVERY, copied
from selftrain.networks.student import Learner
from selftrain.runtime.finite import Weights, finite_step
from selftrain.types import Batch, Clock, Labeled, Target, Unlabeled, View


def seconds(times: int, device: torch.device, *acts: Callable[[], object]) -> list[float]:
    """Least time of each act, which take turns; on the CPU of this process alone: others may be at work."""
    clock, found = time.process_time if device.type == "cpu" else time.perf_counter, [math.inf] * len(acts)
    for _ in range(times):
        for number, act in enumerate(acts):
            begin = clock()
            act()
            if device.type != "cpu":
                torch.get_device_module(device).synchronize()
            found[number] = min(found[number], clock() - begin)
    return found


def main() -> None:
    """Measure a FixMatch step on 32 x 32 images, 7 unlabeled ones for each labeled."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--labeled", type=int, default=16)
    parser.add_argument("--times", type=int, default=15)
    given = parser.parse_args()
    device = torch.device(given.device)
    labeled, unlabeled = given.labeled, 7 * given.labeled
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(32, channels=3), 10), lr=0.03)
    strategy = strategies.FixMatch(st.Classification(10), make).to(device)

    def images(count: int) -> torch.Tensor:
        return torch.rand(count, 3, 32, 32, device=device)

    target = Target(torch.eye(10, device=device)[torch.arange(labeled) % 10], torch.ones(labeled, device=device))
    rows = torch.arange(unlabeled, device=device)
    views = {name: View(images(unlabeled)) for name in ("weak", "strong")}
    batch = Batch(Labeled(images(labeled), target, rows[:labeled]), Unlabeled(views, rows))
    modules = [(name, m) for name, m in strategy.named_modules() if not isinstance(m, Learner)]
    state = Weights(modules, strategy.learners())

    def step() -> None:
        strategy.train()
        strategy.step(batch, Clock(0, 0, 10))

    def watched() -> None:
        with finite_step(state):
            step()

    step()  # what is built in the first step
    acts = (step, watched, lambda: torch.stack(state.finite()).tolist(), lambda: copied(strategy.state_dict()))
    plain, looked, look, copy = seconds(given.times, device, *acts)
    weights = sum(p.numel() for p in strategy.student.parameters())
    print(f"{device}, {weights:,} weights, {labeled} + {unlabeled} images: a step takes {1e3 * plain:.1f} ms")
    print(f"looking at outputs and at the state: {100 * (looked - plain) / plain:+.2f} % of a step")
    print(f"the state alone: {1e3 * look:.2f} ms, {100 * look / plain:.2f} % of a step")
    print(
        f"a copy of the state: {1e3 * copy:.2f} ms, one in {EVERY} steps: {100 * copy / plain / EVERY:.3f} % of a step"
    )
    print(f"a bad step: {EVERY // 2} steps on average, {EVERY - 1} at most: {plain * EVERY / 2:.2f} s on average")


if __name__ == "__main__":
    main()
