"""Tables on the command line: columns of any name, read as the line says, and what was read is said first."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from selftrain.cli import main as cli

RNG = np.random.default_rng(0)
ODD = [
    "id",
    "label",
    "a.b",
    "my col",
    "5",
    "true",
    "--x",
    "1e5",
    "data",
    "strategy",
    "class_path",
    "workers",
    "help",
    "my-col",
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = RNG.normal(size=(40, len(ODD))).round(2).astype(str).tolist()
    lines = [",".join([*row, ["cat", "dog"][i % 2] if i < 20 else ""]) for i, row in enumerate(cells)]
    (tmp_path / "odd.csv").write_text(",".join([*ODD, "kind"]) + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"{v:.2f}".replace(".", ",") for v in RNG.normal(size=40)]
    rows[3] = "n.d."
    days = [f"{i % 28 + 1:02}.03.2024" for i in range(40)]
    lines = [
        f"{h};{d};{['red', 'blue'][i % 2]};{'ab'[i % 2] if i < 20 else ''}"
        for i, (h, d) in enumerate(zip(rows, days, strict=True))
    ]
    (tmp_path / "t.csv").write_text("h;day;color;kind\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def said(capsys, *words):
    """Exit code, and what a command says on both."""
    code = cli.main(list(words))
    found = capsys.readouterr()
    return code, found.out, found.err


def columns(capsys, *words):
    """How each column was read."""
    _, out, _ = said(capsys, "check-data", *words, "--json")
    return "\n".join(json.loads(out)["summary"])


def test_a_table_without_a_named_column_of_classes_is_refused(home, capsys):
    for command in ("train", "compare"):
        code, _, err = said(capsys, command, "--data", "t.csv", "--steps", "2", "--out", "r")
        assert code == 1
        assert "no column was named as that of the classes (--data.label); there are h, day, color, kind" in err
        assert not (home / "r").exists()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ODD)
def test_a_column_may_have_any_name(name, home, capsys):
    ends = ("--data.label", "kind")
    given = json.dumps({name: "drop"})
    for words in ([f"--data.columns.{name}", "drop"], [f"--data.columns.{name}=drop"], ["--data.columns", given]):
        assert f"left out   1 column: {name} (dropped)" in columns(capsys, "odd.csv", *ends, *words), words
    (home / "c.yaml").write_text(f"data: {{path: odd.csv, label: kind, columns: {given}}}\n", encoding="utf-8")
    assert f"{name} (dropped)" in columns(capsys, "odd.csv", "--config", "c.yaml", "--data.columns", given)
    code, out, _ = said(capsys, "check-data", "odd.csv", f"--data.label={name}", "--limit", "1")
    assert code == 1
    assert f"{name} is " in out  # a measured number and no class
    assert f"id {name}" not in columns(capsys, "odd.csv", f"--data.id={name}", *ends)


def test_what_was_read_is_said_first_and_new_tables_are_read_alike(home, capsys):
    more = ["--data.label", "kind", "--data.columns.color", "category", "--data.validation", "4"]
    code, out, err = said(capsys, "train", "--data", "t.csv", *more, "--steps", "2", "--out", "r", "--network", "mlp")
    assert code == 0, err
    assert "h ('n.d.' 1 x)" in err
    assert '--data.columns \'{"h": "category"}\'' in err
    lines = out[out.index("data       Pile(16 labeled") :].splitlines()
    assert lines[1].startswith("labels     a 8, b 8; 20 unlabeled rows")
    assert lines[2:6] == [
        "inputs     rows of 4 float32",
        lines[3],
        "columns    1 category: color (2 values)",
        "columns    1 date: day (2024-03-01 to 2024-03-28, written %d.%m.%Y)",
    ]
    assert lines[3].startswith("columns    1 number: h (")
    assert lines[3].endswith("1 missing, decimal commas)")
    (home / "new.csv").write_text("h,day,color\n1.5,2024-03-05,red\n-,2024-03-06,violet\n", encoding="utf-8")
    code, _, err = said(capsys, "label", "r", "new.csv", "--out", "new-labels.csv")
    assert code == 0, err
    assert "color ('violet' 1 x)" in err
    (home / "bad.csv").write_text("h,day,color\n1.5,2024-03-05,red\n1.2,soon,red\n", encoding="utf-8")
    code, _, err = said(capsys, "label", "r", "bad.csv", "--out", "bad-labels.csv")
    assert code == 1
    assert "line 3: day is 'soon', which is no date" in err
    code, _, err = said(capsys, "train", "--resume", "--out", "r", "--data.columns.h", "category")
    assert code == 2
    assert "data.init_args.columns.h was None, is category" in err


def test_a_remedy_can_be_copied_from_the_line_that_names_it(home, capsys):
    (home / "n.csv").write_text(
        "nr,h,kind\n" + "\n".join(f"{i},{i * 7 % 5}.5,{'ab'[i % 2]}" for i in range(40)), encoding="utf-8"
    )
    _, out, _ = said(capsys, "check-data", "n.csv", "--data.label", "kind")
    (line,) = [line for line in out.splitlines() if "row numbers or ids" in line]
    remedy = shlex.split(line.partition("leave them out: ")[2])
    assert "left out   1 column: nr (dropped)" in columns(capsys, "n.csv", "--data.label", "kind", *remedy)


def test_the_decimal_sign_is_an_option(home, capsys):
    cells = [f"{1 + i % 9},{i * 13 % 1000:03}" for i in range(40)]
    (home / "d.csv").write_text(
        "h\tkind\n" + "\n".join(f"{c}\t{'ab'[i % 2]}" for i, c in enumerate(cells)), encoding="utf-8"
    )
    assert "1000 to" in columns(capsys, "d.csv", "--data.label", "kind")
    for words in (["--data.decimal", ","], ["--data.decimal=,"], ["--data.columns.h", "number:,"]):
        assert "number: h (1 to 9." in columns(capsys, "d.csv", "--data.label", "kind", *words)
    code, _, err = said(capsys, "train", "--data", "d.csv", "--decimal", ",")
    assert code == 2
    assert "did you mean --data.decimal?" in err
