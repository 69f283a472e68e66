"""In which number and memory formats the networks of a strategy compute, set from outside after they were built."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from selftrain.networks.ema import Teacher
from selftrain.networks.student import Learner, Precision


@dataclass(frozen=True)
class Formats:
    """What is set for all networks of a strategy; ``None``: it stays with each as it is.

    Args:
        precision: See ``Training``.
        channels_last: Of networks with 2-D convolutions.
        compile: Whether forward passes go through ``torch.compile``.
    """

    precision: Precision | None = None
    channels_last: bool | None = None
    compile: bool | None = None


def set_formats(strategy: nn.Module, formats: Formats) -> None:
    """Let the students and teachers of a strategy compute in these formats; weights keep their values."""
    learners = [module for module in strategy.modules() if isinstance(module, Learner)]
    kinds = {type(one.model) for one in learners}
    teachers = [module for module in strategy.modules() if isinstance(module, Teacher)]
    networks: list[Learner | Teacher] = [*learners, *teachers]
    for one in networks:
        if formats.precision is not None:
            one.precision = formats.precision
        if formats.channels_last is not None and has_convolutions(one.model):
            one.channels_last = formats.channels_last
            one.model.to(memory_format=torch.channels_last if one.channels_last else torch.contiguous_format)
        if formats.compile and isinstance(one, Learner) and not one.compiles:
            one.compiles = True
            one.model.compile()
        elif formats.compile and isinstance(one, Teacher) and type(one.model) in kinds:
            one.model.compile()  # not of a part, which is run by its own methods


def has_convolutions(network: nn.Module) -> bool:
    """Whether ``channels_last`` means something for a network."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())
