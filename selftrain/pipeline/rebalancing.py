"""CReST.

Wei et al., "CReST: A Class-Rebalancing Self-Training Framework for Imbalanced Semi-Supervised Learning", CVPR 2021,
arXiv:2102.09559.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.data import Pile
from selftrain.engine.loop import fit
from selftrain.engine.run import Run
from selftrain.errors import DataError
from selftrain.labels.teacher_pass import label_pile
from selftrain.runtime.rng import own_randomness, seed_step, step_key
from selftrain.storage.run_dir import has_begun
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import BatchPlan, plain_settings

MakeGeneration = Callable[[list[float]], SupervisedStrategy]


@plain_settings
def crest(
    make: MakeGeneration,
    pile: Pile,
    *,
    steps: int,
    generations: int = 6,
    alpha: float = 1 / 3,
    temperature: float = 0.5,
    plan: BatchPlan | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[Run]:
    """Train generations from scratch; each gives the next one labels, of rare classes nearly all that it predicts.

    After a generation the pile is labeled. Of what is predicted as the class with the l-th most labels the most
    confident share ``(N_{C+1-l} / N_1)^alpha`` joins the labeled samples of the next one, in the place of what joined
    before. CReST+ aligns besides: ``make`` gets the shares to align to, ``N^t`` normalized, with t falling from 1 in
    the first generation to ``temperature`` in the last; a ``make`` that takes no notice of them is CReST.

    Source: the paper's algorithm, with the values of the released code. Differs: a sample that has joined the labels
    is no unlabeled one in that generation; N counts the given labels, where the paper supposes the pile to have their
    shares: where it has others both parts may do harm.

    Args:
        make: Builds a generation's strategy, called with shares (classes,):
            ``lambda shares: FixMatch(task, learner, align=Align(task, target=shares))``.
        pile: With labels that are classes, and unlabeled samples.
        steps: Of each generation.
        generations: At least 1.
        alpha: In (0, 1]; smaller: more of the frequent classes joins. The released code has 1/3.
        temperature: The last t, in [0, 1]; 0: uniform shares.
        plan: Of each generation.
        out: Folder; a generation has its own, ``generation-0`` and so on. ``None``: nothing is stored.
        resume: Go on where the folder ends, exactly: finished generations are read.
        options: Further arguments of ``fit`` by name.

    Returns:
        The generations' runs; the last one is what is shipped.

    Raises:
        DataError: the pile has no labels that are classes, or a class without one.
        ValueError: for fewer than 1 generation, or an ``alpha`` or ``temperature`` out of range.
    """
    if generations < 1 or not 0 < alpha <= 1 or not 0 <= temperature <= 1:
        raise ValueError(
            f"generations is {generations}, alpha {alpha} and temperature {temperature}; there must be at least 1 "
            "generation, alpha in (0, 1] and temperature in [0, 1]"
        )
    taken = sorted(set(options or {}) & {"out", "steps", "epochs", "plan", "resume", "checkpoints", "continue_from"})
    if taken:
        raise ValueError(f"options hold {taken}, which crest sets itself; leave them out")
    counts = _counts(pile)
    plan, runs, seen = plan or BatchPlan(), list[Run](), pile
    for number in range(generations):
        folder = None if out is None else Path(out) / f"generation-{number}"
        falling = 1 - (1 - temperature) * number / max(1, generations - 1)
        with own_randomness(torch.device("cpu")):
            # As stages of a pipeline: a generation that is built again must get the same start.
            seed_step(step_key(plan.seed, -1 - number), torch.device("cpu"))
            strategy = make((counts**falling / (counts**falling).sum()).tolist())
        again = resume and folder is not None and has_begun(folder)
        run = fit(strategy, seen, out=folder, steps=steps, plan=plan, resume=again, **(options or {}))
        runs.append(run)
        if number + 1 < generations:
            table = label_pile(strategy, pile).rebalanced(counts.tolist(), alpha)
            kept, ids = table.kept.nonzero()[:, 0].tolist(), pile.unlabeled_ids()
            # From the given labels, not from those of this generation: what joined by an error may leave again.
            seen = pile.reviewed({ids[row]: int(table.label[row]) for row in kept})
    return runs


def _counts(pile: Pile) -> Tensor:
    """Given labels of each class, in double precision."""
    given = None if pile.labeled is None else pile.labeled.annotations
    if given is None or given.dim() != 1:
        raise DataError("crest reads how many labels each class has; give a pile whose labels are classes")
    counts = torch.bincount(given, minlength=len(pile.classes)).double()
    if not bool((counts > 0).all()):
        rare = [str(name) for name, count in zip(pile.classes, counts.tolist(), strict=True) if not count]
        raise DataError(f"no label of {', '.join(rare)}; give at least one, or leave the class out of the pile")
    return counts
