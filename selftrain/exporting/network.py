"""What is exported: one module from inputs as a set has them to probabilities or features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selftrain.data.base.statistics import in_least_precision
from selftrain.data.views.points import in_unit_sphere
from selftrain.estimator.shipped import encoder_of, ship
from selftrain.networks.copying import copy_network, merge_adapters
from selftrain.networks.optim import copied_weights
from selftrain.strategy.base import Strategy, SupervisedStrategy

What = Literal["classifier", "encoder"]


class Deployed(nn.Module):
    """A network with the normalization of its inputs inside.

    Classifiers: inputs (B, *shape) -> probabilities (B, C), of masks (B, C, H, W), of joints heatmaps (B, K, h, w).
    Encoders: -> features (B, D).

    Args:
        network: From normalized inputs to probabilities or features; it is copied.
        mean: Subtracted, one number or one a channel (or column); ``None``: nothing is.
        std: Divided by; ``None``: nothing is.
        axes: Axes of an input, so that channels come first.
        centered: Whether inputs are clouds of points, each brought into the unit sphere.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        axes: int,
        centered: bool = False,
    ) -> None:
        super().__init__()
        self.centered = centered
        self.network = merge_adapters(copy_network(network)).cpu().eval().requires_grad_(False)
        for name, value, neutral in (("mean", mean, 0.0), ("std", std, 1.0)):
            tensor = torch.tensor([neutral] if value is None else list(value), dtype=torch.float64)
            # buffers are part of the written program; (C, 1, 1) for images, (C,) for rows: behind the axis of the batch
            self.register_buffer(name, tensor.reshape(-1, *[1] * (axes - 1)))
        # as the views do: inputs of a small spread beside their mean come, and are centered, in double precision
        self.mean, self.std = in_least_precision(self.mean, self.std)  # type: ignore[assignment]
        self.dtype = self.mean.dtype

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities or features of inputs as a set has them, images in [0, 1]."""
        found: Tensor = self.network(self.plain(x))
        return found

    def plain(self, x: Tensor) -> Tensor:
        """What the network sees of inputs."""
        return ((in_unit_sphere(x) if self.centered else x - self.mean) / self.std).float()


class _Features(nn.Module):
    """The encoder of a network, and nothing of what stands on it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, D)."""
        features: Tensor = self.encoder(x)
        return features


def deployed(
    strategy: Strategy,
    inputs: Mapping[str, Any],
    classes: int,
    what: What = "classifier",
    *,
    centered: bool = False,
) -> Deployed:
    """The network that a strategy ships, ready for inputs as a set has them.

    Args:
        strategy: With the weights to ship.
        inputs: ``shape``, ``mean`` and ``std``, as in a card (``read_card(run)["input"]``).
        classes: Number of classes.
        what: ``"classifier"``, or the ``"encoder"`` alone.
        centered: Whether inputs are clouds of points.

    Raises:
        ValueError: a strategy without labels has no classifier, some networks have no encoder.
    """
    if what not in ("classifier", "encoder"):
        raise ValueError(f"what is {what!r}; choose 'classifier' or 'encoder'")
    shape = [int(side) for side in inputs["shape"]]
    return Deployed(_network(strategy, classes, what), inputs["mean"], inputs["std"], len(shape), centered)


def weights_of(network: Deployed) -> dict[str, Tensor]:
    """Weights by the names that ``selftrain.learner(init_from=...)`` takes; of several networks with their number."""
    inner: Any = network.network
    networks = getattr(inner, "networks", None)
    if networks is not None and len(networks) == 1:
        inner = networks[0]
    # copies: safetensors refuses tensors that share memory, as tied weights do
    return copied_weights(inner)


def _network(strategy: Strategy, classes: int, what: What) -> nn.Module:
    if not isinstance(strategy, SupervisedStrategy):
        if what == "classifier":
            raise ValueError(f"{type(strategy).__name__} learns no classes; export its encoder: what='encoder'")
        shipped_encoder: Any = strategy.shipped
        return _Features(shipped_encoder())
    if not any(True for _ in strategy.learners()):
        raise ValueError(
            f"{type(strategy).__name__} has no network to export; label data with its run (selftrain label RUN DATA, "
            "run.strategy.predict(x)), or train a network on them (--strategy freematch)"
        )
    shipped = ship(strategy, strategy.task.groups if not strategy.task.one_unit else classes)
    if what == "classifier":
        return shipped
    return _Features(encoder_of(shipped.networks[0]))
