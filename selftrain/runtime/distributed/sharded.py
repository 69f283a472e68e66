"""Weights of which each rank holds a share: torch's ``fully_shard`` while a run trains, plain modules before and after.

Networks, what learns in them, the moments of their optimizers and gradients that are gathered all go together. A share
is a ``DTensor`` along the first axis, the same on every rank but for its rows, so whatever works by element works on
shares as they are (``own_part``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.errors import UsageError
from selftrain.runtime.distributed.group import Group, here

_TOLD_APART = "__composable_api", "_is_fsdp", "_fsdp"  # what torch leaves among a module's attributes
Optimizers = Sequence[torch.optim.Optimizer]


def is_sharded() -> bool:
    """Whether ranks hold shares of the networks now, so that none of them can run one by itself."""
    group = here()
    return group is not None and bool(group.sharded)


@contextmanager
def part_together(network: Any) -> Iterator[None]:
    """Inside, a part of a network in shares can be run by itself; gradients flow into whole networks alone.

    Raises:
        UsageError: where they are asked for.
    """
    group = here()
    if group is None or not group.sharded or not isinstance(network, nn.Module) or network in group.sharded:
        yield
        return
    around: list[Any] = [whole for whole in group.sharded if any(network is part for part in whole.modules())]
    if around and torch.is_grad_enabled():
        raise UsageError(
            f"{type(network).__name__}, a part of a network, is to learn by itself, which shares of weights do not "
            "allow; take Ranks(weights='copied')"
        )
    for whole in around:
        whole.unshard()
    try:
        yield
    finally:
        for whole in around:
            whole.reshard()


class Shards:
    """Networks in shares until ``join`` puts them together; without effect where ranks hold copies.

    A network's blocks (the parts of its ``nn.ModuleList``) are brought together one by one, as each is run, and all
    else of it for the whole pass.

    Args:
        networks: By name; run by their ``forward`` alone. No two share weights that learn.
        optimizers: Of their weights; moments of a weight's shape are shared out with it.
        alike: Weights that networks share because nothing moves them; each rank keeps them whole.

    Raises:
        UsageError: two networks share a weight that learns.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], optimizers: Iterable[torch.optim.Optimizer], alike: Iterable[Tensor]
    ) -> None:
        group = here()
        self.networks: list[_Sharded] = []
        self.optimizers = list(optimizers)
        if group is None or group.options.weights != "sharded":
            return
        whole, held = {id(p) for p in alike}, dict[int, str]()
        for name, network in networks.items():
            for p in network.parameters():
                if id(p) not in whole and held.setdefault(id(p), name) != name:
                    raise UsageError(
                        f"{held[id(p)]} and {name} share weights, which cannot be shared out; take "
                        "Ranks(weights='copied')"
                    )
        for network in networks.values():
            sharded = _Sharded(network, group, whole)
            _exchange(self.optimizers, sharded.shares, _like)
            group.sharded.add(network)
            self.networks.append(sharded)

    def join(self) -> None:
        """Put the weights, moments and gathered gradients of all ranks into each; networks are as they were before."""
        for sharded in self.networks:
            _exchange(self.optimizers, sharded.join(), lambda moment, _: _whole(moment))
        group = here()
        if group is not None:
            group.sharded.clear()
        self.networks = []


