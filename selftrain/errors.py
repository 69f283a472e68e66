"""The errors a user of the library meets; each message names the value and the remedy."""

from __future__ import annotations


class SelftrainError(Exception):
    """Base of every error of this library that is not a plain ``ValueError`` or ``TypeError``."""


class DataError(SelftrainError, ValueError):
    """The data cannot be trained on as they are: wrong label, NaN, empty part, unreadable file."""


class CheckpointError(SelftrainError):
    """A checkpoint or a weight file cannot be used; the message names the file and the reason."""


class RunFolderError(SelftrainError):
    """The output folder cannot take this run: it holds another one, or it does not fit the run to resume."""


class TrainingError(SelftrainError):
    """Training cannot go on: the loss or the gradients are not finite."""


class RankError(SelftrainError):
    """Several processes cannot go on together: one has stopped, does not answer, or was given other things."""


class NonFiniteError(TrainingError):
    """A loss, a gradient or the output of a network is NaN or infinite; the engine leaves out such a step."""
