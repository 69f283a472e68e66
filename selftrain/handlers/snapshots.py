"""Weights of a run at several moments, and the choice among them.

Along one pretraining run, features for frozen use are often best in the middle, those for fine-tuning at the end
(Deng et al. 2023, arXiv:2203.04668): keep some moments and choose by the use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from selftrain.errors import RunFolderError
from selftrain.handlers.base import Context, Figures, Handler
from selftrain.runtime.distributed import is_first, whole_state
from selftrain.storage.atomic import write_json
from selftrain.storage.fields import COUNT, FIGURES, read_fields
from selftrain.storage.run_dir import INDEX, SNAPSHOTS, card_of, export_weights
from selftrain.types import plain_settings

EARLIEST = 100  # the first snapshot is at this part of the run
Use = Literal["frozen", "fine-tune"]
Spacing = Literal["log", "even"]
_ROWS = [{"step": COUNT, "file": str, "figures": {str: FIGURES}}]
PREFERRED = ("knn", "rankme_centered", "rankme")  # figures that say how good frozen features are; larger is better


class Snapshots(Handler):
    """Evaluate a run at several moments, and store its export in the folder ``snapshots``; see ``select_snapshot``.

    Args:
        count: Moments, the last at the end of the stage.
        spacing: ``"log"``: evenly spaced on a logarithmic scale from a hundredth of the stage; ``"even"``: every
            ``1 / count`` of it.

    Raises:
        ValueError: for a negative count or another spacing; at ``fit``, for a run without a folder.
    """

    def __init__(self, count: int, *, spacing: Spacing = "log") -> None:
        if spacing not in get_args(Spacing):
            raise ValueError(f"spacing is {spacing!r}; choose 'log' or 'even'")
        self.count, self.spacing, self.steps = count, spacing, log_spaced(1, count)

    def begin(self, context: Context) -> None:
        """Set the moments."""
        if self.count and context.out is None:
            raise ValueError(f"snapshots is {self.count} but there is no run folder to store them in; pass out=...")
        moments = log_spaced if self.spacing == "log" else evenly_spaced
        self.context, self.steps = context, moments(context.total, self.count)

    def wants_evaluation(self, step: int) -> bool:
        """At each moment."""
        return step in self.steps

    def after_evaluation(self, step: int, figures: Mapping[str, Figures]) -> None:
        """Store a snapshot at each moment."""
        if step not in self.steps or self.context.out is None:
            return
        weights = whole_state(self.context.strategy.export())  # takes all ranks where each holds a share
        if is_first():
            add(self.context.out, step, weights, figures, self.context.card(step))

    def settings(self) -> dict[str, Any]:
        """How many."""
        # None asked for is no setting: such a run may be resumed without this handler.
        even = {"snapshots_spacing": self.spacing} if self.spacing != "log" else {}
        return {"snapshots": self.count} | even if self.count else {}


def log_spaced(total: int, count: int) -> frozenset[int]:
    """At most ``count`` different steps from a hundredth of ``total`` to ``total``, each a like multiple of the last.

    Raises:
        ValueError: for a negative count.
    """
    if count < 0:
        raise ValueError(f"snapshots is {count}; it must be 0 or more")
    if count < 2:
        return frozenset([total][:count])
    first = max(1.0, total / EARLIEST)
    ratio = total / first
    # In a short run moments fall together: a set holds each once.
    return frozenset(round(first * ratio ** (i / (count - 1))) for i in range(count))


def evenly_spaced(total: int, count: int) -> frozenset[int]:
    """At most ``count`` different steps up to ``total``, one every ``total / count``; none before the first step."""
    return frozenset(max(1, total * i // count) for i in range(1, count + 1))


def add(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    figures: Mapping[str, Mapping[str, float]],
    card: Mapping[str, Any],
) -> Path:
    """Store the weights of a step in a run folder, with their card and the figures of its evaluation by part."""
    place = folder / SNAPSHOTS
    place.mkdir(exist_ok=True)
    path = export_weights(weights, place, f"step-{step:09d}.safetensors")
    write_json(card_of(path), card)
    # The list comes last: what it names is whole, with its card beside it.
    rows = [row for row in read(folder) if row["step"] < step]  # later ones: from before a fall-back
    write_json(place / INDEX, [*rows, {"step": step, "file": path.name, "figures": figures}])
    return path


def read(folder: str | Path) -> list[dict[str, Any]]:
    """The snapshots of a run folder in the order of their steps: ``step``, ``file`` and ``figures`` by part."""
    path = Path(folder) / SNAPSHOTS / INDEX
    if not path.is_file():
        return []
    rows = read_fields(path, _ROWS, "name the file of weights itself, which lies beside it")
    # The bare name: a forged list must not lead out of the folder.
    return [{"step": row["step"], "file": Path(row["file"]).name, "figures": row["figures"]} for row in rows]


@plain_settings
def select_snapshot(
    folder: str | Path, use: Use = "fine-tune", *, figure: str | None = None, part: str = "validation"
) -> Path:
    """Choose a snapshot by what its weights are for; hand the path to ``learner(init_from=...)``.

    Args:
        folder: Run folder of a stage trained with ``fit(..., handlers=[Snapshots(8)])``.
        use: ``"frozen"``: the one with the highest ``figure``; ``"fine-tune"``: the last.
        figure: Name of an evaluation figure, larger is better; ``None``: the first of ``knn``, ``rankme_centered`` and
            ``rankme`` that all snapshots have.
        part: Part of the pile that the figure is of; where the run has no figures of it, of ``"unlabeled"``.

    Raises:
        RunFolderError: if there are no snapshots, or they lack the figure.
        ValueError: for another use.
    """
    if use not in ("frozen", "fine-tune"):
        raise ValueError(f"use is {use!r}; choose 'frozen' or 'fine-tune'")
    rows = read(folder)
    if not rows:
        raise RunFolderError(f"{folder} holds no snapshots; train with handlers=[Snapshots(8)] (--snapshots 8)")
    chosen = rows[-1] if use == "fine-tune" else rows[_best(rows, figure, part)]
    return Path(folder) / SNAPSHOTS / str(chosen["file"])


def _best(rows: list[dict[str, Any]], figure: str | None, part: str) -> int:
    """Number of the row with the highest figure."""
    parts = [row["figures"].get(part) or row["figures"].get("unlabeled") or {} for row in rows]
    names = list(PREFERRED) if figure is None else [figure]
    # A figure that some snapshots lack would choose among the others only.
    shared = [name for name in names if all(p.get(name) is not None for p in parts)]
    if not shared:
        known = sorted(set.intersection(*(set(p) for p in parts)))
        raise RunFolderError(f"the snapshots have no figure {' or '.join(names)} of {part!r}; known are {known}")
    return max(range(len(rows)), key=lambda i: parts[i][shared[0]])
