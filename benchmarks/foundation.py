"""Heads on the features of frozen networks: where they start, one encoder or two, and the portfolio beside them.

python benchmarks/foundation.py --packages DIR --images DIR --cache DIR --sounds DIR [--only WORD ...] [--write]

Pictures and texts are those of benchmarks/first_problems.py, speech that of examples/foundation_sound.py (``--sounds``
has its folders, ``--packages`` the package Resemblyzer 0.1.4 as well). Of the texts there are two sets of features: of
MiniLM, and TF-IDF brought to 100 numbers (TruncatedSVD, fitted to the pile), and both side by side. Heads learn from
plain features, standardized, 500 steps at the settings of ``SelfTrainClassifier``, or from the labels alone 100 steps
at those of ``learner``; the labels alone are a logistic regression whose one setting is chosen by cross-validation.
``drawn`` is the start that heads had before. ``two heads`` is ``Ensemble``: one for each set of features, or two on the
only one; it learns decisions above 0.8, chosen on draws 100 and 101. ``two heads, soft`` has the defaults of
``Ensemble``: the mean of the members as it is, of all rows on which they agree.

Each (problem, method, draw) runs in one thread; finished rows are kept in the result file. That heads start at 0 was
decided on draws 100 to 104 of pictures and texts (``--draws-from 100 --result FILE``); those that are reported begin at
10. ``--write`` puts the table into docs/foundation.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from first_problems import Places, _cached, add_places, bbc_minilm, bbc_terms, cifar10_effnet, found_in_packages
from sources import Array, Source
from stored import Row, read, store
from tables import replace
from tables_compare import hide
from torch import Tensor

import selftrain as st
from selftrain import data, strategies
from selftrain.cli.starts import probed
from selftrain.data.encoded import EncodedSet
from selftrain.handlers import DataSummary, Progress
from selftrain.networks.by_name import PlainEncoder

RESULT = Path(__file__).parent / "results" / "foundation.json"
PAGE = Path(__file__).parent.parent / "docs" / "foundation.md"
COMMAND = "python benchmarks/foundation.py --packages DIR --images DIR --cache DIR --sounds DIR"
FIRST, TERMS = 10, 100
SILENT = (DataSummary(False), Progress(False))


class Set(NamedTuple):
    """Features with few labels: how they are made, labels of each class, and the widths of what lies side by side."""

    make: Callable[[Places, Path | None], Source]
    each: int
    widths: tuple[int, ...]


def terms(places: Places, _: Path | None) -> Source:
    """TF-IDF of the texts as few numbers."""
    from sklearn.decomposition import TruncatedSVD

    found = bbc_terms(places)
    few = TruncatedSVD(TERMS, random_state=0).fit(found.x)
    return found._replace(x=few.transform(found.x), x_test=few.transform(found.x_test))


def both(places: Places, _: Path | None) -> Source:
    """Both sets of features of the texts; their rows are the same ones."""
    one, other = bbc_minilm(places), terms(places, None)
    assert np.array_equal(one.y, other.y)
    parts = [np.concatenate(pair, 1) for pair in ((one.x, other.x), (one.x_test, other.x_test))]
    return one._replace(x=parts[0], x_test=parts[1])


def speech(places: Places, sounds: Path | None) -> Source:
    """Prompts in five languages; a fourth of the prompts is the test."""
    from sklearn.model_selection import GroupShuffleSplit

    def features() -> tuple[Array, ...]:
        sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
        from foundation_sound import read_prompts, voice

        if sounds is None:
            raise SystemExit("say --sounds: the folder with one of WAV files for each language")
        x, languages, prompts = read_prompts(sounds)
        network = voice(found_in_packages(places, "resemblyzer/pretrained.pt")).eval()
        with torch.inference_mode():
            rows = [network(batch).numpy() for batch in torch.from_numpy(x).split(128)]
        return np.concatenate(rows), np.unique(languages, return_inverse=True)[1], np.array(prompts)

    x, y, prompts = _cached(places, "speech_resemblyzer", features)
    train, test = next(GroupShuffleSplit(1, test_size=0.25, random_state=0).split(x, groups=prompts))
    return Source(x[train], y[train], x[test], y[test])


SETS = {
    "CIFAR-10, EfficientNet-Lite0, 40 labels": Set(lambda places, _: cifar10_effnet(places), 4, (1280,)),
    "CIFAR-10, EfficientNet-Lite0, 250 labels": Set(lambda places, _: cifar10_effnet(places), 25, (1280,)),
    "BBC, MiniLM, 25 labels": Set(lambda places, _: bbc_minilm(places), 5, (384,)),
    "BBC, both, 25 labels": Set(both, 5, (384, TERMS)),
    "languages, Resemblyzer, 25 labels": Set(speech, 5, (256,)),
}


# -- methods -----------------------------------------------------------------------------------------------------------
def head(
    kind: type[st.Strategy],
    pile: data.Pile,
    widths: tuple[int, ...],
    seed: int,
    *,
    drawn: bool = False,
    lr: float = 3e-3,
    steps: int = 500,
) -> float:
    """Test accuracy of a head on all features."""

    def network() -> torch.nn.Module:
        made = st.Classifier(PlainEncoder(sum(widths)), len(pile.classes))
        if drawn:
            made.head.reset_parameters()
        return made

    return fitted(kind(st.Classification(len(pile.classes)), st.learner(network, lr=lr)), pile, seed, steps)


def two_heads(pile: data.Pile, widths: tuple[int, ...], seed: int, *, soft: bool = False) -> float:
    """Test accuracy of an ensemble of two heads that learn sure decisions, or soft targets."""
    firsts = np.cumsum([0, *widths])

    def maker(width: int, first: int) -> Any:
        return st.learner(lambda: st.Classifier(PlainEncoder(width, first=first), len(pile.classes)), lr=3e-3)

    makers = [maker(width, int(first)) for width, first in zip(widths, firsts, strict=False)]
    sure: dict[str, Any] = {} if soft else {"hard": True, "select": st.select.above(0.8)}
    return fitted(strategies.Ensemble(st.Classification(len(pile.classes)), makers, members=2, **sure), pile, seed)


def fitted(strategy: st.Strategy, pile: data.Pile, seed: int, steps: int = 500) -> float:
    """Test accuracy after training as the estimator trains."""
    plan = st.BatchPlan(labeled=32, unlabeled_ratio=2.0, seed=seed)
    run = st.fit(strategy, pile, steps=steps, plan=plan, evaluation=st.Evaluation(10**6), handlers=SILENT)
    return float(run.evaluate("test")["accuracy"])


METHODS: dict[str, Callable[[data.Pile, tuple[int, ...], int], float]] = {
    "labels alone": lambda pile, widths, seed: float(probed("linear", pile, "test").mean()),
    "supervised": partial(head, strategies.Supervised),
    "supervised, drawn": partial(head, strategies.Supervised, drawn=True),
    "freematch": partial(head, strategies.FreeMatch),
    "freematch, drawn": partial(head, strategies.FreeMatch, drawn=True),
    "two heads": two_heads,
    "two heads, soft": partial(two_heads, soft=True),
    "100 steps": partial(head, strategies.Supervised, lr=1e-3, steps=100),
    "100 steps, drawn": partial(head, strategies.Supervised, lr=1e-3, steps=100, drawn=True),
}
DEFAULT = "portfolio"


# -- runs --------------------------------------------------------------------------------------------------------------
def work(problem: str, method: str, seed: int, source: Source) -> Row:
    """Run one method on one draw of labels."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    hidden, widths = hide(source.y, SETS[problem].each, seed), SETS[problem].widths
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method == DEFAULT:
            model = st.SelfTrainClassifier(random_state=seed).fit(source.x, hidden)
            accuracy = float((model.predict(source.x_test) == source.y_test).mean())
        else:
            accuracy = METHODS[method](_pile(source, hidden), widths, seed)
    labels = int((hidden >= 0).sum())
    return {"problem": problem, "method": method, "seed": seed, "labels": labels, "test_accuracy": accuracy}


