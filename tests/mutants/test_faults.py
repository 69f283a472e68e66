"""The list of deliberate faults fits the sources: a stale one is told here, not after minutes of trying the others."""

import ast

import pytest
from mutants import ROOT, collected, located

FAULTS = collected()


def test_names_are_told_apart():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", sorted({fault.file for fault in FAULTS}))
def test_every_fault_finds_its_place(file):
    source = (ROOT / file).read_text(encoding="utf-8")
    lost = {fault.name: source.count(fault.old) for fault in FAULTS if fault.file == file}
    assert {name: count for name, count in lost.items() if count != 1} == {}
    for fault in FAULTS:
        if fault.file == file:
            assert fault.old != fault.new
            ast.parse(source.replace(fault.old, fault.new))


def test_every_fault_names_a_test():
    tests = ROOT / "tests"
    texts = {path.relative_to(tests).as_posix(): path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py")}
    for fault in FAULTS:
        for test in fault.test.split():
            name = test.partition("::")[2]
            file = located(test).partition("::")[0].removeprefix("tests/")
            assert f"def {name.partition('[')[0]}(" in texts[file] if name else file in texts, (fault.name, test)
