"""What a stage leaves behind, and figures of a strategy on any data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from selftrain.arguments import checked
from selftrain.engine import summary
from selftrain.errors import CheckpointError, SelftrainError, TrainingError
from selftrain.evaluation.cross_fitted import CrossFitted
from selftrain.evaluation.quality import Quality, report
from selftrain.handlers.selfcheck import Alarm
from selftrain.labels.ledger import Ledger
from selftrain.metrics.significance import FEW
from selftrain.networks.copying import only_trained_with
from selftrain.report.write import write_report
from selftrain.runtime import signals
from selftrain.storage.run_dir import REPORT
from selftrain.storage.states import load_into
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import Annotated, Pile, plain_settings

Figures = dict[str, float]
Which = Literal["last", "best"]
_HIDDEN = {"best_state", "cross_fitted", "form", "shown", "unchecked", "weights"}  # public, and of use to few


@dataclass(frozen=True)
class Fallback:
    """What a run ships in place of its last weights.

    Attributes:
        to: ``"baseline"``: the labels alone; ``"best"``: the best weights on validation; ``"sound"``: the last weights
            that nothing spoke against.
        step: Steps that these weights have learned.
        alarms: Kinds of alarm that led to it.
        message: In words.
    """

    to: str
    step: int
    alarms: list[str]
    message: str


@dataclass(repr=False)
class Run:
    """A finished (or stopped) stage; ``print(run)`` tells of it in a few lines.

    Attributes:
        strategy: With its last weights.
        ledger: Pseudo-labels of the unlabeled set.
        last: Figures of the last evaluation, by part: ``last["validation"]["accuracy"]``.
        best: Figures of the evaluation with the highest ``strategy.monitor`` on validation, and its ``step``;
            empty without a validation set.
        before: Figures before the first step, by part, of a run that continues another (``fit(pretrain=...)``).
        train: Means of the last logged training scalars.
        steps: That its last weights have learned.
        samples: That the figures in ``last`` rest on, by part.
        seconds: Wall time spent in training, evaluation included, over all resumptions; the baseline has its own.
        out: Run folder, or ``None``.
        alarms: What the self-check found wrong, in the order it was found; each kind at most once.
        unchecked: What the self-check could not look at, and why, by kind of alarm.
        skipped: Steps that were left out because a loss, a gradient or an output was not finite.
        baseline: Figures of the last evaluation of the supervised control, by part; ``None`` without one, and until the
            stage is finished.
        cross_fitted: What simple models that learned the labels alone say of run and control, where fewer than 50
            labels are held out and a control was trained; ``None`` without.
        fallback: What is shipped since an alarm spoke against the last weights, see ``Evaluation``; strategy, ledger,
            ``last`` and ``best`` are then those of what is shipped. ``None``: the run ships what it has learned.
    """

    strategy: Strategy
    pile: Pile
    ledger: Ledger
    out: Path | None = None
    last: dict[str, Figures] = field(default_factory=dict)
    best: Figures = field(default_factory=dict)
    train: Figures = field(default_factory=dict)
    steps: int = 0
    samples: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    best_state: dict[str, Any] | None = None
    alarms: list[Alarm] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    baseline: dict[str, Figures] | None = None
    cross_fitted: CrossFitted | None = None
    before: dict[str, Figures] | None = None
    fallback: Fallback | None = None

    def __post_init__(self) -> None:
        if self.ledger is not None:
            self._lend_maps(self.ledger)

    def _lend_maps(self, ledger: Ledger) -> None:
        """Let a ledger of this run write masks and joints."""
        ledger.task, ledger.maps = getattr(self.strategy, "task", None), self._maps
        ledger.originals = self._originals

    def _originals(self) -> Any:
        from selftrain.front import asking

        return asking.originals(self.pile)

    def _maps(self) -> Any:
        from selftrain.front import asking

        return asking.own_maps(self)

    def __repr__(self) -> str:
        return summary.text(self)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return summary.html(self)

    def __dir__(self) -> list[str]:
        return sorted(name for name in super().__dir__() if name.startswith("__") or not _hides(name))

    def _told_data(self) -> str:
        # a pile of the user's own kind may show all of its numbers
        return str(self.pile) if hasattr(self.pile, "summary_lines") else type(self.pile).__name__

    def _ledger_figures(self) -> Mapping[str, float]:
        return self.ledger.summary()

    @property
    def network(self) -> nn.Module:
        """The network that is shipped: from plain inputs to logits, or the encoder of a stage of pretraining."""
        found: Any = getattr(self.strategy, "shipped", None)
        found = found() if callable(found) and not isinstance(found, nn.Module) else found
        return found if isinstance(found, nn.Module) else next(iter(self.strategy.learners())).model

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return self.pile.classes

    @property
    def views(self) -> Any:
        """The maker of views of the data."""
        return getattr(self.pile, "views", None)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What a plain input is: ``shape``, ``mean`` and ``std``, see ``selftrain.read_card``."""
        card = getattr(self.pile, "card", None)  # a pile of the user's own kind has none
        return {"shape": None, "mean": None, "std": None} if card is None else card()

    @property
    def form(self) -> Any:
        """How inputs were given to the pile (``Pile.form``); ``None``: it does not say."""
        return getattr(self.pile, "form", None)

    def shown(self, pile: Any, *, strict: bool = True, plain: bool = False) -> Any:
        """A pile with inputs and classes as the run saw its own; one of the user's own kind as it is.

        Args:
            pile: It stays as it is.
            strict: Of runs from a folder; here views are always known.
            plain: Whether features of the plain view are enough, where the run has learned from features.

        Raises:
            DataError: inputs of another shape, or a class that the run does not know.
        """
        if not hasattr(pile, "normalized_as"):
            return pile
        own: Any = self.pile
        if isinstance(self.strategy, SupervisedStrategy):
            pile = pile.numbered_as(self.classes)
        if own.encoder is not None and pile.encoder is None and self.encoder is not None:
            told, pile = own.encoder, copy.copy(pile)
            pile.views = told["base"]
            looks = 0 if plain else told["views"]
            pile = pile.encoded(self.encoder[0], views=looks, cache=told["cache"], seed=told["seed"])
        pile = copy.copy(pile)
        pile.views = own.views
        return pile.normalized_as(self.inputs)

    @property
    def encoder(self) -> tuple[Any, list[int]] | None:
        """The frozen encoder whose features were learned from, and the shape of its inputs; ``None``: there is none.

        Raises:
            RunFolderError: it cannot be loaded again.
        """
        # here: it opens runs itself
        from selftrain.engine.start import encoder_again

        told = getattr(self.pile, "encoder", None)
        return None if told is None else (encoder_again(told), list(told["shape"]))

    @property
    def ships(self) -> Which:
        """The weights that are used where none are named.

        ``"best"``, those best on validation, where that rests on at least 50 labels; else ``"last"``: of fewer it is
        mostly chance which weights look best.
        """
        enough = self.best_state is not None and self.samples.get("validation", 0) >= FEW
        return "best" if enough else "last"

    @contextmanager
    def weights(self, which: Which | None = None) -> Iterator[int]:
        """Inside, the strategy has these weights, ``None``: those that the run ships; gives the step they are of.

        Raises:
            ValueError: if ``which="best"`` and there was no validation set.
        """
        which = which or self.ships
        if which not in ("last", "best"):
            raise ValueError(f"which is {which!r}; choose 'last' or 'best'")
        if which == "last":
            yield self.steps
            return
        if self.best_state is None:
            raise ValueError("there are no best weights: the pile has no validation set; use which='last'")
        # Loading writes into tensors, so they are copied; extra states, such as an optimizer's, are replaced.
        last = {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.strategy.state_dict().items()}
        take_state(self.strategy, self.best_state)
        try:
            yield int(self.best.get("step", self.steps))
        finally:
            self.strategy.load_state_dict(last)

    def evaluate(self, data: object = "test", *, which: Which | None = None) -> Figures:
        """Figures on a part of the pile (``"test"``) or another data set, with the weights that ``ships`` names.

        Args:
            data: A part, or a set with annotations.
            which: ``"last"`` or ``"best"`` weights instead.

        Raises:
            ValueError: if the part is empty, or ``which="best"`` and there was no validation set.
        """
        with self.weights(which):
            return evaluate(self.strategy, self.pile, data)

    def predict(self, data: Any, *, which: Which | None = None, batch_size: int = 500) -> NDArray[Any]:
        """What the run says of data as you have them.

        They are read, sized and normalized as those of training were, so that samples of the pile get the very answers
        that they get as part of it.

        Args:
            data: Arrays, tensors or lists of inputs, or a single one. Of pictures: bytes or floats in [0, 1], (N, H, W,
                C), (N, C, H, W) or gray (N, H, W), pictures of Pillow, paths, a folder, or a list of these. Of a table:
                a data frame, a mapping of columns, rows of these, or a file. Also a .npy or .npz file, a data set of
                torch or Hugging Face, or a part of a pile.
            which: ``"last"`` or ``"best"`` weights instead of those that ``ships`` names.
            batch_size: Samples asked at a time.

        Returns:
            Names of classes, (N,), as the pile has them. Of masks: class numbers, (N, H, W). Of joints: x, y in cells
            of the heatmap, between their centers, and the height of the peak, (N, K, 3).

        Raises:
            DataError: data of another form than those of training; the message says what was wanted.
            ValueError: a run of pretraining, which knows no classes.
        """
        from selftrain.front import asking

        return asking.predict(self, data, which, batch_size)

    def predict_proba(self, data: Any, *, which: Which | None = None, batch_size: int = 500) -> NDArray[np.float32]:
        """Probabilities, (N, classes), of masks (N, classes, H, W), of joints heatmaps; arguments as of ``predict``."""
        from selftrain.front import asking

        return asking.predict_proba(self, data, which, batch_size)

    def label(
        self,
        data: Any = None,
        *,
        threshold: float | None = None,
        precision: float = 0.95,
        which: Which | None = None,
        batch_size: int = 500,
    ) -> Ledger:
        """Pseudo-labels of data as you have them, to look at, correct and keep: ``ledger.to_csv("labels.csv")``.

        A line says from which confidence on labels are accepted, and why.

        Args:
            data: As of ``predict``; ``None``: the unlabeled samples of the run.
            threshold: Confidence from which on a label is accepted, in [0, 1]; ``None``: the lowest by which a share
                ``precision`` of them is right, with a certainty of 95 %, as labels that were held out tell
                (``selftrain.evaluation.calibration.threshold_for_precision``). Too few to tell: all are accepted.
            precision: In (0, 1).
            which: As of ``predict``.
            batch_size: As of ``predict``.

        Raises:
            DataError: data of another form than those of training, or the run has no unlabeled samples.
            ValueError: a run of pretraining, or a threshold outside of [0, 1].
        """
        from selftrain.front import asking

        return asking.label(self, data, threshold, precision, which, batch_size)

    def quality(self, part: object = "validation") -> Quality:
        """What can be known of the pseudo-labels without their truth, see ``selftrain.evaluation.quality.report``.

        Raises:
            ValueError: for a stage without labels, which makes no pseudo-labels.
        """
        if not isinstance(self.strategy, SupervisedStrategy):
            raise ValueError(f"{type(self.strategy).__name__} makes no pseudo-labels; ask a run that does")
        return report(self.strategy, self.pile, self.ledger, part)

    @checked
    def report(self, path: str | Path | None = None, *, samples: int = 2000) -> Path:
        """Write one HTML page about the run: what it is worth, which classes are wrong, how the pile was used.

        The page holds everything and opens from disk; ``fit`` writes it into the run folder by itself.

        Args:
            path: The file; ``None``: ``report.html`` in the run folder, or here where there is none.
            samples: Held-out samples that are asked, at most.

        Raises:
            ValueError: for fewer than one sample.
            RunFolderError: the file cannot be written.
        """
        # here: it opens runs itself
        from selftrain.engine.spec import open_run

        control: Strategy | None = None
        place = None if self.out is None else self.out / "baseline"
        if place is not None and place.is_dir():
            with suppress(SelftrainError):  # a network of the user's own: the page has the figures of the run alone
                control = open_run(place, pile=self.pile).strategy
                control.to(next(self.strategy.parameters()).device)
        path = (self.out or Path()) / REPORT if path is None else path
        return write_report(self, path, baseline=control, samples=samples)

    @overload
    def export(self) -> Mapping[str, Tensor]: ...

    @overload
    def export(
        self,
        folder: str | Path,
        *,
        what: Literal["classifier", "encoder"] | None = None,
        formats: Sequence[str] = ("safetensors",),
        overwrite: bool = False,
        which: Which | None = None,
    ) -> dict[str, Path]: ...

    def export(
        self,
        folder: str | Path | None = None,
        *,
        what: Literal["classifier", "encoder"] | None = None,
        formats: Sequence[str] = ("safetensors",),
        overwrite: bool = False,
        which: Which | None = None,
    ) -> Mapping[str, Tensor] | dict[str, Path]:
        """Write the network for use elsewhere; without a folder: weights to hand to the next stage.

        Args:
            folder: For the files, see ``selftrain.export``; ``None``: the last weights by name, as
                ``learner(init_from=...)`` takes them, are returned.
            what: ``"classifier"`` or ``"encoder"``; ``None``: what the run has.
            formats: Some of ``"safetensors"``, ``"onnx"`` and ``"torch"``.
            overwrite: Replace files of these names.
            which: As of ``predict``.

        Returns:
            The files by format and the card as ``"card"``; or the weights.
        """
        if folder is None:
            return self.strategy.export()
        from selftrain.exporting import export

        what = what or ("classifier" if isinstance(self.strategy, SupervisedStrategy) else "encoder")
        return export(self, folder, what=what, formats=formats, overwrite=overwrite, which=which)


