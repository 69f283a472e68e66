"""Which rule chooses or blends the candidates of strategy="auto" with least regret: docs/decisions/0052-*.md.

python benchmarks/portfolio.py --packages DIR --images DIR --cache DIR [--only WORD ...] [--report | --write]

Choices and prior are made on sets that no page reports, those of benchmarks/other_sets.py; stored are 38 of those
problems, draw 100, in which soft labels took 100 steps a round, not 25. A problem of benchmarks/first_problems.py runs
only if ``--only`` names it, with labels of draws that are not reported either (100 and on): to see that nothing is
worse there, asked for rows of the pile, never for test rows.
Every candidate answers for labels that are hidden from it and, with all labels, for at most 1,500 rows of the pile;
each rule gets the former and is measured on the latter. Regret is the accuracy that it loses to the candidate that is
best in hindsight.

``--write`` writes selftrain/portfolio/prior.json: how much larger the loss of each candidate on those rows is than that
of the best one, in the mean over the other sets and draws, of tables and of rows with more than 100 columns.

Answers are kept in the folder of --cache, their accuracies and those of the rules in benchmarks/results/portfolio.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import first_problems
import numpy as np
from first_problems import PROBLEMS, Places
from other_sets import OTHERS, enough
from scipy.special import softmax
from sources import Array
from stored import Row, read, store
from tables_compare import hide

from selftrain.portfolio import Forms, candidates, folds, judge
from selftrain.portfolio.candidates import Size
from selftrain.portfolio.choosing import Scored, blend_weights, greedy_weights, priors, score, sharpened
from selftrain.portfolio.judging import Judged, answer

RESULT = Path(__file__).parent / "results" / "portfolio.json"
PRIOR = Path(__file__).parent.parent / "selftrain" / "portfolio" / "prior.json"
COMMAND = "python benchmarks/portfolio.py --packages DIR --images DIR --cache DIR"
FIRST, ASKED, SEED = 100, 1500, 1
ALL = {**OTHERS, **PROBLEMS}
Rule = Callable[[Array, Sequence[Scored]], Array]


# -- rules: probabilities of hidden labels (K, R, L), and scores -> weights (K,) ---------------------------------------
def _losses(scores: Sequence[Scored]) -> Array:
    return np.array([s.loss for s in scores])


def smallest(told: Array, scores: Sequence[Scored]) -> Array:
    """The smallest loss."""
    return np.eye(len(told))[_losses(scores).argmin()]


def likeliest(told: Array, scores: Sequence[Scored]) -> Array:
    """The highest accuracy; of equals the smaller loss."""
    order = np.lexsort((_losses(scores), [-s.accuracy for s in scores]))
    return np.eye(len(told))[order[0]]


def simplest(told: Array, scores: Sequence[Scored]) -> Array:
    """The first whose loss is within one standard error of the smallest; candidates are ordered by simplicity."""
    best = scores[_losses(scores).argmin()].losses
    apart = [s.losses - best for s in scores]
    near = [a.mean() <= a.std() / np.sqrt(len(a)) for a in apart]
    return np.eye(len(told))[int(np.argmax(near))]


def mean(told: Array, scores: Sequence[Scored]) -> Array:
    """All alike."""
    return np.full(len(told), 1 / len(told))


def evidence(temperature: float) -> Rule:
    """Weights of evidence, without a prior."""
    return lambda told, scores: np.asarray(softmax(-_losses(scores) * told.shape[2] / temperature))


def greedy(rounds: int) -> Rule:
    """Weights that suit the blend."""
    return lambda told, scores: greedy_weights(told, rounds)


def both(told: Array, scores: Sequence[Scored]) -> Array:
    """Both, by the number of labels: as shipped, but for the prior."""
    return blend_weights(scores, np.zeros(len(told)))


RULES: dict[str, Rule] = {
    "smallest loss": smallest,
    "highest accuracy": likeliest,
    "one standard error": simplest,
    "mean of all": mean,
    **{f"evidence, T = {t}": evidence(t) for t in (1, 2, 4, 8)},
    **{f"greedy, {n} rounds": greedy(n) for n in (5, 20, 50)},
    "both": both,
}


# -- runs --------------------------------------------------------------------------------------------------------------
def answers(name: str, draw: int, places: Places) -> dict[str, Any]:
    """What every candidate says on one draw of labels, from the cache or made and put there."""
    path = places.cache / "portfolio" / f"{name.replace(' ', '_')}_{draw}.npz"
    if not path.exists():
        source = ALL[name].read(places)
        codes = hide(source.y, ALL[name].each, draw)
        forms, classes, known = Forms(source.x), int(source.y.max()) + 1, codes[codes >= 0]
        size = Size(len(codes), len(known), forms.columns, classes, forms.wide)
        parts = list(folds(codes, 5, 2, draw))
        rows = np.sort(np.random.RandomState(5).permutation(np.flatnonzero(codes < 0))[:ASKED])
        found: dict[str, Any] = {"wide": forms.wide, "codes": known, "truth": source.y[rows]}
        for candidate in candidates(forms, size):
            judged = judge(candidate, forms, codes, parts, SEED)
            fitted = candidate.make(SEED).fit(forms[candidate.form], codes)
            said = answer(fitted, forms[candidate.form][rows], classes)
            found |= {f"hidden/{candidate.family}/{candidate.name}": judged.answers, f"said/{candidate.name}": said}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **found)
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def measured(name: str, draw: int, found: dict[str, Any]) -> Row:
    """Accuracy of every candidate and rule."""
    codes, truth = found["codes"], found["truth"]
    keys = [key.split("/") for key in found if key.startswith("hidden/")]
    scores = [score(Judged(None, found["/".join(key)], 0.0), codes) for key in keys]  # type: ignore[arg-type]
    hidden = [sharpened(found["/".join(k)], s.power, len(codes)) for k, s in zip(keys, scores, strict=True)]
    told = np.stack([value[:, np.arange(len(codes)), codes] for value in hidden])
    said = np.stack([sharpened(found[f"said/{k[2]}"], s.power, len(codes)) for k, s in zip(keys, scores, strict=True)])
    single = {k[2]: float((value.argmax(1) == truth).mean()) for k, value in zip(keys, said, strict=True)}
    alone = max(single[k[2]] for k in keys if k[1] == "labels alone")
    likely = -np.log(said[:, np.arange(len(truth)), truth]).mean(1)
    excess = {k[2]: round(float(loss - likely.min()), 4) for k, loss in zip(keys, likely, strict=True)}
    rules = {
        rule: float((np.tensordot(weigh(told, scores), said, 1).argmax(1) == truth).mean())
        for rule, weigh in RULES.items()
    }
    known = priors([k[2] for k in keys], "wide" if found["wide"] else "narrow")
    rules["shipped"] = float((np.tensordot(blend_weights(scores, known), said, 1).argmax(1) == truth).mean())
    figures = {"labels alone": alone, "candidates": single, "excess": excess, "rules": rules}
    return {"problem": name, "draw": draw, "wide": bool(found["wide"])} | figures


def prior(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Mean excess loss of each candidate, of narrow and of wide rows of sets that no page reports."""
    used = [row for row in rows if row["problem"] in OTHERS]
    found: dict[str, dict[str, list[float]]] = {"narrow": defaultdict(list), "wide": defaultdict(list)}
    for row in used:
        for name, loss in row["excess"].items():
            found["wide" if row["wide"] else "narrow"][name].append(loss)
    return {key: {name: round(float(np.mean(values)), 3) for name, values in of.items()} for key, of in found.items()}


