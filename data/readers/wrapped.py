"""Piles from data sets of other libraries: Hugging Face ``datasets`` and map-style ``torch`` ones."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.dense import dense, other_than_rows, refuse_complex
from selftrain.data.base.labels import Classes, NoLabel, ReadLabels, Vocabulary, read_labels
from selftrain.data.base.samples import (
    Channels,
    Kind,
    Limits,
    RowNumbers,
    Rows,
    as_annotations,
    check_limits,
    first_unusable,
    prepared,
    same_length,
    single,
)
from selftrain.data.base.splits import Overlap
from selftrain.data.base.units import VOID
from selftrain.data.pile import Pile
from selftrain.data.readers.assembling import assemble
from selftrain.data.readers.decoding import Fit, Mode, few_levels, to_bytes, used_range
from selftrain.data.readers.files import as_extent
from selftrain.data.readers.left_out import CUT, Note, cut_off, cut_words
from selftrain.data.readers.mask_files import MaskFiles, numbers_of, scan_of
from selftrain.data.readers.masks import (
    CITYSCAPES_CLASSES,
    CITYSCAPES_VOID,
    PET_CLASSES,
    VOC_CLASSES,
    coding_of,
    number_faults,
)
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.points import PointViews
from selftrain.errors import DataError, setting
from selftrain.types import plain_settings

_INPUTS = ("image", "img", "pixel_values", "x", "input", "inputs", "features", "data", "series", "audio")
_LABELS = ("label", "labels", "y", "target", "targets", "class", "fine_label", "coarse_label")
_SPLITS = {"train": "labeled", "labeled": "labeled", "unlabeled": "unlabeled", "unsupervised": "unlabeled"} | {
    name: "validation" for name in ("validation", "valid", "val", "dev")
}
_CHUNK = 1024
_LOOKED_AT = 32  # readings of rows that show whether a data set draws


@plain_settings
class DatasetSet:
    """Rows of a map-style data set of another library.

    An item is an input, a pair of input and label, or a mapping with both. Inputs are pictures of Pillow, tensors or
    arrays; they are read when they are needed, and converted as in ``ArraySet`` and ``FileSet``.

    Args:
        dataset: Anything with ``len`` and ``[number]``.
        y: Annotations, one a row, or ``None``. ``labels_of`` reads those that the data set has.
        name: What messages call it.
        column: Key of the input where items are mappings; ``None``: found by its name.
        mode: What pictures become, ``"RGB"`` or ``"L"`` (gray).
        size: Side, or height and width, to bring pictures to; ``None``: they must all have one size already.
        fit: ``"crop"``, ``"stretch"`` or ``"pad"``, as in ``FileSet``.
        channels: Where the channel axis of arrays is, as in ``ArraySet``.
        limits: Values that mean black and white in arrays (as in ``ArraySet``) and in pictures of more than 8 bits.
        kind: ``"series"`` or ``"points"``, as in ``ArraySet``; ``None``: images or a table.
        prefix: What stands before the row numbers that are the ids.

    Raises:
        DataError: no rows, items without an input, or, on reading, an item that cannot be read or used (row named).

    Warns:
        UserWarning: the data set draws random transforms as a row is read; or its pictures lose a fifth or more to
            cropping, or hold several frames: of up to 32 rows that were looked at.
    """

    def __init__(
        self,
        dataset: Any,
        y: Any = None,
        *,
        name: str = "the data set",
        column: str | None = None,
        mode: Mode = "RGB",
        size: int | tuple[int, int] | None = None,
        fit: Fit = "crop",
        channels: Channels | None = None,
        limits: Limits | None = None,
        kind: Kind | None = None,
        prefix: str = "",
    ) -> None:
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise DataError(f"{name} ({type(dataset).__name__}) has no len or no [number]; streams must be saved first")
        self.dataset, self.name, self.mode, self.fit = dataset, name, mode, fit
        self.size = as_extent(size)
        self.channels, self.limits, self.kind = channels, check_limits(limits), kind
        self.annotations: Tensor | None = None if y is None else as_annotations(y)
        self.ids: Sequence[str] = RowNumbers(len(dataset), prefix)
        same_length(len(dataset), self.annotations, "annotations")
        if not len(dataset):
            raise DataError(f"{name} has no rows")
        self._seen: dict[int, tuple[float, int]] | None = None
        self._parts = 1
        self.column, self.pictures, self.ranges = column, False, list[tuple[float, float]]()
        with _own_generators():
            self.images(np.zeros(1, np.int64))  # so that inputs that cannot be used are an error now
        self._seen = {}  # what is cut off a picture, and how many it holds, by row
        drawn, seen = self._look(), self._seen
        self._seen = None
        self.notes: Sequence[Note] = _notes(seen, name, self.size, self._parts)
        for text in [*drawn, *(note.text for note in self.notes if note.warns)]:
            warnings.warn(text, stacklevel=4)

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, index: Rows) -> Tensor:
        """Inputs of some rows."""
        return single(self.exact(index))

    def exact(self, index: Rows) -> Tensor:
        """The same in the precision that they are given in, see ``exact_rows``."""
        rows = np.asarray(index, dtype=np.int64).tolist()
        if not rows:
            return self.exact(np.zeros(1, np.int64))[:0]
        inputs = [self._input(row, item) for row, item in zip(rows, self._items(rows), strict=True)]
        for row, array in zip(rows, inputs, strict=True):
            if array.shape != inputs[0].shape:
                raise DataError(
                    f"row {row} of {self.name} has shape {array.shape}, but row {rows[0]} has {inputs[0].shape}; "
                    f"bring all to one (pictures: pass {setting('size')})"
                )
        try:
            return prepared(np.stack(inputs), self.channels, self._limits(), self.kind)
        except DataError as error:
            found = first_unusable(zip(rows, inputs, strict=True), self.channels, self._limits(), self.kind)
            what = f"{self.name}: {error}" if found is None else f"row {found[0]} of {self.name}: {found[1]}"
            raise DataError(what) from error

    def _look(self) -> list[str]:
        """Read some rows twice, and say whether they are others the second time.

        Random transforms inside the data set would make every view different in each process, and no run could be
        resumed. Whoever draws from a generator that all share is noticed by its state, whatever comes of the draw.
        """
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _LOOKED_AT)).astype(np.int64))
        # A set of few rows is read as often as one of many: each reading is another draw.
        rows = np.tile(rows, -(-_LOOKED_AT // len(rows)))[:_LOOKED_AT]
        readings, states = [], []
        with _own_generators():
            for seed in range(2):
                _seed_generators(seed)
                before = _generators()
                readings.append([self._alone(row) for row in rows])
                states.append((before, _generators()))
        pairs = [(a, b) for a, b in zip(*readings, strict=True) if a is not None and b is not None]
        # One that is seeded by the row ends in the same state whatever it was before, and gives the same each time.
        drawn = any(a != b and b != d for a, b, _, d in zip(*states[0], *states[1], strict=True))
        if drawn or not all(torch.equal(a, b) for a, b in pairs):
            return [
                f"{self.name} draws at random, and gives another input each time a row is read; "
                "take its random transforms out: views draw"
            ]
        return []

    def _alone(self, row: int) -> Tensor | None:
        """One row; ``None``: it cannot be read, which is told where it is needed."""
        try:
            return self.images(np.array([row]))
        except DataError:
            return None

    def _limits(self) -> Limits | None:
        # pictures have theirs already, where they became bytes
        return None if self.pictures else self.limits

    def _items(self, rows: Sequence[int]) -> list[Any]:
        """Items of some rows, all at once where the data set can."""
        try:
            # Hugging Face reads many rows at once far faster than one by one
            together = getattr(self.dataset, "__getitems__", None)
            return list(together(rows)) if together is not None else [self.dataset[row] for row in rows]
        except MemoryError:  # no fault of a row
            raise
        except Exception as error:  # code of the user, and decoders behind it
            # one by one, so that the message can name the row
            if len(rows) > 1:
                return [item for row in rows for item in self._items([row])]
            raise DataError(f"cannot read row {rows[0]} of {self.name}: {type(error).__name__}: {error}") from error

    def _input(self, row: int, item: Any) -> Any:
        where = f"row {row} of {self.name}"
        value = item
        if isinstance(item, Mapping):
            # Found once, at the first item: a later one that has another key is an error and not another column.
            if self.column is None:
                self.column = _column(item, _INPUTS, where)
            if self.column not in item:
                raise DataError(f"{where} has no {self.column!r}, only {', '.join(map(str, item))}")
            value = item[self.column]
        elif _is_pair(item):
            value, self._parts = item[0], len(item)
        if hasattr(value, "convert") and hasattr(value, "getbands"):
            if self._seen is not None:
                height, width = reversed(value.size)
                if value.getexif().get(0x0112, 1) in range(5, 9):  # turned by a quarter
                    height, width = width, height
                share = cut_off(height, width, self.size) if self.fit == "crop" else 0.0
                self._seen[row] = share, getattr(value, "n_frames", 1)
            self.pictures = True
            used = used_range(value)
            self.ranges += [] if used is None else [used]
            return to_bytes(value, self.mode, where, self.size, self.fit, self.limits)
        array = None
        if other_than_rows(value, where) is None:
            found = dense(value, where)
            array = found.numpy() if isinstance(found, Tensor) else np.asarray(found)
            refuse_complex(array, where)
        if array is None or array.dtype.kind not in "biuf" or not array.ndim:
            raise DataError(
                f"{where} is {str(value)[:60]!r}, no picture and no array of numbers; say column= or convert it"
            )
        return array


@plain_settings
def from_dataset(
    labeled: Any,
    unlabeled: Any = None,
    test: Any = None,
    *,
    validation: Any = 0,
    column: str | None = None,
    label: str | None = None,
    classes: Classes | None = None,
    no_label: NoLabel = -1,
    mode: Mode = "RGB",
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: Channels | None = None,
    limits: Limits | None = None,
    kind: Kind | None = None,
    labels: int | None = None,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
) -> Pile:
    """Make a pile from data sets of Hugging Face ``datasets`` or ``torch``, read when they are needed.

    Args:
        labeled: A map-style data set (``len``, ``[number]``) whose items are (input, label) or mappings with both;
            label -1 or a missing one means unlabeled. Labels may be masks, pictures of class numbers, 255 = no class;
            torchvision's VOCSegmentation, Cityscapes and OxfordIIITPet bring their classes. Or a ``DatasetDict``: its
            splits ``train``, ``unlabeled``, ``validation`` and ``test`` are taken. ``None``: there are no labels.
        unlabeled: One whose items are inputs; labels they may have are not read.
        test: One whose items all have a label.
        validation: Labels to hold back, a count or a share below 1, or another data set.
        column: Key of the input where items are mappings; default: ``image``, ``img``, ``x``, ...
        label: Key of the label where items are mappings; default: ``label``, ``labels``, ``y``, ...
        classes: As of ``Pile``; default: those the data set knows, but for one such as "unlabeled"; else as there, or
            the names that occur.
        no_label: Labels that mean unlabeled in place of -1, as in ``Pile.from_arrays``.
        mode: What pictures become, ``"RGB"`` or ``"L"`` (gray).
        size: Side, or height and width, to bring pictures to; ``None``: they must all have one size already.
        fit: ``"crop"``, ``"stretch"`` or ``"pad"``, as in ``FileSet``.
        channels: Where the channel axis of arrays is, as in ``ArraySet``.
        limits: Values that mean black and white in arrays (as in ``ArraySet``) and in pictures of more than 8 bits.
        kind: ``"series"`` or ``"points"``, as in ``ArraySet``; ``None``: images or a table.
        labels: Use only so many labels, evenly over the classes; the others become ``truth``. ``None``: all.
        overlap: Whether labeled rows are also unlabeled ones, as in ``split``.
        seed: Key of the choice of labels.
        views: Maker of views; default: the one for this kind of input.

    Raises:
        DataError: a set without ``len`` (streams), items that cannot be used, or labels that are no classes.

    Warns:
        UserWarning: as of ``DatasetSet``, such as random transforms in the data set: take them out.
    """
    sets = {"unlabeled": unlabeled, "test": test}
    passed_over: Sequence[str] = ()
    if not isinstance(validation, int | float):
        sets["validation"], validation = validation, 0
    if isinstance(labeled, Mapping):
        splits, passed_over = _splits(labeled)
        if "labeled" not in splits and "unlabeled" not in splits:
            names = ", ".join(labeled)
            raise DataError(f"the splits are {names}; none is called train or unlabeled: pass them one by one")
        sets = splits | {part: given for part, given in sets.items() if given is not None}
    else:
        sets["labeled"] = labeled
    sets = {part: given for part, given in sets.items() if given is not None}
    known = [part for part in ("labeled", "validation", "test") if part in sets]
    if known and _has_masks(sets[known[0]], label):
        masks, listed = _masks_of({part: sets[part] for part in known}, label, classes, no_label, as_extent(size), fit)
        read = ReadLabels(cast(Any, masks), listed)
    else:
        raw: dict[str, Sequence[Any]] = {part: labels_of(sets[part], label, part) for part in known}
        read = _read(raw, classes, _known_classes(sets.get("labeled"), label), no_label)
    form: dict[str, Any] = {
        "column": column, "mode": mode, "size": size, "fit": fit, "channels": channels, "limits": limits,
        "kind": kind,
    }  # fmt: skip
    made = {
        part: DatasetSet(
            given, read.codes.get(part), name=f"the {part} set", prefix="" if part == "labeled" else f"{part}/", **form
        )
        for part, given in sets.items()
    }
    pile = assemble(
        made.get("labeled"),
        made.get("unlabeled"),
        made.get("test"),
        validation=made.get("validation", validation),
        classes=read.classes,
        notes=read.notes,
        labels=labels,
        overlap=overlap,
        seed=seed,
        views=PointViews() if views is None and kind == "points" else views,
        source=" + ".join(f"{type(given).__name__} ({part})" for part, given in sorted(sets.items())),
    )
    left_out = [*passed_over, *(note.text for samples in made.values() for note in samples.notes)]
    pile.summary = pile.summary.plus(left_out=left_out)
    for words in passed_over:
        warnings.warn(words, stacklevel=3)
    # of the rows that the normalization was measured on
    words = few_levels([used for samples in made.values() for used in samples.ranges], limits)
    if words:
        warnings.warn(words, stacklevel=2)
    return pile


def _splits(given: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The parts of a ``DatasetDict``, and what is said of splits that are none of them.

    Raises:
        DataError: two splits for one part.
    """
    known, found, names = _SPLITS | {"test": "test"}, dict[str, Any](), dict[str, str]()
    for name, samples in given.items():
        part = known.get(name)
        if part in found:
            raise DataError(
                f"the splits {names[part]!r} and {name!r} are both the {part} samples; pass one, or join them first"
            )
        if part is not None:
            found[part], names[part] = samples, name
    others = [name for name in given if name not in known]
    if not others or not found:
        return found, ()
    counts = ", ".join(f"{name} ({len(given[name]):,} rows)" for name in others)
    return found, [f"splits passed over: {counts}; known are {', '.join(known)}: pass another one by itself"]