def _hides(name: str) -> bool:
    return name.startswith("_") or name in _HIDDEN


@plain_settings
def evaluate(strategy: Strategy, pile: Pile, data: object = "test", *, batch_size: int = 500) -> Figures:
    """Figures of a strategy on a part of the pile (``"validation"``, ``"test"``) or on another data set.

    Raises:
        ValueError: if the part is empty.
    """
    return measure(strategy, pile, data, batch_size=batch_size)[0]


def measure(strategy: Strategy, pile: Pile, data: object, *, batch_size: int = 500) -> tuple[Figures, int]:
    """As ``evaluate``, with the number of samples that the figures rest on."""
    device = next(strategy.parameters()).device
    batches = pile.evaluation(data, batch_size, device)
    if batches is None:
        raise ValueError(f"the pile has no samples in {data!r}; pass a data set or another part")
    counted = _Counted(batches)
    with strategy.evaluating():
        # Counted like the data: a probe reads all labels, and a stop must not wait for that.
        reference = pile.evaluation("labeled", batch_size, device)
        figures = strategy.evaluate(counted, None if reference is None else _Counted(reference))
    # Numbers of numpy and tensors are Python's from here on: in files, comparisons and what is shown.
    try:
        return {str(name): float(value) for name, value in figures.items()}, counted.samples
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(
            f"{type(strategy).__name__}.evaluate gave {figures!r:.200}; give one number for each name: {error}"
        ) from error


def take_state(
    strategy: Strategy, state: Any, what: str = "the best state does not fit", remedy: str = "", *, whole: bool = False
) -> None:
    """Load a state that was stored, and may be a stranger's.

    Args:
        strategy: That takes it.
        state: Of its best step, or of another one.
        whole: Whether it has what only training reads, too; else that may be missing, and stays as it is.
        what: Of a message, if it does not fit.
        remedy: Of a message.

    Raises:
        CheckpointError: it does not fit.
    """
    if not whole and isinstance(state, dict):
        out = only_trained_with(strategy)
        state = {name: value for name, value in strategy.state_dict().items() if name in out} | state
    try:
        load_into(strategy, state)
    except ValueError as error:
        raise CheckpointError(f"{what}: {error}; {remedy or 'take the last weights'}") from error


class _Counted:
    """Batches that can be gone through any number of times, and how many samples the last time had.

    A stop that was asked for happens before each batch.
    """

    def __init__(self, batches: Iterable[Annotated]) -> None:
        self.batches, self.samples = batches, 0

    def __iter__(self) -> Iterator[Annotated]:
        self.samples = 0
        for batch in self.batches:
            signals.check()
            self.samples += len(batch.index)
            yield batch
