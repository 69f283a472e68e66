"""From checked rows and labels to a trained strategy: what ``SelfTrainClassifier.fit`` does in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.catalog import EMBEDDING, make_rule, make_strategy, method_of
from selftrain.data import Pile, PointViews, Subset
from selftrain.engine.loop import fit
from selftrain.engine.run import Run
from selftrain.errors import DataError
from selftrain.estimator.encoder import PretrainedEncoder
from selftrain.estimator.inputs import Array, Inputs
from selftrain.networks.by_name import make_network
from selftrain.networks.modes import eval_mode
from selftrain.networks.optim import Training, Weights, learner
from selftrain.tasks import Classification
from selftrain.types import BatchPlan
from selftrain.wrapper.labels import Labels


def make_pile(inputs: Inputs, rows: Array, labels: Labels, held: Array, views: Any) -> Pile:
    """Labeled, unlabeled and held-out rows; the ids of the unlabeled ones are their row numbers."""
    samples = inputs.samples(inputs.read(rows), labels.codes)
    known = np.setdiff1d(np.flatnonzero(labels.codes >= 0), held)
    if views is None and inputs.kind == "points":
        views = PointViews()
    return Pile(
        Subset(samples, known),
        Subset(samples, np.flatnonzero(labels.codes < 0), annotated=False),
        Subset(samples, held),
        classes=[str(name) for name in labels.classes],
        views=views,
    )


@dataclass(frozen=True)
class Start:
    """Where students start: what builds their network, and pretrained weights.

    Args:
        network: See ``make_network``.
        masked: See ``make_encoder``.
        weights: Of the encoder, or ``None``.
    """

    network: Any
    masked: bool = False
    weights: Weights | None = None

    @classmethod
    def of(cls, encoder: PretrainedEncoder | None, network: Any) -> Start:
        """After an encoder was pretrained, its network; else the given one."""
        if encoder is None:
            return cls(network)
        return cls(encoder.network, encoder.recipe_ not in EMBEDDING, encoder.weights())


@dataclass(frozen=True)
class Plan:
    """How a strategy is built and trained.

    Args:
        strategy: See ``make_strategy``.
        settings: Of the strategy.
        select: See ``make_rule``.
        training: Of the students.
        length: ``steps`` or ``epochs``.
        batch: Labeled rows a step.
        ratio: Unlabeled rows for each.
        options: Further arguments of ``selftrain.fit``.
    """

    strategy: Any
    settings: Mapping[str, Any]
    select: Any
    training: Training
    length: Mapping[str, Any]
    batch: int
    ratio: float
    options: Mapping[str, Any]

    def steps(self, pile: Pile) -> int:
        """Steps of the stage.

        Raises:
            ValueError: for both steps and epochs, or less than 1.
        """
        epochs, steps = self.length.get("epochs"), self.length.get("steps")
        if epochs is not None and steps is not None:
            raise ValueError(f"steps is {steps} and epochs {epochs}; give one of them")
        if epochs is not None:
            batch = BatchPlan(labeled=self.batch, unlabeled_ratio=self.ratio)
            rows, size = (pile.unlabeled, batch.unlabeled) if pile.unlabeled else (pile.labeled, batch.labeled)
            steps = epochs * -(-len(rows or ()) // size)
        if steps is None or steps < 1:
            raise ValueError(f"steps is {steps}, epochs {epochs}; there must be at least 1")
        return int(steps)

    def train(self, pile: Pile, inputs: Inputs, start: Start, seed: int, out: Path | None, device: torch.device) -> Run:
        """Train one strategy; draws are the caller's to seed."""
        classes, unlabeled = len(pile.classes), len(pile.unlabeled or ())
        plan = BatchPlan(labeled=self.batch, unlabeled_ratio=self.ratio, seed=seed)
        outputs = classes * method_of(self.strategy).outputs

        def network() -> nn.Module:
            made = make_network(start.network, inputs.kind, inputs.shape, outputs, masked=start.masked)
            _check_outputs(made, inputs.shape, outputs)
            return made

        rule = make_rule(self.select, classes=classes, unlabeled=max(1, unlabeled))
        strategy = make_strategy(
            self.strategy,
            learner(network, init_from=start.weights, training=self.training),
            {**({} if rule is None else {"select": rule}), **self.settings},
            task=Classification(classes),
            label_shape=(classes,),
            unlabeled=unlabeled,
            steps=self.steps(pile),
        )
        run = fit(strategy, pile, out=out, plan=plan, device=device, steps=self.steps(pile), **self.options)
        if run.best_state is not None:
            strategy.load_state_dict(run.best_state)
        return run


def provenance(run: Run, pile: Pile, labels: Labels) -> tuple[Array, Array]:
    """The labels that were learned from at last, and the step since when, both (N,); see ``SelfTrainClassifier``."""
    codes, since = labels.codes.copy(), np.where(labels.labeled, 0, -1)
    rows = np.array([int(name) for name in pile.unlabeled_ids()], dtype=np.int64)
    first, label = (getattr(run.ledger, name).cpu().numpy() for name in ("first_accepted", "label"))
    since[rows] = np.where(first >= 0, first + 1, -1)
    codes[rows] = np.where(run.ledger.accepted.cpu().numpy(), label, -1)
    return labels.write(codes), since


@torch.no_grad()
def _check_outputs(network: nn.Module, shape: tuple[int, ...], outputs: int) -> None:
    """Refuse a network that gives something else than one number for each output."""
    try:
        with eval_mode(network):
            found: Tensor = network(torch.zeros(1, *shape))
    except RuntimeError as error:
        raise ValueError(f"{type(network).__name__} does not run on inputs of shape {shape}: {error}") from error
    if tuple(found.shape) != (1, outputs):
        name = type(network).__name__
        raise ValueError(
            f"{name} gives {tuple(found.shape)} for one input of shape {shape}; it must give (1, {outputs})"
        )


def checked_counts(members: Any, batch_size: Any) -> None:
    """Refuse numbers of members or of rows a step that are none."""
    for name, value in (("members", members), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be an integer of at least 1")


def fitted_encoder(given: Any, inputs: Inputs) -> PretrainedEncoder:
    """An encoder that was fitted before, if it fits these rows.

    Raises:
        DataError: if it was fitted to rows of another kind or shape.
    """
    encoder: PretrainedEncoder = given
    theirs = encoder.inputs_
    if (theirs.kind, theirs.given, theirs.shape) != (inputs.kind, inputs.given, inputs.shape):
        raise DataError(
            f"the encoder was fitted to {theirs.kind} rows of shape {theirs.given}, these are {inputs.kind} rows of "
            f"shape {inputs.given}; fit it to rows like these"
        )
    return encoder
