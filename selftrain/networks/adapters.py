"""Fine-tuning with few parameters: what is trained of an encoder is small matrices beside its frozen weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

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
        found = _targets(encoder, self)
        scale = float(self.rank if self.alpha is None else self.alpha)
        # an expression is matched as a whole; names in a list are also taken for ends of others
        common: dict[str, Any] = {"r": self.rank, "target_modules": "|".join(map(re.escape, found))}
        if self.form in ("lora", "dora"):
            config: Any = peft.LoraConfig(
                lora_alpha=scale, lora_dropout=self.dropout, use_dora=self.form == "dora", **common
            )
        else:
            make = peft.LoHaConfig if self.form == "loha" else peft.LoKrConfig
            config = make(alpha=scale, module_dropout=self.dropout, **common)
        peft.inject_adapter_in_model(config, encoder)


def _targets(encoder: nn.Module, settings: LoRA) -> list[str]:
    """Names of the layers that get adapters."""
    named = dict(encoder.named_modules())
    attention = tuple(f"{name}." for name, m in named.items() if isinstance(m, nn.MultiheadAttention))
    free = {name: m for name, m in named.items() if name and not f"{name}.".startswith(attention)}
    # DoRA of peft does not run on convolutions in channels_last; one of several groups, such as a depthwise one, is a
    # few numbers a channel, of which nothing is of low rank
    kinds = (nn.Linear,) if settings.form == "dora" else (nn.Linear, nn.Conv1d, nn.Conv2d)
    usual = [name for name, m in free.items() if isinstance(m, kinds) and getattr(m, "groups", 1) == 1]
    if settings.targets is None:
        found, missing = usual, [] if usual else ["that take one"]
    else:
        ends = {end: [name for name in free if f".{name}".endswith(f".{end}")] for end in settings.targets}
        found = [name for name in free if any(name in names for names in ends.values())]
        missing = [f"that end in {end!r}" for end, names in ends.items() if not names]
    if missing:
        raise ValueError(
            f"{type(encoder).__name__} has no layers {' and none '.join(missing)}; set targets of the adapter to ends "
            f"of names such as {usual[:4] or [*free][:8]}"
        )
    return found
