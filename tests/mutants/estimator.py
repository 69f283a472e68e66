"""Faults of the scikit-learn estimators: labels, provenance, what is shipped, folds."""

from fault import Mutant

BASE, MAIN = (f"selftrain/estimator/{name}.py" for name in ("base", "classifier"))
SHIPPED, INPUTS = (f"selftrain/estimator/{name}.py" for name in ("shipped", "inputs"))
BLENDED = "selftrain/estimator/strategy.py"
FOLDS, NETWORKS = "selftrain/estimator/folds.py", "selftrain/networks/by_name.py"
PROVENANCE = "test_estimator.py::test_provenance_is_that_of_the_ledger"
SEED = "test_estimator.py::test_one_seed_one_result_and_the_callers_state_stays"
COMPANY = "test_estimator.py::test_a_row_is_answered_alike_in_any_company"

MUTANTS = [
    Mutant(
        "rows of more axes flattened into the columns of fit",
        BASE,
        "(len(given) > 1 or len(shape) > 2)",
        "len(given) > 9",
        "test_other_rows.py::test_rows_of_another_shape_are_refused_with_both_shapes",
    ),
    Mutant(
        "pictures in bytes and in floats are two scales to a portfolio",
        "selftrain/estimator/automatic.py",
        "if (read.dtype == torch.uint8) != white:",
        "if False:",
        "test_other_rows.py::test_one_picture_in_bytes_and_in_floats_is_one_picture",
    ),
    Mutant(
        "export of networks that answer by the batch",
        "selftrain/exporting/write.py",
        "        if odd:\n",
        "        if False:\n",
        "test_exporting.py::test_answers_that_are_none_of_a_sample_are_told_and_not_written",
    ),
    Mutant(
        "unlabeled rows of a tested group learned from",
        "selftrain/estimator/folds.py",
        "seen = pile[~np.isin(of[pile], of[known[test]])]",
        "seen = pile",
        "test_estimator_search.py::test_no_group_is_trained_on_and_tested",
    ),
    Mutant(
        "estimator: only the width of gray images is extended",
        INPUTS,
        '"image": 2, "series": 1,',
        '"image": 1, "series": 1,',
        "test_estimator_forms.py::test_images_of_every_height_and_width",
    ),
    Mutant(
        "estimator: columns of another frame are not looked at",
        BASE,
        "validated(self, X, reset=False, skip_check_array=True)",
        "pass",
        "test_estimator_frames.py::test_other_frames_are_read_right_or_refused_by_name",
    ),
    Mutant(
        "estimator: an encoder that was fitted reads names by other codes",
        MAIN,
        "self.inputs_, self.encoding_ = theirs, given.encoding_",
        "self.inputs_ = theirs",
        "test_estimator_frames.py::test_an_encoder_that_was_fitted_has_its_own_codes",
    ),
    Mutant(
        "estimator: a portfolio reads codes of names as numbers",
        "selftrain/portfolio/forms.py",
        "return np.concatenate([rows[:, kept], *parts], 1) if wide else rows",
        "return rows",
        "test_estimator_frames.py::test_codes_are_columns_of_their_own_in_a_portfolio",
    ),
    Mutant("estimator: steps counted from 0", MAIN, "first + 1, -1)", "first, -1)", PROVENANCE),
    Mutant(
        "estimator: every pseudo-label passes for learned",
        MAIN,
        "np.where(run.ledger.accepted.cpu().numpy(), label, -1)",
        "label",
        PROVENANCE,
    ),
    Mutant(
        "estimator: held-out labels are learned from",
        MAIN,
        "np.setdiff1d(np.flatnonzero(labels.codes >= 0), self.validation_)",
        "np.flatnonzero(labels.codes >= 0)",
        "test_estimator.py::test_rows_held_out_are_not_learned_from",
    ),
    Mutant(
        "estimator: the last weights although held-out labels chose",
        MAIN,
        "take_state(strategy, run.best_state)",
        "pass",
        "test_estimator.py::test_the_weights_that_are_best_on_held_out_rows_are_kept",
    ),
    Mutant(
        "estimator: score counts unlabeled rows",
        MAIN,
        "given, known = known_rows(y, self.unlabeled)",
        "given, known = np.asarray(y), np.ones(len(y), dtype=bool)",
        "test_estimator.py::test_score_passes_over_unlabeled_rows",
    ),
    Mutant(
        "estimator: members are copies",
        MAIN,
        "(seed + _APART * member)",
        "(seed + 0 * member)",
        "test_estimator.py::test_members_vote_with_their_means",
    ),
    Mutant("estimator: students start where the caller's draws are", BASE, "torch.manual_seed(seed)", "pass", SEED),
    Mutant(
        "estimator: the caller's random state moves", BASE, "with own_randomness(self._device()):", "if True:", SEED
    ),
    Mutant("estimator: single precision", SHIPPED, "network.double()(example.double())", "pass", COMPANY),
    Mutant(
        "estimator: dropout at work",
        SHIPPED,
        "network.eval().requires_grad_",
        "network.train().requires_grad_",
        COMPANY,
    ),
    Mutant(
        "estimator: one member of an ensemble is shipped",
        SHIPPED,
        "[m.model for m in strategy.learners()]",
        "[m.model for m in strategy.learners()][:1]",
        "test_estimator.py::test_an_ensemble_is_shipped_whole",
    ),
    Mutant(
        "estimator: later images set their own range",
        INPUTS,
        'form = {"channels": self.channels, "limits": self.limits}',
        'form = {"channels": self.channels, "limits": self.limits and (float(x.min()), float(x.max()))}',
        "test_estimator_inputs.py::test_float_images_are_brought_to_the_range_of_those_that_were_fitted",
    ),
    Mutant(
        "estimator: the template is trained",
        NETWORKS,
        "built = copy_network(network) if isinstance(network, nn.Module) else _called(network, shape, outputs)",
        "built = network if isinstance(network, nn.Module) else _called(network, shape, outputs)",
        "test_estimator.py::test_a_module_is_copied",
    ),
    Mutant(
        "estimator: decays of the papers",
        "selftrain/catalog/methods.py",
        "min(default, max(0.0, 1 - (5 if default > 0.999 else 10) / steps))",
        "default",
        "test_estimator.py::test_averages_are_shortened_to_the_stage",
    ),
    Mutant(
        "estimator: folds train without the pile",
        FOLDS,
        "np.sort(np.concatenate([known[train], pile]))",
        "known[train]",
        "test_estimator_search.py::test_folds_test_labels_and_train_with_all_unlabeled_rows",
    ),
    Mutant(
        "estimator: pretrained weights are left out",
        MAIN,
        "init_from=None if encoder is None else encoder.weights()",
        "init_from=None",
        "test_estimator_encoder.py::test_students_start_from_the_pretrained_weights",
    ),
    Mutant(
        "auto on the command line: codes of categories are numbers",
        BLENDED,
        "return widened(x.cpu().float().numpy(), self.categories)",
        "return widened(x.cpu().float().numpy(), [])",
        "test_cli_automatic.py::test_the_run_is_the_portfolio_of_its_rows",
    ),
    Mutant(
        "auto on the command line: rows of the pile are in the order of the batch",
        BLENDED,
        "order = batch.unlabeled.index.argsort()",
        "order = torch.arange(len(batch.unlabeled.index))",
        "test_cli_automatic.py::test_the_run_is_the_portfolio_of_its_rows",
    ),
    Mutant(
        "auto on the command line: members that are others now answer all the same",
        BLENDED,
        "if not off <= _NEAR:",
        "if False:",
        "test_cli_automatic.py::test_a_state_that_does_not_fit_is_refused",
    ),
    Mutant(
        "auto on the command line: a network is trained anew and shorter",
        "selftrain/estimator/automatic.py",
        "load_into(self.model.network_, tensors)",
        "pass",
        "test_cli_automatic.py::test_a_network_in_the_blend_has_its_weights_from_the_file",
    ),
    Mutant(
        "auto on the command line: pictures are centered",
        "selftrain/front/automatic.py",
        '(("mean", 0.0), ("std", 1.0))',
        '(("mean", 0.3), ("std", 1.0))',
        "test_cli_automatic.py::test_black_is_black_where_rows_are_compared_by_their_direction",
    ),
    Mutant(
        "auto on the command line: a start is passed over",
        "selftrain/cli/automatic.py",
        'if settings["init_from"] is not None:',
        "if False:",
        "test_cli_automatic.py::test_a_comparison_has_it_beside_labels_alone_and_on_features_of_each_start",
    ),
    Mutant(
        "auto on the command line: the review page does not say what was tried",
        "selftrain/labels/page/write.py",
        'getattr(strategy, "candidates", ())',
        "()",
        "test_cli_automatic.py::test_every_command_opens_it",
    ),
    Mutant(
        "auto on the command line: a record may ask for any number of columns",
        BLENDED,
        "and len(rows) * (rows[0].numel() + sum(codes for _, codes in self.categories)) <= MOST",
        "",
        "test_cli_automatic.py::test_a_record_may_not_ask_for_more_than_memory",
    ),
]
