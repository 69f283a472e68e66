"""Put a network and an optimizer together: what a user writes to get a student."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from selftrain.arguments import shown
from selftrain.errors import CheckpointError
from selftrain.networks.adapters import LoRA
from selftrain.networks.copying import copy_network, has_adapters, merge_adapters
from selftrain.networks.described import Node, calls_noted, describe
from selftrain.networks.student import HowFast, Learner, MakeLearner, Precision, check_trainable
from selftrain.schedule import Schedule, cosine
from selftrain.storage.tensors import read_weights
from selftrain.types import plain_settings

Weights = Mapping[str, Tensor]
MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class HasExport(Protocol):
    """A finished stage: a run or a strategy."""

    def export(self) -> Weights:
        """Weights to hand on."""
        ...


@plain_settings
@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Args:
        optimizer: ``"adamw"``, ``"sgd"`` (with Nesterov momentum) or a function from parameter groups to an optimizer.
        lr: Peak learning rate, > 0.
        weight_decay: Decay of the weights; biases and other one-dimensional tensors have none.
        momentum: Of ``"sgd"``; the first beta of ``"adamw"``.
        beta2: Second beta of ``"adamw"``.
        encoder_lr: Factor on the learning rate of ``network.encoder``, for encoders that are pretrained.
        layer_decay: Factor on the learning rate from each layer of ``network.encoder`` to the one below, in (0, 1], to
            fine-tune a pretrained encoder: of n ``layers()`` the uppermost gets it once, the lowest n times; weights in
            no layer are trained like the lowest, what is outside the encoder without it. It multiplies with
            ``encoder_lr``. Source: He et al. 2022 (MAE), arXiv:2111.06377, table 9: 0.75 there. Differs:
            there the last norm is trained like the head. ``None``: none.
        adapter: Train small matrices beside the frozen weights of ``network.encoder``, see ``LoRA``; ``None``: the
            weights themselves.
        schedule: Factor on the learning rate over the stage; ``None``: a cosine to 0.
        max_grad_norm: Gradients are scaled down to this Euclidean norm; ``None``: no clipping.
        accumulate: Steps whose mean gradient makes one step of the optimizer.
        precision: Number format of the forward pass; ``"auto"``: bf16 on accelerators that have it and, for networks
            with 2-D convolutions, on CPUs with instructions for it, else fp32.
        channels_last: Memory format of networks with 2-D convolutions; ``None``: on if there are any.
        compile: Run the forward pass through ``torch.compile``.
        speed: ``"auto"``: which of fp32 and bf16 (where the device has it), ``channels_last`` or not, and in runs of 40
            minutes and more compiled or not is fastest is tried by ``fit`` before its first step, for all networks of
            the strategy and on copies: ten steps of each, in at most a twentieth of the steps of the run. What saves
            less than a tenth of the time, and a bf16 or fp16 that was set, stays as it is. The choice is stored with
            the run, which says it in a line, and a run that goes on keeps it; another run from the start may choose
            otherwise, as the choice is by the clock.
    """

    optimizer: str | MakeOptimizer = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    beta2: float = 0.999
    encoder_lr: float = 1.0
    layer_decay: float | None = None
    adapter: LoRA | None = None
    schedule: Schedule | None = None
    max_grad_norm: float | None = None
    accumulate: int = 1
    precision: Precision = "fp32"
    channels_last: bool | None = None
    compile: bool = False
    speed: HowFast | None = None

    def __post_init__(self) -> None:
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr is {self.lr}; it must be above 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be 0 or more")
        for name, share in (("momentum", self.momentum), ("beta2", self.beta2)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} is {share}; it must be in [0, 1)")
        if self.encoder_lr < 0:
            raise ValueError(f"encoder_lr is {self.encoder_lr}; it must be 0 or more")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}; it must be above 0 and at most 1, or None")
        if self.adapter is not None and self.encoder_lr == 0:
            raise ValueError("encoder_lr is 0, so that the adapter of the encoder cannot learn; leave one of them out")
        if isinstance(self.optimizer, str) and self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer is {self.optimizer!r}; choose one of ['adamw', 'sgd'] or pass a function")

    def learner(self, network: nn.Module) -> Learner:
        """Build the learner of ``network`` (which is used as it is, not copied, and gets the adapter).

        Raises:
            ValueError: for ``layer_decay`` with a network whose encoder does not say its layers, or an ``adapter`` with
                one that has no encoder or no layers for it.
            DataError: for a network of which nothing can be trained.
            ImportError: for an ``adapter`` without ``peft``.
        """
        if self.adapter is not None:
            self.adapter.put_into(network)
        check_trainable(network)  # here too: an optimizer of no weights has an error of its own
        groups = _groups(network, self)
        if callable(self.optimizer):
            optimizer = self.optimizer(groups)
        else:
            common: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
            if self.optimizer == "sgd":  # which refuses Nesterov's form without momentum
                nesterov = self.momentum > 0
                optimizer = torch.optim.SGD(groups, momentum=self.momentum, nesterov=nesterov, **common)
            else:
                # One kernel for all weights, half of the time of torch's own choice on CPUs; it takes no complex ones.
                common["fused"] = all(p.is_floating_point() for group in groups for p in group["params"]) or None
                optimizer = torch.optim.AdamW(groups, betas=(self.momentum, self.beta2), **common)
        return Learner(
            network,
            optimizer,
            schedule=self.schedule or cosine(),
            max_grad_norm=self.max_grad_norm,
            accumulate=self.accumulate,
            precision=self.precision,
            channels_last=self.channels_last,
            compile=self.compile,
            speed=self.speed,
        )


