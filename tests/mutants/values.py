"""Faults that once went unseen: values called the paper's, passes of a step, and places that no formula covered."""

from __future__ import annotations

from fault import Mutant

VALUES = "test_values.py::test_every_value_that_the_page_tells_is_the_default"
PASSES = "test_passes.py::test_the_passes_of_a_step_are_those_that_the_page_tells"
GOLDEN = "test_golden_values.py::"


def _default(name: str, file: str, setting: str, old: str, new: str) -> Mutant:
    return Mutant(f"value of {name}", file, f"{setting} = {old}", f"{setting} = {new}", VALUES)


MUTANTS = [
    _default("UDA: temperature", "strategies/uda.py", "temperature: float", "0.4", "0.5"),
    Mutant("value of UDA: threshold", "strategies/uda.py", "select or above(0.8)", "select or above(0.95)", VALUES),
    _default("FixMatch: decay", "strategies/fixmatch.py", "decay: float | None", "0.999", "0.99"),
    _default("SoftMatch: decay", "strategies/softmatch.py", "decay: float | None", "0.999", "0.9"),
    _default("MixMatch: weight", "strategies/mixmatch.py", "unlabeled_weight: float", "75.0", "100.0"),
    _default("NoisyStudent: decay", "strategies/noisy_student.py", "decay: float | None", "0.9999", "0.999"),
    _default("Noisy Student: threshold", "selftrain/pipeline/presets.py", "threshold: float", "0.3", "0.5"),
    _default("two heads: tie", "strategies/mean_teacher.py", "tie_weight: float", "0.01", "0.1"),
    _default("FST-W: width", "strategies/future.py", "width: int", "3", "2"),
    _default("co-training: pool", "selftrain/wrapper/co_training.py", "pool: int | None", "75", "50"),
    _default("LeJEPA: lambda", "selftrain/pretrain/methods/lejepa.py", "weight: float", "0.05", "0.02"),
    _default("SimCLR: temperature", "selftrain/pretrain/methods/simclr.py", "temperature: float", "0.2", "0.5"),
    _default("UniSiam: weight", "selftrain/pretrain/methods/unisiam.py", "weight: float", "0.1", "1.0"),
    _default("VICReg: covariance", "selftrain/pretrain/methods/vicreg.py", "covariance: float", "1.0", "25.0"),
    Mutant(
        "the page leaves a default out",
        "strategies/jointmatch.py",
        "        delta: float = 0.9,\n",
        "        delta: float = 0.9,\n        extra: float = 0.5,\n",
        "test_values.py::test_every_default_of_a_method_is_on_the_page",
    ),
    Mutant(
        "passes: FixMatch labels in training mode",
        "strategies/fixmatch.py",
        'label_mode: LabelMode = "eval"',
        'label_mode: LabelMode = "train"',
        PASSES,
    ),
    Mutant(
        "passes: AdaMatch's labeled pass moves the statistics",
        "strategies/adamatch.py",
        "with self.student.untracked():",
        "if True:",
        PASSES,
    ),
    Mutant(
        "passes: a teacher in training mode",
        "selftrain/networks/ema.py",
        "set_mode(part, False)",
        "set_mode(part, mode)",
        PASSES,
    ),
    Mutant(
        "a unit exactly at the quorum is left out",
        "strategies/ensemble.py",
        "(share >= self.quorum)",
        "(share > self.quorum)",
        GOLDEN + "test_a_unit_exactly_at_the_quorum_is_used",
    ),
    Mutant(
        "SIGReg: directions of a cube",
        "selftrain/pretrain/regularizers.py",
        "unit(torch.randn(self.slices, width, generator=generator)).T",
        "unit(torch.rand(self.slices, width, generator=generator) - 0.5).T",
        "test_pretrain_regularizers.py::test_directions_are_uniform_on_the_sphere",
    ),
    Mutant(
        "label memory: the first visit of an epoch stays",
        "selftrain/strategy/label_memory.py",
        "torch.where(self._task.spread(said), fresh, self.latest(index))",
        "torch.where(self._task.spread(said & ~self.written[index]), fresh, self.latest(index))",
        GOLDEN + "test_of_two_visits_in_an_epoch_the_second_is_remembered_and_neither_is_in_use",
    ),
    Mutant(
        "temporal ensembling: the side pass without dropout",
        "strategies/temporal_ensembling.py",
        'self.student.label(view.x, "frozen")',
        'self.student.label(view.x, "eval")',
        GOLDEN + "test_the_side_pass_of_temporal_ensembling_is_in_training_mode_and_moves_no_statistics",
    ),
    Mutant(
        "random mask: counts rounded to the nearest",
        "selftrain/pretrain/maskers.py",
        "seen = floor(count * (1 - self.ratio), count - 1)",
        "seen = floor(round(count * (1 - self.ratio)), count - 1)",
        "test_pretrain_maskers.py::test_counts_that_do_not_divide_are_rounded_down",
    ),
    Mutant(
        "bound: a posterior by row looked up by its place among the candidates",
        "selftrain/wrapper/bound.py",
        "return given[candidates.rows] if",
        "return given[: len(candidates.rows)] if",
        "test_wrapper_bound.py::test_a_posterior_by_row_meets_the_rows_of_x_in_every_round",
    ),
    Mutant(
        "co-training: the second classifier's label wins",
        "selftrain/wrapper/co_training.py",
        "surer = surety > sure[mine]",
        "surer = surety > 0",
        "test_wrapper_co_training.py::test_of_two_labels_of_a_row_the_surer_one_is_told_whoever_was_first",
    ),
    Mutant(
        "default: few labels have no floor",
        "selftrain/catalog/methods.py",
        'if few and name == "freematch"',
        'if False and name == "freematch"',
        "test_estimator.py::test_the_default_waits_for_a_sure_network_where_labels_are_few",
    ),
]  # fmt: skip
