"""Labels in any form as classes: the one reader of every door, and its vocabulary of "no label".

What is missing (``None``, NaN, NaT, pandas' NA, masked, an empty cell) has no label. Of the values that are there these
mean the same: -1 as a number or as text, "unlabeled" in any spelling ("Unlabelled", "no label"), "unsup", and what
programs write for a missing value ("nan", "<NA>", "NaT"); in tables also the texts of ``missing``, such as "NA", "?".
Anything else is a class. A warning names what could be meant otherwise, such as a class "None". ``no_label`` says
(``unlabeled`` of estimators) which values have no label in place of these, and what ``classes`` lists is a class.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.errors import DataError, setting

Classes = Collection[Any]  # names, numbers, or a mapping between both
NoLabel = int | float | str | Sequence[int | float | str] | None
_WORDS = {"unlabeled", "unlabelled", "nolabel", "nolabels", "notlabeled", "notlabelled", "unannotated"}
_WORDS |= {"unsup", "unsupervised", "withoutlabel", "withoutlabels"}
_PROGRAMS = {"nan", "NaN", "NAN", "-nan", "<NA>", "NaT"}
_SUSPECT = {"na", "n/a", "#n/a", "n.a.", "<na>", "nan", "nat", "none", "null", "nil", "?", "??", "-", "--", "."}
_SUSPECT |= {"unknown", "missing", "undefined", "todo", "tbd"}
_WRAPPED = tuple(2**bits - 1 for bits in (8, 16, 32, 64))


class Vocabulary:
    """Which values mean that a row has no label.

    Args:
        no_label: A value or several that do, in place of the usual ones; ``None`` or NaN: only what is missing does.
        classes: Names that are classes whatever they look like.
        setting: What ``no_label`` is called where the labels come in, for messages.
        also: Further values that mean no label, and what they are called.
    """

    def __init__(
        self,
        no_label: Any = -1,
        classes: Collection[str] = (),
        *,
        setting: str = "no_label",
        also: Mapping[str, str] | None = None,
    ) -> None:
        self.setting, self.also = setting, also or {}
        several = isinstance(no_label, list | tuple | set | frozenset | np.ndarray)
        marks = {spelled(value) for value in (no_label if several else [no_label])} - {""}
        self.usual = not several and marks == {"-1"}
        self._marks, self._classes = marks, {spelled(name) for name in classes}

    def adding(self, *values: Any) -> str:
        """The setting that has -1 and these values mean no label, as the reader of a message writes it."""
        return setting(self.setting, [-1, *values])

    def is_mark(self, value: Any) -> bool:
        """Whether a value that is there means no label."""
        text = spelled(value)
        if text in self._classes:
            return False
        if not text or text in self._marks or text in self.also:
            return True
        spoken = "".join(letter for letter in text.casefold() if letter.isalnum())
        return self.usual and isinstance(value, str) and (text in _PROGRAMS or spoken in _WORDS)

    def remarks(self, marks: Mapping[str, int], classes: Mapping[str, int]) -> list[str]:
        """What could be meant otherwise, with counts: marks that are not plain, classes that look like marks."""
        if not self.usual:
            return []
        odd = {text: many for text, many in marks.items() if text not in ("", "-1", "unlabeled")}
        suspect = {name: many for name, many in classes.items() if name not in self._classes and _looks_missing(name)}
        found = []
        if odd:
            remedy = f"if one is a class, say {self.adding()}"
            found.append(f"labels {_counted(odd)} are read as no label; {remedy}")
        if suspect:
            remedy = f"if one means no label, say {self.adding(next(iter(suspect)))}"
            found.append(f"labels {_counted(suspect)} are taken for classes; {remedy}")
        return found


@dataclass(frozen=True)
class Distinct:
    """Labels as the values that occur.

    Args:
        values: Each once, as plain ``int``, ``float``, ``bool`` or ``str``.
        index: Place in ``values`` of each row, -1 where it is missing, (N,).
        top: Largest number of the unsigned type that they are stored in; ``None``: of another type.
        unused: Categories without a row, of a categorical column.
        source: Where they are from, for messages.
    """

    values: Sequence[Any]
    index: NDArray[np.int64]
    top: int | None = None
    unused: Sequence[Any] = ()
    source: str = ""

    def row(self, place: int) -> int:
        """The first row with a value."""
        return int(np.flatnonzero(self.index == place)[0])

    def named(self, place: int) -> str:
        """A value with its row, for messages."""
        lead = f"{self.source}: " if self.source else ""
        return f"{lead}label {_quoted_text(self.values[place])} at row {self.row(place)}"

    def counts(self) -> list[int]:
        """Rows of each value."""
        return [int(n) for n in np.bincount(self.index[self.index >= 0], minlength=len(self.values))]

    def mapped(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """A number for each row by that of its value, -1 where it is missing, (N,)."""
        return np.array([*numbers, -1], dtype=np.int64)[self.index]


def distinct(y: Any, source: str = "") -> Distinct:
    """Read labels: arrays, masked ones, lists, tensors, columns of pandas and arrow.

    Raises:
        DataError: not one value a row, or values that are no numbers, truth values or text (the row is named).
    """
    if isinstance(y, Tensor):
        y = y.detach().cpu()
        y = (y.float() if y.is_floating_point() else y).numpy()
    what = source or "labels"
    if not hasattr(y, "__len__") and hasattr(y, "__array__"):
        y = np.asarray(y)
    kind = getattr(y, "dtype", getattr(y, "type", ""))
    kind = str(getattr(kind, "name", kind)).lower()
    top = int(np.iinfo(kind).max) if kind in ("uint8", "uint16", "uint32", "uint64") else None
    unused = list(getattr(getattr(y, "dtype", None), "categories", ()))
    if hasattr(y, "to_pylist"):  # arrow
        y = y.to_pylist()
    if y is None or isinstance(y, str | bytes | Mapping) or hasattr(y, "toarray") or not hasattr(y, "__len__"):
        form = f"{type(y).__name__} {y!r:.60}" if isinstance(y, str) else type(y).__name__
        raise DataError(f"{what} are {form}; give one label for each row, shape (N,); files are read by data.from_path")
    mask = np.ma.getmaskarray(y) if isinstance(y, np.ma.MaskedArray) else None
    if isinstance(getattr(y, "dtype", None), np.dtype):
        array = np.asarray(y)
    elif hasattr(y, "__array__"):  # pandas; also its types that numpy has not
        array = np.asarray(y, dtype=object)
    else:  # by numpy's own rules a gap beside names would become the text 'nan'
        array = np.empty(len(y), dtype=object)
        for row, value in enumerate(y):
            array[row] = value
    if array.ndim == 2 and array.shape[1] == 1:
        array, mask = array[:, 0], None if mask is None else mask[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{what} have shape {array.shape}; give one label for each row, shape (N,): of one-hot rows "
            "y.argmax(1), and -1 where a row is all 0"
        )
    found = _of_objects(array, mask, what) if array.dtype.kind not in "biufUS" else _of_type(array, mask)
    unused = [value for value in unused if value not in found.values]
    return Distinct(found.values, found.index, top, unused, source)


def _of_type(array: NDArray[Any], mask: NDArray[np.bool_] | None) -> Distinct:
    missing = np.zeros(len(array), dtype=bool) if mask is None else mask
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        missing = missing | np.isnan(array)
    index = np.full(len(array), -1, dtype=np.int64)
    values, index[~missing] = np.unique(array[~missing], return_inverse=True)
    return Distinct([_plain(value) for value in values.tolist()], index)


def _of_objects(array: NDArray[Any], mask: NDArray[np.bool_] | None, source: str) -> Distinct:
    places: dict[Any, int] = {}
    index = np.full(len(array), -1, dtype=np.int64)
    for row, given in enumerate(array):
        value = _plain(given)
        if (mask is not None and mask[row]) or is_missing(value):
            continue
        if not isinstance(value, bool | int | float | str):
            raise DataError(
                f"{source}, row {row}: label {str(value)[:60]!r} is a {type(value).__name__}; give a class name or "
                "number, -1 where unlabeled"
            )
        # True and 1.0 equal 1 but are other labels until somebody says so
        index[row] = places.setdefault((type(value), value), len(places))
    return Distinct([value for _, value in places], index)


def _plain(value: Any) -> Any:
    """A value of any library as one of Python."""
    if hasattr(value, "item") and not isinstance(value, np.datetime64 | np.timedelta64) and np.ndim(value) == 0:
        value = None if value is np.ma.masked else value.item()
    if isinstance(value, np.datetime64) or hasattr(value, "isoformat"):  # days are classes like any other
        text = value.isoformat() if hasattr(value, "isoformat") else str(value.astype("datetime64[s]"))
        value = None if is_missing(value) else text.removesuffix("T00:00:00")
    if isinstance(value, Decimal) and value.is_finite():
        value = int(value) if value == value.to_integral_value() else float(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def is_missing(value: Any) -> bool:
    """Whether a value is ``None``, NaN, NaT or pandas' NA."""
    # by name: pandas need not be installed, and its NA has no truth value to compare by
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | np.datetime64 | Decimal) and bool(value != value)


