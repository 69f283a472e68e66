"""What a run asks of its ranks: one start, one decision. Each does nothing in one process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from selftrain.errors import RankError
from selftrain.runtime.distributed.group import Group, here, own_part

Result = TypeVar("Result")


def same_start(module: nn.Module, optimizers: Iterable[torch.optim.Optimizer] = ()) -> None:
    """Give every rank the first one's weights, buffers and moments.

    Raises:
        RankError: if a rank has others, by number or shape.
    """
    group = here()
    if group is None:
        return
    moments = [v for o in optimizers for state in o.state.values() for v in state.values() if isinstance(v, Tensor)]
    tensors = [t.detach() for t in (*module.parameters(), *module.buffers(), *moments)]
    # Asked first: a broadcast of other sizes hangs or mixes up bytes.
    check_alike({"tensors": [f"{tuple(t.shape)} {t.dtype}" for t in tensors]})
    group.broadcast(*tensors)


def keep_together(module: nn.Module) -> None:
    """Give every rank the first one's weights and buffers again, where equal sums may differ in the last bit.

    On CPUs they do not: what starts alike stays alike.
    """
    group = here()
    if group is not None and group.device.type != "cpu":
        tensors = (*module.parameters(), *module.buffers())
        group.broadcast(*(t.detach() for t in tensors if own_part(t) is t))  # a share is this rank's own


def check_alike(facts: dict[str, Any]) -> None:
    """Refuse ranks that were given different things.

    Args:
        facts: What must be the same on all ranks, by name; numbers, texts, lists and dicts of them.

    Raises:
        RankError: naming the first that is not, with the values of two ranks.
    """
    group = here()
    if group is None:
        return
    first, *others = [json.loads(text) for text in group.texts(json.dumps(_flat(facts), default=str))]
    for number, row in enumerate(others, 1):
        name = next((name for name in first | row if row.get(name) != first.get(name)), None)
        if name is not None:
            there, here_first = _brief(row.get(name)), _brief(first.get(name))
            raise RankError(
                f"{name} is {there} on rank {number} and {here_first} on rank 0; all must run the same program on "
                "the same data: draw splits from a seed, and give them the same arguments"
            )


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of names, so that a message names just what differs."""
    rows: dict[str, Any] = {}
    for name, value in facts.items():
        rows |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return rows


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def any_rank(flag: bool) -> bool:
    """Whether this holds on any rank: all get the same answer."""
    group = here()
    # Inside networks and `alone` the ranks are not at the same place: nobody would answer.
    if group is None or group.sharing:
        return flag
    return bool(group.total(torch.tensor([float(flag)], device=group.device), "control").item())


def from_first(make: Callable[[], Result]) -> Result:
    """What ``make`` gives on the first rank, for all; it is not called on the others.

    Args:
        make: Gives what ``torch.load(weights_only=True)`` accepts. Its errors reach all ranks.

    Raises:
        RankError: on the other ranks if it fails; on the first rank the error itself.
    """
    group = here()
    if group is None:
        return make()
    if group.rank:
        return cast(Result, _received(group))
    try:
        result = make()
    except Exception as error:
        # The others wait for this message: without it they would learn of the error by their timeout.
        _send(group, {"error": f"rank 0 stopped: {type(error).__name__}: {error}"})
        raise
    _send(group, {"result": result})
    return result


def _send(group: Group, message: dict[str, Any]) -> None:
    file = io.BytesIO()
    torch.save(message, file)
    content = torch.frombuffer(bytearray(file.getbuffer()), dtype=torch.uint8)
    # Receivers must have room for the content before it comes.
    group.broadcast(torch.tensor([len(content)]))
    group.broadcast(content)


def _received(group: Group) -> Any:
    size = torch.zeros(1, dtype=torch.long)
    group.broadcast(size)
    content = torch.empty(int(size), dtype=torch.uint8)
    group.broadcast(content)
    # Tensors remember the first rank's device, which is not this one's; and no code is run from a message.
    message = torch.load(io.BytesIO(content.numpy().tobytes()), map_location=group.device, weights_only=True)
    if "error" in message:
        raise RankError(message["error"])
    return message["result"]
