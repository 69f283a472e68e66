"""Reading rows of a set that may be code of the user's: what fails is named by set and row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from selftrain.data.base.samples import Samples, exact_rows
from selftrain.errors import DataError, SelftrainError

T = TypeVar("T")


def read_rows(samples: Samples, rows: Tensor, source: str, exact: bool = False) -> Tensor:
    """Inputs of some rows (B,) of a set.

    Args:
        samples: The set.
        rows: Row numbers.
        source: What the error calls the set: "the unlabeled set".
        exact: Whether double precision stays, as views ask for with an attribute ``exact``.
    """
    read = partial(exact_rows, samples) if exact else samples.images
    return blamed(lambda places: read(rows[places].numpy()), samples, rows, "cannot read", source)


def to_device(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
    """A tensor on a device; Apple's have no double precision and get single."""
    tensor = tensor.float() if torch.device(device).type == "mps" and tensor.dtype == torch.float64 else tensor
    if non_blocking and torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # memory that is not pinned is copied while the host waits
    return tensor.to(device, non_blocking=non_blocking)


def annotations_on(annotation: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
    """Annotations of a batch on a device, masks of bytes as int64."""
    there = to_device(annotation, device, non_blocking)
    return there.long() if there.dtype == torch.uint8 else there


def blamed(make: Callable[[slice], T], samples: Samples, rows: Tensor, doing: str, source: str) -> T:
    """What ``make`` gives for a batch; where code of the user's fails, the row is named.

    ``make`` takes places within the batch and makes something of their rows; ``doing`` is what the error says of it:
    "cannot read".

    Raises:
        DataError: ``make`` failed; the message names the first row that fails when it comes alone, else all.
    """
    try:
        return make(slice(None))
    except (SelftrainError, MemoryError):
        raise
    except Exception as error:
        reason, place = error, None
        for alone in range(len(rows)):  # the first that fails when it comes alone
            try:
                make(slice(alone, alone + 1))
            except Exception as own:
                reason, place = own, alone
                break
        which = (
            f"rows {shown_rows(rows)}" if place is None else f"row {int(rows[place])} ({samples.ids[int(rows[place])]})"
        )
        raise DataError(f"{doing} {which} of {source}: {type(reason).__name__}: {reason}") from error


def shown_rows(rows: Tensor) -> str:
    """Row numbers for a message, at most eight of them."""
    some = ", ".join(map(str, rows[:8].tolist()))
    return some if len(rows) <= 8 else f"{some} and {len(rows) - 8} more"
