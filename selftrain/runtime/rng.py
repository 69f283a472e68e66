"""Random numbers of a step: keyed by (seed, step), and the caller's state is given back.

Those of torch, and those of numpy and Python that everybody shares: a network may draw from any of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def step_key(seed: int, step: int) -> int:
    """A 63-bit seed for one step; neighbors in seed or step get unrelated keys."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**64 - 1)
    # PyTorch's generator on CPUs is seeded by the lower 32 bits alone: the upper ones must reach them.
    mixed ^= mixed >> 31
    return (mixed * 0xD6E8FEB86659FD93 & (2**64 - 1)) >> 1


def seed_step(key: int, device: torch.device) -> None:
    """Seed the generators a step draws from, and no other device's."""
    # `torch.manual_seed` would also seed, and so change, accelerators that are not in use.
    torch.default_generator.manual_seed(key)
    np.random.seed([key & 0xFFFFFFFF, key >> 32])  # it takes words of 32 bits
    random.seed(key)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(key)


def random_state(device: torch.device) -> tuple[Any, ...]:
    """State of the generators that ``seed_step`` seeds: torch's, numpy's, Python's and the device's, if it has one."""
    own = () if device.type == "cpu" else (torch.get_device_module(device).get_rng_state(device),)
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), *own


def set_random_state(state: tuple[Any, ...], device: torch.device) -> None:
    """Take back what ``random_state`` gave, perhaps on another device."""
    torch.set_rng_state(_on_host(state[0]))
    np.random.set_state(state[1])
    random.setstate(state[2])
    if device.type != "cpu" and len(state) > 3:
        torch.get_device_module(device).set_rng_state(_on_host(state[3]), device)


def _on_host(state: Tensor) -> Tensor:
    return state if state.device.type == "cpu" else state.cpu()  # one that was stored with others may be elsewhere


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Give the caller's random state back at the end."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)
