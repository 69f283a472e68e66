"""How docs/ becomes a site; ``mkdocs.yml`` names this file.

The pages are plain Markdown whose relative links are those of the repository, so they read well there. In the site

- a link to a file outside of docs/ leads to a page that shows it, to a folder to the list of its files,
- a link to a notebook leads to a page with its cells and what they answered,
- a link to the folder of a package leads to its reference, made from its docstrings,
- the search finds the guide before the reference, and decisions and files of the repository not at all.
"""

from __future__ import annotations

import base64
import posixpath
import re
import shutil
from configparser import ConfigParser
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"^(`{3,}).*?^\1$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LANGUAGES = {".py": "python", ".cfg": "ini", ".toml": "toml", ".yml": "yaml", ".json": "json"}

_origin: dict[str, str] = {}  # page that is made here: what it shows, by its path from the root


def packages() -> dict[str, str]:
    """Folder of each package with public names: its own name, as ``setup.cfg`` has them."""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    options = config["options"]
    mapped = dict(line.split(" = ") for line in options["package_dir"].split("\n") if line)
    found = {_folder(name, mapped): name for name in options["packages"].split("\n") if name}
    return {folder: name for folder, name in found.items() if "__all__" in _read(f"{folder}/__init__.py")}


def _folder(package: str, mapped: dict[str, str]) -> str:
    """Folder of a package: that of the nearest one above it in ``package_dir``, and the rest of its name."""
    above = package
    while above not in mapped:
        above = above.rpartition(".")[0]
    return mapped[above] + package.removeprefix(above).replace(".", "/")


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def on_startup(command: str, dirty: bool) -> None:
    """Put the package together as it is installed, for the reference: its folders are apart in the repository."""
    built = ROOT / "build" / "docs"
    shutil.rmtree(built, ignore_errors=True)
    for folder, name in sorted(packages().items(), key=lambda item: item[1]):
        shutil.copytree(ROOT / folder, built / name.replace(".", "/"), dirs_exist_ok=True, ignore=_no_code)


def _no_code(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (name.endswith(".py") or (Path(folder) / name).is_dir())]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the reference of each package below the page about it."""
    pages = [{name: f"api/{name}.md"} for name in sorted(packages().values())]
    for entry in next(section["Reference"] for section in config.nav or [] if "Reference" in section):
        if "API" in entry:
            entry["API"] = ["api.md", *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and a page for all that the pages lead to outside of docs/."""
    _origin.clear()
    for folder, name in packages().items():
        _add(files, config, f"api/{name}.md", folder, f"# {name}\n\n::: {name}\n")
    todo = [(f"docs/{page.src_uri}", page.content_string) for page in files.documentation_pages()]
    while todo:
        origin, text = todo.pop()
        for link in [found[2] for found in LINK.finditer(CODE.sub("", text))]:
            path = resolve(origin, link)
            if path and not files.get_file_from_path(place(path)):
                todo.append((path, show(path)))
                _add(files, config, place(path), path, todo[-1][1])
    return files


def _add(files: Files, config: MkDocsConfig, uri: str, origin: str, text: str) -> None:
    _origin[uri] = origin
    files.append(File.generated(config, uri, content=text))


def resolve(origin: str, link: str) -> str | None:
    """Path from the root of what a page links to; ``None`` of what is elsewhere, or not there."""
    if ":" in link or link.startswith("/"):
        return None
    base = origin if (ROOT / origin).is_dir() else posixpath.dirname(origin)
    path = posixpath.normpath(posixpath.join(base, link))
    if path.startswith("..") or not (ROOT / path).exists():
        return None
    readme = f"{path}/README.md"
    return readme if path not in packages() and (ROOT / readme).exists() else path


def place(path: str) -> str:
    """Page of the site for a path from the root."""
    where = ROOT / path
    if path in packages():
        return f"api/{packages()[path]}.md"
    if where.is_dir():
        path += "/index.md"
    inside = PurePosixPath(path).is_relative_to("docs")
    path = path.removesuffix(".ipynb") + ".md" if path.endswith(".ipynb") else path
    uri = path.removeprefix("docs/") if inside else f"source/{path}"
    return uri if inside or uri.endswith(".md") else f"{uri}.md"


def show(path: str) -> str:
    """Markdown of the page for a file or folder."""
    where = ROOT / path
    if where.is_dir():
        title = where.name.capitalize() if path.startswith("docs/") else f"{path}/"
        return f"# {title}\n\n" + "".join(_entry(entry) for entry in sorted(where.iterdir()) if _listed(entry))
    if where.suffix == ".ipynb":
        return _notebook(where)
    text = where.read_text(encoding="utf-8")
    if where.suffix == ".md":
        return text
    return (
        f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n`````{LANGUAGES.get(where.suffix, 'text')}\n{text}`````\n"
    )


def _notebook(where: Path) -> str:
    """Cells and stored answers as Markdown; pictures are inside, so that the page needs no other file."""
    from nbconvert import MarkdownExporter

    text, found = MarkdownExporter().from_filename(str(where))
    for name, content in found["outputs"].items():
        text = text.replace(f"({name})", f"(data:image/png;base64,{base64.b64encode(content).decode()})")
    return str(text)


def _listed(entry: Path) -> bool:
    return not entry.name.startswith((".", "__"))


def _entry(entry: Path) -> str:
    if entry.suffix != ".md":
        return f"- `{entry.name}`\n"
    title = entry.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return f"- [{title}]({entry.name})\n"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    uri = page.file.src_uri
    origin = _origin.get(uri, f"docs/{uri}")
    if uri.startswith(("decisions/", "source/")):  # why something is so answers no question of how
        page.meta["search"] = {"exclude": True}
    elif uri.startswith("api"):
        page.meta["search"] = {"boost": 0.01}  # a title counts a thousand times as much as text

    def turn(found: re.Match[str]) -> str:
        path = resolve(origin, found[2])
        if path is None:
            return found[0]
        target = place(path)
        if not files.get_file_from_path(target):
            target = path.removeprefix("docs/")
        return found[1] + posixpath.relpath(target, posixpath.dirname(uri) or ".") + (found[3] or "")

    return _outside_code(markdown, turn).replace(" ± ", "\u00a0±\u00a0")  # a figure stays on one line


def _outside_code(markdown: str, turn: Any) -> str:
    """Replace links in ``markdown``, but for those in code."""
    parts, last = [], 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(turn, markdown[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*parts, LINK.sub(turn, markdown[last:])])
