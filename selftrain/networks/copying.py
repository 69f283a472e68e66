"""Copies of networks, and their buffers as they were: also where hooks compute weights or buffers change their form."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)
SavedBuffers = list[tuple[nn.Module, str, Tensor | None, Tensor | None]]


def copy_network(network: Module) -> Module:
    """A deep copy that shares nothing and has no gradients of its own.

    ``copy.deepcopy`` refuses tensors that were computed with a gradient, and the hooks of the older
    ``torch.nn.utils.weight_norm`` and ``spectral_norm`` leave such weights among a module's attributes.
    """
    memo: dict[int, object] = {}
    for module in network.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # the next pass computes it anew
    return copy.deepcopy(network, memo)


def plain_weights(network: Module) -> Module:
    """The network itself with weights in place of what computes them (``torch.nn.utils.parametrize``).

    Such modules are of classes made while the program runs, which pickle does not find again.
    """
    network.eval()  # in training a spectral norm goes on with its estimate
    for module in network.modules():
        if parametrize.is_parametrized(module):
            cls = type(module)  # shared with the module that this is a copy of; removing takes attributes off it
            module.__class__ = type(cls.__name__, cls.__bases__, dict(vars(cls)))
            chains = cast(nn.ModuleDict, module.parametrizations)
            for name in list(chains.keys()):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
            # theirs reads states of the older form, and is a function inside a function, which pickle refuses
            for key, hook in [*module._load_state_dict_pre_hooks.items()]:
                if getattr(hook, "hook", hook).__module__ == "torch.nn.utils.parametrizations":
                    del module._load_state_dict_pre_hooks[key]
    return network


def save_buffers(network: nn.Module) -> SavedBuffers:
    """Every buffer and its values now, by the module that holds it."""
    return [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
    ]


@torch.no_grad()
def restore_buffers(network: nn.Module, saved: SavedBuffers) -> None:
    """Give every buffer the tensor and the values that it had; those that came since go."""
    known = {(module, name) for module, name, _, _ in saved}
    for module in network.modules():
        for name in [name for name in module._buffers if (module, name) not in known]:
            del module._buffers[name]
    for module, name, buffer, values in saved:
        if buffer is not None and values is not None:
            # a module may have put another tensor in its place, or changed its shape
            if buffer.shape == values.shape:
                buffer.copy_(values)
            else:
                buffer.data = values
        module._buffers[name] = buffer
