"""One command line: config files and options together, unknown names with the nearest known one."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from selftrain.cli.stops import EXIT_CODES, UsageError

Options = Mapping[str, argparse.Action]
_VALUE = re.compile(r'Parser key "(?P<key>[^"]+)"(?: element \d+)?:.*(?:Given value|Got value): (?P<value>.*)$')


class Parser(ArgumentParser):
    """A jsonargparse parser that raises ``UsageError``.

    Attributes:
        shorts: Options that are short for another one, such as ``--strategy`` for ``--strategy.name``.
    """

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.shorts: dict[str, str] = {}

    @property
    def options(self) -> Options:
        """Every option by what a person writes."""
        known: dict[str, argparse.Action] = dict(self._option_string_actions)
        return known | {short: known[option] for short, option in self.shorts.items()}

    def format_help(self, *given: Any, **settings: Any) -> str:
        """The help, with each option under the one name that a person writes."""
        names = {full: short for short, full in self.shorts.items()}
        before = [(action, action.option_strings) for action in self._actions if action.dest != "help"]
        try:
            for action, options in before:
                action.option_strings = [names.get(option, option) for option in options[:1]]
            return str(super().format_help(*given, **settings))
        finally:
            for action, options in before:
                action.option_strings = options

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Refuse a command line; the message in one line."""
        text = " ".join(message.split())
        found = _VALUE.search(text)
        if found is not None and f"--{found['key']}" in self.options:
            kind = worded(getattr(self.options[f"--{found['key']}"], "_typehint", str))
            text = f"--{found['key']} is {found['value']!r}; it must be {kind}"
        raise UsageError(f"{text} (see {self.prog} --help)") from ex


class Line:
    """What a person wrote: options on the command line, and those of config files below them.

    ``--init-from`` is as good as ``--init_from``, a switch needs no ``true``, and the name of a thing is short for its
    first setting: ``--strategy fst_d`` is ``--strategy.name fst_d``. The command line wins over config files, later
    files over earlier ones.

    Args:
        command: Its name.
        words: Command line without it.
        below: Settings that are below all config files, such as those that a run was started with.

    Raises:
        UsageError: a config file that cannot be read.
    """

    def __init__(self, command: str, words: Sequence[str], below: Mapping[str, Any] | None = None) -> None:
        self.command = command
        self.words, files = _without_configs(words)
        self.layers = [("the run's own settings", below)] if below else []
        self.layers += [(str(file), read_config(file)) for file in files]

    def over(self, below: Mapping[str, Any]) -> Line:
        """The same line above other settings."""
        other = Line(self.command, self.words, below)
        other.layers += self.layers
        return other

    def parser(self, about: str, usage: str = "[options]") -> Parser:
        """A parser for this command, without options of its own yet."""
        parser = Parser(
            prog=f"selftrain {self.command}",
            usage=f"selftrain {self.command} {usage}",
            description=about,
            epilog=EXIT_CODES,
            exit_on_error=False,
            default_env=False,
            formatter_class=_Help,
        )
        parser.add_argument(
            "--config", metavar="FILE", help="YAML, TOML or JSON file of these options; may be given several times"
        )
        parser.add_argument("--debug", action="store_true", help="show where an error comes from")
        return parser

    def chosen(self, name: str, inner: str) -> str | None:
        """What ``--NAME`` or ``--NAME.INNER`` says; ``None``: nothing. It is read before there is a parser."""
        found = None
        for _, layer in self.layers:
            value = layer.get(name) if isinstance(layer, Mapping) else None
            value = value.get(inner) if isinstance(value, Mapping) else value
            found = found if value is None else str(value)
        for place, word in enumerate(self.words):
            key, equals, value = word.partition("=")
            if _option(key) in (f"--{name}", f"--{name}.{inner}"):
                after = self.words[place + 1 : place + 2]
                found = value if equals else (after[0] if after else found)
        return found

    def has(self, switch: str) -> bool:
        """Whether a switch is on the command line."""
        return any(
            _option(word.partition("=")[0]) == f"--{switch}" and not word.endswith("=false") for word in self.words
        )

    def parse(self, parser: Parser) -> tuple[dict[str, Any], dict[str, Any]]:
        """All settings, and those of them that were given.

        Raises:
            UsageError: an unknown option, or a value of the wrong kind; names the nearest known one.
        """
        words = [*self._of_files(parser), *self._of_line(parser)]
        every, given = parser.parse_args(words), parser.parse_args(words, defaults=False)
        return _plain(every), _plain(given)

    def _of_files(self, parser: Parser) -> Iterator[str]:
        for source, layer in self.layers:
            yield from _words_of(layer or {}, parser, source)

    def _of_line(self, parser: Parser) -> Iterator[str]:
        words, options = self.words, parser.options
        for place, word in enumerate(words):
            if not word.startswith("--") or word == "--":
                yield word
                continue
            key, equals, value = word.partition("=")
            key = _known(_option(key), options, "")
            key = parser.shorts.get(key, key)
            after = words[place + 1] if place + 1 < len(words) else ""
            if equals:
                yield f"{key}={value}"
            elif _is_switch(options[key]) and after not in ("true", "false", "null"):
                yield f"{key}=true"
            else:
                yield key


