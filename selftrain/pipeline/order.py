"""What must hold of a list of stages before any of them runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selftrain.errors import DataError
from selftrain.pipeline.labeling import Labeling
from selftrain.pipeline.stages import Best, Stage
from selftrain.types import Pile

Part = Stage | Labeling | Best


def check_order(stages: Sequence[Part]) -> None:
    """Refuse a list in which a stage cannot find what it needs.

    Raises:
        ValueError: for no stages, two of one name, or a name that does not train before it is needed.
    """
    if not stages:
        raise ValueError("the pipeline has no stages; give at least one")
    known: list[str] = []
    trained: list[str] = []
    for stage in stages:
        if stage.name in known:
            raise ValueError(f"two stages are named {stage.name!r}; give each its own name")
        late = [name for name in stage.needs() if name not in trained]
        if late:
            raise ValueError(
                f"stage {stage.name!r} needs {late[0]!r}, which does not train before it; known: {trained}"
            )
        known.append(stage.name)
        trained += [] if isinstance(stage, Labeling) else [stage.name]


def check_data(stages: Sequence[Part], pile: Pile) -> None:
    """Refuse a pile that a stage has nothing to find in.

    Raises:
        ValueError: if weights are chosen on validation data and there are none.
        DataError: if there is nothing to label.
    """
    chosen = [s.name for s in stages if isinstance(s, Best) or (isinstance(s, Stage) and s.which == "best")]
    if chosen and pile.evaluation("validation", 1, torch.device("cpu")) is None:
        raise ValueError(f"stage {chosen[0]!r} is chosen on validation data, and the pile has none; use which='last'")
    if any(isinstance(s, Labeling) for s in stages) and not len(pile.unlabeled_ids()):
        raise DataError("the pile has no unlabeled samples to label; give it some, or train on labels alone")
