"""Take back a step that met numbers that are not finite, as if it had never begun.

What a step may change before its last update has succeeded is kept first: small buffers (thresholds, priors, BatchNorm
statistics, counters) by a copy at the start of each step; weights of a teacher, rows of a table and a learner that
steps while others are still to come by their owners, who call ``keep`` right before they write. Once the last learner
has stepped nothing can fail any more and nothing is kept: a good step of a method whose teacher follows its student
costs the copy of the small buffers and no more.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from selftrain.errors import TrainingError

SMALL = 1 << 16  # values of a buffer that is copied at each step
_local = threading.local()


class Learning(Protocol):
    """What is asked of a learner."""

    def mark(self) -> Callable[[], None]:
        """How to bring back gradients that were gathered for a step that is not finished."""
        ...

    def freeze(self) -> Callable[[], None]:
        """How to bring back all of its present state."""
        ...


class Undo:
    """The changes of one step at a time.

    Args:
        module: The strategy, whose buffers are watched.
        learners: All that update in a step.
    """

    def __init__(self, module: nn.Module, learners: Iterable[Learning]) -> None:
        self._learners = list(learners)
        places = [(holder, name) for holder in module.modules() for name, b in holder._buffers.items() if b is not None]
        self._small = [(h, n) for h, n in places if _buffer(h, n).numel() <= SMALL]
        self._large = [(h, n) for h, n in places if _buffer(h, n).numel() > SMALL]
        self._shadow = [_buffer(h, n).clone() for h, n in self._small]
        self._now: list[Tensor] = []
        self._versions: list[tuple[Tensor, int]] = []
        self._marks: list[Callable[[], None]] = []
        self._kept: list[Callable[[], None]] = []
        self._seen: set[int] = set()
        self._left: set[int] = set()
        self._outputs: list[Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch one step, in this thread."""
        self._begin()
        _local.undo = self
        try:
            yield
        finally:
            _local.undo = None

    @torch.no_grad()
    def _begin(self) -> None:
        self._now = [_buffer(h, n) for h, n in self._small]
        if any(one.shape != other.shape for one, other in zip(self._shadow, self._now, strict=True)):
            self._shadow = [buffer.clone() for buffer in self._now]
        elif self._now:
            torch._foreach_copy_(self._shadow, self._now)
        self._versions = [(b, b._version) for b in (_buffer(h, n) for h, n in self._large)]
        self._marks = [learner.mark() for learner in self._learners]
        self._left = {id(learner) for learner in self._learners}
        self._kept, self._seen, self._outputs = [], set(), []

    @torch.no_grad()
    def take_back(self) -> None:
        """Bring back the state at the start of the step.

        Raises:
            TrainingError: if something was changed that was not kept, or the step failed after its last update.
        """
        if self._learners and not self._left:
            raise TrainingError("a step failed after every learner had stepped; it cannot be taken back")
        for restore in reversed(self._kept):
            restore()
        for (holder, name), tensor, saved in zip(self._small, self._now, self._shadow, strict=True):
            holder._buffers[name] = tensor.copy_(saved)
        for (holder, name), (tensor, version) in zip(self._large, self._versions, strict=True):
            if _buffer(holder, name) is not tensor or (tensor._version != version and id(tensor) not in self._seen):
                where = f"{type(holder).__name__}.{name}"
                raise TrainingError(
                    f"{where} was changed without selftrain.runtime.undo.keep; the step cannot be taken back"
                )
        for restore in self._marks:
            restore()
        self._kept, self._outputs = [], []

    # -- what the parts of a strategy tell ---------------------------------------------------------------------------
    def keep(self, tensors: Sequence[Tensor], rows: Tensor | None) -> None:
        """See the function of that name."""
        if not self._left:
            return
        fresh = [t for t in tensors if rows is not None or id(t) not in self._seen]
        saved = [t.detach().clone() if rows is None else t[rows].clone() for t in fresh]
        self._seen |= {id(t) for t in fresh}

        def restore() -> None:
            for tensor, value in zip(fresh, saved, strict=True):
                tensor.data[... if rows is None else rows] = value

        self._kept.append(restore)

    def steps(self, learner: Learning, always: bool) -> None:
        """A learner is about to change its weights."""
        if self._left and (always or self._left - {id(learner)}):
            self._kept.append(learner.freeze())

    def stepped(self, learner: Learning) -> None:
        """A learner has done its update."""
        self._left.discard(id(learner))
        if not self._left:
            self._kept, self._outputs = [], []

    def doubt(self, output: Tensor) -> None:
        """Look at the output of a network once a loss is looked at: that waits for the device only once."""
        if self._left:
            self._outputs.append((output.detach() < math.inf).all())

    def outputs_finite(self) -> list[Tensor]:
        """What is not yet known of outputs."""
        known, self._outputs = self._outputs, []
        return known


def keep(*tensors: Tensor, rows: Tensor | None = None) -> None:
    """Say that tensors, or some rows of them, are about to be written in place; outside a run's step it does nothing.

    A strategy that changes a buffer of more than 65,536 values before its last ``Learner.update`` of a step has to.
    """
    if (undo := _current()) is not None:
        undo.keep(tensors, rows)


def steps(learner: Learning, *, always: bool = False) -> None:
    """A learner is about to change its weights for good; ``always``: and will not have done its update by that."""
    if (undo := _current()) is not None:
        undo.steps(learner, always)


def stepped(learner: Learning) -> None:
    """A learner has done its update of this step."""
    if (undo := _current()) is not None:
        undo.stepped(learner)


def doubt(outputs: Tensor | tuple[Tensor, ...]) -> None:
    """A network has said something that must be finite; -inf is: the logarithm of 0."""
    if (undo := _current()) is not None:
        for output in (outputs,) if isinstance(outputs, Tensor) else outputs:
            undo.doubt(output)


def all_finite(loss: Tensor) -> bool:
    """Whether a loss is finite, and all outputs since the loss before."""
    undo = _current()
    flags = [] if undo is None else undo.outputs_finite()
    finite = torch.isfinite(loss).all()
    return bool(torch.stack([flag.to(finite.device) for flag in flags] + [finite]).all() if flags else finite)


def _current() -> Undo | None:
    undo: Undo | None = getattr(_local, "undo", None)
    return undo


def _buffer(holder: Any, name: str) -> Tensor:
    buffer: Tensor = holder._buffers[name]
    return buffer
