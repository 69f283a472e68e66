"""Forged fields of the files of a run: a few of each file here; all of them by ``tests/reliability/forging.py``."""

from __future__ import annotations

from itertools import groupby
from random import Random

import forging
import pytest


def some(count: int) -> list[forging.Forgery]:
    """So many forgeries of each file."""
    made = [list(of_file) for _, of_file in groupby(forging.forgeries(), lambda forgery: forgery.file)]
    return [one for of_file in made for one in Random(0).sample(of_file, min(count, len(of_file)))]


def problems(count: int) -> dict[str, str]:
    found = {str(forgery): forging.problem_of(forgery) for forgery in some(count)}
    return {name: problem for name, problem in found.items() if problem}


def test_a_forged_field_is_refused_or_harmless():
    assert problems(2) == {}


@pytest.mark.slow
def test_any_forged_field_is_refused_or_harmless():
    assert problems(60) == {}
