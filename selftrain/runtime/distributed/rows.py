"""Rows that stay on the rank that has read them, and look to a strategy like the whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from selftrain.errors import RankError
from selftrain.runtime.distributed.group import Group

Layout = list[list[int]]  # of each part, in order, how many rows each rank has


def own_rows(x: Tensor, layout: Layout, rank: int) -> Tensor:
    """Of all ranks' rows, part after part, those of one."""
    parts = x.split([count for part in layout for count in part])
    mine = parts[rank :: len(layout[0])]
    return mine[0] if len(mine) == 1 else torch.cat(mine)


def every_row(mine: Tensor, layout: Layout, group: Group, kind: str) -> Tensor:
    """All ranks' rows, part after part, of which each rank gives its own."""
    every = group.all_rows(mine, [sum(counts) for counts in zip(*layout, strict=True)], kind)
    if len(layout) == 1:
        return every
    # They come rank after rank, and in each part after part.
    found = every.split([part[rank] for rank in range(group.size) for part in layout])
    return torch.cat([found[rank * len(layout) + part] for part in range(len(layout)) for rank in range(group.size)])


def width(rows: Tensor) -> int:
    """Bytes of a row."""
    return math.prod(rows.shape[1:]) * rows.element_size()


def in_bytes(rows: Tensor) -> Tensor:
    """Rows (B, ...) of any type as (B, width), to be sent beside others."""
    return rows.detach().contiguous().view(-1).view(torch.uint8).view(len(rows), width(rows))


def of_bytes(rows: Tensor, like: Tensor) -> Tensor:
    """The rows that are these bytes, each of the type and shape of ``like``'s."""
    # A copy begins where its type may.
    return rows.clone().view(-1).view(like.dtype).view(len(rows), *like.shape[1:])


class Rows(Tensor):
    """A tensor (B, ...) of all ranks' rows of which this rank holds its own.

    Networks run those, and rows of several parts can be joined and taken apart again; anything else that is done with
    it first puts all rows together, once.

    Args:
        own: This rank's rows, without gradient.
        parts: Of each part, in order, how many rows each rank has.
        group: The ranks.
    """

    own: Tensor
    parts: Layout
    group: Group
    whole: Tensor | None

    @staticmethod
    def __new__(cls: type[Rows], own: Tensor, parts: Layout, group: Group) -> Rows:
        """A tensor that has a shape and no values."""
        shape = (sum(map(sum, parts)), *own.shape[1:])
        made: Any = Tensor._make_wrapper_subclass(cls, shape, dtype=own.dtype, device=own.device)
        made.own, made.parts, made.group, made.whole = own, parts, group, None
        return made  # type: ignore[no-any-return]

    def together(self) -> Tensor:
        """All rows; all ranks have to ask for them.

        Raises:
            RankError: where the other ranks do not.
        """
        if self.whole is None:
            if self.group.sharing:
                raise RankError(
                    "rows of other ranks are asked for where those ranks are not at the same place; read them before"
                )
            self.whole = every_row(self.own, self.parts, self.group, "inputs")
        return self.whole

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer from the shape, join, take apart; or put together and do what is asked."""
        kwargs = kwargs or {}
        if func in _OF_THE_SHAPE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func in _JOINING and not kwargs and len(args) == 1:
            return joined_rows(args[0])
        if func is Tensor.__getitem__ and isinstance(args[1], slice):
            part = _part(args[0], args[1])
            if part is not None:
                return part
        return func(*tree_map(_together, args), **tree_map(_together, kwargs))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Put together, where torch itself asks."""
        return func(*tree_map(_together, args), **tree_map(_together, kwargs or {}))


_OF_THE_SHAPE = {
    Tensor.shape.__get__, Tensor.dtype.__get__, Tensor.device.__get__, Tensor.ndim.__get__, Tensor.layout.__get__,  # type: ignore[attr-defined]
    Tensor.requires_grad.__get__, Tensor.is_cuda.__get__, Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__,  # type: ignore[attr-defined]
    Tensor.is_floating_point, Tensor.is_complex, Tensor.element_size,
}  # fmt: skip
_JOINING = {torch.cat, torch.concat, torch.concatenate}


def apart(x: Tensor) -> bool:
    """Whether nobody has asked for other ranks' rows of this yet, so that the own ones say all."""
    return isinstance(x, Rows) and x.whole is None


def _together(value: Any) -> Any:
    return value.together() if isinstance(value, Rows) else value


def joined_rows(tensors: Iterable[Tensor]) -> Tensor:
    """As ``torch.cat``; rows stay apart where that loses no gradient."""
    tensors = list(tensors)
    group = next((x.group for x in tensors if isinstance(x, Rows) and apart(x)), None)
    tensors = [x if apart(x) else _together(x) for x in tensors]
    if group is None or any(not apart(x) and (x.requires_grad or len(x) < group.size) for x in tensors):
        return torch.cat([_together(x) for x in tensors])
    layouts = [x.parts if isinstance(x, Rows) else [group.share(len(x))] for x in tensors]
    own = [
        x.own if isinstance(x, Rows) else own_rows(x, layout, group.rank)
        for x, layout in zip(tensors, layouts, strict=True)
    ]
    return Rows(torch.cat(own), sum(layouts, []), group)


def _part(x: Tensor, asked: slice) -> Rows | None:
    """A slice from the beginning of a part to that of another; ``None``: it is no such slice."""
    if not isinstance(x, Rows) or not apart(x):
        return None
    start, stop, step = asked.indices(len(x))
    begins, own_begins = [0], [0]
    for part in x.parts:
        begins.append(begins[-1] + sum(part))
        own_begins.append(own_begins[-1] + part[x.group.rank])
    if step != 1 or start not in begins or stop not in begins or start >= stop:
        return None
    first, last = begins.index(start), begins.index(stop)
    return Rows(x.own[own_begins[first] : own_begins[last]], x.parts[first:last], x.group)
