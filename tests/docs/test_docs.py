"""The documents are true: examples and commands run, links lead somewhere, names and messages are those of the code."""

from __future__ import annotations

import ast
import collections
import contextlib
import dataclasses
import doctest
import functools
import importlib
import importlib.util
import inspect
import io
import re
import shlex
import traceback
import typing
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from torch.distributed.run import get_args_parser

import selftrain as st
from selftrain import errors
from selftrain.cli import main as cli
from selftrain.handlers import selfcheck

FOLDERS = {"selftrain": "selftrain", "selftrain.strategies": "strategies", "selftrain.data": "data"}
SETUP = ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
PACKAGES = [name for name in SETUP["options"]["packages"].split() if name != "selftrain.cli"]  # commands, no names
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")
PROMISES = re.compile(r"^\| promise \| test \|\n\|[- |]+\|\n((?:\|.*\n)+)", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NEWCOMER = 'from_masks("photos", "masks", size=128)'
TABLES = {"strategy": "strategies", "stage": "pretraining-guide", "setting": "networks"}  # heading: page
MAIN_JOB = "python3 -m venv .venv && .venv/bin/python -m pip install -q -e . && .venv/bin/python examples/quickstart.py"
TESTS = "python3 -m venv .venv && .venv/bin/python -m pip install -q -e '.[test]' && .venv/bin/python -m pytest tests"


def module_names():
    """Every module of the package, by its full name: importing by path would make second copies of the classes."""
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([name, *(part for part in parts if part not in ("__init__", "__main__"))])


def blocks(language):
    """Code blocks of the pages, with page and line of each."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            if found[1] == language:
                yield page, text.count("\n", 0, found.start()) + 2, found[2]


def failures(cases, check):
    """What is wrong with each of the named cases for which ``check`` fails: one test tells all of them at once."""
    found = {}
    for name, *values in cases:
        try:
            check(*values)
        except Exception:
            found[name] = traceback.format_exc(limit=-3)
    return found


def anchors(page):
    """Anchors of a page's headings, as the common renderers make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def public_names():
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            yield f"{package}.{name}", getattr(module, name)


@pytest.fixture
def kept_randomness():
    """Give the random state back, so that what runs here changes no other test."""
    with torch.random.fork_rng():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("kept_randomness")
def test_docstring_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = sorted(set(module_names()))
    assert len(names) > 200
    run = {name: doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS) for name in names}
    assert {name: result for name, result in run.items() if result.failed} == {}, "printed above"
    assert sum(result.attempted for result in run.values()) > 50


def page_of_blocks(page):
    marks = [] if page.name in ("README.md", "get-started.md") else [pytest.mark.slow]
    return pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=marks)


@pytest.mark.parametrize("page", [page_of_blocks(page) for page in sorted({page for page, *_ in blocks("python")})])
@pytest.mark.usefixtures("kept_randomness")
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.setattr("selftrain.front.door.FEWEST", 2)  # steps of `fit` by name, which show the path here
    monkeypatch.setattr("selftrain.front.door.EPOCHS", 0)

    def run(line, code):
        (tmp_path / str(line)).mkdir()
        monkeypatch.chdir(tmp_path / str(line))
        padded = "\n" * (line - 1) + code  # so that a traceback shows the page's own line
        exec(compile(padded, str(page), "exec"), {"__name__": "block"})

    # of a newcomer's folders there is a test below
    own = [(line, line, code) for found, line, code in blocks("python") if found == page and NEWCOMER not in code]
    assert failures(own, run) == {}


def lay_pictures():
    """Two folders here, as a newcomer has them: a disk in each of eight pictures, and four masks."""
    draw = np.random.default_rng(0)
    for number in range(8):
        for folder in ("photos", "masks"):
            Path(folder).mkdir(exist_ok=True)
        rows, columns = np.mgrid[:24, :24] - draw.integers(6, 18, 2).reshape(2, 1, 1)
        disk = rows**2 + columns**2 < 25
        pixels = (draw.normal(90, 15, (24, 24, 3)) + 90 * disk[..., None]).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
        if number < 4:
            Image.fromarray(disk.astype(np.uint8)).save(f"masks/{number}.png")


