"""A method's file contains its step: who reads it with the paper beside it finds there all that the step does."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
from paths import ROOT

PSEUDO_LABEL = {"pseudo_labeling.make", "table.pseudo_label", "base.score"}
LOSS = {"pseudo_labeling.loss", "base.loss", "base.consistency"}  # `base` of tasks
UPDATE = {"student.update"}


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trace_step", ROOT / "benchmarks" / "trace_step.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trace_step"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


trace_step: Any = _load()
METHODS = trace_step.methods()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", list(METHODS))
def test_pseudo_label_loss_and_update_are_called_by_the_methods_own_file(name):
    trace, files = trace_step.trace_of(METHODS[name])
    called = set(trace.called_by(files))
    assert called & LOSS
    assert called & UPDATE
    assert called & PSEUDO_LABEL or name == "Supervised"
    if name != "Supervised":  # by a class of the method itself, of which there is one file, or two if it varies another
        assert len(files) <= 2


@pytest.mark.parametrize("name", ["FixMatch", "MeanTeacher", "PiModel", "UDA", "SoftLabels"])
def test_a_step_can_be_followed_through_few_files(name):
    trace, _ = trace_step.trace_of(METHODS[name])
    assert len(trace.files) <= 10, trace.files
    assert trace.depth <= 9
