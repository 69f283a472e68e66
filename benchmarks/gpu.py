"""What a GPU makes of a step: time, images a second, kernels, waits and memory; ten minutes at most.

    python benchmarks/gpu.py [--device cuda] [--minutes 10] [--steps 40] [--result FILE]

FixMatch, FST-D, MAE and LeJEPA on WRN-28-2 and ViT-S (patch 4), 64 + 448 random pictures of 32 x 32 pixels (what they
show changes no time), plain and with ``precision="bf16", compile=True`` and compiled views; in pretraining a ConvNet
stands for WRN-28-2. The bare passes are found as in ``step_overhead.py``. Waits are the warnings of
``torch.cuda.set_sync_debug_mode``, kernels those of torch's profiler, both of five steps without a row of the log. It
has never been run on a GPU: none was at hand. On a CPU (``--device cpu --steps 2``) it counts neither.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from step_overhead import SEEN, Turns, WideResNet
from torch import nn

import selftrain as st
from selftrain import catalog, data, pretrain
from selftrain.engine.loop import versions
from selftrain.handlers import Handler, MetricsLog, NonFiniteGuard, Progress, SelfCheck
from selftrain.networks import student

RESULT = Path(__file__).parent / "results" / "gpu.json"
LABELED, UNLABELED, SIDE, CLASSES = 64, 448, 32, 10
LOOKED_AT = 5  # steps whose kernels and waits are counted
STAGES = ("mae", "lejepa")
FORMATS: dict[str, dict[str, Any]] = {"plain": {}, "fast": {"precision": "bf16", "compile": True}}


class Watched(Handler):
    """Counts the calls that wait, and the kernels, of some steps."""

    def __init__(self, device: torch.device, first: int) -> None:
        self.device, self.steps = device, range(first, first + LOOKED_AT)
        self.waits, self.kernels = 0, 0

    def before_step(self, step: int) -> None:
        """Begin to look."""
        if step == self.steps.start and self.device.type == "cuda":
            torch.cuda.synchronize()
            self.caught = warnings.catch_warnings(record=True)
            self.seen = self.caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            self.profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self.profile.__enter__()

    def end_step(self, step: int) -> None:
        """Look no more."""
        if step == self.steps[-1] and self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
            self.profile.__exit__(None, None, None)
            self.waits = sum("synchroniz" in str(one.message) for one in self.seen or ())
            self.caught.__exit__(None, None, None)
            self.kernels = sum(event.device_type.name == "CUDA" for event in self.profile.events() or ())


def network(name: str, outputs: int) -> nn.Module:
    """WRN-28-2, or ViT-S with patches of 4 x 4."""
    if name == "WRN-28-2":
        return WideResNet(outputs)
    return st.Classifier(pretrain.ViT(SIDE, 4, channels=3, width=384, depth=12, heads=6), outputs)


def strategy(method: str, name: str, settings: dict[str, Any]) -> Any:
    """The method on the network."""
    if method in STAGES:
        wide = pretrain.ViT(SIDE, 4, channels=3, width=384, depth=12, heads=6)
        return catalog.make_recipe(method, wide if name == "ViT-S" else st.ConvEncoder(SIDE, 3), {}, settings)
    make = st.learner(lambda: network(name, CLASSES), **settings)
    return catalog.build(method, st.Classification(CLASSES), make, unlabeled=8 * UNLABELED, label_shape=(CLASSES,))


def measure(method: str, name: str, form: str, device: torch.device, steps: int) -> dict[str, float]:
    """Medians of a run's steps."""
    torch.manual_seed(0)
    x = torch.randint(0, 256, (8 * UNLABELED + 640, 3, SIDE, SIDE), dtype=torch.uint8)
    y = torch.arange(len(x)) % CLASSES
    views = data.TensorViews(compile=form == "fast")
    pile = data.Pile(data.ArraySet(x[:640], y[:640]), data.ArraySet(x[640:]), views=views)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    turns, warm = Turns(now), SEEN + 2
    looked = Watched(device, warm + steps + 1)
    handlers = [turns, looked, Progress(False), SelfCheck(False), NonFiniteGuard(), MetricsLog(10**6)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with patch.object(student, "run_alone", turns.record):
        turns.last = warm + steps  # afterwards steps run without a stop between them
        plan = st.BatchPlan(labeled=LABELED, unlabeled_ratio=UNLABELED / LABELED)
        whole = strategy(method, name, FORMATS[form]).to(device)
        st.fit(whole, pile, steps=warm + steps + LOOKED_AT + 2, plan=plan, handlers=handlers, device=device,
               evaluation=st.Evaluation(10**6))  # fmt: skip
    ratios = [step / raw for step, raw in zip(turns.steps, turns.raw, strict=True)]
    step = statistics.median(turns.steps)
    return {
        "ratio_median": round(statistics.median(ratios), 3),
        "step_ms": round(1e3 * step, 3),
        "images_a_second": round((UNLABELED + (0 if method in STAGES else LABELED)) / step),
        "kernels": looked.kernels / LOOKED_AT,
        "waits": looked.waits / LOOKED_AT,
        "memory_mb": round(torch.cuda.max_memory_allocated() / 1e6) if device.type == "cuda" else 0,
    }


def main() -> None:
    """Measure until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    device, begun, rows = torch.device(given.device), time.monotonic(), list[dict[str, Any]]()
    for method in ("fixmatch", "fst_d", *STAGES):
        for name in ("WRN-28-2", "ViT-S"):
            for form in FORMATS:
                # compiling a network takes up to a minute
                if time.monotonic() - begun > 60 * (given.minutes - 1.5):
                    continue
                place = {"method": method, "network": name, "format": form}
                rows.append(place | measure(method, name, form, device, given.steps))
                print(rows[-1], flush=True)
                card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
                content = {"command": "python benchmarks/gpu.py", "card": card, "versions": versions(), "rows": rows}
                given.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
