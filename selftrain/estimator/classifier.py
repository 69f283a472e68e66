"""Self-training as a classifier of scikit-learn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils.metaestimators import available_if
from torch import nn

from selftrain.catalog import EMBEDDING, default_method, default_settings, make_rule, make_strategy, method_of
from selftrain.data import Pile, Subset
from selftrain.engine.loop import fit
from selftrain.engine.run import Run, take_state
from selftrain.engine.times import Evaluation, OnAlarm, steps_per_epoch, total_steps
from selftrain.errors import DataError
from selftrain.estimator.automatic import by_evidence, learn
from selftrain.estimator.base import NetworkEstimator
from selftrain.estimator.encoder import PretrainedEncoder
from selftrain.estimator.inputs import Array, as_frame
from selftrain.estimator.shipped import inference_model, joined, on_inputs, run, ship
from selftrain.handlers import DataSummary, Progress
from selftrain.networks.by_name import make_network
from selftrain.networks.copying import copy_network, plain_weights
from selftrain.networks.foundation import foundation_in
from selftrain.networks.optim import Training, learner
from selftrain.portfolio.forms import widened
from selftrain.tasks import Classification
from selftrain.types import BatchPlan
from selftrain.wrapper.labels import Labels, hold_out, known_rows, read_labels

_APART = 7919  # keys of members lie this far apart
STEPS = 500


def _has_network(model: Any) -> bool:
    """Whether features can be asked for."""
    portfolio = hasattr(model, "portfolio_") if hasattr(model, "classes_") else by_evidence(model)
    if portfolio:
        raise AttributeError(
            "strategy='auto' has shipped no network, so there are no features to transform to; set strategy='freematch'"
        )
    return True


class SelfTrainClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
    """Train a network on a few labels and many unlabeled rows: any strategy, threshold, network and pretraining.

    Rows without a label are marked in ``y``, see ``unlabeled``. Without any such row it learns from the labels alone
    (with a warning). ``score`` passes over unlabeled rows; for cross-validation see ``LabeledKFold``.

    Args:
        strategy: A name in ``selftrain.catalog.METHODS``, a class of ``selftrain.strategies``, or a function of
            (task, make_learner); ``"auto"``: a portfolio. The labels alone, graphs, mixtures and soft labels
            are tried, judged by cross-validation on the labels, the unlabeled rows in every fold, and blended by that
            evidence, see ``candidates_``. With any setting of networks below (``network``, ``steps``,
            ``select`` ...), and no ``budget``, that network is trained: by FreeMatch, or FixMatch if ``select`` is
            given, since FreeMatch has a rule of its own; where labels are few with a higher threshold, see
            ``selftrain.catalog.default_settings``.
        budget: Of a portfolio: ``"fast"``, some seconds and 6 for each 1,000 rows; ``"thorough"``, 20 times as many,
            enough for networks; or seconds on one core, which are estimated, not taken, so that results repeat. With a
            budget the networks among the candidates have the settings below. ``None``: ``"fast"``.
        strategy_params: Settings of the strategy; ``None``: its defaults, but moving averages of a named strategy look
            back on at most a tenth of the steps.
        select: Which pseudo-labels count: ``None``: as the strategy has it; a rule, or text such as ``"above(0.9)"`` or
            ``"free"``, see ``selftrain.select``.
        pretrain: Learns an encoder from all rows first: a recipe as in ``PretrainedEncoder``, or one of these, which is
            used as it is if it is fitted. ``None``: nothing is pretrained.
        network: ``"auto"``, a name in ``selftrain.estimator.ENCODERS``, a module (it is copied), or a function of
            (shape, outputs), of the shape, or of nothing, that builds one. An encoder (it has ``embed_dim``) gets a
            linear head, any other module must give the logits. One of ``selftrain.pretrained`` also says how images
            are normalized, unless ``views`` does; if it is frozen, the features of each row and of four weak and
            strong views are computed once, and the head learns from these. With a ``budget`` all candidates that are
            no networks read the encoder's features.
        members: Networks that are trained on their own, with other draws, and vote with their mean probabilities.
        kind: ``"table"`` (N, features), ``"image"`` (N, H, W), (N, H, W, C) or (N, C, H, W), ``"series"``
            (N, channels, length) or ``"points"`` (N, points, 2 or 3); ``None``: a table of two axes, else images.
        channels: Where the channel axis of four-axis images is, ``"first"`` or ``"last"``; ``None``: guessed.
        limits: Values of images that mean black and white, such as (-1000, 3000) for CT; values beyond are black or
            white. ``None``: 0 and 1 (floats), 0 and 255 (integers), or the extremes of ``fit`` where it exceeds those.
        table: Settings of ``selftrain.data.from_table``, which reads data frames that hold names, dates, truth values
            or gaps: ``columns``, ``decimal``, ``categorical``, ``drop``, ``missing`` or ``max_categories``, such as
            ``{"columns": {"zip": "category"}}``. ``None``: its defaults; a frame of numbers alone is an array.
        views: Maker of views, see ``selftrain.data``; ``None``: the one for this kind.
        steps: Steps of training; or
        epochs: passes over the unlabeled rows. Both ``None``: 500 steps.
        batch_size: Labeled rows a step.
        unlabeled_ratio: Unlabeled rows for each labeled one in a step.
        lr: Peak learning rate.
        weight_decay: Of AdamW.
        training: All settings of training at once (``selftrain.Training``), in place of these two.
        validation: Share of the labels of each class that is held out; the weights that are best on them are kept.
            0: none, and the last weights are kept.
        baseline: Whether each member is held against its supervised baseline; ``None``: where its steps read less than
            a third of the rows that those of the method read, which they mostly do.
        on_alarm: What an alarm that speaks against the weights does: ``"fallback"``: what the evidence is for is
            shipped, mostly the labels alone, see ``fallbacks_``; ``"stop"``; ``"warn"``; as in ``selftrain.fit``.
        unlabeled: What marks an unlabeled row in ``y``; ``None`` or NaN: both. In arrays of objects (text) ``None`` and
            NaN always do.
        out: Run folder for logs, checkpoints and pseudo-labels, a sub-folder for each of several members; of a
            portfolio for ``candidates.json``, the same as a table (``candidates.md``) and pseudo-labels; ``None``:
            nothing is stored.
        overwrite: Replace a run in ``out``.
        device: Where to train and to predict: ``"auto"`` (the accelerator where there is one, else the CPU), ``"gpu"``,
            or a name of torch; ``None``: the CPU.
        random_state: Seed or ``RandomState`` of everything drawn.
        verbose: 0: silent, else the data are described and a progress bar is shown.

    Attributes:
        classes_: Shape (C,).
        strategy_: The strategy that was trained: ``strategy``, or what ``"auto"`` chose; of a portfolio the names in
            the blend.
        candidates_: Of a portfolio: a record each of what was tried, by weight, see ``selftrain.portfolio.Portfolio``.
        portfolio_: The fitted ``Portfolio``, in place of ``network_``.
        network_: The networks at rest; maps plain inputs to probabilities.
        transduction_: The labels that were given and, where a row has none, its pseudo-label if it was learned from at
            its last visit, else what stood there, shape (N,). A portfolio labels every row.
        labeled_iter_: 0 where the label was given, else the step at which the row was first learned from, counted from
            1, or -1: never, shape (N,). Of a portfolio 1.
        termination_condition_: ``"all_labeled"`` where no row was unlabeled or a portfolio labeled them, else
            ``"max_steps"``.
        ledger_: History of every pseudo-label (of the first member), see ``selftrain.Ledger``; ids are row numbers. Of
            a portfolio what it decides for each unlabeled row, all accepted; ``agreement`` is the weight of the
            candidates that decide alike.
        n_iter_: Steps taken; of a portfolio 0.
        validation_: Rows that were held out, shape (H,).
        alarms_: What the self-check found wrong.
        fallbacks_: What members ship after an alarm in place of what they have learned, see ``Run.fallback``.
        encoder_: The fitted ``PretrainedEncoder``; ``None`` without pretraining.
        n_features_in_: Numbers in a row; columns of a data frame.
        encoding_: How the rows of a data frame became numbers, see ``selftrain.data.TableEncoding``; ``None``: they
            were numbers.

    Raises:
        ValueError: for settings that do not fit each other or the rows; the message names the remedy.
        DataError: for labels or rows that cannot be learned from.

    >>> from sklearn.datasets import load_wine
    >>> x, y = load_wine(return_X_y=True)
    >>> hidden = y.copy()
    >>> hidden[::2] = -1
    >>> model = SelfTrainClassifier(steps=60, lr=0.01, random_state=0).fit(x, hidden)
    >>> model.score(x, y) > 0.9, model.labeled_iter_[:2].tolist() != [0, 0]
    (True, True)
    """

    def __init__(
        self,
        *,
        strategy: Any = "auto",
        budget: Any = None,
        strategy_params: dict[str, Any] | None = None,
        select: Any = None,
        pretrain: Any = None,
        network: Any = "auto",
        members: int = 1,
        kind: str | None = None,
        channels: Any = None,
        limits: tuple[float, float] | None = None,
        table: dict[str, Any] | None = None,
        views: Any = None,
        steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        unlabeled_ratio: float = 2.0,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        training: Training | None = None,
        validation: float = 0.0,
        baseline: bool | None = None,
        on_alarm: OnAlarm = "fallback",
        unlabeled: Any = -1,
        out: str | Path | None = None,
        overwrite: bool = False,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.strategy, self.budget = strategy, budget
        self.strategy_params, self.select = strategy_params, select
        self.pretrain, self.network, self.members = pretrain, network, members
        self.kind, self.channels, self.limits = kind, channels, limits
        self.table, self.views = table, views
        self.steps, self.epochs = steps, epochs
        self.batch_size, self.unlabeled_ratio = batch_size, unlabeled_ratio
        self.lr, self.weight_decay, self.training = lr, weight_decay, training
        self.validation, self.baseline, self.on_alarm = validation, baseline, on_alarm
        self.unlabeled = unlabeled
        self.out, self.overwrite, self.device = out, overwrite, device
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: Any, y: Any) -> SelfTrainClassifier:
        """Learn from labeled and unlabeled rows.

        Args:
            X: All rows, see ``kind``.
            y: Their labels, integers or text, ``unlabeled`` where there is none, shape (N,).
        """
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None; "
                "give labels, -1 where there is none"
            )
        rows = self._learn_rows(X)
        labels = read_labels(y, self.unlabeled)
        check_consistent_length(rows, labels.given)
        for name, count in (("members", self.members), ("batch_size", self.batch_size)):
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
                raise ValueError(f"{name} is {count!r}; it must be an integer of at least 1")
        for name in ("portfolio_", "candidates_", "network_"):
            self.__dict__.pop(name, None)  # of a fit with other settings
        if by_evidence(self):
            return self._fit_portfolio(rows, labels)
        if self.budget is not None:
            raise ValueError(
                f"budget is {self.budget!r} and strategy {self.strategy!r}; leave it out, or set strategy='auto'"
            )
        automatic = isinstance(self.strategy, str) and self.strategy == "auto"
        self.strategy_ = default_method(self.select) if automatic else self.strategy
        seed = self._seed()
        self.validation_ = self._held_out(labels, seed)
        self.encoder_ = self._pretrained(X, seed)
        # an encoder that was fitted before has its own codes of names
        rows = rows if self.encoder_ is None or self.encoding_ is None else self._encoded(as_frame(X))
        pile = self._pile(rows, labels)
        foundation = foundation_in(self.network)
        if foundation is not None and foundation.mean is not None and self.views is None:
            pile = pile.normalized_as(foundation)
        shown, frozen = pile, None
        if foundation is not None and foundation is self.network and foundation.frozen and self.encoder_ is None:
            frozen = copy_network(foundation).to(self._device())
            pile = pile.encoded(frozen, progress=bool(self.verbose))
        runs = []
        for member in range(self.members):
            # keys of neighbors would share draws with the next seed's members
            key = (seed + _APART * member) % 2**31
            with self._alone(key):
                runs.append(self._trained(pile, key, member))

        self.classes_, self.views_, self.n_iter_ = labels.classes, shown.views, self._steps(pile)
        network = plain_weights(joined([ship(run.strategy, len(self.classes_)) for run in runs]))
        network = network if frozen is None else on_inputs(network, frozen, pile.views)
        example = next(iter(shown.evaluation("labeled", 2, self._device()) or ())).x
        self.network_ = inference_model(network, example)
        self.transduction_, self.labeled_iter_ = _provenance(runs[0], pile, labels)
        self.ledger_ = copy.copy(runs[0].ledger)  # which no longer holds the run
        self.alarms_ = [alarm for run in runs for alarm in run.alarms]
        self.fallbacks_ = [run.fallback for run in runs if run.fallback is not None]
        self.termination_condition_ = "max_steps" if pile.unlabeled else "all_labeled"
        return self

    def _fit_portfolio(self, rows: Any, labels: Labels) -> SelfTrainClassifier:
        seed = self._seed()
        with self._alone(seed):
            self.portfolio_, self.ledger_ = learn(self, self._widened(rows), labels, seed)
        self.classes_, self.candidates_ = labels.classes, self.portfolio_.records_
        self.strategy_ = " + ".join(str(row["name"]) for row in self.candidates_ if row["weight"])
        self.transduction_ = labels.completed(self.ledger_.label.numpy())
        self.labeled_iter_ = np.where(labels.labeled, 0, 1)
        self.termination_condition_, self.n_iter_ = "all_labeled", 0
        self.alarms_, self.fallbacks_, self.encoder_ = [], [], None
        self.validation_ = np.zeros(0, dtype=np.int64)
        return self

    def predict(self, X: Any) -> Array:
        """The class of each row, shape (N,)."""
        value = self.predict_proba(X)
        return np.asarray(self.classes_[value.argmax(1)])

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of each row, shape (N, C), float64."""
        rows = self._rows(X)
        if hasattr(self, "portfolio_"):
            return self.portfolio_.predict_proba(self._widened(rows))
        return self._ask(self.network_, rows)

    def transform(self, X: Any) -> Array:
        """Features of the encoder, those of several networks side by side, shape (N, D), float64.

        A portfolio has no encoder and no ``transform``.

        Raises:
            ValueError: for a network without ``encoder``.
        """
        rows = self._rows(X)
        return self._ask(self.network_.features, rows)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy in [0, 1] on the rows of ``y`` that have a label; the others are passed over.

        Raises:
            DataError: if no row has a label.
        """
        given, known = known_rows(y, self.unlabeled)
        if not known.any():
            raise DataError(f"all {len(given)} rows of y are unlabeled; there is nothing to score")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        truth = np.array(given[known].tolist())
        return float(accuracy_score(truth, self.predict(X)[known], sample_weight=weight))

    @property
    def _n_features_out(self) -> int:
        widths = [getattr(getattr(network, "encoder", None), "embed_dim", 0) for network in self.network_.networks]
        return int(sum(widths))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if by_evidence(self):
            tags.transformer_tags = None
        return tags

    def _steps(self, pile: Pile) -> int:
        """Steps of training.

        Raises:
            ValueError: for both steps and epochs, or less than 1.
        """
        plan = BatchPlan(labeled=int(self.batch_size), unlabeled_ratio=self.unlabeled_ratio)
        per_epoch = steps_per_epoch(len(pile.unlabeled or ()), len(pile.labeled or ()), plan)
        return total_steps(self.epochs, self.steps, per_epoch, STEPS)

    def _trained(self, pile: Pile, seed: int, member: int) -> Run:
        """Train one strategy; draws are the caller's to seed."""
        classes, unlabeled, inputs = len(pile.classes), len(pile.unlabeled or ()), self.inputs_
        outputs, encoder = classes * method_of(self.strategy_).outputs, self.encoder_
        template = self.network if encoder is None else encoder.network

        def network() -> nn.Module:
            if pile.encoder is not None:
                return make_network("linear", "table", tuple(pile.card()["shape"]), outputs)
            masked = encoder is not None and encoder.recipe_ not in EMBEDDING
            return make_network(template, inputs.kind, inputs.shape, outputs, masked=masked, gaps=inputs.gaps)

        training = self.training or Training(lr=self.lr, weight_decay=self.weight_decay)
        rule = make_rule(self.select, classes=classes, unlabeled=max(1, unlabeled))
        settings = self.strategy_params or {}
        if isinstance(self.strategy, str) and self.strategy == "auto":
            drawn = self._steps(pile) * int(self.batch_size)
            known = len(pile.labeled or ())
            settings = default_settings(self.strategy_, classes=classes, labeled=known, drawn=drawn) | settings
        strategy = make_strategy(
            self.strategy_,
            learner(network, init_from=None if encoder is None else encoder.weights(), training=training),
            {**({} if rule is None else {"select": rule}), **settings},
            task=Classification(classes),
            label_shape=(classes,),
            unlabeled=unlabeled,
            steps=self._steps(pile),
        )
        run = fit(
            strategy,
            pile,
            out=self._folder(member),
            overwrite=self.overwrite,
            plan=BatchPlan(labeled=int(self.batch_size), unlabeled_ratio=self.unlabeled_ratio, seed=seed),
            device=self._device(),
            steps=self._steps(pile),
            baseline=self.baseline,
            evaluation=Evaluation(on_alarm=self.on_alarm),
            handlers=[DataSummary(bool(self.verbose)), Progress(bool(self.verbose))],
        )
        if run.best_state is not None and run.ships == "best":  # few held-out labels choose by chance
            take_state(strategy, run.best_state)
        return run

    def _held_out(self, labels: Labels, seed: int) -> Array:
        """Rows that validate."""
        if not self.validation:
            return np.zeros(0, dtype=np.int64)
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}; it is a share of the labels, in [0, 1)")
        return hold_out(labels.codes, self.validation, np.random.RandomState(seed))

    def _pretrained(self, X: Any, seed: int) -> PretrainedEncoder | None:
        """The pretrained encoder that students start from."""
        if self.pretrain is None:
            return None
        given = getattr(self.pretrain, "estimator", self.pretrain)  # what a FrozenEstimator holds
        if isinstance(given, PretrainedEncoder) and hasattr(given, "encoder_"):
            theirs, ours = given.inputs_, self.inputs_
            alike = (theirs.kind, theirs.given, theirs.shape) == (ours.kind, ours.given, ours.shape)
            if given.encoding_ is None and not (alike and self.encoding_ is None):
                named = "" if self.encoding_ is None else ", of names, dates or gaps"
                raise DataError(
                    f"the encoder was fitted to {theirs.kind} rows of shape {theirs.given}, these are {ours.kind} rows "
                    f"of shape {ours.given}{named}; fit it to rows like these"
                )
            self.inputs_, self.encoding_ = theirs, given.encoding_
            return given
        fresh = clone(given) if isinstance(given, PretrainedEncoder) else PretrainedEncoder(recipe=given)
        # what the encoder leaves open it shares with its students, or their weights would not fit
        own = {"network": self.network} if fresh.network == "auto" else {}
        for name in ("kind", "channels", "limits", "table", "views", "device"):
            own |= {name: getattr(self, name)} if getattr(fresh, name) is None else {}
        if fresh.random_state is None:
            own["random_state"] = seed
        folder = None if self.out is None else Path(self.out) / "pretrain"
        fresh.set_params(**own, out=fresh.out or folder, overwrite=self.overwrite, verbose=self.verbose)
        fitted: PretrainedEncoder = fresh.fit(X)
        return fitted

    def _pile(self, rows: Array, labels: Labels) -> Pile:
        """Labeled, unlabeled and held-out rows; the ids of the unlabeled ones are their row numbers."""
        samples = self.inputs_.samples(self.inputs_.read(rows), labels.codes)
        known = np.setdiff1d(np.flatnonzero(labels.codes >= 0), self.validation_)
        pile = Pile(
            Subset(samples, known),
            Subset(samples, np.flatnonzero(labels.codes < 0), annotated=False),
            Subset(samples, self.validation_),
            classes=[str(name) for name in labels.classes],
            views=self._own_views(samples) if self.encoder_ is None or self.views is not None else self.encoder_.views_,
        )
        pile.encoding = None if self.encoding_ is None else self.encoding_.as_dict()
        return pile

    def _widened(self, rows: Any) -> Any:
        """Rows as a portfolio reads them: a column for each code of a category."""
        return rows if self.encoding_ is None else widened(rows, self.encoding_.cardinalities.items())

    def _folder(self, member: int) -> Path | None:
        """Run folder of a member."""
        if self.out is None:
            return None
        alone = self.members == 1 and self.encoder_ is None
        return Path(self.out) if alone else Path(self.out) / f"member-{member}"

    def _ask(self, question: Any, rows: Array) -> Array:
        samples = self.inputs_.samples(self.inputs_.read(rows))
        answer: Array = run(question, self.network_, self.views_, samples).numpy()
        return answer


# scikit-learn's wrapper for set_output hides that these are not always there
for _name in ("transform", "fit_transform"):
    setattr(SelfTrainClassifier, _name, available_if(_has_network)(getattr(SelfTrainClassifier, _name)))


def _provenance(run: Run, pile: Pile, labels: Labels) -> tuple[Array, Array]:
    """The labels that were learned from at last, and the step since when, both (N,); see ``SelfTrainClassifier``."""
    codes, since = labels.codes.copy(), np.where(labels.labeled, 0, -1)
    rows = np.array([int(name) for name in pile.unlabeled_ids()], dtype=np.int64)
    first, label = (getattr(run.ledger, name).cpu().numpy() for name in ("first_accepted", "label"))
    # 0 means a given label, so steps count from 1
    since[rows] = np.where(first >= 0, first + 1, -1)
    codes[rows] = np.where(run.ledger.accepted.cpu().numpy(), label, -1)
    return labels.write(codes), since
