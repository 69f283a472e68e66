"""What a comparison of starts compares: each method on each start, and what labels alone give there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from selftrain.cli import UsageError
from selftrain.data import Pile
from selftrain.front import building
from selftrain.front.building import PRETRAINED
from selftrain.metrics.features import color_histograms
from selftrain.networks.adapters import LoRA

Role = Literal["floor", "labels alone", "start", "method"]
SCRATCH = "scratch"
HISTOGRAM = "histogram"  # of the colors of pictures: what costs nothing
PROBES = ("linear", "knn", HISTOGRAM)  # on features of the start, or of the pictures; they take no run
FEW = "lora"  # the floor with adapters
_STRENGTHS = 10.0 ** np.arange(-5, 2)  # of logistic regression
_NEIGHBORS = (1, 3, 5, 10, 20)


@dataclass(frozen=True)
class Entrant:
    """A row of a comparison.

    Args:
        title: Its name in tables and files.
        method: A strategy, one of ``PROBES``, or ``FEW``.
        start: As ``--starts`` has it; ``None``: that of all.
        floors: Titles of the rows that it has to beat, all of them.
        role: ``"floor"``; ``"labels alone"`` on the first start; ``"start"``: labels alone on another; ``"method"``.
    """

    title: str
    method: str
    start: str | None
    floors: tuple[str, ...]
    role: Role


def entrants(starts: Sequence[str] | None, names: Sequence[str]) -> list[Entrant]:
    """All rows, the floor first; a method has to beat whatever labels alone give on its start."""
    found: list[Entrant] = []
    first: tuple[str, ...] = ()
    every: Sequence[str | None] = starts or (None,)
    for start in every:
        few = [name for name in names if _labels_alone(name) and not (name == FEW and start == SCRATCH)]
        # of a histogram there is no start, and yet it has to be beaten from each
        titles = {name: name if name == HISTOGRAM else _title(name, start, starts) for name in names}
        alone = tuple(titles[name] for name in few)
        for name in few:
            if name == HISTOGRAM and first:
                continue
            role: Role = "start" if first else "labels alone" if found else "floor"
            floors = first if first else () if role == "floor" else (found[0].title,)
            found.append(Entrant(titles[name], name, start, floors, role))
        for name in names:
            if not _labels_alone(name):
                found.append(Entrant(titles[name], name, start, alone, "method"))
        first = first or alone
    return found


def check_starts(settings: Mapping[str, Any], asked: Sequence[str]) -> None:
    """Refuse starts beside another one, one twice, and adapters for weights that nobody has trained."""
    starts = settings["starts"]
    if FEW in asked and (starts or [settings["init_from"] or SCRATCH]) == [SCRATCH]:
        raise UsageError(f"there is no row of {FEW}: it adapts trained weights; say --starts or --init_from with some")
    if starts is None:
        return
    if settings["init_from"] is not None:
        raise UsageError("--starts has all that is started from; leave --init_from out")
    if len(set(starts)) < len(starts) or not starts:
        raise UsageError(f"--starts {' '.join(starts)}: give each once")


def settings_of(entrant: Entrant, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the runs of a row."""
    own = dict(settings)
    if entrant.start is not None:
        start = None if entrant.start == SCRATCH else entrant.start
        own |= {"init_from": start, "frozen": bool(settings["frozen"]) and building.is_pretrained(start)}
    if entrant.method == FEW:
        training = settings["training"]
        own |= {"frozen": False, "training": training | {"adapter": training["adapter"] or asdict(LoRA())}}
    return own


def probed(method: str, pile: Pile, part: str) -> NDArray[np.float64]:
    """Which samples of a part a classifier on plain features gets right, 1 or 0 each, (N,).

    Its one setting is chosen by cross-validation on the labels.

    Args:
        method: ``"linear"``: logistic regression on standardized features; ``"knn"``: nearest neighbors by cosine;
            ``"histogram"``: logistic regression on the histogram of a picture's colors.
        pile: With features as inputs, or with plain inputs, which are then the features.
        part: Judged.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    (x, y), (asked, truth) = (_arrays(pile, one, colors=method == HISTOGRAM) for one in ("labeled", part))
    fewest = int(np.unique(y, return_counts=True)[1].min())
    folds = min(5, fewest)
    if method != "knn":
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        choices: dict[str, Any] = {"logisticregression__C": _STRENGTHS}
    else:
        model = make_pipeline(Normalizer(), KNeighborsClassifier(1, weights="distance"))
        most = len(y) - -(-len(y) // max(2, folds))  # of the labels that a fold learns from
        choices = {"kneighborsclassifier__n_neighbors": [k for k in _NEIGHBORS if k <= most]}
    if folds >= 2:  # a class with one label cannot be held out: the setting stays what it is
        model = GridSearchCV(model, choices, cv=StratifiedKFold(folds, shuffle=True, random_state=0))
    right: NDArray[np.float64] = (model.fit(x, y).predict(asked) == truth).astype(np.float64)
    return right


def in_color(pile: Pile) -> bool:
    """Whether inputs are pictures of three channels."""
    shape = tuple(pile.card()["shape"])
    return building.kind_of(pile) == "image" and len(shape) == 3 and shape[0] == 3


def features_pile(entrant: Entrant, pile: Pile, settings: Mapping[str, Any], out: Path) -> Pile:
    """The pile that a probe reads: features of the start, or the inputs where there is none."""
    own = settings_of(entrant, settings)
    return pile if own["init_from"] is None else building.features_of(pile, own, out)


def _arrays(pile: Pile, part: str, *, colors: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    batches = list(pile.evaluation(part, 500, torch.device("cpu")) or ())
    y = torch.cat([b.annotation for b in batches]).numpy()
    if not colors:
        return torch.cat([b.x.flatten(1) for b in batches]).numpy(), y
    # of the pictures themselves: normalized ones have no black and white
    samples: Any = getattr(pile, part)
    rows = np.array_split(np.arange(len(samples)), max(1, len(samples) // 500))
    return torch.cat([color_histograms(samples.images(some)) for some in rows]).numpy(), y


def _labels_alone(name: str) -> bool:
    return name in ("supervised", *PROBES, FEW)


def _title(name: str, start: str | None, starts: Sequence[str] | None) -> str:
    """``fixmatch.resnet18``: the method and the last word of its start, or all of it where two end alike."""
    if start is None:
        return name
    ends = [_end(one) for one in starts or ()]
    return f"{name}.{_end(start) if ends.count(_end(start)) == 1 else _plain(start)}"


def _end(start: str) -> str:
    return _plain(start.removeprefix(PRETRAINED).partition("@")[0].rstrip("/").rpartition("/")[2])


def _plain(start: str) -> str:
    return re.sub(r"[^\w.-]+", "_", start)
