"""Rows of messages on what is no array of numbers, no list of classes or no count; tests of their own follow them."""

from remedies import Elsewhere

FORMS, COUNTS = "unit/data/test_data_forms.py", "unit/data/test_label_counts.py"
NO_ROWS = f"{FORMS}::test_what_has_no_rows_is_refused_and_the_remedy_works"
NO_NUMBERS = f"{FORMS}::test_what_holds_no_numbers_is_refused_and_the_remedy_works"
GAPS = f"{FORMS}::test_gaps_and_words_among_objects_are_named_and_the_remedy_works"
NO_TABLE = f"{FORMS}::test_what_is_no_table_is_told_and_the_remedy_works"
LISTS = f"{COUNTS}::test_lists_that_are_no_classes_are_refused"
OTHER = "unit/cli/test_cli_other_data.py::test_other_pictures_and_tables_are_told_or_refused_and_the_remedy_works"

ROWS_OF = {
    "data/base/dense.py": [
        Elsewhere("holds dates such as", NO_NUMBERS),
        Elsewhere("holds times such as", NO_NUMBERS),
        Elsewhere("holds numbers in text", NO_NUMBERS),
        Elsewhere("holds text, such as", NO_NUMBERS),
        Elsewhere("is an array of records", NO_NUMBERS),
        Elsewhere("holds values that are no numbers", GAPS),
        Elsewhere("are None: fill them in", GAPS),
        Elsewhere("is a single", NO_ROWS),
        Elsewhere("whose rows have no order", NO_ROWS),
        Elsewhere("{} is a {}: pass {}.{}()", NO_ROWS),
        Elsewhere("{} is {}, a table", NO_ROWS),
        Elsewhere("files are read by selftrain.data.from_path", NO_ROWS),
    ],
    "data/base/labels.py": [
        Elsewhere("give names or numbers", LISTS),
        Elsewhere("a number of its own", LISTS),
    ],
    "data/base/samples.py": [Elsewhere("with no columns or pixels", NO_TABLE)],
    "data/base/splits.py": [
        Elsewhere("labels is {}; give how many", f"{COUNTS}::test_counts_are_read"),
    ],
    "data/readers/tables.py": [Elsewhere("there is no table", NO_TABLE)],
    "selftrain/cli/opened.py": [
        Elsewhere("and a table has columns", OTHER),
        Elsewhere("give pictures with the channels", OTHER),
    ],
    "selftrain/estimator/inputs.py": [
        Elsewhere(
            "are there more than once",
            f"{FORMS}::test_lists_of_mappings_and_columns_twice_are_refused_and_the_remedy_works",
        )
    ],
    "selftrain/networks/fitting.py": [
        Elsewhere(
            "answers a sample by the others that are asked",
            "unit/exporting/test_exporting.py::test_answers_that_are_none_of_a_sample_are_told_and_not_written",
        )
    ],
}
