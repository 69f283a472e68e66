"""The passes of each method's step are those that docs/passes.md tells: mode, masks, statistics, gradient, inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from paths import ROOT
from torch import Tensor, nn
from zoo import ZOO, batches, take_step

import selftrain as st
from selftrain import toy
from selftrain.types import View

PAGE = (ROOT / "docs" / "passes.md").read_text(encoding="utf-8")
ONCE = [name for name in ZOO if name not in ("fst_d", "fst_code")]  # the same method with other settings
MARKS = {"labeled": 3.5, "weak": 0.5, "weak2": 0.75, "strong": 1.5, "strong2": 1.75, "plain": 2.5}
SETTINGS: dict[str, dict[str, Any]] = {"vat": {"eps": 1e-3, "xi": 1e-3}}  # so short that inputs can be told


@dataclass
class Pass:
    """What a network saw and how; ``mean`` is the running mean of its BatchNorm before."""

    network: nn.Module
    inputs: Tensor
    training: bool
    batch_statistics: bool
    gradient: bool
    random: bytes
    mean: Tensor


SEEN: list[Pass] = []


class Watched(nn.Module):
    """A network for constant pictures with BatchNorm and dropout that tells of its passes."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.norm, self.drop, self.read = nn.BatchNorm1d(1), nn.Dropout(0.5), nn.Linear(1, 3 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        state, mean = torch.get_rng_state().numpy().tobytes(), self.norm.running_mean.clone()
        grad = torch.is_grad_enabled() and self.read.weight.requires_grad
        SEEN.append(Pass(self, x[:, 0, 0, 0].detach().clone(), self.training, self.norm.training, grad, state, mean))
        out: Tensor = self.read(self.drop(self.norm(x[:, 0, 0, :1])))
        return out


def passes_of(name: str) -> str:
    """One step of a method, in words."""
    entry = ZOO[name]
    settings = {**entry.settings("classification"), **SETTINGS.get(name, {})}
    torch.manual_seed(0)
    strategy: Any = entry.make(
        toy.task("classification"), st.learner(lambda: Watched(entry.outputs), optimizer="sgd"), **settings
    )
    entry.prepare(strategy, "classification")
    given = []
    for batch in batches(strategy, "classification"):
        batch = batch.replace(labeled=replace(batch.labeled, x=torch.full_like(batch.labeled.x, MARKS["labeled"])))
        if entry.learns_from:
            views = {view: View(torch.full_like(batch.unlabeled[view].x, MARKS[view])) for view in strategy.views}
            batch = batch.replace(unlabeled=replace(batch.unlabeled, views=views))
        given.append(batch)
    SEEN.clear()
    take_step(strategy, given)
    names = {id(strategy_part): _short(path) for path, strategy_part in strategy.named_modules()}
    return ". ".join(f"{i}. {_in_words(i - 1, names)}" for i in range(1, len(SEEN) + 1))


def _short(path: str) -> str:
    path = path.removesuffix(".model")
    return {"ema": "teacher"}.get(path, re.sub(r"members\.(\d)", lambda found: f"member {int(found[1]) + 1}", path))


def _in_words(i: int, names: dict[int, str]) -> str:
    one = SEEN[i]
    values = one.inputs.tolist()
    inputs = [name for name, mark in MARKS.items() if any(abs(value - mark) < 0.01 for value in values)]
    if not all(any(abs(value - mark) < 0.01 for mark in MARKS.values()) for value in values):
        inputs = ["mixture"]
    words = [names[id(one.network)], " + ".join(inputs)]
    mode = "training" if one.training else "batch statistics without dropout" if one.batch_statistics else "evaluation"
    words.append(mode + (", gradient" if one.gradient else ""))
    if one.batch_statistics:
        later = [other.mean for other in SEEN[i + 1 :] if other.network is one.network]
        after = later[0] if later else one.network.norm.running_mean
        if torch.equal(after, one.mean):
            words[-1] += ", statistics stay"
    same = [j for j in range(i) if one.training and SEEN[j].random == one.random and SEEN[j].training]
    if same:
        words[-1] += f", masks of {same[0] + 1}"
    return "{} ({}): {}".format(*words)


def told() -> dict[str, str]:
    """The page's passes by the method's name in the zoo."""
    rows = re.findall(r"^\| `(\w+)` \| (1\. [^|]+) \|", PAGE, re.MULTILINE)
    return {name: passes.strip() for name, passes in rows}


@pytest.mark.parametrize("name", ONCE)
def test_the_passes_of_a_step_are_those_that_the_page_tells(name):
    assert told()[ZOO[name].make.__name__] == passes_of(name)


def test_every_method_is_on_the_page():
    assert set(told()) == {ZOO[name].make.__name__ for name in ONCE}


@pytest.mark.parametrize("name", ["pi_model", "mixmatch"])
def test_labels_made_in_training_mode_have_masks_of_their_own(name):
    """Two looks that shared a mask would agree where the network does not."""
    assert "masks of" not in passes_of(name)
