"""Faults of the views of series, point clouds and tables, and of spectrograms."""

from __future__ import annotations

from fault import Mutant

GAPS = "test_series_gaps.py::test_"
SERIES, POINTS, TABLES = "data/views/series.py", "data/views/points.py", "data/views/table.py"
SPECTROGRAM = "data/views/spectrogram.py"

KEYED = "test_data_series_views.py::test_a_sample_s_view_depends_on_its_own_address_only"
MOVES = "test_data_series_views.py::test_moves_take_whole_samples_of_the_whole_range"
MASKS = "test_data_series_views.py::test_masks_are_one_run_of_all_channels"
DROPS = "test_data_series_views.py::test_channels_are_dropped_with_the_probability_but_never_all"
LINEAR = "test_data_series_views.py::test_resampling_is_linear_interpolation_of_the_moved_series"
TURNS = "test_data_point_views.py::test_a_quarter_turn_sends_one_axis_to_the_next"
UNIT = "test_data_point_views.py::test_plain_clouds_fill_the_unit_sphere_each_by_itself"
COPIES = "test_data_point_views.py::test_left_out_points_become_copies_of_one_that_is_kept"
CODES = "test_data_table_views.py::test_codes_are_not_standardized"
BANDS = "test_data_spectrogram.py::test_bands_are_centered_where_the_formula_says"
POWERS = "test_data_spectrogram.py::test_powers_are_those_of_numpy"

SPARSE = "test_data_sparse.py::test_views_leave_out_entries_and_zeros_stay_zeros"

SHARED = "test_dense_views.py::test_weak_and_strong_views_have_one_geometry_where_targets_have_places"

