"""Settings: frozen dataclasses that do nothing, and the one way in from `key=value`, TOML and Python.

    @dataclass(frozen=True)
    class Config:
        rank: int = option(8, "width of each low-rank update", span=(1, 256, "log"))

A field is a literal with one sentence. From it the command line takes its help, `tune` its span, the web page its
choices; and `plugins.list_options` reads it as text, so an `Option` names its type in text too: `int`, `float`, `bool`,
`str`, `tuple[X, ...]`, each perhaps `| None`. Reading a value by that text alone is what lets a wrong word be refused
before torch is imported. Unknown keys are refused, never ignored.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.file_reading import FileRefused, parse_toml, read_utf8
from emoscene.core.plain_text import SHOWN, shorten_text
from emoscene.core.setting_names import migrate_settings, unknown_setting

C = TypeVar("C")
Span = tuple[float, float] | tuple[float, float, str]
TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of a `Config`, as a person sees it."""

    name: str
    type: str
    default: Any
    help: str
    span: Span | None = None
    choices: tuple[Any, ...] | None = None
    runtime: bool = False

    def read(self, value: Any) -> Any:
        """Convert a value to the type of the field, and check it.

        Args:
            value: Text, or a Python value.

        Returns:
            The value as the field holds it.

        Raises:
            UsageError: The value has another type, is not one of the choices, or is outside the span.
        """
        shown = shorten_text(str(value), SHOWN)
        try:
            value = _convert(value, self.type)
        except (ValueError, TypeError, OverflowError):
            raise UsageError(
                f"{self.name}={shown} is off: {self.name} is {self.type}, such as {self.default}"
            ) from None
        if value is None:
            return value
        if self.choices is not None and value not in self.choices:
            raise unknown_name(self.name, str(value), map(str, self.choices))
        if self.span is not None and not self.span[0] <= value <= self.span[1]:
            raise UsageError(f"{self.name}={shown} is out of range: it goes from {self.span[0]} to {self.span[1]}")
        return value


def option(
    default: Any,
    help: str,
    *,
    span: Span | None = None,
    choices: tuple[Any, ...] | None = None,
    runtime: bool = False,
) -> Any:
    """Declare a field of a `Config`.

    Args:
        default: A default with which the program works.
        help: One sentence.
        span: The smallest and the largest value, and perhaps "log" for a logarithmic scale.
        choices: The allowed values.
        runtime: Whether the field may still be changed after training.

    Returns:
        A dataclass field.
    """
    about = {"help": help, "span": span, "choices": choices, "runtime": runtime}
    return dataclasses.field(default=default, metadata=about)


def list_options(config: Any) -> list[Option]:
    """List the options of a `Config`.

    Args:
        config: The class or an instance.

    Returns:
        The options, in order.
    """
    options = []
    for field in dataclasses.fields(config):
        options.append(Option(field.name, _type_name(field.type), field.default, **{"help": "", **field.metadata}))
    return options


def replace_fields(config: C, pairs: Mapping[str, Any]) -> C:
    """Change fields of a config; every pair is checked first.

    Args:
        config: The config, which stays as it is.
        pairs: Values by field name.

    Returns:
        The changed config.

    Raises:
        UsageError: A name does not exist, or a value is wrong.
    """
    return dataclasses.replace(config, **read_settings(list_options(config), pairs))  # type: ignore[type-var]


def read_saved_fields(config: C, pairs: Mapping[str, Any]) -> C:
    """The config with the fields that a file keeps.

    Args:
        config: Where a value comes from that the file does not have.
        pairs: Fields by name, as the file has them, perhaps by their names in version 0.1.

    Returns:
        The config with these fields changed.

    Raises:
        UsageError: For a field that never was, or a value that it cannot have.
    """
    known = {option.name for option in list_options(config)}
    return replace_fields(config, migrate_settings(pairs, known))


def read_settings(
    options: list[Option], pairs: Mapping[str, Any], by: Callable[[Option, Any], Any] = Option.read
) -> dict[str, Any]:
    """Convert and check settings.

    Args:
        options: The options that exist.
        pairs: Values by option name.
        by: Converts a value.

    Returns:
        The converted values.

    Raises:
        UsageError: A name does not exist, or a value is wrong.
    """
    named = {option.name: option for option in options}
    for key in pairs:
        if key not in named:
            raise unknown_setting("option", key, named)
    return {key: by(named[key], value) for key, value in pairs.items()}


