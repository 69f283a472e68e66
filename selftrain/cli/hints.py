"""Remedies that messages tell in Python, in the words of the command line."""

from __future__ import annotations

import re

_DATA = "on_error|max_skipped|size|mode|labels_csv|labels|label|validation|kind|channels|keys|categorical|drop|id"
_TOP = "resume|overwrite|snapshots"
_CALL = re.compile(rf"""\b(?:(?P<data>{_DATA})|(?P<top>{_TOP}))=(?P<value>"[^"]*"|'[^']*'|[\w.\[{{]*)""")

_OTHERS = {"BatchPlan(labeled=...)": "--plan.labeled", "see pile.skipped": "selftrain check-data lists them"}


def as_options(text: str) -> str:
    """``on_error="skip"`` as ``--data.on_error skip``, ``overwrite=True`` as ``--overwrite``."""
    for python, words in _OTHERS.items():
        text = text.replace(python, words)
    return _CALL.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    value = found["value"].strip("\"'")
    if value.startswith(("[", "{")):  # a value in parts: left as it is
        return found[0]
    name = f"--data.{found['data']}" if found["data"] else f"--{found['top']}"
    return name if value in ("", "True") else f"{name} {value}"