MUTANTS = [
    Mutant(
        "normalizing writes into the images that it was given",
        "data/views/base.py",
        "        own = x.dtype == torch.uint8\n",
        "        own = True\n",
        "test_data_scale.py::test_normalizing_leaves_what_it_is_given",
    ),
    Mutant(
        "strong draws where it is",
        "data/views/image.py",
        'index, "weak", _WEAK_DRAWS)',
        "index, name, _WEAK_DRAWS)",
        SHARED,
    ),
    Mutant(
        "what strong pipelines add is drawn by the weak key",
        "data/views/albumentations.py",
        "generators = np.random.default_rng(own), random.Random(own)",
        "generators = np.random.default_rng(key), random.Random(key)",
        SHARED,
    ),
    Mutant(
        "classes share a geometry",
        "data/views/albumentations.py",
        "changed.shared = wanted if",
        "changed.shared = True if",
        SHARED,
    ),
    Mutant(
        "views: an accelerator makes every operation of every sample",
        "data/views/image_ops.py",
        ".gather(0, taken)[0]",
        "[0]",
        "test_views_device.py::test_views_of_an_accelerator_are_those_of_the_cpu",
    ),
    Mutant(
        "views: keys are sent to the device",
        "data/loading/stream.py",
        'getattr(self.views, "keys_on_host", False)',
        "False",
        "test_views_device.py::test_streams_leave_the_keys_where_they_are_for_views_that_ask_for_it",
    ),
    # -- sparse rows
    Mutant(
        "sparse: rows get shorter in views",
        "data/views/sparse.py",
        "kept / (1 - drop)",
        "kept",
        SPARSE,
    ),
    Mutant(
        "sparse: strong views are the weak ones",
        "data/views/sparse.py",
        'if recipe == "weak" else self.strong_drop',
        'if recipe != "plain" else self.strong_drop',
        SPARSE,
    ),
    Mutant(
        "sparse: draws at places are others than those of all places",
        "data/base/random.py",
        "(columns + 1) * _signed(_GOLDEN)",
        "columns * _signed(_GOLDEN)",
        "test_data_sparse.py::test_draws_at_places_are_those_of_all_places",
    ),
    Mutant(
        "sparse: all rows are dense when they are judged",
        "data/pile.py",
        "dense_at_once(samples, batch_size)",
        "batch_size",
        "test_data_sparse.py::test_every_door_learns_from_sparse_rows_without_the_whole_matrix",
    ),
    Mutant(
        "a file that a run is asked about has its labeled rows first",
        "data/readers/raw.py",
        "return inputs_of_file(path, channels=form.channels, limits=form.limits, kind=kind)",
        "return everything(__import__('selftrain').data.from_arrays_file(path, kind=kind))",
        "test_data_stored.py::test_files_that_a_run_is_asked_about_keep_their_order_and_their_names",
    ),
    # -- series
    Mutant("series moved by less than asked for", SERIES, "(2 * most + 1)).long() - most", "(2 * most)).long()", MOVES),
    Mutant("series resampled by the nearest sample", SERIES, "torch.lerp(before, after, share)", "before", LINEAR),
    Mutant(
        "stretch of a series sticks to its start",
        SERIES,
        "draws[:, 2] * (1 - share)",
        "0 * (1 - share)",
        "test_data_series_views.py::test_stretches_have_the_lengths_asked_for_and_lie_inside",
    ),
    Mutant(
        "series clipped before they are standardized",
        SERIES,
        "        x = super().normalize(x)",
        "        x = super().normalize(x if self.clip is None else x.clamp(-self.clip, self.clip))",
        "test_data_series_views.py::test_values_are_clipped_after_standardization",
    ),
    Mutant(
        "channels of a series scaled by one factor",
        SERIES,
        '_around_one(uniform(self.seed, epoch, index, f"{name}/gain", x.shape[1]), self.scaling)',
        '_around_one(uniform(self.seed, epoch, index, f"{name}/gain", 1), self.scaling)',
        "test_data_series_views.py::test_strong_scaling_is_a_factor_for_each_channel",
    ),
    Mutant("longest mask of a series never drawn", SERIES, "draws[:, :1] * (most + 1)", "draws[:, :1] * most", MASKS),
    Mutant("mask of a series never at its end", SERIES, "(length - run + 1)", "(length - run - 1)", MASKS),
    Mutant("every channel of a series dropped", SERIES, " & (draws < draws.amax(1, keepdim=True))", "", DROPS),
    Mutant(
        "noise on what a series' mask hid",
        SERIES,
        "return View(x.masked_fill((hidden | dropped) & ~x.isnan(), 0.0))",
        "return View(x.masked_fill((hidden | dropped) & ~x.isnan(), 0.0) + self.strong_jitter * noise)",
        "test_data_series_views.py::test_noise_does_not_reach_what_is_left_out",
    ),
    Mutant(
        "noise of a series from the global generator",
        SERIES,
        'normal(self.seed, epoch, index, f"{name}/jitter", x.shape[1] * x.shape[2]).view_as(x)',
        "torch.randn_like(x)",
        KEYED,
    ),
    Mutant(
        "series in a pile taken for images",
        "data/pile.py",
        "SeriesViews() if axes == 3 else TensorViews()",
        "TensorViews()",
        "test_data_series_views.py::test_a_pile_of_series_gets_series_views",
    ),
    # -- series with gaps and of unequal length
    Mutant(
        "series are moved beyond their end",
        SERIES,
        "return found.masked_fill((samples >= ends)[:, None], torch.nan)",
        "return found",
        GAPS + "views_act_within_what_is_there",
    ),
    Mutant(
        "moves are shares of the padded length",
        SERIES,
        "length = _lengths(x)",
        "length = torch.full((len(x),), x.shape[2])",
        GAPS + "views_act_within_what_is_there",
    ),
    Mutant(
        "attention sees what is not there",
        "selftrain/networks/vit.py",
        "None if there is None else there[:, None, None]",
        "None",
        GAPS + "attention_leaves_out_what_is_not_there",
    ),
    Mutant(
        "features are means of the padded length",
        "selftrain/networks/vit.py",
        "return (_cells_there(there, len(self.readout)).to(tokens) @ tokens).flatten(1)",
        "return (_cells_there(torch.ones_like(there), len(self.readout)).to(tokens) @ tokens).flatten(1)",
        GAPS + "what_is_appended_changes_no_prediction_and_a_gap_is_not_its_mean",
    ),
    Mutant(
        "gaps are zeros in the normalization",
        "data/base/statistics.py",
        "times.sum(0)",
        "len(values)",
        GAPS + "normalization_is_that_of_what_is_there",
    ),
    # -- point clouds
    Mutant("clouds scaled by the mean radius", POINTS, "x.norm(dim=2).amax(1)", "x.norm(dim=2).mean(1)", UNIT),
    Mutant("clouds scaled by the batch", POINTS, "x.norm(dim=2).amax(1)[:, None, None]", "x.norm(dim=2).max()", UNIT),
    Mutant("clouds turn about y the other way", POINTS, "1: (2, 0)", "1: (0, 2)", TURNS),
    Mutant(
        "angles of clouds one-sided",
        POINTS,
        "(2 * draws[:, 1] - 1) * math.radians",
        "draws[:, 1] * math.radians",
        "test_data_point_views.py::test_angles_are_uniform_in_their_range",
    ),
    Mutant(
        "noise of points not clipped",
        POINTS,
        "(self.jitter * noise).clamp(-self.jitter_limit, self.jitter_limit)",
        "self.jitter * noise",
        "test_data_point_views.py::test_noise_is_gaussian_and_clipped",
    ),
    Mutant("the first point always copied", POINTS, "each.argmax(1, keepdim=True)", "each[:, :1].long()", COPIES),
    Mutant("every cloud thinned alike", POINTS, "share, each = most * draws[:, :1]", "share, each = most", COPIES),
    # -- tables
    Mutant(
        "codes of tables standardized",
        "data/base/statistics.py",
        "std.masked_fill(coded, 1.0)",
        "std.masked_fill(coded, 2.0)",
        CODES,
    ),
    Mutant(
        "codes of tables divided by a given std",
        TABLES,
        "return self._kept(x.float(), super().normalize(x))",
        "return super().normalize(x)",
        "test_data_table_views.py::test_a_given_normalization_spares_codes_too",
    ),
    Mutant(
        "noise on codes of tables",
        TABLES,
        "View(self._kept(x, x + self.weak_noise * noise))",
        "View(x + self.weak_noise * noise)",
        "test_data_table_views.py::test_codes_get_no_noise",
    ),
    Mutant(
        "codes of tables replaced by zero",
        TABLES,
        "self._kept(x, x.masked_fill(chosen < self.replace, 0.0))",
        "x.masked_fill(chosen < self.replace, 0.0)",
        "test_data_table_views.py::test_without_a_bank_codes_stay",
    ),
    Mutant(
        "categories lost with another key",
        "data/views/base.py",
        "changed.seed = seed",
        "changed.seed, changed.categorical = seed, ()",
        "test_data_table_views.py::test_another_key_keeps_the_categories",
    ),
    # -- spectrograms
    Mutant("power of a frame not divided by its window", SPECTROGRAM, "weights.square().sum()", "window", POWERS),
    Mutant("frames padded at the ends", SPECTROGRAM, "center=False", "center=True", POWERS),
    Mutant("mel bands evenly spaced in frequency", SPECTROGRAM, "700 * (10 ** (mels / 2595) - 1)", "mels", BANDS),
    Mutant("mel bands reach the whole rate", SPECTROGRAM, "1 + rate / 2 / 700", "1 + rate / 700", BANDS),
    Mutant(
        "sides of a grid only cropped",
        SPECTROGRAM,
        "(2 * x.shape[axis] + side) // (2 * side)",
        "x.shape[axis] // side",
        "test_data_spectrogram.py::test_sides_become_the_nearest_multiples",
    ),
]
