"""A network that follows others and never learns by gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm as SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm as SpectralHook

from selftrain.networks.copying import copy_network
from selftrain.networks.student import Learner, logits_from, modules_of, run_levels, run_network, set_mode, weights_in
from selftrain.runtime.distributed import own_part
from selftrain.runtime.finite import HostCount
from selftrain.types import plain_settings

Buffers = Literal["copy", "ema"]


@plain_settings
class Teacher(nn.Module):
    """Follow one or several students by an exponential moving average (EMA) of their weights.

    Starts as a copy of the student, with whom it shares the weights that are frozen (``Learner.frozen``). Takes no
    gradient, is in no optimizer and always in evaluation mode.

    Source: Tarvainen & Valpola, "Mean teachers are better role models", 2017, arXiv:1703.01780, eq. 2, with the warm
    start ``min(decay, 1 - 1/(t + 1))`` of their code, ``t`` counting updates from 1. Differs: evaluation mode (theirs
    runs in training mode with its own noise).

    Args:
        student: The learner to copy; its precision and memory format are kept.
        decay: Share of the old weights that stays at each update, in [0, 1].
        buffers: ``"copy"`` takes floating-point buffers (BatchNorm statistics) from the student as they are,
            ``"ema"`` averages them like weights. Integer buffers are always copied, and the vectors of spectral norms
            follow the average's own weights.
        part: The module of the student's network to follow; ``None``: all of it. ``update`` then takes such parts.
    Gradient: none flows through ``forward``.

    Raises:
        ValueError: for a decay outside [0, 1] or an unknown ``buffers``.
    """

    updates: Tensor

    def __init__(
        self,
        student: Learner,
        decay: float = 0.999,
        *,
        buffers: Buffers = "ema",
        part: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is {decay}; it must be in [0, 1]")
        if buffers not in ("copy", "ema"):
            raise ValueError(f"buffers is {buffers!r}; choose 'copy' or 'ema'")
        self._shared: list[nn.Parameter] = student.frozen()
        self.model = copy_network(student.model if part is None else part, self._shared).requires_grad_(False)
        self.precision, self.channels_last = student.precision, student.channels_last
        if student.compiles and part is None:  # a part is run by its own methods, which nothing compiles
            self.model.compile()
        self.decay, self.buffer_rule = decay, buffers
        # found once: few networks have any, and walking over all modules takes time in every update
        self.has_spectral_norms = bool(_spectral_buffers(self.model))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self._count = HostCount()
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode whatever ``mode`` says."""
        self.training = False
        for part in self.children():
            set_mode(part, False)
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x`` in fp32, without gradient."""
        return run_network(lambda x: logits_from(self.model, x), x, self.precision, self.channels_last)

    @torch.no_grad()
    def levels(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of ``x`` and those of the network's further levels, see ``Learner.levels``; without gradient."""
        return run_levels(self.model, x, self.precision, self.channels_last)

    @torch.no_grad()
    def update(self, *sources: nn.Module, count: bool = True, decay: float | None = None) -> None:
        """Move towards the mean of the ``sources``' weights.

        Args:
            sources: Networks built like the teacher's, at least one; several are averaged first (a weight soup).
            count: Whether this update advances the warm start of the decay (virtual updates do not).
            decay: For this update alone, without the warm start: for methods that schedule it.
        """
        # Warm start: the first students are worth little, so early averages look back on few of them.
        t = self._count.read(self.updates) + 1
        share = 1 - (min(self.decay, 1 - 1 / (t + 1)) if decay is None else decay)
        networks = [modules_of(network) for network in (self.model, *sources)]
        rows = list(zip(*map(weights_in, networks), strict=True))
        shared = {id(p) for p in self._shared}
        # Frozen no more, or not those of who is followed now: what others hold must not be written into.
        apart = {
            id(p) for p, *theirs in rows if id(p) in shared and (p.requires_grad or any(q is not p for q in theirs))
        }
        self._own(apart)
        rows = list(zip(*map(weights_in, networks), strict=True)) if apart else rows
        # Shared weights stay as they are; the mean of several that are equal would round.
        pairs = [(mine, _mean(theirs)) for mine, *theirs in rows if any(p is not mine for p in theirs)]
        averaged = [pair for pair in pairs if pair[0].is_floating_point() or pair[0].is_complex()]
        for p, value in pairs:
            if not (p.is_floating_point() or p.is_complex()):  # numbers of which there is no mean
                p.copy_(value)
        if averaged:  # where weights are shared out among ranks, each moves its own share
            torch._foreach_lerp_(
                [own_part(p.detach()) for p, _ in averaged], [own_part(value.detach()) for _, value in averaged], share
            )
        self._follow_buffers(networks, share)
        self._count.add(self.updates, int(count))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *more: Any) -> None:
        """A state in which shared weights are others than the student's, as of a run that trained them, parts both."""
        shared = {id(p) for p in self._shared}
        held = {f"{prefix}model.{n}": p for n, p in self.model.named_parameters() if id(p) in shared}
        stored = [(p, state_dict[name]) for name, p in held.items() if isinstance(state_dict.get(name), Tensor)]
        self._own({id(p) for p, value in stored if value.shape != p.shape or not torch.equal(value.to(p), p)})
        super()._load_from_state_dict(state_dict, prefix, *more)

    def _own(self, apart: set[int]) -> None:
        """Hold copies in place of some of the shared weights."""
        if not apart:
            return
        own = {id(p): nn.Parameter(p.detach().clone(), requires_grad=False) for p in self._shared if id(p) in apart}
        for module in self.model.modules():
            module._parameters.update({n: own[id(p)] for n, p in module._parameters.items() if id(p) in own})
        self._shared = [p for p in self._shared if id(p) not in apart]

    def _follow_buffers(self, networks: list[list[nn.Module]], share: float) -> None:
        own = _spectral_buffers(self.model) if self.has_spectral_norms else set()
        pairs: list[tuple[Tensor, Tensor]] = []
        done: set[int] = set()  # tied buffers move once
        for module, *others in zip(*networks, strict=True):
            for name, theirs in others[0]._buffers.items():
                mine = module._buffers.get(name)
                if mine is not None and (id(mine) in done or id(mine) in own):
                    continue
                if mine is None or theirs is None or mine.shape != theirs.shape:
                    module._buffers[name] = None if theirs is None else theirs.detach().clone()  # it has come or grown
                elif not mine.is_floating_point():  # counters, of which there is no mean
                    mine.copy_(theirs)
                else:
                    rows = [b.to(mine.dtype) for b in (other._buffers[name] for other in others) if b is not None]
                    pairs.append((mine, torch.stack(rows).mean(0) if len(rows) > 1 else rows[0]))
                done.add(id(module._buffers[name]))
        if pairs:
            moved = share if self.buffer_rule == "ema" else 1.0
            torch._foreach_lerp_([mine for mine, _ in pairs], [theirs for _, theirs in pairs], moved)
        if self.has_spectral_norms:
            _estimate_spectral_norms(self.model)