@dataclass(frozen=True)
class ReadLabels:
    """Labels of the parts of a data set as class numbers.

    Args:
        codes: Place in ``classes`` of each row, -1 = unlabeled, (N,), int64, by part.
        classes: Names of the classes.
        notes: What was read as no label, with counts, and what could be meant otherwise; sentences.
    """

    codes: Mapping[str, Tensor]
    classes: Sequence[str]
    notes: Sequence[str] = ()


def read_labels(
    parts: Mapping[str, Any],
    classes: Classes | None = None,
    no_label: Any = -1,
    *,
    numbers: bool = True,
    by_value: bool = True,
    also: Mapping[str, str] | None = None,
    source: Callable[[str], str] = lambda part: "" if part in ("", "labeled") else part,
    called: str = "label",
    stacklevel: int = 3,
) -> ReadLabels:
    """Find the classes and their numbers.

    Labels that are all numbers are class numbers: names, or the numbers up to the largest, belong to them. Where fewer
    than half of those numbers occur (ids, dates), the ones that occur are the classes. Text, and numbers where
    ``numbers`` is off, are names of classes.

    Args:
        parts: Labels of each part, as ``distinct`` takes them; ``""`` or ``"labeled"`` is training.
        classes: Names in their order; numbers, which are looked for among the labels; a mapping between names and
            numbers; ``None``: those that occur (names of the test part excepted).
        no_label: As of ``Vocabulary``.
        numbers: Whether numbers are class numbers, and not names as in tables.
        by_value: Whether names that are all numbers are sorted by value.
        also: Further values that mean no label, and what they are called.
        source: Where the labels of a part are from, for messages.
        called: What messages call a label, such as the name of its column.
        stacklevel: Of warnings.

    Raises:
        DataError: labels or ``classes`` that cannot be used; row and value are named.

    Warns:
        UserWarning: text that could be meant otherwise; class numbers with gaps.
    """
    names, own_numbers = class_names(classes)
    raw = {part: distinct(y, source(part)) for part, y in parts.items()}
    # a name "-1" says nothing of the number -1, where numbers are places in the list of names
    places = numbers and own_numbers is None and not any(isinstance(v, str) for f in raw.values() for v in f.values)
    vocabulary = Vocabulary(no_label, () if places else names or (), also=also or {})
    marks: Counter[str] = Counter()
    texts: Counter[str] = Counter()
    for part, found in raw.items():
        for value, many in zip(found.values, found.counts(), strict=True):
            kept = texts if not vocabulary.is_mark(value) else marks if part in ("", "labeled") else Counter()
            kept[vocabulary.also.get(spelled(value), spelled(value))] += many
        if part in ("", "labeled"):
            marks[""] += int((found.index < 0).sum())
    every = [value for found in raw.values() for value in found.values if not vocabulary.is_mark(value)]
    truths = names is None and any(isinstance(value, bool) for value in every)
    if numbers and not truths and not any(isinstance(value, str) for value in every):
        if isinstance(classes, set | frozenset) and own_numbers is None and every:
            raise DataError(
                f"classes are a set, {listed(names or ())}, which says not which name class number 0 has; give a list "
                "in the order of the numbers"
            )
        found_codes, named, remarks = _by_number(raw, vocabulary, names, own_numbers)
    else:
        _refuse_fractions(raw, called)
        if names is None:
            for found in raw.values():
                refuse_wrapped(found, vocabulary)
            # a class that only the test part has cannot be learned: it is refused, not added
            of_training = [found for part, found in raw.items() if part != "test"]
            occur = [value for found in of_training for value in (*found.values, *found.unused)]
            occurring = {spelled(value) for value in occur if not vocabulary.is_mark(value)}
            names = sort_names(occurring) if by_value else sorted(occurring)
        found_codes, named, remarks = _by_name(raw, vocabulary, names, own_numbers), list(names), []
    remarks += vocabulary.remarks(marks, texts)
    double = next((name for name, many in Counter(name.strip() for name in named).items() if many > 1), None)
    if double is not None:
        remarks.append(f"classes hold {_quoted(double)} more than once; give each class a name of its own")
    for remark in remarks:
        warnings.warn(remark, stacklevel=stacklevel)
    codes = {part: torch.from_numpy(array) for part, array in found_codes.items()}
    return ReadLabels(codes, named, [*said_of(marks), *remarks])


