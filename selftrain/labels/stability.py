"""Whether what a network says of a sample has settled: its predictions along its training, against its last ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from selftrain.errors import DataError
from selftrain.mix import pick
from selftrain.networks.copying import copy_network, merge_adapters
from selftrain.networks.optim import load_weights
from selftrain.networks.student import logits_from
from selftrain.runtime import signals
from selftrain.tasks import Task, decided
from selftrain.tasks.geometry import enlarged
from selftrain.types import Pile


@torch.no_grad()
def stability(
    task: Task, network: nn.Module, snapshots: Sequence[Mapping[str, Tensor]], pile: Pile, *, batch_size: int = 500
) -> Tensor:
    """How alike the decisions of earlier snapshots are to those of the last one, for each unlabeled sample.

    Source: Yang et al., "ST++", CVPR 2022, arXiv:2106.05095, eq. 3: the mean over the earlier snapshots of the mean IoU
    between their mask of a picture and the last one's. It is the task's main figure of one sample (``Task.monitor``),
    the last decision taken for the truth: of masks mean IoU over the classes that either shows; of classes 1 where they
    agree, else 0; of joints the share that lies within ``radius``.

    Args:
        task: Kind of output.
        network: The network of the snapshots; it stays as it is.
        snapshots: Weights in the order of training, at least 2.
        pile: Whose unlabeled rows are looked at in their plain view, in order.
        batch_size: Samples predicted at a time.

    Returns:
        Shape (N,), float64 on the CPU, in [0, 1] for the tasks above.

    Raises:
        ValueError: for fewer than 2 snapshots.
        DataError: the pile has no unlabeled samples.
        CheckpointError: weights of another network.
    """
    if len(snapshots) < 2:
        raise ValueError(f"{len(snapshots)} snapshots do not tell what has settled; give at least 2")
    # as weights are exported: adapters merged
    plain = merge_adapters(copy_network(network))
    networks = [copy_network(plain) for _ in snapshots]
    for each, weights in zip(networks, snapshots, strict=True):
        load_weights(each.eval(), weights)
    batches = pile.evaluation("pile", batch_size, next(network.parameters()).device)
    if batches is None:
        raise DataError("the pile has no unlabeled samples to look at; give it some, or train on labels alone")
    found: list[float] = []
    for batch in batches:
        signals.check()
        *before, last = (_said(task, each, batch.x) for each in networks)
        truth = decided(task, last, torch.ones_like(task.confidence(last)))
        for row in (slice(i, i + 1) for i in range(len(last))):
            alike = [task.compute(task.update(value[row], pick(truth, row)))[task.monitor] for value in before]
            found.append(sum(alike) / len(alike))
    return torch.tensor(found, dtype=torch.double)


def _said(task: Task, network: nn.Module, x: Tensor) -> Tensor:
    value = task.probs(logits_from(network, x))
    return enlarged(value, task.output_shape(tuple(x.shape[1:]))[1:]) if task.has_classes else value
