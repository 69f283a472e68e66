"""Faults in what is frozen, shared and merged."""

from __future__ import annotations

from fault import Mutant

COPYING, EMA, STUDENT = (f"selftrain/networks/{name}.py" for name in ("copying", "ema", "student"))
ADAPTERS = "selftrain/networks/adapters.py"
FROZEN = "test_frozen.py::test_"
ONCE = f"{FROZEN}a_teacher_holds_what_learns_and_nothing_else"

MUTANTS = [
    # -- what is compared with what
    Mutant(
        "starts: a method has to beat the floor alone",
        "selftrain/cli/starts.py",
        'start, alone, "method"',
        'start, alone[:1], "method"',
        "test_cli_starts.py::test_methods_have_to_beat_all_that_labels_alone_give_on_their_start",
    ),
    Mutant(
        "starts: the weakest rival decides",
        "selftrain/cli/verdict.py",
        "= min(beaten)",
        "= max(beaten)",
        "test_cli_starts.py::test_a_method_pays_only_if_it_beats_the_best",
    ),
    Mutant(
        "starts: a probe learns from what judges it",
        "selftrain/cli/starts.py",
        'for one in ("labeled", part)',
        "for one in (part, part)",
        "test_cli_starts.py::test_probes_choose_by_the_labels_alone",
    ),
    Mutant(
        "starts: the histogram need not be beaten from another start",
        "selftrain/cli/starts.py",
        "name: name if name == HISTOGRAM else _title",
        "name: _title",
        "test_cli_starts.py::test_a_method_has_to_beat_what_costs_nothing_from_every_start",
    ),
    Mutant(
        "starts: prefixes of wrappers stay before the names of weights",
        "selftrain/networks/optim.py",
        "own[name].shape == value.shape for name, value in moved.items()",
        "False for name, value in moved.items()",
        "test_build.py::test_a_start_is_read_from_files_of_torch_whatever_stands_before_the_names",
    ),
    # -- what is shared and merged
    Mutant("adapters: a teacher copies frozen weights", EMA, "= student.frozen()", "= []", ONCE),
    Mutant(
        "adapters: copies of a learner copy frozen weights",
        STUDENT,
        "        memo.update((id(p), p) for p in self.frozen())\n",
        "",
        f"{FROZEN}copies_share_them_and_nothing_else",
    ),
    Mutant(
        "adapters: a copied state copies frozen weights",
        COPYING,
        "copied(module.state_dict(), frozen_storages(module))",
        "copied(module.state_dict())",
        f"{FROZEN}copies_share_them_and_nothing_else",
    ),
    Mutant(
        "adapters: an average moves frozen weights of its student",
        EMA,
        "        self._own(apart)\n        rows",
        "        rows",
        f"{FROZEN}a_teacher_that_follows_others_does_not_write_into_its_student",
    ),
    Mutant(
        "adapters: weights that learn after all stay shared",
        EMA,
        "(p.requires_grad or any(q is not p for q in theirs))",
        "any(q is not p for q in theirs)",
        f"{FROZEN}a_teacher_parts_from_weights_that_learn_after_all",
    ),
    Mutant(
        "adapters: a state with other weights of the teacher overwrites those of the student",
        EMA,
        "value.shape != p.shape or not torch.equal(value.to(p), p)",
        "value.shape != p.shape",
        f"{FROZEN}a_state_with_other_weights_parts_student_and_teacher",
    ),
    Mutant(
        "adapters: what an optimizer holds is taken for frozen",
        STUDENT,
        "if not p.requires_grad and id(p) not in held",
        "if not p.requires_grad",
        f"{FROZEN}weights_that_an_optimizer_holds_are_not_shared",
    ),
    Mutant(
        "adapters: the scale is left out",
        ADAPTERS,
        "lora_alpha=scale",
        "lora_alpha=self.rank",
        "test_adapters.py::test_a_layer_in_closed_form",
    ),
    Mutant(
        "adapters: merged into the weights that others share",
        "selftrain/networks/optim.py",
        "merge_adapters(copy_network(network))",
        "merge_adapters(network)",
        "test_adapters.py::test_a_layer_in_closed_form",
    ),
    Mutant(
        "adapters: the scale is left out of weights that nobody calls",
        ADAPTERS,
        "LowRank(module.get_parameter(name), self.rank, scale / self.rank)",
        "LowRank(module.get_parameter(name), self.rank, 1.0)",
        "test_adapters.py::test_attention_of_torch_in_closed_form",
    ),
    Mutant(
        "adapters: torch's transformer layers read past them at rest",
        ADAPTERS,
        "module.activation_relu_or_gelu = 0",
        "pass",
        "test_adapters.py::test_a_layer_of_torchs_transformer_sees_its_adapters_at_rest_too",
    ),
]
