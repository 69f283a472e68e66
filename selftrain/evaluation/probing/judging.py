"""An encoder and its rivals, judged by the same probes on the same samples and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.evaluation.probing.arrays import Numbers, Scale, matrix
from selftrain.evaluation.probing.encoding import Features, calibrate, device_of, features_of
from selftrain.evaluation.probing.few import few_label
from selftrain.evaluation.probing.results import SCRATCH, ProbeReport, ProbeRow
from selftrain.evaluation.probing.rivals import ImageStatistics, Principal
from selftrain.evaluation.probing.scratch import from_scratch
from selftrain.metrics.features import feature_std, knn_accuracy, rankme
from selftrain.networks.student import Precision
from selftrain.runtime.rng import own_randomness, seed_step
from selftrain.types import Pile


def report(
    encoder: nn.Module,
    pile: Pile,
    *,
    fresh: Callable[[], nn.Module],
    part: str = "validation",
    supervised: Mapping[str, float] | None = None,
    scratch_steps: int = 1000,
    per_class: int | None = None,
    draws: int = 5,
    C: float = 1.0,
    components: int = 64,
    standardize: bool = True,
    seed: int = 0,
    batch_size: int = 256,
    precision: Precision = "fp32",
) -> ProbeReport:
    """Judge an encoder beside raw input, its principal components, image statistics and an untrained encoder.

    All rows see the same samples and the same draws of few labels. Only an encoder that beats raw input and its own
    random start has learned something of use (Corley et al. 2023, arXiv:2305.13456). Rows:

    - ``encoder``: features of ``encoder``;
    - ``raw input``: flattened and standardized;
    - ``PCA-64 of raw input``: of the standardized one; the number is that of the components;
    - ``image statistics``, of images (c, H, W) only: mean and standard deviation of each channel;
    - ``random init``: features of ``fresh()``, with BatchNorm statistics of the pile (``calibrate``);
    - ``supervised from scratch``: no probe, but the network ``fresh()`` trained here on all labels (``from_scratch``),
      or the rows of ``supervised``. Such rows have an ``accuracy`` alone, to be held against ``knn``, which has the
      same labels.

    Inputs have the size and normalization of the pile's plain view, which must be those the encoder was trained with:
    pass ``pile.normalized_as(card)`` for an encoder from another pile. Standardization and principal components are
    learned from labeled and unlabeled samples together, without labels. Raw rows hold every input in memory.

    Args:
        encoder: (B, ...) -> (B, D).
        pile: With labeled samples whose annotations are class numbers.
        fresh: Builds the encoder untrained, with the same settings, such as ``lambda: ViT(28, 7)``. It draws from
            ``seed``, and the caller's random state stays.
        part: Part of the pile to classify; ``"test"`` for the final table, not to choose by.
        supervised: Name -> accuracy of networks trained on labels elsewhere; ``None``: the control is trained here;
            empty: there is none, and the table says so. To hold against ``logistic``, train on the rows that
            ``label_draws`` gives.
        scratch_steps: Steps of the control that is trained here, on 32 labeled samples each; so many that more do not
            help.
        per_class: Labels of each class in a draw; ``None``: 10, or half of the rarest class if that is less, so that
            draws differ.
        draws: Draws of labels, >= 2.
        C: See ``logistic_probe``.
        components: Principal components, >= 1.
        standardize: Standardize the features of networks before ``knn``, because those of some are one large constant
            and little else (as the ``knn`` of pretraining is, by the labeled samples alone). ``logistic`` is
            standardized in any case.
        seed: Key of the draws of labels and of the untrained encoder.
        batch_size: Samples a batch.
        precision: Of the encoders, see ``Learner``.

    Raises:
        ValueError: if the pile has no labeled samples or none of ``part``, if their annotations are no class numbers,
            for a class with too few labels, or for an argument out of range.
    """
    samples = _Samples(pile, part, batch_size, device_of(encoder) or torch.device("cpu"), precision)
    counts = torch.bincount(samples.known)
    # half of the rarest class: the draws must be able to differ
    count = max(1, min(10, int(counts[counts > 0].min()) // 2)) if per_class is None else per_class

    def judged(name: str, looks: _Looks, scaled: bool = standardize) -> ProbeRow:
        few = few_label(
            looks.pool, samples.pool, looks.asked, samples.truth, per_class=count, draws=draws, seed=seed, C=C
        )
        # for neighbors alone: few_label standardizes by itself, and ranks are those of the features as they are
        pool, asked, _ = looks.mapped(Scale(np.asarray(looks.pool, np.float64))) if scaled else looks
        # labeled samples stand first in the pool
        knn = knn_accuracy(pool[: len(samples.known)], samples.known, asked, samples.truth)
        centered, std = rankme(looks.free, center=True), feature_std(looks.free)
        label_free = {"rankme": rankme(looks.free), "rankme_centered": centered, "feature_std": std}
        return ProbeRow(name, {"knn": knn, "logistic": few.mean, "logistic_sd": few.sd} | label_free)

    raw, principal = samples.raw, Principal(matrix("inputs", samples.raw.pool), components)
    rows = [
        judged("encoder", samples.looks(encoder)),
        judged("raw input", raw.mapped(principal.scale), False),
        # not standardized once more: that would whiten the components, which are ordered by their variance
        judged(f"PCA-{principal.directions.shape[1]} of raw input", raw.mapped(principal), False),
        *([judged("image statistics", samples.looks(ImageStatistics()))] if samples.are_images else []),
        judged("random init", samples.looks(samples.untrained(fresh, seed))),
    ]
    steps = scratch_steps if supervised is None else None
    if steps is not None:
        given: dict[str, Any] = {"batch_size": batch_size, "device": samples.device, "precision": precision}
        supervised = {SCRATCH: from_scratch(fresh, pile, part=part, steps=steps, seed=seed, **given)}
    rows += [ProbeRow(name, {"accuracy": float(value)}) for name, value in (supervised or {}).items()]
    found = len(samples.truth), len(samples.known), count, draws, len(raw.free)
    return ProbeReport(tuple(rows), part, *found, scratch_steps=steps)


class _Looks(NamedTuple):
    """Features of the pool (labeled samples first), of those to classify, and of those for figures without labels."""

    pool: Tensor
    asked: Tensor
    free: Tensor

    def mapped(self, change: Callable[[Numbers], Numbers]) -> _Looks:
        """All three, changed."""
        return _Looks(*(torch.from_numpy(change(matrix("features", x))) for x in self))


class _Samples:
    """The samples that every row is judged on.

    Attributes:
        known: Classes of the labeled samples, (n,).
        pool: These, and -1 for each unlabeled sample behind them.
        truth: Classes of the samples to classify.
        raw: Flattened inputs.
        are_images: Whether inputs are (c, H, W).
    """

    def __init__(self, pile: Pile, part: str, batch_size: int, device: torch.device, precision: Precision) -> None:
        self.device, self.precision = device, precision
        labeled, asked = (pile.evaluation(p, batch_size, device) for p in ("labeled", part))
        if labeled is None or asked is None:
            raise ValueError(f"the pile has no {'labeled' if labeled is None else part} samples; a report needs them")
        unlabeled = pile.evaluation("unlabeled", batch_size, device)
        self.sets = [labeled, asked, *([] if unlabeled is None else [unlabeled])]
        self.are_images = next(iter(labeled)).x.dim() == 4
        found = self._encoded(nn.Flatten())
        self.raw, self.known, self.truth = _joined(found), _classes(found[0]), _classes(found[1])
        self.pool = torch.cat([self.known, torch.full((len(self.raw.pool) - len(self.known),), -1)])

    def looks(self, network: nn.Module) -> _Looks:
        """What ``network`` makes of them."""
        return _joined(self._encoded(network))

    def untrained(self, fresh: Callable[[], nn.Module], seed: int) -> nn.Module:
        """A new network with the BatchNorm statistics of the samples, drawn from ``seed``."""
        with own_randomness(self.device):
            seed_step(seed, self.device)
            labeled, *_, last = self.sets
            # without unlabeled samples the last set is the one that is judged: nothing may be learned from it
            return calibrate(fresh().to(self.device), last if len(self.sets) > 2 else labeled)

    def _encoded(self, network: nn.Module) -> list[Features]:
        return [features_of(network, batches, precision=self.precision) for batches in self.sets]


def _joined(found: Sequence[Features]) -> _Looks:
    """Features of labeled samples, of those to classify and, if there are any, of unlabeled ones."""
    known, asked, *free = (features.x for features in found)
    return _Looks(torch.cat([known, *free]), asked, *(free or [asked]))


def _classes(features: Features) -> Tensor:
    """Class numbers of samples that must have them."""
    if features.labels is None or bool((features.labels < 0).any()):
        raise ValueError("annotations are no class numbers from 0; a report judges encoders by classes")
    return features.labels
