"""Random numbers of a step: keyed by (seed, step), and the caller's state is given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(key)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Give the caller's random state back at the end."""
    # By default the states of all accelerators are read and put back.
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type="cuda" if device.type == "cpu" else device.type):
        yield
