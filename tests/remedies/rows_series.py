"""Rows of messages on series with gaps, and on rows of no numbers in wrappers; tests of their own follow them."""

from remedies import Elsewhere

GAPS = "unit/data/test_series_gaps.py::test_"
REFUSED = f"{GAPS}series_that_are_none_are_refused_by_name"
NETWORKS = f"{GAPS}networks_without_gaps_stay_and_those_of_ones_own_are_wrapped"

ROWS_OF = {
    "data/base/ragged.py": [
        Elsewhere("series have other channels than one another", REFUSED),
        Elsewhere("give numbers, (length,)", REFUSED),
    ],
    "data/base/samples.py": [Elsewhere("holds no number; leave it out", REFUSED)],
    "data/base/stored.py": [
        Elsewhere("save the arrays as .npz", f"{GAPS}a_gap_that_no_row_that_was_looked_at_has_is_refused")
    ],
    "selftrain/estimator/inputs.py": [
        Elsewhere("and those of fit held none", f"{GAPS}the_estimator_reads_series_of_any_length")
    ],
    "selftrain/networks/fitting.py": [Elsewhere("selftrain.networks.FilledGaps", NETWORKS)],
    "selftrain/networks/vit.py": [Elsewhere("read out by a number of cells", NETWORKS)],
    "selftrain/wrapper/rows.py": [
        Elsewhere(
            "before the wrapper in a pipeline",
            "unit/wrapper/test_wrapper_rows.py::test_rows_of_no_numbers_are_told_in_our_own_words_and_the_remedy_works",
        )
    ],
    "selftrain/pretrain/targets.py": [Elsewhere("have no pixels to predict", NETWORKS)],
}
