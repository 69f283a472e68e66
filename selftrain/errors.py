"""The errors a user of the library meets; each message names the value and the remedy."""

from __future__ import annotations

import json
import re
import shlex

# Whether messages name settings as options: the command line says so. A message is worded where it arises, since only
# there is it known which of its words are settings.
as_options = False


def setting(name: str, value: object = ..., *, of: str = "data") -> str:
    """A setting as the reader of a message writes it.

    Args:
        name: Of the setting.
        value: That it should have; ``...``: one that the reader chooses.
        of: What it belongs to on the command line; empty: the command itself.

    Returns:
        ``on_error="skip"`` in Python, ``--data.on_error skip`` on the command line.
    """
    if not as_options:
        shown = f'"{value}"' if isinstance(value, str) else "..." if value is ... else repr(value)
        return f"{name}={shown}"
    option = f"--{of}.{name}" if of else f"--{name}"
    if value is ... or value is True:
        return option
    # as a shell takes it: names of columns and classes may have spaces
    return f"{option} {shlex.quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}"


# What commands a terminal (control characters), turns round what is read (marks of direction), ends a line unseen, or
# is no character at all (bytes of the names of files that are in no encoding).
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_LONGEST = 4000  # characters of a message: nobody reads the names of 300,000 columns


def printable(text: str) -> str:
    """Text as it may be shown: characters that do something else than being seen stand as their code."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class SelftrainError(Exception):
    """Base of every error of this library that is not a plain ``ValueError`` or ``TypeError``.

    Its message holds names of files, classes and columns, which may be a stranger's: it is shown printable and not
    endlessly long.
    """

    def __str__(self) -> str:
        text = printable(super().__str__())
        if len(text) <= _LONGEST:
            return text
        half = _LONGEST // 2
        return f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[-half:]}"


class UsageError(SelftrainError, ValueError):
    """What was asked for cannot be understood: an unknown name or option, a value of the wrong kind."""


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
