"""The pages as a site: each can be reached, and links of the repository lead to its pages. `.ci/run docs` builds it."""

import importlib.util

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
