"""A line as a call of a verb's function: its words, options and recipe as arguments, and its settings.

`key=value` is a field of a `Config`, wherever in the line it stands. A recipe is a file of options and settings that
come before those of the line.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emoscene.cli.options import MAY_BE_EMPTY, lacks_value, read_value, spell_flags
from emoscene.cli.verbs import Verb, load_verb
from emoscene.core import config, paths, registry, taxonomy
from emoscene.core.config import Option
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.idle_options import check_idle
from emoscene.core.parameter import Parameter

PAIR = re.compile(r"([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
PLACES = {"image", "emotion_image", "prompts", "images", "root", "out", "recipe", "storage"}
"""Options of which the files are shown in a result, or written."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A line, read.

    Attributes:
        verb: The verb.
        given: The arguments of its function by name.
        pairs: The settings.
        as_json: Whether the result is to be JSON.
    """

    verb: str
    given: dict[str, Any]
    pairs: dict[str, Any]
    as_json: bool = False


def make_call(
    verb: Verb, line: Sequence[str], words: Sequence[str], literal: Sequence[str], flagged: Mapping[str, Any]
) -> Call:
    """Read the parts of a line.

    Args:
        verb: The verb.
        line: The whole line, whose spelling a refusal repeats.
        words: What stands without a flag: arguments and settings.
        literal: The arguments after `--`, of which none is a setting.
        flagged: The text of each option by name; a list where the option repeats.

    Returns:
        The call, of which every part is checked as far as that needs no torch.

    Raises:
        UsageError: The first part that is wrong.
    """
    plain, pairs = _split_pairs(words)
    options: dict[str, Any] = {}
    _check_size_once([name for name, value in flagged.items() if value is not None])
    for name, value in flagged.items():
        if value is not None:
            _read_flagged(options, verb, name, value, line)
    if "recipe" in options:
        more, settings = read_recipe(verb.name, options.pop("recipe"))
        if flagged.get("size") is not None:  # a square where it says one side
            more.pop("height", None)
        options, pairs = {**more, **options}, {**settings, **pairs}
    as_json = options.pop("json", False)
    given = {**_place_words(verb, [*plain, *literal]), **options}
    for name in verb.needs:
        if name not in given:
            wanted = name.upper() if name in verb.words else spell_flags(verb.options[name])[0]
            raise UsageError(f"{verb.name} needs {wanted}: {verb.example}")
    settings_given = pairs if verb.has_settings else {}
    check_idle(verb.name, {**given, **settings_given}, partial(_spell_given, verb, line, flagged))
    taxonomy.check_one_source(*[given.get(name) for name in ("emotion", "valence", "arousal", "emotion_image")])
    return Call(verb.name, given, _read_settings(verb, given, pairs), as_json)


def read_recipe(verb: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a recipe.

    Args:
        verb: The verb that it is for.
        name: A file that ends in .toml, or a name of `emoscene ls recipes`.

    Returns:
        The verb's options, and the settings.

    Raises:
        UsageError: A value is wrong, or names a place outside of the recipe's folder and this one.
    """
    if Path(name).suffix == ".toml":
        table = config.read_toml(name)
    else:
        table = registry.load_table("recipes", name)
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    known = load_verb(verb)
    _check_size_once(table)
    for key, value in table.items():
        option = known.find_option(key)
        if option is None:
            settings[key] = value
            continue
        for one in _as_values(known, option.name, value):
            if option.name in PLACES and isinstance(one, str):
                _check_place(Path(name), option.name, one)
            if option.type == "str" and type(one) in {int, float}:  # `size = 192` is `--size 192`
                one = str(one)
            _add_value(options, known, option.name, read_value(option, one, f"recipe {name}: {key}"))
    return options, settings


def list_settings(verb: str, given: Mapping[str, Any]) -> list[Option] | None:
    """List the fields that `key=value` may set.

    Args:
        verb: The verb.
        given: The arguments of its function, such as the name of the learner.

    Returns:
        The fields; None where only the adapters know.

    Raises:
        UsageError: There is no such learner, source or method.
    """
    if verb in {"train", "tune"}:
        return _list_training_settings(verb, given["name"])
    if verb == "prepare":
        return [*registry.list_room_options("data/preparation"), *registry.list_options("sources", given["source"])]
    if "adapter" in given and "method" not in given:
        return None
    short, full = [], []
    for method, option in registry.list_call_options(given.get("method", "none")):
        if option.runtime:
            short.append(option)
            full.append(dataclasses.replace(option, name=f"{method}.{option.name}"))
    return short + full


def _list_training_settings(verb: str, name: str) -> list[Option]:
    kinds = {}
    for kind in ("encoders", "methods"):
        kinds.update(dict.fromkeys(registry.list_names(kind), kind))
    if name not in kinds:
        raise unknown_name("learner", name, kinds, hint="emoscene ls")
    fields = [*registry.list_room_options("training/state"), *registry.list_options(kinds[name], name)]
    if verb == "tune":
        fields += registry.list_room_options("tuning/objective")
    return fields


def find_flag(option: Parameter, line: Sequence[str]) -> str:
    """Find how a line spells an option.

    Args:
        option: The option.
        line: The words of the line.

    Returns:
        The alias that the line has, such as `--num`; else the option's own flag.
    """
    flag, *aliases = spell_flags(option)
    for alias in aliases:
        if alias in line or any(word.startswith(f"{alias}=") for word in line):
            flag = alias
    return flag