class _Sharded:
    """One network in shares."""

    def __init__(self, network: nn.Module, group: Group, whole: set[int]) -> None:
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import fully_shard

        if any(not p.dim() and p.requires_grad for p in network.parameters()):
            raise UsageError(
                f"{type(network).__name__} learns a weight that is one number without an axis, which cannot be shared "
                "out; give it the shape (1,), or take Ranks(weights='copied')"
            )
        # Torch shares out no weight without numbers either; meanwhile it takes no gradient, of which there is none.
        self.empty = [p for p in network.parameters() if p.requires_grad and not p.numel()]
        for p in self.empty:
            p.requires_grad_(False).grad = None
        whole = whole | {id(p) for p in network.parameters() if not (p.dim() and p.numel())}
        self.named = {name: p for name, p in network.named_parameters() if id(p) not in whole}
        self.wide = {id(p) for p in self.named.values() if p.dim() == 4 and not p.is_contiguous()}
        for p in self.named.values():
            p.data = p.data.contiguous()  # torch shards nothing else
        # `fully_shard` has no way back: what it changes in modules is remembered.
        self.before = [(m, type(m), {k: _copy(v) for k, v in vars(m).items()}) for m in network.modules()]
        # Of the group that all stages have: torch remembers by the ranks alone which group a mesh speaks through.
        mesh: Any = DeviceMesh(group.device.type, list(range(group.size)))
        settings: dict[str, Any] = {
            "mesh": mesh,
            "ignored_params": {p for p in network.parameters() if id(p) in whole},
            # Of the network too: between passes optimizers and averages have to find shares.
            "reshard_after_forward": True,
        }
        for block in _blocks(network):
            fully_shard(block, **settings)
        fully_shard(network, **settings)
        now: dict[str, Any] = dict(network.named_parameters())
        self.shares = {p: now[name] for name, p in self.named.items()}
        for p, share in self.shares.items():
            if p.grad is not None:  # gathered before the run was stored
                share.grad, p.grad = _like(p.grad, share), None
            p.data = p.data.new_empty(0)

    def join(self) -> dict[nn.Parameter, nn.Parameter]:
        """Undo it; the weights that were, by the shares that took their place."""
        back = {share: p for p, share in self.shares.items()}
        for p in self.empty:
            p.requires_grad_(True)
        for share, p in back.items():
            full = _whole(share.detach())
            p.data = full.contiguous(memory_format=torch.channels_last) if id(p) in self.wide else full
            p.grad = None if share.grad is None else _whole(share.grad)
        # Torch remembers modules apart from themselves, too, and would refuse them in the next stage.
        from torch.distributed._composable_state import _module_state_mapping

        for module, kind, attributes in self.before:
            _module_state_mapping.pop(module, None)
            module.__class__ = kind
            held = vars(module)
            for name in [name for name in held if name.startswith(_TOLD_APART) and name not in attributes]:
                del held[name]
            held.update({k: v for k, v in attributes.items() if k == "_parameters" or k.endswith(_HOOKS)})
        return back


_HOOKS = "_hooks", "_hooks_with_kwargs", "_hooks_always_called"


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, dict) else value


def _blocks(network: nn.Module) -> list[nn.Module]:
    """Parts of a network's lists that share no weight with the rest of it."""
    counts: dict[int, int] = {}
    for _, p in network.named_parameters(remove_duplicate=False):
        counts[id(p)] = counts.get(id(p), 0) + 1
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and module not in inside:
            inside.update(module.modules())
            found += [m for m in module if any(True for _ in m.parameters())]
    return [m for m in dict.fromkeys(found) if all(counts[id(p)] == 1 for p in m.parameters())]


def _exchange(
    optimizers: Optimizers, new: Mapping[nn.Parameter, nn.Parameter], move: Callable[[Tensor, nn.Parameter], Tensor]
) -> None:
    """Let optimizers step other weights in place of those that they have."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [new.get(p, p) for p in group["params"]]
        for old, there in new.items():
            if old not in optimizer.state:
                continue
            state = optimizer.state.pop(old)
            # By what a weight has many of: a step is one number, and some optimizers keep a number a row.
            optimizer.state[there] = {
                key: move(value, there) if isinstance(value, Tensor) and value.dim() else value
                for key, value in state.items()
            }


def _like(value: Tensor, share: Any) -> Tensor:
    """A rank's share of a tensor that all have."""
    from torch.distributed.tensor import distribute_tensor

    if value.shape != share.shape:
        raise UsageError(
            f"an optimizer keeps {tuple(value.shape)} numbers for weights {tuple(share.shape)}, which cannot be shared "
            "out with them; take Ranks(weights='copied') or another optimizer"
        )
    return distribute_tensor(value.contiguous(), share.device_mesh, share.placements, src_data_rank=None)


def _whole(value: Any) -> Tensor:
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full


def whole_state(state: Any, *, everywhere: bool = False) -> Any:
    """A state in which shares are whole tensors on the CPU; one after another.

    All ranks have to ask. ``everywhere``: every rank gets them, else the first alone; others get none in their place.
    """
    if not is_sharded():
        return state
    return _gathered(state, everywhere)


def _gathered(value: Any, everywhere: bool) -> Any:
    if hasattr(value, "full_tensor"):
        full, group = value.full_tensor(), here()
        return full.cpu() if everywhere or group is None or not group.rank else None
    if isinstance(value, Mapping):
        same = value.copy() if isinstance(value, dict) else dict(value)  # an ordered one has the versions of modules
        same.update({key: _gathered(inner, everywhere) for key, inner in value.items()})
        return same
    if type(value) in (list, tuple):
        return type(value)(_gathered(inner, everywhere) for inner in value)
    return value
