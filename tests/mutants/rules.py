"""Faults of the rules, the alignment, the mixes and the pseudo-labels."""

from __future__ import annotations

from fault import Mutant

RULES, ADAPTIVE, ALIGN = "selftrain/select/base.py", "selftrain/select/adaptive.py", "selftrain/select/alignment.py"
MIX, LABELING, TASKS = "selftrain/mix.py", "selftrain/strategy/pseudo_labeling.py", "selftrain/tasks/base.py"

PAIRS = "test_mix.py::test_each_pair_may_have_a_share_of_its_own"
STILL = "test_select.py::test_evaluation_judges_and_moves_nothing"
FLEX = "test_adaptive.py::test_flex_follows_the_trace_by_hand"
MAPS = "test_adaptive.py::test_warmup_and_mapping_set_the_thresholds"
FREE = "test_adaptive.py::test_free_follows_the_equations"
LIMITS = "test_adaptive.py::test_limits_hold_the_level_and_leave_its_memory"
SOFT = "test_adaptive.py::test_soft_follows_the_trace_by_hand"
CLASS_WISE = "test_adaptive.py::test_class_wise_follows_the_equations"
ALIGNED = "test_align.py::test_alignment_follows_the_equations"
CLASSMIX = "test_mix.py::test_classmix_pastes_half_of_the_partners_classes"
PATCH = "test_mix.py::test_a_patch_of_one_joint_stands_on_another"
ORDER = "test_pseudo_labeling.py::test_alignment_comes_first_then_selection_then_hardening"
NUMBERS = "test_tasks.py::test_decisions_as_numbers_are_decisions_as_values"
GEOMETRY = "test_contract.py::test_turning_a_view_with_its_map_leaves_the_update_as_it_is"

MASKS = "selftrain/tasks/segmentation.py"

