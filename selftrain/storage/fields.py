"""What a file that is read back must hold: a table of its fields, and one check that names what does not fit.

A form says what a value may be:

=====================  =============================================================================================
``int float str ...``  one of this type; numbers within 64 bits, of ``float`` also whole ones
``Number(low, high)``  a finite number, both ends included
``Tensor``             a dense tensor in memory
``object``             anything
``None``               nothing
``{"a": form, ...}``   values by these names and others; ``(form, ...)``: the name may be missing
``{str: form}``        values by any names
``[form]``             any number of values, in a list or tuple
``(form, form)``       one of these; the first one is named where none fits
=====================  =============================================================================================
"""

from __future__ import annotations

import math
import os
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.errors import RunFolderError, SelftrainError
from selftrain.storage.untrusted import DEEPEST, read_json

Form = Any
_BITS = 2**63  # whole numbers below fit any column and tensor; others have no meaning in a run


@dataclass(frozen=True)
class Number:
    """A finite number from ``low`` to ``high``."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        of_kind = type(value) is int or (type(value) is float and not self.whole and math.isfinite(value))
        return of_kind and -_BITS < value < _BITS and self.low <= value <= self.high


COUNT = Number(0, whole=True)
FIGURES = {str: (float, None)}  # by name, finite or not; None where a file has no word for it
_TYPES: dict[type, Any] = {
    int: lambda value: type(value) is int and -_BITS < value < _BITS,
    float: lambda value: type(value) is float or (type(value) is int and -_BITS < value < _BITS),
    Tensor: lambda value: (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not value.is_meta
        and value.nbytes <= value.untyped_storage().nbytes()  # one number could stand for any size
    ),
}


def check(value: Any, form: Form, place: str = "the content") -> None:
    """Refuse a value that is not of a form.

    Raises:
        ValueError: names the place in the value, and what is there and should be.
    """
    problem = _problem(value, form, place)
    if problem is not None:
        raise ValueError(problem)


def read_fields(
    path: str | os.PathLike[str],
    form: Form,
    remedy: str,
    *,
    error: type[SelftrainError] = RunFolderError,
    deepest: int = DEEPEST,
) -> Any:
    """What a JSON file holds, which may be a stranger's.

    Args:
        path: The file.
        form: That its content must have.
        remedy: What a message says to do.
        error: What is raised.
        deepest: Values inside one another.

    Raises:
        SelftrainError: (as ``error``) it cannot be read, or a field is not of its form; names file and field.
    """
    try:
        found = read_json(Path(path), deepest=deepest)
        check(found, form)
    except (OSError, ValueError) as problem:
        raise error(f"{path} cannot be read: {problem}; {remedy}") from problem
    return found


def _problem(value: Any, form: Form, place: str) -> str | None:
    if isinstance(form, tuple):
        each: list[str] = []
        for one in (one for one in form if one is not ...):
            found = _problem(value, one, place)
            if found is None:  # at once: a problem takes longer to word than a value to check
                return None
            each.append(found)
        return each[0]
    if not _alike(value, form):
        return f"{place:.200} is {_short(value)}, not {_words(form)}"
    if isinstance(form, list):
        inside = [(inner, form[0], f"{place}[{number}]") for number, inner in enumerate(value)]
    elif isinstance(form, dict) and str in form:
        inside = [(name, str, f"a name in {place}") for name in value]
        inside += [(inner, form[str], f"{place}.{name!s:.100}") for name, inner in value.items()]
    elif isinstance(form, dict):
        lacking = [n for n, one in form.items() if n not in value and not (isinstance(one, tuple) and ... in one)]
        if lacking:
            return f"{place:.200} lacks {', '.join(lacking)}"
        inside = [(value[name], one, f"{place}.{name}") for name, one in form.items() if name in value]
    else:
        return None
    return next((found for each in inside if (found := _problem(*each)) is not None), None)


def _alike(value: Any, form: Form) -> bool:
    if isinstance(form, (list, dict)):
        return isinstance(value, dict if isinstance(form, dict) else (list, tuple))
    if form is None or isinstance(form, Number):
        return value is None if form is None else value in form
    return bool(_TYPES[form](value)) if form in _TYPES else isinstance(value, form)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    try:
        return reprlib.repr(value)
    except ValueError:  # a number of thousands of digits, which Python does not write
        return f"a very large {type(value).__name__}"


def _words(form: Form) -> str:
    if isinstance(form, Number):
        kind = "a whole number" if form.whole else "a finite number"
        return f"{kind} from {form.low:g} to {form.high:g}" if (form.low, form.high) != (-math.inf, math.inf) else kind
    if isinstance(form, dict) or form is dict:
        return "values by name"
    if isinstance(form, list) or form is list:
        return "a list"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", None: "nothing"}.get(
        form, f"a {getattr(form, '__name__', form)}".lower()
    )
