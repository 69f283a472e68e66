"""Inputs by kind: how many were tried, read as they are meant, told or refused by name, and read wrong.

    python tests/reliability/inputs.py [--write] [WORD ...]

Runs the tests that hold inputs of each kind against every door; each case is an input. One whose test is named after a
message (refused, told, named, ...) counts as told, a failed test as wrong. ``--write`` puts the table into
docs/reliability.md; with words, kinds whose name holds none of them keep their row of the page. Exit status 1 if one is
wrong.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
KINDS = {
    "unit, origin and precision": "unit/data/test_data_scale.py",
    "what is a class, what is no label": "unit/data/test_data_labels.py unit/data/test_label_counts.py "
    "unit/wrapper/test_wrapper_labels.py",
    "columns of tables": "unit/data/test_data_columns.py unit/cli/test_cli_columns.py",
    "what is left out": "unit/data/test_data_left_out.py",
    "parts, masks and joints that fit": "unit/data/test_data_fitting.py",
    "forms of arrays and rows": "unit/data/test_data_dense.py unit/data/test_data_forms.py "
    "unit/estimator/test_estimator_forms.py "
    "unit/wrapper/test_wrapper_rows.py",
    "rows of another form than those of fit": "unit/estimator/test_other_rows.py",
    "what networks give, layers that are computed": "unit/engine/test_fitting.py unit/networks/test_parametrized.py",
    "settings of other libraries, states": "unit/test_plain_settings.py unit/engine/test_stored_state.py",
    "wrong calls of Python and estimators": "contract/test_wrong_calls.py",
    "wrong calls on the command line": "unit/cli/test_cli_wrong_lines.py",
    "a resumed run that is another": "unit/engine/test_same_run.py",
}
TOLD = re.compile("refused|told|named|names|said|counted|cannot|noticed|no_classes|is_asked|no_such|is_no_|has_no_")


class Count:
    """Counts the cases of a run by what became of them."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one case."""
        if report.failed:
            self.found["wrong"] += 1
        elif report.when == "call" and report.passed:
            name = report.nodeid.split("::")[1].split("[")[0]
            self.found["told" if TOLD.search(name) else "right"] += 1


def main() -> int:
    """Run the tests of each kind, print the table."""
    lines = [
        "| inputs | tried | read as meant | told or refused by name | wrong |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    wrong = 0
    begin, end = "<!-- inputs table -->\n\n", "\n\n<!-- /inputs table -->"
    head, rest = PAGE.read_text(encoding="utf-8").split(begin)
    before = {line.split("|")[1].strip(): line for line in rest.split(end)[0].splitlines()}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    for kind, files in KINDS.items():
        if kind in before and words and not any(word in kind for word in words):
            lines.append(before[kind])
            continue
        count = Count()
        places = [str(TESTS / file) for file in files.split()]
        pytest.main(["-q", "-n", "0", "-m", "slow or not slow", "-p", "no:cacheprovider", *places], plugins=[count])
        right, told, bad = (count.found[key] for key in ("right", "told", "wrong"))
        lines.append(f"| {kind} | {right + told + bad} | {right} | {told} | {bad} |")
        wrong += bad
    table = "\n".join(lines)
    print(table)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(f"{head}{begin}{table}{end}{rest.split(end)[1]}", encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
