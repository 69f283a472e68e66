"""What setup.cfg asks for has a lowest version, for the reasons in SECURITY.md, and comes from the index."""

from __future__ import annotations

import re
from configparser import ConfigParser
from importlib import metadata

from packaging.requirements import Requirement
from paths import ROOT

SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
NEEDED = [Requirement(line) for line in SETUP["options"]["install_requires"].split("\n") if line]
EXTRAS = [Requirement(line) for text in SETUP["options.extras_require"].values() for line in text.split("\n") if line]
ROW = re.compile(r"^\| ([\w-]+) \| ([\d.]+) \| ([A-Z]+-[\d-]+, )*[A-Z]+-[\d-]+: .+ \|$", re.MULTILINE)


def floors(requirement: Requirement) -> list[str]:
    return [limit.version for limit in requirement.specifier if limit.operator == ">="]


def test_each_has_a_lowest_version_and_comes_from_the_index():
    assert len(NEEDED) > 5
    assert [str(r) for r in NEEDED + EXTRAS if len(floors(r)) != 1 or r.url is not None] == []


def test_what_is_installed_here_is_what_is_asked_for():
    here = [r for r in NEEDED if r.marker is None or r.marker.evaluate()]
    found = {str(r): metadata.version(r.name) for r in here}
    assert {str(r): found[str(r)] for r in here if not r.specifier.contains(found[str(r)], prereleases=True)} == {}


def test_lowest_versions_are_those_whose_reasons_are_told():
    told = ROW.findall((ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    asked = {(r.name, version) for r in NEEDED + EXTRAS for version in floors(r)}
    assert {(name, version) for name, version, _ in told} <= asked
    assert {name for name, *_ in told} >= {"torch", "Pillow", "pyarrow", "onnx"}  # what reads files
