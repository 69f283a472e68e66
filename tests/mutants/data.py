"""Faults of the user's own data: files, tables, sets of other libraries, and the check."""

from __future__ import annotations

from fault import Mutant

STORED, TABULAR, ENCODING, TABLES = (
    "data/base/stored.py",
    "data/readers/tabular.py",
    "data/readers/encoding.py",
    "data/readers/tables.py",
)
CELLS_OF, COLUMNS = "data/readers/cells.py", "data/readers/columns.py"
SCANNING, FOLDERS, CONTENTS, WRAPPED = (
    "data/readers/scanning.py",
    "data/readers/folders.py",
    "data/checks/contents.py",
    "data/readers/wrapped.py",
)

STORED_ROWS = "test_data_stored.py::test_rows_are_those_of_a_set_in_memory"
CELLS = "test_data_tables.py::test_cells_become_numbers"
ALIKE = "test_data_tables.py::test_further_tables_are_encoded_alike"
UNITS = "test_data_scale.py::test_no_door_changes_what_is_seen_when_the_unit_or_the_origin_changes"
SKIPPED = "test_data_check.py::test_skipped_files_are_counted_and_listed"
COPIES = "test_data_check.py::test_copies_contradictions_and_leaks"

WORKERS, READING = "data/loading/workers.py", "data/base/reading.py"
FAILING = "reliability/test_workers.py::test_the_error_names_set_and_rows_and_no_process_is_left"
NO_PROGRAM = "reliability/test_files.py::test_an_image_that_is_a_program_is_not_run"
UNDISTURBED = "reliability/test_workers.py::test_a_process_that_dies_disturbs_nothing_but_the_wait_for_its_batch"

FITTING = "data/base/fitting.py"
FITS = "test_data_fitting.py"

