"""What errors say is printable and not endlessly long."""

from __future__ import annotations

import pytest

from selftrain.errors import CheckpointError, DataError, RunFolderError, printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\x07\x00\x7f\x9b", "\\x07\\x00\\x7f\\x9b"),
        ("a\rb", "a\\rb"),
        ("\u202egnp.exe\u2069", "\\u202egnp.exe\\u2069"),
        ("x\u2028y\ufeff", "x\\u2028y\\ufeff"),
        ("name\udcff", "name\\udcff"),
        ("Ä ü 猫 ß \u200d\u200c é\n\tend\u00a0", "Ä ü 猫 ß \u200d\u200c é\n\tend\u00a0"),
    ],
)
def test_what_does_something_else_than_being_seen_stands_as_its_code(text, seen):
    assert printable(text) == seen
    for kind in (DataError, CheckpointError, RunFolderError):
        assert str(kind(text)) == seen
    seen.encode()


def test_a_message_of_endless_names_is_cut_in_its_middle():
    text = str(DataError(f"no column 'y' in {', '.join(map(str, range(300_000)))}; name another"))
    assert len(text) < 4100
    assert text.startswith("no column 'y' in 0, 1, ")
    assert "characters left out" in text
    assert text.endswith("299999; name another")
