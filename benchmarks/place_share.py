"""How much of a latent target does its place tell alone? A predictor is told the place, and may learn nothing else.

python benchmarks/place_share.py --data DIR --aeon DIR --keel DIR

For each stage of benchmarks/pretraining.py that predicts tokens of a slow copy of its encoder, before the first step:
the share of the variance of the normalized target tokens that their place explains, on other samples than it was
fitted on. On grids the explanation is the mean token of each place, in point clouds that of the 20 nearest places.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pretraining
import torch
from sklearn.neighbors import KNeighborsRegressor
from stored import store
from torch import Tensor, nn

from selftrain.pretrain import EMALatent
from selftrain.pretrain.masked import layout_of

RESULT = Path(__file__).parent / "results" / "place_share.json"
COMMAND = "python benchmarks/place_share.py --data DIR --aeon DIR --keel DIR"
CPU = torch.device("cpu")


@torch.no_grad()
def share(strategy: Any, x: Tensor) -> float:
    """Share of the variance of the targets in the second half of the samples that their places tell."""
    encoder: nn.Module = strategy.student.model.encoder
    given = strategy.target.teacher.model.eval().tokens(x)
    tokens = strategy.target.at(given, torch.arange(given.shape[1]).expand(1, len(x), -1))[0]
    return explained(tokens, layout_of(encoder, x).places)


def explained(tokens: Tensor, places: Tensor | None = None) -> float:
    """Share of the variance of tokens (B, T, K) of the second half of the samples that their places tell.

    What a place tells is learned from the first half; ``places`` (B, T, dims) are those of clouds.
    """
    half = len(tokens) // 2
    rest = (tokens[half:] - _of_places(tokens, places, half)).square().sum()
    return 1 - float(rest / (tokens[half:] - tokens[half:].mean((0, 1))).square().sum())


def _of_places(tokens: Tensor, places: Tensor | None, half: int) -> Tensor:
    if places is None:
        return tokens[:half].mean(0)
    known = KNeighborsRegressor(20).fit(places[:half].flatten(0, 1), tokens[:half].flatten(0, 1))
    guess = torch.from_numpy(known.predict(places[half:].flatten(0, 1)))
    return guess.view_as(tokens[half:]).to(tokens)


def main() -> None:
    """Measure and store all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for folder in ("data", "fashion", "aeon", "keel"):
        parser.add_argument(f"--{folder}", type=Path, default=None)
    folders = vars(parser.parse_args())
    cases, rows = pretraining.cases(), []
    for name, case in cases.items():
        torch.manual_seed(0)
        strategy = case.make(case.encoder())
        if not isinstance(getattr(strategy, "target", None), EMALatent):
            continue
        samples = pretraining.make_pile(case.dataset, 0, folders).evaluation("unlabeled", 2000, CPU)
        x = torch.cat([batch.x for batch in samples or ()])
        rows.append({"case": name, "share": round(share(strategy, x), 4)})
        print(rows[-1], flush=True)
    store(RESULT, rows, lambda row: list(cases).index(row["case"]), COMMAND)


if __name__ == "__main__":
    main()
