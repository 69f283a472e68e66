"""The examples on the page of the command line work: as options all of them, and as commands one after the other."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import pytest
from paths import ROOT

from selftrain.cli import main as cli
from selftrain.cli.parser import parse

PAGE = ROOT / "docs" / "command-line.md"
EXAMPLES = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


def words_of(example):
    """The words of a line, without where its output goes."""
    return shlex.split(example.partition(" > ")[0])[1:]


def test_the_page_has_an_example_of_every_command():
    assert {words_of(example)[0] for example in EXAMPLES} == set(cli.COMMANDS)
    for command in cli.COMMANDS:
        assert f"\n## {command}\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.split()[1] in ("train", "pretrain", "compare")])
def test_options_on_the_page_exist(example):
    command, *rest = words_of(example)
    rest = [word for word in rest if word != "--resume"]
    if "--config" in rest:
        rest = [word for i, word in enumerate(rest) if word != "--config" and rest[i - 1] != "--config"]
    names = [["supervised", "fixmatch", "mean_teacher"]] if command == "compare" else []
    parse(
        import_module(f"selftrain.cli.{cli.module_of(command)}").parser(*names),
        rest,
        {"strategy": "fixmatch"} if command == "train" else None,
    )


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES:
        words = [re.sub(r"^500$", "4", word) for word in words_of(example)]
        assert cli.main(words) == 0, (example, capsys.readouterr().err)
    assert (tmp_path / "runs" / "fixmatch" / "export" / "classifier.pt2").is_file()
