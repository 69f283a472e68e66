"""Faults of the portfolio: folds that see their labels, evidence, blend."""

from fault import Mutant

FORMS = "selftrain/portfolio/forms.py"
JUDGING, CHOOSING = "selftrain/portfolio/judging.py", "selftrain/portfolio/choosing.py"
MIXTURE, CANDIDATES = "selftrain/portfolio/mixture.py", "selftrain/portfolio/candidates.py"
LEAK = "test_portfolio.py::test_no_fold_sees_its_labels_and_each_sees_the_whole_pile"
UNITS = "test_portfolio.py::test_units_and_origins_of_columns_change_nothing"
RANKS = "test_portfolio.py::test_ranks_are_normal_scores_whatever_the_scale"
ENDS = "test_portfolio_learners.py::test_where_the_mixture_ends_both_equations_hold"

METRIC = "test_portfolio_learners.py::test_discriminant_soft_labels_pay_for_weights_by_the_covariance_within_classes"

PILE = "test_portfolio.py::test_the_discriminant_candidate_sees_all_of_a_pile_that_is_hardly_too_large_and_costs_that"

MUTANTS = [
    Mutant(
        "portfolio: discriminant soft labels in the transposed metric",
        "selftrain/portfolio/soft_labels.py",
        "X.T, lower=True)",
        "X.T, lower=True, trans=1)",
        METRIC,
    ),
    Mutant(
        "portfolio: discriminant soft labels of no common length",
        "selftrain/portfolio/soft_labels.py",
        "self.length_ = float(np.sqrt((self._seen(X) ** 2).sum(1).mean())) or 1.0\n        self.reg",
        "self.reg",
        METRIC,
    ),
    Mutant(
        "portfolio: more of the pile costs nothing",
        CANDIDATES,
        "(0.5 * rounds + 0.25 * em * seen / n) * (known + min(n - known, more)) / seen",
        "0.5 * rounds + 0.25 * em * seen / n",
        PILE,
    ),
    Mutant(
        "portfolio: a little of the pile is left out",
        CANDIDATES,
        "pile + pile // 4 if n - known <= pile + pile // 4 else pile",
        "pile",
        PILE,
    ),
    Mutant("portfolio: a fold sees its labels", JUDGING, "            hidden[rows] = -1\n", "", LEAK),
    Mutant(
        "portfolio: hiding a label forgets it",
        JUDGING,
        "            hidden = codes.copy()\n",
        "            hidden = codes\n",
        LEAK,
    ),
    Mutant(
        "portfolio: a class may lose its only label",
        JUDGING,
        "            if len(rows) > 1:\n",
        "            if len(rows) > 0:\n",
        "test_portfolio.py::test_a_class_with_one_label_is_never_hidden",
    ),
    Mutant(
        "portfolio: evidence is of a label, not of all",
        CHOOSING,
        "-np.log(told).mean(1).sum(1)",
        "-np.log(told).mean(1).mean(1)",
        "test_portfolio.py::test_weights_are_tempered_evidence_and_prior",
    ),
    Mutant(
        "portfolio: candidates are taken for themselves, not for the blend",
        CHOOSING,
        "(total + told) / (taken + 1)",
        "told",
        "test_portfolio.py::test_of_many_labels_the_weights_are_those_that_suit_the_blend",
    ),
    Mutant(
        "portfolio: a candidate agrees with itself",
        CHOOSING,
        "1 - np.eye(len(weights))",
        "np.ones((len(weights), len(weights)))",
        "test_portfolio.py::test_disagreement_is_with_what_the_others_decide",
    ),
    Mutant(
        "portfolio: trees read rows in units of their own",
        CANDIDATES,
        'alone("extra trees", "standard"',
        'alone("extra trees", "given"',
        UNITS,
    ),
    Mutant(
        "portfolio: wide tables keep the units of columns",
        FORMS,
        "if table else Normalizer()",
        "if False else Normalizer()",
        UNITS,
    ),
    Mutant(
        "portfolio: equal values have the highest of their ranks",
        FORMS,
        "counts.cumsum() - counts / 2",
        "counts.cumsum() - 0.5",
        RANKS,
    ),
    Mutant(
        "portfolio: ranks are read at even places",
        FORMS,
        "np.linspace(scores[0], scores[-1], KNOTS)",
        "scores[:: len(scores) // KNOTS]",
        RANKS,
    ),
    Mutant(
        "mixture: labels are forgotten",
        MIXTURE,
        "np.where(labeled[:, None], r, self.predict_proba(X))",
        "self.predict_proba(X)",
        ENDS,
    ),
    Mutant(
        "portfolio: the labels alone cost too much",
        CANDIDATES,
        '    kept = [candidate for candidate in found if candidate.family == "labels alone"]\n',
        "    kept: list[Candidate] = []\n",
        "test_portfolio.py::test_a_budget_buys_the_labels_alone_and_then_the_cheaper",
    ),
    Mutant(
        "portfolio: pixels are counted, and features read",
        "selftrain/portfolio/forms.py",
        "(rows if read is None else read(rows[:1])).shape[1:]",
        "self.shape[1:]",
        "test_estimator_automatic.py::test_beside_an_encoder_candidates_read_its_features",
    ),
    Mutant(
        "portfolio: features of the rows before",
        "selftrain/estimator/automatic.py",
        "if self._last is None or self._last[0] is not rows:",
        "if self._last is None or len(self._last[0]) >= len(rows):",
        "test_estimator_automatic.py::test_beside_an_encoder_candidates_read_its_features",
    ),
    Mutant(
        "pictures: colors are not counted",
        "selftrain/estimator/automatic.py",
        "        if x.shape[1] == 3:\n",
        "        if False:\n",
        "test_cli_automatic.py::test_pictures_in_color_are_told_by_their_colors",
    ),
    Mutant(
        "pictures: edges are not counted",
        "selftrain/estimator/automatic.py",
        "hog(x.mean(1, keepdim=True), max(4, min(x.shape[2:]) // 8)).flatten(1)",
        "x.mean(1).flatten(1)",
        "test_estimator_automatic.py::test_pictures_are_told_by_colors_and_edges_where_no_pixel_tells",
    ),
    Mutant(
        "pictures: one in floats is darker",
        "selftrain/estimator/automatic.py",
        "read.float() / 255 if read.dtype == torch.uint8 else read.float()",
        "read.float() / 255",
        "test_estimator_automatic.py::test_pictures_are_told_by_colors_and_edges_where_no_pixel_tells",
    ),
    Mutant(
        "portfolio: what is known of a method is not known of a description",
        "selftrain/portfolio/choosing.py",
        "stored.get(name.partition(ON)[0], usual)",
        "stored.get(name, usual)",
        "test_estimator_automatic.py::test_pictures_are_told_by_colors_and_edges_where_no_pixel_tells",
    ),
    Mutant(
        "portfolio: all pixels of a large picture are compared",
        "selftrain/estimator/automatic.py",
        "    if longest <= LARGEST:\n",
        "    if True:\n",
        "test_estimator_automatic.py::test_pictures_are_told_by_colors_and_edges_where_no_pixel_tells",
    ),
]
