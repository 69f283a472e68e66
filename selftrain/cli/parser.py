"""The parser of every command: jsonargparse, the names of the catalog, config files, and errors in one line."""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter
from jsonargparse.typing import register_type
from torch import Tensor

from selftrain.catalog import NAMES
from selftrain.cli import EXIT_CODES, UsageError
from selftrain.cli.naming import KINDS, filled, foreign_names
from selftrain.errors import RunFolderError
from selftrain.front.naming import AUTO, load_object, spec_of
from selftrain.storage.run_dir import RUN_MARKS
from selftrain.storage.untrusted import from_yaml

Spec = dict[str, Any]
CONFIG = "config.yaml"  # settings of a comparison, whose runs lie below it
MASKS = "masks"  # option that belongs to the data
HEAD = "# selftrain "  # how such a file begins
_FREE = ("columns", "keys", "parts", "colors")  # settings by names that are the owner's: of columns, of arrays
# numbers of a tensor, such as a prior, are a list in every file and on the line
register_type(Tensor, list, lambda value: [float(v) for v in value], type_check=lambda v, _: isinstance(v, list))


class Parser(ArgumentParser):
    """A jsonargparse parser with options that are chosen by name."""

    trust = False  # whether config files in folders of runs may name any code

    def add_choice(self, option: str, kind: str, base: Any, help: str, title: str, **more: Any) -> None:
        """An option ``--OPTION NAME`` for a class under ``base``, with ``--OPTION.SETTING`` for each of its settings.

        Args:
            option: Its name.
            kind: What is chosen, see ``selftrain.cli.naming``.
            base: What the class, or what the function returns, must be.
            help: What it chooses.
            title: Heading in the help.
            **more: Further arguments of ``add_subclass_arguments``.
        """
        # not instantiated by jsonargparse: sizes of the problem are missing until the data are read
        group = self.add_argument_group(title)
        group.add_subclass_arguments(
            base, option, False, skip=filled(kind), instantiate=False, metavar="NAME", help=help, **more
        )
        self._option_string_actions[f"--{option}.help"].metavar = "NAME"


def make_parser(command: str, about: str, usage: str = "[options]") -> Parser:
    """A parser for a command, without options of its own yet."""
    parser = Parser(
        prog=f"selftrain {command}",
        usage=f"selftrain {command} {usage}",
        description=about,
        epilog=EXIT_CODES,
        # ``parse`` words the fault in one line
        exit_on_error=False,
        default_env=False,
        # else a mistyped option passes for a longer one, until a second begins alike
        allow_abbrev=False,
        formatter_class=_Help,
    )
    help = "YAML, TOML or JSON file of these options; may be given several times"
    parser.add_argument("--config", action=_Config, metavar="FILE", help=help)
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def switch(group: Any, name: str, help: str, default: bool = False) -> None:
    """An option that is said alone, or with ``true`` or ``false``."""
    group.add_argument(f"--{name}", type=bool, nargs="?", const=True, default=default, help=help)


def trusts(words: Sequence[str]) -> bool:
    """Whether a line says that code which folders name may be imported."""
    return any(value != "false" for value in said(words, "--trust"))


def trusted(place: str | Path, settings: Any, *, trust: bool | None) -> Any:
    """Settings that lie in a folder, which may be a stranger's; checked before anything that they name is imported.

    ``trust=None``: they are to be compared, and nothing that they name is imported.

    Raises:
        RunFolderError: they name code that is not of selftrain, torch, torchvision and timm, and are not trusted.
    """
    if trust is None:
        return settings
    try:
        foreign = foreign_names(settings)
    except RecursionError as error:
        raise RunFolderError(f"the settings in {place} cannot be used: they are nested too deeply") from error
    names = ", ".join(foreign)[:500]
    if foreign and not trust:
        raise RunFolderError(f"{place} names code that is not of selftrain: {names}; say --trust to import it")
    if foreign:
        warnings.warn(f"{place} is trusted: it has {names} imported", stacklevel=2)
    return settings


def parse(parser: Parser, words: Sequence[str], below: Mapping[str, Any] | None = None) -> tuple[Spec, Spec]:
    """All settings, and those of them that were given.

    Args:
        parser: Of the command.
        words: Of the command line.
        below: Settings under all others, such as those that a run was started with.

    Raises:
        UsageError: an unknown option, or a value of the wrong kind; names the nearest known one.
    """
    parser.trust = trusts(words)
    data = next(iter(said(words, "--data")), "")
    if data and {"-h", "--help"} & set(words):  # of all kinds of data the one that is on the line
        print(parser.format_help())
        _show_settings(parser, "--data.help", data)
    ordered = [*([f"--config={as_yaml(below)}"] if below else []), *_ordered(parser, words)]
    try:
        # twice: the first has no trace of what was given, and averages that were given are not shortened
        every, given = parser.parse_args(ordered), parser.parse_args(ordered, defaults=False)
    except (argparse.ArgumentError, TypeError) as error:
        chosen = {key: spec["class_path"] for key, spec in _named(below or {}).items() if _is_spec(spec)}
        raise UsageError(f"{_in_a_line(str(error), parser, ordered, chosen)} (see {parser.prog} --help)") from error
    return _plain(every), _plain(given)