def _pile(source: Source, hidden: Array) -> data.Pile:
    """As ``Pile.encoded`` makes it of plain features alone."""

    def rows(x: Array, y: Array | None, index: Array) -> EncodedSet:
        given: Tensor | None = None if y is None else torch.from_numpy(y[index])
        return EncodedSet(x[:, None].astype(np.float32), index, given, [str(row) for row in index], looks=1)

    known = hidden >= 0
    return data.Pile(
        rows(source.x, source.y, np.flatnonzero(known)),
        rows(source.x, None, np.flatnonzero(~known)),
        test=rows(source.x_test, source.y_test, np.arange(len(source.y_test))),
        views=data.FeatureViews(),
    )


def place(row: Row) -> int:
    """Where a row stands in the file."""
    return 1000 * (list(SETS).index(row["problem"]) * 10 + [*METHODS, DEFAULT].index(row["method"])) + int(row["seed"])


def table(rows: list[Row]) -> str:
    """Markdown: a line for each problem, accuracy in % with the standard deviation over draws."""
    lines = ["| features | " + " | ".join([*METHODS, DEFAULT]) + " |", "|---" * (len(METHODS) + 2) + "|"]
    for problem in SETS:
        cells = []
        for method in [*METHODS, DEFAULT]:
            scores = [100 * r["test_accuracy"] for r in rows if (r["problem"], r["method"]) == (problem, method)]
            cells.append(f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else "")
        if any(cells):
            lines.append(f"| {problem} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    parser.add_argument("--sounds", type=Path, help="folder with one of WAV files for each language")
    parser.add_argument("--draws", type=int, default=5, help="draws of labels")
    parser.add_argument("--draws-from", type=int, default=FIRST, help="the first draw; from 100 on for development")
    parser.add_argument("--only", nargs="*", default=[], help="run only what has one of these words")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--write", action="store_true", help="put what is stored into docs/foundation.md")
    options = parser.parse_args()
    rows = read(options.result)
    if options.write:
        PAGE.write_text(replace(PAGE.read_text(encoding="utf-8"), "frozen features", table(rows)), encoding="utf-8")
        return
    done = {(row["problem"], row["method"], row["seed"]) for row in rows}
    draws = range(options.draws_from, options.draws_from + options.draws)
    found: dict[str, Source] = {}
    for method in [*METHODS, DEFAULT]:
        for problem in SETS:
            for seed in draws:
                wanted = not options.only or any(word in f"{problem} {method}" for word in options.only)
                if not wanted or (problem, method, seed) in done:
                    continue
                if problem not in found:
                    places = Places(options.packages, options.images, options.cache)
                    found[problem] = SETS[problem].make(places, options.sounds)
                rows.append(work(problem, method, seed, found[problem]))
                store(options.result, rows, place, COMMAND)
                print(f"{problem}, {method}, {seed}: {100 * rows[-1]['test_accuracy']:.1f}", flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
