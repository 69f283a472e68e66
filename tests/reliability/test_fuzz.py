"""Inputs of the right form with any content, made by Hypothesis: the quick part; ``run.py`` tries many more."""

from __future__ import annotations

import pytest
import structures
from hypothesis import strategies as some
from structures import CARD, CASES, ROW, Case

FOUND = [  # what ended in another error once
    ("card json", list(CARD)),
    ("card json", " ".join(CARD)),
    ("snapshots json", [ROW | {"figures": {"validation": 3}}]),
    ("snapshots json", [ROW, ROW | {"figures": {"validation": {"knn": "high"}}}]),
]
SLOW = {"checkpoint state": 15, "arrays": 20}  # fewer of them


@pytest.mark.parametrize("name", [n if n != "arrays" else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_any_content_is_used_or_refused(name):
    structures.tried(name, SLOW.get(name, 60), derandomize=True)()


@pytest.mark.parametrize(("name", "value"), FOUND)
def test_what_was_found_is_refused(name, value):
    structures.attempt(CASES[name], value)


@pytest.mark.parametrize(
    "change", [{"step": None}, {"step": -1}, {"handlers": []}, {"figures": []}, {"ledger": "x"}, {"best_state": 3}]
)
def test_a_state_of_another_form_is_refused(change):
    state = structures._stored()[0] | change
    structures.attempt(CASES["checkpoint state"], state)


def test_a_trial_tells_what_broke(tmp_path, monkeypatch):
    def broken(value, folder):
        if value > 5:
            raise IndexError("ours")

    monkeypatch.setitem(CASES, "x", Case(some.integers(0, 100), broken))
    trial = structures.any_of("x")(None, tmp_path, 0)
    assert not trial.survived
    assert trial.problem.startswith("IndexError: ours")
    assert "value=6" in trial.problem
