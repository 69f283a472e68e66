"""The stages that hand weights on: one trains a strategy, one chooses among those that have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from selftrain._compat import new_fit_keywords
from selftrain.engine.loop import fit
from selftrain.engine.run import take_state
from selftrain.engine.times import Checkpoints, Evaluation, total_steps
from selftrain.pipeline.folder import check_name
from selftrain.pipeline.report import figure
from selftrain.pipeline.state import Job, Past, Row
from selftrain.runtime.distributed import is_first
from selftrain.runtime.rng import own_randomness, seed_step, step_key
from selftrain.storage.run_dir import export_weights, has_begun
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan, plain_settings

Which = Literal["last", "best"]
OWN_OPTIONS = {"out", "steps", "epochs", "plan", "monitor", "device", "resume", "overwrite", "stop_after"}


@plain_settings
@dataclass(frozen=True)
class Stage:
    """Train one strategy.

    Args:
        name: Letters, digits, ``-``, ``_`` and ``.``; its folder is ``NN-name``.
        make: Builds the strategy from what the stages before have left: ``past["pretrain"]`` is a run (pass it to
            ``learner(init_from=...)``), ``past.labels["label"]`` a table. Called anew when a pipeline is resumed; its
            random numbers come from the seed of the plan and the stage's number.
        steps: Length; or
        epochs: passes over the unlabeled set. Both ``None``: 10 epochs.
        plan: Batch sizes, seed, workers; ``None``: those of the pipeline.
        which: Weights to hand on, the last ones or the best on validation.
        options: Further arguments of ``fit`` by name, such as ``handlers`` and ``evaluation``.

    Raises:
        ValueError: for a name that is no name of a folder, a length below 1 or given twice, an unknown ``which``, or
            options that the pipeline sets itself.
    """

    name: str
    make: Callable[[Past], Strategy]
    steps: int | None = None
    epochs: int | None = None
    plan: BatchPlan | None = None
    which: Which = "last"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"stage {self.name!r} has steps ({self.steps}) and epochs ({self.epochs}); give one")
        for name, number in (("steps", self.steps), ("epochs", self.epochs)):
            if number is not None and number < 1:
                raise ValueError(f"stage {self.name!r} has {number} {name}; give at least 1")
        if self.which not in ("last", "best"):
            raise ValueError(f"which is {self.which!r}; choose 'last' or 'best'")
        taken = sorted(set(self.options) & OWN_OPTIONS)
        if taken:
            raise ValueError(f"options of stage {self.name!r} hold {taken}, which the stage or the pipeline sets")
        # Old names of `fit` are taken over once, here: `run` looks options up by the new ones.
        object.__setattr__(self, "options", new_fit_keywords(self.options, stacklevel=5))

    def needs(self) -> tuple[str, ...]:
        """Names of stages that must come before: known to ``make`` alone."""
        return ()

    def about(self) -> Row:
        """What a resumed pipeline must share, beside the settings in ``run.json``."""
        return {"which": self.which}

    def run(self, job: Job, number: int) -> Row | None:
        """Train, or continue, or take back what is in the folder; ``None`` if it was stopped before its end."""
        plan, folder = self.plan or job.plan, job.folder(number, self.name)
        where = job.device or torch.device("cpu")
        # Not from the caller's state: a resumed pipeline builds the strategy anew and must get the same start.
        with own_randomness(where):
            # a key below zero: steps have keys from 0 on, and no stage may begin with the draws of another one's step
            seed_step(step_key(plan.seed, -number), where)
            strategy = self.make(job.past)
        total = self.steps
        if total is None:
            stream = job.pile.stream(strategy.needs(), plan, job.device or next(strategy.parameters()).device)
            total = total_steps(self.epochs, None, stream.steps_per_epoch)
        steps = job.take(total)
        if steps < 1:
            return None
        options = dict(self.options)
        run = fit(
            strategy,
            job.pile,
            out=folder,
            steps=total,
            plan=plan,
            evaluation=replace(options.pop("evaluation", None) or Evaluation(), monitor=job.monitor or {}),
            checkpoints=replace(options.pop("checkpoints", None) or Checkpoints(), stop_after=steps),
            device=job.device,
            **job.entry(has_begun(folder)),  # before its first checkpoint nothing is lost, so it begins anew
            **options,
        )
        if steps < total:
            return None
        if self.which == "best":
            if run.best_state is None:
                figure = strategy.monitor
                raise ValueError(f"stage {self.name!r} has no figure {figure!r} on validation; use which='last'")
            # later stages, and whoever reads export.safetensors, get the weights that were chosen
            take_state(strategy, run.best_state)
            if run.out is not None and is_first():
                export_weights(run.export(), run.out)
        job.past[self.name] = run
        return {
            "method": type(strategy).__name__,
            "monitor": strategy.monitor,
            "which": self.which,
            "weights": sum(p.numel() for p in next(iter(strategy.learners())).model.parameters()),
            "steps": total,
            "seconds": run.seconds,
            "validation": job.figures(strategy, "validation"),
            "test": job.figures(strategy, "test"),
            "used": run.train.get("train/used"),
            "pseudo_label_accuracy": run.ledger.summary().get("pseudo_label_accuracy"),
        }


@dataclass(frozen=True)
class Best:
    """Hand on the one of several stages that is best on validation, the earliest at equal figures.

    Args:
        name: As of a ``Stage``.
        among: Names of the stages to choose from.
    """

    name: str
    among: Sequence[str]

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.among:
            raise ValueError(f"{self.name!r} has no stages to choose among; name at least one")

    def needs(self) -> tuple[str, ...]:
        """The stages to choose from."""
        return tuple(self.among)

    def about(self) -> Row:
        """What a resumed pipeline must share."""
        return {"among": list(self.among)}

    def run(self, job: Job, number: int) -> Row:
        """Choose, and write the weights to the folder."""
        rows = {row["name"]: row for row in job.rows}
        chosen = max(self.among, key=lambda name: figure(rows[name], "validation"))  # the first of equal ones
        run, folder = job.past[chosen], job.folder(number, self.name)
        job.past[self.name] = run
        if folder is not None and is_first():
            folder.mkdir(parents=True, exist_ok=True)
            export_weights(run.export(), folder)
        shown = {key: rows[chosen][key] for key in ("monitor", "weights", "validation", "test")}
        return shown | {"method": f"best: {chosen}", "chosen": chosen, "steps": 0, "seconds": 0.0}
