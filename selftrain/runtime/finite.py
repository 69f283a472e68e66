"""What the host reads of numbers on the device, late: whether all were finite, and counters that it knows already."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from selftrain.errors import NonFiniteError
from selftrain.runtime.distributed import here, own_part

_LARGE = 1e15  # norm of a gradient whose square is still far from an overflow
_WIDE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
_NUMBERS = {*_WIDE, torch.float16, torch.bfloat16}


class _Seen(NamedTuple):
    """A number on the device, and what is wrong where the host finds it to be another than it should."""

    value: Tensor  # zero-dimensional
    good: Callable[[float], bool]
    error: Callable[[float], Exception]


class Watch:
    """What a step under way has shown so far; nothing is read before ``check``, so that no call waits for the device.

    Attributes:
        numbers: Such as losses and norms; these are told before
        outputs: of networks.
    """

    def __init__(self) -> None:
        self.numbers, self.outputs = list[_Seen](), list[Tensor]()
        self.weights: Weights | None = None
        self._said: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    def close(self, weights: Weights | None) -> None:
        """Look at the state that is there at the end, and send all to the host."""
        self.weights = weights
        values = [seen.value.detach() for seen in self.numbers] + self.outputs
        values += [] if weights is None else weights.finite()
        if not values:
            return
        self._said = said = torch.stack([value.to(values[0].device) for value in values])
        if said.is_cuda:  # into memory that the device writes while the host goes on
            self._said = torch.empty(said.shape, dtype=said.dtype, pin_memory=True).copy_(said, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def check(self) -> None:
        """Read it; the one call that waits.

        Raises:
            NonFiniteError: a number was NaN or infinite.
            ValueError: of ``expect``.
        """
        if self._said is None:
            return
        if self._copied is not None:
            self._copied.synchronize()
        said = iter(self._said.tolist())
        for seen, value in zip(self.numbers, said, strict=False):
            if not seen.good(value):
                raise seen.error(value)
        # One comparison is false for NaN and for infinity alike.
        if not all([value < math.inf for value in itertools.islice(said, len(self.outputs))]):
            raise NonFiniteError(
                "the output of a network is not finite; look for such values in the inputs and in the teacher"
            )
        if self.weights is not None and not all(abs(value) < _LARGE for value in said):
            left = self.weights.spoiled()
        else:
            left = []
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise NonFiniteError(
                f"the step left numbers that are not finite in {', '.join(left[:3])}{more}; lower the learning rate, "
                "look at the schedule, or keep weights and statistics in single precision"
            )


_watches: list[Watch] = []  # of the steps under way, the innermost last


def look(said: Tensor | tuple[Tensor, ...]) -> None:
    """Look at an output of a network, in a step that is watched; -inf is finite: the logarithm of 0."""
    if _watches:
        # The largest is NaN where any value is; it stays on the device.
        outputs = (said,) if isinstance(said, Tensor) else said
        _watches[-1].outputs.extend(output.detach().amax() for output in outputs if output.numel())


def expect(value: Tensor, good: Callable[[float], bool], error: Callable[[float], Exception]) -> None:
    """Raise an error unless a zero-dimensional number is good: in a watched step at its end, else now."""
    seen = _Seen(value, good, error)
    if _watches:
        _watches[-1].numbers.append(seen)
    elif not good(number := value.item()):
        raise error(number)


def expect_rows(index: Tensor, rows: int, error: Callable[[int], Exception]) -> Tensor:
    """Row numbers (B,), none above the last of ``rows``; of the largest that was, ``error`` is raised."""
    if not len(index):
        return index
    # By the difference: a large number of single precision is none of the rows. On a GPU an index that is out of range
    # is an error of some later call, and names no row.
    expect(index.max() - rows, lambda beyond: beyond < 0, lambda beyond: error(int(rows + beyond)))
    return index.clamp(max=rows - 1)


def watched() -> bool:
    """Whether a step is under way whose numbers are looked at in its end."""
    return bool(_watches)


class HasOptimizer(Protocol):
    """A network that learns."""

    optimizer: torch.optim.Optimizer
    grad_norm: Tensor

    def set_lr(self, progress: float) -> None:
        """Set the learning rate for this moment of the stage, ``progress`` in [0, 1]."""


class Weights:
    """All that a step changes: weights, buffers of floating-point numbers and what optimizers keep of them.

    Args:
        modules: By name; looked at alone, not what is inside them.
        learners: Those that have an optimizer, and the norm of its newest gradient.
    """

    def __init__(self, modules: Iterable[tuple[str, nn.Module]], learners: Iterable[HasOptimizer]) -> None:
        # Found once: walking over all modules takes time in every step.
        self.modules = [(name, m) for name, m in modules if m._parameters or m._buffers]
        self.learners = list(learners)
        # A mask or a bound that is infinite from the beginning is meant so.
        self.meant: set[tuple[str, str]] = set()
        self.meant = {name for name, tensor in self._held() if not bool(torch.isfinite(tensor).all())}

    @torch.no_grad()
    def finite(self) -> list[Tensor]:
        """Numbers of their groups, small where all in them are finite; else ``spoiled`` says for sure."""
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for _, tensor in (*self._held(), *self._moments(narrow=True)):
            groups[tensor.device, tensor.dtype].append(tensor)
        found = [_magnitude(torch.stack(_in_short(group))) for group in groups.values()]
        group = here()
        if found and group is not None and group.sharded:  # each rank sees its own share, and all have to know of all
            found = [group.total(torch.stack([x.float() for x in found]).sum(), "control")]
        # Moments of single precision overflow with gradients alone whose square does, and reading them takes as long
        # again as all else.
        return found + [one.grad_norm for one in self.learners]

    def spoiled(self) -> list[str]:
        """Names of those that are not finite."""
        held = ((".".join(name).lstrip("."), tensor) for name, tensor in self._held())
        everything = (*held, *self._moments(narrow=False))
        mine = [name for name, tensor in everything if not bool(torch.isfinite(tensor).all())]
        group = here()
        if group is None or not group.sharded:
            return mine
        said = group.texts("\n".join(mine))
        return list(dict.fromkeys(name for text in said for name in text.split("\n") if name))

    def _held(self) -> Iterator[tuple[tuple[str, str], Tensor]]:
        """The tensors there are now: some are made in the first step, some are replaced in each."""
        for place, module in self.modules:
            for tensors in (module._parameters, module._buffers):
                for key, tensor in tensors.items():
                    if tensor is not None and (place, key) not in self.meant and _is_numbers(own := own_part(tensor)):
                        yield (place, key), own

    def _moments(self, *, narrow: bool) -> Iterator[tuple[str, Tensor]]:
        for number, one in enumerate(self.learners):
            for state in one.optimizer.state.values():
                for key, value in state.items() if isinstance(state, dict) else ():
                    if narrow and isinstance(value, Tensor) and value.dtype in _WIDE:
                        continue
                    if _is_numbers(own := own_part(value)):
                        yield f"{key} of optimizer {number + 1}", own


def _in_short(group: list[Tensor]) -> list[Tensor]:
    """A number for each of some tensors of one kind that is not finite if one of its values is not."""
    if group[0].device.type == "cpu":
        # Ten times faster there than the largest value; a sum may overflow where no value has, which is seen later.
        wide = None if group[0].dtype in _WIDE else torch.float32
        return [tensor.sum(dtype=wide) for tensor in group]
    return list(torch._foreach_norm(group, math.inf))


def _magnitude(values: Tensor) -> Tensor:
    """A number that is not finite if one of the values is not."""
    total = values.sum(dtype=None if values.dtype in _WIDE else torch.float32)
    return total.abs() if total.is_complex() else total


def _is_numbers(value: Any) -> bool:
    # nearly all are of these two types, which are not lazy
    plain = type(value) in (nn.Parameter, Tensor) or (isinstance(value, Tensor) and not nn.parameter.is_lazy(value))
    return plain and value.dtype in _NUMBERS and value.layout == torch.strided and value.numel() > 0


@contextmanager
def finite_step(weights: Weights | None = None, *, late: bool = False) -> Iterator[Watch]:
    """Look at all that networks say inside, also at what enters no loss, and at the state that is there at the end.

    Args:
        weights: The state; ``None``: not looked at.
        late: Leave it to the caller to ``check`` the watch: the device then has more to do while the host waits.

    Raises:
        NonFiniteError: at the end, if a number was NaN or infinite.
        ValueError: at the end, of ``expect``.
    """
    _watches.append(watch := Watch())
    try:
        yield watch
    except NonFiniteError:
        raise
    except Exception as error:
        # Numbers that are not finite lead to many an error behind them.
        watch.close(None)
        try:
            watch.check()
        except Exception as cause:
            raise cause from error
        raise
    finally:
        _watches.pop()
    watch.close(weights)
    if not late:
        watch.check()


class HostCount:
    """Remember what a counter holds as a Python number; a buffer that was changed by others is read once more."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._version, self._value = -1, 0

    def read(self, buffer: Tensor) -> int:
        """The number in a buffer, zero-dimensional and integer."""
        if self._buffer is not buffer or self._version != buffer._version:
            self._value = int(buffer)  # waits for the device: after a state was loaded or moved
            self._buffer, self._version = buffer, buffer._version
        return self._value

    def add(self, buffer: Tensor, more: int = 1) -> None:
        """Add a number in place."""
        value = self.read(buffer) + more
        buffer += more
        self._value, self._version = value, buffer._version
