"""Rows of numbers with few labels: scikit-learn's own ways, or selftrain's estimator. Run by ``compare.py``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from turns import memory_mb, say


def peers() -> dict[str, Callable[[], Any]]:
    """What scikit-learn offers, with the classifiers that its guide shows."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

    return {
        "scikit-learn SelfTrainingClassifier(LogisticRegression)": lambda: make_pipeline(
            StandardScaler(), SelfTrainingClassifier(LogisticRegression(max_iter=1000))
        ),
        "scikit-learn SelfTrainingClassifier(RandomForestClassifier)": lambda: SelfTrainingClassifier(
            RandomForestClassifier(random_state=0)
        ),
        "scikit-learn LabelSpreading": lambda: make_pipeline(
            StandardScaler(), LabelSpreading(kernel="knn", n_neighbors=7)
        ),
    }


def own() -> dict[str, Callable[[], Any]]:
    """What selftrain does by default."""
    import torch

    import selftrain as st

    torch.set_num_threads(1)
    return {"selftrain SelfTrainClassifier": st.SelfTrainClassifier}


def main() -> None:
    """Fit each, and say accuracy and processor time."""
    given = json.loads(sys.argv[1])
    arrays = np.load(given["data"])
    found = {}
    for name, make in (own() if given["own"] else peers()).items():
        begun = time.process_time()
        model = make().fit(arrays["x"], arrays["y"])
        spent = time.process_time() - begun
        accuracy = float((model.predict(arrays["test_x"]) == arrays["test_y"]).mean())
        found[name] = {"accuracy": accuracy, "seconds": round(spent, 3), "memory_mb": round(memory_mb())}
    say(**found)


if __name__ == "__main__":
    main()
