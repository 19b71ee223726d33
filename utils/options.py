"""Command lines from dataclasses: the text beside each field is its help, its value the only default."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from os import PathLike
from typing import Any, NoReturn

from utils.errors import OptionError
from utils.version import TOOL

_UNSET = object()
_BOOLEAN: dict[str, Any] = {"nargs": "?", "const": True, "metavar": "True|False"}  # `--flag`, `--flag True`
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def option(default: Any, text: str, **argument: Any) -> Any:
    """A dataclass field with its help text and further arguments of `add_argument`.

    within: the least and the most that a number may be; without it, any from 0 on.
    """
    value = {"default_factory": default} if callable(default) else {"default": default}
    return field(**value, metadata={"help": text, **argument})


def boolean(text: str) -> bool:
    """True and False as people write them, so that `--flag False` switches off."""
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise argparse.ArgumentTypeError(f"expected True or False, not {text!r}")
    return word in _TRUE


def wants(argv: Sequence[str], name: str) -> bool:
    """What a command line says of a boolean option, whatever is wrong with it; neither yes nor no is a yes."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(f"--{name}", default=False, type=boolean, **_BOOLEAN)
    try:
        return bool(vars(parser.parse_known_args(argv)[0])[name])
    except argparse.ArgumentError:
        return True


def clock(text: str) -> float:
    """Seconds from `90`, `90.5`, `1:30` or `0:01:30.5`."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected seconds or h:mm:ss, not {text!r}")
    hours, minutes, seconds = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


# What Python code may give for options whose words on the command line are read by the first.
_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str, PathLike), "text"), boolean: ((bool,), "True or False"), int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"), clock: ((Real,), "a number of seconds"),
}


def check_types(options: Any) -> None:
    """Refuse values of other types than the command line gives; raises OptionError."""
    for entry in (entry for entry in fields(options) if "help" in entry.metadata):
        value, (types, expected) = getattr(options, entry.name), _TYPES[entry.metadata.get("type", str)]
        several = "nargs" in entry.metadata and isinstance(value, (list, tuple))
        for each in value if several else [value]:
            is_other = isinstance(each, bool) and bool not in types  # a whole number, for Python
            if (is_other or not isinstance(each, types)) and not (each is None and entry.default is None):
                raise OptionError(f"--{entry.name} must be {expected}, not {each!r}")


def check_choices(options: Any) -> None:
    """Refuse values that are none of their field's choices, as the command line does; raises OptionError."""
    for entry in fields(options):
        choices, value = entry.metadata.get("choices"), getattr(options, entry.name)
        if choices is not None and value not in choices:
            raise OptionError(f"--{entry.name} must be one of {', '.join(map(str, choices))}, not {value!r}")


def check_names(options: Any, names: Iterable[str]) -> None:
    """Refuse empty names of files and folders, which would stand for the current folder; raises OptionError.

    names: options that hold one name or several.
    """
    for name in names:
        value = getattr(options, name)
        if "" in (value if isinstance(value, (list, tuple)) else [value]):
            raise OptionError(f"--{name} has an empty name, expected a file or a folder; is a variable unset?")


def check_ranges(options: Any) -> None:
    """Refuse numbers that are not within their field's range, infinite or none at all; raises OptionError."""
    for entry in fields(options):
        if entry.metadata.get("type") not in (int, float, clock) or "nargs" in entry.metadata:
            continue
        (least, most), value = entry.metadata.get("within", (0, math.inf)), getattr(options, entry.name)
        if value is not None and not (least <= value <= most and value < math.inf):
            expected = f"from {least} to {most}" if most < math.inf else f"{least} or more"
            raise OptionError(f"--{entry.name} must be {expected}, not {value}")


class _Formatter(argparse.HelpFormatter):
    """Help in one form on all versions of Python: the value's name once, behind all names of the option."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class Parser(argparse.ArgumentParser):
    """Gives bad options one message and the exit code of OptionError, like every other error, and has `--version`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        # Those of Python know no exponents, and take -1e-3 for an option.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)
        self.add_argument("--version", action="version", version=TOOL, help="print name and version, and exit")

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message} (see python {self.prog} --help)")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Like argparse, but what is no option is answered with the one that was meant; raises OptionError."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            words = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            near = [name for word in words for name in get_close_matches(word, self._option_string_actions, n=1)]
            meant = f"; did you mean {' and '.join(dict.fromkeys(near))}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return parsed

    def given(self, argv: Sequence[str]) -> dict[str, Any]:
        """Only the options that a command line names; takes the defaults from this parser. Raises OptionError."""
        self.set_defaults(**{action.dest: _UNSET for action in self._actions})
        return {name: value for name, value in vars(self.parse_args(argv)).items() if value is not _UNSET}


def _add(target: Any, entry: Field[Any]) -> None:
    """One field as one option; booleans take `--flag`, `--flag True` and `--flag False`."""
    argument = {key: value for key, value in entry.metadata.items() if key not in ("alias", "group", "within")}
    default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    if argument.get("type") is boolean:
        argument |= _BOOLEAN
    if default not in (None, [], ""):
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        argument["help"] += f" (default: {shown})"
    names = [f"--{entry.name}"]
    names += [entry.metadata["alias"]] if "alias" in entry.metadata else []
    target.add_argument(*names, dest=entry.name, default=default, **argument)


def build_parser(options: type[Any], program: str, description: str) -> Parser:
    """The command line of a dataclass whose fields are made by `option`; `group` in a field starts a new group."""
    result = Parser(prog=program, description=description, formatter_class=_Formatter)
    target: Any = result
    for entry in (entry for entry in fields(options) if "help" in entry.metadata):
        if "group" in entry.metadata:
            target = result.add_argument_group(entry.metadata["group"])
        _add(target, entry)
    return result