@plain_settings
def learner(  # noqa: D417
    network: nn.Module | Callable[[], nn.Module],
    *,
    init_from: HasExport | Weights | str | Path | None = None,
    trained: bool = False,
    training: Training | None = None,
    optimizer: str | MakeOptimizer = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    momentum: float = 0.9,
    beta2: float = 0.999,
    encoder_lr: float = 1.0,
    layer_decay: float | None = None,
    adapter: LoRA | None = None,
    schedule: Schedule | None = None,
    max_grad_norm: float | None = None,
    accumulate: int = 1,
    precision: Precision = "fp32",
    channels_last: bool | None = None,
    compile: bool = False,
    speed: HowFast | None = None,
) -> MakeLearner:
    """Describe a student; strategies call the result once for each student they need.

    How the network is built is noted, so that the folder of a run can build it again (``selftrain.open_run``).

    Args:
        network: A function that builds a fresh network (each student of an ensemble then starts differently), or a
            module, which is copied: all students start alike.
        init_from: Where the first weights come from: a finished stage, a mapping of weights, or an exported
            ``.safetensors`` file. Every weight handed on must exist in the network; those of the network that are
            not handed on (a new head) keep their own start.
        trained: Whether the network solves the task as it is given, with its head: it may then go on without any label,
            as one may whose weights are all from ``init_from``. ``Learner.trained``.
        training: All settings at once; or give them one by one:
        optimizer, lr, weight_decay, momentum, beta2, encoder_lr, layer_decay, adapter, schedule, max_grad_norm,
            accumulate, precision, channels_last, compile, speed: See ``Training``.

    Raises:
        ValueError: for ``training`` beside single settings, or one out of range.
        CheckpointError: when the student is built, if weights do not fit the network.
    """
    single = Training(
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        beta2=beta2,
        encoder_lr=encoder_lr,
        layer_decay=layer_decay,
        adapter=adapter,
        schedule=schedule,
        max_grad_norm=max_grad_norm,
        accumulate=accumulate,
        precision=precision,
        channels_last=channels_last,
        compile=compile,
        speed=speed,
    )
    given = sorted(field.name for field in fields(single) if getattr(single, field.name) != field.default)
    if training is not None and given:
        raise ValueError(f"give either training or single settings, not both: {given}")
    plan = training or single

    return _MakeLearner(network, init_from, trained, plan)


class _MakeLearner:
    """What ``learner`` returns."""

    def __init__(
        self,
        network: nn.Module | Callable[[], nn.Module],
        init_from: HasExport | Weights | str | Path | None,
        trained: bool,
        training: Training,
    ) -> None:
        self.network, self.init_from, self.trained, self.training = network, init_from, trained, training
        self.built: list[Node] = []  # how the network of each student was

    def __call__(self) -> Learner:
        """A student."""
        with calls_noted() as calls:
            fresh = copy_network(self.network) if isinstance(self.network, nn.Module) else self.network()
            if not isinstance(fresh, nn.Module) or isinstance(fresh, Learner):
                raise ValueError(f"network built {shown(fresh)}; return the network itself, a module of torch")
            self.built.append(describe(fresh, calls))
        own: list[str] = []  # weights that keep the start of a fresh network
        if self.init_from is not None:
            # anew for each student: a stage that goes on training hands each the weights of its moment
            own = load_weights(fresh, weights_of(self.init_from))
        made = self.training.learner(fresh)
        made.trained = self.trained or (self.init_from is not None and not own)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> _MakeLearner:
        """Itself, like any function: the stage it starts from is not copied with a strategy."""
        return self

    def described(self) -> Node:
        """The networks it has made, and how they are trained."""
        alike = all(node == self.built[0] for node in self.built)
        return {"learner": self.built[:1] if alike else list(self.built), "training": describe(self.training)}


