"""Faults of the figures about features, of probes and their report, and of layer-wise learning rates."""

from fault import Mutant

PROBES, BUILD = "selftrain/metrics/features.py", "selftrain/networks/optim.py"
LINEAR, FEW = "selftrain/evaluation/probing/linear.py", "selftrain/evaluation/probing/few.py"
ENCODING, COMPARE = "selftrain/evaluation/probing/encoding.py", "selftrain/evaluation/probing/judging.py"
RIVALS = "selftrain/evaluation/probing/rivals.py"
LIDAR = "test_probes.py::test_lidar_follows_the_formula"
CHOICE = "test_probing.py::test_c_is_chosen_on_the_validation_samples"
DRAWS = "test_probing.py::test_draws_are_a_function_of_labels_and_seed"
NESTED = "test_probing.py::test_more_draws_and_more_labels_keep_what_was_drawn"
POOL = "test_probing.py::test_the_pool_standardizes_whether_it_has_labels_or_not"
REST = "test_probing.py::test_features_are_those_of_a_resting_encoder_which_is_left_as_it_was"
CALIBRATED = "test_probing.py::test_calibrated_statistics_are_those_of_the_batches"
ENCODER = "test_probing_report.py::test_figures_of_the_encoder_are_those_of_its_features"
UNTRAINED = "test_probing_report.py::test_the_untrained_encoder_is_drawn_from_the_seed_and_calibrated"
LAYERS = "test_layer_decay.py::test_each_layer_learns_more_slowly_than_the_one_above"

CONTROL = "test_probing_report.py::test_the_control_follows_the_plain_formula"

