"""JSON and YAML that may be a stranger's: plain values of bounded size and depth, or a ``ValueError`` that says why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEEPEST = 100  # values inside one another
_MOST = 300_000  # values of a YAML file, counting those that anchors repeat
_LONGEST = 4_000_000  # characters of one: its parser is slow
_LARGEST = 100_000_000  # bytes of a JSON file: ten times as much memory is filled with what is in it


def read_json(path: str | Path, *, deepest: int = DEEPEST) -> Any:
    """What a JSON file holds, see ``from_json``; ``OSError`` where it cannot be read."""
    size = Path(path).stat().st_size
    if size > _LARGEST:
        raise ValueError(f"it has {size:,} bytes; what a run writes has {_LARGEST:,} at most")
    return from_json(Path(path).read_text(encoding="utf-8"), deepest=deepest)


def from_json(text: str | bytes, *, deepest: int = DEEPEST) -> Any:
    """What a text in JSON holds.

    Raises:
        ValueError: no JSON, or more values inside one another than ``deepest``.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"more than {deepest} values are inside one another") from error
    level, depth = [found], 0
    while level:  # level by level: a function that calls itself could be nested too deeply, too
        if depth > deepest:
            raise ValueError(f"more than {deepest} values are inside one another")
        level = [inner for value in level if isinstance(value, (dict, list)) for inner in _inside(value)]
        depth += 1
    return found


def from_yaml(text: str) -> Any:
    """What a text in YAML (or JSON) holds.

    Raises:
        ValueError: no YAML; too long, or too many values, where each that an anchor repeats counts again.
    """
    import yaml

    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text):,} characters; settings have {_LONGEST:,} at most")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        _check(node)  # before values are made: merging keys repeats what anchors stand for
        return None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise ValueError(f"more than {DEEPEST} values are inside one another") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    finally:
        loader.dispose()


def _check(node: Any) -> None:
    waiting, count = [(node, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} values are inside one another")
        if count > _MOST:
            raise ValueError(f"it holds more than {_MOST:,} values; write without anchors (&) what is meant")
        inner = getattr(node, "value", None)
        for one in inner if isinstance(inner, list) else ():
            waiting += [(part, depth + 1) for part in (one if isinstance(one, tuple) else (one,))]


def _inside(value: Mapping[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value