MUTANTS = [
    Mutant(
        "a set with other columns evaluated on at the end of the training",
        FITTING,
        "if rows and rows[0].shape[:2] != rows[1].shape[:2] or",
        "if",
        f"{FITS}::test_sets_to_evaluate_on_fit_the_pile",
    ),
    Mutant(
        "rare classes: those with most labels are drawn most",
        "data/loading/rare_classes.py",
        "((1 - total / total.sum()) / temperature)",
        "(total / total.sum() / temperature)",
        "test_rare_classes.py::test_rows_are_drawn_by_the_formula",
    ),
    Mutant(
        "rare classes: pixels without a class are one",
        "data/loading/rare_classes.py",
        "numbers = numbers[encode(numbers.reshape(1, 1, -1)).mask().flatten() > 0]",
        "pass",
        "test_rare_classes.py::test_rows_are_drawn_by_the_formula",
    ),
    Mutant(
        "rare classes: a row that is drawn again has the draws of before",
        "data/loading/rare_classes.py",
        "BatchIndices(rows, rows + n * place, 0)",
        "BatchIndices(rows, rows, 0)",
        "test_rare_classes.py::test_a_row_that_is_drawn_again_has_draws_of_its_own",
    ),
    # -- what is left out
    Mutant(
        "what cropping cuts off is not said",
        "data/readers/left_out.py",
        "return 1 - min(ratio, 1 / ratio)",
        "return 0.0",
        "test_data_left_out.py::test_what_is_cut_off_is_said",
    ),
    Mutant(
        "pages behind the first left out unsaid",
        SCANNING,
        'if opened.format != "MPO":',
        'if opened.format == "MPO":',
        "test_data_left_out.py::test_what_is_not_read_is_counted",
    ),
    Mutant(
        "random transforms noticed by what comes of them alone",
        WRAPPED,
        "if drawn or not all(",
        "if not all(",
        "test_data_wrapped.py::test_random_transforms_are_noticed_whatever_they_draw_from",
    ),
    Mutant(
        "views of a pipeline that normalizes",
        "data/views/albumentations.py",
        'if type(step).__name__ == "Normalize":',
        "if False:",
        "test_data_albumentations.py::test_a_pipeline_that_normalizes_is_refused_and_the_remedy_works",
    ),
    # -- what fits together
    Mutant(
        "imaginary parts of tensors dropped",
        "data/base/samples.py",
        "        refuse_complex(values, name)\n        return values",
        "        return values",
        "test_data_dense.py::test_arrays",
    ),
    Mutant(
        "parts of another number of columns pass",
        FITTING,
        "if len({row.shape for row in rows.values()}) < 2:",
        "if len({row.ndim for row in rows.values()}) < 2:",
        f"{FITS}::test_parts_of_other_shapes_are_refused_when_the_pile_is_made",
    ),
    Mutant(
        "masks of 0 and 255 learned as background and void",
        FITTING,
        "known == {0, VOID}",
        "known == {VOID}",
        f"{FITS}::test_masks_that_do_not_fit_are_refused_and_the_remedy_works",
    ),
    Mutant(
        "masks of the test part encoded at the end of the training",
        "data/pile.py",
        "        for part in _PARTS:\n            samples: Samples | None",
        "        for part in _PARTS[:1]:\n            samples: Samples | None",
        f"{FITS}::test_a_number_that_the_task_does_not_know_is_told_before_the_first_step",
    ),
    Mutant(
        "a joint outside of the picture taken for one at its edge",
        "selftrain/tasks/keypoints.py",
        "visible = (annotation[..., 2] > 0) & inside",
        "visible = annotation[..., 2] > 0",
        f"{FITS}::test_a_few_joints_outside_are_counted_and_left_out",
    ),
    Mutant(
        "a count out of numpy taken for a folder",
        "data/pile.py",
        "given |= {name: plain_setting(value) for name, value in given.items()}",
        "given |= {}",
        "test_plain_settings.py::test_doors_of_data_take_numbers_of_numpy",
    ),
    # -- arrays in files
    Mutant(
        "rows of an array file read without its head",
        STORED,
        "self.offset + int(index[start])",
        "int(index[start])",
        STORED_ROWS,
    ),
    Mutant("runs of rows of an array file joined", STORED, "prepend=-2) != 1", "prepend=-2) < 0", STORED_ROWS),
    Mutant(
        "array file kept mapped",
        STORED,
        "rows = self._read(index)",
        'self.kept = getattr(self, "kept", np.load(self.path, mmap_mode="r"))\n'
        "                rows = np.array(self.kept[index])",
        "test_data_stored.py::test_memory_stays_flat_while_all_of_a_large_file_is_read",
    ),
    Mutant(
        "Python objects loaded from an array file",
        "data/readers/arrays.py",
        "np.load(path, allow_pickle=False)",
        "np.load(path, allow_pickle=True)",
        "test_data_stored.py::test_python_objects_are_never_loaded",
    ),
    # -- tables
    Mutant(
        "missing numbers become 0",
        ENCODING,
        "np.where(lacking, column.mean, numbers)",
        "np.where(lacking, 0, numbers)",
        CELLS,
    ),
    Mutant("unknown names share the code of the first", ENCODING, "number.get(cell, 0)", "number.get(cell, 1)", ALIKE),
    Mutant(
        "means of a table include the test rows",
        TABLES,
        'if part in ("", "_unlabeled")}',
        'if part in ("", "_unlabeled", "_test")}',
        ALIKE,
    ),
    Mutant(
        "numbers of a table standardized in single precision",
        ENCODING,
        "(np.where(lacking, column.mean, numbers) - column.mean)",
        "(np.where(lacking, column.mean, numbers).astype(np.float32) - np.float32(column.mean))",
        "test_data_tables.py::test_large_numbers_keep_their_differences",
    ),
    Mutant(
        "an encoding given to a table is not used",
        TABLES,
        "    if given is None:\n        kinds",
        "    if True:\n        kinds",
        "test_data_tables.py::test_the_encoding_travels",
    ),
    # -- columns of text
    Mutant(
        "a marker among numbers makes names of them",
        CELLS_OF,
        "gaps = {text: count for text, count in rest.items() if _is_gap(text)}",
        "gaps = {text: count for text, count in rest.items() if False}",
        "test_data_columns.py::test_few_numbers_with_a_marker_are_numbers",
    ),
    Mutant(
        "decimal commas are separators of thousands",
        CELLS_OF,
        "return max(points, commas, key=lambda cells: cells.share)",
        "return points",
        "test_data_columns.py::test_new_tables_are_read_alike",
    ),
    Mutant(
        "cells that were made missing are not counted",
        COLUMNS,
        'remarks.add("gaps", name, listed({**read.gaps, **read.odd}))',
        "pass",
        "test_data_columns.py::test_new_tables_are_read_alike",
    ),
    Mutant(
        "dates that fit two layouts are not told",
        CELLS_OF,
        "    if other is not None:\n",
        "    if False:\n",
        "test_data_columns.py::test_what_is_doubtful_is_told_and_the_remedy_helps",
    ),
    Mutant(
        "names that training did not have are not told",
        ENCODING,
        "    if unseen:\n",
        "    if False:\n",
        "test_data_columns.py::test_new_tables_are_read_alike",
    ),
    # -- files
    Mutant(
        "skipped files not listed",
        FOLDERS,
        "    pile.skipped = skipped\n",
        "",
        SKIPPED,
    ),
    Mutant(
        "any share of files may be skipped",
        SCANNING,
        " or share > most)",
        ")",
        "test_data_check.py::test_too_many_damaged_files_are_an_error",
    ),
    Mutant(
        "paths out of the folder skipped like missing files",
        FOLDERS,
        'f.kind != "missing" or on_error != "skip"',
        'on_error != "skip"',
        "test_data_check.py::test_files_that_a_csv_lists_and_that_are_not_there",
    ),
    Mutant(
        "damaged files found by their head alone",
        SCANNING,
        "            pixels = to_bytes(opened, mode, id, limits=limits)\n",
        "            import numpy as np\n\n            pixels = np.zeros((opened.height, opened.width, 3), np.uint8)\n",
        SKIPPED,
    ),
    Mutant(
        "files of more than 8 bits that leave few gray levels are not told",
        "data/readers/decoding.py",
        "if left >= min(had, 100):",
        "if left >= 1:",
        "test_data_scale.py::test_deep_files_that_use_few_levels_are_told_with_a_remedy_that_keeps_them",
    ),
    Mutant(
        "an array file forgets its limits",
        STORED,
        "found = prepared(rows, self.channels, self.limits, self.kind)",
        "found = prepared(rows, self.channels, None, self.kind)",
        "test_data_scale.py::test_every_door_of_arrays_takes_the_limits_that_its_error_names",
    ),
    Mutant(
        "a file that has changed is known as it was",
        "data/readers/known.py",
        "case [stamp, answer] if stamp == self._stamps.get(id):",
        "case [_, answer]:",
        "test_data_check.py::test_files_of_a_large_folder_are_decoded_once",
    ),
    Mutant(
        "a value that many pixels have counts once",
        "data/base/statistics.py",
        "values.square() * times",
        "values.square() * (times > 0)",
        "test_views.py::test_statistics_of_bytes_are_those_of_as_many_rows_as_tell_them",
    ),
    Mutant(
        "a small spread counts as none",
        "data/base/statistics.py",
        "std > rounding * largest",
        "std > 1e-4",
        UNITS,
    ),
    Mutant(
        "rows are rounded before they are centered",
        "data/views/base.py",
        "value.dtype == torch.float64",
        "False",
        UNITS,
    ),
    Mutant(
        "clouds are rounded before they are centered",
        "data/views/points.py",
        "torch.where(far, centered.float(), in_unit_sphere(x.float()))",
        "in_unit_sphere(x.float())",
        UNITS,
    ),
    Mutant(
        "strong views of dim pictures are drawn for the full range",
        "data/views/base.py",
        "0 < brightest - darkest < _DIM",
        "brightest < darkest",
        "test_data_scale.py::test_weak_and_strong_views_fit_pictures_of_low_contrast",
    ),
    Mutant(
        "numbers far from all others are looked for on one side only",
        "data/base/far.py",
        "start = int(below[-1]) + 1 if len(below) else 0",
        "start = 0",
        "test_data_scale.py::test_fill_values_are_told_with_their_column_and_count_at_every_door",
    ),
    Mutant(
        "silence of a spectrogram is that of one unit",
        "data/views/spectrogram.py",
        "1e-6 * torch.where(mean > 0, mean, 1.0) if floor is None",
        "torch.full_like(mean, 1e-6) if floor is None",
        "test_data_spectrogram.py::test_a_unit_adds_a_constant",
    ),
    # -- the check
    Mutant("contents compared by file name", CONTENTS, "groups[sample.content]", "groups[sample.name]", COPIES),
    Mutant(
        "a leak into test is a mere copy",
        CONTENTS,
        'if parts & {"validation", "test"} and "labeled" in parts',
        'if parts & {"validation"} and "labeled" in parts',
        COPIES,
    ),
    # -- other libraries
    Mutant(
        "rows of nested subsets mixed up",
        WRAPPED,
        "[own[row] for row in rows]",
        "own[: len(rows)]",
        "test_data_wrapped.py::test_labels_and_names_of_torchvision_also_below_subsets",
    ),
    Mutant(
        "stored labels used in spite of a target transform",
        WRAPPED,
        'if getattr(base, "target_transform", None) is not None:',
        "if False:",
        "test_data_wrapped.py::test_a_target_transform_is_obeyed",
    ),
    # -- loader processes
    Mutant(
        "death of a loader process told at once",
        "data/loading/childsignal.py",
        "if self._used and not self._awaited:",
        "if False:",
        UNDISTURBED,
    ),
    Mutant(
        "no time limit for a batch", WORKERS, "timeout=plan.timeout", "timeout=3 * plan.timeout", FAILING + "[hang]"
    ),
    Mutant("the wrong process blamed", WORKERS, "(place[0] in dead or", "(place[0] not in dead or", FAILING + "[die]"),
    Mutant(
        "Ctrl-C reaches loader processes",
        WORKERS,
        "signal.SIG_BLOCK, {signal.SIGINT}",
        "signal.SIG_BLOCK, set()",
        "reliability/test_workers.py::test_ctrl_c_does_not_reach_loader_processes_that_have_just_begun",
    ),
    Mutant(
        "first row of a batch blamed",
        READING,
        "reason, place = own, alone",
        "reason, place = own, 0",
        "reliability/test_workers.py::test_the_row_is_named_without_loader_processes_too",
    ),
    Mutant(
        "any decoder may see an image",
        "data/readers/decoding.py",
        "Image.open(file, formats=IMAGE_FORMATS)",
        "Image.open(file)",
        NO_PROGRAM,
    ),
    Mutant(
        "any decoder may see an image that is checked",
        "data/readers/scanning.py",
        "Image.open(path, formats=IMAGE_FORMATS)",
        "Image.open(path)",
        NO_PROGRAM,
    ),
]
