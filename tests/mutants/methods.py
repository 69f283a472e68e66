"""Faults of the methods' own equations: each must be noticed by the test that writes the equation down."""

from __future__ import annotations

from fault import Mutant

PSEUDO = "test_methods_labels.py::test_pseudo_label_follows_its_equations"
FIXMATCH = "test_methods_labels.py::test_fixmatch_follows_its_equations"
SOFT_LABELS = "test_methods_labels.py::test_soft_labels_follow_the_papers_equations"
BANK = "test_methods_labels.py::test_the_bank_of_soft_labels_over_three_epochs_by_hand"
PI = "test_methods_consistency.py::test_pi_model_moves_the_second_look_towards_the_first"
TEMPORAL = "test_methods_consistency.py::test_temporal_ensembling_follows_the_papers_algorithm"
TWICE = "test_methods_consistency.py::test_a_second_visit_in_one_epoch_is_taken_in_after_the_first"
BACK = "test_methods_consistency.py::test_what_is_remembered_is_in_the_geometry_of_the_plain_image"
CROPPED = "test_methods_consistency.py::test_soft_labels_of_a_cropped_view_are_of_what_it_shows"
UNSEEN = "test_methods_consistency.py::test_pixels_that_no_view_has_shown_have_no_label"
VAT = "test_methods_consistency.py::test_vat_follows_the_papers_algorithm"
WORST = "test_methods_consistency.py::test_the_virtual_adversarial_direction_is_of_length_one"
WORST += "_and_worse_than_any_of_many_random_ones"
NOISE = "test_methods_consistency.py::test_a_virtual_step_of_length_zero_changes_nothing_under_the_same_noise"
EPS = "test_methods_consistency.py::test_the_attack_lies_at_the_distance_eps"
UDA = "test_methods_consistency.py::test_uda_learns_sharpened_predictions_and_anneals_the_labels"
TSA = "test_methods_consistency.py::test_training_signal_annealing_leaves_out_labels_that_are_known_too_well"
MIXMATCH = "test_methods_consistency.py::test_mixmatch_learns_mixtures_of_labels_and_sharpened_means"
LOOKS = "test_methods_consistency.py::test_looks_are_brought_to_the_plain_image_before_they_are_averaged"
FLEX = "test_methods_thresholds.py::test_flexmatch_follows_its_equations"
FLEX_BY_HAND = "test_methods_thresholds.py::test_flexmatch_thresholds_over_three_batches_by_hand"
FREE_BY_HAND = "test_methods_thresholds.py::test_freematch_thresholds_over_three_batches_by_hand"
FAIR = "test_methods_thresholds.py::test_freematch_adds_the_fairness_term_with_its_sign"
FAIR_VALUE = "test_methods_thresholds.py::test_the_fairness_term_has_the_published_value_and_sign"
FAIR_PLACE = "test_methods_thresholds.py::test_fairness_is_measured_where_the_strong_view_shows_kept_pixels"
SOFT = "test_methods_thresholds.py::test_softmatch_weights_over_three_batches_by_hand"
SOFT_ALIGNED = "test_methods_thresholds.py::test_softmatch_weighs_aligned_predictions"
SOFT_ALIGNED += "_and_learns_decisions_as_they_are"
WEIGHTS_ALONE = "test_pseudo_labeling.py::test_an_alignment_may_be_for_the_weights_alone"
ADA_BY_HAND = "test_methods_thresholds.py::test_the_adamatch_threshold_over_three_batches_by_hand"
ADA_ALIGNED = "test_methods_thresholds.py::test_adamatch_aligns_to_the_predictions_on_labeled_samples"
ADA_LOGITS = "test_methods_thresholds.py::test_adamatch_mixes_the_logits_of_a_joint_and_a_labeled_pass"
COSINE = "test_methods_thresholds.py::test_the_weight_rises_along_a_cosine_over_the_first_half"
HEADS = "test_methods_teachers.py::test_one_head_learns_labels_and_the_other_the_teachers_label_head"
REVIEW = "test_methods_teachers.py::test_the_student_learns_from_teacher_and_reviewer_then_both_follow"
OCCLUDED = "test_mix.py::test_a_sure_joint_is_hidden_behind_a_patch_of_another_place"
LEVELS = "test_methods_teachers.py::test_each_level_learns_labels_and_what_both_teachers_say_at_that_level"
OWN_RULES = "test_methods_teachers.py::test_teacher_and_reviewer_have_thresholds_of_their_own"
DEPTH = "test_methods_teachers.py::test_fst_with_free_thresholds_follows_the_trace_by_hand"
WIDTH = "test_methods_teachers.py::test_fst_w_with_free_thresholds_follows_the_trace_by_hand"
ONCE = "test_methods_teachers.py::test_a_moving_rule_moves_once_a_step"
JOINT = "test_methods_peers.py::test_jointmatch_learns_what_the_other_is_sure_of"
STATUS = "test_methods_peers.py::test_a_shared_status_takes_in_the_first_network_then_the_second"
DISAGREE = "test_methods_peers.py::test_disagreement_is_about_masks_or_about_labels"
CPS = "test_methods_peers.py::test_each_network_learns_the_others_decisions_on_all_samples"
ENSEMBLE = "test_methods_peers.py::test_every_member_learns_the_consensus_as_far_as_it_counts"
ENTROPY = "test_methods_peers.py::test_the_entropy_weight_is_one_minus_entropy_over_its_maximum"
NOBODY = "test_methods_peers.py::test_where_no_member_sides_with_the_consensus_all_are_heard"
OUTLIERS = "test_methods_peers.py::test_outliers_are_learned_but_never_shipped"

