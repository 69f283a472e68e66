"""Faults of the readers of masks and joints."""

from __future__ import annotations

from fault import Mutant

READER, FILES = "data/readers/masks.py", "data/readers/mask_files.py"
TESTS = "test_data_masks.py::test"
CODES = f"{TESTS}_colors_numbers_and_void"

TRUTH = "test_unit_truth.py::test"

MUTANTS = [
    Mutant(
        "truth of masks: is not carried into the view that labels were made on",
        "selftrain/labels/ledger.py",
        "target if view is None else task.warp(target, view)",
        "target",
        f"{TRUTH}_masks_are_judged_in_the_view_they_were_made_on",
    ),
    Mutant(
        "truth of masks: labels of the image as it is are taken for those of a view",
        "selftrain/handlers/ledger_writer.py",
        " or said.unmoved or ",
        " or ",
        f"{TRUTH}_a_run_says_how_right_its_masks_are[SoftLabels]",
    ),
    Mutant(
        "truth of masks: pixels that nobody knows count as wrong",
        "selftrain/labels/ledger.py",
        "known = (target.mask() * target.weight > 0).float()",
        "known = torch.ones_like(target.weight)",
        f"{TRUTH}_masks_are_judged_in_the_view_they_were_made_on",
    ),
    Mutant(
        "truth of masks: masks in the folder of labels are not among it",
        "data/readers/masks.py",
        "masks.get(path) or own for",
        "masks.get(path) for",
        f"{TRUTH}_masks_of_files_are_known",
    ),
    Mutant(
        "masks of files: what was cut off counts as if it had been padded",
        "selftrain/labels/maps.py",
        "own = [max(own)] * 2",
        "own = [min(own)] * 2",
        "test_maps.py::test_masks_of_the_size_of_a_file_are_where_its_pixels_were",
    ),
    Mutant(
        "masks of files: what was cut off has a class",
        "selftrain/labels/maps.py",
        "own_label.where(inside, VOID)",
        "own_label",
        "test_maps.py::test_masks_of_the_size_of_a_file_are_where_its_pixels_were",
    ),
    Mutant(
        "masks: class numbers are mixed where a mask is made smaller",
        FILES,
        "Image.Resampling.NEAREST, fill)",
        "Image.Resampling.BICUBIC, fill)",
        f"{TESTS}_pictures_and_masks_are_brought_to_one_size_together",
    ),
    Mutant(
        "masks: what padding adds is the first class",
        FILES,
        "return _brought(found, self.size, self.fit, VOID)",
        "return _brought(found, self.size, self.fit, 0)",
        f"{TESTS}_pictures_and_masks_are_brought_to_one_size_together",
    ),
    Mutant(
        "masks: a class that is called void is one",
        READER,
        'voids = {codes["void"]} if "void" in codes else set()',
        "voids = set()",
        CODES,
    ),
    Mutant(
        "masks: 255 is void whatever classes say",
        READER,
        "table = dict.fromkeys(voids, VOID) | {number: place for place, number in enumerate(own)}",
        "table = {number: place for place, number in enumerate(own)} | dict.fromkeys(voids, VOID)",
        CODES,
    ),
    Mutant(
        "masks: validation of Pascal VOC is trained on",
        READER,
        "rows = [i for i, stem in enumerate(stems) if stem not in held]",
        "rows = [i for i, stem in enumerate(stems)]",
        f"{TESTS}_layout_of_pascal_voc",
    ),
    Mutant(
        "masks: a weight counts for its neighbor",
        FILES,
        "self._weight(self.weights[row], found)",
        "self._weight(self.weights[row - 1], found)",
        f"{TESTS}_weights_say_how_much_a_pixel_counts",
    ),
    Mutant(
        "masks: weights are read and do not count",
        "selftrain/tasks/segmentation.py",
        "valid.float() if weight is None else valid * (weight / 255)",
        "valid.float()",
        f"{TESTS}_weights_say_how_much_a_pixel_counts",
    ),
    Mutant(
        "masks: a folder of pictures and masks is two classes",
        "data/readers/folders.py",
        "if labels_csv is None and has_masks(root):",
        "if False:",
        f"{TESTS}_a_folder_of_pictures_and_masks_is_no_folder_of_two_classes",
    ),
    Mutant(
        "joints: places are those of the picture on disk",
        "data/readers/keypoints.py",
        "moved: NDArray[np.float64] = (places + 0.5 - np.array(start)) * scale + np.array(offset) - 0.5",
        "moved: NDArray[np.float64] = places * scale",
        "test_data_keypoints.py::test_joints_go_where_their_pictures_go",
    ),
    Mutant(
        "joints: a box is cropped beside its place",
        "data/readers/keypoints.py",
        "center = left + box[2] / 2, top + box[3] / 2",
        "center = left, top",
        "test_data_keypoints.py::test_boxes_are_cropped",
    ),
    Mutant(
        "joints: those outside of their picture are learned",
        "data/readers/keypoints.py",
        "y[number, ~(there & inside)] = np.nan",
        "y[number, ~there] = np.nan",
        "test_data_keypoints.py::test_what_does_not_fit_is_told",
    ),
    Mutant(
        "masks: paths of a data set of torchvision are classes",
        "data/readers/wrapped.py",
        "if known and _has_masks(sets[known[0]], label):",
        "if False:",
        f"{TESTS}_data_sets_of_torchvision",
    ),
]
