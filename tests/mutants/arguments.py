"""Faults in the check of arguments at the door."""

from __future__ import annotations

from fault import Mutant

ARGUMENTS = "selftrain/arguments.py"
TEST = "test_wrong_calls.py::test_"

MUTANTS = [
    Mutant(
        "arguments: a class passes for what it makes",
        ARGUMENTS,
        "return not isinstance(value, type) and (of_it or _stands_in(value, kind))",
        "return of_it or _stands_in(value, kind)",
        f"{TEST}what_stands_in_for_a_class_and_what_is_nearly_a_number_fit",
    ),
    Mutant(
        "arguments: a flag passes for a count",
        ARGUMENTS,
        "isinstance(value, number) and not isinstance(value, bool)",
        "isinstance(value, number)",
        f"{TEST}what_stands_in_for_a_class_and_what_is_nearly_a_number_fit",
    ),
    Mutant(
        "arguments: classes of others are held to the kinds of this library",
        ARGUMENTS,
        'typing.get_type_hints(inner) if inner.__module__.startswith("selftrain") else {}',
        "typing.get_type_hints(inner)",
        f"{TEST}what_others_declare_is_their_own_affair",
    ),
    Mutant(
        "arguments: annotations that cannot be read check nothing",
        "selftrain/networks/student.py",
        "MakeLearner = Callable[[], Learner]",
        'MakeLearner = Callable[[], "Learner"]',
        f"{TEST}a_setting_of_another_kind_is_refused_by_name",
    ),
    Mutant(
        "arguments: several students get one network",
        "selftrain/strategy/several.py",
        "if len({id(student.model) for student in students}) < len(students):",
        "if False:",
        f"{TEST}a_wrong_call_is_refused_or_told",
    ),
    Mutant(
        "arguments: what a missing argument is goes unsaid",
        ARGUMENTS,
        "words = {name: _kinds(hints[name]) for name in missing if hints.get(name, Any) is not Any} | _MEANT",
        "words: dict[str, str] = {}",
        f"{TEST}a_wrong_call_is_refused_or_told",
    ),
    Mutant(
        "arguments: estimators leave set_params to scikit-learn",
        ARGUMENTS,
        'for name in [name for name in params if name.partition("__")[0] not in known]:',
        "for name in ():",
        f"{TEST}an_estimator_of_ones_own_names_what_it_is_called_with_and_is_cloned_as_before",
    ),
    Mutant(
        "arguments: names of other libraries are not known",
        ARGUMENTS,
        "also = [_ALSO[name]] if _ALSO.get(name) in names else []",
        "also: list[str] = []",
        f"{TEST}a_wrong_call_is_refused_or_told",
    ),
]
