"""The nouns every room shares: targets, views, batches, the clock and the report of a step.

Shape letters: ``B`` batch, ``C`` classes or joints, ``*S`` site axes (``()`` for classification, ``(H, W)`` for
segmentation and keypoints), ``*U`` unit axes (``()``, ``(H, W)`` and ``(K,)``). A *unit* is the smallest thing that
gets a pseudo-label of its own: a sample, a pixel, a joint.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.arguments import bind, check

InputKind = Literal["table", "image", "series", "points"]
OUTSIDE = -2.0  # as a coordinate of a place, of which those of an image go from -1 to 1
_Door = TypeVar("_Door", bound=Callable[..., Any])


def plain_setting(value: Any) -> Any:
    """A setting as Python has it: a number, flag or text of numpy or torch becomes Python's own.

    So do those inside a tuple or a dictionary, and an array of texts becomes a list. All else, such as an array of
    rows, is what it was.
    """
    if isinstance(value, np.generic | np.ndarray) and not value.ndim:
        return value.item() if value.dtype.kind in "biufcSU" else value  # a date would become a number
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "SUO":
        texts = value.tolist()
        return texts if texts and all(isinstance(text, str) for text in texts) else value
    if type(value) is dict:
        made = {key: plain_setting(one) for key, one in value.items()}
        return made if any(made[key] is not value[key] for key in value) else value
    if isinstance(value, Tensor) and not value.ndim and not isinstance(value, nn.Parameter):
        return value.item()
    if type(value) is tuple or (type(value) is list and value and isinstance(value[0], np.generic)):
        return type(value)(map(plain_setting, value))
    return value


def plain_settings(door: _Door) -> _Door:
    """Let a function, or the constructor of a class, be called with settings out of numpy as with Python's own.

    They come from ``(y >= 0).sum()`` and ``np.logspace``, and would be told apart by the first ``isinstance`` or file.
    Others are checked, see ``selftrain.arguments``.
    """
    call: Callable[..., Any] = vars(door)["__init__"] if isinstance(door, type) else door
    # what others derive from classes of this library is their own affair
    ours, owner = call.__module__.startswith("selftrain"), call.__qualname__.removesuffix(".__init__")

    @functools.wraps(call)
    def called(*values: Any, **settings: Any) -> Any:
        values = tuple(map(plain_setting, values))
        settings = {name: plain_setting(value) for name, value in settings.items()}
        if ours:
            check(call, bind(call, values, settings, owner).arguments)
        return call(*values, **settings)

    if not isinstance(door, type):
        return called  # type: ignore[return-value]
    door.__init__ = called  # type: ignore[misc]
    return door


class Recorded:
    """Keep what an object was built with, so that a run folder can say how to build the like again."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            # A wrapper and not __new__: what asks for the signature of a class would be shown that of __new__.
            cls.__init__ = plain_settings(noting(cls.__init__, _keep))  # type: ignore[method-assign]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor was called with, by name and with defaults: another version may have others."""
        values, settings = vars(self).get("_built_with", ((), {}))
        bound = inspect.signature(type(self)).bind(*values, **settings)
        bound.apply_defaults()
        return dict(bound.arguments)


