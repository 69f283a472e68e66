"""Run docs/notebook.ipynb anew and store what its cells answer: ``python docs/site/execute.py`` (extra ``docs``).

It runs in an empty folder, so that neither the repository nor an earlier run has a part in it. Bars of progress are not
stored: they are of use while one waits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebook.ipynb"


def main() -> None:
    """Execute all cells, in order, in a new kernel."""
    notebook = nbformat.read(NOTEBOOK, 4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}  # else it has the version of whoever ran it last
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
