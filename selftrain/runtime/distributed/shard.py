"""A network's rows shared out: each rank runs its own, all have the answers of all.

Outside of networks every rank computes the same from the same numbers ("together"), inside each has its own rows
("apart"). On the way back the gradient of a rank's answers is multiplied by the number of ranks, so that the *mean*
over ranks is right for weights in networks (each rank has a part of the sum) and for any outside (all have the whole).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from selftrain.runtime.distributed.group import Group, here
from selftrain.runtime.distributed.rows import Layout, Rows, apart, every_row, in_bytes, of_bytes, own_rows, width
from selftrain.runtime.distributed.sync_batchnorm import sharing_norms

Answer = TypeVar("Answer", Tensor, tuple[Tensor, ...])


def spread(run: Callable[..., Answer], *inputs: Tensor) -> Answer:
    """Run a network on this rank's rows and put all ranks' answers together.

    Args:
        run: The network: inputs (b, ...) -> answer (b, ...) or several. Rows must not depend on one another but through
            BatchNorm, which is taken care of.
        inputs: Tensors of B rows each.

    Returns:
        The answers for all B rows, the same on every rank. With fewer rows than ranks, and inside a network that is
        already shared out, every rank runs them all.
    Gradient: to the inputs, and, once averaged over ranks, to the network's weights: as in one process.
    """
    group = here()
    if group is None or group.sharing or (len(inputs[0]) < group.size and not apart(inputs[0])):
        return run(*inputs)
    first = inputs[0]
    layout = first.parts if isinstance(first, Rows) and apart(first) else [group.share(len(first))]
    mine = [_take(group, layout, x) for x in inputs]
    group.sharing = True
    try:
        with own_draws(group.rank, mine[0].device), sharing_norms(group):
            answer = run(*mine)
    finally:
        group.sharing = False
    if isinstance(answer, Tensor):
        return _join(group, layout, answer)
    return tuple(_join(group, layout, part) for part in answer)


def mixes_own(x: Tensor) -> bool:
    """Whether ``x`` holds a rank's rows that are to be mixed with one another alone."""
    return isinstance(x, Rows) and apart(x) and x.group.options.mix == "own"


def on_own_rows(change: Callable[..., Sequence[Tensor]], x: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
    """Change each rank's rows by themselves, with draws of its own.

    Args:
        change: Of a rank's rows of all that follows, gives them changed.
        x: ``Rows`` (B, ...); they stay apart.
        known: Tensors (B, ...) that all ranks have, without gradient; what ``change`` makes of them goes to all.

    Returns:
        What became of all.
    """
    assert isinstance(x, Rows)
    group, parts = x.group, x.parts
    numbers = own_rows(torch.arange(len(x), device=x.device), parts, group.rank)
    with own_draws(group.rank, x.device):
        # Whether a rank draws may depend on its rows, and all have to go on alike.
        torch.rand((), device=x.device)
        np.random.random()
        random.random()
        mine, *changed = change(x.own, *(rows[numbers] for rows in known))
    every = every_row(torch.cat([in_bytes(rows) for rows in changed], 1), parts, group, "outputs")
    columns = every.split([width(rows) for rows in changed], 1)
    return Rows(mine, parts, group), *(of_bytes(*pair) for pair in zip(columns, changed, strict=True))


def _take(group: Group, layout: Layout, x: Tensor) -> Tensor:
    if isinstance(x, Rows):
        if apart(x) and x.parts == layout:
            return x.own
        x = x.together()
    taken: Tensor = _Take.apply(x, group, layout)
    return taken


def _join(group: Group, layout: Layout, answer: Tensor) -> Tensor:
    rows = sum(part[group.rank] for part in layout)
    if len(answer) != rows:
        raise ValueError(f"a network gave {len(answer)} rows for {rows}; several ranks need one for each")
    joined: Tensor = _Join.apply(answer, group, layout)
    return joined


class _Take(torch.autograd.Function):
    """From together to apart: this rank's rows; on the way back all ranks' rows, at their own scale again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, layout: Layout) -> Tensor:
        ctx.group, ctx.layout = group, layout
        # Autograd forbids changes in place of a view that a custom function returns, and networks make them.
        return own_rows(x, layout, group.rank).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        # Losses such as VAT's need the gradient of all their inputs, on every rank.
        every = every_row(grads[0], ctx.layout, ctx.group, "outputs")
        # The factor that `_Join` has put on; weights need it until gradients are averaged, inputs do not.
        return every / ctx.group.size, None, None


class _Join(torch.autograd.Function):
    """From apart to together: all ranks' rows; on the way back this rank's own, times the number of ranks."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, group: Group, layout: Layout) -> Tensor:
        ctx.group, ctx.layout = group, layout
        return every_row(mine, layout, group, "outputs")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return own_rows(grads[0], ctx.layout, ctx.group.rank) * ctx.group.size, None, None


@contextmanager
def own_draws(number: int, device: torch.device) -> Iterator[None]:
    """Inside, this rank draws random numbers of its own (dropout); outside, all ranks go on drawing the same.

    What is drawn inside depends on the state before and the rank's number. If anything was drawn, the outer state moves
    on by one draw, so that the next pass draws other numbers.
    """
    kinds = [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]
    places = [torch.device("cpu"), device][: len(kinds)]
    before = [_state(kind, place) for kind, place in zip(kinds, places, strict=True)]
    # From the state and not from a counter, which a checkpoint would have to hold; not by `hash`, which
    # Python salts anew in each process.
    digest = hashlib.blake2b(number.to_bytes(8, "little"), digest_size=8)
    for state in before:
        digest.update(state.numpy().tobytes())
    key = int.from_bytes(digest.digest(), "little") >> 1
    torch.default_generator.manual_seed(key)
    if len(kinds) > 1:
        kinds[1].manual_seed(key)
    fresh = [_state(kind, place) for kind, place in zip(kinds, places, strict=True)]
    shared = np.random.get_state(), random.getstate()
    digest.update(_words(shared[0]))
    # A hash of whole numbers is the same in all processes.
    digest.update(hash(shared[1][1]).to_bytes(8, "little", signed=True))
    np.random.seed(np.frombuffer(digest.digest(), np.uint32))
    random.seed(digest.digest())
    begun = _words(np.random.get_state()), random.getstate()
    try:
        yield
    finally:
        drawn = [_words(np.random.get_state()) != begun[0], random.getstate() != begun[1]]
        np.random.set_state(shared[0])
        random.setstate(shared[1])
        if drawn[0]:
            np.random.random()
        if drawn[1]:
            random.random()
        for kind, place, old, start in zip(kinds, places, before, fresh, strict=True):
            # One process draws nothing in a network without dropout: then the state must stay, or runs would differ.
            drew = not torch.equal(_state(kind, place), start)
            _set_state(kind, place, old)
            if drew:
                torch.rand((), device=place)


def _words(state: Any) -> bytes:
    """A state of numpy's generator."""
    words: bytes = state[1].tobytes() + bytes([state[2] >> 8, state[2] & 255])
    return words


def _set_state(kind: Any, place: torch.device, state: Tensor) -> None:
    if place.type == "cpu":
        kind.set_rng_state(state)
    else:
        kind.set_rng_state(state, place)


def _state(kind: Any, place: torch.device) -> Tensor:
    state: Tensor = kind.get_rng_state() if place.type == "cpu" else kind.get_rng_state(place)
    return state