def _spectral_buffers(network: nn.Module) -> set[int]:
    """Singular vectors of spectral norms: they belong to the weights beside them, and a mean of two is neither's."""
    found = [b for m in network.modules() if isinstance(m, SpectralNorm) for b in m.buffers()]
    found += [getattr(m, f"{hook.name}_{side}") for m, hook in _spectral_hooks(network) for side in "uv"]
    return {id(buffer) for buffer in found}


def _estimate_spectral_norms(network: nn.Module) -> None:
    """Let the estimates follow the weights, as they do in each pass of training."""
    for module in network.modules():
        chains = module._modules.get("parametrizations")
        for name, chain in () if chains is None else chains.named_children():
            if any(isinstance(part, SpectralNorm) for part in chain.children()):
                chain.train()
                getattr(module, name)
                chain.eval()
    for module, hook in _spectral_hooks(network):
        hook.compute_weight(module, do_power_iteration=True)


def _spectral_hooks(network: nn.Module) -> list[tuple[nn.Module, SpectralHook]]:
    hooks = [(m, hook) for m in network.modules() for hook in m._forward_pre_hooks.values()]
    return [(module, hook) for module, hook in hooks if isinstance(hook, SpectralHook)]


def _mean(row: Sequence[nn.Parameter]) -> Tensor:
    """Mean of one parameter of several networks."""
    return torch.stack(list(row)).mean(0) if len(row) > 1 and row[0].is_floating_point() else row[0]
