"""Remedies of the messages of ``strategies``, ``selftrain/strategy``, ``selftrain/select``, tasks and mixing."""

from dataclasses import replace
from functools import partial

import torch
import zoo
from remedies import Elsewhere, Row, setting

import selftrain as st
from selftrain import networks, select, strategies, toy
from selftrain.mix import (
    ClassMix,
    CutMix,
    CutMixSeg,
    JointOcclusion,
    KeypointMix,
    LabelInjection,
    Mixup,
    SourceClassMix,
)
from selftrain.schedule import Constant, Cosine
from selftrain.select.alignment import Align
from selftrain.select.base import score
from selftrain.select.darp import Darp
from selftrain.select.debias import AdjustLabels, Debias
from selftrain.strategy.label_memory import LabelMemory
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import Batch, BatchPlan

_MIX = "unit/test_mix.py::test_"

TASK, JOINTS = toy.task("classification"), toy.task("keypoints")
KINDS = {}


def batches(name, kind="classification", **settings):
    """Batches of a step; made once for each kind where the plan is the usual one."""
    strategy = zoo.build(name, kind, **settings)
    key = (kind, repr(strategy.needs()))
    if key not in KINDS:
        KINDS[key] = zoo.batches(strategy, kind)
    return strategy, KINDS[key]


def step(name, kind="classification", **settings):
    """One step of a method, whose loss is a number."""
    report = zoo.take_step(*batches(name, kind, **settings))
    assert report.loss.isfinite() if hasattr(report, "loss") else report is not None


def of(name, kind="classification"):
    return partial(step, name, kind)


VALUE = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
EVIDENCE = score(TASK, VALUE, torch.arange(3), VALUE)
RULE = {"groups": 3}


def weigh(make, evidence=EVIDENCE, **settings):
    """Weights by a rule; it learns from the batch as it does in training."""
    rule = make(**settings).train()
    assert rule(evidence).shape == (3,)


def flex(evidence=EVIDENCE, **settings):
    weigh(select.flex, evidence, **({"unlabeled": 3, "groups": 3} | settings))


def align(**settings):
    rule = Align(TASK, **settings).train()
    assert rule(VALUE, VALUE).shape == VALUE.shape


CLASSES = toy.task("classification").groups


def adjusted(name, **settings):
    """One step of a method whose task may adjust the loss of labels."""
    task = Classification(CLASSES, **settings)
    made = {"mixmatch": strategies.MixMatch, "fixmatch": strategies.FixMatch}[name](task, toy.learner("classification"))
    st.fit(made, toy.pile("classification"), steps=1)


def memory(size=3, shape=(3,), rows=3, value=VALUE):
    LabelMemory(TASK, size, shape).write(torch.arange(rows), value[:rows])


def mixed(mix, kind, inputs=None):
    _, (batch, *_) = batches("supervised", kind)
    mix(batch.labeled.x if inputs is None else inputs, batch.labeled.target, toy.task(kind))


def pose(levels):
    encoder = networks.UNetEncoder(toy.SIDE, 1, widths=(4, 4, 8))
    return st.learner(networks.PoseNet(encoder, toy.JOINTS, levels=levels))


def leveled(levels, weights):
    reviewed = strategies.ReviewedTeacher(JOINTS, pose(levels), levels=weights)
    st.fit(reviewed, toy.pile("keypoints"), steps=1, plan=BatchPlan(4))


