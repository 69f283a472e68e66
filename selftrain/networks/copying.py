"""Copies of networks, also where hooks compute weights."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)


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
