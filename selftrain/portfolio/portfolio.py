"""Candidates, evidence and blend in one: what ``SelfTrainClassifier(strategy="auto")`` is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from selftrain.portfolio.candidates import Candidate, Size, candidates, whole_cost, within
from selftrain.portfolio.choosing import (
    FEW,
    LEAST,
    ON,
    blend_weights,
    disagreement,
    fit_power,
    priors,
    score,
    sharpened,
)
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


@dataclass(frozen=True)
class Member:
    """A fitted candidate in the blend, with the power that calibrates its probabilities and its weight."""

    name: str
    form: str
    fitted: Any
    power: float
    weight: float


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
        described: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> Portfolio:
        """Learn from labels and pile.

        Args:
            X: All rows, shape (N, ...), or a sparse matrix.
            codes: Class of each row, 0..C-1, or -1 where there is none, shape (N,).
            more: Further candidates, such as networks.
            read: Makes numbers of rows, see ``Forms``.
            described: Other numbers of the same rows, see ``Forms``; every candidate is tried on each, too.
        """
        known_ways, size = self._ways(X, codes, more, read, described)
        truth, budget = codes[codes >= 0], seconds(self.budget, size.rows)
        parts = list(folds(codes, SPLITS, REPEATS, self.seed))
        tried = within(known_ways, SPLITS, budget)

        judged, scored, fitted, spent = [], [], [], []
        for candidate in tqdm(tried, disable=not self.verbose, unit="candidate"):
            begun = perf_counter()
            judged.append(judge(candidate, self.forms, codes, parts, self.seed))
            scored.append(score(judged[-1], truth))
            fitted.append(candidate.make(self.seed).fit(self.forms[candidate.form], codes))
            spent.append(perf_counter() - begun)

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
            Member(tried[k].name, tried[k].form, fitted[k], scored[k].power, float(weights[k]))
            for k in order
            if weights[k] > 0
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

    def stored(self) -> list[dict[str, Any]]:
        """What ``restore`` makes the members of: names, powers, weights in the blend, tensors of networks."""
        return [
            {"name": m.name, "power": m.power, "weight": m.weight, "tensors": getattr(m.fitted, "tensors", dict)()}
            for m in self.members_
        ]

    def restore(
        self,
        members: Sequence[Mapping[str, Any]],
        power: float,
        X: Any,
        codes: Array,
        more: Sequence[Candidate] = (),
        *,
        read: Callable[[Any], Any] | None = None,
        described: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> Portfolio:
        """Be the portfolio that was fitted to these rows before: its members are fitted again, nothing is judged.

        Args:
            members: Of ``stored``.
            power: Its ``power_``.
            X: All rows, as in ``fit``.
            codes: Their classes, as in ``fit``.
            more: As in ``fit``.
            read: As in ``fit``.
            described: As in ``fit``.

        Raises:
            ValueError: a member that is no candidate for such rows.
        """
        ways = {candidate.name: candidate for candidate in self._ways(X, codes, more, read, described)[0]}
        self.members_, self.power_ = [], power
        for member in members:
            if member["name"] not in ways:
                raise ValueError(f"{member['name']!r} is no candidate; known are {', '.join(ways)}")
            way = ways[member["name"]]
            made, rows = way.make(self.seed), self.forms[way.form]
            fitted = made.take(rows, codes, member["tensors"]) if hasattr(made, "take") else made.fit(rows, codes)
            self.members_.append(Member(way.name, way.form, fitted, member["power"], member["weight"]))
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return self.asked(X)[0]

    def asked(self, X: Any) -> tuple[Array, Array]:
        """Probabilities of the classes, shape (N, C), and the weight of the members that decide alike, shape (N,)."""
        said = [(m.weight, self._said(m.fitted, m.power, self.forms.of(m.form, X))) for m in self.members_]
        value: Array = np.sum([weight * part for weight, part in said], axis=0)
        alike = np.sum([weight * (part.argmax(1) == value.argmax(1)) for weight, part in said], axis=0)
        return sharpened(value, self.power_, self._known), np.asarray(alike)

    def _ways(
        self,
        X: Any,
        codes: Array,
        more: Sequence[Candidate],
        read: Callable[[Any], Any] | None,
        described: Mapping[str, Callable[[Any], Any]] | None,
    ) -> tuple[list[Candidate], Size]:
        """All candidates for a problem, and how large it is."""
        self._known, self.classes = int((codes >= 0).sum()), int(codes.max()) + 1
        self.forms = Forms(X, self.seed, read, described)
        size = Size(len(codes), self._known, self.forms.columns, self.classes, self.forms.wide)
        found = candidates(self.forms, size)
        for name, forms in self.forms.described.items():
            ways = candidates(forms, replace(size, columns=forms.columns, wide=forms.wide))
            found += [replace(way, name=f"{way.name}{ON}{name}", form=f"{name}/{way.form}") for way in ways]
        return [*found, *more], size

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
