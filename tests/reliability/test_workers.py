"""A loader process that fails, dies or hangs: an error with set and rows, no process left, the status of an error."""

from __future__ import annotations

import os
import re
import signal
import time
from unittest import mock

import harness
import numpy as np
import pytest
import torch
import zoo
from loading import BAD, ROWS, STEPS, Faulty, calm, children, die, fail, faulty, hang, method, pile, train

import selftrain as st
from selftrain import data
from selftrain.data.loading import workers
from selftrain.types import BatchPlan


def stream_of(samples, labeled=4, ratio=1.0, *, workers=0, views=None, needs=("weak",)):
    plan = BatchPlan(labeled, ratio, workers=workers, timeout=10)
    return data.Pile(None, samples, views=views).stream(st.types.Needs(needs), plan, torch.device("cpu"))


@pytest.mark.parametrize(
    ("act", "workers", "message"),
    [
        pytest.param(
            fail, 1, r"cannot read row 17 \(17\) of the unlabeled set: KeyError: 'no such picture'$", id="fail"
        ),
        pytest.param(die, 2, r"DataLoader worker .* while reading .*rows [\d, ]*\b17\b[\d, ]* of the unl", id="die"),
        pytest.param(hang, 1, r"DataLoader timed out after 2.0 s.*, while reading rows [\d, ]*\b17\b", id="hang"),
    ],
)
def test_the_error_names_set_and_rows_and_no_process_is_left(tmp_path, act, workers, message):
    log, left = tmp_path / "log", tmp_path / "left"

    def work():
        try:
            train(act, tmp_path / "run", workers, timeout=2.0 if act is hang else 600.0)
        finally:
            left.write_text(str(children()))

    assert harness.fork(work, log).wait() == harness.REFUSED, log.read_text()
    assert re.search(f"^DataError: {message}", harness.error_of(log)), harness.error_of(log)
    assert left.read_text() == "[]"


def test_a_process_that_dies_disturbs_nothing_but_the_wait_for_its_batch(tmp_path):
    """PyTorch would raise the error in whatever runs when the process dies: here in the strategy's step."""
    log, seen = tmp_path / "log", tmp_path / "seen"

    def work():
        strategy = method()
        step = strategy.step

        def slow(batch, clock):
            if clock.step == 5:  # the row is in step 7, two ahead
                time.sleep(0.6)
                seen.write_text(str(children()))
            return step(batch, clock)

        strategy.step = slow
        train(lambda: (time.sleep(0.2), die()), tmp_path / "run", 1, strategy=strategy)

    assert harness.fork(work, log).wait() == harness.REFUSED, log.read_text()
    assert re.search(r"^DataError: .* while reading rows .*\b17\b.*\(step 7 of", harness.error_of(log))
    assert seen.exists()


def test_a_process_that_dies_while_a_batch_is_taken_from_it(monkeypatch):
    """Where there is no handler of SIGCHLD, as in a thread, a broken connection may be all that is seen."""
    before = signal.getsignal(signal.SIGCHLD)
    batches = stream_of(Faulty(calm), workers=1).epoch(0)
    next(batches)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        iterator = "torch.utils.data.dataloader._MultiProcessingDataLoaderIter"
        monkeypatch.setattr(f"{iterator}._next_data", mock.Mock(side_effect=ConnectionResetError("by peer")))
        with pytest.raises(st.DataError, match=rf"DataLoader worker \(pid {pid}\) died, while reading rows \d"):
            next(batches)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_an_error_of_the_system_with_all_processes_alive_is_that_error(monkeypatch):
    batches = stream_of(Faulty(calm), workers=1).epoch(0)
    next(batches)
    iterator = "torch.utils.data.dataloader._MultiProcessingDataLoaderIter"
    monkeypatch.setattr(f"{iterator}._next_data", mock.Mock(side_effect=OSError("no shared memory")))
    with pytest.raises(OSError, match=r"^no shared memory$"):
        next(batches)