def name_options(sentence: str, call: Call, line: Sequence[str]) -> str:
    """Write the options of a call in an error as the line spells them; the verb's function knows its arguments alone.

    Args:
        sentence: The error, which may say `num_images_per_prompt=3`.
        call: The call that was refused.
        line: Its words.

    Returns:
        The sentence with `--num=3`, where the call gave that value to that argument.
    """
    options = load_verb(call.verb).options
    for name, value in call.given.items():
        if name in options:
            given = re.escape(f"={value}")
            sentence = re.sub(rf"(?<![\w.-]){name}(?={given}(?!\w))", find_flag(options[name], line), sentence)
    return sentence


def _spell_given(verb: Verb, line: Sequence[str], flagged: Mapping[str, Any], name: str) -> str:
    """An argument as the line spells it: its flag, its word, or `key=` of a setting."""
    if name in {"width", "height"} and flagged.get("size") is not None:
        name = "size"
    if name in verb.options:
        return find_flag(verb.options[name], line)
    if name in verb.words:
        return name.upper()
    return f"{name}="


def _split_pairs(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words without a flag: arguments, and settings by name."""
    plain: list[str] = []
    pairs: dict[str, str] = {}
    for word in words:
        pair = PAIR.fullmatch(word)
        if pair is None:
            plain.append(word)
        elif pair[1] in pairs:
            raise UsageError(f"{pair[1]} is set twice, to {pairs[pair[1]]!r} and to {pair[2]!r}: leave one of them out")
        else:
            pairs[pair[1]] = pair[2]
    return plain, pairs


def _check_size_once(names: Collection[str]) -> None:
    """Raises UsageError where a line, or a recipe, says the size in both ways."""
    for side in ("width", "height"):
        if "size" in names and side in names:
            raise UsageError(f"--size and --{side} both say how large an image is: leave one of them out")


def _read_flagged(options: dict[str, Any], verb: Verb, name: str, value: Any, line: Sequence[str]) -> None:
    """Read what the line says of an option into `options`."""
    option = verb.options[name]
    flag = find_flag(option, line)
    for one in _as_values(verb, name, value):
        texts = [one] if isinstance(one, str) else one
        if option.type != "bool" and any(text.startswith("--") for text in texts):
            raise lacks_value(option, flag)
        _add_value(options, verb, name, read_value(option, one, flag))


def _as_values(verb: Verb, name: str, value: Any) -> list[Any]:
    if isinstance(value, list) and verb.repeats(name):
        return value
    return [value]


def _add_value(options: dict[str, Any], verb: Verb, name: str, value: Any) -> None:
    """Put a value where the verb's function takes it."""
    if name == "size":
        options.update(zip(("width", "height"), value, strict=False))
    elif verb.repeats(name):
        values = options.setdefault(name, [])
        if name != "emotion" or value not in values:  # the same emotion again would be the same images
            values.append(value)
    else:
        options[name] = value


def _place_words(verb: Verb, words: list[str]) -> dict[str, Any]:
    """The words of a line as arguments; the last argument takes all that is left where it repeats."""
    names = list(verb.words)
    for place, word in enumerate(words):
        name = [*names, "word"][min(place, max(len(names) - 1, 0))]
        if name not in MAY_BE_EMPTY and not word.strip():
            raise UsageError(f"{name.upper()} is empty: {verb.example}")
    if len(words) >= len(names) > 0 and verb.repeats(names[-1]):
        first = len(names) - 1
        return {**dict(zip(names, words[:first], strict=False)), names[-1]: words[first:]}
    if len(words) > len(names):
        hint = verb.example
        if verb.name == "generate":
            hint = "put the prompt in quotes"
        raise UsageError(f"{words[len(names)]!r} is a word too many: {hint}")
    return dict(zip(names, words, strict=False))


def _read_settings(verb: Verb, given: Mapping[str, Any], pairs: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, read by their fields."""
    if not pairs and "name" not in given and "source" not in given:
        return {}
    known = list_settings(verb.name, given)
    if known is None and not verb.has_settings:
        known = []
    names = {option.name for option in known or ()}
    for key in pairs:
        option = verb.find_option(key)
        if option is not None and key not in names:
            value = pairs[key]
            raise UsageError(f"{key!r} is an option and no setting: write --{key.replace('_', '-')} {value}")
    if known is None:
        return dict(pairs)
    fixed = set()
    if verb.name in {"generate", "evaluate"}:
        for _, field in registry.list_call_options(given.get("method", "none")):
            if not field.runtime:
                fixed.add(field.name)
    for key in pairs:
        if not known or key.rpartition(".")[2] in fixed:
            fields = ""
            if names:
                fields = f"; here it is {', '.join(sorted(names))}"
            raise UsageError(f"{key!r} cannot be set here: `emoscene show NAME` tells what may change at use{fields}")
    narrow = config.narrow_option if verb.name == "tune" else Option.read
    return config.read_settings(known, pairs, narrow)


def _check_place(recipe: Path, name: str, place: str) -> None:
    """Refuse a recipe, which may be a stranger's, that reads images or writes outside of its folder and this one."""
    folders = (recipe.parent, Path.cwd())
    lost = "\0" in place or name in {"recipe", "storage"} or paths.is_network_name(place)
    if lost or not any(paths.is_inside(folder, place) for folder in folders):
        raise UsageError(
            f"{recipe} names {name} = {place[:80]!r}, outside of its folder and this one: say --{name} yourself"
        )