def report(rows: Sequence[Row]) -> str:
    """Mean accuracy, mean and largest regret, and the most that is lost to the labels alone, in points."""
    best = np.array([max(row["candidates"].values()) for row in rows])
    alone = np.array([row["labels alone"] for row in rows])
    lines = [
        "| rule | mean accuracy | mean regret | largest regret | worst beside the labels alone |",
        "| --- " * 5 + "|",
    ]
    for rule in ("labels alone, best in hindsight", *RULES, "shipped"):
        value = alone if rule.startswith("labels alone") else np.array([row["rules"][rule] for row in rows])
        figures = (value.mean(), (best - value).mean(), (best - value).max(), (value - alone).min())
        lines.append(f"| {rule} | " + " | ".join(f"{100 * figure:.1f}" for figure in figures) + " |")
    return "\n".join([f"{len(rows)} problems and draws", "", *lines, ""])


def main() -> None:
    """Run what is missing, measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    first_problems.add_places(parser)
    parser.add_argument("--draws", type=int, default=1, help="draws of labels")
    parser.add_argument("--only", nargs="*", default=[], help="problems whose name holds one of these words")
    parser.add_argument("--report", action="store_true", help="print the table of what is stored")
    parser.add_argument("--write", action="store_true", help="write the prior from what is stored")
    options = parser.parse_args()
    rows, names = read(RESULT), list(ALL)
    if options.report:
        for title, part in (("Other sets", OTHERS), ("Sets of the page", PROBLEMS)):
            if found := [row for row in rows if row["problem"] in part]:
                print(f"{title}: {report(found)}")
        return
    if options.write:
        PRIOR.write_text(json.dumps(prior(rows), indent=2) + "\n", encoding="utf-8")
        return
    places = Places(options.packages, options.images, options.cache)
    for draw in range(FIRST, FIRST + options.draws):
        for name in names:
            if not (any(word in name for word in options.only) if options.only else name in OTHERS):
                continue
            if name in OTHERS and not enough(OTHERS[name].read(places).y, OTHERS[name].each):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = measured(name, draw, answers(name, draw, places))
            rows = [old for old in rows if (old["problem"], old["draw"]) != (name, draw)] + [row]
            store(RESULT, rows, lambda row: names.index(row["problem"]) * 1000 + row["draw"], COMMAND)
            print(name, draw, {rule: round(100 * value, 1) for rule, value in row["rules"].items()}, flush=True)


if __name__ == "__main__":
    main()