@pytest.mark.usefixtures("kept_randomness")
def test_a_newcomer_gets_masks_from_two_folders_by_a_script_and_by_one_command(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script, line = (
        next(code for language, code in FENCE.findall(text) if language == kind and word in code)
        for kind, word in (("python", NEWCOMER), ("bash", "--masks"))
    )
    assert len(script.strip().splitlines()) <= 12
    assert len(line.strip().splitlines()) == 1
    monkeypatch.setattr("selftrain.front.door.FEWEST", 1)
    monkeypatch.setattr("selftrain.front.door.EPOCHS", 0)
    monkeypatch.setattr("selftrain.front.building.STEPS", 1)
    script, line = (text.replace("128", "16") for text in (script, line))  # in seconds
    for way, run in (("script", lambda: exec(script, {})), ("command", lambda: cli.main(shlex.split(line)[1:]))):
        (tmp_path / way).mkdir()
        monkeypatch.chdir(tmp_path / way)
        lay_pictures()
        assert not run(), way
        for folder in ("masks", "confidence"):
            assert sorted(path.name for path in Path("labels", folder).iterdir()) == [f"{i}.png" for i in range(4, 8)]
        network = st.open_run("runs/seg").strategy.student.model if way == "command" else None
        assert network is None or type(network.encoder).__name__ == "UNetEncoder"


def commands():
    """Lines of the shell blocks; ``docs/command-line.md`` and the two of the readme have tests of their own."""
    for page, _, code in blocks("bash"):
        if page.name != "command-line.md" and code.strip() not in (MAIN_JOB, TESTS):
            yield from ((f"{page.name}: {line}", line) for line in code.splitlines() if line.strip())


def check_command(line):
    """Each line calls something that is there, with options that it has; what it does is tested elsewhere."""
    words = shlex.split(line, comments=True)
    name, arguments = words[0], words[1:]
    if name == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif name in ("python3", ".venv/bin/python") and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1].partition(".")[0]) or arguments[1] == "mkdocs"  # an extra
        assert all((ROOT / word).exists() for word in arguments[2:] if word.startswith("tests/"))
    elif name == ".venv/bin/python":
        text = (ROOT / arguments[0]).read_text(encoding="utf-8") + (ROOT / "examples/common.py").read_text(
            encoding="utf-8"
        )
        assert [word for word in arguments[1:] if word.startswith("--") and f'"{word}"' not in text] == []
    elif name == ".venv/bin/pre-commit":
        assert (ROOT / ".pre-commit-config.yaml").exists()
    elif name == "torchrun":
        assert get_args_parser().parse_args(arguments).training_script == "train.py"
    elif name == "selftrain":
        check_options(arguments)
    else:
        raise AssertionError(f"nothing here tests {line!r}")


