"""What is shipped: a blend of candidates, weighted by evidence.

Each candidate's answers for labels that were hidden from it are calibrated by one temperature, and its loss per label
is the mean of -log p(label). With L labels that were hidden, K imagined ones for which the prior speaks, and a
temperature T of the evidence, the weight of a candidate is

    w  ~  exp(-(L loss + K prior) / T)

which is Bayesian model averaging at T = 1. Labels are few and the answers of one fold are alike, so evidence counts for
less: T is above 1. The more labels there are, the more count instead the weights that make the loss of the blend itself
small (Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004): their share is L / (L + 50).

The prior is a mean excess loss over the best candidate on other data sets, see ``prior.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from selftrain.portfolio.judging import Judged
from selftrain.wrapper.labels import Array

TEMPERATURE, IMAGINED = 4.0, 10.0  # T and K; benchmarks/portfolio.py compares others on development draws
HALF = 50  # labels of which on the weights that suit the blend count more than half
ROUNDS = 20
LEAST = 0.02  # weight below which a candidate is left out: it would cost time and change nothing
ON = " on "  # between the name of a method and that of a description of rows
FEW = 5  # labels of a class below which candidates are also asked how far they agree
_FLOOR = 1e-6


@dataclass(frozen=True)
class Scored:
    """A candidate's evidence.

    Attributes:
        power: Probabilities become p^power, normalized; above 1 sharpens.
        told: Calibrated probability of each label in each repeat, shape (R, L); NaN where never hidden.
        losses: -log of the probability of each label, mean over the repeats, shape (L,); NaN where never hidden.
        right: Share of the repeats in which the decision was right, shape (L,); NaN likewise.
    """

    power: float
    told: Array
    losses: Array
    right: Array

    @property
    def loss(self) -> float:
        """Mean loss a label; NaN without evidence."""
        return _mean(self.losses)

    @property
    def accuracy(self) -> float:
        """Mean accuracy, in [0, 1]; NaN without evidence."""
        return _mean(self.right)

    @property
    def error(self) -> float:
        """Standard error of the accuracy over the labels; NaN without evidence."""
        known = self.right[~np.isnan(self.right)]
        return float(known.std() / np.sqrt(len(known))) if len(known) else float("nan")


def score(judged: Judged, codes: Array) -> Scored:
    """Calibrate a candidate's answers and measure them.

    Args:
        judged: Of the candidate.
        codes: The labels, shape (L,).
    """
    answers = judged.answers
    asked = ~np.isnan(answers).any(2)
    power = fit_power(answers[asked], np.broadcast_to(codes, asked.shape)[asked])
    # a label is hidden in every repeat or in none
    told = sharpened(answers, power, len(codes))[:, np.arange(len(codes)), codes]
    right = np.where(asked, answers.argmax(2) == codes, np.nan)
    return Scored(power, told, -np.log(told).mean(0), right.mean(0))


def fit_power(answers: Array, codes: Array) -> float:
    """The power for which p^power gives labels the highest likelihood, drawn a little to 1; 1 without labels.

    That is 1 / T of temperature scaling (Guo et al., 2017, arXiv:1706.04599), within [0.05, 20]. Differs: 0.002 times
    the square of its logarithm is added to the loss, for without an error the likelihood has no maximum.
    """
    if not len(codes):
        return 1.0
    logs = np.log(np.maximum(answers, _FLOOR))

    def cost(log_power: float) -> float:
        likely = log_softmax(np.exp(log_power) * logs, axis=1)[np.arange(len(codes)), codes]
        return float(-likely.mean() + 0.002 * log_power**2)

    return float(np.exp(minimize_scalar(cost, bounds=(-3.0, 3.0), method="bounded").x))


def sharpened(answers: Array, power: float, labels: int) -> Array:
    """p^power, normalized, mixed with equal shares as one label of L + 2 would be (so none is 0), (..., C)."""
    mixed = 1 / (labels + 2)
    value = softmax(power * np.log(np.maximum(answers, _FLOOR)), axis=-1)
    return np.asarray((1 - mixed) * value + mixed / answers.shape[-1])


def blend_weights(scores: Sequence[Scored], prior: Sequence[float] | Array) -> Array:
    """Weight of each candidate, shape (K,), sums to 1; those below 2 % are left out. Equation: see the module.

    Args:
        scores: Evidence of each candidate, of the same labels.
        prior: Mean excess loss of each candidate on other data sets.
    """
    told = np.stack([found.told for found in scores])
    told = told[:, :, np.isfinite(told).all((0, 1))]
    labels = told.shape[2]
    losses = -np.log(told).mean(1).sum(1)
    weights = softmax(-(losses + IMAGINED * np.asarray(prior, dtype=float)) / TEMPERATURE)
    if labels:
        share = labels / (labels + HALF)
        weights = (1 - share) * weights + share * greedy_weights(told)
    weights[weights < min(LEAST, weights.max())] = 0.0
    return np.asarray(weights / weights.sum())


def greedy_weights(told: Array, rounds: int = ROUNDS) -> Array:
    """How often each candidate is taken when the next is always the one that makes the loss of their mean smallest.

    Args:
        told: Probability of each label, of each candidate and repeat, shape (K, R, L), above 0.
        rounds: How many are taken; one may be taken again.
    """
    count, total = np.zeros(len(told)), np.zeros(told.shape[1:])
    for taken in range(rounds):
        best = int((-np.log((total + told) / (taken + 1))).mean((1, 2)).argmin())
        count[best] += 1
        total = total + told[best]
    return count / rounds


def disagreement(answers: Array, weights: Array) -> Array:
    """-log of the probability that each candidate gives to what the others decide, mean over the rows, shape (K,).

    Args:
        answers: Calibrated probabilities for rows without a label, shape (K, N, C).
        weights: Of the candidates, shape (K,).
    """
    rest = 1 - np.eye(len(weights))
    others = np.einsum("jk,knc->jnc", rest * weights, answers)
    decided = others.argmax(2)
    told = np.take_along_axis(answers, decided[:, :, None], axis=2)[:, :, 0]
    return np.asarray(-np.log(np.maximum(told, _FLOOR)).mean(1))


def priors(names: Sequence[str], group: str) -> Array:
    """Mean excess loss on other data sets of each candidate, shape (K,); one that is not known there has the mean.

    Args:
        names: Of the candidates; ``"logistic on edges"`` is a ``"logistic"``.
        group: ``"narrow"`` or ``"wide"`` rows.
    """
    stored: dict[str, float] = json.loads((Path(__file__).parent / "prior.json").read_text(encoding="utf-8"))[group]
    usual = float(np.mean(list(stored.values())))
    return np.array([stored.get(name.partition(ON)[0], usual) for name in names])


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
