"""Copies of networks, also where hooks compute weights."""

from __future__ import annotations

import copy
import sys
from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from selftrain.errors import UsageError
from selftrain.networks.adapters import LowRank
from selftrain.networks.student import Learner
from selftrain.runtime.distributed import is_sharded, own_part

Module = TypeVar("Module", bound=nn.Module)


def copy_network(network: Module, share: Iterable[Tensor] = ()) -> Module:
    """A deep copy that shares nothing but ``share`` (and what learners in it do not move) and has no gradients.

    ``copy.deepcopy`` refuses tensors that were computed with a gradient, and the hooks of the older
    ``torch.nn.utils.weight_norm`` and ``spectral_norm`` leave such weights among a module's attributes.
    """
    refuse_shares(network)
    memo: dict[int, object] = {id(tensor): tensor for tensor in share}
    for module in network.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # the next pass computes it anew
    return copy.deepcopy(network, memo)


def refuse_shares(network: nn.Module) -> None:
    """Refuse to copy a network that no rank has as a whole.

    Raises:
        UsageError: ranks hold shares of its weights.
    """
    if is_sharded() and any(own_part(p) is not p for p in network.parameters()):
        raise UsageError(
            f"{type(network).__name__} is to be copied while ranks hold shares of its weights, as this method needs "
            "it; take Ranks(weights='copied')"
        )


def plain_weights(network: Module) -> Module:
    """The network itself with weights in place of what computes them (``torch.nn.utils.parametrize``).

    Such modules are of classes made while the program runs, which pickle does not find again.
    """
    network.eval()  # in training a spectral norm goes on with its estimate
    for module in network.modules():
        if parametrize.is_parametrized(module):
            _take_off(module, list(cast(nn.ModuleDict, module.parametrizations).keys()))
    return network


def _take_off(module: nn.Module, names: Iterable[str]) -> None:
    """Put the weights that a module's parametrizations compute in their place."""
    cls = type(module)  # shared with the module that this is a copy of; removing takes attributes off it
    module.__class__ = type(cls.__name__, cls.__bases__, dict(vars(cls)))
    for name in names:
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    # theirs reads states of the older form, and is a function inside a function, which pickle refuses
    for key, hook in [*module._load_state_dict_pre_hooks.items()]:
        if getattr(hook, "hook", hook).__module__ == "torch.nn.utils.parametrizations":
            del module._load_state_dict_pre_hooks[key]


def _low_rank(network: nn.Module) -> dict[nn.Module, list[str]]:
    """Modules with weights that ``LowRank`` changes, and the names of these."""
    found: dict[nn.Module, list[str]] = {}
    for module in filter(parametrize.is_parametrized, network.modules()):
        for name, chain in cast(nn.ModuleDict, module.parametrizations).items():
            if any(isinstance(change, LowRank) for change in chain.children()):
                found.setdefault(module, []).append(name)
    return found


def has_adapters(network: nn.Module) -> bool:
    """Whether layers of ``peft``, or changes of weights like theirs, are in a network."""
    if _low_rank(network):
        return True
    if "peft" not in sys.modules:  # then nobody has put any there
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in network.modules())


def merge_adapters(network: Module) -> Module:
    """The network itself with adapters added to the weights beside them; these may be shared, so give a copy."""
    if not has_adapters(network):
        return network
    for module, names in _low_rank(network).items():
        _take_off(module, names)
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: dict[str, Any] = {name: m for name, m in network.named_modules() if isinstance(m, BaseTunerLayer)}
    for name, layer in layers.items():
        if any(name.startswith(f"{outer}.") for outer in layers):
            continue  # one inside another, as the output of attention is, goes with the outer one
        if hasattr(layer, "unload_and_optionally_merge_module"):
            plain = layer.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
        else:
            layer.merge(safe_merge=True)
            plain = layer.get_base_layer()
        network.set_submodule(name, plain)
    for module in network.modules():
        vars(module).pop("peft_config", None)  # says that there are adapters
    return network


def frozen_storages(module: nn.Module) -> set[int]:
    """Where the weights lie that no step of the learners in a module moves."""
    learners = [m for m in module.modules() if isinstance(m, Learner)]
    return {p.untyped_storage().data_ptr() for learner in learners for p in learner.frozen()}


def is_frozen(value: Any, frozen: Container[int]) -> bool:
    """Whether a value is a tensor in one of these storages."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.numel() > 0
        and own_part(value) is value  # a share, which something moves, has no place of its own
        and value.untyped_storage().data_ptr() in frozen
    )


def copied_state(module: nn.Module) -> dict[str, Any]:
    """The state of a module as it is now; frozen weights of the learners in it are no copies."""
    return cast("dict[str, Any]", copied(module.state_dict(), frozen_storages(module)))


def only_trained_with(module: nn.Module) -> set[str]:
    """Names in a module's state that no answer depends on: moments, memories of labels and features.

    A module names its own in ``only_trained_with``.
    """
    parts = module.named_modules()
    return {f"{path}.{name}".lstrip(".") for path, m in parts for name in getattr(m, "only_trained_with", ())}


def answering_state(module: nn.Module) -> dict[str, Any]:
    """As ``copied_state``, of what answers depend on alone: a memory of a large pile is as large as all else."""
    state, out = module.state_dict(), only_trained_with(module)
    kept = {name: value for name, value in state.items() if name not in out}
    return cast("dict[str, Any]", copied(kept, frozen_storages(module)))


def copied(value: Any, shared: Container[int] = ()) -> Any:
    """A state whose tensors are copies, but for those in ``shared`` storages."""
    if isinstance(value, Tensor):
        return value if is_frozen(value, shared) else value.detach().clone()
    if isinstance(value, Mapping):
        return {key: copied(inner, shared) for key, inner in value.items()}
    # Just these types: a named tuple is not built from one sequence, and `deepcopy` takes it.
    if type(value) in (list, tuple):
        return type(value)(copied(inner, shared) for inner in value)
    return copy.deepcopy(value)
