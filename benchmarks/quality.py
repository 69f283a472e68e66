"""Is the estimated accuracy of pseudo-labels true? FixMatch on MNIST with 100 labels, and 100 more that are held out.

python benchmarks/quality.py --data DIR [--out FIGURE] [--steps 300] [--seeds 3]     (needs matplotlib)

Accepts decisions above each of several confidences, estimates from the held-out labels how many are right
(``selftrain.evaluation.quality``), and compares with their truth: once the pseudo-labels of the ledger, some of
which were made early in the run, and once predictions made at its end. Writes benchmarks/results/quality.json and the
figure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

import selftrain as st
from selftrain import data, strategies
from selftrain.engine.loop import versions
from selftrain.evaluation import quality
from selftrain.evaluation.calibration import predictions, threshold_for_precision

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "quality.json"
FIGURE = ROOT / "docs" / "figures" / "quality.png"
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
PRECISION = 0.9
EXCERPT = 4000  # unlabeled samples that are predicted anew
KINDS = {"ledger": "labels in the ledger", "predictions": "predictions at the end"}


def train(seed: int, steps: int, root: Path | None) -> dict[str, Any]:
    """One run: estimated and true accuracy above each threshold, and the whole report."""
    pile = data.load("mnist", labels=200, validation=100, seed=seed, root=root)
    torch.manual_seed(seed)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(28, 1), 10), lr=2e-3)
    strategy = strategies.FixMatch(st.Classification(10), make, decay=0.99)
    run = st.fit(strategy, pile, steps=steps, plan=st.BatchPlan(32, 3, seed), evaluation=st.Evaluation(steps))
    ledger, truth, samples = run.ledger, pile.unlabeled_truth(), pile.unlabeled
    assert truth is not None  # MNIST's labels are known
    assert samples is not None
    confidence, right = decisions(strategy, pile, "validation")
    said = ledger.seen > 0
    excerpt = data.Subset(samples, torch.randperm(len(samples))[:EXCERPT])
    excerpt.annotations = truth[torch.from_numpy(excerpt.rows)]
    whole = quality.report(strategy, pile, ledger)
    print(whole.text(), flush=True)
    return {
        "seed": seed,
        "steps": steps,
        "ledger": compare(confidence, right, ledger.confidence[said], (ledger.label == truth)[said]),
        "predictions": compare(confidence, right, *decisions(strategy, pile, excerpt)),
        "promised": promise(confidence, right, ledger.confidence[said], (ledger.label == truth)[said]),
        "report": whole.to_dict(),
        "source": Path(pile.source).name,
    }


def decisions(strategy: Any, pile: Any, part: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence of each shipped prediction for a part, and whether it is right."""
    rows = [(value.max(1), target.value.argmax(1)) for value, target in predictions(strategy, pile, part)]
    return torch.cat([best.values for best, _ in rows]), torch.cat([best.indices == right for best, right in rows])


def compare(
    held_out: torch.Tensor, held_out_right: torch.Tensor, confidence: torch.Tensor, right: torch.Tensor
) -> list[dict[str, float]]:
    """Estimated and true accuracy of the decisions above each threshold."""
    found = []
    for threshold in THRESHOLDS:
        accepted = confidence >= threshold
        estimate = quality.estimate_accuracy(held_out, held_out_right, confidence[accepted])
        true = float(right[accepted].double().mean())
        row = {"threshold": threshold, "accepted": int(accepted.sum()), "true": true}
        found.append(row | {"value": estimate.value, "low": estimate.low, "high": estimate.high})
    return found


def promise(
    held_out: torch.Tensor, held_out_right: torch.Tensor, confidence: torch.Tensor, right: torch.Tensor
) -> dict[str, Any]:
    """The threshold for a precision, and the precision it has among the pseudo-labels."""
    try:
        found = threshold_for_precision(held_out, held_out_right, PRECISION)
    except ValueError as error:
        return {"precision": PRECISION, "refused": str(error)}
    accepted = confidence >= found.threshold
    true = float(right[accepted].double().mean())
    named = {"precision": PRECISION, "threshold": found.threshold, "low": found.low}
    return named | {"accepted": int(accepted.sum()), "true": true}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Estimated accuracy with its interval, and the true one, over the threshold; one panel a seed."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    size = 3.2 * len(rows), 2.6 * len(KINDS)
    figure, panels = pyplot.subplots(len(KINDS), len(rows), figsize=size, sharex=True, sharey=True, squeeze=False)
    for line, (kind, title) in zip(panels, KINDS.items(), strict=True):
        for panel, row in zip(line, rows, strict=True):
            x, true, value, low, high = (
                [point[key] for point in row[kind]] for key in ("threshold", "true", "value", "low", "high")
            )
            panel.fill_between(x, low, high, color="0.85", label="95 % interval")
            panel.plot(x, value, "--", color="0.3", label="estimated from 100 labels")
            panel.plot(x, true, "o-", color="C0", markersize=3, label="true")
            panel.set_title(f"{title}, seed {row['seed']}", fontsize=9)
        line[0].set_ylabel("accuracy")
    for panel in panels[-1]:
        panel.set_xlabel("accepted from confidence")
    panels[0][0].legend(loc="lower right", fontsize=7, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=60)


def main() -> None:
    """Run all seeds, write the result and the figure."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder with mnist70k.npz; default: see the guide")
    parser.add_argument("--out", type=Path, default=FIGURE, help="where the figure goes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [train(seed, options.steps, options.data) for seed in range(options.seeds)]
    command = f"python benchmarks/quality.py --data DIR --steps {options.steps} --seeds {options.seeds}"
    RESULT.write_text(json.dumps({"command": command, "versions": versions(), "rows": rows}, indent=1) + "\n", "utf-8")
    draw(rows, options.out)
    for kind, title in KINDS.items():
        points = [point for row in rows for point in row[kind]]
        inside = sum(point["low"] <= point["true"] <= point["high"] for point in points)
        print(f"{title}: true accuracy inside the interval at {inside} of {len(points)} thresholds")


if __name__ == "__main__":
    main()
