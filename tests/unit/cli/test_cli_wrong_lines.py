"""Wrong lines are answered with option, value and remedy in one line, and leave nothing behind."""

import pytest
from wrong_calls import LINES, NOT_THERE

from selftrain.cli.main import main


@pytest.mark.parametrize(("line", "argument", "value"), LINES + NOT_THERE, ids=lambda one: one if " " in one else "")
def test_a_wrong_line_is_refused(line, argument, value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status = 2 if (line, argument, value) in LINES else 1
    assert main(line.split()) == status
    out, error = capsys.readouterr()
    assert error.startswith("selftrain: error: ")
    assert error.count("\n") == 1
    assert argument in error
    assert value in error
    assert out == ""
    assert list(tmp_path.iterdir()) == []
