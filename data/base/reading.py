"""Reading rows of a set that may be code of the user's: what fails is named by set and row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from selftrain.data.base.samples import Samples
from selftrain.errors import DataError, SelftrainError

T = TypeVar("T")


def read_rows(samples: Samples, rows: Tensor, source: str) -> Tensor:
    """Inputs of some rows (B,) of a set; ``source`` is what the error calls it: "the unlabeled set"."""
    return blamed(lambda places: samples.images(rows[places].numpy()), samples, rows, "cannot read", source)


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
