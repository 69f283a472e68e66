"""Faults of the regularizers, the losses of views and the fixed feature maps."""

from __future__ import annotations

from fault import Mutant

TERMS, LOSSES = "selftrain/pretrain/regularizers.py", "selftrain/pretrain/losses.py"
MAPS = "selftrain/pretrain/operators.py"

SIGREG = "test_pretrain_regularizers.py::test_sigreg_is_the_mean_statistic_of_the_projections"
DIRECTIONS = "test_pretrain_regularizers.py::test_directions_are_fresh_unit_vectors_of_the_cpus_random_numbers"
UNIFORMITY = "test_pretrain_regularizers.py::test_uniformity_is_that_of_plain_loops"
LOOPS = "test_pretrain_regularizers.py::test_variance_and_covariance_are_those_of_plain_loops"
INFONCE = "test_pretrain_view_losses.py::test_infonce_is_that_of_plain_loops_over_all_ordered_pairs"
HOG = "test_pretrain_operators.py::test_histograms_are_those_of_loops_over_pixels"
RATIO = "test_pretrain_operators.py::test_ratios_are_those_of_loops_over_pixels"

MUTANTS = [
    # -- terms
    Mutant(
        "sigreg weighs all frequencies alike",
        TERMS,
        "torch.trapezoid(error * kernel,",
        "torch.trapezoid(error,",
        SIGREG,
    ),
    Mutant("sigreg counts half of the integral", TERMS, "return 2 * count *", "return count *", SIGREG),
    Mutant("sigreg forgets the sine", TERMS, " + sin_mean.square()", "", SIGREG),
    Mutant(
        "sigreg multiplies by the rows of one process",
        TERMS,
        "def epps_pulley(cos_mean: Tensor, sin_mean: Tensor, count: int, limit: float = 3.0) -> Tensor:\n",
        "def epps_pulley(cos_mean: Tensor, sin_mean: Tensor, count: int, limit: float = 3.0) -> Tensor:\n"
        "    count = count // 2\n",
        "test_pretrain_regularizers.py::test_the_expectation_under_the_gaussian_is_a_constant",
    ),
    Mutant(
        "sigreg's directions are no unit vectors",
        TERMS,
        "return unit(torch.randn(self.slices, width, generator=generator)).T",
        "return torch.randn(self.slices, width, generator=generator).T",
        DIRECTIONS,
    ),
    Mutant(
        "sigreg looks along the same directions for ever",
        TERMS,
        "torch.randn(self.slices, width, generator=generator)",
        "torch.randn(self.slices, width, generator=generator or torch.Generator().manual_seed(0))",
        DIRECTIONS,
    ),
    Mutant("variance punishes a wide spread", TERMS, "(target - spread).relu()", "(target - spread).abs()", LOOPS),
    Mutant("covariance counts the variances", TERMS, "covariance.masked_fill(own, 0)", "covariance", LOOPS),
    Mutant(
        "uniformity counts the other view", TERMS, ".repeat(views, views)", ".kron(torch.eye(views).bool())", UNIFORMITY
    ),
    Mutant(
        "zero vectors have a huge gradient",
        TERMS,
        "z / length.masked_fill(length < _SHORT, math.inf)",
        "z / length.clamp(min=_SHORT)",
        "test_pretrain_regularizers.py::test_short_vectors_have_no_direction_and_no_gradient",
    ),
    # -- losses
    Mutant("infonce counts itself", LOSSES, "others.logsumexp(1)", "logits.logsumexp(1)", INFONCE),
    Mutant("infonce compares raw embeddings", LOSSES, "rows = unit(precise(z))", "rows = precise(z)", INFONCE),
    Mutant(
        "infonce takes a neighbor for the other view",
        LOSSES,
        "logits.diagonal(len(rows) // 2)",
        "logits.diagonal(1)",
        INFONCE,
    ),
    Mutant(
        "vicreg halves the variance",
        LOSSES,
        "2 * variance_term(z), 2 * covariance_term(z)",
        "variance_term(z), 2 * covariance_term(z)",
        "test_pretrain_view_losses.py::test_vicreg_is_that_of_plain_loops_over_all_ordered_pairs",
    ),
    Mutant(
        "lejepa stops the center",
        LOSSES,
        "z[: self.global_views].mean(0)",
        "z[: self.global_views].mean(0).detach()",
        "test_pretrain_view_losses.py::test_lejepa_has_a_gradient_through_the_center",
    ),
    Mutant(
        "lejepa's center is the mean of all views",
        LOSSES,
        "z[: self.global_views].mean(0)",
        "z.mean(0)",
        "test_pretrain_view_losses.py::test_lejepa_pulls_all_views_to_the_center_of_the_global_ones",
    ),
    Mutant(
        "lejepa pools the views for sigreg",
        LOSSES,
        "self.sigreg(z)",
        "self.sigreg(z.flatten(0, 1))",
        "test_pretrain_view_losses.py::test_lejepa_averages_sigreg_over_views_and_mixes_by_the_weight",
    ),
    Mutant(
        "unisiam does not stop the embeddings",
        LOSSES,
        "unit(precise(z.detach()))",
        "unit(precise(z))",
        "test_pretrain_view_losses.py::test_unisiam_stops_embeddings_in_the_cosine_only",
    ),
    Mutant(
        "unisiam predicts a view from itself",
        LOSSES,
        "(predicted[a] * target[b])",
        "(predicted[a] * target[a])",
        "test_pretrain_view_losses.py::test_unisiam_is_that_of_plain_loops_over_all_ordered_pairs",
    ),
    # -- feature maps
    Mutant(
        "directions are signed", MAPS, ".remainder(math.pi) / math.pi", ".remainder(2 * math.pi) / (2 * math.pi)", HOG
    ),
    Mutant("the last bin has no neighbor", MAPS, "away = torch.minimum(away, bins - away)", "pass", HOG),
    Mutant("every pixel has one vote", MAPS, "torch.hypot(across, down)[:, :, None] * (1", "1.0 * (1", HOG),
    Mutant(
        "rounding errors become edges",
        MAPS,
        ", eps=_FLAT)",
        ")",
        "test_pretrain_operators.py::test_flat_cells_stay_zero_and_rounding_errors_short",
    ),
    Mutant(
        "ratios are differences",
        MAPS,
        "(padded, (whole, half), 1) + offset).log()",
        "(padded, (whole, half), 1) + offset)",
        RATIO,
    ),
    Mutant("half windows leave the middle out", MAPS, "half, whole = radius + 1,", "half, whole = radius,", RATIO),
    Mutant("every image is shifted", MAPS, ".clamp(max=0)", "", RATIO),
    Mutant(
        "all channels are shifted alike",
        MAPS,
        "x.amin((2, 3), keepdim=True)",
        "x.amin((1, 2, 3), keepdim=True)",
        "test_pretrain_operators.py::test_images_with_negative_values_are_shifted_one_by_one_and_others_are_not",
    ),
]
