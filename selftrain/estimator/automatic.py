"""What ``strategy="auto"`` does: candidates and evidence, unless the settings ask for a network."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch.nn.functional import interpolate, normalize

from selftrain.catalog import default_method
from selftrain.data import Pile
from selftrain.errors import RunFolderError
from selftrain.estimator.inputs import Inputs
from selftrain.handlers.selfcheck import SelfTrainingWarning
from selftrain.labels.ledger import Ledger
from selftrain.metrics.features import color_histograms
from selftrain.networks.copying import copy_network
from selftrain.networks.foundation import Foundation
from selftrain.portfolio import Candidate, Portfolio
from selftrain.portfolio.report import write_report
from selftrain.pretrain.operators import hog
from selftrain.report import at_no_cost, of_portfolio, write_page
from selftrain.storage.run_dir import CANDIDATES, LABELS, REPORT, RUN_MARKS, claimed
from selftrain.storage.states import load_into
from selftrain.tasks import Classification
from selftrain.types import PseudoLabels
from selftrain.wrapper.labels import Array, Labels

# what a portfolio reads itself; any other setting is one of a network
_SHARED = (
    "strategy",
    "budget",
    "kind",
    "channels",
    "limits",
    "table",
    "unlabeled",
    "out",
    "overwrite",
    "device",
    "random_state",
    "verbose",
)
SMALLEST, LARGEST = 16, 32  # sides of pictures that have edges worth counting, and of those whose pixels are compared
NETWORKS = ("supervised", "freematch", "soft_labels", "mean_teacher")


def network_settings(model: Any) -> list[str]:
    """Names of the settings of networks that differ from their defaults."""
    takes = inspect.signature(type(model).__init__).parameters
    return [
        name
        for name, value in model.get_params(deep=False).items()
        if name not in _SHARED and not _same(value, takes[name].default)
    ]


def by_evidence(model: Any) -> bool:
    """Whether a portfolio is tried: ``"auto"`` without any setting of a network, or with a budget."""
    automatic = isinstance(model.strategy, str) and model.strategy == "auto"
    return automatic and (model.budget is not None or not network_settings(model))


def _same(value: Any, default: Any) -> bool:
    plain = isinstance(value, str | int | float | np.number | None)
    return value is default or (plain and type(default) is not type(None) and value == default)


class NetworkMember:
    """A network among the candidates; alarms of folds are not shown.

    Args:
        model: A ``SelfTrainClassifier`` that names its strategy.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: Any, y: Array) -> NetworkMember:
        """Learn from rows (N, ...) and classes (N,), -1 where there is none."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SelfTrainingWarning)
            self.model.fit(X, y)
        self.classes_ = self.model.classes_
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return np.asarray(self.model.predict_proba(X))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights, for ``take``."""
        return dict(self.model.network_.state_dict())

    def take(self, X: Any, y: Array, tensors: Mapping[str, torch.Tensor]) -> NetworkMember:
        """Be what was fitted to these rows before, by its weights.

        Raises:
            ValueError: they do not fit.
        """
        with torch.enable_grad():  # who predicts has none
            self.model.set_params(steps=1, epochs=None)  # one step makes what holds the weights
            self.fit(X, y)
        load_into(self.model.network_, tensors)
        return self


def networks(model: Any, rows: Any) -> list[Candidate]:
    """Candidates that train the network of the settings, by each strategy; none for sparse rows.

    Args:
        model: The ``SelfTrainClassifier``.
        rows: As they were given.
    """
    if hasattr(rows, "tocsr"):
        return []
    # by name no strategy but the default one takes its rule and settings
    own = model.select is not None or model.strategy_params is not None
    # seconds on one core with the default networks: a step of a table, and what a pixel adds
    rates = 0.008 + 4e-5 * math.prod(rows.shape[1:]) * (model.inputs_.kind != "table")
    steps = model.steps or (model.epochs or 0) * len(rows) // (model.batch_size * model.unlabeled_ratio) or 500
    return [
        Candidate(
            f"network, {name}", "network", "given", partial(_network, model, name), steps * model.members * rates, 1
        )
        for name in ((default_method(model.select),) if own else NETWORKS)
    ]


def _network(model: Any, name: str, seed: int) -> NetworkMember:
    own: dict[str, Any] = {
        "strategy": name,
        "budget": None,
        "out": None,
        "verbose": 0,
        "random_state": seed,
        "unlabeled": -1,
        "table": None,  # rows are numbers by then
    }
    if model.baseline is None:
        own["baseline"] = False  # the labels alone are candidates of their own
    return NetworkMember(clone(model).set_params(**own))