def read_config(path: str | Path) -> dict[str, Any]:
    """Settings in a YAML, TOML or JSON file, by its ending.

    Raises:
        UsageError: a file that cannot be read, of another kind, or that holds something else.
    """
    import yaml

    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        found = _toml(text) if file.suffix.lower() == ".toml" else yaml.safe_load(text)  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the config file {file}: {' '.join(str(error).split())}") from error
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"the config file {file} holds a {type(found).__name__}; write one 'name: value' a line")
    return dict(found or {})


def write_config(path: Path, command: str, settings: Mapping[str, Any]) -> str:
    """Write settings as YAML that ``--config`` reads, whole or not at all; returns the text."""
    from selftrain.storage.atomic import write_text

    text = f"# selftrain {command} --config {path.name}\n" + as_yaml(settings)
    write_text(path, text)
    return text


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Settings as YAML, in their order."""
    import yaml

    plain = json.loads(json.dumps(settings))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120))


def _toml(text: str) -> dict[str, Any]:
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:  # Python 3.10
        raise UsageError("TOML needs Python 3.11 or later; write the config file as YAML or JSON") from error
    return dict(tomllib.loads(text))


def _without_configs(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without ``--config FILE``, and the files."""
    kept, files, rest = [], [], iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if key != "--config":
            kept.append(word)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise UsageError("--config needs a file")
        files.append(value)
    return kept, files


def _words_of(settings: Mapping[str, Any], parser: Parser, source: str, prefix: str = "") -> Iterator[str]:
    """Settings of a config file as the words of a command line."""
    options = parser.options
    for name, value in settings.items():
        key = f"--{prefix}{str(name).replace('-', '_')}"
        if isinstance(value, Mapping) and any(option.startswith(f"{key}.") for option in options):
            yield from _words_of(value, parser, source, f"{key[2:]}.")
            continue
        key = _known(key, options, source)
        key = parser.shorts.get(key, key)
        if isinstance(value, list) and options[key].nargs in ("+", "*"):
            yield from (key, *map(_word, value)) if value else ()
        else:
            yield f"{key}={_word(value)}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _option(word: str) -> str:
    """``--init-from`` as ``--init_from``."""
    return "--" + word[2:].replace("-", "_") if word.startswith("--") else word


def _known(key: str, options: Options, source: str) -> str:
    if key in options:
        return key
    names = [name for name in options if name.startswith("--")]
    near = _same_end(key, names) or difflib.get_close_matches(key, names, 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else "--help lists all"
    where = f"{source}: " if source else ""
    raise UsageError(f"{where}unknown {'key' if source else 'option'} {key[2:] if source else key}; {hint}")


def _same_end(key: str, names: Sequence[str]) -> list[str]:
    """Options whose last part is this name, as ``--strategy.depth`` is for ``--depth``."""
    end = key.removeprefix("--").rpartition(".")[2]
    return [name for name in names if name.removeprefix("--").rpartition(".")[2] == end]


def _is_switch(action: argparse.Action) -> bool:
    return getattr(action, "_typehint", None) is bool


def _plain(options: Namespace) -> dict[str, Any]:
    """A namespace as dicts, without what is no setting."""
    found: dict[str, Any] = options.as_dict()
    return {key: value for key, value in found.items() if key not in ("config", "debug")}


def worded(hint: Any) -> str:
    """A type in words."""
    if hint is None or hint is type(None):
        return "null"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(worded, inner))
    if origin is tuple:
        return f"[{', '.join(map(worded, (part for part in inner if part is not Ellipsis)))}, ...]"
    if origin is not None:
        return f"a list such as [{worded(inner[0]) if inner else 'a'}, ...]"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


class _Help(DefaultHelpFormatter):
    """Types and defaults behind each option; the end of the page as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
