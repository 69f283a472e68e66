"""Reading rows of a set that may be code of the user's: what fails is named by set and row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from selftrain.data.base.samples import Samples
from selftrain.errors import DataError, SelftrainError

T = TypeVar("T")


def read_rows(samples: Samples, rows: Tensor, source: str) -> Tensor:
    """Inputs of some rows of a set.

    Args:
        samples: The set.
        rows: Row numbers, (B,).
        source: What the set is, for the error: "the unlabeled set".

    Raises:
        DataError: a data set of the user's failed; the message says at which row of which set, and how.
    """
    return blamed(lambda places: samples.images(rows[places].numpy()), samples, rows, "cannot read", source)


def blamed(make: Callable[[slice], T], samples: Samples, rows: Tensor, doing: str, source: str) -> T:
    """What ``make`` gives for a batch; where code of the user's fails, the row is named.

    Args:
        make: Takes places within the batch and makes something of their rows; nothing is copied for the whole batch.
        samples: The set.
        rows: Row numbers, (B,).
        doing: What is done, for the error: "cannot read".
        source: What the set is, for the error.

    Raises:
        DataError: ``make`` failed; the message names the first row that fails when it comes alone, else all.
    """
    try:
        return make(slice(None))
    except (SelftrainError, MemoryError):
        raise
    except Exception as error:
        reason, place = _culprit(make, len(rows)) or (error, None)
        which = f"rows {shown(rows)}" if place is None else f"row {int(rows[place])} ({samples.ids[int(rows[place])]})"
        raise DataError(f"{doing} {which} of {source}: {type(reason).__name__}: {reason}") from error


def _culprit(make: Callable[[slice], object], count: int) -> tuple[Exception, int] | None:
    """The first place of a batch that fails when it comes alone, with its error."""
    for place in range(count):
        try:
            make(slice(place, place + 1))
        except Exception as error:
            return error, place
    return None


def shown(rows: Tensor) -> str:
    """Row numbers for a message, at most eight of them."""
    some = ", ".join(map(str, rows[:8].tolist()))
    return some if len(rows) <= 8 else f"{some} and {len(rows) - 8} more"
