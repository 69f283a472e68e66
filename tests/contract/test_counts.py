"""Kernels and waits of a step of every method, against the table of ``tests/support/counts.py``."""

from __future__ import annotations

import pytest
import torch

from tests.support import counts

ROWS = counts.stored()["rows"]


def test_the_table_has_every_method():
    assert list(ROWS) == counts.names()


@pytest.mark.parametrize("name", list(ROWS))
def test_no_step_asks_for_more_kernels_or_waits_than_before(name):
    found = counts.count(name)
    row, stored = counts.row(found), ROWS[name]
    waits = {part: dict(found.waits[part]) for part in counts.PARTS}
    remedy = "python tests/support/counts.py remakes the table"
    assert all(row["waits"][part] <= stored["waits"][part] for part in counts.PARTS), f"{waits}; {remedy}"
    if torch.__version__.split("+")[0] == counts.stored()["torch"]:  # others may compose calls otherwise
        assert all(row["kernels"][part] <= stored["kernels"][part] for part in counts.PARTS), f"{row}; {remedy}"


def test_a_call_that_waits_is_counted_and_named():
    counting = counts.Counting()
    counting.part = "step"
    with counting, counts.Reads(counting):
        x = torch.arange(4.0)
        float(x.sum()), x[x > 1], x.tolist(), torch.tensor(1.0), x.nonzero(), torch.linalg.inv(torch.eye(2))
        x[x > 1] = 0.0
        torch.nn.functional.one_hot(torch.arange(3), 3)  # checked on CPUs alone
        x.where(x > 1, 0.0)
    found = {place.split()[0] for place in counting.waits["step"]}
    assert found == {
        "_linalg_check_errors",
        "_local_scalar_dense",
        "index",
        "index_put_",
        "lift_fresh",
        "nonzero",
        "tolist",
    }
    assert all("contract/test_counts.py:" in place for place in counting.waits["step"])
