"""Faults of the self-check: alarms that cannot be heard, are false or are forgotten, and looks that leave a trace."""

from fault import Mutant

FILE = "test_selfcheck.py::"
SILENT = FILE + "test_unlabeled_samples_without_a_gradient_are_found"
ARRIVES = FILE + "test_a_gradient_that_arrives_is_no_alarm"
RESUMED = FILE + "test_a_resumed_run_has_the_alarms_of_the_whole_one"
ACTS = "test_on_alarm.py::"
CONTROL = FILE + "test_a_run_with_a_control_can_be_resumed_anywhere"

NOTICED = "test_exact_resume.py::test_what_a_resume_will_not_do_is_said"

MUTANTS = [
    Mutant(
        "labels weigh in the step on a copy",
        "selftrain/handlers/gradcheck.py",
        "target.scaled(0.0)",
        "target.scaled(1.0)",
        SILENT,
    ),
    Mutant(
        "labels of later batches weigh in the step on a copy",
        "selftrain/handlers/gradcheck.py",
        "batch, *extra = [_without_labels(b) for b in batches]",
        "batch, *extra = [_without_labels(batches[0]), *batches[1:]]",
        FILE + "test_labels_of_batches_drawn_ahead_weigh_nothing_too",
    ),
    Mutant("virtual updates heard", "selftrain/handlers/gradcheck.py", "if not learner._virtual:", "if True:", SILENT),
    Mutant(
        "only the last update of a step on a copy heard",
        "selftrain/handlers/gradcheck.py",
        "for norm in heard]).amax()",
        "for norm in heard[-1:]]).amax()",
        ARRIVES,
    ),
    Mutant(
        "half-gathered gradients heard",
        "selftrain/handlers/gradcheck.py",
        "    learner.accumulate = 1\n",
        "",
        SILENT,
    ),
    Mutant(
        "a step on a copy draws the run's random numbers",
        "selftrain/handlers/gradcheck.py",
        "    with own_randomness(device):\n",
        "    if True:\n",
        FILE + "test_random_numbers_and_mode_are_left_as_found",
    ),
    Mutant(
        "what a copy did to the original is not undone",
        "selftrain/handlers/gradcheck.py",
        "        _restore(strategy, saved, before)\n",
        "",
        FILE + "test_a_copy_that_trains_the_original_is_undone",
    ),
    Mutant(
        "the strategy itself probed",
        "selftrain/handlers/gradcheck.py",
        "_step(_copied(strategy, strategy, {})",
        "_step(strategy",
        FILE + "test_training_is_the_same_bit_for_bit",
    ),  # fmt: skip
    Mutant(
        "a step on a copy is told the present moment",
        "selftrain/handlers/selfcheck.py",
        "max(step, math.ceil(LATE * self.total))",
        "step",
        ARRIVES,
    ),
    Mutant(
        "steps on a copy without end",
        "selftrain/handlers/selfcheck.py",
        'self.probes["done"] = int(norm != 0 or',
        'self.probes["done"] = int(',
        FILE + "test_no_more_steps_are_taken_than_it_needs",
    ),
    Mutant(
        "collapse by a single evaluation",
        "selftrain/handlers/selfcheck.py",
        "confirmed = self.one_sided >= 2",
        "confirmed = self.one_sided >= 1",
        FILE + "test_a_collapse_in_the_midst_is_found_and_one_evaluation_is_not_enough",
    ),
    Mutant(
        "the first steps judged",
        "selftrain/handlers/selfcheck.py",
        "self.one_sided >= 2 and step >= STREAK",
        "self.one_sided >= 2 and step >= 0",
        FILE + "test_the_first_steps_are_no_collapse_and_the_last_evaluation_is_judged_whatever_its_step",
    ),
    Mutant(
        "easy classes first taken for a collapse",
        "selftrain/handlers/selfcheck.py",
        "early = 2 * step < self.total",
        "early = False",
        FILE + "test_classes_may_be_accepted_one_after_the_other_until_half_of_the_stage",
    ),
    Mutant(
        "collapse by chance",
        "selftrain/metrics/significance.py",
        "freedom + 6 * math.sqrt(2 * freedom)",
        "0",
        FILE + "test_a_collapse_is_far_and_beyond_noise",
    ),
    Mutant(
        "no collapse of two classes",
        "selftrain/metrics/significance.py",
        "max(expected / 2, 1 + (expected - 1) / 10)",
        "expected / 2",
        FILE + "test_a_collapse_is_far_and_beyond_noise",
    ),
    Mutant(
        "rules that reject nothing blamed",
        "selftrain/handlers/selfcheck.py",
        'any(getattr(rule, "rejects", True) for rule in rules)',
        "True",
        FILE + "test_everything_is_kept_where_nothing_is_to_be_rejected",
    ),
    Mutant(
        "the start of the stage counted",
        "selftrain/handlers/selfcheck.py",
        "step <= self._streaks_begin()",
        "False",
        FILE + "test_the_first_fifth_and_the_first_epoch_are_not_counted",
    ),
    Mutant(
        "a streak survives its end",
        "selftrain/handlers/selfcheck.py",
        "(self.streaks[name] + 1) * holds.to(self.device)",
        "self.streaks[name] + holds.to(self.device)",
        FILE + "test_one_step_that_differs_begins_the_count_anew",
    ),
    Mutant(
        "noise of evaluations forgotten",
        "selftrain/metrics/significance.py",
        "max(MARGIN, ERRORS * math.sqrt(2 * mean * (1 - mean) / samples))",
        "MARGIN",
        FILE + "test_clearly_below_is_two_points_and_two_standard_errors",
    ),
    Mutant("alarms repeated", "selftrain/handlers/selfcheck.py", "if alarm.kind not in known:", "if True:", RESUMED),
    Mutant(
        "alarms forgotten by resuming",
        "selftrain/handlers/selfcheck.py",
        "self.context.alarms[:] = stored_alarms(state)",
        "pass",
        RESUMED,
    ),
    Mutant(
        "evaluations in a row forgotten by resuming",
        "selftrain/handlers/selfcheck.py",
        'self.one_sided, self.start = state["one_sided"],',
        "self.one_sided, self.start, self.embedded = 0,",
        RESUMED,
    ),
    Mutant(
        "streaks forgotten by resuming",
        "selftrain/handlers/selfcheck.py",
        "self.streaks, self.embedded = (",
        "_, self.embedded = (",
        RESUMED,
    ),
    Mutant(
        "start of the control not stored",
        "selftrain/engine/beside.py",
        "        beside.save(0)  #",
        "        pass  #",
        CONTROL,
    ),
    Mutant(
        "the control trains the run's networks",
        "selftrain/handlers/baseline.py",
        "self.method = copy_network(strategy)",
        "self.method = strategy",
        FILE + "test_the_control_leaves_the_run_alone",
    ),
    Mutant(
        "the control asks for unlabeled views",
        "selftrain/handlers/baseline.py",
        "replace(self.method.needs(), views=(), extra_batches=0)",
        "self.method.needs()",
        FILE + "test_the_control_asks_for_no_view_and_tells_of_no_pseudo_label",
    ),
    Mutant(
        "classes drift unseen",
        "selftrain/handlers/selfcheck.py",
        "            self.log(self.compare_classes(step), step)\n",
        "",
        FILE + "test_classes_that_drift_from_those_of_the_labels_alone_are_found_without_held_out_labels",
    ),
    Mutant(
        "drift is told without regard to the labels alone",
        "selftrain/metrics/significance.py",
        "class_distance(shares, prior) - class_distance(control, prior)",
        "class_distance(shares, prior)",
        FILE + "test_drift_is_a_difference_of_distances_beyond_chance",
    ),
    Mutant(
        "drift of a few rows is told",
        "selftrain/metrics/significance.py",
        "apart > max(DRIFT, math.sqrt(len(prior) / rows))",
        "apart > DRIFT",
        FILE + "test_drift_is_a_difference_of_distances_beyond_chance",
    ),
    Mutant(
        "drift does not act",
        "selftrain/handlers/selfcheck.py",
        "WORSE_THAN_SUPERVISED, CLASS_DRIFT)\n",
        "WORSE_THAN_SUPERVISED)\n",
        FILE + "test_classes_that_drift_from_those_of_the_labels_alone_are_found_without_held_out_labels",
    ),
    # -- an alarm acts
    Mutant(
        "an alarm is ignored by a run that is to stop",
        "selftrain/engine/loop.py",
        'if state.on_alarm != "stop" or not alarms:',
        "if True:",
        ACTS + "test_a_run_without_a_folder_stops_too",
    ),
    Mutant(
        "an alarm is ignored by a run that is to fall back",
        "selftrain/engine/state.py",
        'return self.on_alarm == "fallback" and bool(self.harmful()) and self.fallback is None',
        "return False",
        ACTS + "test_worse_on_validation_is_enough",
    ),
    Mutant(
        "a fallback ships the weights that the alarm speaks against",
        "selftrain/engine/beside.py",
        "take_state(state.strategy, copied(chosen), what_fails,",
        "str((state, chosen)) and (",
        ACTS + "test_worse_on_validation_is_enough",
    ),
    Mutant(
        "a fallback prefers the run's own weights",
        "selftrain/engine/beside.py",
        "clearly_below(floor, best, state.samples)",
        "clearly_below(best, floor, state.samples)",
        ACTS + "test_worse_on_validation_is_enough",
    ),
    Mutant(
        "a fallback keeps the best weights of the run",
        "selftrain/engine/beside.py",
        "        state.figures, state.best = dict(beside.figures), dict(beside.best)\n",
        "        state.figures = dict(beside.figures)\n",
        ACTS + "test_worse_on_validation_is_enough",
    ),
    Mutant(
        "sound weights are taken at the first bad evaluation",
        "selftrain/handlers/selfcheck.py",
        "return not self.one_sided",
        "return True",
        ACTS + "test_without_a_baseline_the_last_sound_weights_are_shipped",
    ),
    Mutant(
        "sound weights are taken after the alarm",
        "selftrain/engine/state.py",
        "not self.harmful() and all(handler.sound() for handler in self.handlers)",
        "True",
        ACTS + "test_without_a_baseline_the_last_sound_weights_are_shipped",
    ),
    Mutant(
        "pseudo-labels of a run that fell back stay",
        "selftrain/engine/beside.py",
        "    _relabel(state)\n",
        "",
        ACTS + "test_after_a_collapse_the_labels_alone_are_shipped",
    ),
    Mutant(
        "a run is finished before it falls back",
        "selftrain/engine/loop.py",
        """                if on_alarm != "fallback":
                    state.finish()
""",
        """                if on_alarm:
                    state.finish()
""",
        ACTS + "test_what_is_about_to_fall_back_is_not_finished",
    ),
    Mutant(
        "the start of the labels alone is not kept where only an alarm needs it",
        "selftrain/engine/loop.py",
        'copy_for_baseline(strategy, wanted or on_alarm == "fallback"',
        "copy_for_baseline(strategy, wanted",
        ACTS + "test_after_a_collapse_the_labels_alone_are_shipped",
    ),
    Mutant(
        "every baseline passes for cheap",
        "selftrain/engine/beside.py",
        "    return 3 * plan.labeled < ",
        "    return plan.labeled < ",
        ACTS + "test_a_baseline_is_cheap_where_its_steps_read_less_than_a_third",
    ),
    # -- a stop and a resume, tried
    Mutant(
        "self-check: nobody is told that a resumed run would differ",
        "selftrain/handlers/selfcheck.py",
        "        if complaint is not None:\n",
        "        if False:\n",
        NOTICED,
    ),
    Mutant(
        "self-check: the copy that resumes is one of the strategy as it is",
        "selftrain/handlers/resumecheck.py",
        "self._stepped(self.early))",
        "self._stepped(self._copy()))",
        f"{NOTICED}[slots]",
    ),
    Mutant(
        "self-check: a resume is tried without the attributes",
        "selftrain/handlers/resumecheck.py",
        "        Attributes(twin, optimizers, device).load_state_dict(copied(self.attributes))\n",
        "",
        "test_exact_resume.py::test_what_is_stored_is_no_reason_to_warn",
    ),
    Mutant(
        "self-check: rounding is taken for another run",
        "selftrain/handlers/resumecheck.py",
        "if again and max(again.values()) < CLOSE:",
        "if False:",
        "test_exact_resume.py::test_operations_without_a_fixed_order_are_no_reason_to_warn",
    ),
    Mutant(
        "self-check: what copies share stays where a try has left it",
        "selftrain/handlers/resumecheck.py",
        "            self.context.attributes.load_state_dict(copied(self.attributes))\n",
        "            pass\n",
        "test_exact_resume.py::test_a_try_leaves_what_copies_share_as_it_is",
    ),
]
