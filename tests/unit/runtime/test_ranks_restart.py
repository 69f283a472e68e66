"""Under ``torchrun``: one process dies or is told to stop, all stop, and once started again they end as if none had."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from paths import ROOT
from ranks_program import EVERY, STEPS, run
from test_ranks import free_port, unlike

PROGRAM = "ranks_program.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo"),
]


def launch(folder, *signals):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    command += ["--max-restarts", str(len(signals)), "--monitor-interval", "0.2"]
    command += [str(ROOT / "tests" / "support" / PROGRAM), str(folder), *signals]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)


def steps(folder, rank):
    """Steps of each attempt on a rank."""
    rows = [line.split() for line in (folder / f"steps-{rank}.txt").read_text().splitlines()]
    attempts = sorted({attempt for attempt, _ in rows})
    return [[int(step) for attempt, step in rows if attempt == one] for one in attempts]


def test_a_rank_that_stops_or_dies_stops_the_others_and_a_restart_resumes(tmp_path):
    stopped, died = EVERY + 1, STEPS - 4
    done = launch(tmp_path, f"SIGTERM:{stopped}", f"SIGKILL:{died}")
    assert done.returncode == 0, done.stderr
    assert "SIGTERM: stopping after this step" in done.stderr
    assert "exitcode: 143" in done.stderr
    for rank in range(2):
        first, second, third = steps(tmp_path, rank)
        assert first == list(range(stopped + 1))  # the step is finished on all
        assert second == list(range(stopped + 1, died + 1))  # from the checkpoint of that step
        assert third == list(range(died // EVERY * EVERY, STEPS))
    results = [torch.load(tmp_path / f"done-{rank}.pt") for rank in range(2)]
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(results[1][k])) for k, v in results[0].items())
    assert unlike(results[0], run(tmp_path / "alone")) == []
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == len((tmp_path / "alone" / "metrics.jsonl").read_text().splitlines())  # one writer, once


STOPS = """
import os, signal, sys, time, torch
from selftrain.runtime.distributed.group import Ranks, joined

begun = 0.0
try:
    with joined(Ranks(timeout=3), torch.device("cpu")) as group:
        group.total(torch.ones(1), "control")
        begun = time.monotonic()
        if group.rank == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        group.total(torch.ones(1), "control")
except Exception as error:
    print(f"{type(error).__name__} after {time.monotonic() - begun:.1f}: {error}", flush=True)
"""


def test_when_the_first_rank_stands_still_the_others_end_within_the_timeout():
    """It keeps what all ranks write to one another: without it even the reason cannot be asked for."""
    common = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    common |= {"MASTER_PORT": free_port(), "PYTHONPATH": os.pathsep.join(sys.path)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", STOPS], env=common | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        told, _ = ranks[1].communicate(timeout=90)
        assert told.startswith("RankError after "), told
        assert 2 < float(told.split()[2].rstrip(":")) < 12, told
        assert "did not answer in time" in told
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
