"""Faults of frozen labels, of the students that learn them, and of pipelines."""

from fault import Mutant

TABLE, REFINE = "selftrain/labels/table.py", "selftrain/labels/refine.py"
LABEL, STORAGE = "selftrain/labels/teacher_pass.py", "selftrain/labels/table_file.py"
NOISY, ROUND = "strategies/noisy_student.py", "strategies/curriculum_labeling.py"
STAGES, STATE = "selftrain/pipeline/stages.py", "selftrain/pipeline/state.py"
FOLDER, LABELING = "selftrain/pipeline/folder.py", "selftrain/pipeline/labeling.py"
STABILITY, RELIABLE = "selftrain/labels/stability.py", "selftrain/pipeline/reliable.py"
REPORT, RECIPES = "selftrain/pipeline/report.py", "selftrain/pipeline/presets.py"
WARPED = "test_generations.py::test_stored_labels_follow_the_view_as_its_picture_does"
MIXED = "test_generations.py::test_a_curriculum_round_learns_mixtures_of_labeled_and_kept_samples"
PIXELS = "test_generations.py::test_pixels_that_were_not_kept_are_not_counted"
FIRST_LABELS = (
    "test_st_plus_plus.py::test_reliable_pictures_keep_the_labels_of_the_first_network_others_get_those_of_the_second"
)
FINISHED = "test_pipeline.py::test_a_finished_stage_is_not_run_again"
STOPPED = "test_pipeline.py::test_a_pipeline_stopped_anywhere_goes_on_as_if_it_had_not"

