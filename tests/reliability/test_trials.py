"""Numbers that are not finite, and ranks that die, in whole runs: the quick part; ``run.py`` does each more often."""

from __future__ import annotations

import harness
import pytest
import ranking
import spoiling
import torch


def trials(fault, bench, place, count):
    for number in range(count):
        with harness.scratch(place, number) as folder:
            trial = fault(bench, folder, number)
        assert trial.survived, trial


@pytest.mark.parametrize("where", spoiling.WHERE)
@pytest.mark.slow
def test_a_run_is_as_if_it_had_not_taken_the_step(bench, tmp_path, where):
    trials(spoiling.spoiled(where), bench, tmp_path, 2)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
@pytest.mark.slow
def test_the_other_rank_ends_within_a_minute_and_both_go_on(bench, tmp_path):
    trials(ranking.killed, bench, tmp_path, 2)
