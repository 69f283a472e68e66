"""The command of the long part: trials shared out to processes, and rows that go on where they were."""

from __future__ import annotations

import json
import os
import signal
import time

import run
from harness import Trial
from workers import shared_out


def test_outcomes_come_in_order_and_a_dead_process_takes_one_trial_with_it():
    def inject(number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 4:
            raise IndexError("ours")
        time.sleep(0.05 if number == 0 else 0)  # others overtake it
        return Trial(True, number)

    outcomes = list(shared_out(inject, range(8), 2))
    assert [trial.lost for trial, _ in outcomes] == [0, 1, 2, 0, 0, 5, 6, 7]
    assert [trial.survived for trial, _ in outcomes] == [True, True, True, False, False, True, True, True]
    assert [trial.problem for trial, _ in outcomes][3:5] == ["its process ended with -9", "IndexError('ours')"]
    assert outcomes[0][1] >= 0.05


def test_trials_are_done_at_the_same_time(tmp_path):
    def meet(number):
        (tmp_path / str(number)).touch()
        end = time.monotonic() + 20
        while not (tmp_path / str(1 - number)).exists() and time.monotonic() < end:
            time.sleep(0.001)
        return Trial((tmp_path / str(1 - number)).exists())

    assert all(trial.survived for trial, _ in shared_out(meet, range(2), 2))


def test_rows_go_on_where_they_were(tmp_path, monkeypatch, capsys):
    def inject(bench, folder, number):
        (tmp_path / "done").open("a").write(f"{number}\n")
        return Trial(number != 4, number % 3, "it broke")

    monkeypatch.setattr(run, "faults", lambda: {"one": (3, inject), "other": (1, inject), "third": (10, inject)})
    monkeypatch.setattr("harness.Bench", lambda folder: None)
    path = tmp_path / "rows.json"
    assert run.run(path, "", 1 / 3, None, 2) == 0
    assert [row["injected"] for row in json.loads(path.read_text())] == [1, 1, 3]
    assert run.run(path, "o", 1, None, 2) == 0  # the third is not asked for
    (tmp_path / "done").unlink()
    assert run.run(path, "", 0.6, None, 2) == 1
    assert sorted((tmp_path / "done").read_text().split()) == ["3", "4", "5"]
    assert "third, trial 4: it broke" in capsys.readouterr().out
    row = json.loads(path.read_text())[2]
    assert row | {"seconds": 0} == {"fault": "third", "injected": 6, "survived": 5, "lost": 2, "seconds": 0}


def test_a_row_that_is_left_halfway_holds_whole_trials_alone():
    row = {"fault": "x", "injected": 0, "survived": 0, "lost": 0, "seconds": 0.0}
    trials = run.fill(row, lambda number: (time.sleep(0.6), Trial(True))[1], 8, 2)
    next(trials)
    trials.close()
    assert 0 < row["injected"] == row["survived"] < 8