MUTANTS = [
    # -- without labels
    Mutant(
        "rankme: both spectra are one",
        PROBES,
        'values.square() if spectrum == "covariance" else values',
        "values",
        "test_probes.py::test_rankme_of_the_covariance_is_that_of_its_eigenvalues",
    ),
    Mutant("lidar: centers not centered", PROBES, "middle - middle.mean(0), (e", "middle, (e", LIDAR),
    Mutant("lidar: within divided by all views", PROBES, "/ (n * (q - 1)) +", "/ (n * q) +", LIDAR),
    Mutant("lidar: not whitened", PROBES, "upper=False)).clamp(min=0)", "upper=False).T @ half).clamp(min=0)", LIDAR),
    Mutant(
        "lidar: ratio upside down",
        PROBES,
        "between.trace() / within.trace()",
        "within.trace() / between.trace()",
        LIDAR,
    ),
    Mutant(
        "uniformity: distance not squared",
        PROBES,
        "F.normalize(features.double(), dim=1)).square()",
        "F.normalize(features.double(), dim=1))",
        "test_probes.py::test_uniformity_is_the_log_of_the_mean_potential_of_pairs",
    ),
    # -- linear probes
    Mutant(
        "ridge: penalty not by sample",
        LINEAR,
        "alpha=penalty * len(x)",
        "alpha=penalty",
        "test_probing.py::test_ridge_minimizes_what_it_says",
    ),
    Mutant(
        "ridge: no intercept",
        LINEAR,
        "alpha=penalty * len(x)",
        "alpha=penalty * len(x), fit_intercept=False",
        "test_probing.py::test_ridge_knows_how_frequent_classes_are",
    ),
    Mutant(
        "probes: queries standardized by themselves",
        LINEAR,
        "logistic(scale(x), y, scale(asked), best)",
        "logistic(scale(x), y, Scale(asked)(asked), best)",
        "test_probing.py::test_standardization_is_learned_from_the_reference",
    ),
    Mutant(
        "probes: constant columns divided by nothing",
        "selftrain/metrics/features.py",
        "torch.where(varies, spread, 1.0)",
        "(spread + 1e-30)",
        "test_probing.py::test_constant_columns_say_nothing",
    ),
    Mutant(
        "probes: C chosen on the test samples",
        LINEAR,
        "scale(held), c), held_labels)",
        "scale(asked), c), truth)",
        CHOICE,
    ),
    Mutant(
        "probes: the largest of equally good C",
        LINEAR,
        "best = max(choices, key",
        "best = max(choices[::-1], key",
        "test_probing.py::test_of_equally_good_values_the_smallest_is_taken",
    ),
    # -- few labels
    Mutant(
        "few labels: every draw alike",
        FEW,
        "step_key(seed, draw))",
        "step_key(seed, 0))",
        DRAWS,
    ),
    Mutant(
        "few labels: drawn by the caller's random state",
        FEW,
        "    generator = torch.Generator().manual_seed(key)\n",
        "    generator = torch.default_generator\n",
        DRAWS,
    ),
    Mutant("few labels: unlabeled rows are a class", FEW, "np.unique(y[y >= 0])}", "np.unique(y)}", DRAWS),
    Mutant(
        "few labels: standardized by labeled rows",
        FEW,
        "    scale = Scale(x)\n",
        "    scale = Scale(x[y >= 0])\n",
        POOL,
    ),
    Mutant(
        "few labels: the number of draws changes them",
        FEW,
        "step_key(seed, draw))",
        "step_key(seed, draws - draw))",
        NESTED,
    ),
    Mutant(
        "episodes: lengths count",
        FEW,
        "np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)",
        "1.0",
        "test_probing.py::test_episodes_see_directions_only",
    ),
    Mutant(
        "episodes: queries among the shots",
        FEW,
        "x[drawn[:, shots:]]",
        "x[drawn[:, :queries]]",
        "test_probing.py::test_episodes_of_far_classes_are_easy_and_of_noise_at_chance",
    ),
    Mutant(
        "episodes: length of the mean ignored",
        FEW,
        " - (means**2).sum(1) / 2)",
        ")",
        "test_probing.py::test_centroids_are_the_nearest_means_of_the_shots",
    ),
    # -- encoders
    Mutant("features in training mode", "selftrain/networks/modes.py", "    module.eval()\n", "", REST),
    Mutant(
        "one mode for all modules",
        "selftrain/networks/modes.py",
        "part.training = mode",
        "part.training = modes[0][1]",
        REST,
    ),
    Mutant(
        "calibration adds to old statistics",
        ENCODING,
        "            norm.reset_running_stats()\n",
        "",
        "test_probing.py::test_calibration_forgets_what_was_gathered_before",
    ),
    Mutant(
        "calibration keeps its momentum",
        ENCODING,
        "                norm.momentum = momentum\n",
        "                pass\n",
        CALIBRATED,
    ),
    Mutant(
        "calibration with dropout",
        ENCODING,
        "            norm.train()\n",
        "            encoder.train()\n",
        "test_probing.py::test_dropout_rests_while_statistics_are_gathered",
    ),
    # -- the report
    Mutant(
        "report: untrained encoder not calibrated",
        COMPARE,
        "calibrate(fresh().to(self.device), last if len(self.sets) > 2 else labeled)",
        "fresh().to(self.device)",
        UNTRAINED,
    ),
    Mutant("report: untrained encoder without a seed", COMPARE, "seed_step(seed, self.device)", "pass", UNTRAINED),
    Mutant("report: rank of judged samples", COMPARE, "*(free or [asked])", "asked", ENCODER),
    Mutant(
        "report: neighbors among unlabeled ones",
        COMPARE,
        "pool[: len(samples.known)], samples.known, asked",
        "pool[-len(samples.known) :], samples.known, asked",
        ENCODER,
    ),
    Mutant(
        "report: smallest components",
        RIVALS,
        "[1][:, ::-1]",
        "[1]",
        "test_probing_report.py::test_principal_components_are_those_of_scikit_learn",
    ),
    Mutant(
        "report: components whitened",
        RIVALS,
        "self.scale(features) @ self.directions",
        "self.scale(features) @ self.directions / (self.scale(features) @ self.directions).std(0)",
        "test_probing_report.py::test_principal_components_are_those_of_scikit_learn",
    ),
    # -- the control
    Mutant(
        "control: judged on what it has learned",
        "selftrain/evaluation/probing/scratch.py",
        "return strategy.evaluate(asked)[strategy.monitor]",
        "return strategy.evaluate(known)[strategy.monitor]",
        CONTROL,
    ),
    Mutant(
        "control: its rate is not paced",
        "selftrain/evaluation/probing/scratch.py",
        "            strategy.student.set_lr(clock.progress)\n",
        "",
        CONTROL,
    ),
    Mutant(
        "control: every report is without one",
        "selftrain/evaluation/probing/judging.py",
        "steps = scratch_steps if supervised is None else None",
        "steps = None",
        "test_probing_report.py::test_the_control_is_trained_and_has_a_row_of_its_own",
    ),
    # -- layer decay
    Mutant("layer decay: counted from the input", BUILD, "{p: len(layers) - i for", "{p: i + 1 for", LAYERS),
    Mutant(
        "layer decay: uppermost layer like the head",
        BUILD,
        "{p: len(layers) - i for",
        "{p: len(layers) - i - 1 for",
        LAYERS,
    ),
    Mutant(
        "layer decay: instead of the encoder's rate",
        BUILD,
        "(plan.encoder_lr * (plan.layer_decay or 1.0) ** depth if",
        "((plan.layer_decay or plan.encoder_lr) ** depth if",
        LAYERS,
    ),
    Mutant(
        "layer decay: weights in no layer like the head",
        BUILD,
        "depths.get(parameter, layers) if",
        "depths.get(parameter, 0) if",
        LAYERS,
    ),
]
