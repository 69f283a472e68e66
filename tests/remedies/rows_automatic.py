"""Remedies of the messages about ``--strategy auto``, each followed by a test of ``test_cli_automatic.py``."""

from remedies import Elsewhere

_TESTS = "unit/cli/test_cli_automatic.py::"
_STATE = _TESTS + "test_a_state_that_does_not_fit_is_refused"
_NETWORKS = _TESTS + "test_there_is_no_network_to_export_or_to_start_from"
_MASKS = _TESTS + "test_torchrun_is_for_networks_and_masks_for_other_strategies"
_DOOR = "unit/front/test_door_auto.py::"
_REFUSED = _DOOR + "test_what_only_networks_have_is_refused_by_name_and_leaving_it_out_works"
_CANNOT = "unit/evaluation/test_cross_fitted.py::test_a_single_class_teaches_itself_and_what_cannot_be_told_is_said"
_MEMORY = _TESTS + "test_more_rows_than_memory_are_refused_and_features_of_a_start_are_read"

ROWS_OF = {
    "selftrain/front/automatic.py": [
        Elsewhere("numbers do not fit", _MEMORY),
        Elsewhere(
            "reads them as they are, and any other strategy",
            "unit/data/test_data_sparse.py::test_a_portfolio_of_the_engine_says_who_reads_large_sparse_rows",
        ),
        Elsewhere("runs in one process", _MASKS),
        Elsewhere("trains no network of yours", _TESTS + "test_what_only_networks_have_is_refused"),
    ],
    "selftrain/front/door.py": [
        Elsewhere("and give its folder", _REFUSED),
        Elsewhere("train it with out=FOLDER", _REFUSED),
        Elsewhere("what is frozen stands alone", _DOOR + "test_a_frozen_encoder_is_one_word"),
    ],
    "selftrain/evaluation/cross_fitted.py": [
        Elsewhere("label two of each", _CANNOT),
        Elsewhere("more than simple models read; hold labels out", _CANNOT),
    ],
    "selftrain/engine/spec.py": [
        Elsewhere("has what an estimator has tried", _TESTS + "test_the_folder_of_an_estimator_says_what_to_do")
    ],
    "selftrain/estimator/strategy.py": [
        Elsewhere("one class a sample", _MASKS),
        Elsewhere("cannot be fitted again", _STATE),
        Elsewhere("answers that are off by", _STATE),
    ],
    "selftrain/exporting/network.py": [Elsewhere("has no network to export", _NETWORKS)],
    "selftrain/networks/optim.py": [Elsewhere("has no weights: what it ships", _NETWORKS)],
    "selftrain/portfolio/portfolio.py": [Elsewhere("is no candidate; known are", _STATE)],
}
