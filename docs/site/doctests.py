"""Examples in docstrings become blocks of code in the reference, wherever they stand (see ``mkdocs.yml``)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_BLOCK = re.compile(r"^( *)>>> .*?(?=\n *\n|\Z)", re.DOTALL | re.MULTILINE)


class Doctests(griffe.Extension):
    """Put a fence around every run of lines that starts with ``>>>``."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of one object below the package."""
        if obj.docstring is not None:
            obj.docstring.value = _BLOCK.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Change the docstring of the package itself."""
        self.on_object(obj=pkg)
