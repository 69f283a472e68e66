"""A run that was stopped and continued is the run that was not stopped, for every strategy, bit for bit."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zoo
from zoo import GRID, PLAN, ZOO, build, differences, take_step

import selftrain as st
from selftrain import toy
from selftrain.handlers.metrics_log import MetricsLog
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint

WHOLE, PART = 8, 5  # an epoch has 4 steps: the stop is in the middle of the second
PRECISIONS = ["fp32", "bf16", "fp16"]


def fit(name: str, kind: toy.Kind, out: Path, *, seed: int = 0, student: dict | None = None, **settings) -> st.Run:
    """A run of ``WHOLE`` steps; neither evaluations nor rows of the log fall on the step where it is stopped."""
    strategy = build(name, kind, seed=seed, student=student)
    settings["checkpoints"] = st.Checkpoints(WHOLE, settings.pop("stop_after", None))
    settings |= {"evaluation": st.Evaluation(4), "handlers": [MetricsLog(2)]}
    return st.fit(strategy, toy.pile(kind), steps=WHOLE, plan=PLAN, out=out, **settings)


def outcome(folder: Path) -> dict[str, object]:
    """All that a run leaves on the disk, but for the time it took and pictures."""
    state = checkpoint.load_newest(folder / "checkpoints")
    del state["seconds"]
    ledger = folder / "pseudo_labels.csv"
    return {
        "state": state,
        "log": [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "weights": weights_of(folder),
        "ledger": ledger.read_text() if ledger.exists() else None,
    }


def stopped_and_continued(name: str, kind: toy.Kind, folder: Path, student: dict | None = None) -> list[str]:
    """Differences between a whole run and one that was stopped half-way and continued by fresh objects."""
    whole = fit(name, kind, folder / "whole", student=student)
    fit(name, kind, folder / "parts", student=student, stop_after=PART)
    assert checkpoint.load_newest(folder / "parts" / "checkpoints")["step"] == PART
    torch.manual_seed(777)  # the caller's randomness must not matter
    rest = fit(name, kind, folder / "parts", student=student, seed=99, resume=True)
    left = [outcome(run.out) for run in (whole, rest)]
    for run, found in zip((whole, rest), left, strict=True):
        assert not differences(run.strategy.state_dict(), found["state"]["strategy"])
        assert not differences(run.ledger.state_dict(), found["state"]["ledger"])
    return differences(*left)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("name", "kind"), GRID)
def test_resume_is_exact(name, kind, tmp_path):
    assert not stopped_and_continued(name, kind, tmp_path)


HALF = [(n, p) for n in ZOO for p in PRECISIONS if p != "bf16" or n in ("fst_d", "ensemble")]
QUICK = ("mean_teacher", "fixmatch", "fst_d", "jointmatch")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("name", "precision"), [pytest.param(n, p, marks=[] if n in QUICK else [pytest.mark.slow]) for n, p in HALF]
)
def test_resume_is_exact_with_half_gathered_gradients(name, precision, tmp_path):
    """``PART`` steps of 4 gathered updates each: the stop is in the middle of a gathering."""
    student = {"accumulate": 4, "precision": precision, "optimizer": "adamw", "max_grad_norm": 1.0}
    assert PART % 4
    assert not stopped_and_continued(name, "classification", tmp_path, student)


def test_reduced_precision_is_used_and_scales_its_gradients():
    """Otherwise the test above would compare three times the same numbers."""
    runs = [build("fixmatch", "classification", student={"precision": p, "dropout": 0.0}) for p in PRECISIONS]
    for strategy in runs:
        take_step(strategy, zoo.batches(strategy, "classification"))
        assert strategy.student.scaler.is_enabled() == (strategy.student.precision == "fp16")
    x = toy.pile("classification").x
    outputs = [strategy.student.label(x) for strategy in runs]
    assert all(o.dtype == torch.float32 for o in outputs)
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.allclose(outputs[0], outputs[2], atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fst_d", "soft_labels"])
def test_resume_is_exact_in_another_process(name, tmp_path):
    """Stopped here, continued by a new interpreter that shares nothing but the folder."""
    fit(name, "segmentation", tmp_path / "whole")
    fit(name, "segmentation", tmp_path / "parts", stop_after=PART)
    code = (
        "import pathlib, test_contract_resume as t;"
        f"t.fit({name!r}, 'segmentation', pathlib.Path({str(tmp_path / 'parts')!r}), seed=99, resume=True)"
    )
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "support"), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        # the warning is of a rule of the zoo that keeps nothing on purpose
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:threshold is 2.0",
            "-c",
            "import torch; torch.set_num_threads(1);" + code,
        ],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert not differences(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


def test_the_logged_steps_of_a_resumed_run_have_one_row_each(tmp_path):
    """A run that died after its checkpoint wrote rows that the resumed run writes again."""
    fit("fixmatch", "classification", tmp_path, stop_after=PART)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": PART + 1, "train/loss/supervised": 1e9}) + "\n")
    fit("fixmatch", "classification", tmp_path, resume=True)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "validation/accuracy" in row] == [4, WHOLE]
    assert all(row.get("train/loss/supervised", 0) < 1e9 for row in rows)


# -- what is missing is missed -----------------------------------------------------------------------------------------
def _inner(state: dict) -> list[tuple[str, ...]]:
    """Paths of all entries: of the state and of each learner's own state."""
    paths = [(key,) for key in state]
    return paths + [(key, inner) for key in state if key.endswith("_extra_state") for inner in state[key]]


