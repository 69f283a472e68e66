"""What networks give: logits where it is clear which they are, and a refusal by name where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from selftrain.errors import DataError

_REMEDY = 'let its forward return the logits alone, or a mapping with them as "logits"'


def logits_of(output: Any) -> Tensor:
    """The logits in what a network gives.

    Args:
        output: The logits themselves; an object or a mapping that has them as ``logits`` (Hugging Face's
            ``ModelOutput``, torchvision's ``InceptionOutputs``); a mapping that has them as ``out`` (torchvision's
            networks for masks, whose ``aux`` is left aside, see ``levels_of``); or a tuple or list that begins with
            them.

    Raises:
        DataError: for anything else; the message says what it is, and the keys of a mapping.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits", output.get("out")) if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise DataError(f"the network gives {in_words(output)} where logits are needed; {_REMEDY}")


def levels_of(output: Any) -> tuple[Tensor, ...]:
    """The logits in what a network gives, and those of further levels: a mapping's ``aux``, a tensor or several.

    Raises:
        DataError: as ``logits_of``.
    """
    more = output.get("aux", ()) if isinstance(output, Mapping) else ()
    return logits_of(output), *((more,) if isinstance(more, Tensor) else more)


def check_unambiguous(output: Any) -> None:
    """Refuse a tuple or list in which another tensor looks like the logits too.

    Raises:
        DataError: which of the two is meant is not known.
    """
    if not isinstance(output, (tuple, list)) or isinstance(getattr(output, "logits", None), Tensor):
        return
    alike = [i for i, one in enumerate(output) if isinstance(one, Tensor) and one.shape == output[0].shape]
    if len(alike) > 1:
        raise DataError(f"the network gives {in_words(output)}, and any of {alike} may be the logits; {_REMEDY}")


def in_words(output: Any) -> str:
    """What a network gives, for messages: types, shapes and keys."""
    if isinstance(output, Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with the keys {[*output]}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)} ({', '.join(map(in_words, output))})"
    return f"a {type(output).__name__}"