def split_settings(pairs: Mapping[str, Any], *configs: Any) -> list[Any]:
    """Distribute settings over several configs.

    Args:
        pairs: Values by field name.
        configs: The configs.

    Returns:
        The configs, each with its own settings.

    Raises:
        UsageError: A name belongs to none of them, or a value is wrong.
    """
    options: list[Option] = []
    for config in configs:
        options += list_options(config)
    asked = read_settings(options, pairs)
    settings = []
    for config in configs:
        own = {option.name for option in list_options(config)} & asked.keys()
        settings.append(dataclasses.replace(config, **{key: asked[key] for key in own}))
    return settings


def narrow_option(option: Option, value: Any) -> Any:
    """Read a value, a range `LOW..HIGH` or a list `A,B,C`.

    Args:
        option: The option.
        value: The text or value.

    Returns:
        For a range or a list the option with this span or these choices; otherwise the value.

    Raises:
        UsageError: It is not within the option's own span or choices.
    """
    numbers = option.type.removesuffix("| None").strip() in {"int", "float"}
    low, dots, high = str(value).partition("..")
    if dots and numbers and option.choices is None:
        ends = option.read(low), option.read(high)
        if not ends[0] < ends[1]:
            raise UsageError(
                f"{option.name}={value} is no range: write the lower end first, as in {option.name}=LOW..HIGH"
            )
        return dataclasses.replace(option, span=(*ends, *(option.span or ())[2:]))
    if isinstance(value, str) and "," in value and (numbers or option.choices is not None):
        return dataclasses.replace(option, choices=tuple(option.read(part.strip()) for part in value.split(",")))
    if isinstance(value, Option):
        return value
    return option.read(value)


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config to a dict.

    Args:
        config: The config.

    Returns:
        Values by field name.
    """
    return {option.name: getattr(config, option.name) for option in list_options(config)}


def to_toml(config: Any) -> str:
    """Convert a config to TOML, with the sentence of each field; a field that is None becomes a comment.

    Args:
        config: The config.

    Returns:
        The text.
    """
    lines = []
    for option in list_options(config):
        value = getattr(config, option.name)
        if value is None:
            line = f"# {option.name} is not set"
        else:
            line = f"{option.name} = {_toml(value)}"
        if option.help:
            line = f"{line}  # {option.help}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def list_lasting(config: Any) -> dict[str, Any]:
    """List the settings that make two calls different: all but those of the machine (`runtime`).

    Args:
        config: A `Config`.

    Returns:
        The values by name.
    """
    lasting = {}
    for each in list_options(config):
        if not each.runtime:
            lasting[each.name] = getattr(config, each.name)
    return lasting


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.

    Returns:
        Its table.

    Raises:
        UsageError: It cannot be read, or is not TOML.
    """
    try:
        return parse_toml(read_utf8(path))
    except FileRefused as error:
        raise UsageError(f"{error}: give another file") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML ({error}): mend it") from error


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if type(annotation) is type:
        return annotation.__name__
    return str(annotation)


def _convert(value: Any, kind: str) -> Any:
    plain = kind.removesuffix("| None").strip()
    if plain != kind and (value is None or value in ("none", "None", "")):
        return None
    if plain.startswith("tuple["):
        element = plain.removeprefix("tuple[").split(",")[0].strip(" ]")
        parts = value
        if isinstance(value, str):
            parts = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(_convert(part, element) for part in parts)
    return READERS[plain](value)


def _read_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _read_float(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _read_bool(value: Any) -> bool:
    word = str(value).lower()
    if word not in TRUTHS:
        raise ValueError(value)
    return TRUTHS[word]


def _read_text(value: Any) -> str:
    if not isinstance(value, str | Path):
        raise ValueError(value)
    return str(value)


READERS: dict[str, Callable[[Any], Any]] = {
    "int": _read_int,
    "float": _read_float,
    "bool": _read_bool,
    "str": _read_text,
}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
