"""Remedies of what a report says, and of labels that are doubted."""

from remedies import Elsewhere

_DOUBT = "unit/evaluation/test_label_errors.py::test_"
_REPORT = "unit/report/test_report.py::test_"

ROWS_OF = {
    "selftrain/report/content.py": [
        Elsewhere("A run without a folder keeps no log", f"{_REPORT}a_run_without_a_folder_says_how_to_keep_a_log"),
    ],
    "selftrain/report/write.py": [
        Elsewhere("the run is whole", f"{_REPORT}a_page_that_fails_costs_nothing_but_the_page"),
        Elsewhere("it must be at least 1", f"{_REPORT}a_run_from_its_folder_has_the_same_page"),
    ],
}