MUTANTS = [
    # -- the table
    Mutant(
        "frozen labels: percentile of the kept units only",
        TABLE,
        "percentile(self.confidence, 100 - percent)",
        "percentile(self.confidence[self.kept], 100 - percent)",
        "test_pilelabels.py::test_percentiles_are_taken_over_all_units_whatever_was_dropped_before",
    ),
    Mutant(
        "frozen labels: the threshold itself fails",
        TABLE,
        "(self.confidence >= threshold)",
        "(self.confidence > threshold)",
        "test_pilelabels.py::test_the_threshold_itself_passes",
    ),
    Mutant(
        "frozen labels: balance keeps the least sure",
        REFINE,
        "argsort(descending=True, stable=True)",
        "argsort(descending=False, stable=True)",
        "test_pilelabels.py::test_a_balance_by_hand",
    ),
    Mutant(
        "frozen labels: rare classes are not repeated",
        REFINE,
        "min(max_copies, max(1.0, per_class / max(1, len(units))))",
        "1.0",
        "test_pilelabels.py::test_a_weight_is_worth_as_many_copies",
    ),
    Mutant(
        "frozen labels: confidence of rounded values",
        LABEL,
        "        sure = task.confidence(seen)\n",
        "        sure = task.confidence(seen.to(dtype).float())\n",
        "test_pilelabels.py::test_half_precision_rounds_values_and_keeps_confidences",
    ),
    Mutant(
        "frozen labels: the teacher predicts in training mode",
        "selftrain/strategy/base.py",
        "        with eval_mode(self):\n",
        "        with contextlib.nullcontext():\n",
        "test_pilelabels.py::test_the_teacher_predicts_in_evaluation_mode_without_gradient_and_is_left_as_it_was",
    ),
    Mutant(
        "frozen labels: any other table is accepted",
        TABLE,
        'if state["digest"] != self.digest:',
        'if len(state["digest"]) != len(self.digest):',
        "test_generations.py::test_a_run_is_not_resumed_with_other_labels",
    ),
    Mutant(
        "frozen labels: sums of the values alone",
        STORAGE,
        "for name in NAMES:",
        "for name in NAMES[:1]:",
        "test_pilelabels.py::test_the_digest_tells_tables_apart",
    ),
    # -- students
    Mutant(
        "noisy student: labels do not follow the view",
        NOISY,
        "target = self.task.warp(pseudo.target, strong)",
        "target = pseudo.target",
        WARPED,
    ),
    Mutant(
        "noisy student: weights of the table ignored",
        NOISY,
        "target = self.task.warp(pseudo.target, strong)",
        "target = self.task.warp(pseudo.target.scaled(1 / pseudo.target.weight), strong)",
        "test_generations.py::test_three_steps_of_a_noisy_student_by_hand",
    ),
    Mutant(
        "noisy student: labeled samples looked at in vain",
        NOISY,
        "if self.labeled_weight == 0:",
        "if self.labeled_weight < 0:",
        "test_generations.py::test_a_stage_on_pseudo_labels_alone_does_not_look_at_labeled_samples",
    ),
    Mutant(
        "curriculum: labels do not follow the view",
        ROUND,
        "self.task.warp(pseudo.target, view)",
        "pseudo.target",
        WARPED,
    ),
    Mutant(
        "curriculum: dropped pixels are counted",
        ROUND,
        "valid=target.mask() * target.weight > 0",
        "valid=target.mask() > 0",
        PIXELS,
    ),
    Mutant(
        "curriculum: dropped samples are mixed in",
        ROUND,
        ".reshape(len(target.weight), -1).any(1)",
        ".reshape(len(target.weight), -1).any(1) | True",
        MIXED,
    ),
    # -- pipelines
    Mutant(
        "pipeline: every stage draws the same weights",
        STAGES,
        "step_key(plan.seed, -number)",
        "step_key(plan.seed, -1)",
        "test_pipeline.py::test_every_stage_starts_from_its_own_weights",
    ),
    Mutant(
        "pipeline: weights drawn from the caller's state",
        STAGES,
        "            seed_step(step_key(plan.seed, -number), where)\n",
        "",
        STOPPED,
    ),
    Mutant(
        "pipeline: a finished stage begins anew",
        STATE,
        "resume = self.resume and begun",
        "resume = self.overwrite and begun",
        FINISHED,
    ),
    Mutant(
        "pipeline: a stored table is made again",
        LABELING,
        'if entry["resume"] and path.is_file() and record.is_file():',
        'if entry["resume"] and path.is_dir():',
        FINISHED,
    ),
    Mutant(
        "pipeline: the refined table is stored",
        LABELING,
        "        table.save(path)\n",
        "        (table if self.refine is None else self.refine(table)).save(path)\n",
        "test_pipeline.py::test_the_stored_table_is_the_one_that_is_learned",
    ),
    Mutant(
        "pipeline: steps are counted for each stage",
        STATE,
        "        self.left -= steps\n",
        "",
        STOPPED,
    ),
    Mutant(
        "pipeline: the last weights in place of the best",
        STAGES,
        "            take_state(strategy, run.best_state)\n",
        "",
        "test_pipeline.py::test_a_stage_hands_on_its_last_or_its_best_weights",
    ),
    Mutant(
        "pipeline: the worst stage is chosen",
        STAGES,
        "chosen = max(self.among",
        "chosen = min(self.among",
        "test_pipeline.py::test_the_best_of_several_stages_is_handed_on",
    ),
    Mutant(
        "pipeline: other stages are resumed",
        FOLDER,
        "if old.get(key) != new.get(key)]",
        "if key not in old]",
        "test_pipeline.py::test_a_pipeline_is_resumed_as_it_was",
    ),
    Mutant(
        "pipeline: stages drawn one over the other",
        REPORT,
        '            at += row["steps"]\n',
        "",
        "test_pipeline.py::test_the_figures_of_all_stages_lie_on_one_axis",
    ),
    Mutant(
        "pipeline: an alarm is taken for a figure",
        REPORT,
        'if "alarm" in row:',
        'if "alarms" in row:',
        "test_pipeline.py::test_alarms_of_a_stage_lie_on_the_same_axis",
    ),
    Mutant(
        "pipeline: a shorter list of stages is written down",
        FOLDER,
        "return max(before, now, key=len)",
        "return now",
        "test_pipeline.py::test_more_stages_may_follow",
    ),
    Mutant(
        "curriculum: a round goes on from the last",
        RECIPES,
        'stages.train(f"round-{r}", learner, round, None,',
        'stages.train(f"round-{r}", learner, round, f"round-{r - 1}",',
        "test_pipeline.py::test_every_round_of_a_curriculum_starts_from_scratch_and_the_best_is_shipped",
    ),
    Mutant(
        "curriculum: the same share in each round",
        RECIPES,
        "percent=100 * r / rounds",
        "percent=100 / rounds",
        "test_pipeline.py::test_the_rounds_of_a_curriculum_by_hand",
    ),
    Mutant(
        "st++: the earlier snapshots are the truth",
        STABILITY,
        "*before, last = (_said",
        "last, *before = (_said",
        "test_st_plus_plus.py::test_a_picture_is_as_stable_as_its_masks_overlap_with_the_last_one",
    ),
    Mutant(
        "st++: the least stable are kept",
        RELIABLE,
        "stability[order].argsort(descending=True, stable=True)",
        "stability[order].argsort(descending=False, stable=True)",
        "test_st_plus_plus.py::test_the_most_stable_come_first_then_the_sure_then_the_early",
    ),
    Mutant(
        "st++: snapshots at logarithmic moments",
        RECIPES,
        'Snapshots(snapshots, spacing="even")',
        "Snapshots(snapshots)",
        FIRST_LABELS,
    ),
    Mutant(
        "st++: everything is labeled anew",
        RECIPES,
        ', completes="label-reliable"',
        "",
        FIRST_LABELS,
    ),
    Mutant(
        "st++: stability of a replaced run is taken over",
        "selftrain/storage/run_dir.py",
        "    STABILITY,\n    REPORT,\n",
        "    REPORT,\n",
        "test_st_plus_plus.py::test_what_is_finished_is_read_and_what_is_replaced_is_not",
    ),
]
