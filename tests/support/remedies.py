"""Messages of the product that name a remedy, and rows that follow them.

A row provokes a message, then does literally what the message says, and must succeed. ``ROWS`` of the files in
``tests/remedies/`` hold them by product file; ``test_remedies.py`` there asks that each message with a remedy has one.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_VERBS = (  # orders that a message may give
    "add|allow|apply|ask|begin|bring|build|call|check|choose|clean|continue|convert|copy|correct|cut|declare|"
    "delete|derive|divide|do not|drop|empty|encode|end|export|fetch|fill|fine-tune|finish|fit|give|go on|hold|"
    "install|keep|label|lay|learn|leave|let|list|load|look|lower|make|map|move|multiply|name|normalize|overwrite|"
    "pad|pass|pip install|put|raise|read|register|remove|rename|repair|reshape|resize|restore|return|review|run|"
    "save|say|see|set|show|shrink|squeeze|start|store|swap|take|train|turn|update|use|wait|wrap|write"
)
_ORDER = rf"(?:it |then |first |please |and |or |to )*(?:{_VERBS})\b"
# in an error or a warning: an order after a mark; what must be, is known or is needed; a range or a form
_RAISED = re.compile(
    rf"(?:^|[;:,(] |\bor |\band ){_ORDER}|\b(?:must|needs|needed|known|expected|at least|at most|is for|are for)\b|"
    r"in [\[(]\d| are text |; (?:there are|its|the) [^;]*(?:are|is) |such as|go through|counted from|=True runs"
)
_ELSEWHERE = re.compile(rf"(?:[;:]|, or) {_ORDER}|^{_ORDER}")  # in any other text outside of the commands' help


@dataclass(frozen=True)
class Row:
    """A message and its remedy.

    Args:
        says: A piece of the message, found in one message of the product file.
        wrong: Provokes the message, as an error, a warning or a text that it returns.
        right: Each does what the message says; it must not raise, nor warn of it again, nor return False.
    """

    says: str
    wrong: Callable[[], Any]
    right: tuple[Callable[[], Any], ...]

    def __init__(self, says: str, wrong: Callable[[], Any], *right: Callable[[], Any]) -> None:
        object.__setattr__(self, "says", says)
        object.__setattr__(self, "wrong", wrong)
        object.__setattr__(self, "right", right)


@dataclass(frozen=True)
class Elsewhere:
    """A message whose remedy another test follows.

    Args:
        says: A piece of the message, as of ``Row``.
        test: File and name of the test, below ``tests/``.
    """

    says: str
    test: str


def _text(node: ast.AST) -> str | None:
    """A literal text with ``{}`` where something is filled in; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _texts(node: ast.AST, raised: bool = False) -> Iterator[tuple[str, bool]]:
    """Texts below a node, and whether each stands in a ``raise`` or a ``warn``; docstrings are none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    raised |= isinstance(node, ast.Raise)
    if isinstance(node, ast.Call):
        raised |= getattr(node.func, "attr", getattr(node.func, "id", "")) == "warn"
    text = _text(node)
    if text is not None:
        yield text, raised
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child, raised)


def messages() -> dict[str, dict[str, bool]]:
    """Texts of the product that may be messages, by file, and whether each is one that must name a row.

    These are errors and warnings, and texts that such are put together from, that name a remedy.
    """
    found: dict[str, dict[str, bool]] = {}
    for folder in ("selftrain", "strategies", "data"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            # an installed package, and a copy for a mutant, has all folders in selftrain/
            file = re.sub("^selftrain/(strategies|data)/", r"\1/", path.relative_to(ROOT).as_posix())
            for text, raised in _texts(ast.parse(path.read_text(encoding="utf-8"))):
                if len(text.split()) > 3:
                    remedy = bool((_RAISED if raised else _ELSEWHERE).search(text))
                    asked = remedy and (raised or not file.startswith("selftrain/cli/"))  # help of the commands
                    found.setdefault(file, {}).setdefault(text, asked)
    return found


def setting(says: str, make: Callable[..., Any], name: str, wrong: Any, *right: Any) -> Row:
    """The row of a message about one setting: ``make`` refuses ``wrong`` and takes each of ``right``."""
    return Row(says, lambda: make(**{name: wrong}), *(partial(make, **{name: value}) for value in right))


def pattern(message: str) -> re.Pattern[str]:
    """What a message looks like once it is filled in."""
    return re.compile(".*".join(re.escape(piece) for piece in re.split(r"\{[^{}]*\}", message)), re.DOTALL)


def brings(extra: str, *packages: str) -> bool:
    """Whether ``pip install 'selftrain[extra]'`` brings these packages."""
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = settings["options.extras_require"].get(extra, raw=True)
    return all(re.search(rf"^{package}\b", listed, re.MULTILINE) for package in packages)


def follow(row: Row, message: str, tmp_path: Path) -> None:
    """Provoke the message, then do what it says."""
    said = _said(row.wrong, tmp_path)
    assert pattern(message).search(said), f"said: {said!r}"
    for right in row.right:
        again = _said(right, tmp_path, may_raise=False)
        assert not pattern(message).search(again), f"said again: {again!r}"


def _said(do: Callable[..., Any], tmp_path: Path, may_raise: bool = True) -> str:
    """What a call says, as an error or in warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            done = do(tmp_path) if "tmp" in signature(do).parameters else do()
        except (Exception, SystemExit) as error:
            if not may_raise:
                raise
            return "\n".join(map(str, [error, *filter(None, [error.__cause__])]))  # what a traceback shows
    if not may_raise:
        assert done is not False, "the remedy was followed, and the result is not what it should be"
    texts = [str(warning.message) for warning in caught]
    return "\n".join([*texts, done] if isinstance(done, str) else texts)