def weights_of(source: HasExport | Weights | str | Path) -> Weights:
    """Weights of a finished stage, a mapping or a file (a run folder: its ``export.safetensors``).

    Files are of safetensors or of ``torch.save``, of which nothing but tensors is unpickled.
    """
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, (str, Path)):
        return source.export()
    # not by the path itself, which fails where a name is too long for one
    found = read_weights(Path(source) / "export.safetensors" if os.path.isdir(source) else source)
    if not found:
        raise CheckpointError(
            f"{source} has no weights: what it ships is no network; start from a run that trained one"
        )
    return found


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of the tensors of a network by name: a run that goes on would change weights that were handed out.

    Adapters are merged, so that the names are those of the network that was given to ``learner``.

    Warns:
        UserWarning: the network has a state that is no tensor (``get_extra_state``), which is left out.
    """
    state = (merge_adapters(copy_network(network)) if has_adapters(network) else network).state_dict()
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        warnings.warn(
            f"{len(other)} of {len(state)} parts of the network's state are no tensors ({', '.join(other[:3])}); "
            "exported weights are without them: keep in a buffer what a prediction needs",
            stacklevel=2,
        )
    return {name: value.detach().clone() for name, value in state.items() if isinstance(value, Tensor)}


def load_weights(network: nn.Module, weights: Weights) -> list[str]:
    """Copy ``weights`` into ``network``; returns the names of the network's tensors that were not among them.

    Raises:
        CheckpointError: if a weight has no place in the network or another shape; the message names the first ones.
    """
    # What is no tensor is no weight: of a mapping of the user's own, such as a whole ``state_dict``.
    own = network.state_dict()
    weights = _under_names_of(own, {name: value for name, value in weights.items() if isinstance(value, Tensor)})
    unknown = [name for name in weights if name not in own]
    if unknown:
        raise CheckpointError(
            f"weights such as {unknown[:3]} have no place in {type(network).__name__}; a pretrained encoder is loaded "
            "into `network.encoder`: build the network as Classifier(encoder, classes) with the same encoder settings"
        )
    # all of them are looked at before any is loaded: half a network is worse than an error
    wrong = [f"{n} {tuple(w.shape)}, not {tuple(own[n].shape)}" for n, w in weights.items() if w.shape != own[n].shape]
    if wrong:
        raise CheckpointError(
            f"weights do not fit {type(network).__name__}: {wrong[:3]}; use the same encoder settings"
        )
    # what is missing was checked above to be the network's own: a head that no stage has
    network.load_state_dict(dict(weights), strict=False)
    return [name for name in own if name not in weights]


def _under_names_of(own: Mapping[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with what stands before their names taken off or put on, where none of them fits as it is.

    A plain network fills the one inside an encoder, whose names go on (``encoder.model.conv1.weight``), and what was
    trained inside a module fills the plain one.
    """
    if not weights or any(name in own for name in weights):
        return weights
    first = os.path.commonprefix(list(weights)).rpartition(".")[0].split(".")
    # from the whole names on: the more of a name fits, the surer
    for gone in (".".join(first[:count]) for count in range(len(first) + 1)):
        short = {name.removeprefix(f"{gone}.") if gone else name: value for name, value in weights.items()}
        for known in own:
            front = known.removesuffix(next(iter(short)))
            moved = {front + name: value for name, value in short.items()}
            apart = front != known and front[-1:] in ("", ".")
            if apart and all(name in own and own[name].shape == value.shape for name, value in moved.items()):
                return moved
    return weights


def _groups(network: nn.Module, plan: Training) -> list[dict[str, Any]]:
    """Parameter groups: encoder (and how deep in it) or not, decayed or not."""
    depths, layers = _depths(network, plan)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            depth = depths.get(parameter, layers) if name.startswith("encoder.") else 0
            # biases, norms and other one-dimensional tensors are not decayed: they do not make a network complex
            groups.setdefault((depth, parameter.dim() > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": plan.lr * (plan.encoder_lr * (plan.layer_decay or 1.0) ** depth if depth else 1.0),
            "weight_decay": plan.weight_decay if decayed else 0.0,
        }
        for (depth, decayed), parameters in groups.items()
    ]


def _depths(network: nn.Module, plan: Training) -> tuple[dict[nn.Parameter, int], int]:
    """How many layers below the head each weight of the encoder is, the uppermost 1, and the number of layers."""
    if plan.layer_decay is None:
        return {}, 1
    encoder = getattr(network, "encoder", None)
    offered = getattr(encoder, "layers", None)
    if offered is None or isinstance(offered, nn.Module):  # a sub-module of that name is not the contract
        raise ValueError(
            f"layer_decay is {plan.layer_decay} but {type(network if encoder is None else encoder).__name__} has no "
            "method layers(); add one to the encoder that returns its parts from the input on, or leave layer_decay out"
        )
    layers: Sequence[nn.Module] = offered()
    if not layers:
        raise ValueError(f"layers() of {type(encoder).__name__} is empty; return the encoder's parts from the input on")
    above = {p: len(layers) - i for i, layer in reversed([*enumerate(layers)]) for p in layer.parameters()}
    return above, len(layers)  # what two layers share is trained like the lower one
