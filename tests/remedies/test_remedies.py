"""Every message that names a remedy is provoked, its remedy is followed, and that succeeds."""

import importlib
import re
from pathlib import Path

import pytest
from remedies import ROOT, Elsewhere, Row, follow, messages

MESSAGES = messages()
# followed by training several times, which takes longer than all other rows together
SLOW = ("selftrain/cli/", "selftrain/pipeline/folder", "selftrain/storage/run_dir", "selftrain/estimator/classifier")
ROWS = [
    (file, row)
    for name in sorted(path.stem for path in Path(__file__).parent.glob("rows_*.py"))
    for file, rows in importlib.import_module(name).ROWS_OF.items()
    for row in rows
]


def found(file, says):
    """The message of a file that holds this piece: one, or the piece is too short."""
    texts = [message for message in MESSAGES.get(file, ()) if says in message]
    texts = [says] if says in texts else texts  # a short one may be a piece of another
    assert len(texts) == 1, f"{says!r} is in {len(texts)} messages of {file}, not in one"
    return texts[0]


@pytest.mark.parametrize(
    ("file", "row"),
    [
        pytest.param(
            file,
            row,
            id=f"{file}-{row.says}".replace(" ", "_"),
            marks=[pytest.mark.slow] if file.startswith(SLOW) else [],
        )
        for file, row in ROWS
        if isinstance(row, Row)
    ],
)
def test_the_remedy_works(file, row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    follow(row, found(file, row.says), tmp_path)


def test_every_message_with_a_remedy_has_a_row():
    followed = {(file, found(file, row.says)) for file, row in ROWS}
    asked = {(file, message) for file, texts in MESSAGES.items() for message, remedy in texts.items() if remedy}
    assert sorted(asked - followed) == [], "messages that name a remedy: give each a row in tests/remedies/"


def test_tests_elsewhere_are_there():
    for _, row in ROWS:
        if isinstance(row, Elsewhere):
            file, _, name = row.test.partition("::")
            assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.M), row
