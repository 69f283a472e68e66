"""MAE and I-JEPA of selftrain with the network, the batch and the masks of the peer. Run by ``compare.py``."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator

import torch
from torch import Tensor
from turns import Over, Turns

from selftrain import pretrain
from selftrain.networks.token_grid import Layout, Mask
from selftrain.pretrain.maskers import MultiBlock
from selftrain.types import Batch, Clock, Unlabeled, View

ENCODER = {"channels": 3, "width": 192, "depth": 12, "heads": 3}
HEAD = {"width": 96, "depth": 4, "heads": 3}


class Given:
    """Masks of a file in turn; its own are drawn too, for the time that it takes."""

    def __init__(self, path: str) -> None:
        self.masks: Iterator[tuple[Tensor, Tensor]] = itertools.cycle(torch.load(path))

    def __call__(
        self, batch: int, layout: Layout, progress: float = 0.0, generator: torch.Generator | None = None
    ) -> Mask:
        """The next ones."""
        MultiBlock()(batch, layout, progress, generator)
        seen, hidden = next(self.masks)
        return Mask(seen[:, :batch], hidden[:, :batch])


def main() -> None:
    """Train until nobody asks."""
    given = json.loads(sys.argv[1])
    torch.manual_seed(0)
    encoder = pretrain.ViT(32, 4, **ENCODER)
    if given["method"] == "MAE":
        settings = {f"decoder_{name}": value for name, value in HEAD.items()}
        strategy = pretrain.MAE(encoder, **settings)
    else:
        settings = {f"predictor_{name}": value for name, value in HEAD.items()}
        masks = Given(given["masks"]) if given["masks"] else None
        strategy = pretrain.IJEPA(encoder, masks=masks, **settings)
    x, turns = torch.randn(given["batch"], 3, 32, 32), Turns(given["turn"], 3)
    batch = Batch(None, Unlabeled({"weak": View(x)}, torch.arange(len(x))))
    strategy.train()
    for step in itertools.count():
        strategy.step(batch, Clock(step, 0, 1000))
        try:
            turns()
        except Over:
            return


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
