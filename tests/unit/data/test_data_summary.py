"""What was read is said in lines: by the pile, by the check, and at the start of a training."""

import sys

import numpy as np
import torch
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.data.base.summary import ColumnSummary, Summary, label_line
from selftrain.engine.spec import read_record
from selftrain.handlers import DataSummary

X = np.arange(12.0).reshape(6, 2)


def small_pile():
    pile = data.Pile.from_arrays(X, [0, 1, 1, -1, -1, -1], classes=["cat", "dog"])
    columns = [ColumnSummary("h", "number", "2 missing"), ColumnSummary("note", "left out", "no value")]
    pile.summary = Summary(labels=["'?' means no label"], columns=columns).plus(left_out=["3 files that end in .heic"])
    return pile


def test_a_pile_says_what_was_read():
    labels, inputs, columns, left_out, files = small_pile().summary_lines()[1:]
    assert inputs == "inputs     rows of 2 float32"
    assert labels == "labels     cat 1, dog 2; 3 unlabeled rows; '?' means no label"
    assert columns == "columns    1 number: h (2 missing)"
    assert left_out == "left out   1 column: note (no value)"
    assert files == "left out   3 files that end in .heic"


def test_the_summary_goes_where_the_pile_goes():
    pile = small_pile()
    for other in (pile.reviewed({"3": 0}), pile.numbered_as(["dog", "cat"]), pile.normalized_as(pile.card())):
        assert other.summary == pile.summary


def test_many_classes_and_names_with_control_characters_take_one_short_line():
    line = label_line(torch.arange(1000), [f"c{i}" for i in range(999)] + ["\x1b[31m"], 0)
    assert len(line) < 300
    assert "1,000 classes" in line
    assert "\x1b" not in label_line(torch.tensor([0]), ["\x1b[31m"], 0)
    assert "\x1b" not in str(ColumnSummary("\x1b[31m", "number"))


def test_masks_and_joints_are_counted():
    masks = torch.full((3, 2, 2), 255)
    masks[0, 0, 0] = 1
    assert label_line(masks, ["a", "b"], 4) == "labels     1 with masks; 4 unlabeled rows"
    assert "1 with joints" in label_line(torch.tensor([[[1.0, 2.0, 1.0]]]), [], 0)


def test_the_check_says_it_too():
    report = data.check(small_pile())
    assert "3 files that end in .heic" in report.text()
    assert "'?' means no label" in report.text()
    assert report.as_dict()["summary"][-1] == "left out   3 files that end in .heic"


def test_every_training_begins_with_it_and_stores_it(tmp_path, capsys):
    def train(**more):
        strategy = strategies.FixMatch(st.Classification(2), st.learner(nn.Linear(2, 2)))
        st.fit(strategy, small_pile(), steps=1, plan=st.BatchPlan(2, 1), **more)
        return capsys.readouterr()

    said = train(out=tmp_path / "run").err
    lines = small_pile().summary_lines()
    assert all(line in said for line in lines)
    assert read_record(tmp_path / "run")["data"] == lines
    assert lines[1] in train(handlers=[DataSummary(file=sys.stdout)]).out
    assert lines[1] not in train(handlers=[DataSummary(False)]).err
