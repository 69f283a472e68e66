"""Whether a run that goes on from a checkpoint would be the run that was not stopped: tried once, on copies.

One step is taken on a copy of the strategy as it is, and one on a copy of before the first step that was given what a
checkpoint would hold, as after a stop. The strategy, its attributes and random numbers stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.handlers.base import Context
from selftrain.handlers.gradcheck import NotMeasured, fingerprint, unchanged
from selftrain.networks.copying import copied, copied_state, copy_network, frozen_storages
from selftrain.runtime.attributes import Attributes
from selftrain.runtime.rng import own_randomness, seed_step, step_key
from selftrain.strategy.base import Strategy
from selftrain.types import Clock

AFTER = 2  # steps after which it is tried: what moves has moved
CLOSE = 1e-3  # difference, of the largest number of a tensor, that may be a matter of rounding
Pass = tuple[str, dict[str, Any], dict[str, Any]]  # name of a module, what it was given, what it said


class ResumeCheck:
    """Try it for the run of ``context``, whose first step is still to come.

    Raises:
        NotMeasured: if the strategy cannot be copied.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.strategy = context, context.strategy
        self.early = self._copy()

    def _copy(self) -> Strategy:
        try:
            return copy_network(self.strategy)
        except Exception as error:  # copying runs code of every part: any error may come out
            raise NotMeasured(f"{type(self.strategy).__name__} cannot be copied: {error!r}") from error

    def complaint(self) -> str | None:
        """What of a resumed run would differ, in words; ``None``: nothing was found.

        Raises:
            NotMeasured: if a step on a copy fails, or changes the strategy itself (which is then restored), or if the
                step is not the same twice by no more than rounding.
        """
        self.state = copied_state(self.strategy)
        self.attributes = copied(self.context.attributes.state_dict())
        self.shared = frozen_storages(self.strategy)
        before = fingerprint(self.strategy)
        try:
            found = self._compare()
        except NotMeasured:
            raise
        except Exception as error:
            raise NotMeasured(f"a step on a copy failed: {error!r}") from error
        finally:
            # What copies share, such as closures, was put back after each step.
            if not unchanged(before, fingerprint(self.strategy)):
                for tensor, _, grad, _ in before:
                    tensor.grad = grad
                self.strategy.load_state_dict(self.state)
                raise NotMeasured("a step of its copy changes the strategy itself; a function may hold on to it")
        return found

    def _compare(self) -> str | None:
        now = self._stepped(self._copy())
        apart = _differing(now, self._stepped(self.early))
        if not apart:
            return None
        again = _differing(now, self._stepped(self._copy()))
        if again and max(again.values()) < CLOSE:
            raise NotMeasured(
                "two steps from one state differ by rounding: operations here sum in no fixed order "
                "(torch.use_deterministic_algorithms(True) takes others)"
            )
        where = self._guilty() or f"(first seen in {next(iter(apart))})"
        left = self.context.attributes.left
        held = f" It keeps what no checkpoint can hold in {', '.join(left[:3])}." if left and not again else ""
        why = "draws on what no seed reaches (the time, the system's random numbers, a global variable)"
        return f"{where} {why if again else 'depends on what it did before and no checkpoint holds'}.{held}"

    def _guilty(self) -> str | None:
        """The innermost module that says something else of the same input."""
        heard: tuple[list[Pass], list[Pass]] = [], []
        for twin, passes in zip((self._copy(), self.early), heard, strict=True):
            hooks = [m.register_forward_hook(_listening(name, passes)) for name, m in twin.named_modules()]
            self._stepped(twin)
            for hook in hooks:
                hook.remove()
        for (name, given, said), (_, other, answer) in zip(*heard, strict=False):
            if not _differing(given, other) and _differing(said, answer):
                return f"{name} ({type(self.strategy.get_submodule(name)).__name__})"
        return None

    def _stepped(self, twin: Strategy) -> dict[str, Any]:
        """The state after a step of a copy that was given what a checkpoint would hold."""
        context, device = self.context, self.context.device
        optimizers = [learner.optimizer for learner in twin.learners()]
        twin.load_state_dict(copied(self.state, self.shared))
        Attributes(twin, optimizers, device).load_state_dict(copied(self.attributes))
        clock = Clock(AFTER, AFTER // context.steps_per_epoch, context.total)
        try:
            with own_randomness(device):
                seed_step(step_key(context.seed, AFTER), device)
                twin.train()
                for learner in twin.learners():
                    learner.set_lr(clock.progress)
                batch, *extra = context.batches
                if batch.has_unlabeled or not twin.views:
                    twin.step(batch, clock, *extra)
                else:
                    twin.step_labeled(batch, clock)
        finally:
            self.context.attributes.load_state_dict(copied(self.attributes))
        return dict(_leaves(twin.state_dict()))


def _listening(name: str, passes: list[Pass]) -> Callable[[nn.Module, Any, Any], None]:
    def listen(module: nn.Module, given: Any, said: Any) -> None:
        passes.append((name, copied(dict(_leaves(list(given)))), copied(dict(_leaves([said])))))

    return listen


def _leaves(state: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Tensors and plain values by their place."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from _leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(state, (list, tuple)):
        for number, value in enumerate(state):
            yield from _leaves(value, f"{path}.{number}".lstrip("."))
    else:
        yield path, state


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """How far apart values are that are not the same, in shares of the largest number."""
    found = {name: math.inf for name in one.keys() ^ other.keys()}
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            if type(a) is not type(b) or (type(a) in (bool, int, float, str) and a != b):
                found[name] = math.inf
        elif a.shape != b.shape or a.dtype != b.dtype:
            found[name] = math.inf
        elif not torch.equal(a, b):
            a, b = a.double(), b.double()
            # NaN where both have it is no difference, and makes a share of NaN, which is above no bound.
            found[name] = float((a - b).abs().amax() / a.abs().amax().clamp(min=1e-12))
    return {name: share for name, share in found.items() if not math.isnan(share)}
