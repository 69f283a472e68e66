"""Remedies of the messages of the readers of masks and joints: their tests follow them."""

from remedies import Elsewhere

_JOINTS = "unit/data/test_data_keypoints.py::test"
_CLI = "unit/cli/test_cli_masks.py::test"
_MASKS = "unit/data/test_data_masks.py::test"
_CODES, _FITS = f"{_MASKS}_colors_numbers_and_void", f"{_MASKS}_what_does_not_fit_is_told"
_NAMED = "unit/data/test_data_masks.py::test_folders_that_are_not_understood"
_TRUTH = "unit/labels/test_unit_truth.py::test_what_does_not_fit_is_told"
_CHANGED = f"{_MASKS}_files_that_change_after_they_were_found"

ROWS_OF = {
    "data/readers/folders.py": [
        Elsewhere("which are no two classes", f"{_MASKS}_a_folder_of_pictures_and_masks_is_no_folder_of_two_classes"),
    ],
    "data/readers/masks.py": [
        Elsewhere("if it is a class, say", _CODES),
        Elsewhere("add them to {}, those without class", _CODES),
        Elsewhere("add them to {}, or say", _CODES),
        Elsewhere("which are no class", _CODES),
        Elsewhere("save masks as PNG", _CODES),
        Elsewhere("of another size than the picture", _FITS),
        Elsewhere("has a mask; a mask has the name", _FITS),
        Elsewhere("give one folder with pictures and masks", _NAMED),
        Elsewhere("holds no images/ and masks/", _NAMED),
        Elsewhere("rename them", _NAMED),
        Elsewhere("has no color", _CODES),
        Elsewhere("list those you need", _CODES),
        Elsewhere("has a mask in {}", "unit/labels/test_unit_truth.py::test_masks_of_files_are_known"),
        Elsewhere("no mask has a weight", f"{_MASKS}_weights_say_how_much_a_pixel_counts"),
    ],
    "data/readers/mask_files.py": [
        Elsewhere("which is no class; was it changed", _CHANGED),
        Elsewhere("and its picture", _CHANGED),
        Elsewhere("is in colors; say which class", _CODES),
        Elsewhere("give class numbers (H, W)", _CHANGED),
        Elsewhere("save weights as gray PNG", _CHANGED),
        Elsewhere("bring it to the size of the mask", _CHANGED),
    ],
    "data/base/units.py": [Elsewhere("give what is known of each row", _TRUTH)],
    "data/pile.py": [Elsewhere("give both in one form", _TRUTH)],
    "data/readers/arrays.py": [Elsewhere("has truth but no y", _TRUTH)],
    "data/readers/keypoints.py": [
        Elsewhere("mend or remove it", f"{_JOINTS}_the_skeleton_is_drawn_and_sides_are_told"),
        Elsewhere("no sample has joints in", "unit/labels/test_unit_truth.py::test_joints_of_files_are_known"),
        Elsewhere("give files with the same keypoints", f"{_JOINTS}_what_does_not_fit_is_told"),
        Elsewhere("has several annotations", f"{_JOINTS}_boxes_are_cropped"),
        Elsewhere("say to which to bring them", f"{_JOINTS}_boxes_are_cropped"),
        Elsewhere("it needs images, annotations", f"{_JOINTS}_what_does_not_fit_is_told"),
        Elsewhere("bring the picture to", f"{_JOINTS}_what_does_not_fit_is_told"),
    ],
    "data/loading/rare_classes.py": [
        Elsewhere("{} lets them cycle", "unit/data/test_rare_classes.py::test_labels_that_are_no_classes_are_refused"),
        Elsewhere(
            "no labeled pixel has a class",
            "unit/data/test_rare_classes.py::test_masks_that_are_void_all_over_are_refused",
        ),
    ],
    "data/checks/units.py": [
        Elsewhere("give x and y in pixels of it", f"{_JOINTS}_the_check_knows_joints"),
        Elsewhere("label some, or leave it out", f"{_MASKS}_the_check_knows_masks"),
    ],
    "selftrain/cli/evaluate_run.py": [
        Elsewhere("--overlap for those on masks", f"{_CLI}_mirror_images_and_windows_are_asked"),
    ],
    "selftrain/cli/parser.py": [
        Elsewhere(
            "say --data PICTURES beside it", "unit/cli/test_cli_masks.py::test_a_folder_of_both_and_config_files"
        ),
    ],
}
