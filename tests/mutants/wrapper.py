"""Faults of self-training around scikit-learn classifiers."""

from fault import Mutant

FOLDER = "selftrain/wrapper/"
BOUND = "test_wrapper_bound.py::test_errors_and_thresholds_are_those_of_the_equations"
TRACE = "test_wrapper_self_training.py::test_three_rounds_by_hand"
ANEW = "test_wrapper_self_training.py::test_labeling_anew_forgets_the_round_before"
GROUPS = "test_wrapper_self_training.py::test_both_groups_weigh_the_same"
CONFIDENCE = "test_wrapper_self_training.py::test_weights_are_confidences_of_the_round_that_chose"
WARM = "test_wrapper_self_training.py::test_a_forest_started_warm_grows"
FIRST = "test_wrapper_self_training.py::test_a_policy_sees_the_first_classifiers_probabilities_of_the_same_rows"
HELD = "test_wrapper_stopping.py::test_held_out_labels_are_not_learned_from"
BEST = "test_wrapper_stopping.py::test_a_drop_on_held_out_labels_keeps_the_best_round"
FLOOR = "test_wrapper_stopping.py::test_a_threshold_below_the_floor_is_not_learned_from"
OTHER = "test_wrapper_co_training.py::test_each_teaches_the_other"
ADMIT = "test_wrapper_tri_training.py::test_a_classifier_takes_what_must_lower_its_error"
VOTE = "test_wrapper_tri_training.py::test_the_majority_decides_against_a_larger_mean_probability"
PROPORTION = "test_wrapper_policies.py::test_the_proportion_grows_until_all_are_taken"

MUTANTS = [
    Mutant(
        "wrapper: what is masked counts as measured",
        f"{FOLDER}rows.py",
        "np.nan) if X.mask.any() else X.data",
        "np.nan) if False else X.data",
        "test_wrapper_rows.py::test_what_is_masked_is_no_number",
    ),
    Mutant(
        "wrapper: data frames become arrays",
        f"{FOLDER}rows.py",
        "    if _is_table(X):",
        "    if _is_table(X) or is_frame(X):",
        "test_wrapper_rows.py::test_what_the_classifier_reads_is_handed_on",
    ),
    Mutant(
        "wrapper: bound forgets the votes below the threshold",
        FOLDER + "bound.py",
        "self.taken + self.voted[at_t][:, None] - self.voted[at_g]",
        "self.taken - self.voted[at_g]",
        BOUND,
    ),
    Mutant(
        "wrapper: bound counts the class itself as an error",
        FOLDER + "bound.py",
        "np.delete(table.risk(thresholds, grid, early_stop), j, axis=1).sum(1)",
        "table.risk(thresholds, grid, early_stop).sum(1)",
        BOUND,
    ),
    Mutant(
        "wrapper: bound divides by all rows above the threshold, not by those decided for the class",
        FOLDER + "bound.py",
        "len(self.own) - np.searchsorted(self.own, thresholds)",
        "len(self.vote) - np.searchsorted(self.vote, thresholds)",
        BOUND,
    ),
    Mutant(
        "wrapper: pseudo-labels weigh as much as labels each",
        FOLDER + "learning.py",
        "1 / max(1, len(labeled) - given)",
        "1 / given",
        GROUPS,
    ),
    Mutant(
        "wrapper: weights of all unlabeled rows, not of those chosen",
        FOLDER + "self_training.py",
        "codes[chosen], sure[chosen] = said[choice.chosen], score[choice.chosen]",
        "codes[chosen], sure[open_rows] = said[choice.chosen], score.mean()",
        CONFIDENCE,
    ),
    Mutant(
        "wrapper: pseudo-labels are not learned",
        FOLDER + "self_training.py",
        "codes[~labels.labeled], score[~labels.labeled] = pseudo, sure",
        "score[~labels.labeled] = sure",
        TRACE,
    ),
    Mutant(
        "wrapper: every round a row is in counts as its first",
        FOLDER + "self_training.py",
        "np.where(since[chosen] < 0, number, since[chosen])",
        "number",
        ANEW,
    ),
    Mutant(
        "wrapper: rows not chosen again keep their pseudo-labels",
        FOLDER + "self_training.py",
        "codes[gone] = since[gone] = -1",
        "pass",
        ANEW,
    ),
    Mutant(
        "wrapper: a warm forest does not grow",
        FOLDER + "learning.py",
        "        if size:\n",
        "        if False:\n",
        WARM,
    ),
    Mutant(
        "wrapper: the newest probabilities given as the first ones",
        FOLDER + "self_training.py",
        "first = votes if number == 1 else first",
        "first[open_rows] = votes",
        FIRST,
    ),
    Mutant("wrapper: held-out labels are learned", FOLDER + "self_training.py", "codes[held] = -1", "pass", HELD),
    Mutant(
        "wrapper: the last classifier kept, not the best",
        FOLDER + "self_training.py",
        "if not keeps_best or scores[-1] >= max(scores):",
        "if True:",
        BEST,
    ),
    Mutant(
        "wrapper: a choice that is refused is learned all the same",
        FOLDER + "self_training.py",
        'ended = firing(criteria, "chosen", state)',
        'ended = firing(criteria, "chosen", state) and ""',
        FLOOR,
    ),
    Mutant(
        "wrapper: proportion counts from the sure end",
        FOLDER + "policies.py",
        "1 - candidates.round * self.step",
        "candidates.round * self.step",
        PROPORTION,
    ),
    Mutant(
        "wrapper: each view teaches itself",
        FOLDER + "co_training.py",
        "taught[1 - who, mine] = said",
        "taught[who, mine] = said",
        OTHER,
    ),
    Mutant(
        "wrapper: tri-training takes too large a set whole",
        FOLDER + "tri_training.py",
        "return math.ceil(self.error * self.size / error - 1)",
        "return size",
        ADMIT,
    ),
    Mutant(
        "wrapper: tri-training takes at the same error",
        FOLDER + "tri_training.py",
        "if error >= self.error:",
        "if error > self.error:",
        ADMIT,
    ),
    Mutant(
        "wrapper: tri-training decides by the mean probability",
        FOLDER + "tri_training.py",
        "(2 * counts + self._tie_break(X, decided))",
        "(0 * counts + self._tie_break(X, decided))",
        VOTE,
    ),
]