def said(words: Sequence[str], option: str) -> list[str]:
    """What a line says of an option, before it is parsed; of a switch that is said alone the word behind it."""
    behind = zip(words, [*words, ""][1:], strict=True)
    return [word.partition("=")[2] or after for word, after in behind if word.partition("=")[0] == option]


def names_setting(words: Sequence[str], name: str) -> bool:
    """Whether a line, or a config file on it, says a setting: what is asked for is as published, a default need not."""
    files = (read_config(path, trust=trusts(words)) for path in said(words, "--config"))
    return bool(said(words, f"--{name}")) or any(name in settings for settings in files)


def read_config(path: str | Path, *, trust: bool | None = False) -> dict[str, Any]:
    """Settings in a YAML, TOML or JSON file, by its ending, or those that a run folder was started with.

    Args:
        path: The file or folder.
        trust: Whether what a command has written may name code that is not of selftrain, torch, torchvision and timm;
            ``None``: it is only to be compared.

    Raises:
        UsageError: a file that cannot be read, of another kind, or that holds something else.
        RunFolderError: a folder, or a file in one, that names other code.
    """
    file = Path(path)
    if file.is_dir():
        from selftrain.cli.folder import settings_in  # which reads the files of comparisons here

        return settings_in(file, trust=trust)
    try:
        text = file.read_text(encoding="utf-8")
        found = _toml(text) if file.suffix.lower() == ".toml" else from_yaml(text)  # JSON is YAML
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the config file {file}: {' '.join(str(error).split())}") from error
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"the config file {file} holds a {type(found).__name__}; write one 'name: value' a line")
    # a file of the user's own is as much the user's word as the line; one that came with a folder is not
    if text.startswith(HEAD) or file.name == CONFIG or any((file.parent / name).exists() for name in RUN_MARKS):
        trusted(file, found, trust=trust)
    return dict(found or {})


def write_config(path: Path, command: str, settings: Mapping[str, Any]) -> str:
    """Write settings as YAML that ``--config`` reads, whole or not at all; returns the text."""
    from selftrain.storage.atomic import write_text

    text = f"{HEAD}{command} --config {path.name}\n" + as_yaml(settings)
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


class _Config(ActionConfigFile):
    """``--config FILE``, or settings as YAML; names of the catalog stand for what they name."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Lay the settings over those that are there."""
        import yaml

        # settings that ``parse`` hands in end with a line break, names of files have none
        inline = "\n" in values
        settings = _named(yaml.safe_load(values) if inline else read_config(values, trust=parser.trust))
        try:
            self.apply_config(parser, cfg, self.dest, as_yaml(settings))
        except (TypeError, argparse.ArgumentError) as error:
            source = "the run's own settings" if inline else values
            text = _in_a_line(str(error), parser, (), {}).replace("unknown option --", "unknown key ")
            raise UsageError(f"{source}: {text}") from error


def _named(value: Any, kind: str = "") -> Any:
    """Settings of a file, with what names stand for: ``strategy: fst_d``, or ``strategy: {name: fst_d, depth: 2}``."""
    if isinstance(value, str):
        return spec_of(kind, value)
    if not isinstance(value, Mapping) or kind in _FREE:
        return value
    inner = {str(key).replace("-", "_"): item for key, item in value.items()}
    if not kind and inner.get(MASKS) is not None:
        inner["data"] = _beside(inner.get("data"), inner.pop(MASKS))
    # compare: settings follow the name of a strategy
    if kind in (AUTO, *NAMES["strategy"]) and "class_path" not in inner:
        inner, kind = {"name": kind, **inner}, "strategy"
    key = "path" if kind == "data" else "name"
    if kind in KINDS and not {"class_path", "init_args"} & set(inner):
        chosen = spec_of(kind, str(inner.pop(key))) if inner.get(key) is not None else {}
        inner.pop(key, None)
        inner = {**chosen, "init_args": {**chosen.get("init_args", {}), **inner}}
    # settings of data name nothing: a column of a table may be called `network`
    return {key: item if (kind, key) == ("data", "init_args") else _named(item, key) for key, item in inner.items()}


