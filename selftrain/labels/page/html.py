"""The HTML file from its parts: style, script, data and pictures, under a policy that lets nothing else run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from selftrain.report.html import policy, style

SCRIPTS = ("model.js", "csv.js", "order.js", "draw.js", "list.js", "sample.js", "judged.js", "tried.js", "page.js")


def page_bytes(content: Mapping[str, Any], blobs: Sequence[str]) -> bytes:
    """The page in UTF-8.

    Nothing of ``content`` becomes markup: it is JSON in a block that no browser runs, and the script inserts it as
    text. The policy allows this one script and this one style, by their sums, and pictures inside the file.

    Args:
        content: What the script reads; numbers, texts, lists and dictionaries.
        blobs: Base64 texts.
    """
    from jinja2 import Environment

    # all scripts are one function, so that they share names among themselves and with nobody else
    script = "\n(() => {\n'use strict';\n" + "\n".join(map(_part, SCRIPTS)) + "})();\n"
    look, data = "\n" + style() + _part("page.css"), json_text(content)
    title = f"Review of {content['run']}".encode("utf-8", "replace").decode("utf-8")  # without lone surrogates
    size = len(look) + len(script) + sum(map(len, blobs)) + len(data)
    page = Environment(autoescape=True, keep_trailing_newline=True).from_string(_part("page.html"))
    # the template takes style, script and data as they are: the policy has their sums, and JSON has its own escapes
    filled = page.render(
        policy=policy(script, look),
        title=title,
        style=look,
        script=script,
        data=json_text({**content, "bytes": size}),
        blobs=blobs,
    )
    return filled.encode("utf-8")


def json_text(value: Any) -> str:
    """JSON in ASCII in which no character can end a block of script or begin a tag."""
    # Python would write NaN as a word that the page's JSON.parse refuses
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    # inside a block of script a browser looks for </script and <!-- before it looks at JSON
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    # browsers turn line ends into \n before they compare the sums of the policy
    return (files("selftrain.labels.page") / "parts" / name).read_text(encoding="utf-8").replace("\r\n", "\n")
