"""Faults of graphs and of labels that spread over them."""

from fault import Mutant

NEIGHBORS, PROPAGATION = "selftrain/graph/neighbors.py", "selftrain/graph/propagation.py"
CLASSIFIER = "selftrain/graph/classifier.py"
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
]