def _ordered(parser: Parser, words: Sequence[str]) -> list[str]:
    """The words for jsonargparse: config files first, then what is chosen by name, then all settings.

    So the command line wins over config files, wherever it names them, and a setting may stand before the choice that
    it belongs to. Dashes in names are as good as underscores.
    """
    words = with_masks(words)
    configs: list[str] = []
    chosen: list[str] = []
    rest: list[str] = []
    following = iter(words)
    for word in following:
        key, equals, value = word.partition("=")
        head = next((part for name in _FREE if (part := key.partition(f".{name}.")[0] + f".{name}.") in key), "")
        if head:  # behind it stands a name that is the owner's
            rest.append("--" + head[2:].replace("-", "_") + word[len(head) :])
            continue
        key = "--" + key[2:].replace("-", "_")
        kind = key.rpartition(".")[2].removeprefix("--")
        if not word.startswith("--"):
            rest.append(word)
        elif kind == "help" and "." in key:
            _show_settings(parser, key, value if equals else next(following, ""))
        elif key == "--config" or kind in KINDS:
            value = value if equals else next(following, "")
            if not value:
                raise UsageError(f"{key} needs a {'file' if key == '--config' else 'value'}")
            spec = value if key == "--config" else spec_of(kind, value)
            # a choice inside another, as `--strategy.select`, waits with the settings: that class has to be known first
            where = configs if key == "--config" else rest if "." in key else chosen
            where.append(f"{key}={spec if isinstance(spec, str) else json.dumps(spec)}")
        else:
            rest.append(f"{key}{equals}{value}")
    return [*configs, *chosen, *rest]


def with_masks(words: Sequence[str]) -> list[str]:
    """The words with ``--data PICTURES --masks FOLDER``, or ``--labels JOINTS.json``, as data that are read so."""
    masks, pictures = said(words, f"--{MASKS}"), said(words, "--data")
    joints = [file for file in said(words, "--labels") if file.lower().endswith(".json")]
    option, key = ("labels", "joints") if joints and not masks else (MASKS, MASKS)
    masks = masks or joints
    if not masks:
        return list(words)
    rest, dropped = list[str](), False
    for word in words:
        named = word.partition("=")[0] in ("--data", f"--{option}")
        rest += [] if named or dropped else [word]
        dropped = named and "=" not in word
    return [f"--data={json.dumps(_beside(pictures[-1] if pictures else None, masks[-1], key))}", *rest]


def _beside(pictures: Any, masks: Any, key: str = MASKS) -> Spec:
    """Data whose masks, or joints, are in a folder, or file, of their own."""
    given = {"path": pictures} if isinstance(pictures, str) else dict(pictures or {})
    images = given.pop("path", None)
    if not isinstance(images, str) or images.lstrip().startswith("{"):
        raise UsageError(f"--{key} {masks} is for a folder of pictures; say --data PICTURES beside it")
    read = "from_masks" if key == MASKS else "from_keypoints"
    return {"class_path": f"selftrain.data.{read}", "init_args": {"images": images, key: str(masks), **given}}


def _show_settings(parser: Parser, key: str, name: str) -> None:
    """Print the settings of what an option can name, and end."""
    option = key[2:].removesuffix(".help")
    # compare: --fixmatch.help fixmatch
    kind = "strategy" if option in (AUTO, *NAMES["strategy"]) else option.rpartition(".")[2]
    if not name:
        raise UsageError(f"{key} needs a name, such as {next(iter(NAMES.get(kind, ['photos/'])))}")
    spec = spec_of(kind, name)
    spec = spec if isinstance(spec, dict) else {"class_path": spec}
    make, own = load_object(spec["class_path"]), spec.get("init_args", {})
    one = Parser(prog=parser.prog, usage=f"{parser.prog} --{option} {name} [options]", formatter_class=_Help)
    add = one.add_class_arguments if inspect.isclass(make) else one.add_function_arguments
    # the path of data is what --data itself says; code of one's own may have no annotations
    names = add(make, option, skip=filled(kind) | set(own if kind == "data" else ()), fail_untyped=False)
    one.set_defaults({name: own[name.rpartition(".")[2]] for name in names if name.rpartition(".")[2] in own})
    print(one.format_help())
    raise SystemExit(0)


def _plain(options: Any) -> dict[str, Any]:
    """A namespace as dicts, without what is no setting."""
    found: dict[str, Any] = options.as_dict()
    return {key: value for key, value in found.items() if key not in ("config", "debug", "print_config", MASKS)}


