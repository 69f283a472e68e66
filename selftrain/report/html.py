"""One HTML file that holds all it needs: its template, a style, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from selftrain.errors import printable


def style() -> str:
    """Colors and letters that all pages share."""
    return _part("base.css")


def policy(script: str | None, style: str) -> str:
    """Content security policy: this script (``None``: none), this style, pictures in the file, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'none'" if script is None else f"script-src {_sum(script)}",
            f"style-src {_sum(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )


def page(content: Mapping[str, Any]) -> bytes:
    """A report in UTF-8; texts of ``content`` are escaped, and what does something else than being seen is shown."""
    look = "\n" + style() + _part("report.css")
    return str(_template().render(**content, policy=policy(None, look), style=look)).encode("utf-8", "replace")


@functools.cache
def _template() -> Any:
    """The template, made ready once."""
    from jinja2 import Environment

    made = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_seen)
    made.tests["number"] = _is_number
    return made.from_string(_part("report.html"))


def _seen(value: Any) -> Any:
    """Plain text without characters that hide or turn around others; markup of our own as it is."""
    return printable(value) if type(value) is str else value


def _is_number(cell: Any) -> bool:
    """Whether a cell of a table holds a number, with its unit perhaps, or the dash of one that is not known."""
    return type(cell) is str and (cell == "\N{EN DASH}" or re.fullmatch(r"[-+]?[\d.,]+(\s%)?", cell) is not None)


def _sum(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.cache
def _part(name: str) -> str:
    # browsers turn line ends into \n before they compare the sums of the policy
    return (files("selftrain.report") / "parts" / name).read_text(encoding="utf-8").replace("\r\n", "\n")
