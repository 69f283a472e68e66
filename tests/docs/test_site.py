"""The pages as a site: each can be reached, and links of the repository lead to its pages. `.ci/run docs` builds it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest
from paths import ROOT

DOCS = ROOT / "docs"


def test_every_page_is_in_the_index_and_in_the_site():
    index, site = (DOCS / "README.md").read_text(encoding="utf-8"), (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.name for page in DOCS.glob("*.md") if page.stem != "README" and not page.stem.endswith("-notes")]
    missing = [name for name in pages if f"]({name}" not in index or f": {name}" not in site]
    assert missing == [], "add them to docs/README.md and to nav in mkdocs.yml"


@pytest.fixture(scope="module")
def hooks():
    """What mkdocs calls when it builds the site."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLACES = [
    ("docs/runs.md", "trust.md", "trust.md"),
    ("docs/README.md", "decisions/", "decisions/index.md"),
    ("docs/decisions", "0002-randomness-is-keyed.md", "decisions/0002-randomness-is-keyed.md"),
    ("docs/api.md", "../strategies/", "api/selftrain.strategies.md"),
    ("docs/README.md", "../examples/", "source/examples/README.md"),
    ("examples/README.md", "table.py", "source/examples/table.py.md"),
    ("CONTRIBUTING.md", "docs/runs.md", "runs.md"),
    ("docs/runs.md", "https://example.org/a.md", None),
    ("docs/runs.md", "nowhere.md", None),
]


def test_links_of_the_repository_lead_to_pages_of_the_site(hooks):
    found = [(origin, link, hooks.resolve(origin, link)) for origin, link, _ in PLACES]
    assert [(origin, link, None if path is None else hooks.place(path)) for origin, link, path in found] == PLACES


def test_links_in_code_stay_as_they_are(hooks):
    text = "[a](b.md) `[a](b.md)`\n```python\nx[0](b.md)\n```\n[`c`](b.md)"
    turned = hooks._outside_code(text, lambda found: found[1] + "c.html")
    assert turned == "[a](c.html) `[a](b.md)`\n```python\nx[0](b.md)\n```\n[`c`](c.html)"


HOW = "how-do-i.html"
QUESTIONS = {  # what is typed: pages that may come first
    "own network": {HOW, "networks.html"},
    "threshold": {HOW, "strategies.html"},
    "GPU": {HOW, "gpu.html"},
    "resume": {HOW, "runs.html"},
    "export": {HOW, "command-line.html"},
    "new method": {HOW, "writing-a-strategy.html"},
    "own logger": {HOW, "handlers.html"},
    "photographs": {HOW, "photographs.html"},
    "text": {HOW, "estimator.html", "foundation.html"},
    "unequal series": {HOW, "your-data.html"},
    "how do I use my own network": {HOW, "networks.html"},
    "how do I set the threshold": {HOW, "strategies.html"},
    "run on a GPU": {HOW, "gpu.html"},
    "resume a run": {HOW, "runs.html"},
    "export a model": {HOW, "command-line.html"},
    "add a new method": {HOW, "writing-a-strategy.html"},
    "use my own logger": {HOW, "handlers.html"},
    "learn from photographs": {HOW, "photographs.html"},
    "learn from text": {HOW, "estimator.html", "foundation.html"},
    "series of unequal length": {HOW, "your-data.html"},
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the script of the site's search")
def test_the_search_of_the_site_answers_how_to_questions_with_the_right_page(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    pytest.importorskip("material", reason="the extra docs is not installed")
    # a copy: the hooks of the site put the package together in build/
    for name in ("docs", "examples", "selftrain", "strategies", "data", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "-q"], cwd=tmp_path, check=True, env=environment)
    site = tmp_path / "build" / "site"
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert not [one for one in index["docs"] if one["location"].startswith(("decisions/", "source/"))]
    script = ROOT / "tests" / "support" / "site_search.js"
    done = subprocess.run(["node", script, site, *QUESTIONS], check=True, capture_output=True, text=True)
    found = dict(map(json.loads, done.stdout.splitlines()))
    wrong = {question: found[question][:3] for question, right in QUESTIONS.items() if found[question][0] not in right}
    assert wrong == {}
