"""Messages of what Python and the command line share, and of what runs are asked."""

from __future__ import annotations

from remedies import Elsewhere

ASKED = "unit/front/test_asking.py"
_RIGHT = f"{ASKED}::test_the_remedies_for_pictures_are_right"
_FORM = f"{ASKED}::test_every_door_gives_the_answers_of_the_pile_bit_for_bit"
_STAGES = f"{ASKED}::test_stages_and_piles_of_another_kind_say_what_to_do_instead"
_LABELS = f"{ASKED}::test_labels_are_accepted_by_a_precision_or_all_of_them_which_is_said"
_TOLD = "unit/engine/test_summary.py::test_what_a_run_advises_works"
_CLI = "unit/cli/test_cli_predict.py"
_PREDICT = f"{_CLI}::test_what_is_advised_works"
_DENSE = "unit/data/test_dense_views.py"
_SIDES = f"{_DENSE}::test_mirrored_sides_are_refused_and_each_remedy_works"

_REVIEWED = "unit/labels/test_maps.py::test_what_a_review_of_masks_cannot_use_is_named"
_FIGURES = "unit/evaluation/test_dense_figures.py"
_MAPS = "unit/labels/test_maps.py"
ROWS_OF = {
    "data/base/maps.py": [Elsewhere(says, _REVIEWED) for says in ("save it with its palette", "write it anew")],
    "selftrain/labels/review.py": [
        Elsewhere(says, _REVIEWED)
        for says in ("or put the file beside", "are void, from 0 to 1", "there is no mask", "has no joints of")
    ],
    "data/pile.py": [
        Elsewhere("is reviewed as a mask or joints", _REVIEWED),
        Elsewhere("views are mirrored", _SIDES),
        Elsewhere("has none; give both alike", "unit/data/test_data_units.py::test_masks_can_be_hidden_and_held_back"),
    ],
    "selftrain/evaluation/dense.py": [
        Elsewhere("in truth; give one for each", f"{_FIGURES}::test_masks_against_scikit_learn"),
        Elsewhere("ask mask_figures for masks", f"{_FIGURES}::test_masks_against_scikit_learn"),
        Elsewhere("or joint_figures for joints", f"{_FIGURES}::test_joints_against_loops"),
        Elsewhere("is a share of a window", f"{_FIGURES}::test_windows_overlap_and_are_averaged"),
        Elsewhere("enlarge them, or overlap=None", f"{_FIGURES}::test_windows_overlap_and_are_averaged"),
        Elsewhere("ask a strategy that was trained", f"{_FIGURES}::test_windows_overlap_and_are_averaged"),
        Elsewhere("pass a data set or another part", f"{_FIGURES}::test_joints_against_loops"),
    ],
    "selftrain/metrics/joints.py": [
        Elsewhere(says, f"{_FIGURES}::test_normalizers_by_hand") for says in ("pass boxes=", "or two joints of 0")
    ],
    "selftrain/estimator/segmenter.py": [
        Elsewhere(says, "unit/estimator/test_segmenter.py::test_what_is_no_mask_is_refused")
        for says in ("give masks of at least two", "give masks of the classes", "give integers of shape")
    ],
    "selftrain/labels/maps.py": [
        Elsewhere("a mask in a palette", f"{_MAPS}::test_a_ledger_of_classes_has_no_masks"),
        Elsewhere("give them other ids", f"{_MAPS}::test_names_of_masks_stay_in_their_folder_and_apart"),
        Elsewhere("choose another folder", f"{_MAPS}::test_masks_and_joints_are_those_that_the_run_predicts"),
    ],
    "data/views/albumentations.py": [
        Elsewhere(
            "give its mask=... as well",
            f"{_DENSE}::test_a_stream_of_masks_asks_for_places_and_refuses_where_there_are_none",
        ),
    ],
    "selftrain/tasks/geometry.py": [
        Elsewhere("pairs is {}", f"{_DENSE}::test_left_and_right_change_places_in_a_mirror"),
    ],
    "selftrain/tasks/keypoints.py": [
        Elsewhere("loss is {}", "unit/test_tasks.py::test_the_loss_of_places_by_loops_and_heights_of_a_right_answer"),
    ],
    "data/base/samples.py": [Elsewhere("give them as they were", _RIGHT)],
    "data/readers/raw.py": [
        *(
            Elsewhere(says, _RIGHT)
            for says in (
                "give pictures as they were before",
                "image values run from",
                "are to become",
                "resize it, such as",
                "they look like bytes",
                "is a picture of bytes",
                "channels; pass arrays",
            )
        ),
        *(
            Elsewhere(says, _FORM)
            for says in ("no file or folder", "there is no file {}", "inputs{}: give", "fill them in")
        ),
    ],
    "selftrain/front/asking.py": [
        Elsewhere("say from which confidence on to accept", _LABELS),
        Elsewhere("say which to label", _LABELS),
        Elsewhere("a confidence is in [0, 1]", _LABELS),
        Elsewhere("do not say how inputs are read", _STAGES),
        Elsewhere("train from it: init_from=run", _STAGES),
        Elsewhere("there are no samples in data", _FORM),
    ],
    "selftrain/engine/summary.py": [
        Elsewhere("fit(out=FOLDER) stores it", _TOLD),
        Elsewhere("fit(baseline=True)", _TOLD),
        Elsewhere("run.predict(data), run.label(data)", _TOLD),
    ],
    "selftrain/storage/run_dir.py": [
        Elsewhere(
            "to train on from where it is",
            "unit/engine/test_engine.py::test_a_longer_run_is_a_stage_of_its_own_or_planned_whole",
        ),
    ],
    "selftrain/cli/common.py": [
        Elsewhere("plan the whole length and say --stop_after", f"{_CLI}::test_a_longer_run"),
    ],
    "selftrain/cli/compare_runs.py": [
        Elsewhere("save them, such as", f"{_CLI}::test_a_comparison_in_python_is_that_of_the_command_line"),
        Elsewhere(
            "give what the command line takes", f"{_CLI}::test_a_comparison_in_python_is_that_of_the_command_line"
        ),
    ],
    "selftrain/cli/review.py": [
        Elsewhere(
            "it must be at least {}",
            "unit/cli/test_cli_runs.py::test_given_labels_are_reviewed_by_networks_that_did_not_see_them",
        ),
    ],
    "selftrain/cli/predict.py": [
        Elsewhere("say of which data", _PREDICT),
        Elsewhere("say --out FILE.npz", _PREDICT),
        Elsewhere("or --out with another file", _PREDICT),
    ],
    "selftrain/labels/ledger.py": [
        Elsewhere("cannot tell masks or joints", f"{_MAPS}::test_masks_and_joints_are_those_that_the_run_predicts"),
        Elsewhere(
            "arrays, or boxes of others; leave original out",
            f"{_MAPS}::test_a_run_and_its_ledger_write_masks_and_joints_of_the_files_own_size",
        ),
        Elsewhere("neither mask nor joints", f"{_MAPS}::test_a_ledger_of_classes_has_no_masks"),
        Elsewhere("a data frame needs pandas", "unit/engine/test_summary.py::test_a_ledger_is_a_data_frame"),
    ],
}
