"""Self-training on embeddings of text with 5 labels a class: which package of the standard library is a docstring of?

python examples/text.py [--fast] [--out DIR]

The corpus ships with Python: the docstrings of eight packages, read from their source, so it differs a little from one
version to the next. Embeddings are TF-IDF and a singular value decomposition, made without labels; those of a language
model would go the same way, as a table of numbers. Trains the labels alone, Mean Teacher and FixMatch on a small
perceptron and prints the test accuracies. About 20 seconds on a core (--fast: some 4).
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from common import beside, options, train
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

import selftrain as st
from selftrain import data, strategies
from selftrain.estimator import DenseEncoder

PACKAGES = ["asyncio", "ctypes", "email", "importlib", "logging", "multiprocessing", "unittest", "xml"]
EACH, WIDTH, SHORTEST = 5, 64, 40  # labels a class, numbers an embedding, characters of a docstring that is used


def docstrings(package: str) -> Iterator[str]:
    """Every docstring of a package of the standard library; nothing is imported."""
    for path in sorted((Path(sysconfig.get_path("stdlib")) / package).rglob("*.py")):
        if "test" in path.relative_to(path.parents[1]).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= SHORTEST:
                    yield text


def read_corpus() -> tuple[list[str], np.ndarray]:
    """Texts, each once, and the numbers of their packages."""
    found = {text: number for number, package in enumerate(PACKAGES) for text in docstrings(package)}
    return list(found), np.array(list(found.values()))


def main() -> None:
    """Read, embed, hide most labels, train, compare."""
    chosen = options(__doc__, "text", steps=400, fast=20)
    texts, packages = read_corpus()
    embed = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english"),
        TruncatedSVD(WIDTH, random_state=chosen.seed),
        Normalizer(),
    )
    x = embed.fit_transform(texts).astype(np.float32)
    split = train_test_split(x, packages, test_size=0.25, stratify=packages, random_state=chosen.seed)
    few = {"labels": EACH * len(PACKAGES), "seed": chosen.seed}
    views = data.TableViews(weak_noise=0.1, strong_noise=0.5, replace=0.2)
    pile = data.Pile.from_arrays(split[0], split[2], split[1], split[3], classes=PACKAGES, views=views, **few)
    print(pile)

    task = st.Classification(len(PACKAGES))
    make = st.learner(lambda: st.Classifier(DenseEncoder(WIDTH), len(PACKAGES)), lr=2e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "mean_teacher": partial(strategies.MeanTeacher, task, make, decay=0.98),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98),
    }
    plan = st.BatchPlan(labeled=few["labels"], unlabeled_ratio=4, seed=chosen.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["accuracy"] for name, run in runs.items()}))


if __name__ == "__main__":
    main()
