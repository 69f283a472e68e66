"""Faults of what a run is asked: with which weights, and how data are read."""

from fault import Mutant

RUN, ASKING, RAW = "selftrain/engine/run.py", "selftrain/front/asking.py", "data/readers/raw.py"
FEW = "test_summary.py::test_few_validation_labels_choose_no_weights"
WRONG = "test_asking.py::test_another_form_is_refused_with_what_is_there_and_what_is_wanted"
LABELS = "test_asking.py::test_labels_are_accepted_by_a_precision_or_all_of_them_which_is_said"
DOORS = "test_asking.py::test_every_door_gives_the_answers_of_the_pile_bit_for_bit"

MUTANTS = [
    Mutant("asking: ten labels choose the weights", RUN, ">= FEW", ">= 1", FEW),
    Mutant("asking: the best weights stay", RUN, "self.strategy.load_state_dict(last)", "pass", FEW),
    Mutant("asking: bytes as floats are taken as they are", RAW, "1 if floats else 255", "255", WRONG),
    Mutant("asking: pictures are cut as they come", RAW, "form.size, form.fit,", "form.size, 'crop',", DOORS),
    Mutant("asking: every label is accepted", ASKING, "weight = (sure >= threshold)", "weight = (sure >= 0)", LABELS),
]
