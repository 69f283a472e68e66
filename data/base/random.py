"""Counter-based randomness: every draw is a pure function of (seed, epoch, sample index, view).

A generator has a state, so its draws depend on who drew before; loader processes, resumed runs and reordered batches
then see other augmentations. Here a number is a hash of its address, so nothing has to be saved or passed around.
The hash is the output function of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
2014), applied once per key part.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[np.uint64]
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_FULL = (1 << 64) - 1
# the same for numpy, made once
_SHIFTS, _FACTORS, _STEP = (
    [np.uint64(n) for n in (30, 27, 31)],
    [np.uint64(n) for n in (_FIRST, _SECOND)],
    np.uint64(_GOLDEN),
)
_UPPER, _GRID = np.uint64(40), np.float32(2.0**-24)


def _signed(value: int) -> int:
    """The int64 with the same 64 bits as ``value``."""
    value &= _FULL
    return value - (1 << 64) if value >> 63 else value


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch shifts int64 arithmetically."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix_on_host(value: Bits) -> Bits:
    """``_mix`` by numpy, in place: its numbers without a sign take half the operations, each at a third of the cost."""
    shifted = value >> _SHIFTS[0]
    value ^= shifted
    value *= _FACTORS[0]
    np.right_shift(value, _SHIFTS[1], out=shifted)
    value ^= shifted
    value *= _FACTORS[1]
    np.right_shift(value, _SHIFTS[2], out=shifted)
    value ^= shifted
    return value


def _keys_on_host(seed: int, epoch: int, index: Tensor, view: str | int) -> Bits:
    start: Bits = index.to(torch.int64).numpy().view(np.uint64) * _STEP
    start += np.uint64(_base(seed, epoch, view))
    return _mix_on_host(_mix_on_host(start))


def _mix(value: Tensor) -> Tensor:
    """SplitMix64's output function on int64 tensors; products wrap modulo 2**64."""
    value = (value ^ _shift(value, 30)) * _signed(_FIRST)
    value = (value ^ _shift(value, 27)) * _signed(_SECOND)
    return value ^ _shift(value, 31)


@lru_cache(maxsize=64)
def _counter(n: int) -> Bits:
    found: Bits = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return found


@lru_cache(maxsize=4096)
def _base(seed: int, epoch: int, view: str | int) -> int:
    """Hash of the part of the address that a whole batch shares: ``_mix`` on unsigned numbers, a part at a time."""
    # a number for the view's name that is the same in every process, as ``hash`` of a text is not
    text = f"{type(view).__name__}:{view}".encode()
    word, key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"), 0
    # a part after another, each mixed into all bits: (1, 2) and (2, 1) are different addresses
    for part in (seed, epoch, word):
        key = (key + _GOLDEN + (part & _FULL)) & _FULL
        key = ((key ^ (key >> 30)) * _FIRST) & _FULL
        key = ((key ^ (key >> 27)) * _SECOND) & _FULL
        key ^= key >> 31
    return key


def keys(seed: int, epoch: int, index: Tensor, view: str | int) -> Tensor:
    """One 64-bit key per sample (B,), from which a generator of any kind can be seeded; arguments as of ``uniform``."""
    if index.device.type == "cpu":
        return torch.from_numpy(_keys_on_host(seed, epoch, index, view).view(np.int64))
    return _mix(_mix(index.to(torch.int64) * _signed(_GOLDEN) + _signed(_base(seed, epoch, view))))


def uniform(seed: int, epoch: int, index: Tensor, view: str | int, n: int) -> Tensor:
    """Draw ``n`` numbers in [0, 1) for each sample, a function of (seed, epoch, index, view) alone.

    Args:
        seed: Key of the run.
        epoch: Epoch number.
        index: Sample numbers, shape (B,), any integers.
        view: Name or number of the view; draws of different views are independent.
        n: Draws per sample; the first ``m`` of ``n`` draws equal a call with ``n = m``.

    Returns:
        float32 multiples of 2**-24, shape (B, n), on the device of ``index``.
    """
    # a counter behind the sample's key, so that the first m of n draws are those of a call with n = m
    if index.device.type == "cpu":
        found = _mix_on_host(_keys_on_host(seed, epoch, index, view)[:, None] + _counter(n))
        found >>= _UPPER
        drawn = found.astype(np.float32)
        drawn *= _GRID
        return torch.from_numpy(drawn)
    counter = torch.arange(1, n + 1, device=index.device, dtype=torch.int64) * _signed(_GOLDEN)
    bits = _mix(keys(seed, epoch, index, view)[:, None] + counter)
    # 24 bits, all that float32 can tell apart in [0, 1); the upper ones are mixed best
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def uniform_at(seed: int, epoch: int, index: Tensor, view: str | int, rows: Tensor, columns: Tensor) -> Tensor:
    """The numbers of ``uniform`` at some places alone, (P,): rows of ``index``, and draws counted from 0, both (P,)."""
    bits = _mix(keys(seed, epoch, index, view)[rows] + (columns + 1) * _signed(_GOLDEN))
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def normal(seed: int, epoch: int, index: Tensor, view: str | int, n: int) -> Tensor:
    """Draw ``n`` finite standard normal numbers for each sample; arguments and independence as in ``uniform``."""
    # in place: these are many small operations; the largest of 2**24 values is rounded to 1
    centered = uniform(seed, epoch, index, view, n).add_(2.0**-25).mul_(2).sub_(1).clamp_(max=1 - 2.0**-24)
    return torch.erfinv(centered, out=centered).mul_(math.sqrt(2))


def permutation(seed: int, epoch: int, n: int, purpose: str = "order") -> Tensor:
    """An order of ``n`` rows, int64 (n,), a function of (seed, epoch, purpose) alone.

    ``purpose`` is a word that keeps orders for different uses independent.
    """
    # the hash is a bijection of the row number, so no two keys are equal and the order is unique
    return torch.argsort(keys(seed, epoch, torch.arange(n), purpose))
