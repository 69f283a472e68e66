"""Numbers that are not finite: in what networks say during a step, and in the state that a step leaves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from selftrain.errors import NonFiniteError

_LARGE = 1e15  # norm of a gradient whose square is still far from an overflow
_WIDE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
_heard: list[list[Tensor]] = []  # of the steps under way, the innermost last: whether each output was finite


def look(said: Tensor | tuple[Tensor, ...]) -> None:
    """Look at an output of a network, in a step that is watched; -inf is finite: the logarithm of 0."""
    if _heard:
        # One comparison is false for NaN and for infinity alike; the answer stays on the device.
        outputs = (said,) if isinstance(said, Tensor) else said
        _heard[-1].extend((output.detach() < math.inf).all() for output in outputs)


class HasOptimizer(Protocol):
    """A network that learns."""

    optimizer: torch.optim.Optimizer
    grad_norm: Tensor


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
        self.meant: set[str] = set()
        self.meant = set(self.spoiled())

    @torch.no_grad()
    def finite(self) -> list[Tensor]:
        """Whether groups of them are, or might not be: ``spoiled`` says for sure; the answers stay on the device."""
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for _, tensor in (*self._held(), *self._moments(narrow=True)):
            groups[tensor.device, tensor.dtype].append(tensor)
        found = [torch.isfinite(torch.stack(_in_short(group))).all() for group in groups.values()]
        # Moments of single precision overflow with gradients alone whose square does, and reading them takes as long
        # again as all else.
        return found + [one.grad_norm < _LARGE for one in self.learners]

    def spoiled(self) -> list[str]:
        """Names of those that are not finite."""
        everything = (*self._held(), *self._moments(narrow=False))
        return [name for name, tensor in everything if not bool(torch.isfinite(tensor).all())]

    def _held(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors there are now: some are made in the first step, some are replaced in each."""
        for place, module in self.modules:
            for tensors in (module._parameters, module._buffers):
                for key, tensor in tensors.items():
                    name = f"{place}.{key}".lstrip(".")
                    if tensor is not None and name not in self.meant and _is_numbers(tensor):
                        yield name, tensor

    def _moments(self, *, narrow: bool) -> Iterator[tuple[str, Tensor]]:
        for number, one in enumerate(self.learners):
            for state in one.optimizer.state.values():
                for key, value in state.items() if isinstance(state, dict) else ():
                    if _is_numbers(value) and not (narrow and value.dtype in _WIDE):
                        yield f"{key} of optimizer {number + 1}", value


def _in_short(group: list[Tensor]) -> list[Tensor]:
    """A number for each of some tensors of one kind that is not finite if one of its values is not."""
    if group[0].device.type == "cpu":
        # Ten times faster there than the largest value; a sum may overflow where no value has, which is seen later.
        wide = None if group[0].dtype in _WIDE else torch.float32
        return [tensor.sum(dtype=wide) for tensor in group]
    return list(torch._foreach_norm(group, math.inf))


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype in (*_WIDE, torch.float16, torch.bfloat16)
        and value.layout == torch.strided
        and not nn.parameter.is_lazy(value)
        and value.numel() > 0
    )


@contextmanager
def finite_step(weights: Weights | None = None) -> Iterator[None]:
    """Look at all that networks say inside, also at what enters no loss, and at the state that is there at the end.

    Raises:
        NonFiniteError: at the end, if a number was NaN or infinite.
    """
    finite: list[Tensor] = []
    _heard.append(finite)
    try:
        yield
    finally:
        _heard.pop()
    outputs, left = len(finite), [] if weights is None else weights.finite()
    if not outputs and not left:
        return
    device = (finite + left)[0].device
    said = torch.stack([flag.to(device) for flag in finite + left]).tolist()  # one wait for the device
    if not all(said[:outputs]):
        raise NonFiniteError(
            "the output of a network is not finite; look for such values in the inputs and in the teacher"
        )
    spoiled = weights.spoiled() if weights is not None and not all(said[outputs:]) else []
    if spoiled:
        more = f" and {len(spoiled) - 3} more" if len(spoiled) > 3 else ""
        raise NonFiniteError(
            f"the step left numbers that are not finite in {', '.join(spoiled[:3])}{more}; lower the learning rate, "
            "look at the schedule, or keep weights and statistics in single precision"
        )