MUTANTS = [
    Mutant(
        "rows at the bottom of a picture count",
        RULES,
        "counts[:, top : sure.shape[1] - bottom] = 1",
        "counts[:, top:] = 1",
        "test_select.py::test_rows_at_the_border_weigh_nothing_and_count_for_the_share",
    ),
    # -- targets that hold class numbers
    Mutant(
        "of equal classes the last",
        MASKS,
        "torch.arange(classes, 0, -1,",
        "torch.arange(1, classes + 1,",
        NUMBERS,
    ),
    Mutant(
        "the margin to itself",
        MASKS,
        "value.scatter(1, self.label(value).unsqueeze(1), -torch.inf).amax(1)",
        "value.amin(1)",
        NUMBERS,
    ),
    Mutant(
        "class numbers stay on their side",
        MASKS,
        "swapped = other[value.long()] if hard",
        "swapped = value if hard",
        NUMBERS,
    ),
    Mutant(
        "pasted weights, own classes",
        MIX,
        "target.having(torch.where(inside, other.label, target.label)",
        "target.having(target.label",
        NUMBERS,
    ),
    Mutant(
        "padding of class numbers is valid", MASKS, "valid = moved[:, -1] > 0.5", "valid = moved[:, -1] > -0.5", NUMBERS
    ),
    Mutant(
        "an own hardening is passed over",
        MASKS,
        "if type(self).harden is not Segmentation.harden:",
        "if False:",
        "test_tasks.py::test_a_hardening_of_ones_own_makes_the_pseudo_labels",
    ),
    Mutant(
        "masks are evaluated by as many as asked",
        "data/pile.py",
        "return max(1, min(most, (_ON_HOST",
        "return max(1, max(most, (_ON_HOST",
        "test_dense_views.py::test_batches_of_an_evaluation_are_bounded_where_predictions_have_places",
    ),
    Mutant(
        "few pixels are compared with the first ones",
        "selftrain/tasks/geometry.py",
        'return F.interpolate(values, tuple(size), mode="bilinear", align_corners=False)',
        'return F.interpolate(values, tuple(size), mode="bilinear", align_corners=True)',
        "test_tasks.py::test_logits_of_fewer_pixels_than_the_mask_are_enlarged",
    ),
    Mutant(
        "bytes are taken for a mask",
        "data/pile.py",
        "table[: len(number)] = number.numpy()",
        "table[: len(number)] = np.arange(len(number))",
        "test_dense_views.py::test_masks_of_bytes_stay_bytes_until_they_are_a_batch",
    ),
    # -- rules
    Mutant(
        "quantile moves in evaluation",
        RULES,
        "if self.training and evidence.confidence.numel():",
        "if evidence.confidence.numel():",
        STILL,
    ),
    Mutant(
        "quantile starts cold",
        RULES,
        "min(self.decay, 1 - 1 / (self._count.read(self.updates) + 1))",
        "self.decay",
        "test_select.py::test_the_quantile_follows_the_trace_by_hand",
    ),
    Mutant(
        "flex counts a batch before it judges it",
        ADAPTIVE,
        "        level = self.threshold * self._mapped(",
        "        if self.training:\n            self._remember(evidence)\n"
        "        level = self.threshold * self._mapped(",
        FLEX,
    ),
    Mutant(
        "flex without its warm-up",
        ADAPTIVE,
        "torch.maximum(used.max(), unused) if self.warmup else used.max()",
        "used.max()",
        MAPS,
    ),
    Mutant(
        "flex takes the concave map for a linear one",
        ADAPTIVE,
        'share if self.mapping == "linear" else torch.log2(share + 1)',
        "share",
        MAPS,
    ),
    Mutant(
        "flex remembers what it was not sure of",
        ADAPTIVE,
        "sure, group = (evidence.confidence >= self.threshold)",
        "sure, group = (evidence.confidence >= 0)",
        "test_adaptive.py::test_a_row_remembers_the_last_group_it_was_sure_of",
    ),
    Mutant(
        "flex counts a row twice that a batch holds twice",
        "selftrain/select/adaptive.py",
        "(rows[1:] != rows[:-1]).long()",
        "torch.ones_like(rows[1:])",
        "test_adaptive.py::test_counts_stay_those_of_the_memory",
    ),
    Mutant(
        "flex counts rows again that it knows",
        ADAPTIVE,
        " - self._counted(before, once)",
        "",
        "test_adaptive.py::test_counts_stay_those_of_the_memory",
    ),
    Mutant(
        "free judges before the batch is in",
        ADAPTIVE,
        "            self._take_in(evidence)\n"
        "        return (evidence.confidence >= self.thresholds()[evidence.group]).to(evidence.confidence)",
        "            bars = self.thresholds()\n            self._take_in(evidence)\n"
        "        return (evidence.confidence >= bars[evidence.group]).to(evidence.confidence)",
        FREE,
    ),
    Mutant(
        "free forgets its limits",
        ADAPTIVE,
        "self.level.clamp(self.lowest, self.highest)",
        "self.level",
        LIMITS,
    ),
    Mutant("free shares out by the sum", ADAPTIVE, "self.presence.max()", "self.presence.sum()", FREE),
    Mutant("soft takes the biased variance", ADAPTIVE, "flat.var()", "flat.var(correction=0)", SOFT),
    Mutant(
        "soft weighs down what is above the mean",
        ADAPTIVE,
        "(evidence.confidence - self.mean).clamp(max=0)",
        "evidence.confidence - self.mean",
        SOFT,
    ),
    Mutant(
        "relative to the unlabeled samples",
        ADAPTIVE,
        "self.threshold * evidence.labeled.mean()",
        "self.threshold * evidence.confidence.mean()",
        "test_adaptive.py::test_relative_follows_the_trace_by_hand",
    ),
    Mutant(
        "class-wise status with decay and share swapped",
        ADAPTIVE,
        "self.status.lerp_(evidence.presence.to(self.status), 1 - self.decay)",
        "self.status.lerp_(evidence.presence.to(self.status), self.decay)",
        CLASS_WISE,
    ),
    # -- alignment
    Mutant(
        "alignment starts cold",
        ALIGN,
        "min(self.decay, 1 - 1 / (self._count.read(self.updates) + 1))",
        "self.decay",
        ALIGNED,
    ),
    Mutant(
        "alignment divides by yesterday's mean",
        ALIGN,
        "        if self.training and value.numel():\n            self._take_in(value, labeled)\n"
        "        return self.aligned(value)",
        "        late = self.aligned(value)\n        if self.training and value.numel():\n"
        "            self._take_in(value, labeled)\n        return late",
        ALIGNED,
    ),
    Mutant(
        "aligned predictions not normalized",
        TASKS,
        "return scaled / scaled.sum(1, keepdim=True).clamp(min=1e-12)",
        "return scaled",
        ALIGNED,
    ),
    Mutant(
        "presence counts decisions",
        TASKS,
        "return value.movedim(1, -1).flatten(0, -2).mean(0)",
        "return self.harden(value).movedim(1, -1).flatten(0, -2).mean(0)",
        "test_tasks.py::test_presence_by_hand",
    ),
    # -- mixes
    Mutant(
        "biased mixup keeps the smaller share",
        MIX,
        "max(share, 1 - share) if biased",
        "min(share, 1 - share) if biased",
        "test_mix.py::test_biased_mixup_gives_each_row_the_larger_share",
    ),
    Mutant(
        "biased mixup of pairs keeps the smaller share",
        MIX,
        "torch.maximum(shares, 1 - shares) if biased",
        "torch.minimum(shares, 1 - shares) if biased",
        PAIRS,
    ),
    Mutant(
        "mixup of pairs blends targets by one share",
        MIX,
        "blend(target, pick(target, partner), share, task)",
        "blend(target, pick(target, partner), share if isinstance(share, float) else float(share[0]), task)",
        PAIRS,
    ),
    Mutant("classmix rounds half up", MIX, "(len(found) + up) // 2", "(len(found) + 1) // 2", CLASSMIX),
    Mutant(
        "classmix pastes where its own classes are",
        MIX,
        "    classes = _classes(other if by is None else pick(by, partner), task)",
        "    classes = _classes(target, task)",
        CLASSMIX,
    ),
    Mutant(
        "classmix takes void pixels for a class",
        MIX,
        "found = found[found != _NO_CLASS]",
        "pass",
        "test_mix.py::test_pixels_without_a_label_are_no_class_and_stay_where_they_are",
    ),
    Mutant(
        "pasted pixels keep the weights of those they cover",
        MIX,
        "torch.where(inside, other.weight, target.weight)",
        "target.weight",
        CLASSMIX,
    ),
    Mutant(
        "patches are copied from copies",
        MIX,
        "_copy_patch(x[row], mixed[row]",
        "_copy_patch(mixed[row].clone(), mixed[row]",
        "test_mix.py::test_patches_come_from_the_image_as_it_was",
    ),
    Mutant("a joint is pasted on itself", MIX, "torch.randint(1, joints", "torch.randint(0, joints", PATCH),
    # -- figures
    Mutant(
        "decisions take the place of truths in a tally",
        TASKS,
        "for units in (truth[truth == guess], truth, guess)]",
        "for units in (truth[truth == guess], guess, truth)]",
        "test_tasks.py::test_accuracies_agree_with_scikit_learn",
    ),
    # -- the best weights
    Mutant(
        "memories of the pile are stored with the best weights too",
        "selftrain/networks/copying.py",
        "for name, value in state.items() if name not in out}",
        "for name, value in state.items()}",
        "test_engine.py::test_the_best_state_has_what_answers_depend_on",
    ),
    # -- unequal classes
    Mutant(
        "the pile's shares are those of the labels",
        ALIGN,
        "factor = self.expected / self.source.clamp(min=FLOOR)",
        "factor = torch.ones_like(self.expected)",
        "test_unequal.py::test_the_shares_of_the_pile_are_found_by_expectation_maximization",
    ),
    Mutant(
        "a bias is added to the logits",
        "selftrain/select/debias.py",
        "self.predicted.clamp(min=FLOOR).pow(-self.tau)",
        "self.predicted.clamp(min=FLOOR).pow(self.tau)",
        "test_unequal.py::test_debias_subtracts_the_logarithm_of_the_running_mean",
    ),
    Mutant(
        "a bias is supposed at the first batch",
        "selftrain/select/debias.py",
        "self.predicted.lerp_(self._task.presence(value).to(self.predicted), 1 - self.decay)",
        "super()._take_in(value, labeled); return",
        "test_unequal.py::test_debias_subtracts_the_logarithm_of_the_running_mean",
    ),
    Mutant(
        "known shares are multiplied in",
        "selftrain/select/debias.py",
        "self.expected.clamp(min=FLOOR).pow(-self.tau)",
        "self.expected.clamp(min=FLOOR).pow(self.tau)",
        "test_unequal.py::test_known_shares_are_taken_out_of_the_logits",
    ),
    Mutant(
        "DARP moves what is sure as much",
        "selftrain/select/darp.py",
        "(p.log() + nu.view(1, -1, *[1] * (p.dim() - 2)) * entropy)",
        "(p.log() + nu.view(1, -1, *[1] * (p.dim() - 2)))",
        "test_unequal.py::test_darp_solves_the_convex_problem",
    ),
    Mutant(
        "DARP solves its columns alone",
        "selftrain/select/darp.py",
        "for _ in range(iterations):",
        "for _ in range(1):",
        "test_unequal.py::test_darp_solves_the_convex_problem",
    ),
    Mutant(
        "DARP keeps its oldest predictions",
        "selftrain/select/darp.py",
        "torch.cat([self.rows[len(new) :], new])",
        "torch.cat([self.rows[len(new) :], self.rows[: len(new)]])",
        "test_unequal.py::test_darp_solves_every_few_steps_for_its_newest_predictions",
    ),
    Mutant(
        "the loss of pseudo-labels is adjusted too",
        TASKS,
        "if self.label_counts is not None and isinstance(target, AdjustedTarget):",
        "if self.label_counts is not None:",
        "test_unequal.py::test_only_labels_have_an_adjusted_loss",
    ),
    Mutant(
        "parts of labels have the plain loss",
        TASKS,
        "return AdjustedTarget(value, weight, valid)",
        "return Target(value, weight, valid)",
        "test_unequal.py::test_only_labels_have_an_adjusted_loss",
    ),
    Mutant(
        "labels join pseudo-labels in one loss",
        MIX,
        "if any(isinstance(target, AdjustedTarget) for target in targets):",
        "if False:",
        "test_unequal.py::test_only_labels_have_an_adjusted_loss",
    ),
    Mutant(
        "of frequent classes most joins",
        "selftrain/labels/refine.py",
        "counts[ranked[-1 - place]] / counts[ranked[0]]",
        "counts[c] / counts[ranked[0]]",
        "test_rebalancing.py::test_of_rare_classes_nearly_all_joins_and_of_frequent_ones_the_surest",
    ),
    Mutant(
        "all that is predicted joins the next generation",
        "selftrain/pipeline/rebalancing.py",
        "label_pile(strategy, pile).rebalanced(counts.tolist(), alpha)",
        "label_pile(strategy, pile)",
        "test_rebalancing.py::test_a_generation_has_the_labels_that_joined_and_the_given_ones",
    ),
    Mutant(
        "all generations align to the same shares",
        "selftrain/pipeline/rebalancing.py",
        "make((counts**falling / (counts**falling).sum()).tolist())",
        "make((counts / counts.sum()).tolist())",
        "test_rebalancing.py::test_shares_to_align_to_fall_to_the_last_temperature",
    ),
    # -- pseudo-labels
    Mutant(
        "pseudo-labels are never aligned",
        LABELING,
        "value if self.align is None else self.align(value, labeled)",
        "value",
        ORDER,
    ),
    Mutant(
        "selection by sharpened predictions",
        LABELING,
        "score(self._task, aligned, index",
        "score(self._task, self._task.sharpen(aligned, self.temperature), index",
        "test_pseudo_labeling.py::test_selection_comes_before_sharpening",
    ),
    Mutant(
        "a step mixes before it carries",
        "strategies/fixmatch.py",
        "            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo\n        )",
        "            strong.x, pseudo.target\n        )\n"
        "        target = self.task.warp(target, relative(weak, strong))",
        "test_step.py::test_the_learned_view_is_mixed_after_its_label_is_carried_there",
    ),
    Mutant(
        "labels of the unmoved image taken for labels of the learned view",
        "strategies/temporal_ensembling.py",
        "self.task.warp(pseudo.target, view)",
        "pseudo.target",
        GEOMETRY,
    ),
    Mutant(
        "standing still moves thresholds",
        LABELING,
        "        self.eval()\n        try:",
        "        try:",
        "test_pseudo_labeling.py::test_standing_still_judges_and_moves_nothing",
    ),
    Mutant(
        "standing still never ends",
        LABELING,
        "self.train(before)",
        "pass",
        "test_pseudo_labeling.py::test_after_standing_still_the_mode_is_what_it_was",
    ),
    Mutant(
        "the weights of labels have a gradient",
        "strategies/uda.py",
        "self.signal(self.task.probs(logits).detach(),",
        "self.signal(self.task.probs(logits),",
        "test_step.py::test_the_signal_weighs_the_labels_by_what_the_student_says",
    ),
]
