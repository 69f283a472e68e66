"""Killed, stopped, stopped twice, and two at once: the quick part; ``run.py`` does each hundreds of times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import harness
import killing
import pytest
import torch
import zoo
from harness import EVERY, Progress, fork, train
from paths import ROOT

import selftrain as st
from selftrain import strategies, toy
from selftrain.pipeline import Labeling, Stage, run_pipeline
from selftrain.runtime import signals
from selftrain.storage import lock
from selftrain.storage.checkpoint import load_newest

TRIALS = [
    (killing.killed_any_time, 1),
    (killing.killed_at_a_file, 2),
    (killing.killed_while_evaluating, 1),
    (killing.terminated, 1),
    (killing.interrupted, 1),
    (killing.terminated_while_evaluating, 2),
    (killing.asked_twice, 1),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("fault", "count"), TRIALS, ids=[fault.__name__ for fault, _ in TRIALS])
def test_the_run_goes_on(bench, tmp_path, fault, count):
    for number in range(count):
        with harness.scratch(tmp_path, number) as folder:
            trial = fault(bench, folder, number)
        assert trial.survived, trial


def test_a_stopped_run_has_one_value_a_step(bench, tmp_path):
    assert fork(lambda: stopped_in_evaluation(tmp_path / "run"), tmp_path / "log").wait() == 143
    train(tmp_path / "run")
    steps = harness.scalars(tmp_path / "run")
    assert {"validation/accuracy", "train/loss/supervised"} <= steps.keys()
    assert steps["validation/accuracy"] == [3, 6, 9, 12]
    assert all(len(set(each)) == len(each) for each in steps.values())


def stopped_in_evaluation(folder):
    killing._at_evaluation(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    train(folder)


@pytest.mark.slow
def test_the_interpreter_ends_as_the_signal_says(tmp_path):
    """A whole interpreter, asked by a signal to its group as a terminal sends it."""
    code = (
        f"import sys; sys.path[:0] = {[str(ROOT / 'tests' / folder) for folder in ('reliability', 'support')]!r};"
        "import signal, harness, pathlib, os; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "step = harness.zoo.strategies.FreeMatch.step;"
        "f = lambda *a: (a[2].step == 3 and os.kill(os.getpid(), signal.SIGINT), step(*a))[1];"
        "harness.zoo.strategies.FreeMatch.step = f;"
        f"harness.train(pathlib.Path({str(tmp_path / 'run')!r}))"
    )
    done = subprocess.run(["sh", "-c", f'{sys.executable} -c "$0"; exit $?', code], capture_output=True, check=False)
    assert done.returncode == 130, done.stderr.decode()
    assert b"SIGINT: stopping after this step; a second signal stops at once" in done.stderr
    assert harness.stored_step(tmp_path / "run") == 4


# -- pipelines ---------------------------------------------------------------------------------------------------------
def stages(act=lambda: None):
    def teacher(past):
        return strategies.Supervised(toy.task("classification"), toy.learner("classification"), decay=None)

    def student(past):
        return strategies.NoisyStudent(
            toy.task("classification"), toy.learner("classification"), labels=past.labels["label"]
        )

    def refine(labels):
        act()
        return labels

    return [Stage("teach", teacher, steps=3), Labeling("label", "teach", refine), Stage("learn", student, steps=3)]


def pipeline(folder, act=lambda: None):
    resume = (folder / "pipeline.json").exists()
    return run_pipeline(stages(act), toy.pile("classification"), folder, plan=zoo.PLAN, resume=resume)


def test_a_pipeline_stops_between_stages_and_goes_on(tmp_path):
    term = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    assert fork(lambda: pipeline(tmp_path / "parts", term), tmp_path / "log").wait() == 143
    assert not (tmp_path / "parts" / "03-learn").exists()
    whole, parts = pipeline(tmp_path / "whole"), pipeline(tmp_path / "parts")
    assert parts.finished
    assert not zoo.differences(dict(whole.export()), dict(parts.export()))


def test_labeling_stops_after_a_batch(tmp_path):
    def stopped():
        predict = strategies.Supervised.predict

        def once(self, x):
            os.kill(os.getpid(), signal.SIGINT)
            return predict(self, x)

        with signals.handle_signals():
            strategy = zoo.build("supervised", "classification")
            strategies.Supervised.predict = once
            st.label_pile(strategy, toy.pile("classification"), batch_size=4)

    begun = time.monotonic()
    assert fork(stopped, tmp_path / "log").wait() == 130
    assert time.monotonic() - begun < 60


# -- handlers ----------------------------------------------------------------------------------------------------------
def test_handlers_are_given_back_and_the_users_own_stay():
    mine = lambda *given: None  # noqa: E731
    before = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, mine)
    try:
        with signals.handle_signals():
            assert signal.getsignal(signal.SIGINT) is mine
            assert signal.getsignal(signal.SIGTERM) is not before[0]
            with signals.handle_signals():
                pass
            assert signal.getsignal(signal.SIGTERM) is not before[0]
        assert signal.getsignal(signal.SIGTERM) is before[0]
    finally:
        signal.signal(signal.SIGINT, before[1])


def test_another_thread_leaves_handlers_alone():
    seen = []

    def work():
        with signals.handle_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_stop_is_heeded_though_the_work_was_just_done():
    with pytest.raises(SystemExit) as caught, signals.handle_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert not signals.stop_requested()


def test_the_step_is_finished_and_its_state_stored(tmp_path):
    strategy, pile = zoo.build("supervised", "classification"), toy.pile("classification")
    step = strategy.step

    def asked(batch, clock, *extra):
        if clock.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batch, clock, *extra)

    strategy.step = asked
    with pytest.raises(SystemExit) as caught:
        st.fit(strategy, pile, out=tmp_path, steps=8, plan=zoo.PLAN, eval_every=8, self_check=False, dashboard=False)
    assert caught.value.code == 143
    assert harness.stored_step(tmp_path) == 3


def test_a_second_signal_ends_at_once():
    reached = []

    def ask(which):
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(which)

    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        [ask(which) for which in ("the first one", "the second one")]
    assert reached == ["the first one"]


# -- one writer --------------------------------------------------------------------------------------------------------
def test_two_runs_in_one_folder_are_refused(tmp_path):
    with lock.locked(tmp_path / "run", create=True):
        log = tmp_path / "log"
        assert fork(lambda: train(tmp_path / "run"), log).wait() == harness.REFUSED
        assert "is in use by another run (process" in harness.error_of(log)
        with pytest.raises(st.RunFolderError, match=f"process {os.getpid()}"):
            train(tmp_path / "run")
    assert not (tmp_path / "run").exists()  # it was made for the lock, and nothing came of it
    assert train(tmp_path / "run").out == tmp_path / "run"


def test_a_folder_is_for_one_at_a_time(tmp_path):
    for _ in range(2):
        with lock.locked(tmp_path, create=True):
            with (
                pytest.raises(st.RunFolderError, match="in use by another run"),
                lock.locked(tmp_path, create=True),
            ):
                pass
            assert (tmp_path / lock.LOCK).exists()
    assert not any(tmp_path.iterdir())


def test_a_killed_run_locks_nothing_even_while_its_loader_lives(tmp_path):
    def work():
        if not os.fork():  # as a loader process does, it outlives its parent for a while
            time.sleep(30)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    def locking():
        with lock.locked(tmp_path / "run", create=True):
            work()

    assert fork(locking).wait() == 137
    assert (tmp_path / "run" / lock.LOCK).exists()
    with lock.locked(tmp_path / "run", create=True):
        pass


def test_a_checkpoint_interval_is_the_most_that_is_lost(tmp_path):
    """Killed at the end of an interval; the harness would notice more."""
    progress = Progress()

    def work():
        step = zoo.strategies.FreeMatch.step

        def last(self, batch, clock, *extra):
            if clock.step == 2 * EVERY + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, batch, clock, *extra)

        zoo.strategies.FreeMatch.step = last
        train(tmp_path / "run", progress)

    fork(work).wait()
    assert progress.get() - harness.stored_step(tmp_path / "run") == 1
    assert torch.is_tensor(harness.tensors(load_newest(tmp_path / "run" / "checkpoints"))[0])
