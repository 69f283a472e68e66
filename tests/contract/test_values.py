"""Every default that has a value in a paper is told beside it in docs/papers-values.md, and is the one told there."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paths import ROOT
from zoo import ZOO, build

from selftrain import pipeline, pretrain, schedule, select, strategies, wrapper
from selftrain.networks.ema import Teacher
from selftrain.select.alignment import Align

PAGE = (ROOT / "docs" / "papers-values.md").read_text(encoding="utf-8")
PIPELINES = {name: getattr(pipeline, name) for name in ("noisy_student", "curriculum_labeling", "st_plus_plus")}
MADE = {
    **{name: getattr(module, name) for module in (strategies, pretrain, select, wrapper) for name in module.__all__},
    **PIPELINES,
    "Align": Align,
    "Teacher": Teacher,
}
# Not a method's: names, what is shown to which network, and parts of networks.
APART = {"view", "views", "name", "dims", "hidden", "unlabeled", "chosen", "scores", "dtype", "batch_size"}
OWN = {  # settings without a literal default: what they stand for
    **{name: getattr(schedule, name) for name in ("ramp_linear", "ramp_sigmoid")},
    **{name: getattr(select, name) for name in ("above", "everything")},
    "half_cosine": strategies.adamatch.half_cosine,
}


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Method, setting, value here, value of the paper and why, one setting each."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or "---" in line or cells[1] == "setting":
            continue
        methods, settings, here, paper, why = cells
        names = list(strategies.__all__) if methods == "every strategy" else _code(methods)
        values, published = _code(here), _code(paper) or [paper]
        for name in names:
            for i, setting in enumerate(_code(settings)):
                value = values[i if len(values) > 1 else 0]
                if methods != "every strategy" or setting in inspect.signature(MADE[name]).parameters:
                    yield name, setting, value, published[i if len(published) > 1 else 0], why


def _code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


ROWS = list(rows())


def _default(name: str, setting: str) -> Any:
    return inspect.signature(MADE[name]).parameters[setting].default


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return eval(text, {"__builtins__": {}}, OWN)  # of this repository's own page


def test_the_page_names_each_setting_once():
    seen = [row[:2] for row in ROWS]
    assert [row for row in set(seen) if seen.count(row) > 1] == []


def test_every_value_that_the_page_tells_is_the_default():
    """Thresholds, weights, decays, widths, factors: a default that changes has to say so."""
    wrong = []
    for name, setting, told, _, _ in ROWS:
        value, default = _literal(told), _default(name, setting)
        if not isinstance(value, (int, float, str, tuple, type(None))):
            value, default = _said(value), _said(getattr(_built(name).pseudo_labeling, setting))
        if type(value) is not type(default) or value != default:
            wrong.append((name, setting, told, default))
    assert wrong == []


def _built(name: str) -> Any:
    entry = next(key for key, entry in ZOO.items() if entry.make.__name__ == name)
    return build(entry, "classification", **({"select": None} if name == "UDA" else {}))


def _said(part: Any) -> Any:
    """What tells one schedule or rule from another."""
    if isinstance(part, select.Selector):
        return type(part).__name__, getattr(part, "threshold", None)
    return part


def test_a_value_that_is_not_the_papers_says_why():
    for name, setting, told, published, why in ROWS:
        assert published in ("same", "-") or why, (name, setting)
        assert published not in (told, ""), (name, setting, "is the paper's: say 'same'")


def _literals(make: Callable[..., Any]) -> Iterator[str]:
    for setting, parameter in inspect.signature(make).parameters.items():
        if isinstance(parameter.default, (int, float, str, tuple)) and setting not in APART:
            yield setting


@pytest.mark.parametrize("name", list(MADE))
def test_every_default_of_a_method_is_on_the_page(name):
    make = MADE[name]
    network = getattr(make, "__module__", "").startswith("selftrain.networks") and make is not Teacher
    if network or (inspect.isfunction(make) and name not in PIPELINES):
        return  # of networks no method speaks, and the functions are short names of the rules
    told = {setting for method, setting, *_ in ROWS if method == name}
    assert sorted(set(_literals(make)) - told) == []
