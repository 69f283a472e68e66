"""The notebook of the docs: its cells run, and what is stored of them is the answer to what they ask."""

import json
import re

import matplotlib
import pytest
from paths import ROOT

import selftrain as st

CELLS = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_its_cells_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fit = st.fit
    monkeypatch.setattr(st, "fit", lambda *given, **named: fit(*given, **named, steps=2))
    names = {}
    with matplotlib.rc_context({"backend": "agg"}):
        for cell in CODE:
            exec("".join(cell["source"]), names)
    assert "self-trained test accuracy" in capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert list(names["answers"]) == list(st.open_run("runs/notebook").predict(names["raw"]))


def test_its_answers_are_those_of_one_clean_run_and_name_no_machine():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1)), "run docs/site/execute.py"
    answers = [answer for cell in CODE for answer in cell["outputs"]]
    assert {answer["output_type"] for answer in answers} == {"stream", "execute_result", "display_data"}
    shown = [answer["data"] for answer in answers if "data" in answer]
    assert "text/html" in shown[0]  # a run shows itself as a table
    assert any("image/png" in data for data in shown)
    texts = json.dumps([{k: v for k, v in data.items() if k != "image/png"} for data in shown] + answers[:1])
    assert not re.search(r"/(home|tmp|work|root|usr)/", texts)