def _notes(seen: Mapping[int, tuple[float, int]], name: str, size: tuple[int, int] | None, parts: int) -> list[Note]:
    """What is not learned from of the items that were looked at, which have so many parts."""
    notes = []
    if parts > 2:
        text = f"items of {name} have {parts} parts: the first is the input, the second the label, no other is read"
        notes.append(Note("parts", text, []))
    cut = {row: share for row, (share, _) in seen.items() if share > 0.01}
    if cut and size is not None:
        text = f"of {len(seen):,} pictures of {name} that were looked at, {cut_words(list(cut.values()), size)}"
        notes.append(Note("cut off", text, [str(row) for row in cut], max(cut.values()) >= CUT))
    several = [str(row) for row, (_, frames) in seen.items() if frames > 1]
    if several:
        text = (
            f"of {len(seen):,} pictures of {name} that were looked at, {len(several):,} hold several frames or pages: "
            "only the first of each is read"
        )
        notes.append(Note("frames", text, several, True))
    return notes


def _generators() -> tuple[Any, ...]:
    """State of the generators that everybody shares, as values that can be compared."""
    kind, values, *rest = cast(tuple[Any, ...], np.random.get_state())
    return torch.get_rng_state().numpy().tobytes(), (kind, values.tobytes(), *rest), random.getstate()


