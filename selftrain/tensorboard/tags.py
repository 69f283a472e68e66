"""Everything a run writes to TensorBoard, by the question it answers; docs/dashboard.md explains each."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from selftrain.tensorboard.class_names import ALL, RESERVED, RIGHT

LEARNING, ALONE, PILE, CLASSES, WRONG, TEACHER, FEATURES, SPEED = QUESTIONS = (
    "Is it learning?", "Is it better than labels alone?", "How much of the pile is used, and how right is it?",
    "Which classes suffer?", "Is something wrong?", "Is the teacher better?", "Are the features good?", "How fast?",
)  # fmt: skip
# TensorBoard sorts groups of tags by name, and takes no space in one
_WORDS_OF = ("learning", "labels_alone", "pile", "classes", "wrong", "teacher", "features", "speed")
_HELD_OUT = "PART/FIGURE"
_OWN = ("train", "ledger", "check", "classes", "teacher", "speed", "baseline", "stage", "shipped")
_WORDS = {
    # anything else before a slash is a part, whatever a user called it
    "PART": rf"(?!(?:{'|'.join(_OWN)})/)[^/]+",  # validation, unlabeled, and what is monitored
    "FIGURE": "(?:accuracy|balanced_accuracy|mean_iou|pck|distance)",
    "LOSS": "[^/]+",
    "CLASS": rf"(?!(?:{'|'.join(RESERVED)})$)[^/]+",
    "NETWORK": "[^/]+",
    "KIND": "[^/]+",
}


@dataclass(frozen=True)
class Tag:
    """One entry of the log.

    Args:
        name: As in the log; words in capitals stand for what differs.
        question: What a person asks who looks at it.
        chart: Title of its chart on the page of custom scalars; ``None``: it is no scalar, or not there.
        kind: ``"scalars"``, ``"images"``, ``"histograms"``, ``"curves"`` or ``"texts"``.
    """

    name: str
    question: str
    chart: str | None = None
    kind: str = "scalars"

    def pattern(self, figure: str = _WORDS["FIGURE"]) -> str:
        """Regular expression that the whole tag matches; ``figure``: of those of a task."""
        # the parentheses keep the words among the parts
        parts = re.split(rf"\b({'|'.join(_WORDS)})\b", self.name)
        words = _WORDS | {"FIGURE": figure}
        # TensorBoard does not ask for the end: without it a figure would match those of single networks, too
        return "".join(words.get(part, re.escape(part)) for part in parts) + "$"


def _scalars(question: str, charts: Mapping[str, str]) -> list[Tag]:
    return [Tag(name, question, chart) for chart, names in charts.items() for name in names.split()]


# groups of tags that have no value without ...
BY_CLASS = ("classes/accuracy/CLASS", "classes/lowest_accuracy", "classes/iou/CLASS")  # ... held-out samples
RIGHT_OR_NOT = (  # ... a truth of the pile
    "ledger/pseudo_label_accuracy", "ledger/prediction_accuracy",
    "train/pseudo_label_accuracy", "train/prediction_accuracy", "classes/precision/CLASS",
)  # fmt: skip
OF_PILE = (  # ... a step that reads unlabeled samples, beside all that answers PILE
    "classes/accepted/CLASS", "classes/precision/CLASS", "ledger/largest_class", "ledger/smallest_class",
    "train/flip_rate", "ledger/flips", "check/effective_classes", "check/unsupervised_grad_norm",
)  # fmt: skip
MEAN_IOU = ("ledger/pseudo_label_mean_iou", "ledger/prediction_mean_iou")  # ... one of masks

TAGS: Sequence[Tag] = (
    *_scalars(LEARNING, {"held-out samples": _HELD_OUT, "loss": "train/loss/LOSS", "learning rate": "train/lr"}),
    *_scalars(ALONE, {"with the pile, and labels alone": "baseline/PART/FIGURE"}),
    Tag("baseline/PART/FIGURE/NETWORK", ALONE),
    *_scalars(
        PILE,
        {
            "used": "train/used ledger/accepted ledger/coverage",
            "right, of all": "ledger/pseudo_label_accuracy ledger/prediction_accuracy",
            "mean IoU, of all": "ledger/pseudo_label_mean_iou ledger/prediction_mean_iou",
            "right, of a step": "train/pseudo_label_accuracy train/prediction_accuracy",
            # in one chart: only methods with several members have the second
            "confidence, agreement": "ledger/calibration_error ledger/agreement train/confidence train/agreement",
            "label bank": "train/bank/written",
        },
    ),
    *_scalars(
        CLASSES,
        {
            "accuracy": "classes/accuracy/CLASS classes/lowest_accuracy",
            "intersection over union": "classes/iou/CLASS",
            "share accepted": "classes/accepted/CLASS",
            "precision of the accepted": "classes/precision/CLASS",
            "balance": "ledger/largest_class ledger/smallest_class",
        },
    ),
    *_scalars(
        WRONG,
        {
            "gradient": "train/grad_norm check/unsupervised_grad_norm",
            "changes of mind": "train/flip_rate ledger/flips",
            "effective classes": "check/effective_classes",
        },
    ),
    *_scalars(TEACHER, {"networks": "PART/FIGURE/NETWORK", "lead of the teacher": "teacher/lead"}),
    *_scalars(
        FEATURES,
        {
            "nearest neighbors": "PART/knn",
            "rank": "PART/rankme PART/rankme_centered",
            "spread": "PART/feature_std PART/feature_spread train/target_std train/embedding_std",
            "target encoder": "train/decay",
        },
    ),
    *_scalars(
        SPEED,
        {
            "steps a second": "speed/steps_per_second",
            "samples a second": "speed/samples_per_second",
            "time not spent training": "speed/waiting speed/evaluating",
        },
    ),
    *(Tag(name, PILE, kind="images") for name in ("pseudo_labels", "mixed", "figures/reliability")),
    Tag("held_out", LEARNING, kind="images"),
    *(Tag(name, CLASSES, kind="images") for name in ("figures/confusion", "figures/classes")),
    Tag("reconstruction", FEATURES, kind="images"),
    Tag(f"confidence/{ALL}", PILE, kind="histograms"),
    Tag("confidence/CLASS", CLASSES, kind="histograms"),
    Tag(f"pr/{RIGHT}", PILE, kind="curves"),
    Tag("pr/CLASS", CLASSES, kind="curves"),
    Tag("settings", LEARNING, kind="texts"),
    *(Tag(name, WRONG, kind="texts") for name in ("alarm/KIND", "unchecked/KIND")),
    Tag("quality", PILE, kind="texts"),
    Tag("classes/shown", CLASSES, kind="texts"),
)


@functools.lru_cache(maxsize=100_000)  # asked for each row of the log: a thousand classes have thousands of tags
def placed(name: str, kind: str = "scalars") -> str:
    """The name in TensorBoard: behind that of its question, so that groups come in their order; others stay as is."""
    for tag in TAGS:
        if tag.kind == kind and re.match(tag.pattern(), name):
            return f"{_place(tag.question)}/{name}"
    return name


def _place(question: str) -> str:
    number = QUESTIONS.index(question)
    return f"{number + 1}_{_WORDS_OF[number]}"


def layout(questions: Sequence[str], monitor: str, lacking: Collection[str] = ()) -> dict[str, dict[str, list[str]]]:
    """Charts of the page of custom scalars: by question and title, what the tags in them match.

    Args:
        questions: Those that are asked, in order; one without a chart is left out.
        monitor: The figure of held-out samples that is drawn; empty: none is.
        lacking: Names in ``TAGS`` that the run will have no value of, so that no chart waits for them.
    """
    charts: dict[str, dict[str, list[str]]] = {question: {} for question in questions}
    for tag in TAGS:
        unknown = tag.name in lacking or (not monitor and "FIGURE" in tag.name)
        if tag.chart is None or tag.question not in charts or unknown:
            continue
        patterns = [f"{_place(tag.question)}/{tag.pattern(re.escape(monitor))}"]
        if tag.question == ALONE:  # two curves in one chart, to be compared
            patterns.insert(0, f"{_place(LEARNING)}/{Tag(_HELD_OUT, LEARNING).pattern(re.escape(monitor))}")
        charts[tag.question].setdefault(tag.chart, []).extend(patterns)
    return {question: rows for question, rows in charts.items() if rows}