ONLY_LABELED = [Batch(batches("supervised")[1][0].labeled, None)]
S, R = "strategies", "selftrain/select"
ROWS_OF = {
    f"{S}/curriculum_labeling.py": [setting("alpha is {}", of("curriculum_labeling"), "alpha", -1, 0)],
    f"{S}/ensemble.py": [
        setting("quorum is {}", of("ensemble"), "quorum", 2, 0, 1),
        setting("weighting is {}", of("ensemble"), "weighting", "none", "equal", "share", "entropy"),
        setting("the classes are 0 to {}", of("ensemble"), "outlier_class", 3, 0, 2),
        setting("joints have no classes; set None", of("ensemble", "keypoints"), "outlier_class", 0, None),
    ],
    f"{S}/unimatch_v2.py": [setting("shared_out is {}", of("unimatch_v2"), "shared_out", 2, 0, 1)],
    f"{S}/unimatch.py": [
        Row(
            "select replaces it; give one of them",
            lambda: strategies.UniMatch(TASK, toy.learner("classification"), threshold=0.5, select=select.top(0.5)),
            lambda: step("unimatch", select=select.top(0.5)),
            lambda: step("unimatch", threshold=0.5, select=None),
        ),
        setting("feature_share is {}", of("unimatch"), "feature_share", 2, 0, 1),
        setting("channel_drop is {}", of("unimatch"), "channel_drop", 1, 0, 0.9),
    ],
    f"{S}/fixmatch.py": [
        Row(
            "select replaces it; give one of them",
            lambda: strategies.FixMatch(TASK, toy.learner("classification"), threshold=0.5, select=select.top(0.5)),
            lambda: step("fixmatch", select=select.top(0.5)),
            lambda: step("fixmatch", threshold=0.5, select=None),
        )
    ],
    f"{S}/freematch.py": [
        setting("the weight must be 0 or more", of("freematch"), "fairness_weight", -1, 0),
        setting("the weight must be 0 or more", of("freematch"), "fairness_sign", 0, 1, -1),
        setting("joints have no class shares; set 0", of("freematch", "keypoints"), "fairness_weight", 0.1, 0),
    ],
    f"{S}/future.py": [
        setting("depth is {}", of("fst"), "depth", -1, 0),
        setting("width is {}", of("fst_w"), "width", 0, 1),
        setting("faithful is {}", of("fst"), "faithful", "both", "paper", "code"),
    ],
    f"{S}/jointmatch.py": [
        setting("delta is {}", of("jointmatch"), "delta", 2, 0, 1),
        setting("disagree_on is {}", of("jointmatch"), "disagree_on", "all", "mask", "label"),
        Row(
            "leave out threshold and status_decay",
            lambda: strategies.JointMatch(TASK, toy.learner("classification"), threshold=0.5, select=select.top(0.5)),
            lambda: strategies.JointMatch(TASK, toy.learner("classification"), select=select.top(0.5)),
        ),
    ],
    f"{S}/label_propagation.py": [
        setting("{} is {}; it must be at least 1", of("label_propagation"), "supervised_epochs", 0, 1),
        setting("{} is {}; it must be at least 1", of("label_propagation"), "neighbors", 0, 1),
        Row(
            "choose another method, such as MeanTeacher",
            lambda: strategies.LabelPropagation(
                toy.task("segmentation"), toy.learner("segmentation"), unlabeled=24, label_shape=(3, 12, 12)
            ),
            lambda: step("mean_teacher", "segmentation"),
        ),
        Row(
            "is outside the memory",
            lambda: zoo.take_step(
                strategies.LabelPropagation(TASK, toy.learner("classification"), unlabeled=1, label_shape=(3,)),
                batches("label_propagation")[1],
            ),
            lambda: step("label_propagation", unlabeled=24),
        ),
    ],
    f"{S}/mean_teacher.py": [
        setting("order is {}", of("mean_teacher"), "order", "now", "after", "before"),
        setting("tie_weight is {}", of("two_heads"), "tie_weight", -1, 0),
    ],
    f"{S}/mixmatch.py": [setting("looks is {}", of("mixmatch"), "looks", 0, 1)],
    f"{S}/noisy_student.py": [
        setting("{} is {}; it must be 0 or more", of("noisy_student"), "labeled_weight", -1, 0),
        setting("{} is {}; it must be 0 or more", of("noisy_student"), "unlabeled_weight", -1, 0),
    ],
    f"{S}/reviewer.py": [
        setting("follows is {}", of("reviewer"), "follows", "none", "student", "teacher"),
        setting("review is {}", of("reviewer"), "review", -1, 0),
        setting("levels is {}", partial(strategies.ReviewedTeacher, JOINTS, pose(2)), "levels", (-1.0,), (0.0,)),
        Row(
            "give {}, or a network with levels for them",
            lambda: leveled(2, (1.0, 1.0)),
            lambda: leveled(2, (1.0,)),
            lambda: leveled(3, (1.0, 1.0)),
        ),
    ],
    f"{S}/soft_labels.py": [
        setting("all must be 0 or more", of("soft_labels"), "alpha", -1, 0),
        setting("all must be 0 or more", of("soft_labels"), "prior_weight", -1, 0),
        setting("all must be 0 or more", of("soft_labels"), "entropy_weight", -1, 0),
        setting("use another rule", of("soft_labels"), "select", select.relative(), select.top()),
        setting("lower min_labeled", of("soft_labels"), "min_labeled", 5, 4),
        Row(
            "raise BatchPlan(labeled=...)",
            lambda: step("soft_labels", min_labeled=5),
            lambda: zoo.take_step(
                strategy := zoo.build("soft_labels", "classification", min_labeled=5),
                zoo.batches(strategy, "classification", plan=replace(zoo.PLAN, labeled=5)),
            ),
        ),
    ],
    f"{S}/temporal_ensembling.py": [
        setting("momentum is {}", of("temporal_ensembling"), "momentum", 1, 0),
        Row(
            "is outside the memory",
            lambda: zoo.take_step(
                strategies.TemporalEnsembling(TASK, toy.learner("classification"), unlabeled=1, label_shape=(3,)),
                batches("temporal_ensembling")[1],
            ),
            lambda: step("temporal_ensembling", unlabeled=24),
        ),
        Row(
            "label_shape is {}, a label of the data has {}",
            lambda: zoo.take_step(
                strategies.TemporalEnsembling(TASK, toy.learner("classification"), unlabeled=24, label_shape=(4,)),
                batches("temporal_ensembling")[1],
            ),
            lambda: step("temporal_ensembling", label_shape=(3,)),
        ),
    ],
    f"{S}/uda.py": [
        setting("annealing is {}; choose", of("uda"), "annealing", "cos", "linear", "log", "exp", None),
        setting("joints have no class probabilities; set None", of("uda", "keypoints"), "annealing", "exp", None),
    ],
    f"{S}/vat.py": [
        setting("lengths must be above 0", of("vat"), "eps", 0, 1e-3),
        setting("lengths must be above 0", of("vat"), "xi", 0, 1e-3),
        setting("lengths must be above 0", of("vat"), "iterations", 0, 1),
        setting("lengths must be above 0", of("vat"), "entropy_weight", -1, 0),
        setting("noise is {}", of("vat"), "noise", "none", "same", "fresh"),
    ],
    "selftrain/strategy/label_memory.py": [
        setting("unlabeled is {}", memory, "size", 0, 3),
        setting("the bank holds {}; set label_shape={}", memory, "shape", (4,), (3,)),
        setting("is outside the bank of {}", memory, "size", 2, 3),
        Row(
            "give the shape of one prediction",
            lambda: LabelMemory(JOINTS, 2, (2,)),
            lambda: LabelMemory(JOINTS, 2, (2, 12, 12)),
        ),
    ],
    "selftrain/strategy/pseudo_labeling.py": [
        setting("unlabeled_weight is {}", of("fixmatch"), "unlabeled_weight", -1, 0),
        Row(
            "use hard=True for the limit of 0",
            lambda: step("fixmatch", temperature=0, hard=False),
            lambda: step("fixmatch", temperature=1e-2, hard=False),
            lambda: step("fixmatch", hard=True),
        ),
        setting("distance is {}", of("fixmatch"), "distance", "l1", "mse", "ce"),
    ],
    "selftrain/strategy/several.py": [
        Row(
            "peers need at least 2, and one for each of {} makers",
            lambda: step("ensemble", members=1),
            lambda: step("ensemble", members=2),
        ),
        Row(
            "peers need at least 2, and one for each of {} makers",
            lambda: strategies.Ensemble(TASK, [toy.learner("classification")] * 3, members=2),
            lambda: strategies.Ensemble(TASK, [toy.learner("classification")] * 3, members=3),
        ),
    ],
    f"{R}/adaptive.py": [
        setting("mapping is {}", flex, "mapping", "square", "convex", "linear"),
        setting("row {} is outside {}", flex, "unlabeled", 2, 3),
        setting("a sample has units {}", flex, "units", (4,), ()),
        setting("quantile is {}", partial(weigh, select.free, **RULE), "quantile", 1, 0.5, None),
        setting("limits are {}", partial(weigh, select.free, **RULE), "limits", (2, 1), (0, 0), (0.2, 0.9)),
        setting("sigmas is {}", partial(weigh, select.soft, **RULE), "sigmas", 0, 1e-3),
        Row(
            "pass it as `labeled`",
            lambda: weigh(select.relative, score(TASK, VALUE, torch.arange(3))),
            lambda: weigh(select.relative, score(TASK, VALUE, torch.arange(3), labeled=VALUE)),
        ),
        setting("{} is {}; it must be at least 1", partial(weigh, select.soft), "groups", 0, 3),
        setting("set groups=task.groups", partial(weigh, select.soft), "groups", 2, TASK.groups),
        setting("threshold is {}", flex, "threshold", 0, 1e-3, 1),
    ],
    f"{R}/alignment.py": [
        setting(
            "target is {}; choose", align, "target", "even", "uniform", "labeled", "pile", torch.tensor([0.2, 0.3, 0.5])
        ),
        Row(
            "pass them as `labeled`",
            lambda: Align(TASK, target="labeled")(VALUE),
            lambda: Align(TASK, target="labeled")(VALUE, labeled=VALUE),
        ),
        setting("shares that sum to 1", align, "target", torch.ones(3), torch.tensor([0.2, 0.3, 0.5])),
    ],
    f"{R}/debias.py": [
        setting("tau is {}", partial(Debias, TASK), "tau", -1, 0, 0.5),
        setting("counts is {}; give", partial(AdjustLabels, TASK), "counts", [1, 0, 2], [1, 1, 2]),
    ],
    f"{R}/darp.py": [setting("{} is {}; it must be at least 1", partial(Darp, TASK), "memory", 0, 1)],
    f"{R}/base.py": [
        setting("threshold is {}; it must be in [0, 1]", select.image_share, "threshold", 95, 0.95, 1),
        setting("border is {}; give shares", select.image_share, "border", (15.0, 120.0), (15 / 512, 120 / 512)),
        Elsewhere(
            "and units of shape {} have no rows",
            "unit/select/test_select.py::test_the_share_of_sure_units_is_the_weight_of_all",
        ),
        setting("threshold is {}; it must be 0 or more", partial(weigh, select.above), "threshold", -1, 0),
        setting("decay is {}", partial(weigh, select.free, **RULE), "decay", 1, 0),
        setting("share is {}", partial(weigh, select.top), "share", 0, 0.1, 1),
        setting("by is {}", select.top, "by", "margin", "confidence", "entropy"),
        Elsewhere(
            "the batch has no entropies",
            "unit/select/test_select.py::test_the_lowest_entropies_are_not_the_largest_probabilities",
        ),
    ],
    "selftrain/mix.py": [
        Row(
            "leave label_counts out",
            lambda: adjusted("mixmatch", label_counts=[1.0] * CLASSES),
            lambda: adjusted("mixmatch"),
            lambda: adjusted("fixmatch", label_counts=[1.0] * CLASSES),
        ),
        Elsewhere(
            "enlarge its logits to the size",
            "unit/test_tasks.py::test_what_joins_labels_and_predictions_needs_them_of_one_size",
        ),
        Row(
            "cutmix needs images (B, c, H, W)",
            lambda: mixed(CutMix(), "classification", inputs=torch.rand(4, 3)),
            lambda: mixed(CutMix(), "classification"),
        ),
        Row(
            "classmix needs a class for each pixel",
            lambda: mixed(ClassMix(), "classification"),
            lambda: mixed(ClassMix(), "segmentation"),
            lambda: mixed(CutMix(), "classification"),
            lambda: mixed(Mixup(), "classification"),
        ),
        Row(
            "{} needs heatmaps (B, K, h, w) of images",
            lambda: mixed(KeypointMix(), "segmentation"),
            lambda: mixed(KeypointMix(), "keypoints"),
        ),
        *(
            Elsewhere(says, f"{_MIX}half_of_a_labeled_pictures_classes_lie_on_an_unlabeled_one_with_their_labels")
            for says in ("take ClassMix", "give views of one size")
        ),
        Row(
            "cutmix_seg needs images (B, c, H, W)",
            lambda: mixed(CutMixSeg(), "classification", inputs=torch.rand(4, 3)),
            lambda: mixed(CutMixSeg(), "classification"),
        ),
        *(
            Elsewhere(says, f"{_MIX}a_mix_that_injects_labels_says_what_it_lacks")
            for says in ("and there are none here; take CutMixSeg", "needs the predictions that labels are made of")
        ),
        Elsewhere("label_injection needs images (B, c, H, W)", f"{_MIX}a_mix_that_injects_labels_says_what_it_lacks"),
        setting("injected is {} and pasted {}", LabelInjection, "injected", (0.0, 2.0), (8.0, 2.0)),
        setting("injected is {} and pasted {}", LabelInjection, "pasted", (4.0, -1.0), (4.0, 4.0)),
        setting("classes is {}", SourceClassMix, "classes", "all", "picture", "batch"),
        setting("probability is {}", CutMixSeg, "probability", 2, 0, 1),
        setting("area is {} and aspect {}", CutMixSeg, "area", (0.4, 0.2), (0.02, 0.4)),
        setting("area is {} and aspect {}", CutMixSeg, "aspect", 0, 0.3, 1),
        setting("alpha is {}", lambda **given: mixed(Mixup(**given), "classification"), "alpha", -1, 0, 1e6),
        setting("size is {} and pairs {}", lambda **given: mixed(KeypointMix(**given), "keypoints"), "size", 0, 0.1, 1),
        setting("size is {} and pairs {}", lambda **given: mixed(KeypointMix(**given), "keypoints"), "pairs", 0, 1),
        setting("an occlusion has probability {}", JointOcclusion, "probability", 2, 0, 1),
    ],
    "selftrain/schedule.py": [
        setting("warmup is {}", Constant, "warmup", 1, 0, 0.9),
        setting("cycles is {}", Cosine, "cycles", 1, 0.1, 0.5),
        setting("final is {}", Cosine, "final", 2, 0, 1),
    ],
    "selftrain/tasks/base.py": [
        setting("classes is {}", Classification, "classes", 1, 2),
        setting("label_counts is {}", partial(Classification, 3), "label_counts", [5, 0, 1], [5, 1, 1]),
        setting("tau is {}", partial(Classification, 3), "tau", -1, 0, 1),
        Row(
            "masks need Segmentation",
            lambda: Classification(3).encode(torch.zeros(2, 4, 4, dtype=torch.long)),
            lambda: Classification(3).encode(torch.zeros(2, dtype=torch.long)),
            lambda: Segmentation(3).encode(torch.zeros(2, 4, 4, dtype=torch.long)),
        ),
        Row(
            "check the class count",
            lambda: Classification(3).encode(torch.tensor([0, 3])),
            lambda: Classification(4).encode(torch.tensor([0, 3])),
        ),
    ],
    "selftrain/tasks/segmentation.py": [
        setting("class_weights is {}", partial(Segmentation, 2), "class_weights", [1.0], [1.0, 0.0]),
        setting("ohem is {}", partial(Segmentation, 2), "ohem", 0, 0.7, 1, None),
        setting("dice is {}", partial(Segmentation, 2), "dice", -1, 0, 2.5),
        Row(
            "one label a sample Classification",
            lambda: Segmentation(3).encode(torch.zeros(2, dtype=torch.long)),
            lambda: Segmentation(3).encode(torch.zeros(2, 4, 4, dtype=torch.long)),
            lambda: Classification(3).encode(torch.zeros(2, dtype=torch.long)),
        ),
    ],
    "selftrain/tasks/keypoints.py": [
        setting("joints is {}", partial(Keypoints, size=(4, 4)), "joints", 0, 1),
        setting("sigma is {} and radius {}", partial(Keypoints, 2, (4, 4)), "sigma", 0, 1e-3),
        setting("sigma is {} and radius {}", partial(Keypoints, 2, (4, 4)), "radius", 0, 1e-3),
        Row(
            "expected (B, {}, 3): x, y, visible",
            lambda: Keypoints(2, (4, 4)).encode(torch.ones(5, 2, 2)),
            lambda: Keypoints(2, (4, 4)).encode(torch.ones(5, 2, 3)),
        ),
        Row(
            "leave out align",
            lambda: step("fixmatch", "keypoints", align=Align(JOINTS), hard=False),
            lambda: step("fixmatch", "keypoints", hard=False),
        ),
    ],
    "selftrain/types.py": [
        Row(
            "a strategy with labels needs a labeled set",
            lambda: Batch(None, batches("fixmatch")[1][0].unlabeled).labeled,
            lambda: step("fixmatch"),
        ),
        Row(
            "train `Supervised` when there are none",
            lambda: zoo.take_step(zoo.build("fixmatch", "classification"), ONLY_LABELED),
            lambda: zoo.take_step(zoo.build("supervised", "classification"), ONLY_LABELED),
        ),
        setting("labeled batch size is {}", BatchPlan, "labeled", 0, 1),
        setting("unlabeled_ratio is {}", BatchPlan, "unlabeled_ratio", 0, 0.1),
        setting("workers is {}", BatchPlan, "workers", -1, 0),
        setting("timeout is {}", BatchPlan, "timeout", -1, 0, 5.5),
        setting("rare_class_temperature is {}", BatchPlan, "rare_class_temperature", 0.0, 0.01, None),
    ],
}
