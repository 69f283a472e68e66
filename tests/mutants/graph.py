"""Faults of graphs and of labels that spread over them."""

from fault import Mutant

NEIGHBORS, PROPAGATION = "selftrain/graph/neighbors.py", "selftrain/graph/propagation.py"
CLASSIFIER = "selftrain/graph/classifier.py"
STRATEGY = "strategies/label_propagation.py"
PAPER = "test_label_propagation.py::test_it_follows_the_papers_algorithm"
KERNEL = "test_graph_neighbors.py::test_weights_are_those_of_the_kernel"
CLOSED = "test_graph_propagation.py::test_the_solution_is_that_of_the_closed_form"
ROWS = "test_graph_propagation.py::test_rows_are_distributions_whatever_the_graph"
SHARES = "test_graph_propagation.py::test_classes_get_the_shares_that_are_expected"

MUTANTS = [
    Mutant(
        "graph: edges go one way",
        NEIGHBORS,
        "_csr((near + near.T) / 2 + hung + hung.T)",
        "_csr(near + hung + hung.T)",
        KERNEL,
    ),
    Mutant("graph: the scale is not squared", NEIGHBORS, "np.exp(-4 * ratio**2)", "np.exp(-4 * ratio)", KERNEL),
    Mutant(
        "graph: copies hide their neighbors",
        NEIGHBORS,
        "    first = _first_copies(rows)\n",
        "    first = np.arange(count)\n",
        "test_graph_neighbors.py::test_copies_hang_on_the_first_and_hide_nobody",
    ),
    Mutant(
        "graph: products far from 0",
        NEIGHBORS,
        "    around = rows - middle\n",
        "    middle = 0 * middle\n    around = rows - middle\n",
        "test_graph_neighbors.py::test_the_origin_does_not_matter",
    ),
    Mutant(
        "graph: an approximate search returns the row itself",
        NEIGHBORS,
        "np.where(found == np.arange(len(found))[:, None], -1, found)",
        "np.asarray(found)",
        "test_graph_neighbors.py::test_beyond_so_many_rows_the_search_is_approximate",
    ),
    Mutant(
        "graph: a given scale is in the unit of the rows within",
        NEIGHBORS,
        "else scale / unit)",
        "else scale)",
        "test_graph_neighbors.py::test_units_do_not_matter",
    ),
    Mutant(
        "label propagation: the density of the rows stays",
        PROPAGATION,
        "sparse.csr_matrix(thinned @ problem.weights @ thinned)",
        "problem.weights",
        CLOSED,
    ),
    Mutant(
        "laplace: unlabeled neighbors are left out of the mean",
        PROPAGATION,
        "sparse.diags(degrees[free]) - weights[free][:, free]",
        "sparse.diags(degrees[free])",
        CLOSED,
    ),
    Mutant(
        "label spreading: S is divided by the degrees of one end",
        PROPAGATION,
        "alpha * (root @ problem.weights @ root)",
        "alpha * (root @ root @ problem.weights)",
        CLOSED,
    ),
    Mutant(
        "poisson: sources do not add up to nothing",
        PROPAGATION,
        "(problem.given - mean[problem.part]) *",
        "(problem.given - 0 * mean[problem.part]) *",
        CLOSED,
    ),
    Mutant(
        "poisson: the flow is centered without degrees",
        PROPAGATION,
        "problem.per_part(problem.degrees[:, None] * values)",
        "problem.per_part(problem.degrees.mean() * values)",
        CLOSED,
    ),
    Mutant(
        "poisson: one mean for all parts of a graph",
        PROPAGATION,
        "    mean = sums / np.maximum(sums.sum(1, keepdims=True), 1.0)\n",
        "    mean = np.tile(problem.prior, (len(sums), 1))\n",
        ROWS,
    ),
    Mutant(
        "poisson with shares: the shares are those of the labels, whatever is asked",
        PROPAGATION,
        "problem.prior if shares is None else _checked_shares(shares, problem)",
        "problem.prior",
        SHARES,
    ),
    Mutant(
        "poisson with shares: diffusion without sources",
        PROPAGATION,
        "degrees * values - weights @ values - sources",
        "degrees * values - weights @ values",
        SHARES,
    ),
    Mutant(
        "propagation: the prior is left out where no label reaches",
        PROPAGATION,
        "np.where(sums > 0, sums, 1.0), self.prior)",
        "np.where(sums > 0, sums, 1.0), 1.0)",
        ROWS,
    ),
    Mutant(
        "graph: a row of fit is answered by its neighbors",
        CLASSIFIER,
        "np.where(same.any(1, keepdims=True), same, kernel(nearer, self.scale))",
        "kernel(nearer, self.scale)",
        "test_graph_classifier.py::test_a_row_of_fit_gets_its_own_distribution",
    ),
    Mutant(
        "graph: pseudo-labels take the places of labels",
        CLASSIFIER,
        "values.argmax(1)[~labels.labeled]",
        "values.argmax(1)[: (~labels.labeled).sum()]",
        "test_graph_classifier.py::test_the_distributions_are_those_of_the_function",
    ),
    Mutant(
        "label propagation: every row is as certain",
        STRATEGY,
        "self.bank.known[index] * certainty.clamp(0, 1) * self._class_weight(pseudo.target)",
        "self.bank.known[index] * self._class_weight(pseudo.target)",
        PAPER,
    ),
    Mutant(
        "label propagation: large classes drown small ones",
        STRATEGY,
        "self.class_weight.copy_(counts.sum() / (len(counts) * counts.clamp(min=1)))",
        "self.class_weight.fill_(1)",
        PAPER,
    ),
    Mutant(
        "label propagation: labeled samples weigh as pseudo-labels without a class",
        STRATEGY,
        "labeled.target.scaled(self._class_weight(labeled.target))",
        "labeled.target",
        PAPER,
    ),
    Mutant(
        "label propagation: classes are counted without the labels",
        STRATEGY,
        "decided = torch.cat([codes[: len(given)], z.argmax(1)])",
        "decided = z.argmax(1)",
        PAPER,
    ),
    Mutant(
        "label propagation: the supervised phase is left out",
        STRATEGY,
        "        if clock.epoch + 1 >= self.supervised_epochs:\n",
        "        if True:\n",
        "test_label_propagation.py::test_first_epochs_learn_labels_alone_and_look_at_nothing",
    ),
    Mutant(
        "feature memory: what came first stays",
        "selftrain/strategy/feature_memory.py",
        "self.rows[index], self.known[index] = values, True",
        "self.rows[index], self.known[index] = torch.where(self.known[index][:, None], self.rows[index], values), True",
        "test_label_propagation.py::test_a_feature_memory_grows_and_is_stored",
    ),
    Mutant(
        "feature memory: what waits is not stored",
        "selftrain/strategy/feature_memory.py",
        '        self._fetch()\n        return {"rows"',
        '        return {"rows"',
        "test_label_propagation.py::test_a_feature_memory_grows_and_is_stored",
    ),
    Mutant(
        "feature memory: what waits outlives a state that is loaded",
        "selftrain/strategy/feature_memory.py",
        'state["known"].clone(), []',
        'state["known"].clone(), self._waiting',
        "test_label_propagation.py::test_a_feature_memory_grows_and_is_stored",
    ),
    Mutant(
        "feature memory: what waits grows without end",
        "selftrain/strategy/feature_memory.py",
        "self._waiting) > 2**24:",
        "self._waiting) > 2**34:",
        "test_label_propagation.py::test_a_feature_memory_brings_much_that_waits_to_the_cpu",
    ),
    Mutant(
        "feature memory: features are made in the mode of the step",
        "selftrain/strategy/feature_memory.py",
        "    with eval_mode(network):\n",
        "    if True:\n",
        "test_label_propagation.py::test_features_are_made_in_evaluation_mode_and_leave_the_network_as_it_was",
    ),
    Mutant(
        "graph agreement: what is held out is seen",
        "selftrain/wrapper/self_training.py",
        "        learned[held] = -1  #",
        "        learned[held[:0]] = -1  #",
        "test_graph_agreement.py::test_held_out_labels_are_hidden_from_the_graph",
    ),
    Mutant(
        "graph agreement: the graph decides alone",
        "selftrain/graph/agreement.py",
        "agreed & (said.max(1) >= self.threshold)",
        "said.max(1) >= self.threshold",
        "test_graph_agreement.py::test_what_both_decide_alike_is_chosen",
    ),
    Mutant(
        "propagation: a solution that was not found is one",
        PROPAGATION,
        "        stuck |= missed > 0\n",
        "        stuck |= missed < 0\n",
        "test_graph_propagation.py::test_weights_too_far_apart_are_told_and_the_remedy_works",
    ),
]
