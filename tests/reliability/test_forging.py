"""Forged fields of the files of a run: a few of each file here; all of them by ``tests/reliability/forging.py``."""

from __future__ import annotations

import forging
import pytest


def problems(count: int) -> dict[str, str]:
    found = {str(forgery): forging.problem_of(forgery) for forgery in forging.some(count)}
    return {name: problem for name, problem in found.items() if problem}


def test_a_forged_field_is_refused_or_harmless():
    assert problems(2) == {}


@pytest.mark.slow
def test_any_forged_field_is_refused_or_harmless():
    assert problems(60) == {}