def _is_spec(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_path" in value


def _in_a_line(message: str, parser: Parser, words: Sequence[str], chosen: Mapping[str, str]) -> str:
    """What jsonargparse says of a fault over many lines, as option, value and what it must be.

    Args:
        message: Its own.
        parser: That was asked.
        words: Of the line.
        chosen: Classes that are chosen under the words.
    """
    # by the text: jsonargparse raises one class of error for every fault
    keys = [key for key in re.findall(r'Parser key "([^"]+)"', message) if key != "config"]
    option, paths = "--" + ".".join(keys), re.findall(r"class_path '([^']+)'", message)
    unknown = re.search(r"Option '([^']+)' is not accepted|unrecognized arguments: (--[^\s=]+)|Key '([^']+)'", message)
    if unknown is not None:
        key = f"{option}.{unknown[1]}" if unknown[1] else unknown[2] or f"--{unknown[3]}"
        return f"unknown option {key}; {_nearest(key, parser, words, chosen, paths)}"
    bare = re.search(r"argument (--[^\s:]+): expected one argument", message)
    if bare is not None:  # it names the whole choice where a setting of it is meant
        behind = zip(words, [*words[1:], "--"], strict=True)
        meant = [word for word, after in behind if word.startswith(bare[1]) and "=" not in word and after[:2] == "--"]
        return f"{[*meant, bare[1]][0]} needs a value; switches say true or false"
    # the innermost of nested faults comes first
    found = re.search(r"(?s)(.*?)(?:Given|Got) value: ([^\n]*)", message)
    if found is None or not keys:
        return " ".join(message.split())
    kind = option.rpartition(".")[2]
    if kind in NAMES:  # else it is told of import paths
        return f"{option} is {found[2]!r}; give one of {', '.join(NAMES[kind])}, with its values in brackets"
    reasons = re.findall(r"(?:Expected|expected) (.+)", found[1].rpartition("Parser key")[2])
    wanted = " or ".join(dict.fromkeys(worded(reason.removeprefix("a ").rstrip(". ")) for reason in reasons))
    return f"{option} is {found[2]!r}; it must be {wanted or ' '.join(found[1].split())}"


def worded(hint: str) -> str:
    """A type in words."""
    hint = re.sub(r"<class '([^']+)'>", r"\1", hint)
    hint = re.sub(r"(?:typing\.)?Literal\[(.*?)\]", lambda found: "one of " + found[1].replace("'", ""), hint)
    hint = re.sub(r"Optional\[(.*)\]", r"\1 | null", hint).replace("Callable[[float], float]", "schedule")
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null"}
    return " or ".join(words.get(part.strip(), part.strip()) for part in hint.split(" | "))


def _nearest(key: str, parser: Parser, words: Sequence[str], chosen: Mapping[str, str], paths: Sequence[str]) -> str:
    """The known option that is nearest to an unknown one."""
    names = [name for name in parser._option_string_actions if name.startswith("--") and not name.endswith(".help")]
    said = {word.partition("=")[0][2:]: word.partition("=")[2] for word in words if '"class_path"' in word}
    for option, path in {**chosen, **{key: json.loads(spec)["class_path"] for key, spec in said.items()}}.items():
        names += [f"--{option}.{name}" for name in _settings_of(path)]
    if paths:
        names += [f"{key.rpartition('.')[0]}.{name}" for name in _settings_of(paths[-1])]
    last = key.rpartition(".")[2].removeprefix("--")
    last = {"batch_size": "labeled", "learning_rate": "lr"}.get(last, last)  # as others call it
    # the same last word first, as --strategy.depth is meant by --depth
    near = [name for name in names if name.rpartition(".")[2] == last] or difflib.get_close_matches(key, names, 1, 0.6)
    return f"did you mean {near[0]}?" if near else "--help lists all"


def _settings_of(path: str) -> list[str]:
    return [name for name in inspect.signature(load_object(path)).parameters if name not in filled("strategy")]


class _Help(DefaultHelpFormatter):
    """Types and defaults behind each option; what is chosen by name lists no classes; the end of the page as it is."""

    def format_help(self) -> str:
        # jsonargparse takes back the blank before [=flags] by a character that is no text, and speaks Python of flags
        text = str(super().format_help()).replace(" \b", "")
        return re.sub(r"(default:\s+)(True|False)\)", lambda found: f"{found[1]}{found[2].lower()})", text)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # argparse would join the table of exit codes into one paragraph
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: Any) -> str:
        kind = action.dest.rpartition(".")[2]
        if kind == "help" and "." in action.dest:
            return "show the settings of one"
        if action.metavar == "NAME" or isinstance(action, ActionConfigFile):
            return str(action.help)
        text = re.sub(", known subclasses: [^)]*", "", str(super()._get_help_string(action)))
        # docstrings speak Python, a command line YAML
        text = re.sub("``([^`]*)``", lambda found: {"None": "null"}.get(found[1], found[1].strip('"')), text)
        return f"{text} Known: {', '.join(NAMES[kind])}." if kind in NAMES and "." in action.dest else text

    def _get_type_str(self, action: Any) -> str | None:
        found = super()._get_type_str(action)
        return None if found is None else worded(found)