class _Reader:
    """Makes numbers of rows; those of the last rows are kept, for each form of the rows asks."""

    _last: tuple[Any, Array] | None = None

    def __call__(self, rows: Any) -> Array:
        """Numbers (N, D) of rows (N, ...)."""
        if self._last is None or self._last[0] is not rows:
            self._last = (rows, self.numbers(rows))
        return self._last[1]

    def numbers(self, rows: Any) -> Array:
        """Numbers (N, D) of rows (N, ...), made anew."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


class Features(_Reader):
    """Features of an encoder, as it is, of rows as they are given.

    Args:
        inputs: How rows are read.
        encoder: Of ``selftrain.pretrained``.
        device: Where it computes.
    """

    def __init__(self, inputs: Inputs, encoder: Foundation, device: torch.device) -> None:
        self.inputs, self.encoder, self.device = inputs, encoder, device

    def numbers(self, rows: Any) -> Array:
        """Features (N, embed_dim)."""
        pile = Pile(None, self.inputs.samples(self.inputs.read(rows)))
        samples = pile.encoded(self.encoder, views=0, device=self.device).unlabeled
        assert samples is not None
        return samples.images(np.arange(len(rows)))[:, 0].numpy()


class Described(_Reader):
    """Directions of edges in 8 x 8 cells of a picture and, of one in color, its histogram of 512 colors.

    Each of the two has length 1. Pixels tell where something is, these what it looks like wherever it is.

    Args:
        inputs: How pictures are read.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def numbers(self, rows: Any) -> Array:
        """Description (N, D) of pictures."""
        return np.concatenate([self._part(rows[start : start + 200]) for start in range(0, len(rows), 200)])

    def _part(self, rows: Any) -> Array:
        read = self.inputs.read(rows)
        x = read.float() / 255 if read.dtype == torch.uint8 else read.float()
        parts = [hog(x.mean(1, keepdim=True), max(4, min(x.shape[2:]) // 8)).flatten(1)]
        if x.shape[1] == 3:
            parts.append(color_histograms(x, 8))
        return torch.cat([normalize(part) for part in parts], 1).numpy()


def of_pictures(inputs: Inputs, rows: Any) -> dict[str, Any]:
    """``read`` and ``described`` of a portfolio that learns from pictures.

    Args:
        inputs: How they are read.
        rows: All of them, as they were given.
    """
    # one picture is the same whether it comes in bytes or as floats in [0, 1]
    read = partial(_pixels, inputs, white=inputs.read(rows[:1]).dtype == torch.uint8)
    if inputs.shape[0] not in (1, 3) or min(inputs.shape[1:]) < SMALLEST:
        return {"read": read, "described": {}}
    return {"read": read, "described": {"edges" if inputs.shape[0] == 1 else "edges and colors": Described(inputs)}}


def learn(model: Any, X: Any, labels: Labels, seed: int) -> tuple[Portfolio, Ledger]:
    """Try the candidates, store what is found in ``out``.

    Args:
        model: The ``SelfTrainClassifier``.
        X: Its rows, checked.
        labels: Their labels.
        seed: Of everything drawn.

    Returns:
        What is shipped, and the pseudo-labels of the rows without a label.
    """
    folder = claimed(model.out, (CANDIDATES,), "portfolio", resume=False, overwrite=model.overwrite)
    if folder is not None and any((folder / name).exists() for name in RUN_MARKS):
        raise RunFolderError(f"{folder} holds the run of a network; choose another folder")
    ways: dict[str, Any] = {}
    if isinstance(model.network, Foundation) and not hasattr(X, "tocsr"):
        ways = {"read": Features(model.inputs_, copy_network(model.network), model._device())}
    elif not hasattr(X, "tocsr") and model.inputs_.kind == "image":
        ways = of_pictures(model.inputs_, X)
    elif not hasattr(X, "tocsr") and model.inputs_.gaps:
        ways = {"read": partial(_stretched, length=X.shape[2])}  # whose trees and neighbors want one length
    portfolio = Portfolio(model.budget or "fast", seed=seed, verbose=bool(model.verbose))
    pile = np.flatnonzero(~labels.labeled)
    if not len(pile):
        warnings.warn("no row of y is unlabeled; what is learned is supervised only", SelfTrainingWarning, stacklevel=3)
    portfolio.fit(X, labels.codes, networks(model, X), **ways)
    names = [str(name) for name in labels.classes]
    ledger = (
        write_ledger([str(row) for row in pile], names, *portfolio.asked(X[pile])) if len(pile) else Ledger([], names)
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_report(folder, portfolio.records_)
        ledger.to_csv(folder / LABELS)
        with at_no_cost(folder / REPORT):
            write_page(of_portfolio(portfolio.records_, ledger, folder.resolve().name), folder / REPORT)
    return portfolio, ledger


def _pixels(inputs: Inputs, rows: Any, *, white: bool) -> torch.Tensor:
    """Pictures of at most 32 x 32 pixels, with white as 255 (``white``) or 1, whichever the first ones had."""
    read: torch.Tensor = inputs.read(rows)
    if (read.dtype == torch.uint8) != white:
        read = read * 255.0 if white else read.double() / 255.0
    longest = max(read.shape[2:])
    if longest <= LARGEST:
        return read
    # what compares pixels learns no more from many, and takes as many times longer
    sides = [-(-side * LARGEST // longest) for side in read.shape[2:]]
    return torch.cat([interpolate(part.float(), sides, mode="area") for part in read.split(500)])


def _stretched(rows: Any, *, length: int) -> Array:
    """Series (N, C, any length) as (N, C, length), linear between the numbers that are there; 0 where none is."""
    found = np.zeros((*rows.shape[:2], length))
    for row, series in enumerate(rows):
        end = int(np.flatnonzero(~np.isnan(series).all(0))[-1])
        for channel, values in enumerate(series):
            there = np.flatnonzero(~np.isnan(values))
            if len(there):
                found[row, channel] = np.interp(np.linspace(0, end, length), there, values[there])
    return found


def write_ledger(ids: Sequence[str], classes: Sequence[str], answers: Array, agreement: Array) -> Ledger:
    """The pseudo-labels of a portfolio as a ledger: one look at each row, all of them taken, at step 0.

    Args:
        ids: Of the rows.
        classes: Names.
        answers: Probabilities, shape (N, C).
        agreement: Weight of the members that decide alike, shape (N,).
    """
    ledger = Ledger(ids, classes)
    value, alike = torch.from_numpy(answers).float(), torch.from_numpy(agreement).float().clamp(0, 1)
    ledger.write(
        PseudoLabels(torch.arange(len(ids)), value, torch.ones(len(ids)), alike), Classification(len(classes)), 0
    )
    return ledger
