"""What is left of a run in an estimator: networks at rest that can be pickled, without optimizers and schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from selftrain.data.base.samples import Samples, exact_rows, single
from selftrain.data.base.sparse import dense_at_once
from selftrain.data.views.base import ViewMaker
from selftrain.networks.copying import copy_network, merge_adapters
from selftrain.networks.ema import Teacher
from selftrain.networks.foundation import OnFeatures
from selftrain.networks.outputs import logits_of
from selftrain.strategy.base import Strategy
from selftrain.strategy.several import SeveralStudents
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Classification, Task

Module = TypeVar("Module", bound=nn.Module)
BATCH = 500  # samples of a pass


class Shipped(nn.Module):
    """Class probabilities (B, C, *S) or heatmaps of plain inputs: the mean over one or several networks.

    Args:
        networks: From inputs to logits (B, C or more, *S); logits beyond the classes belong to other heads.
        counted: Factor of each class, (C,), before normalization: 0 for a class of outliers.
        task: What the logits mean; ``None``: classes.
    """

    counted: Tensor

    def __init__(self, networks: list[nn.Module], counted: Tensor, task: Task | None = None) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("counted", counted)
        self.task = Classification(max(2, len(counted))) if task is None else task

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the classes, or heatmaps."""
        classes = len(self.counted)
        mean = torch.stack([self.task.probs(logits_of(network(x))[:, :classes]) for network in self.networks]).mean(0)
        if not self.task.has_classes:
            return mean
        kept = mean * self.counted.view(1, -1, *[1] * (mean.dim() - 2))
        return kept / kept.sum(1, keepdim=True)

    def features(self, x: Tensor) -> Tensor:
        """Features of the encoder, those of several networks side by side, (B, D)."""
        return torch.cat([encoder_of(network)(x) for network in self.networks], 1)


def ship(strategy: Strategy, classes: int) -> Shipped:
    """Copies of the networks that ``strategy.predict`` asks, their adapters merged.

    Raises:
        ValueError: for a strategy of which this is not known.
    """
    if isinstance(strategy, SeveralStudents):
        asked = [a.model for a in strategy.emas if isinstance(a, Teacher)] or [m.model for m in strategy.learners()]
    elif isinstance(strategy, SingleStudent):
        asked = [strategy.shipped]
    else:
        name = type(strategy).__name__
        raise ValueError(
            f"{name} does not say which networks it ships; derive it from SingleStudent or SeveralStudents"
        )
    counted = getattr(strategy, "counted", None)
    # logits beyond the classes belong to other heads, such as one for outliers
    factor = counted if isinstance(counted, Tensor) and counted.shape == (classes,) else torch.ones(classes)
    task = getattr(strategy, "task", None)
    return Shipped([merge_adapters(copy_network(network)) for network in asked], factor.detach().clone(), task)


def joined(shipped: list[Shipped]) -> Shipped:
    """One vote of all networks of several strategies."""
    return Shipped([network for each in shipped for network in each.networks], shipped[0].counted, shipped[0].task)


def on_inputs(shipped: Shipped, encoder: nn.Module, views: Any) -> Shipped:
    """Networks that have learned from features of an encoder, for inputs; each shares the encoder."""
    made: list[nn.Module] = [OnFeatures(encoder, one, views.mean, views.std) for one in shipped.networks]
    return Shipped(made, shipped.counted, shipped.task)


def inference_model(network: Module, example: Tensor) -> Module:
    """The network in evaluation mode, in double precision where it runs in it, without gradients.

    In double precision a row gets the same answer whatever rows are asked with it, up to 1e-12 or so.
    """
    network = network.eval().requires_grad_(False)
    # other accelerators have no double precision
    if example.device.type not in ("cpu", "cuda"):
        return network
    try:
        with torch.no_grad():
            network.double()(example.double())
    except RuntimeError:  # a network that insists on single precision
        network.float()
    return network


@torch.no_grad()
def run(
    ask: Callable[[Tensor], Tensor], network: nn.Module, views: ViewMaker, samples: Samples, many: int = BATCH
) -> Tensor:
    """What ``ask`` makes of the plain views of samples, ``many`` at a time, on the CPU, in float64, (N, ...)."""
    weight = next((w for w in network.parameters() if w.is_floating_point()), torch.zeros(()))
    found = []
    batch = dense_at_once(samples, many)
    for start in range(0, len(samples), batch):
        index = torch.arange(start, min(start + batch, len(samples)))
        rows = exact_rows(samples, index.numpy())
        x = views("plain", rows if getattr(views, "exact", False) else single(rows), index, 0).x
        found.append(ask(x.to(weight)).double().cpu())
    return torch.cat(found)


def encoder_of(network: nn.Module) -> nn.Module:
    """The encoder inside a network.

    Raises:
        ValueError: if there is none.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ValueError(
            f"{type(network).__name__} has no encoder to take features of; give Classifier(encoder, classes)"
        )
    return encoder
