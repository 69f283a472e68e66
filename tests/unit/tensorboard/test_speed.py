"""Where the time of a run goes, by a clock that is set by hand."""

import pytest
import torch

from selftrain.tensorboard import speed


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    return now


def test_a_row_has_rates_of_working_time_and_shares_of_all_time(clock):
    watch = speed.Stopwatch(torch.device("cpu"))
    for _ in range(2):
        clock[0] += 4.0
        watch.step(16, settle=False, waited=1.0)
    clock[0] += 8.0
    watch.lap(speed.EVALUATING)
    assert watch.row() == {
        "speed/steps_per_second": 2 / 8,
        "speed/samples_per_second": 32 / 8,
        "speed/waiting": 2 / 16,
        "speed/evaluating": 8 / 16,
    }


def test_the_next_row_begins_anew_and_nothing_done_is_no_row(clock):
    watch = speed.Stopwatch(torch.device("cpu"))
    clock[0] += 5.0
    watch.step(10, settle=False)
    watch.row()
    assert watch.row() == {}
    clock[0] += 2.0
    watch.step(4, settle=False)
    assert watch.row()["speed/samples_per_second"] == 2.0
