"""Methods are not copies of one another: two strategies share less than 40 % of their lines."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for path in (ROOT / "strategies").glob("*.py") if path.stem != "__init__")


INTERFACE = {  # what every strategy has to write
    "from __future__ import annotations", "def __init__(", "self,", "task: Task,", "make_learner: MakeLearner,", "*,",
    ") -> None:", "Args:", "task: Kind of output.", "make_learner: Builds the student.", '"""',
}  # fmt: skip


def lines_of(path: Path) -> list[str]:
    """All lines but blank ones and the interface."""
    stripped = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in stripped if line and line not in INTERFACE]


def shared(first: Path, second: Path) -> float:
    """Twice the lines that match in order, over the lines of both, in [0, 1]."""
    return SequenceMatcher(None, lines_of(first), lines_of(second), autojunk=False).ratio()


@pytest.mark.parametrize(("first", "second"), list(combinations(FILES, 2)), ids=lambda path: path.stem)
def test_two_methods_share_less_than_two_fifths_of_their_lines(first, second):
    assert shared(first, second) < 0.4


def test_a_copy_is_noticed(tmp_path):
    source = (ROOT / "strategies" / "vat.py").read_text(encoding="utf-8")
    (tmp_path / "copy.py").write_text(source.replace("class VAT", "class Other"))
    assert shared(ROOT / "strategies" / "vat.py", tmp_path / "copy.py") > 0.9
