"""From samples to features: an encoder at rest, and the statistics an untrained one needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selftrain.networks.modes import eval_mode
from selftrain.networks.student import Precision, run_network
from selftrain.types import Annotated, BatchPlan, Needs, Pile

Batches = Tensor | NDArray[Any] | Iterable[Annotated] | Iterable[Tensor]


class Features(NamedTuple):
    """Features of samples and, where known, their classes.

    Attributes:
        x: Shape (n, D), fp32, on the CPU.
        labels: Class numbers (n,), -1 where unknown; ``None`` if the annotations are not class numbers.
    """

    x: Tensor
    labels: Tensor | None


@torch.no_grad()
def features_of(
    encoder: nn.Module, batches: Batches, *, batch_size: int = 256, precision: Precision = "fp32"
) -> Features:
    """Encode samples in evaluation mode and without gradient; the encoder is left as it was, module by module.

    Inputs must be what the encoder was trained on: size and normalization are those of the batches' plain view, and
    features of inputs of another size or scale understate an encoder by far (Corley et al. 2023, arXiv:2305.13456).
    Use ``pile.normalized_as(card)`` of the data package for an encoder from another pile.

    Args:
        encoder: (B, ...) -> (B, D).
        batches: ``pile.evaluation(part, batch_size, device)``, tensors (B, ...) one after the other, or one tensor or
            array (n, ...), which is cut into batches. They are moved to the encoder.
        batch_size: Samples a batch of one tensor or array, >= 1.
        precision: See ``Learner``.

    Raises:
        ValueError: if there is no sample, or the output is not (B, D).
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    device, rows, classes = device_of(encoder), [], []
    with eval_mode(encoder):
        for x, annotation in _pairs(batches, batch_size):
            out = run_network(encoder, x.to(device or x.device), precision, False)
            _check_output(encoder, x, out)
            rows.append(out.float().cpu())
            classes += [] if annotation is None else [annotation.cpu()]
    if not rows:
        raise ValueError("there is no sample to encode; check the part of the pile")
    # annotations of masks and joints have more axes, or fractions
    named = len(classes) == len(rows) and all(a.dim() == 1 and not a.is_floating_point() for a in classes)
    return Features(torch.cat(rows), torch.cat(classes).long() if named else None)


def features_of_views(
    encoder: nn.Module,
    pile: Pile,
    *,
    view: str = "strong",
    count: int = 10,
    samples: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
    precision: Precision = "fp32",
) -> Tensor:
    """Features (n, count, D) of several views of each of some unlabeled samples, as ``probes.lidar`` takes them.

    Args:
        encoder: (B, ...) -> (B, D), taken to evaluation mode for a while.
        pile: With unlabeled samples.
        view: Kind of view, ``"weak"`` or ``"strong"``; each sample is shown in ``count`` of them.
        count: Views q of a sample, >= 2.
        samples: At most so many samples, n, >= 2.
        seed: Key of the choice of samples and of the views.
        batch_size: Samples a batch, >= 1.
        precision: See ``Learner``.

    Raises:
        ValueError: for an argument out of range, or a pile without unlabeled samples.
    """
    total = len(pile.unlabeled_ids())
    if count < 2 or samples < 2 or total < 2:
        raise ValueError(
            f"count is {count}, samples {samples} of {total} unlabeled ones; at least 2 of each are needed"
        )
    device = device_of(encoder) or torch.device("cpu")
    # one recipe under several names: each name has draws of its own
    names = [view, *(f"{view}{number}" for number in range(2, count + 1))]
    stream = pile.stream(Needs(names, places=False), BatchPlan(min(batch_size, samples, total), 1.0, seed), device)
    found: dict[int, Tensor] = {}  # the last batch may hold samples a second time
    for batch, *_ in stream.epoch(0):
        shown = [features_of(encoder, [batch.unlabeled[name].x], precision=precision).x for name in names]
        found |= dict(zip(batch.unlabeled.index.tolist(), torch.stack(shown, 1), strict=True))
        if len(found) >= samples:
            break
    return torch.stack([*found.values()][:samples])


@torch.no_grad()
def calibrate(encoder: nn.Module, batches: Batches, *, batch_size: int = 256) -> nn.Module:
    """Give BatchNorm the statistics of ``batches``: the mean over batches of each batch's own; returns the encoder.

    An untrained network normalizes by mean 0 and variance 1 otherwise, which is no fair rival. Only BatchNorm is in
    training mode meanwhile (dropout rests); weights stay, and there is no gradient. Batches of one sample are left out.

    Raises:
        ValueError: if there is BatchNorm with statistics to keep, and no batch of two samples or more.
    """
    norms = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return encoder
    device, momenta, used = device_of(encoder), [m.momentum for m in norms], 0
    with eval_mode(encoder):
        for norm in norms:
            # what was gathered before would be averaged in
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all batches
            norm.train()
        try:
            # the features of one sample have no variance, and torch refuses them in training mode
            for x in (x for x, _ in _pairs(batches, batch_size) if len(x) > 1):
                encoder(x.to(device))
                used += 1
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    if not used:
        raise ValueError("BatchNorm statistics need a batch of at least two samples; raise batch_size")
    return encoder


def device_of(module: nn.Module) -> torch.device | None:
    """Where the first parameter or buffer is; ``None`` without any."""
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else None


def _pairs(batches: Batches, batch_size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Input and annotation of each batch."""
    if isinstance(batches, Tensor) or hasattr(batches, "__array__"):
        batches = torch.as_tensor(batches).split(batch_size)
    for batch in batches:
        yield (batch.x, batch.annotation) if isinstance(batch, Annotated) else (batch, None)


def _check_output(encoder: nn.Module, x: Tensor, out: Tensor) -> None:
    if out.dim() != 2 or len(out) != len(x):
        raise ValueError(
            f"{type(encoder).__name__} turns inputs {tuple(x.shape)} into {tuple(out.shape)}; features must be (B, D): "
            "pool tokens or cells first"
        )