MUTANTS = [
    # -- labels of their own
    Mutant("pseudo-label: the weight rises from the start", "strategies/pseudo_label.py", ", start=0.1", "", PSEUDO),
    Mutant(
        "pseudo-label: another length of the rise",
        "strategies/pseudo_label.py",
        "ramp_linear(0.5, start=0.1)",
        "ramp_linear(0.6, start=0.1)",
        PSEUDO,
    ),
    Mutant(
        "FixMatch: another threshold",
        "strategies/fixmatch.py",
        "select or above(threshold)",
        "select or above(0.8)",
        FIXMATCH,
    ),
    Mutant(
        "soft labels: entropy turned round",
        "strategies/soft_labels.py",
        "+ self.entropy_weight * entropy",
        "- self.entropy_weight * entropy",
        SOFT_LABELS,
    ),
    Mutant(
        "soft labels: prior turned round",
        "strategies/soft_labels.py",
        "+ self.prior_weight * prior",
        "- self.prior_weight * prior",
        SOFT_LABELS,
    ),
    Mutant(
        "soft labels: weights of prior and entropy swapped",
        "strategies/soft_labels.py",
        "self.prior_weight * prior + self.entropy_weight * entropy",
        "self.entropy_weight * prior + self.prior_weight * entropy",
        SOFT_LABELS,
    ),
    Mutant(
        "soft labels: a new sample has a uniform label",
        "strategies/soft_labels.py",
        "value = torch.where(self.task.spread(known), self.bank.read(unlabeled.index), fresh.value)",
        "value = self.bank.read(unlabeled.index)",
        BANK,
    ),
    # -- consistency
    Mutant(
        "pi-model: gradient through the fixed look",
        "strategies/pi_model.py",
        "        # z~_i: the second look",
        "        from dataclasses import replace\n\n"
        "        said = self.task.probs(self.student(first.x))\n"
        "        pseudo = replace(pseudo, target=replace(pseudo.target, value=said))\n"
        "        # z~_i: the second look",
        PI,
    ),
    Mutant(
        "pi-model: the same look twice",
        "strategies/pi_model.py",
        "batch.unlabeled[self.view]",
        'batch.unlabeled["weak"]',
        PI,
    ),
    Mutant(
        "temporal ensembling: no bias correction",
        "strategies/temporal_ensembling.py",
        " / (1 - self.momentum**times)",
        "",
        TEMPORAL,
    ),
    Mutant(
        "temporal ensembling: samples without a history count",
        "strategies/temporal_ensembling.py",
        "        pseudo = pseudo.scaled(self.bank.known[index].to(pseudo.target.weight))\n",
        "",
        TEMPORAL,
    ),
    Mutant(
        "temporal ensembling: the second visit forgets the first",
        "selftrain/strategy/label_memory.py",
        "return torch.where(self._task.spread(self.written[index]), self.next[index], self.now[index])",
        "return self.now[index]",
        TWICE,
    ),
    Mutant(
        "temporal ensembling: memory in the geometry of the view",
        "strategies/temporal_ensembling.py",
        "said = unmoved(self.task, value, view)",
        "said = unmoved(self.task, value, type(view)(view.x))",
        BACK,
    ),
    Mutant(
        "temporal ensembling: pixels outside a view count as visited",
        "strategies/temporal_ensembling.py",
        "shown = said.mask()",
        "shown = torch.ones_like(said.weight)",
        UNSEEN,
    ),
    Mutant(
        "soft labels: pixels outside a view are written",
        "strategies/soft_labels.py",
        "self.bank.write(unlabeled.index, fresh.value, shown)",
        "self.bank.write(unlabeled.index, fresh.value)",
        CROPPED,
    ),
    Mutant(
        "soft labels: pixels outside a view count",
        "strategies/soft_labels.py",
        "weight * shown.clamp(min=known.to(shown))",
        "weight",
        CROPPED,
    ),
    Mutant(
        "VAT: direction not normalized",
        "strategies/vat.py",
        "direction = _unit(gradient)",
        "direction = gradient.detach()",
        WORST,
    ),
    Mutant(
        "VAT: direction turned round",
        "strategies/vat.py",
        "x + self.xi * direction",
        "x - self.xi * direction",
        VAT,
    ),
    Mutant(
        "VAT: gradient through the clean prediction",
        "strategies/vat.py",
        "self.pseudo_labeling.make(self.task.probs(clean).detach()",
        "self.pseudo_labeling.make(self.task.probs(clean)",
        VAT,
    ),
    Mutant(
        "VAT: gradient through the clean prediction of labeled samples",
        "strategies/vat.py",
        "self.task.probs(logits).detach()",
        "self.task.probs(logits)",
        VAT,
    ),
    Mutant(
        "VAT: new dropout masks in the attacked passes",
        "strategies/vat.py",
        'if self.noise == "same" else contextlib',
        "if False else contextlib",
        NOISE,
    ),
    Mutant(
        "VAT: labeled samples are not attacked",
        "strategies/vat.py",
        "len(given) if self.on_labeled else 0\n        own",
        "0\n        own",
        VAT,
    ),
    Mutant(
        "the same noise goes on after its pass",
        "selftrain/networks/student.py",
        "self._draw_from(before)",
        "pass",
        "test_methods_consistency.py::test_what_is_drawn_after_the_same_noise_goes_on_as_without_it",
    ),
    Mutant("VAT: attacks move the statistics", "strategies/vat.py", "with self.student.untracked():", "if True:", VAT),
    Mutant("VAT: eps ignored", "strategies/vat.py", "self.eps * self.worst", "self.worst", EPS),
    Mutant("UDA: annealing turned round", "strategies/uda.py", "(right <= limit)", "(right >= limit)", TSA),
    Mutant(
        "UDA: annealing by the largest probability",
        "strategies/uda.py",
        "(value * labeled.target.value).sum(1)",
        "value.amax(1)",
        TSA,
    ),
    Mutant("UDA: temperature ignored", "strategies/uda.py", "temperature=temperature", "temperature=1.0", UDA),
    Mutant(
        "MixMatch: unbiased mixup",
        "strategies/mixmatch.py",
        "mix or Mixup(0.75, biased=True, per_sample=True)",
        "mix or Mixup(0.75, per_sample=True)",
        MIXMATCH,
    ),
    Mutant(
        "MixMatch: one share a batch",
        "strategies/mixmatch.py",
        "mix or Mixup(0.75, biased=True, per_sample=True)",
        "mix or Mixup(0.75, biased=True)",
        MIXMATCH,
    ),
    Mutant(
        "MixMatch: looks averaged where they lie",
        "strategies/mixmatch.py",
        "unmoved(self.task, value, look)",
        "unmoved(self.task, value, View(look.x))",
        LOOKS,
    ),
    Mutant(
        "MixMatch: labels of the plain image for every look",
        "strategies/mixmatch.py",
        "[self.task.warp(pseudo.target, look) for look in looks]",
        "[pseudo.target for look in looks]",
        LOOKS,
    ),
    # -- thresholds
    Mutant(
        "FlexMatch: the batch is counted before it is judged",
        "selftrain/select/adaptive.py",
        "        level = self.threshold * self._mapped(self.progress())",
        "        self._remember(evidence)\n        level = self.threshold * self._mapped(self.progress())",
        FLEX_BY_HAND,
    ),
    Mutant("FlexMatch: warm-up ignored", "strategies/flexmatch.py", "warmup=warmup", "warmup=False", FLEX),
    Mutant("FlexMatch: map ignored", "strategies/flexmatch.py", "mapping=mapping", 'mapping="convex"', FLEX),
    Mutant(
        "FreeMatch: decay of the thresholds ignored",
        "strategies/freematch.py",
        "decay=threshold_decay",
        "decay=0.999",
        FREE_BY_HAND,
    ),
    Mutant(
        "FreeMatch: fairness turned round",
        "strategies/freematch.py",
        "self.fairness_weight * self.fairness_sign * more",
        "-self.fairness_weight * self.fairness_sign * more",
        FAIR,
    ),
    Mutant(
        "FreeMatch: the sign is not switched",
        "strategies/freematch.py",
        "self.fairness_weight * self.fairness_sign * more",
        "self.fairness_weight * more",
        FAIR,
    ),
    Mutant(
        "FreeMatch: means not divided by histograms",
        "strategies/freematch.py",
        "wanted = _normalized(rule.presence, rule.histogram)",
        "wanted = rule.presence",
        FAIR_VALUE,
    ),
    Mutant(
        "FreeMatch: fairness of the pixels that the weak view keeps",
        "strategies/freematch.py",
        "target.weight * target.mask()",
        "pseudo.target.weight",
        FAIR_PLACE,
    ),
    Mutant("SoftMatch: biased variance", "selftrain/select/adaptive.py", "flat.var()", "flat.var(correction=0)", SOFT),
    Mutant("SoftMatch: no alignment", "strategies/softmatch.py", "align=align,", "align=None,", SOFT_ALIGNED),
    Mutant(
        "SoftMatch: aligned decisions are learned",
        "strategies/softmatch.py",
        "align_targets=False",
        "align_targets=True",
        SOFT_ALIGNED,
    ),
    Mutant(
        "an alignment for the weights alone never reaches the rule",
        "selftrain/strategy/pseudo_labeling.py",
        "score(self._task, aligned,",
        "score(self._task, value,",
        WEIGHTS_ALONE,
    ),
    Mutant(
        "AdaMatch: absolute threshold",
        "selftrain/select/adaptive.py",
        "self.threshold * evidence.labeled.mean()",
        "self.threshold",
        ADA_BY_HAND,
    ),
    Mutant("AdaMatch: uniform prior", "strategies/adamatch.py", 'target="labeled"', 'target="uniform"', ADA_ALIGNED),
    Mutant(
        "AdaMatch: no interpolation",
        "strategies/adamatch.py",
        "logits = share * logits + (1 - share) * alone",
        "pass",
        ADA_LOGITS,
    ),
    Mutant(
        "AdaMatch: the labeled pass moves the statistics",
        "strategies/adamatch.py",
        "with self.student.untracked():",
        "if True:",
        ADA_LOGITS,
    ),
    Mutant(
        "AdaMatch: cosine over the whole stage",
        "strategies/adamatch.py",
        "2 * math.pi * progress",
        "math.pi * progress",
        COSINE,
    ),
    # -- teachers
    Mutant(
        "two heads: tie left out",
        "strategies/mean_teacher.py",
        " + self.tie_weight * tie",
        "",
        HEADS,
    ),
    Mutant(
        "two heads: the label head agrees with the teacher",
        "strategies/mean_teacher.py",
        "self.pseudo_labeling.loss(strong_logits2, target)",
        "self.pseudo_labeling.loss(strong_logits, target)",
        HEADS,
    ),
    Mutant(
        "two heads: the teacher's other head labels",
        "strategies/mean_teacher.py",
        "self.task.probs(self.heads(self.teacher(weak.x))[0])",
        "self.task.probs(self.heads(self.teacher(weak.x))[1])",
        HEADS,
    ),
    Mutant(
        "reviewer follows nobody",
        "strategies/reviewer.py",
        'self.reviewer.update(self.student.model if self.follows == "student" else self.teacher.model)',
        "pass",
        REVIEW,
    ),
    Mutant(
        "reviewer always follows the student",
        "strategies/reviewer.py",
        'self.student.model if self.follows == "student" else self.teacher.model',
        "self.student.model",
        REVIEW,
    ),
    Mutant(
        "joint occlusion: unsure joints are hidden",
        "selftrain/mix.py",
        "(shown.weight * shown.mask() > 0) & (task.confidence(shown.value) >= threshold)",
        "shown.weight * shown.mask() > 0",
        OCCLUDED,
    ),
    Mutant(
        "joint occlusion: every image loses a joint",
        "selftrain/mix.py",
        "if there and float(torch.rand(())) < probability:",
        "if there and probability:",
        OCCLUDED,
    ),
    Mutant(
        "EMA of multi-level heads: the logits are the target at each level",
        "strategies/reviewer.py",
        "self.task.probs(said[i][k])",
        "self.task.probs(said[i][0])",
        LEVELS,
    ),
    Mutant(
        "EMA of multi-level heads: the reviewer has none",
        "strategies/reviewer.py",
        "said = [network.levels(weak.x) for network in (self.teacher, self.reviewer)]",
        "said = [network.levels(weak.x) for network in (self.teacher, self.teacher)]",
        LEVELS,
    ),
    Mutant(
        "multi-level heads: levels weigh alike",
        "strategies/reviewer.py",
        "total = total + weight * loss",
        "total = total + loss",
        LEVELS,
    ),
    Mutant(
        "multi-level heads: rules of the logits",
        "strategies/reviewer.py",
        "*self.level_labelings]",
        "*[(self.pseudo_labeling, self.reviewer_labeling)] * len(self.level_labelings)]",
        "test_methods_teachers.py::test_levels_have_rules_of_their_own_and_a_labeled_step_learns_them",
    ),
    Mutant("review halves the teacher's weight", "strategies/reviewer.py", ".scaled(total)", "", REVIEW),
    Mutant(
        "reviewer moves the teacher's thresholds",
        "strategies/reviewer.py",
        "copy.deepcopy(self.pseudo_labeling)",
        "self.pseudo_labeling",
        OWN_RULES,
    ),
    Mutant(
        "virtual steps in depth move the thresholds",
        "strategies/future.py",
        "self.pseudo_labeling.still():\n                for _",
        "self.pseudo_labeling.still():\n                self.pseudo_labeling.train()\n                for _",
        DEPTH,
    ),
    Mutant(
        "virtual steps in width move the thresholds",
        "strategies/future.py",
        "self.pseudo_labeling.still():\n                    supervised",
        "self.pseudo_labeling.still():\n"
        "                    self.pseudo_labeling.train()\n                    supervised",
        WIDTH,
    ),
    Mutant(
        "thresholds stand still after a look ahead",
        "selftrain/strategy/pseudo_labeling.py",
        "            self.train(before)",
        "            pass",
        ONCE,
    ),
    # -- peers
    Mutant(
        "JointMatch: each network labels for itself",
        "strategies/jointmatch.py",
        "(pseudo_f, pseudo_g), (pseudo_g, pseudo_f)",
        "(pseudo_g, pseudo_f), (pseudo_f, pseudo_g)",
        JOINT,
    ),
    Mutant(
        "JointMatch: delta swapped",
        "strategies/jointmatch.py",
        "torch.where(differ, self.delta, 1 - self.delta)",
        "torch.where(differ, 1 - self.delta, self.delta)",
        DISAGREE,
    ),
    Mutant(
        "JointMatch: labels decide where masks should",
        "strategies/jointmatch.py",
        'if self.disagree_on == "label":',
        "if True:",
        DISAGREE,
    ),
    Mutant(
        "JointMatch: the status is never shared",
        "strategies/jointmatch.py",
        "first if shared_status else copy.deepcopy(first)",
        "copy.deepcopy(first)",
        STATUS,
    ),
    Mutant(
        "JointMatch: the second network moves the status first",
        "strategies/jointmatch.py",
        "index, labeled[i], shares) for i in range(2)]",
        "index, labeled[i], shares) for i in (1, 0)][::-1]",
        STATUS,
    ),
    Mutant(
        "CPS: each network labels for itself",
        "strategies/cross_pseudo_supervision.py",
        "for peer in (1, 0)",
        "for peer in (0, 1)",
        CPS,
    ),
    Mutant(
        "CPS: labeled samples are not crossed",
        "strategies/cross_pseudo_supervision.py",
        "if self.on_labeled and p_labeled is not None:",
        "if False:",
        CPS,
    ),
    Mutant(
        "CPS: each network learns a mixture of its own",
        "selftrain/mix.py",
        "with own_randomness(x.device) if i + 1 < len(targets) else contextlib.nullcontext():",
        "with contextlib.nullcontext():",
        "test_methods_peers.py::test_both_networks_learn_one_mixture_of_the_unlabeled_samples",
    ),
    Mutant(
        "CPS: classes of a network's own labels are pasted",
        "selftrain/mix.py",
        "_classes(other if by is None else pick(by, partner), task)",
        "_classes(other, task)",
        "test_mix.py::test_targets_of_several_networks_are_mixed_alike",
    ),
    Mutant("ensemble: shares weigh nothing", "strategies/ensemble.py", "return used * share", "return used", ENSEMBLE),
    Mutant(
        "ensemble: entropy of a class of probability 0",
        "strategies/ensemble.py",
        "spread.clamp(min=1e-12).log()",
        "spread.log()",
        ENTROPY,
    ),
    Mutant(
        "ensemble: entropy not divided by its maximum",
        "strategies/ensemble.py",
        "entropy / math.log(spread.shape[-1])",
        "entropy",
        ENTROPY,
    ),
    Mutant(
        "ensemble: nobody heard where nobody agrees",
        "strategies/ensemble.py",
        "torch.where(share > 0, inlier, 1.0) if",
        "inlier if",
        NOBODY,
    ),
    Mutant(
        "ensemble: outliers shipped",
        "strategies/ensemble.py",
        "return found if self.outlier_class is None else",
        "return found if True else",
        OUTLIERS,
    ),
]
