"""A reader of TensorBoard's files by the names of the log: without the place of the question before them."""

import re

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def plain(tag):
    """``validation/accuracy`` of ``1_learning/validation/accuracy``."""
    return re.sub(r"^\d_[a-z_]+/", "", tag)


class PlainEvents(EventAccumulator):
    def Tags(self):
        return {k: [plain(t) for t in tags] if isinstance(tags, list) else tags for k, tags in super().Tags().items()}

    def _written(self, kind, name):
        (tag,) = [tag for tag in super().Tags()[kind] if plain(tag) == name] or [name]
        return tag

    def Scalars(self, tag):
        return super().Scalars(self._written("scalars", tag))

    def Images(self, tag):
        return super().Images(self._written("images", tag))

    def Histograms(self, tag):
        return super().Histograms(self._written("histograms", tag))

    def Tensors(self, tag):
        return super().Tensors(self._written("tensors", tag))
