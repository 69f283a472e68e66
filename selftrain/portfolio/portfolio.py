"""Candidates, evidence and blend in one: what ``SelfTrainClassifier(strategy="auto")`` is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from selftrain.portfolio.candidates import Candidate, Size, candidates, whole_cost, within
from selftrain.portfolio.choosing import FEW, LEAST, blend_weights, disagreement, fit_power, priors, score, sharpened
from selftrain.portfolio.forms import Forms
from selftrain.portfolio.judging import answer, folds, judge
from selftrain.wrapper.labels import Array

BUDGETS = ("fast", "thorough")
SPLITS, REPEATS = 5, 2
_ROWS = 1000  # of the pile that candidates are compared on


def seconds(budget: str | float, rows: int) -> float:
    """Estimated seconds that all fits may take together.

    Args:
        budget: ``"fast"``: 2 and 6 for each 1,000 rows; ``"thorough"``: 20 times as many; or seconds.
        rows: All rows.

    Raises:
        ValueError: for another budget.
    """
    if isinstance(budget, str) and budget in BUDGETS:
        return (2 + 0.006 * rows) * (1 if budget == "fast" else 20)
    if isinstance(budget, str | bool) or not 0 <= float(budget) < math.inf:
        raise ValueError(f"budget is {budget!r}; give 'fast', 'thorough' or seconds of at least 0")
    return float(budget)


class Portfolio:
    """Try candidates, judge each on labels that it did not see, ship a blend of them weighted by that evidence.

    Args:
        budget: See ``seconds``. Times are estimated from the size of the problem, not taken, so that one seed gives
            one result. The labels alone are always tried.
        seed: Of everything drawn.
        verbose: Whether to show a bar.

    Attributes:
        records_: A row a candidate, in the order of their weights: ``name``, ``family``, ``accuracy`` and its
            ``standard_error`` on hidden labels in [0, 1], ``loss`` (mean -log p of a hidden label), ``prior`` (the
            same as an excess, on other data sets), ``weight`` in the blend, ``seconds`` (judging and last fit),
            ``reason``. Figures that cannot be told are ``None``.
        labels_: Number of labels that were hidden once.
    """

    def __init__(
        self,
        budget: str | float = "fast",
        *,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        self.budget, self.seed, self.verbose = budget, seed, verbose

    def fit(
        self,
        X: Any,
        codes: Array,
        more: Sequence[Candidate] = (),
        *,
        read: Callable[[Any], Any] | None = None,
    ) -> Portfolio:
        """Learn from labels and pile.

        Args:
            X: All rows, shape (N, ...), or a sparse matrix.
            codes: Class of each row, 0..C-1, or -1 where there is none, shape (N,).
            more: Further candidates, such as networks.
            read: Makes numbers of rows, see ``Forms``.
        """
        known = np.flatnonzero(codes >= 0)
        truth, self.classes = codes[known], int(codes.max()) + 1
        self.forms = Forms(X, self.seed, read)
        size = Size(len(codes), len(known), self.forms.columns, self.classes, self.forms.wide)
        parts = list(folds(codes, SPLITS, REPEATS, self.seed))
        known_ways, budget = [*candidates(self.forms, size), *more], seconds(self.budget, size.rows)
        tried = within(known_ways, SPLITS, budget)

        judged, scored, fitted, spent = [], [], [], []
        for candidate in tqdm(tried, disable=not self.verbose, unit="candidate"):
            begun = perf_counter()
            judged.append(judge(candidate, self.forms, codes, parts, self.seed))
            scored.append(score(judged[-1], truth))
            fitted.append(candidate.make(self.seed).fit(self.forms[candidate.form], codes))
            spent.append(perf_counter() - begun)

        self._known = len(known)
        self.labels_ = int(np.isfinite(scored[0].losses).sum())
        prior = priors([c.name for c in tried], "wide" if size.wide else "narrow")
        weights = blend_weights(scored, prior)
        pile = np.flatnonzero(codes < 0)
        few = int(np.bincount(truth, minlength=self.classes).min()) < FEW and len(pile) > 0
        if few:
            # labels are too few to tell much: who says what the others say is more likely right
            pile = pile[:: -(-len(pile) // _ROWS)]
            asked = zip(tried, fitted, scored, strict=True)
            said = [self._said(f, s.power, self.forms[c.form][pile]) for c, f, s in asked]
            weights = blend_weights(scored, prior + disagreement(np.stack(said), weights))
        order = [int(k) for k in np.argsort(-weights, kind="stable")]
        self.members_ = [
            (tried[k].form, fitted[k], scored[k].power, float(weights[k])) for k in order if weights[k] > 0
        ]
        parts_of = [
            w * sharpened(j.answers, s.power, self._known) for w, j, s in zip(weights, judged, scored, strict=True)
        ]
        asked_for = np.isfinite(parts_of[0]).all(2)
        self.power_ = fit_power(np.sum(parts_of, 0)[asked_for], np.broadcast_to(truth, asked_for.shape)[asked_for])
        self.records_ = [
            {
                "name": tried[k].name,
                "family": tried[k].family,
                "accuracy": _told(scored[k].accuracy),
                "standard_error": _told(scored[k].error),
                "loss": _told(scored[k].loss),
                "prior": float(prior[k]),
                "weight": float(weights[k]),
                "seconds": spent[k],
                "reason": _reason(float(weights[k]), self.labels_, few),
            }
            for k in order
        ]
        self.records_ += [_untried(candidate, budget) for candidate in known_ways if candidate not in tried]
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return self.asked(X)[0]

    def asked(self, X: Any) -> tuple[Array, Array]:
        """Probabilities of the classes, shape (N, C), and the weight of the members that decide alike, shape (N,)."""
        said = [
            (weight, self._said(fitted, power, self.forms.of(form, X))) for form, fitted, power, weight in self.members_
        ]
        value: Array = np.sum([weight * part for weight, part in said], axis=0)
        alike = np.sum([weight * (part.argmax(1) == value.argmax(1)) for weight, part in said], axis=0)
        return sharpened(value, self.power_, self._known), np.asarray(alike)

    def _said(self, fitted: Any, power: float, rows: Any) -> Array:
        """Calibrated probabilities of a fitted candidate for rows in its form."""
        return sharpened(answer(fitted, rows, self.classes), power, self._known)


def _untried(candidate: Candidate, budget: float) -> dict[str, Any]:
    """The record of a candidate that the budget has no time for."""
    figures = dict.fromkeys(("accuracy", "standard_error", "loss", "prior"))
    takes = whole_cost(candidate, SPLITS)
    reason = f"not tried: takes about {takes:.0f} s, more than is left of a budget of {budget:.0f} s; raise budget"
    return {
        "name": candidate.name,
        "family": candidate.family,
        **figures,
        "weight": 0.0,
        "seconds": 0.0,
        "reason": reason,
    }


def _reason(weight: float, labels: int, few: bool) -> str:
    """Why a candidate weighs what it does."""
    basis = f"loss on {labels} labels that it did not see" if labels else "no label could be hidden: the prior alone"
    basis += ", prior and agreement with the others" if few else " and prior"
    return f"{'blended' if weight else f'left out, below {LEAST:.0%}'}: {basis}"


def _told(value: float) -> float | None:
    return None if math.isnan(value) else value