def _seed_generators(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # not `torch.manual_seed`, which seeds accelerators too
    np.random.seed(seed)
    random.seed(seed)


@contextlib.contextmanager
def _own_generators() -> Iterator[None]:
    """Whatever is drawn within, the caller's generators are as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _has_masks(dataset: Any, label: str | None) -> bool:
    """Whether the label of the first item is a picture, or an array of its size."""
    try:  # not by ``targets``, which are paths in torchvision's VOCSegmentation
        with _own_generators():
            mask = _item_label(dataset, 0, label, "labeled")
    except DataError:  # told by whoever reads it for what it is
        return False
    return hasattr(mask, "getbands") or len(getattr(mask, "shape", ())) >= 2


def _masks_of(
    sets: Mapping[str, Any],
    label: str | None,
    classes: Classes | None,
    no_label: NoLabel,
    size: tuple[int, int] | None,
    fit: Fit,
) -> tuple[dict[str, MaskFiles], list[str]]:
    """Masks of the items of data sets, counted once and read when they are needed, and the names of the classes."""
    base = next(iter(sets.values()))
    while hasattr(base, "dataset") and hasattr(base, "indices"):
        base = base.dataset
    usual: dict[str, tuple[Classes, Sequence[int]]] = {
        "VOCSegmentation": (VOC_CLASSES, [VOID]),
        "Cityscapes": (CITYSCAPES_CLASSES, CITYSCAPES_VOID),
        "OxfordIIITPet": (PET_CLASSES, [3, VOID]),
    }
    own, void = usual.get(type(base).__name__, (None, [VOID])) if classes is None else (classes, [VOID])
    marks: Any = no_label if isinstance(no_label, list | tuple) else [no_label]
    void = [*void, *(int(mark) for mark in marks if mark not in (-1, None))]
    read = {
        part: [partial(_item_label, given, row, label, part) for row in range(len(given))]
        for part, given in sets.items()
    }
    scans = {
        part: {
            row: scan_of(numbers_of(one(), name := f"row {row} of the {part} set", False), name)
            for row, one in enumerate(masks)
        }
        for part, masks in read.items()
    }
    every = [scan for known in scans.values() for scan in known.values()]
    coding, names, unknown = coding_of([number for scan in every for number in scan.numbers], own, None, void)
    faults = number_faults(every, coding, unknown, names, None)
    if faults:
        raise DataError(faults[0][1])
    coding = replace(coding, size=size, fit=fit)
    found = {
        part: MaskFiles(masks, coding, size or (scans[part][0].height, scans[part][0].width), scans[part])
        for part, masks in read.items()
    }
    return found, names


def labels_of(dataset: Any, label: str | None = None, name: str = "labeled") -> Sequence[Any]:
    """Labels of all rows, without reading the inputs where the data set allows.

    A column (Hugging Face), then ``targets`` or ``labels`` (torchvision, also below ``torch.utils.data.Subset``) are
    looked for; else every item is read once.

    Raises:
        DataError: items without a label.
    """
    columns = getattr(dataset, "column_names", None)
    if columns is not None:
        found = _column(columns, (label,) if label else _LABELS, f"the {name} set")
        return list(dataset[found])
    if label is None:
        ready = _ready_labels(dataset)
        if ready is not None:
            return ready
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"the {name} set ({type(dataset).__name__}) has no len or no [number]; streams must be saved first"
        )
    return [_item_label(dataset, row, label, name) for row in range(len(dataset))]


def _ready_labels(dataset: Any) -> Sequence[Any] | None:
    """Labels that a torch data set keeps as a list, if it does."""
    base, rows = dataset, None
    # below torch.utils.data.Subset, at any depth: reading every item for its label would decode every picture
    while hasattr(base, "dataset") and hasattr(base, "indices"):
        own = list(base.indices)
        rows = own if rows is None else [own[row] for row in rows]
        base = base.dataset
    # the stored numbers are not what an item would say
    if getattr(base, "target_transform", None) is not None:
        return None
    for attribute in ("targets", "labels"):
        found = getattr(base, attribute, None)
        if found is not None and hasattr(found, "__len__") and len(found) == len(base):
            values = found.tolist() if hasattr(found, "tolist") else list(found)
            return values if rows is None else [values[row] for row in rows]
    return None


def _item_label(dataset: Any, row: int, label: str | None, name: str) -> Any:
    where = f"row {row} of the {name} set"
    try:
        item = dataset[row]
    except MemoryError:
        raise
    except Exception as error:  # code of the user, and decoders behind it
        raise DataError(f"cannot read {where}: {type(error).__name__}: {error}") from error
    if isinstance(item, Mapping):
        return item[_column(item, (label,) if label else _LABELS, where)]
    if _is_pair(item) and len(item) > 1:
        return item[1]
    raise DataError(f"{where} has no label; give pairs (input, label), or pass the set as unlabeled")


def _read(
    raw: Mapping[str, Sequence[Any]], classes: Classes | None, known: Sequence[str] | None, no_label: NoLabel
) -> ReadLabels:
    """Class numbers of the parts, from numbers or texts, and the names of the classes."""
    also: dict[str, str] = {}
    if classes is None and known:
        # a folder "unlabeled" that was taken for a class: its number means no label
        also = {str(i): name for i, name in enumerate(known) if Vocabulary(no_label).is_mark(name)}
        classes = {name: i for i, name in enumerate(known) if str(i) not in also} if also else known
    return read_labels(raw, classes, no_label, also=also, source=lambda part: f"the {part} set")


def _known_classes(dataset: Any, label: str | None) -> Sequence[str] | None:
    """Names of the classes that a data set of Hugging Face or torchvision knows."""
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        names = [key for key in ((label,) if label else _LABELS) if key in features]
        known = getattr(features[names[0]], "names", None) if names else None
        return None if known is None else list(known)
    # random_split and Subset wrap the set that knows the names
    while hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        dataset = dataset.dataset
    known = getattr(dataset, "classes", None)
    return [str(name) for name in known] if isinstance(known, list | tuple) else None


def _column(names: Any, wanted: Sequence[str], where: str) -> str:
    found = next((name for name in wanted if name in names), None)
    if found is None:
        argument = "label" if wanted[0] in _LABELS or len(wanted) == 1 else "column"
        raise DataError(f"{where} has none of {', '.join(wanted)}, only {', '.join(map(str, names))}; say {argument}=")
    return found


def _is_pair(item: Any) -> bool:
    """Whether an item is (input, label) or (input,); a list of numbers is a row of a table."""
    if isinstance(item, tuple):
        return len(item) > 0
    return isinstance(item, list) and len(item) > 0 and not all(isinstance(value, int | float) for value in item)
