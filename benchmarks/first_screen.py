"""The first block of README.md: digits with 20 labels, labels alone beside self-training, five draws of the labels.

python benchmarks/first_screen.py [--write]

Every draw is ``st.fit("fixmatch", pile, pretrain="mae", baseline=True)`` as the block has it, with that number as the
key of labels, start and batches, in one thread. Beside it are the labels alone in the same network from the same start,
and logistic regression on the pixels. All are judged on the same 450 test digits, which nothing has learned or chosen
from. Finished draws are kept in benchmarks/results/first_screen.json; ``--write`` draws docs/figures/first-screen.png
from draw 0, that of the block (the table of README.md is made by benchmarks/tables.py). Steps and learning rate were
fixed before, by draws 0, 1, 100 and 101; the means are over others.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from stored import Row, read, store

import selftrain as st
from selftrain import data
from selftrain.handlers import Progress

ROOT = Path(__file__).resolve().parent.parent
RESULT, FIGURE = Path(__file__).parent / "results" / "first_screen.json", ROOT / "docs" / "figures" / "first-screen.png"
COMMAND = "python benchmarks/first_screen.py"
SHOWN, DRAWS = 0, range(10, 15)  # the draw of the block, for the figure alone; those of the means


def main() -> None:
    """Run what is missing, print the means, and draw."""
    torch.set_num_threads(1)
    rows = read(RESULT)
    for draw in (SHOWN, *DRAWS):
        if draw not in [row["draw"] for row in rows]:
            rows.append(run(draw))
            store(RESULT, rows, lambda row: int(row["draw"]), COMMAND)
    for name in ("labels_alone", "self_training", "logistic"):
        values = np.array([100 * row[name] for row in rows if row["draw"] in DRAWS])
        print(f"{name:<14} {values.mean():.1f} ± {values.std(ddof=1):.1f}")
    print(f"{'seconds':<14} {np.mean([row['seconds'] for row in rows]):.0f}")
    if "--write" in sys.argv:
        draw_story(next(row for row in rows if row["draw"] == SHOWN))


def run(draw: int) -> Row:
    """The block on one draw of the labels, and logistic regression on the same."""
    begun = time.process_time()
    pile = data.load("digits", labels=20, seed=draw)
    with tempfile.TemporaryDirectory() as folder:
        watch: dict[str, Any] = {"evaluation": st.Evaluation(every=15, monitor={"test": pile.test})}
        plan, shown = st.BatchPlan(seed=draw), [Progress(False)]
        run = st.fit("fixmatch", pile, pretrain="mae", baseline=True, out=folder, plan=plan, handlers=shown, **watch)
        seconds = time.process_time() - begun
        places = {"run": ".", "baseline": "baseline"} if draw == SHOWN else {}
        curves = {name: curve(Path(folder) / place) for name, place in places.items()}
    assert run.baseline is not None
    truth = run.ledger.truth
    assert truth is not None
    return {
        "draw": draw,
        "labels_alone": run.baseline["test"]["accuracy"],
        "self_training": run.last["test"]["accuracy"],
        "logistic": logistic(pile),
        "used": float(run.ledger.accepted.float().mean()),
        "right": float((run.ledger.label == truth)[run.ledger.accepted].float().mean()),
        "alarms": [alarm.kind for alarm in run.alarms],
        "seconds": seconds,
        "curves": curves,
    }


def curve(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Figures over the steps of a run, from its log."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("test/accuracy", "ledger/accepted", "ledger/pseudo_label_accuracy")
    return {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}


def logistic(pile: data.Pile) -> float:
    """Test accuracy of logistic regression on the pixels of the labeled digits."""
    x, y, asked, truth = (
        torch.cat([getattr(batch, name).flatten(1) if name == "x" else batch.annotation for batch in batches]).numpy()
        for batches in (list(pile.evaluation(part, 500, torch.device("cpu")) or ()) for part in ("labeled", "test"))
        for name in ("x", "annotation")
    )
    return float(LogisticRegression(max_iter=1000).fit(x, y).score(asked, truth))


def draw_story(row: Row) -> None:
    """The story of a pile in one figure: what there is, what is labeled by the network, what it gains."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pile = data.load("digits", labels=20, seed=row["draw"])
    figure = plt.figure(figsize=(10, 3.1), dpi=150, layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 1.15, 1.15))
    left.suptitle("20 labels and 1,327 digits without one", fontsize=9)
    axes = left.subplots(8, 10, gridspec_kw={"wspace": 0.15, "hspace": 0.15})
    assert pile.labeled is not None
    assert pile.unlabeled is not None
    known, other = pile.labeled.images(np.arange(20)), pile.unlabeled.images(np.arange(60))
    order = np.argsort(np.asarray(pile.labeled.annotations), kind="stable").reshape(10, 2).T.flatten()
    for axis, picture in zip(axes.flat, [*np.asarray(known)[order], *np.asarray(other)], strict=True):
        axis.imshow(picture[0], cmap="gray_r")
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[:2].flat:
        for spine in axis.spines.values():
            spine.set(color="#c2410c", linewidth=1.2)
    share, accuracy = middle.subplots(), right.subplots()
    run, alone = row["curves"]["run"], row["curves"]["baseline"]
    for axis, title, lines in (
        (
            share,
            "the pile gets labels",
            (
                ("used as pseudo-labels", run["ledger/accepted"], "#1d4ed8"),
                ("of these right", run["ledger/pseudo_label_accuracy"], "#15803d"),
            ),
        ),
        (
            accuracy,
            "accuracy on 450 other digits",
            (
                ("self-training", run["test/accuracy"], "#1d4ed8"),
                ("labels alone", alone["test/accuracy"], "#c2410c"),
            ),
        ),
    ):
        for name, points, color in lines:
            steps, values = zip(*points, strict=True)
            axis.plot(steps, 100 * np.array(values), color=color, label=name)
            last = (steps[-1], 100 * values[-1])
            axis.annotate(f"{last[1]:.0f} %", last, (4, 0), textcoords="offset points", color=color, fontsize=8)
        axis.set(ylim=(0, 103), xlabel="steps", ylabel="%")
        axis.set_title(title, fontsize=9)
        axis.legend(loc="lower right", fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.02)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Software": None})


if __name__ == "__main__":
    main()