@pytest.mark.parametrize("name", list(ZOO))
@pytest.mark.slow
def test_a_stored_state_without_any_one_of_its_entries_is_refused(name, tmp_path):
    student = {"precision": "fp16"}  # the only one with a state of its own
    strategy = build(name, "classification", student=student)
    take_step(strategy, zoo.batches(strategy, "classification"))
    checkpoint.save(tmp_path, strategy.state_dict(), 1)
    state = checkpoint.load_newest(tmp_path)
    assert {path[1] for path in _inner(state) if len(path) == 2} >= {"optimizer", "scaler", "pending", "grads"}
    for path in _inner(state):
        damaged = copy.deepcopy(state)
        holder = damaged[path[0]] if len(path) == 2 else damaged
        del holder[path[-1]]
        with pytest.raises((RuntimeError, KeyError, ValueError), match=path[-1]):
            build(name, "classification", student=student).load_state_dict(damaged)


@pytest.mark.parametrize("part", ["strategy", "ledger"])
def test_a_checkpoint_that_does_not_fit_is_named(part, tmp_path):
    fit("fixmatch", "classification", tmp_path, stop_after=PART)
    state = checkpoint.load_newest(tmp_path / "checkpoints")
    gone = next(iter(state[part]))
    del state[part][gone]
    checkpoint.save(tmp_path / "checkpoints", state, PART)
    with pytest.raises(st.CheckpointError, match=gone):
        fit("fixmatch", "classification", tmp_path, resume=True)


def test_resume_with_other_settings_is_refused(tmp_path):
    fit("fixmatch", "classification", tmp_path, stop_after=PART)
    strategy = build("fixmatch", "classification")
    with pytest.raises(st.RunFolderError, match="seed"):
        st.fit(strategy, toy.pile("classification"), steps=WHOLE, plan=replace(PLAN, seed=9), out=tmp_path, resume=True)


@pytest.mark.parametrize("name", list(ZOO))
def test_the_state_holds_everything_that_a_step_changes(name):
    """A fresh strategy that takes over the state takes the same next step."""
    first, second = build(name, "classification"), build(name, "classification", seed=1)
    for step in range(2):
        take_step(first, zoo.batches(first, "classification", step=step))
    second.load_state_dict(zoo.state_of(first))
    for strategy in (first, second):
        take_step(strategy, zoo.batches(strategy, "classification", step=2))
    assert not differences(first.state_dict(), second.state_dict())
