"""The list of deliberate faults fits the sources: a stale one is told here, not after minutes of trying the others."""

import ast

from mutants import ROOT, collected, located

FAULTS = collected()


def test_names_are_told_apart():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))


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
