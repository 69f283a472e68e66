"""Files of strangers that would take all time or memory, or end in an error of Python's: limits, and errors by name."""

from __future__ import annotations

import json
import time

import pytest

from selftrain.storage.untrusted import DEEPEST, from_json, from_yaml, read_json

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join([f'*{chr(97 + i)}'] * 9)}], k{i}: 1}}\n" for i in range(9)
)
BOMBS = {
    "anchors": LAUGHS,
    "merged keys": MERGES,
    "a list in itself": "a: &a [*a]\n",
    "a mapping in itself": "a: &a {b: *a}\n",
    "lists": "[" * 100_000,
    "closed lists": "[" * 900 + "]" * 900,
    "mappings": "{a: " * 100_000,
    "lines of mappings": "".join(" " * i + "a:\n" for i in range(2000)),
    "dashes": "- " * 50_000,
    "length": "a: 1\n" * 1_000_000,
    "a number": f"a: {'9' * 10_000}",
    "an object": "a: !!python/object/apply:os.system [ls]",
    "two documents": "a: 1\n---\nb: 2\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_that_explodes_is_refused_at_once(name):
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=r"\S"):
        from_yaml(BOMBS[name])
    assert time.perf_counter() - begun < 20


def test_yaml_as_people_write_it_is_read():
    text = "base: &base {lr: 0.1, steps: 3}\none: {<<: *base, lr: 0.2}\nlist: [&x 1, *x, 1e-5, null, yes, 'a: b']\n"
    assert from_yaml(text)["one"] == {"lr": 0.2, "steps": 3}
    assert from_yaml(text)["list"] == [1, 1, "1e-5", None, True, "a: b"]
    assert from_yaml('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert from_yaml("") is None
    names = "labels:\n" + "".join(f"- file-{i}.csv\n" for i in range(2000))
    assert len(from_yaml(names)["labels"]) == 2000


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 103 + "]" * 103, '{"a":' * 200 + "1" + "}" * 200, "", "{", "NaN1"]
)
def test_json_that_is_nested_too_deeply_or_none_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"\S"):
        read_json(tmp_path / "a.json")


def test_json_comes_back():
    value = {"a": [1, 2.5, None, {"b": ["c"] * 1000}]}
    for _ in range(DEEPEST - 4):
        value = [value]
    assert from_json(json.dumps(value)) == value
