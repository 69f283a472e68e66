"""Pretraining without labels as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selftrain.catalog import EMBEDDING, default_recipe, make_recipe
from selftrain.data import Pile
from selftrain.engine.loop import fit
from selftrain.estimator.base import NetworkEstimator
from selftrain.estimator.inputs import Array
from selftrain.estimator.shipped import inference_model, run
from selftrain.handlers import DataSummary, Progress
from selftrain.networks.by_name import make_encoder
from selftrain.networks.optim import copied_weights, load_weights
from selftrain.types import BatchPlan

STEPS = 1000


class PretrainedEncoder(NetworkEstimator):
    """Learn features of rows without labels; any classifier can stand on them.

    Args:
        recipe: A name in ``selftrain.catalog.RECIPES``, or a function of an encoder that builds a stage, such as
            ``selftrain.pretrain.MAE``; ``"auto"``: T-JEPA for tables (VICReg below four columns and
            for sparse rows), MAE for images, ECG-JEPA for series, Point-JEPA for points.
        recipe_params: Settings of the recipe; ``None``: its defaults.
        network: ``"auto"``, a name in ``selftrain.estimator.ENCODERS``, an encoder (it is copied), or a function of the
            shape of an input, or of nothing, that builds one.
        kind: ``"table"`` (N, features), ``"image"`` (N, H, W), (N, H, W, C) or (N, C, H, W), ``"series"``
            (N, channels, length) or ``"points"`` (N, points, 2 or 3); ``None``: a table of two axes, else images.
        channels: Where the channel axis of four-axis images is, ``"first"`` or ``"last"``; ``None``: guessed.
        limits: Values of images that mean black and white, as in ``SelfTrainClassifier``.
        table: Settings of the reader of data frames, as in ``SelfTrainClassifier``.
        views: Maker of views, see ``selftrain.data``; ``None``: the one for this kind.
        steps: Steps of training; or
        epochs: passes over the rows. Both ``None``: 1,000 steps.
        batch_size: Rows a step.
        out: Run folder for logs and weights; ``None``: nothing is stored.
        overwrite: Replace a run in ``out``.
        device: Where to train and to predict: ``"auto"`` (the accelerator where there is one, else the CPU), ``"gpu"``,
            or a name of torch; ``None``: the CPU.
        random_state: Seed or ``RandomState`` of everything drawn.
        verbose: 0: silent, else the data are described and a progress bar is shown.

    Attributes:
        encoder_: The encoder at rest.
        recipe_: The recipe that was used.
        views_: Maker of views with the normalization that was learned.
        n_features_in_: Numbers in a row.
        encoding_: How the rows of a data frame became numbers; ``None``: they were numbers.
        figures_: Figures of the features of the training rows, such as their effective rank ``rankme``.

    Raises:
        ValueError: for settings that do not fit each other or the rows; the message names the remedy.

    >>> from sklearn.datasets import load_wine
    >>> x, _ = load_wine(return_X_y=True)
    >>> PretrainedEncoder(recipe="vicreg", steps=2, random_state=0).fit_transform(x).shape
    (178, 128)
    """

    def __init__(
        self,
        *,
        recipe: str | Callable[..., Any] = "auto",
        recipe_params: dict[str, Any] | None = None,
        network: Any = "auto",
        kind: str | None = None,
        channels: Any = None,
        limits: tuple[float, float] | None = None,
        table: dict[str, Any] | None = None,
        views: Any = None,
        steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        out: str | Path | None = None,
        overwrite: bool = False,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.recipe, self.recipe_params, self.network = recipe, recipe_params, network
        self.kind, self.channels, self.limits = kind, channels, limits
        self.table, self.views = table, views
        self.steps, self.epochs, self.batch_size = steps, epochs, batch_size
        self.out, self.overwrite, self.device = out, overwrite, device
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: Any, y: Any = None) -> PretrainedEncoder:
        """Learn from rows.

        Args:
            X: Rows of any kind, labeled or not.
            y: Ignored.
        """
        rows = self._learn_rows(X)
        inputs, seed = self.inputs_, self._seed()
        samples = inputs.samples(inputs.read(rows))
        pile = Pile(None, samples, views=self._own_views(samples))
        pile.encoding = None if self.encoding_ is None else self.encoding_.as_dict()
        # T-JEPA makes a token of each column, of which sparse rows have thousands
        automatic = "vicreg" if hasattr(rows, "tocsr") else default_recipe(inputs.kind, inputs.shape)
        self.recipe_ = recipe = automatic if self.recipe == "auto" else self.recipe
        with self._alone(seed):
            # with embeddings of two views nothing is hidden, so plain networks will do
            masked = recipe not in EMBEDDING
            encoder = make_encoder(self.network, inputs.kind, inputs.shape, masked=masked, gaps=inputs.gaps)
            stage = make_recipe(recipe, encoder, self.recipe_params or {})
            done = fit(
                stage,
                pile,
                out=self.out,
                overwrite=self.overwrite,
                plan=BatchPlan(labeled=min(self.batch_size, len(samples)), unlabeled_ratio=1, seed=seed),
                device=self._device(),
                handlers=[DataSummary(bool(self.verbose)), Progress(bool(self.verbose))],
                **self._length(STEPS),
            )
        weights = {name.removeprefix("encoder."): tensor.cpu() for name, tensor in done.export().items()}
        # the weights that the stage would hand on, which need not be the last ones
        load_weights(encoder, weights)
        self.views_, self.figures_ = pile.views, done.last.get("unlabeled", {})
        first = next(iter(pile.evaluation("unlabeled", 1, self._device()) or ()))
        self.encoder_ = inference_model(encoder.to(self._device()), first.x)
        self._n_features_out = int(encoder.embed_dim)  # type: ignore[arg-type]
        return self

    def transform(self, X: Any) -> Array:
        """Features of rows, shape (N, D), float64."""
        rows = self._rows(X)
        samples = self.inputs_.samples(self.inputs_.read(rows))
        features: Array = run(self.encoder_, self.encoder_, self.views_, samples).numpy()
        return features

    def weights(self) -> dict[str, Any]:
        """Weights of the encoder as ``selftrain.learner(init_from=...)`` takes them, named ``encoder.*``."""
        state = copied_weights(self.encoder_)
        return {f"encoder.{k}": v.float() if v.is_floating_point() else v for k, v in state.items()}
