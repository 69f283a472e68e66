"""How much a pretraining step costs beside the bare passes it consists of: images a second of both, as a ratio.

python benchmarks/pretrain_speed.py [--steps 30] [--result FILE]

The bare pass is the encoder alone, forward and backward, on as many visible tokens as the stage's masker shows (for
two-view stages: on all views), with a plain loss: no predictor, no target encoder, no optimizer. Both are timed
in turns within one process, one thread; medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import selftrain as st
from selftrain import pretrain
from selftrain.engine.loop import versions
from selftrain.types import Batch, Clock, Unlabeled, View

RESULT = Path(__file__).parent / "results" / "pretrain_speed.json"
BATCH, SIZE = 64, 28
STAGES: dict[str, Callable[[], Any]] = {
    "mae, ViT patch 7": lambda: pretrain.MAE(pretrain.ViT(SIZE, 7)),
    "mae, ViT patch 4": lambda: pretrain.MAE(pretrain.ViT(SIZE, 4)),
    "mae, ConvEncoder": lambda: pretrain.MAE(st.ConvEncoder(SIZE)),
    "ijepa, ViT patch 7": lambda: pretrain.IJEPA(pretrain.ViT(SIZE, 7)),
    "ijepa, ViT patch 4": lambda: pretrain.IJEPA(pretrain.ViT(SIZE, 4)),
    "cnnjepa, ConvEncoder": lambda: pretrain.CNNJEPA(st.ConvEncoder(SIZE)),
    "sarjepa, ViT patch 4": lambda: pretrain.SARJEPA(pretrain.ViT(SIZE, 4)),
    "lejepa, ConvEncoder": lambda: pretrain.LeJEPA(st.ConvEncoder(SIZE)),
    "simclr, ConvEncoder": lambda: pretrain.SimCLR(st.ConvEncoder(SIZE)),
}


def batch_of(x: torch.Tensor) -> Batch:
    """The same images as every view."""
    names = ("plain", "weak", "strong", "strong2")
    return Batch(None, Unlabeled({name: View(x) for name in names}, torch.arange(len(x))))


def bare(strategy: Any, x: torch.Tensor) -> Callable[[], None]:
    """Forward and backward pass of the encoder on what the stage shows it."""
    encoder = strategy.student.model.encoder
    if isinstance(strategy, pretrain.Masked):
        context = strategy.draw(x, 0.0).context
        inputs, keep = x.repeat(len(context), 1, 1, 1), context.flatten(0, 1)
        run: Callable[[], torch.Tensor] = partial(encoder.tokens, inputs, keep)
    else:
        run = partial(encoder, x.repeat(len(strategy.views), 1, 1, 1))

    def once() -> None:
        run().square().mean().backward()
        encoder.zero_grad()

    return once


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(make: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Images a second of a stage and of its bare passes, and the share of a step that the passes are."""
    torch.manual_seed(0)
    strategy = make().train()
    x = torch.randn(BATCH, 1, SIZE, SIZE)
    given, alone = batch_of(x), bare(strategy, x)
    step = partial(strategy.step, given, Clock(0, 0, 100))
    for _ in range(3):
        step(), alone()
    rows = [(seconds(step), seconds(alone)) for _ in range(steps)]
    whole, passes = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "images_per_second": round(BATCH / whole, 1),
        "bare_images_per_second": round(BATCH / passes, 1),
        "ratio": round(passes / whole, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each stage")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, make in STAGES.items():
        rows.append({"stage": name} | measure(make, options.steps))
        print(rows[-1])
    content = {"command": "python benchmarks/pretrain_speed.py", "batch": BATCH, "versions": versions(), "rows": rows}
    options.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