@contextmanager
def names_are_told() -> Iterator[None]:
    """Within it nothing is said again of names of classes, which ``read_labels`` has read before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="classes hold .* more than once")
        yield


def said_of(marks: Mapping[str, int]) -> list[str]:
    """What stood for no label, with counts, in a sentence; none where nothing did."""
    there = {text: many for text, many in marks.items() if many}
    return [f"no label where {_counted(there)}"] if there else []


def _by_name(
    raw: Mapping[str, Distinct],
    vocabulary: Vocabulary,
    names: Sequence[str],
    own_numbers: Sequence[int] | None,
) -> dict[str, NDArray[np.int64]]:
    known = {spelled(name): code for code, name in enumerate(names)}
    if len(set(names)) < len(names):
        raise DataError(f"classes {listed(names)} repeat a name that labels go by; give each class a name of its own")
    for code, number in enumerate(own_numbers or ()):  # a mapping: its numbers are as good as its names
        known.setdefault(str(number), code)
    codes = {}
    for part, found in raw.items():
        own = []
        for i, value in enumerate(found.values):
            name = spelled(value)
            if not vocabulary.is_mark(value) and name not in known:
                where = f"{found.source}, row {found.row(i)}".removeprefix(", ")
                raise DataError(
                    f"{where}: label {_quoted(name)} is no class ({listed(names)}); correct it or add the class"
                )
            own.append(-1 if vocabulary.is_mark(value) else known[name])
        codes[part] = found.mapped(own)
    return codes


def _by_number(
    raw: Mapping[str, Distinct],
    vocabulary: Vocabulary,
    names: Sequence[str] | None,
    own_numbers: Sequence[int] | None,
) -> tuple[dict[str, NDArray[np.int64]], Sequence[str], list[str]]:
    numbered = {part: class_numbers(found, vocabulary) for part, found in raw.items()}
    # classes that only the truth of unlabeled rows has are none of the problem
    present = sorted({n for part, own in numbered.items() if part != "truth" for n in own if n is not None})
    remarks: list[str] = []
    if names is None:
        for found in raw.values():
            refuse_wrapped(found, vocabulary)
        own_numbers, remarks = _numbers_of_classes(present, vocabulary)
        names = [str(number) for number in own_numbers]
    code = {number: i for i, number in enumerate(range(len(names)) if own_numbers is None else own_numbers)}
    codes = {}
    for part, found in raw.items():
        for i, number in enumerate(numbered[part]):
            if number is not None and number not in code:
                inside = f"(0 to {len(names) - 1})" if own_numbers is None else f"({listed(list(map(str, code)))})"
                raise DataError(
                    f"{found.named(i)} is outside the {len(names)} classes {inside}; correct it or add the class"
                )
        codes[part] = found.mapped([-1 if number is None else code[number] for number in numbered[part]])
    return codes, names, remarks


def refuse_wrapped(found: Distinct, vocabulary: Vocabulary) -> None:
    """Refuse the largest number of an unsigned type where it stands alone: it was -1 once.

    Raises:
        DataError: there is one; the message says how to say what it is.
    """
    top = found.top
    if vocabulary.usual and top is not None and top in found.values and top - 1 not in found.values:
        raise DataError(
            f"{found.named(list(found.values).index(top))} is what -1 becomes in an unsigned type; "
            f"if it means no label say {vocabulary.adding(top)}, and if it is a class {vocabulary.adding()}"
        )


def class_numbers(found: Distinct, vocabulary: Vocabulary) -> list[int | None]:
    """The class number that each value is, ``None`` where it means no label.

    Raises:
        DataError: text, fractions, infinite values, negatives; row and value are named.
    """
    own: list[int | None] = []
    for i, value in enumerate(found.values):
        mark = vocabulary.is_mark(value)
        if not mark and isinstance(value, str):
            raise DataError(f"{found.named(i)} is no number; pass classes=names")
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not mark and (not whole or (vocabulary.usual and value < 0)):
            other = f", or say {vocabulary.adding(value)}" if whole else ""
            raise DataError(
                f"{found.named(i)} is no class number; use 0, 1, ... for classes and -1 for unlabeled{other}"
            )
        own.append(None if mark else int(value))
    return own


def _numbers_of_classes(present: Sequence[int], vocabulary: Vocabulary) -> tuple[Sequence[int], list[str]]:
    """The numbers that are classes, and what is to be said of them."""
    top = present[-1] if present else -1
    # a few numbers without a label are classes that nobody has labeled yet; mostly gaps are ids
    if not present or (present[0] >= 0 and top + 1 <= 2 * len(present) and len(present) > 1):
        return range(top + 1), []
    hint = ""
    if top in _WRAPPED and vocabulary.usual:
        hint = f"; {top} is what -1 becomes in an unsigned type: if it means no label, say {vocabulary.adding(top)}"
    elif present[0] >= 0 and top < 1000:
        hint = f"; for an output of every number list all {top + 1} in {setting('classes')}"
    shown = listed([str(number) for number in present])
    words = f"class numbers have gaps: the {len(present):,} that occur ({shown}) are the classes, in this order{hint}"
    return present, [words] if len(present) > 1 and top + 1 > len(present) else []


def _refuse_fractions(raw: Mapping[str, Distinct], called: str) -> None:
    for found in raw.values():
        for i, value in enumerate(found.values):
            if isinstance(value, float) and not value.is_integer():
                where = f"{found.source}, row {found.row(i)}".removeprefix(", ")
                raise DataError(
                    f"{where}: {called} is {value}, a measured number and no class; name the column of the classes, or "
                    "turn it into classes"
                )


def class_names(classes: Classes | None) -> tuple[list[str] | None, Sequence[int] | None]:
    """Names of the classes in their order, and the numbers that stand for them where those are given.

    Args:
        classes: Names; numbers; or a mapping from names to numbers or from numbers to names. A set has no order of its
            own: it is sorted.

    Raises:
        DataError: a text, numbers that repeat, a missing name, or a mapping of something else.
    """
    if classes is None:
        return None, None
    if isinstance(classes, str | bytes) or not hasattr(classes, "__len__"):
        raise DataError(f"classes are {classes!r}; give a list of names")
    numbers: list[int] | None = None
    if isinstance(classes, Mapping):
        flipped = all(_is_number(key) for key in classes)
        pairs = [(value, key) if flipped else (key, value) for key, value in classes.items()]
        odd = next((pair for pair in pairs if not _is_number(pair[1]) or _is_number(pair[0])), None)
        if odd is not None:
            raise DataError(f"classes map {odd[0]!r} to {odd[1]!r}; map each name to its number")
        pairs.sort(key=lambda pair: int(pair[1]))
        names_or_numbers, numbers = [name for name, _ in pairs], [int(number) for _, number in pairs]
    else:
        names_or_numbers = [_class_name(_plain(value)) for value in classes]
        if names_or_numbers and all(_is_number(value) for value in names_or_numbers):
            numbers = sorted(names_or_numbers) if isinstance(classes, set | frozenset) else names_or_numbers
            names_or_numbers = numbers
    names = ["" if is_missing(name) else name if isinstance(name, str) else str(name) for name in names_or_numbers]
    if isinstance(classes, set | frozenset) and numbers is None:
        names = sort_names(set(names))
    if any(map(is_missing, names_or_numbers)):
        raise DataError("classes hold a missing name; give each class a name of its own")
    if numbers is not None and len(set(numbers)) < len(numbers):
        often = Counter(numbers).most_common(1)[0][0]
        if isinstance(classes, Mapping):
            raise DataError(f"classes give {often} to several names; give each its own")
        raise DataError(f"classes hold {often} more than once; give each class a number of its own")
    return names, numbers


def _class_name(value: Any) -> Any:
    """A name or number out of a list of classes."""
    if not (is_missing(value) or isinstance(value, bool | int | float | str)):
        raise DataError(f"classes hold {str(value)[:60]!r}, a {type(value).__name__}; give names or numbers")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def sort_names(names: Collection[str]) -> list[str]:
    """Names in order: by value where all are numbers, else as text."""
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return sorted(names)
    # NaN is larger than nothing and smaller than nothing: an order by it would be that of the set
    if any(value != value for value in values.values()):
        return sorted(names)
    return sorted(names, key=lambda name: (values[name], name))


def as_text(value: Any) -> str | None:
    """One spelling of a cell: ``None`` where it is missing, ``3`` for 3, 3.0 and "3.0"."""
    if is_missing(value):
        return None
    # a column of numbers with one missing cell is read as floats: 3.0 is class 3
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    head, dot, tail = text.partition(".")
    return head if dot and tail and not tail.strip("0") and head.lstrip("-").isdecimal() else text


def spelled(value: Any) -> str:
    """One spelling of a label, without space around it; empty where it is missing."""
    return (as_text(value) or "").strip()


def one_class(name: str) -> str:
    """That there is nothing to tell apart, and what to do."""
    return (
        f"all labels are of one class, {_quoted(name)}, so there is nothing to tell apart; label rows of another "
        f"class, or say {setting('no_label', None)} if -1 is one"
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(_shown(name) for name in names[:10]) + (
        f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    )


def _shown(name: str) -> str:
    """A name on one short line, whatever signs it has."""
    short = name if len(name) <= 60 else name[:57] + "..."
    return short if short.isprintable() else repr(short)


def _quoted_text(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _counted(texts: Mapping[str, int]) -> str:
    """Texts with their counts, the most frequent ones."""
    listed = [(f"{_quoted(text)} " if text else "missing ") + f"({many:,})" for text, many in texts.items()]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5:,} more" if len(listed) > 5 else "")


def _looks_missing(name: str) -> bool:
    try:
        return name.strip().casefold() in _SUSPECT or float(name) < 0
    except ValueError:
        return False
