"""Self-training of masks in the manner of scikit-learn: pictures and masks in, masks out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from selftrain.arguments import check
from selftrain.catalog import make_rule, make_strategy
from selftrain.data import Pile
from selftrain.data.base.samples import ArraySet, Channels, Limits
from selftrain.engine.loop import fit
from selftrain.engine.run import take_state
from selftrain.engine.times import Evaluation, OnAlarm, steps_per_epoch, total_steps
from selftrain.errors import DataError
from selftrain.estimator.base import EngineEstimator
from selftrain.estimator.inputs import Array, Inputs, learn_inputs
from selftrain.estimator.shipped import run, ship
from selftrain.handlers import DataSummary, Progress
from selftrain.networks.by_name import make_network
from selftrain.networks.copying import plain_weights
from selftrain.networks.optim import Training, learner
from selftrain.tasks import Segmentation
from selftrain.types import BatchPlan

STEPS = 500
_VOID = 255  # in the pile


class SelfTrainSegmenter(EngineEstimator):
    """Train a network on a few masks and many pictures without: any strategy, threshold and network.

    Args:
        strategy: A name in ``selftrain.catalog.METHODS``, a class of ``selftrain.strategies``, or a function of
            (task, make_learner).
        strategy_params: Settings of the strategy; ``None``: its defaults, but moving averages of a named strategy look
            back on at most a tenth of the steps.
        select: Which pseudo-labels of pixels count, as in ``SelfTrainClassifier``.
        network: As of ``SelfTrainClassifier``: by name (an encoder with a head for masks, such as ``"auto"``), a module
            (it is copied), or a function that builds one; logits (B, C, H, W).
        channels: Where the channel axis of four-axis pictures is; ``None``: guessed.
        limits: Values of pictures that mean black and white, as in ``SelfTrainClassifier``.
        views: Maker of views, see ``selftrain.data``; ``None``: ``TensorViews``.
        steps: Steps of training; or
        epochs: passes over the unlabeled pictures. Both ``None``: 500 steps.
        batch_size: Labeled pictures a step, and pictures that are predicted at a time.
        unlabeled_ratio: Unlabeled pictures for each labeled one in a step.
        lr: Peak learning rate.
        weight_decay: Of AdamW.
        training: All settings of training at once, in place of these two.
        validation: Share or number of the masks that is held out.
        baseline: As in ``SelfTrainClassifier``.
        on_alarm: As in ``SelfTrainClassifier``.
        void: What marks a pixel without label in ``y``; a mask of nothing else is that of an unlabeled picture.
        out: Run folder; ``None``: nothing is stored.
        overwrite: Replace a run in ``out``.
        device: As in ``SelfTrainClassifier``.
        random_state: Seed or ``RandomState`` of everything drawn.
        verbose: 0: silent, else the data are described and a progress bar is shown.

    Attributes:
        classes_: Values of ``y`` but ``void``, ascending, shape (C,).
        network_: The network at rest; maps plain inputs to probabilities.
        ledger_: What is said of each class in the unlabeled pictures, see ``selftrain.Ledger``; ids are row numbers.
        n_iter_: Steps taken.
        alarms_: What the self-check found wrong.
        fallback_: What is shipped after an alarm in place of what was learned, see ``Run.fallback``.

    Raises:
        ValueError: for settings that do not fit each other.
        DataError: for pictures or masks that cannot be learned from.

    >>> x = np.random.RandomState(0).rand(6, 12, 12, 1)
    >>> y = (x[..., 0] > 0.5).astype(int)
    >>> y[3:] = 255
    >>> model = SelfTrainSegmenter(steps=2, random_state=0).fit(x, y)
    >>> model.predict(x).shape, model.predict_proba(x).shape
    ((6, 12, 12), (6, 2, 12, 12))
    """

    def __init__(
        self,
        *,
        strategy: Any = "fixmatch",
        strategy_params: dict[str, Any] | None = None,
        select: Any = None,
        network: Any = "auto",
        channels: Channels | None = None,
        limits: Limits | None = None,
        views: Any = None,
        steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 8,
        unlabeled_ratio: float = 1.0,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        training: Training | None = None,
        validation: float = 0.0,
        baseline: bool | None = None,
        on_alarm: OnAlarm = "fallback",
        void: int = 255,
        out: str | Path | None = None,
        overwrite: bool = False,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.strategy, self.strategy_params, self.select = strategy, strategy_params, select
        self.network, self.channels, self.limits, self.views = network, channels, limits, views
        self.steps, self.epochs = steps, epochs
        self.batch_size, self.unlabeled_ratio = batch_size, unlabeled_ratio
        self.lr, self.weight_decay, self.training = lr, weight_decay, training
        self.validation, self.baseline, self.on_alarm, self.void = validation, baseline, on_alarm, void
        self.out, self.overwrite, self.device = out, overwrite, device
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: Any, y: Any) -> SelfTrainSegmenter:
        """Learn from pictures with and without mask.

        Args:
            X: All pictures, (N, H, W), (N, H, W, C) or (N, C, H, W): bytes, or numbers within ``limits``.
            y: Their masks, (N, H, W), integers; ``void`` where a pixel, or a whole picture, has no label.
        """
        check(type(self).__init__, self.get_params(deep=False))
        X = np.asarray(X)
        self.inputs_: Inputs = learn_inputs(X, "image", self.channels, lambda kind: 1, self.limits)
        masks = self._masks(X, y)
        self.classes_ = np.unique(masks[masks != self.void])
        if len(self.classes_) < 2:
            raise DataError(f"y has the classes {self.classes_.tolist()}; give masks of at least two")
        codes = np.where(masks == self.void, _VOID, np.searchsorted(self.classes_, masks))
        seed = self._seed()
        pile = Pile.from_arrays(
            self.inputs_.read(X),
            codes,
            classes=[str(name) for name in self.classes_],
            validation=self.validation,
            seed=seed,
            channels="first",
            views=self.views,
        )
        unlabeled, labeled = len(pile.unlabeled or ()), len(pile.labeled or ())
        plan = BatchPlan(labeled=int(self.batch_size), unlabeled_ratio=self.unlabeled_ratio, seed=seed)
        steps = total_steps(self.epochs, self.steps, steps_per_epoch(unlabeled, labeled, plan), STEPS)
        task, shape = Segmentation(len(self.classes_), void=_VOID), self.inputs_.shape
        rule = make_rule(self.select, classes=task.classes, unlabeled=max(1, unlabeled))
        training = self.training or Training(lr=self.lr, weight_decay=self.weight_decay)
        with self._alone(seed):
            strategy = make_strategy(
                self.strategy,
                learner(
                    lambda: make_network(self.network, "image", shape, task.classes, sites=shape[1:]), training=training
                ),
                {**({} if rule is None else {"select": rule}), **(self.strategy_params or {})},
                task=task,
                label_shape=task.output_shape(shape),
                unlabeled=unlabeled,
                steps=steps,
            )
            done = fit(
                strategy,
                pile,
                out=self.out,
                overwrite=self.overwrite,
                plan=plan,
                device=self._device(),
                steps=steps,
                baseline=self.baseline,
                evaluation=Evaluation(on_alarm=self.on_alarm),
                handlers=[DataSummary(bool(self.verbose)), Progress(bool(self.verbose))],
            )
        if done.best_state is not None and done.ships == "best":
            take_state(strategy, done.best_state)
        self.network_ = plain_weights(ship(done.strategy, task.classes)).eval().requires_grad_(False)
        self.views_, self.ledger_, self.n_iter_ = pile.views, copy.copy(done.ledger), steps
        self.alarms_, self.fallback_ = done.alarms, done.fallback
        return self

    def predict(self, X: Any) -> Array:
        """The class of each pixel, (N, H, W), out of ``classes_``."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of each pixel, (N, C, H, W), float64."""
        check_is_fitted(self)
        samples = ArraySet(self.inputs_.read(np.asarray(X)), channels="first")
        found: Array = run(self.network_, self.network_, self.views_, samples, int(self.batch_size)).numpy()
        return found

    def score(self, X: Any, y: Any) -> float:
        """Mean intersection over union in [0, 1], over the classes in truth or prediction; ``void`` is passed over.

        Raises:
            DataError: if no pixel has a label, or one has a class that ``fit`` did not see.
        """
        check_is_fitted(self)
        X = np.asarray(X)
        masks = self._masks(X, y)
        strange = np.setdiff1d(masks[masks != self.void], self.classes_)
        if (masks == self.void).all() or len(strange):
            why = f"class {strange[0]}, which fit did not see" if len(strange) else "no pixel with a label"
            raise DataError(f"y has {why}; give masks of the classes {self.classes_.tolist()}")
        codes = np.where(masks == self.void, _VOID, np.searchsorted(self.classes_, masks))
        task = Segmentation(len(self.classes_), void=_VOID)
        target = task.encode(torch.from_numpy(codes))
        return task.compute(task.update(torch.from_numpy(self.predict_proba(X)), target))["mean_iou"]

    def _masks(self, X: Array, y: Any) -> Array:
        """Masks of pictures, as integers.

        Raises:
            DataError: another shape, or no integers.
        """
        masks = np.asarray(y)
        height, width = self.inputs_.shape[1:]
        if masks.shape != (len(X), height, width) or masks.dtype.kind not in "iub":
            raise DataError(
                f"y is {masks.dtype} of shape {masks.shape}; give integers of shape {(len(X), height, width)}, one for "
                f"each pixel, {self.void} where there is none"
            )
        return masks.astype(np.int64)