def test_the_programs_own_handler_of_sigchld_hears_each_end(tmp_path):
    def work():
        heard = []
        signal.signal(signal.SIGCHLD, lambda number, frame: heard.append(number))
        batches = stream_of(Faulty(calm), workers=1).epoch(0)
        next(batches)
        assert harness.fork(calm).wait() == 0
        before = len(heard)
        next(batches)  # what was put off is told
        assert len(heard) > before

    log = tmp_path / "log"
    assert harness.fork(work, log).wait() == 0, log.read_text()


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("unlabeled set", lambda found: list(stream_of(found, views=data.TableViews(mean=0.0, std=1.0)).epoch(0))),
        ("evaluated set", lambda found: list(pile(None).evaluation(found, 16, torch.device("cpu")))),
        ("set that inputs are normalized by", pile),
    ],
)
def test_the_row_is_named_without_loader_processes_too(source, read):
    found = Faulty(fail, only_there=False)
    found.annotations = torch.zeros(ROWS, dtype=torch.long)
    with pytest.raises(st.DataError, match=rf"^cannot read row 17 \(17\) of the {source}: KeyError: 'no such picture'"):
        read(found)


def test_views_that_fail_are_named_with_the_row():
    class Picky(data.TableViews):
        on_workers = True

        def fitted(self, samples):
            return self

        def seeded(self, seed):
            return self

        def __call__(self, name, images, index, epoch):
            if name == "strong" and (images == BAD).any():
                raise TypeError("not a number")
            return st.types.View(images)

    samples = data.ArraySet(np.arange(ROWS, dtype=np.float32)[:, None])
    with pytest.raises(
        st.DataError, match=r"cannot make the view 'strong' of row 17 \(17\) of the unlabeled set: Type"
    ):
        list(stream_of(samples, views=Picky(), needs=("weak", "strong")).epoch(0))


def test_rows_that_fail_only_together_are_all_named():
    class Together(data.ArraySet):
        def images(self, index):
            if len(index) > 2:
                raise RuntimeError("too many at once")
            return super().images(index)

    with pytest.raises(st.DataError, match=r"cannot read rows \d, \d, \d of the unlabeled set: RuntimeError: too many"):
        list(stream_of(Together(np.zeros((3, 2), np.float32)), 3, views=data.TableViews(mean=0.0, std=1.0)).epoch(0))


def test_ctrl_c_does_not_reach_loader_processes():
    batches = stream_of(Faulty(calm), workers=2).epoch(0)
    next(batches)
    for pid in children():
        os.kill(pid, signal.SIGINT)
    assert len(list(batches)) == STEPS - 1


def test_ctrl_c_does_not_reach_loader_processes_that_have_just_begun(monkeypatch):
    """The second process may not have come to its first line when the first batch is there."""
    begin = workers._begin
    monkeypatch.setattr(workers, "_begin", lambda number: (time.sleep(0.5 * number), begin(number)))
    batches = stream_of(Faulty(calm), workers=2).epoch(0)
    next(batches)
    for pid in children():
        os.kill(pid, signal.SIGINT)
    assert len(list(batches)) == STEPS - 1


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.slow
def test_stopped_by_ctrl_c_and_continued_with_other_loader_processes(tmp_path, count):
    """Ctrl-C reaches the whole group of processes; the run stops after its step and goes on bit for bit."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(calm, whole, 0)

    def work():
        os.setpgid(0, 0)
        strategy = method()
        step = strategy.step

        def asked(batch, clock):
            if clock.step == 3:
                os.killpg(0, signal.SIGINT)
            return step(batch, clock)

        strategy.step = asked
        train(calm, parts, count, strategy=strategy)

    log = tmp_path / "log"
    assert harness.fork(work, log).wait() == 130, log.read_text()
    assert harness.stored_step(parts) == 4
    train(calm, parts, 3 - count)
    assert zoo.differences(harness.outcome(whole), harness.outcome(parts)) == []


@pytest.mark.parametrize("act", [fail, die])
@pytest.mark.slow
def test_the_run_goes_on_with_other_loader_processes(bench, tmp_path, act):
    for number in range(2):
        with harness.scratch(tmp_path, number) as folder:
            trial = faulty(act)(bench, folder, number)
        assert trial.survived, trial
