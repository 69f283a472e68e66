"""What depends on the kind of output: classification, segmentation, keypoints. Nothing else in the library asks."""

from selftrain.tasks.base import Classification, Task, decided, has_classes, relative, unmoved, weighted_mean
from selftrain.tasks.keypoints import Keypoints
from selftrain.tasks.segmentation import Segmentation

__all__ = [
    "Classification",
    "Keypoints",
    "Segmentation",
    "Task",
    "decided",
    "has_classes",
    "relative",
    "unmoved",
    "weighted_mean",
]