@functools.cache
def help_of(command):
    """What the command line says of one command; names of options as Python has them."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    return re.sub("(?<=[a-z])-(?=[a-z])", "_", said.getvalue())


def check_options(words):
    given = [word.partition("=")[0].partition(".")[0] for word in words[1:] if word.startswith("--")]
    options = re.findall(r"--\w+", help_of(words[0]))
    assert [name for name in given if "--" + name[2:].replace("-", "_") not in options] == []


def test_commands_exist():
    assert failures(commands(), check_command) == {}


def test_commands_in_sentences_have_the_options_that_they_name():
    found = [
        (f"{page.name}: {text}", text.split()[1:])
        for page in PAGES
        for text in re.findall(r"`(selftrain [a-z-]+ [^`]*)`", FENCE.sub("", page.read_text(encoding="utf-8")))
    ]
    assert len(found) > 20
    assert failures(found, check_options) == {}


def test_whoever_runs_one_block_after_another_meets_no_folder_of_an_earlier_one():
    writes = re.compile(r'(?:out=|--out )"?([a-z][\w/-]+)')
    found = [
        (folder, f"{page.name}:{line}")
        for language in ("python", "bash")
        for page, line, code in blocks(language)
        for folder in set(writes.findall(code))
    ]
    twice = collections.Counter(folder for folder, _ in found)
    assert [(folder, place) for folder, place in found if twice[folder] > 1] == []


def check_links(page):
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_links_lead_somewhere():
    assert failures([(page.name, page) for page in PAGES], check_links) == {}


def check_docstrings(thing):
    if typing.get_origin(thing):  # an alias of a type has no docstring of its own
        return
    assert inspect.getdoc(thing)
    if not inspect.isclass(thing):
        return
    assert thing.__doc__  # its own, not its base's
    own = [m for name, m in vars(thing).items() if inspect.isfunction(m) and not name.startswith("_")]
    silent = [m.__qualname__ for m in own if not inspect.getdoc(m)]
    assert silent == []


def test_public_names_are_explained():
    assert failures(public_names(), check_docstrings) == {}


def test_readme_opens_with_the_two_commands():
    found = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [(language, code.strip()) for language, code in found[:2]] == [("bash", MAIN_JOB), ("bash", TESTS)]


@pytest.mark.parametrize("page", ["README.md", "docs/reliability.md"])
def test_every_promise_names_its_tests(page):
    (table,) = PROMISES.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [row for row in table.splitlines() if not TEST.search(row.rpartition(" | ")[2])] == []


def check_named_tests(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"`test_\w+", text) == [], "name its file too"
    assert text.count(".py::") == len(TEST.findall(text)), "`tests/FILE.py::test_NAME`"
    for file, name in TEST.findall(text):
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), (file, name)


def test_tests_that_are_named_are_there():
    assert failures([(page.name, page) for page in PAGES], check_named_tests) == {}


def test_decisions_are_numbered_short_and_whole():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers[0] == 1
    assert len(set(numbers)) == len(numbers)
    for page in pages:
        lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(lines) <= 20, page.name
        assert lines[0].startswith(f"# {int(page.name[:4])}. "), page.name
        assert [line for line in lines if line.startswith("##")] == ["## Context", "## Decision", "## Consequence"]


def test_every_strategy_and_stage_is_in_the_guide():
    guide = "".join((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in TABLES.values())
    guide += (DOCS / "your-data.md").read_text(encoding="utf-8")
    strategies, pretrain = (importlib.import_module(f"selftrain.{name}") for name in ("strategies", "pretrain"))
    data = importlib.import_module("selftrain.data")
    missing = [name for name in (*strategies.__all__, *pretrain.__all__, *data.names()) if f"`{name}" not in guide]
    assert missing == []


def table_rows(first):
    """Cells of the table whose heading starts with ``first``."""
    guide = (DOCS / f"{TABLES[first]}.md").read_text(encoding="utf-8")
    (table,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", guide, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


@pytest.mark.parametrize(
    ("heading", "package"), [("strategy", "selftrain.strategies"), ("stage", "selftrain.pretrain")]
)
def test_defaults_in_the_guide(heading, package):
    checked = 0
    for name, defaults, *_ in table_rows(heading):
        kind = getattr(importlib.import_module(package), name.strip("`"))
        for argument, value in re.findall(r"`(\w+)=([^`]+)`", defaults):
            assert inspect.signature(kind).parameters[argument].default == ast.literal_eval(value), f"{name} {argument}"
            checked += 1
    assert checked >= 8


def test_settings_of_a_learner_in_the_guide():
    selftrain = importlib.import_module("selftrain")
    fields = {field.name: field.default for field in dataclasses.fields(selftrain.Training)}
    rows = {name.strip("`"): default.strip("`") for name, default, _ in table_rows("setting")}
    assert set(rows) <= set(fields)
    assert set(fields) - set(rows) == {"momentum", "beta2"}
    for name in ("optimizer", "lr", "weight_decay", "encoder_lr", "accumulate", "precision"):
        assert ast.literal_eval(rows[name]) == fields[name], name


def templates(*modules):
    """Texts in the source of some modules, with an ellipsis for each value that is filled in."""
    found = []
    for module in modules:
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_troubleshooting_has_the_texts_of_every_alarm():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    assert set(sections) == set(selfcheck.KINDS)
    texts = templates(selfcheck)
    for kind, section in sections.items():
        quoted = [" ".join(part.split()) for part in re.sub(r"^> ?", "", section, flags=re.MULTILINE).split("\n\n")]
        assert selfcheck.REMEDIES[kind] in quoted, kind
        message = quoted[quoted.index(selfcheck.REMEDIES[kind]) - 1]
        assert any(text.strip() and text.strip() in message for text in texts if len(text) > 30), f"{kind}: {message}"


def test_troubleshooting_has_the_messages_of_the_code():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    kinds = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert [name for name in kinds if f"`{name}`" not in page] == []
    said = templates(*(importlib.import_module(name) for name in module_names()))
    tables = re.findall(r"^\| message \|.*\n\|[-|]+\|\n((?:\|.*\n?)+)", page, re.MULTILINE)
    shown = [row.strip("|").split(" | ")[0].strip() for table in tables for row in table.splitlines()]
    assert len(shown) > 20
    assert [message for message in shown if not any(message in text for text in said)] == []


def test_papers_are_those_of_the_docstrings():
    sources = [path for folder in FOLDERS.values() for path in (ROOT / folder).rglob("*.py")]
    cited = {number for path in sources for number in ARXIV.findall(path.read_text(encoding="utf-8"))}
    assert set(ARXIV.findall((DOCS / "papers.md").read_text(encoding="utf-8"))) == cited


def test_the_worked_strategy_is_that_of_the_example():
    example = (ROOT / "examples" / "custom_strategy.py").read_text(encoding="utf-8")
    (own,) = re.findall(r"^class TwoLooks.*?(?=\n\n\n)", example, re.DOTALL | re.MULTILINE)
    assert own in (DOCS / "writing-a-strategy.md").read_text(encoding="utf-8")


def test_every_extra_is_on_the_first_page():
    page = (DOCS / "get-started.md").read_text(encoding="utf-8")
    assert [name for name in SETUP["options.extras_require"] if f"`{name}`" not in page] == []


def test_every_package_is_on_the_page_of_the_api():
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    public = [name for name in PACKAGES if hasattr(importlib.import_module(name), "__all__")]
    assert [name for name in public if f"| [{name}](../" not in page] == []


def test_blocks_have_a_language_that_something_runs():
    known = {"", "python", "bash", "yaml", "json", "toml"}
    used = {found[1]: page.name for page in PAGES for found in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert {language: page for language, page in used.items() if language not in known} == {}
