"""Faults of the command line, of what its names stand for, and of the verdict of a comparison."""

from __future__ import annotations

from fault import Mutant

PARSER, BUILDING, MAIN = "selftrain/cli/parser.py", "selftrain/front/building.py", "selftrain/cli/main.py"
VERDICT = "selftrain/cli/verdict.py"

CODES = "test_cli.py::test_every_end_has_its_code"
KEYS = "test_cli.py::test_unknown_keys_of_a_config_file_name_the_file"
SETTINGS = "test_cli.py::test_the_settings_of_what_is_chosen_are_options"

MUTANTS = [
    Mutant(
        "compare: classes that are judged and have no label are called unjudged",
        "selftrain/cli/compare_runs.py",
        "in given - asked]",
        "in asked - given]",
        "test_cli_verdict.py::test_classes_that_are_not_judged_are_named_until_the_test_has_some",
    ),
    Mutant(
        "command line: config files win over the line",
        PARSER,
        "return [*configs, *chosen, *rest]",
        "return [*chosen, *rest, *configs]",
        "test_cli.py::test_config_files",
    ),
    Mutant(
        "command line: a setting before its choice is for another class",
        PARSER,
        'rest if "." in key else chosen',
        "rest",
        "test_cli.py::test_a_setting_may_stand_before_its_choice",
    ),
    Mutant(
        "command line: dashes in names are no underscores",
        PARSER,
        '"--" + key[2:].replace("-", "_")',
        '"--" + key[2:]',
        "test_cli.py::test_dashes_switches_and_short_names",
    ),
    Mutant("command line: a fault does not name its file", PARSER, 'f"{source}: {text}"', "text", KEYS),
    Mutant(
        "command line: the nearest option by letters alone",
        PARSER,
        'near = [name for name in names if name.rpartition(".")[2] == last] or difflib',
        "near = difflib",
        "test_cli.py::test_a_fault_of_usage_is_one_line_and_code_2",
    ),
    Mutant(
        "command line: a preset without its settings",
        "selftrain/catalog/__init__.py",
        "partial(m.make, **m.settings) if m.settings else m.make",
        "m.make",
        SETTINGS,
    ),
    Mutant(
        "command line: sizes of the problem are options",
        "selftrain/cli/naming.py",
        "return {*SIZES, *_FILLED.get(kind, ()),",
        "return {*_FILLED.get(kind, ()),",
        SETTINGS,
    ),
    Mutant(
        "catalog: values of a call in the wrong order",
        "selftrain/catalog/parts.py",
        "dict(zip(free, given, strict=False))",
        "dict(zip(reversed(free), given, strict=False))",
        "test_catalog_parts.py::test_a_call_sets_what_it_names_and_sizes_are_filled_in",
    ),
    Mutant(
        "command line: a fault of usage is any error",
        MAIN,
        "USAGE if isinstance(error, UsageError) else FAILED",
        "FAILED",
        "test_cli.py::test_a_fault_of_usage_is_one_line_and_code_2",
    ),
    Mutant(
        "command line: terminated is interrupted",
        MAIN,
        "TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)",
        "INTERRUPTED)",
        CODES,
    ),
    Mutant(
        "command line: messages name options for good",
        MAIN,
        "        errors.as_options = False",
        "        errors.as_options = True",
        CODES,
    ),
    Mutant(
        "command line: an average that is given is shortened",
        BUILDING,
        " if key not in given}",
        "}",
        "test_cli.py::test_an_average_that_is_given_stays",
    ),
    Mutant(
        "command line: an epoch leaves out the last batch",
        "selftrain/engine/times.py",
        "return -(-rows // size)",
        "return rows // size",
        "test_cli.py::test_an_epoch_is_every_unlabeled_sample",
    ),
    Mutant(
        "command line: masks are taken for classes",
        BUILDING,
        'form = "classification" if given.dim() == 1 else',
        'form = "classification" if given.dim() > 0 else',
        "test_cli.py::test_the_task_is_what_the_labels_are",
    ),
    Mutant(
        "command line: any task for any labels",
        BUILDING,
        "(make.has_classes, make.one_unit) != (not joints, given.dim() == 1)",
        "False",
        "test_cli.py::test_the_task_is_what_the_labels_are",
    ),
    Mutant(
        "data: a mask without any class is a label",
        "data/base/units.py",
        "((flat < 0) | (flat == VOID)).all(1)",
        "(flat < 0).all(1)",
        "test_data_splits.py::test_masks_and_joints_are_chosen_by_whether_there_is_one",
    ),
    Mutant(
        "data: a joint without a number is a joint at that place",
        "data/base/units.py",
        "torch.where(marked.isnan().any(-1, keepdim=True), 0.0, marked)",
        "marked.nan_to_num()",
        "test_data_units.py::test_joints",
    ),
    Mutant(
        "data: no_label says nothing of pixels",
        "data/base/units.py",
        "found[found == number] = VOID",
        "pass",
        "test_data_units.py::test_masks",
    ),
    Mutant(
        "verdict: one of many strategies pays by chance",
        VERDICT,
        "level = 1 - 0.05 / max(1, len(cells) - 1)",
        "level = 0.95",
        "test_cli_verdict.py::test_many_strategies_have_wider_intervals_each",
    ),
    Mutant(
        "compare: a picture adds to mean IoU what is right without it",
        "selftrain/metrics/jackknife.py",
        "(without.mean() - without)",
        "(without - without.mean())",
        "test_jackknife.py::test_of_a_share_they_are_right_or_wrong",
    ),
    Mutant(
        "compare: what pictures add to mean IoU is as far apart as means without one",
        "selftrain/metrics/jackknife.py",
        "whole + (rows - 1) *",
        "whole +",
        "test_jackknife.py::test_of_mean_iou_their_spread_is_that_of_pictures_drawn_anew",
    ),
    Mutant(
        "train: labels that were asked for are not written",
        "selftrain/cli/train.py",
        'if settings["label_to"] is not None and done.out',
        "if False and done.out",
        "test_docs.py::test_a_newcomer_gets_masks_from_two_folders_by_a_script_and_by_one_command",
    ),
    Mutant(
        "verdict: what cannot be told pays",
        VERDICT,
        '"pays" if low > 0',
        '"pays" if high > 0',
        "test_cli_verdict.py::test_draws_that_disagree_cannot_be_told",
    ),
    Mutant(
        "settings of a folder are not asked for names",
        PARSER,
        "    if foreign and not trust:\n",
        "    if False:\n",
        "test_cli_strangers.py::test_settings_of_a_folder_import_nothing",
    ),
    Mutant(
        "the working directory stands in for packages",
        "selftrain/front/naming.py",
        'if module.partition(".")[0] not in PACKAGES and os.getcwd()',
        "if os.getcwd()",
        "test_cli_strangers.py::test_names_of_the_packages_leave_the_path_alone",
    ),
    Mutant(
        "what is printed commands the terminal",
        MAIN,
        "self._stream.write(start + printable(text.removeprefix(start)))",
        "self._stream.write(text)",
        "test_cli_strangers.py::test_what_people_call_their_classes_and_files_commands_no_terminal",
    ),
    Mutant(
        "errors show marks of direction",
        "selftrain/errors.py",
        "text = printable(super().__str__())",
        "text = super().__str__()",
        "test_errors.py::test_what_does_something_else_than_being_seen_stands_as_its_code",
    ),
    Mutant(
        "JSON is as deep as it likes",
        "selftrain/storage/untrusted.py",
        "        if depth > deepest:\n",
        "        if False:\n",
        "test_untrusted.py::test_json_that_is_nested_too_deeply_or_none_is_refused",
    ),
]
