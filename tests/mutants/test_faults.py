"""The list of deliberate faults fits the sources: a stale one is told here, not after minutes of trying the others."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from mutants import ROOT, collected, located

FAULTS = collected()


def test_names_are_told_apart():
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


def test_every_fault_finds_its_place():
    wrong = {}
    for fault in FAULTS:
        source = (ROOT / fault.file).read_text(encoding="utf-8") if (ROOT / fault.file).exists() else ""
        count = source.count(fault.old)
        if count != 1 or fault.old == fault.new:
            wrong[fault.name] = f"{fault.file} holds the text {count} times, not once"
            continue
        try:
            ast.parse(source.replace(fault.old, fault.new))
        except SyntaxError as error:
            wrong[fault.name] = str(error)
    assert wrong == {}


def test_every_fault_names_a_test():
    tests = ROOT / "tests"
    texts = {path.relative_to(tests).as_posix(): path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py")}
    for fault in FAULTS:
        for test in fault.test.split():
            name = test.partition("::")[2]
            file = located(test).partition("::")[0].removeprefix("tests/")
            assert f"def {name.partition('[')[0]}(" in texts[file] if name else file in texts, (fault.name, test)


def test_no_killer_is_slow(request):
    """A person who runs the tests as README.md says notices every fault; asked where all of them were collected."""
    if ROOT / "tests" not in [Path(place).resolve() for place in request.config.args]:
        pytest.skip("only some of the tests were collected")
    if request.config.option.markexpr != "not slow" or request.config.option.keyword:
        pytest.skip("other tests than the usual ones were chosen")
    run = {item.nodeid.partition("[")[0] for item in request.session.items}
    run |= {item.nodeid for item in request.session.items} | {name.partition("::")[0] for name in run}
    assert {fault.name: fault.test for fault in FAULTS for test in fault.test.split() if located(test) not in run} == {}


def has_code(source):
    """Whether a file defines anything: what only imports has nothing to break."""
    nodes = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return any(not node.name.startswith("__") for node in nodes)


def test_four_of_five_files_have_a_fault():
    files = [path for folder in ("selftrain", "strategies", "data") for path in (ROOT / folder).rglob("*.py")]
    coded = {p.relative_to(ROOT).as_posix() for p in files if has_code(p.read_text(encoding="utf-8"))}
    missing = coded - {fault.file for fault in FAULTS}
    assert len(missing) <= 0.2 * len(coded), sorted(missing)
