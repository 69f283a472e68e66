"""Fine-tuning with few parameters: what is trained of an encoder is small matrices beside its frozen weights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.utils import parametrize

from selftrain.types import plain_settings

Form = Literal["lora", "dora", "loha", "lokr"]
FORMS = ("lora", "dora", "loha", "lokr")


@plain_settings
@dataclass(frozen=True)
class LoRA:
    """Train low-rank changes of an encoder's layers, and whatever stands on it (the head), instead of its weights.

    The weights of the encoder are frozen and shared by all who follow or copy the student (``Learner.frozen``): an
    average of the student holds another adapter and another head, and nothing else. Weights that a run hands on
    (``export``, ``init_from``) have the adapters merged into them.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv:2106.09685, eq. 3: W + (alpha /
    rank) B A, B starts at 0. The layers are those of ``peft`` (``pip install 'selftrain[peft]'``). Differs: all layers
    get one, not the queries and values alone.

    Args:
        rank: Of the change of each layer, at least 1.
        alpha: Numerator of its scale; ``None``: as the rank, so that the scale is 1.
        dropout: Share of a layer's inputs that its adapter does not see in training, in [0, 1); of ``"loha"`` and
            ``"lokr"`` the share of passes that go without it.
        form: ``"lora"``; ``"dora"``: its lengths apart from its directions (Liu et al. 2024, arXiv:2402.09353);
            ``"loha"``: an elementwise product of two (Hyeon-Woo et al. 2022, arXiv:2108.06098); ``"lokr"``: a Kronecker
            product (Yeh et al. 2024, arXiv:2309.14859).
        targets: Layers of the encoder by the ends of their names, such as ``("qkv", "proj")``; ``None``: its linear
            layers and, but for ``"dora"``, its convolutions of one group. Not those inside of
            ``torch.nn.MultiheadAttention`` (torchvision's transformers): it reads their weights without calling them,
            and the layer that ``peft`` has for it makes new weights in each pass.

    Raises:
        ValueError: for a rank below 1, an ``alpha`` that is not positive, a dropout outside [0, 1) or an unknown form.
    """

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    form: Form = "lora"
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}; it must be at least 1")
        if self.alpha is not None and self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; it must be above 0, or None for that of the rank")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout of an adapter is {self.dropout}; it must be in [0, 1)")
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}; choose one of {', '.join(FORMS)}")

    def put_into(self, network: nn.Module) -> None:
        """Freeze ``network.encoder`` and give its layers adapters, drawn from torch's generator.

        Raises:
            ImportError: ``peft`` is not installed.
            ValueError: the network has no encoder, or its encoder no such layers.
        """
        encoder = getattr(network, "encoder", None)
        if not isinstance(encoder, nn.Module):
            raise ValueError(
                f"adapters are for the encoder of a network, and {type(network).__name__} has none; build it as "
                "Classifier(encoder, classes)"
            )
        try:
            import peft
        except ImportError as error:
            raise ImportError(f"adapters need peft ({error}): pip install 'selftrain[peft]'") from error
        layers, read = _targets(encoder, self)
        scale = float(self.rank if self.alpha is None else self.alpha)
        # an expression is matched as a whole; names in a list are also taken for ends of others
        common: dict[str, Any] = {"r": self.rank, "target_modules": "|".join(map(re.escape, layers))}
        if self.form in ("lora", "dora"):
            config: Any = peft.LoraConfig(
                lora_alpha=scale, lora_dropout=self.dropout, use_dora=self.form == "dora", **common
            )
        else:
            make = peft.LoHaConfig if self.form == "loha" else peft.LoKrConfig
            config = make(alpha=scale, module_dropout=self.dropout, **common)
        if layers:
            peft.inject_adapter_in_model(config, encoder)
        else:
            encoder.requires_grad_(False)
        for module in encoder.modules():
            if isinstance(module, nn.TransformerEncoderLayer):  # at rest it would read weights past their adapters
                module.activation_relu_or_gelu = 0
        for owner, name in read:
            module = encoder.get_submodule(owner)
            change = LowRank(module.get_parameter(name), self.rank, scale / self.rank)
            parametrize.register_parametrization(module, name, change)


class LowRank(nn.Module):
    """W + scale B A for a weight that its module reads without calling a layer; B starts at 0, A as of ``peft``.

    The layers that ``peft`` has for such weights write the weight in each pass, so that nobody could share it.

    Args:
        weight: W, a matrix (out, in).
        rank: Rows of A.
        scale: Factor of the change.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lora_A = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.lora_B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + self.scale * self.lora_B @ self.lora_A


def _targets(encoder: nn.Module, settings: LoRA) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the layers that get adapters, and module and name of the weights of attention that do."""
    named = dict(encoder.named_modules())
    attention = [name for name, m in named.items() if isinstance(m, nn.MultiheadAttention)]
    inside = tuple(f"{name}." for name in attention)
    free = {name: m for name, m in named.items() if name and not f"{name}.".startswith(inside)}
    # DoRA of peft does not run on convolutions in channels_last; one of several groups, such as a depthwise one, is a
    # few numbers a channel, of which nothing is of low rank
    kinds = (nn.Linear,) if settings.form == "dora" else (nn.Linear, nn.Conv1d, nn.Conv2d)
    usual = [name for name, m in free.items() if isinstance(m, kinds) and getattr(m, "groups", 1) == 1]
    weights = {f"{name}.in_proj_weight": (name, "in_proj_weight") for name in attention}
    weights = {key: where for key, where in weights.items() if named[where[0]].in_proj_weight is not None}
    weights |= {f"{name}.out_proj": (f"{name}.out_proj", "weight") for name in attention}
    fit = settings.form == "lora" and settings.dropout == 0
    if settings.targets is None:
        found = [*usual, *(weights if fit else ())]
        missing = [] if found else ["that take one"]
    else:
        ends = {end: [name for name in (*free, *weights) if f".{name}".endswith(f".{end}")] for end in settings.targets}
        found = [name for name in (*free, *weights) if any(name in names for names in ends.values())]
        missing = [f"that end in {end!r}" for end, names in ends.items() if not names]
    if not fit and set(found) & set(weights):
        raise ValueError(
            f"{next(name for name in found if name in weights)} is read without calling a layer and takes form='lora' "
            "with dropout=0; set these, or leave it out of the targets"
        )
    if missing:
        raise ValueError(
            f"{type(encoder).__name__} has no layers {' and none '.join(missing)}; set targets of the adapter to ends "
            f"of names such as {usual[:4] or [*free][:8]}"
        )
    return [name for name in found if name not in weights], [weights[name] for name in found if name in weights]