def noting(init: Callable[..., None], note: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> Any:
    """A constructor that first tells ``note`` of its object, values and settings."""

    @functools.wraps(init)
    def noted(self: Any, *values: Any, **settings: Any) -> None:
        note(self, values, dict(settings))  # before: the constructor may change what it was given
        init(self, *values, **settings)

    return noted


def _keep(made: Any, values: tuple[Any, ...], settings: dict[str, Any]) -> None:
    vars(made).setdefault("_built_with", (values, settings))  # the outermost call is the one of the user


@dataclass(frozen=True)
class Target:
    """What a prediction is compared with.

    Args:
        value: Probabilities or heatmaps, shape (B, C, *S), in [0, 1].
        weight: How much each unit counts, shape (B, *U), >= 0.
        valid: Whether the unit exists (False: void pixel, outside the crop, unlabeled joint), shape (B, *U), bool;
            ``None`` means every unit exists. Only valid units count in the denominator of a loss.
    """

    value: Tensor
    weight: Tensor
    valid: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """Of ``value``, (B, C, *S)."""
        return self.value.shape

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Values, weights and, if there is one, validity."""
        return (self.value, self.weight, *(() if self.valid is None else (self.valid,)))

    def having(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """A target of the same kind with other ``tensors``."""
        return Target(value, weight, valid)

    def each(self, change: Callable[[Tensor], Tensor]) -> Target:
        """The same with ``change`` made to every one of its ``tensors``."""
        return self.having(*map(change, self.tensors))

    def scaled(self, factor: Tensor | float) -> Target:
        """Multiply the weights by ``factor``, broadcastable to (B, *U)."""
        return self.weighted(self.weight * factor)

    def weighted(self, weight: Tensor) -> Target:
        """The same with other weights, shape (B, *U)."""
        return self.having(self.tensors[0], weight, self.valid)

    def mask(self) -> Tensor:
        """Validity with the same shape as the weights, as a float: 1.0 where the unit exists."""
        return torch.ones_like(self.weight) if self.valid is None else self.valid.to(self.weight)


class HardTarget(Target):
    """Class numbers of units; the one-hot ``value``, a number for each class, is made only where it is asked for.

    ``dataclasses.replace`` gives a plain target.

    Args:
        value: ``None``: one-hot at ``label``.
        weight: As of ``Target``.
        valid: As of ``Target``.
        label: Class of each unit, shape (B, *U), integer, in [0, classes).
        classes: Number of classes C.
    """

    label: Tensor
    classes: int

    def __new__(
        cls, value: Tensor | None, weight: Tensor, valid: Tensor | None = None, *, label: Tensor | None = None,
        classes: int = 0,
    ) -> Any:  # fmt: skip
        """A plain target where there is a value."""
        return object.__new__(cls) if value is None else Target(value, weight, valid)

    def __init__(
        self, value: None, weight: Tensor, valid: Tensor | None = None, *, label: Tensor, classes: int
    ) -> None:
        vars(self).update(weight=weight, valid=valid, label=label, classes=classes)

    @functools.cached_property
    def value(self) -> Tensor:
        """One-hot values, shape (B, C, *S)."""
        made = self.weight.new_zeros(self.shape)
        return made.scatter_(1, self.label.long().unsqueeze(1), 1.0)

    @property
    def shape(self) -> torch.Size:
        """Of ``value``, (B, C, *S)."""
        return torch.Size([len(self.label), self.classes, *self.label.shape[1:]])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Class numbers, weights and, if there is one, validity."""
        return (self.label, self.weight, *(() if self.valid is None else (self.valid,)))

    def having(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """The same classes with other ``tensors``: class numbers, or values of a plain target."""
        if value.is_floating_point():
            return Target(value, weight, valid)
        return HardTarget(None, weight, valid, label=value, classes=self.classes)

    def __reduce__(self) -> Any:
        return functools.partial(HardTarget, label=self.label, classes=self.classes), (None, self.weight, self.valid)


@dataclass(frozen=True)
class View:
    """One augmented look at a batch.

    Args:
        x: Network input, shape (B, ...), normalized.
        theta: Affine map of each sample, shape (B, 2, 3), in the convention of ``torch.nn.functional.affine_grid``:
            it sends a place of the view to the place of the original image it shows. ``None``: geometry unchanged, or
            that of ``places``.
        places: What no affine map says: the place of the image that each pixel of the view shows, x and y from -1 to 1
            as in ``torch.nn.functional.grid_sample``, shape (B, H, W, 2); ``OUTSIDE`` where it shows none (padding).
        pixels: The same for masks, of which each pixel of the view shows one: centers of pixels. ``None``: the nearest
            to ``places``.
    """

    x: Tensor
    theta: Tensor | None = None
    places: Tensor | None = None
    pixels: Tensor | None = None

    @property
    def moved(self) -> bool:
        """Whether it has a geometry of its own."""
        return self.theta is not None or self.places is not None

    @property
    def geometry(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """``theta``, ``places`` and ``pixels``."""
        return self.theta, self.places, self.pixels

    def each(self, change: Callable[[Tensor], Tensor]) -> View:
        """The same with ``change`` made to every tensor."""
        return View(change(self.x), *(None if tensor is None else change(tensor) for tensor in self.geometry))


@dataclass(frozen=True)
class Labeled:
    """Labeled samples of one step: input (B, ...), target in the geometry of ``x``, row numbers (B,)."""

    x: Tensor
    target: Target
    index: Tensor


@dataclass(frozen=True)
class Unlabeled:
    """Unlabeled samples of one step: the views the strategy asked for, and row numbers (B,)."""

    views: Mapping[str, View]
    index: Tensor

    def __getitem__(self, name: str) -> View:
        return self.views[name]


class Batch:
    """What one step sees: labeled and unlabeled samples.

    Args:
        labeled: ``None`` when the strategy reads no labels; without rows when the data have none and it starts trained.
        unlabeled: ``None`` when there are no such samples or the strategy needs none.
    """

    def __init__(self, labeled: Labeled | None, unlabeled: Unlabeled | None) -> None:
        self._labeled, self._unlabeled = labeled, unlabeled

    @property
    def has_labeled(self) -> bool:
        """Whether there is a labeled part."""
        return self._labeled is not None

    @property
    def has_unlabeled(self) -> bool:
        """Whether there is an unlabeled part."""
        return self._unlabeled is not None

    @property
    def labeled(self) -> Labeled:
        """The labeled part; raises ``ValueError`` if this batch has none."""
        if self._labeled is None:
            raise ValueError("this batch has no labeled samples; a strategy with labels needs a labeled set")
        return self._labeled

    @property
    def unlabeled(self) -> Unlabeled:
        """The unlabeled part; raises ``ValueError`` if this batch has none."""
        if self._unlabeled is None:
            raise ValueError("this batch has no unlabeled samples; train `Supervised` when there are none")
        return self._unlabeled

    @property
    def parts(self) -> tuple[Labeled | Unlabeled, ...]:
        """The parts that are there."""
        return tuple(part for part in (self._labeled, self._unlabeled) if part is not None)

    def replace(self, *, labeled: Labeled | None = None, unlabeled: Unlabeled | None = None) -> Batch:
        """The same with another labeled or unlabeled part; ``None``: that of this batch."""
        # `or` is safe: neither part has a length, so none is false.
        return Batch(labeled or self._labeled, unlabeled or self._unlabeled)


@dataclass(frozen=True)
class Annotated:
    """Evaluation samples: plain input (B, ...), the annotation as the data set has it (B, ...), row numbers (B,)."""

    # Annotations are not encoded: pretraining has no task and is judged on the same batches.
    x: Tensor
    annotation: Tensor
    index: Tensor


@dataclass(frozen=True)
class Clock:
    """When a step happens. ``progress`` runs from 0 (first step) towards 1 (end of the stage)."""

    step: int
    epoch: int
    total_steps: int

    @property
    def progress(self) -> float:
        """Share of the stage that lies behind, in [0, 1]."""
        return min(1.0, self.step / max(1, self.total_steps))


@dataclass(frozen=True)
class PseudoLabels:
    """The pseudo-labels a step used, for the ledger.

    Args:
        index: Rows of the unlabeled set, shape (B,).
        value: Soft prediction before hardening, shape (B, C, *S), in [0, 1].
        weight: Weight given to each unit, shape (B, *U); a unit counts as accepted when it is > 0.
        agreement: Share of the members (or views) that side with the decision, shape (B, *U), in [0, 1]; ``None`` where
            only one was asked.
        unmoved: Whether ``value`` is of the image as it is; else of the first view that the strategy asks for.
    """

    index: Tensor
    value: Tensor
    weight: Tensor
    agreement: Tensor | None = None
    unmoved: bool = False


@dataclass(frozen=True)
class Report:
    """What a step says of itself.

    Args:
        scalars: Detached zero-dimensional tensors under names such as ``loss/supervised`` and ``used``.
        pseudo_labels: The pseudo-labels of this step, if the strategy made any.
    """

    # Tensors and no floats: reading a float waits for the device, which is put off until a row is logged.
    scalars: Mapping[str, Tensor]
    pseudo_labels: PseudoLabels | None = None


@plain_settings
@dataclass(frozen=True)
class BatchPlan:
    """How a stream cuts its batches.

    Args:
        labeled: Labeled samples a step, > 0.
        unlabeled_ratio: Unlabeled samples for each labeled one (the field's mu), > 0.
        seed: Key of all randomness that touches data.
        workers: Loader processes; the data do not depend on it.
        timeout: Seconds that a loader process may take for a batch before the run ends with an error; 0: any time.
        rare_class_temperature: Draw labeled rows by rare-class sampling with this temperature, > 0, at 0.01 as DAFormer
            does: see ``selftrain.data.loading.rare_classes``; ``None``: they cycle. Labels must be classes or masks.
    """

    labeled: int = 32
    unlabeled_ratio: float = 2.0
    seed: int = 0
    workers: int = 0
    timeout: float = 600.0
    rare_class_temperature: float | None = None

    def __post_init__(self) -> None:
        if self.labeled < 1:
            raise ValueError(f"labeled batch size is {self.labeled}; it must be at least 1")
        if not 0 < self.unlabeled_ratio < float("inf"):
            raise ValueError(f"unlabeled_ratio is {self.unlabeled_ratio}; it must be above 0")
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more")
        if not 0 <= self.timeout < float("inf"):
            raise ValueError(f"timeout is {self.timeout}; it must be a number of seconds, or 0 for any time")
        if self.rare_class_temperature is not None and not 0 < self.rare_class_temperature < float("inf"):
            raise ValueError(
                f"rare_class_temperature is {self.rare_class_temperature}; it must be above 0 (0.01 in DAFormer), or "
                "None, by which labeled rows cycle"
            )

    @property
    def unlabeled(self) -> int:
        """Unlabeled samples a step, at least 1."""
        return max(1, round(self.labeled * self.unlabeled_ratio))


@dataclass(frozen=True)
class Needs:
    """What a strategy needs from a stream.

    Args:
        views: Names of the views of an unlabeled sample, such as ``("weak", "strong")``.
        encode: Turns the annotations of labeled samples into a ``Target``; ``None``: the strategy reads no labels.
        warp: Carries a ``Target`` into the geometry of a view; needed together with ``encode``.
        labeled_view: Name of the view that labeled samples are shown in.
        extra_batches: Batches drawn ahead of each step: the next batches of the same epoch.
        places: Whether targets have places, so that views must tell their geometry (``View.theta``, ``View.places``).
        sides: Whether ``warp`` makes left ones of right ones in a mirror image.
        no_labels: Makes, of inputs, a labeled part without samples: what batches hold where the data have no labels,
            and none are needed as the networks start from trained weights; ``None``: labels are needed.
        share: Number of a process from 0, and of how many: it gets its share of each batch's rows, in the order of the
            processes. A stream that does so has an attribute ``share`` with the same; others give all rows to all.
    """

    views: Sequence[str]
    encode: Callable[[Tensor], Target] | None = None
    warp: Callable[[Target, View], Target] | None = None
    labeled_view: str = "weak"
    extra_batches: int = 0
    share: tuple[int, int] = (0, 1)
    places: bool = True
    sides: bool = False
    no_labels: Callable[[Tensor], Labeled] | None = None


class Stream(Protocol):
    """Batches of a whole run, addressed by epoch and step so that a run can be entered anywhere."""

    steps_per_epoch: int

    def epoch(self, number: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Batches of epoch ``number`` from its step ``start`` on: each item is one batch and its followers."""
        ...


class Pile(Protocol):
    """Labeled, unlabeled, validation and test samples of one problem, as the engine sees them."""

    classes: Sequence[str]

    def stream(self, needs: Needs, plan: BatchPlan, device: torch.device) -> Stream:
        """The training batches of a strategy."""
        ...

    def evaluation(self, part: object, batch_size: int, device: torch.device) -> Iterable[Annotated] | None:
        """Plain samples of a part or of a set, with annotations; None if empty.

        Parts: ``"labeled"``, ``"validation"``, ``"test"``, and, annotated -1, ``"unlabeled"``: an excerpt, ``"pile"``:
        every unlabeled row in order.
        """
        ...

    def unlabeled_ids(self) -> Sequence[str]:
        """A stable name (path or number) for every unlabeled row."""
        ...

    def unlabeled_truth(self) -> Tensor | None:
        """Class of every unlabeled row where a benchmark knows it (-1 elsewhere), shape (N,); else None."""
        ...
