"""Faults in what is told of pseudo-labels: ledger files, reviews, calibration and estimates."""

from __future__ import annotations

from fault import Mutant

LEDGER = "test_ledger.py"
REVIEW = "test_review.py"
PILE = "test_data_pile.py"
TEMPERATURE = "test_calibration.py::test_the_temperature_has_the_highest_likelihood"
THRESHOLD = "test_calibration.py::test_the_smallest_threshold_that_passes"
CROSSED = "test_calibration.py::test_no_label_is_scaled_by_a_temperature_that_it_helped_to_fit"
EXACT = "test_quality.py::test_one_confidence_gives_the_exact_interval"

MUTANTS = [
    # -- the ledger and its files
    Mutant(
        "agreement of a ledger not stored",
        "selftrain/labels/ledger.py",
        'self.register_buffer("agreement", torch.full((n,), -1.0))',
        "self.agreement = torch.full((n,), -1.0)",
        f"{LEDGER}::test_the_book_is_in_the_checkpoint_and_truth_is_not",
    ),
    Mutant(
        "the confidence of a class is that of all pixels",
        "selftrain/tasks/base.py",
        "return torch.stack([sums[0] / label.shape[2], sure / many, taken / many], -1)",
        "return torch.stack([sums[0] / label.shape[2], sure / label.shape[2], taken / many], -1)",
        f"{LEDGER}::test_a_mask_is_summed_up_by_class",
    ),
    Mutant(
        "what is exported of joints is a softmax over the joints",
        "selftrain/estimator/shipped.py",
        "self.task.probs(logits_of(network(x))[:, :classes])",
        "logits_of(network(x))[:, :classes].softmax(1)",
        "test_exporting.py::test_masks_and_joints_are_exported_as_the_run_says_them",
    ),
    Mutant(
        "windows are added and not averaged",
        "selftrain/evaluation/dense.py",
        "return total / many",
        "return total / many.amax()",
        "test_dense_figures.py::test_windows_overlap_and_are_averaged",
    ),
    Mutant(
        "OKS takes sigma for twice sigma",
        "selftrain/metrics/joints.py",
        "(2 * sigmas.double()).square()",
        "sigmas.double().square()",
        "test_dense_figures.py::test_oks_and_its_average_precision_written_out",
    ),
    Mutant(
        "a mask is accepted where it is doubtful, too",
        "data/base/maps.py",
        'np.where(sure < 255 * told["above"], np.uint8(VOID), mask)',
        "mask",
        "test_maps.py::test_a_review_of_masks_and_joints_goes_back_into_the_pile",
    ),
    Mutant(
        "pixels that are not accepted are no void in a mask",
        "selftrain/labels/maps.py",
        "label = task.label(value).where(weight > 0, VOID)",
        "label = task.label(value)",
        "test_maps.py::test_masks_and_joints_are_those_that_the_run_predicts",
    ),
    Mutant(
        "precision of a class counts unknown truth",
        "selftrain/labels/ledger.py",
        "known = self.accepted & (self.truth >= 0)",
        "known = self.accepted",
        f"{LEDGER}::test_each_class_has_a_row",
    ),
    Mutant(
        "trust: apostrophe taken from names that had it",
        "selftrain/storage/tables.py",
        """return f"'{text}" if text.lstrip("'")[:1] in _FORMULA else text""",
        """return f"'{text}" if text[:1] in _FORMULA else text""",
        f"{LEDGER}::test_any_content_comes_back_equal",
    ),
    Mutant(
        "ledger file with rounded numbers",
        "selftrain/storage/tables.py",
        "texts: list[str] = column.astype(str).tolist()",
        'texts: list[str] = [f"{v:.6f}" if column.dtype.kind == "f" else str(v) for v in column]',
        f"{LEDGER}::test_a_csv_comes_back_equal",
    ),
    Mutant(
        "semicolons of spreadsheets not understood",
        "selftrain/storage/tables.py",
        'else max(",;\\t|", key=head.count)',
        'else ","',
        f"{LEDGER}::test_files_as_other_tools_save_them",
    ),
    Mutant(
        "numbers of a ledger file not checked",
        "selftrain/storage/tables.py",
        "        wrong = ~((values >= low) & (values <= high))\n",
        "        wrong = values != values\n",
        f"{LEDGER}::test_a_bad_cell_is_named",
    ),
    # -- reviews
    Mutant(
        "number of a class before its name",
        "selftrain/labels/review.py",
        "    if text in classes:\n        return classes.index(text)\n",
        "",
        f"{REVIEW}::test_names_come_before_numbers",
    ),
    Mutant(
        "rejection with a correction let through",
        "selftrain/labels/review.py",
        "        if correction:\n            raise",
        "        if False:\n            raise",
        f"{REVIEW}::test_a_bad_cell_is_named",
    ),
    Mutant(
        "id twice let through when the second row is decided",
        "selftrain/labels/review.py",
        "(before or decision is not None)",
        "before",
        f"{REVIEW}::test_an_id_that_occurs_twice_is_refused",
    ),
    Mutant(
        "rejected samples stay in the unlabeled set",
        "data/pile.py",
        "stays = np.setdiff1d(np.arange(len(self.unlabeled)), rows)",
        "stays = np.setdiff1d(np.arange(len(self.unlabeled)), rows[labels >= 0])",
        f"{REVIEW}::test_every_strategy_keeps_to_the_review",
    ),
    Mutant(
        "confirmed samples stay in the unlabeled set",
        "data/pile.py",
        "stays = np.setdiff1d(np.arange(len(self.unlabeled)), rows)",
        "stays = np.setdiff1d(np.arange(len(self.unlabeled)), rows[labels < 0])",
        f"{REVIEW}::test_every_strategy_keeps_to_the_review",
    ),
    Mutant(
        "truth not cut with the reviewed rows",
        "data/pile.py",
        "some_rows(self._truth, stays)",
        "self._truth[: len(stays)]",
        f"{PILE}::test_a_review_moves_rows_and_leaves_the_old_pile",
    ),
    Mutant(
        "reviewed sample labeled twice",
        "data/base/joined.py",
        "stays = ~np.isin(labeled.rows, added.rows)",
        "stays = np.ones(len(labeled.rows), dtype=bool)",
        f"{PILE}::test_a_sample_that_is_labeled_and_unlabeled_is_not_labeled_twice",
    ),
    Mutant(
        "joined rows in the order of their sets",
        "data/base/joined.py",
        "return torch.cat(parts)[torch.from_numpy(places)]",
        "return torch.cat(parts)",
        f"{PILE}::test_sets_of_their_own_are_joined",
    ),
    # -- calibration and estimates
    Mutant(
        "temperature upside down",
        "selftrain/evaluation/calibration.py",
        "return math.exp(-found.x) if",
        "return math.exp(found.x) if",
        TEMPERATURE,
    ),
    Mutant(
        "void pixels calibrated",
        "selftrain/evaluation/calibration.py",
        "torch.nonzero(valid.flatten()).squeeze(1)",
        "torch.arange(valid.numel())",
        "test_calibration.py::test_pixels_are_units_and_void_is_left_out",
    ),
    Mutant(
        "threshold by the share itself, without its bound",
        "selftrain/evaluation/calibration.py",
        "passes = upper_tail(hits[block], counts[block], precision) <= 1 - level",
        "passes = hits[block] > 0",
        THRESHOLD,
    ),
    Mutant(
        "threshold: labels asked for of shares below the precision too",
        "selftrain/evaluation/calibration.py",
        "labels = np.maximum(least, spread[above] / (share[above] - precision) ** 2) / counts[above]",
        "above = np.arange(len(share))\n    labels = np.maximum(least, spread / (share - precision) ** 2) / counts",
        "test_calibration.py::test_a_most_confident_decision_that_is_wrong_is_no_reason_to_count_for_ever",
    ),
    Mutant(
        "equal confidences torn apart by a threshold",
        "selftrain/evaluation/calibration.py",
        "last = np.append(np.flatnonzero(np.diff(sure[order])), len(sure) - 1)",
        "last = np.arange(len(sure))",
        THRESHOLD,
    ),
    Mutant(
        "trust: interval without the wrong row more",
        "selftrain/evaluation/accuracy_estimate.py",
        "reading.values(*sums, extra[0], none)",
        "reading.values(*sums, none, none)",
        EXACT,
    ),
    Mutant(
        "estimate from one reading",
        "selftrain/evaluation/accuracy_estimate.py",
        "for reading in readings) / len(readings)",
        "for reading in readings[1:])",
        "test_quality.py::test_the_value_is_the_mean_of_both_readings",
    ),
    Mutant(
        "interval blind to how few decisions are judged",
        "selftrain/evaluation/accuracy_estimate.py",
        "low = random.binomial(judged, reading.values(*sums, extra[0], none)) / judged",
        "low = reading.values(*sums, extra[0], none)",
        "test_quality.py::test_few_decisions_are_judged_less_surely_than_many",
    ),
    Mutant(
        "flip rate counts first looks",
        "selftrain/evaluation/quality.py",
        "again = (ledger.seen - 1).clamp(min=0).sum()",
        "again = ledger.seen.sum()",
        "test_quality.py::test_flips_agreement_and_classes_by_hand",
    ),
    Mutant(
        "agreement of what was not accepted",
        "selftrain/evaluation/quality.py",
        "said = ledger.accepted & (ledger.agreement >= 0)",
        "said = ledger.agreement >= 0",
        "test_quality.py::test_flips_agreement_and_classes_by_hand",
    ),
    Mutant(
        "temperature judged on the labels it was fitted to",
        "selftrain/evaluation/calibration.py",
        "fit_temperature(value[~here], target_class[~here])",
        "fit_temperature(value, target_class)",
        CROSSED,
    ),
    Mutant(
        "folds blind to the classes",
        "selftrain/evaluation/calibration.py",
        "there[torch.argsort(kinds[there], stable=True)]",
        "there",
        CROSSED,
    ),
    Mutant(
        "pixels of one image in several folds",
        "selftrain/evaluation/calibration.py",
        "folds.repeat_interleave(sizes)",
        "torch.arange(int(sizes.sum())) % _FOLDS",
        "test_calibration.py::test_masks_are_left_out_whole",
    ),
    Mutant(
        "pseudo-labels judged without the temperature",
        "selftrain/evaluation/quality.py",
        "_pile_calibration(strategy, pile, calibration.temperature, seed)",
        "_pile_calibration(strategy, pile, 1.0, seed)",
        "test_quality.py::test_the_calibration_of_pseudo_labels_is_that_of_the_pile",
    ),
    # -- agreement of looks
    Mutant(
        "weak views with the same draws",
        "selftrain/evaluation/agreement.py",
        'LOOKS = ("weak", "weak2", "weak3")',
        'LOOKS = ("weak", "weak", "weak")',
        "test_agreement.py::test_views_and_choice_depend_on_the_seed_alone",
    ),
    Mutant(
        "looks compared where they lie",
        "selftrain/evaluation/agreement.py",
        "unmoved(strategy.task, strategy.predict(view.x), view)",
        "unmoved(strategy.task, strategy.predict(view.x), type(view)(view.x))",
        "test_agreement.py::test_pixels_are_compared_where_they_are_in_the_image",
    ),
    Mutant(
        "what one look shows compared with what others do not",
        "selftrain/evaluation/agreement.py",
        "for look in looks]).amin(0) > 0",
        "for look in looks]).amax(0) > 0",
        "test_agreement.py::test_pixels_are_compared_where_they_are_in_the_image",
    ),
    Mutant(
        "rows that fill up the last batch looked at twice",
        "selftrain/evaluation/agreement.py",
        "batch.unlabeled.index[:left]",
        "batch.unlabeled.index",
        "test_agreement.py::test_each_row_is_looked_at_once",
    ),
    Mutant(
        "looks that show nothing move the consensus",
        "selftrain/evaluation/agreement.py",
        "torch.where(spread > 0, values, mean)",
        "values",
        "test_agreement.py::test_joints_that_a_look_does_not_show_have_no_place",
    ),
    Mutant(
        "MixMatch: looks that show nothing are asked",
        "strategies/mixmatch.py",
        "siding(self.task, value, shown)",
        "siding(self.task, value, torch.ones_like(shown))",
        "test_methods_consistency.py::test_looks_are_compared_on_the_plain_image_and_where_they_show_it",
    ),
]
