"""What there is, in tables: the verbs, the plug-ins by kind, and one thing at a time. Nothing heavy is imported.

emoscene --help    emoscene train --help    emoscene ls [KIND]    emoscene show NAME
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from emoscene.core import registry
from emoscene.core.config import Option
from emoscene.core.errors import unknown_name
from emoscene.core.parameter import Parameter
from emoscene.core.taxonomy import AFFECT, EMOTIONS

KINDS = (*registry.KINDS, "emotions")
REST = "Base, weights, device and files"
ROOMS = {
    "training": ("training/state", "what any training run may set"),
    "tuning": ("tuning/objective", "how `tune` searches; for what is searched, write LOW..HIGH or A,B,C"),
}


def print_verbs(known: Mapping[str, Any]) -> None:
    """The first page of help."""
    console = _console()
    console.print("\n[bold]emoscene[/]  words and an emotion in, pictures out\n")
    console.print(_grid((name, verb.sentence) for name, verb in known.items()))
    console.print("\nemoscene [bold]VERB --help[/] tells a verb's options. Begin with:\n")
    for name in ("demo", "generate", "show"):
        console.print(f"    {known[name].example}", soft_wrap=True)
    console.print()


def print_verb(name: str, known: Any, options: Sequence[Option], repeated: Collection[str]) -> None:
    """The help of one verb."""
    console = _console()
    words = " ".join(f"[{word[:-1]}]" if word.endswith("?") else word for word in known.words.split())
    console.print(f"\nemoscene {name} {words}".rstrip() + " [options] [key=value ...]", markup=False, style="bold")
    console.print(f"\n{known.sentence[0].upper()}{known.sentence[1:]}.\n")
    for heading, group in _group_options(options).items():
        if heading:
            console.print(f"[bold]{heading}[/]\n")
        console.print(_grid((_flag(option, option.name in repeated), _describe_option(option)) for option in group))
        console.print()
    console.print("key=value is a setting, anywhere in the line: emoscene show NAME lists them. For example:\n")
    console.print(f"    {known.example}\n", soft_wrap=True)


def ls(kind: str | None = None, as_json: bool = False) -> None:
    """The names of a kind, or of all kinds. Raises Usage for a kind that does not exist."""
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind", kind, KINDS, hint="emoscene ls")
    found = {each: dict(_list_names(each)) for each in ([kind] if kind else KINDS)}
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    console = _console()
    for each, names in found.items():
        if names or kind:
            console.print(f"\n[bold]{each}[/]")
            console.print(_grid(names.items()) if names else "    none yet")
    console.print()


def show(name: str, as_json: bool = False) -> None:
    """Everything that goes by this name. Raises Usage where nothing does."""
    found = [("emotions", name.lower())] if name.lower() in EMOTIONS else []
    found += [(kind, name) for kind in registry.KINDS if name.replace("-", "_") in registry.list_names(kind)]
    found += [("rooms", name)] if name in ROOMS else []
    if not found:
        everything = {one for kind in KINDS for one, _ in _list_names(kind)} | {*ROOMS}
        raise unknown_name("thing called", name, everything, hint="emoscene ls")
    if as_json:
        print(json.dumps({kind: _collect_facts(kind, one) for kind, one in found}, ensure_ascii=False, default=str))
        return
    for kind, one in sorted(found, key=lambda pair: pair[0] != "bases"):
        PAGES.get(kind, _print_plugin)(_console(), kind, one)


def _console() -> Console:
    """As wide as the terminal, up to what reads well; where there is none, wide enough for a sentence."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, 110) if console.is_terminal else 110)


def _list_names(kind: str) -> list[tuple[str, str]]:
    if kind == "emotions":
        return [
            (name, f"valence {valence:+.1f}  arousal {arousal:+.1f}") for name, (valence, arousal) in AFFECT.items()
        ]
    return [(name, registry.describe_plugin(kind, name)) for name in registry.list_names(kind)]


def _collect_facts(kind: str, name: str) -> dict[str, Any]:
    if kind == "emotions":
        return dict(zip(("valence", "arousal"), AFFECT[name], strict=True)) | {"words": _lexicons(name)}
    if kind in {"bases", "recipes", "samplers", "lexicons"}:
        return {**registry.load_table(kind, name), **({"vocabulary": _vocabulary(name)} if kind == "bases" else {})}
    return {"options": [vars(option) for option in _options(kind, name)]}


def _options(kind: str, name: str) -> list[Option]:
    if kind == "rooms":
        return registry.list_room_options(ROOMS[name][0])
    return registry.list_options(kind, name) + (
        registry.list_room_options("data/preparation") if kind == "sources" else []
    )


def _print_plugin(console: Console, kind: str, name: str) -> None:
    about = ROOMS[name][1] if kind == "rooms" else registry.describe_plugin(kind, name)
    options = _options(kind, name)
    _print_heading(console, kind, name, about)
    if not options:
        console.print(Padding("It has nothing to set.", (0, 4)))
    else:
        _print_settings(console, options)
    if kind == "methods" and any(not option.runtime for option in options):
        console.print(Padding(f"emoscene train {name} also takes the settings of `emoscene show training`.", (0, 4)))
    console.print()


def _print_table(console: Console, kind: str, name: str) -> None:
    table = registry.load_table(kind, name)
    _print_heading(console, kind, name, registry.describe_plugin(kind, name))
    console.print(_grid((key, _value(value)) for key, value in table.items()))
    if kind == "bases" and (words := _vocabulary(name)):
        console.print(f"\n    [bold]its {len(words)} words[/]\n")
        console.print(Padding(Columns(words, padding=(0, 2)), (0, 4)))
    console.print()


def _print_emotion(console: Console, kind: str, name: str) -> None:
    valence, arousal = AFFECT[name]
    pleasant, lively = "pleasant" if valence > 0 else "unpleasant", "excited" if arousal > 0 else "calm"
    _print_heading(console, kind, name, f"{pleasant} and {lively}: valence {valence:+.1f}, arousal {arousal:+.1f}")
    console.print(_grid((f"in {file}", words) for file, words in _lexicons(name).items()))
    console.print(f"\n    emoscene generate PROMPT --emotion {name}\n")


PAGES: dict[str, Callable[[Console, str, str], None]] = {
    "bases": _print_table,
    "recipes": _print_table,
    "samplers": _print_table,
    "lexicons": _print_table,
    "emotions": _print_emotion,
}


def _print_heading(console: Console, kind: str, name: str, sentence: str) -> None:
    console.print(f"\n[bold]{name}[/]  [dim]{kind.removesuffix('s')}[/]")
    console.print(Padding(sentence, (0, 0, 1, 4)), markup=False)


def _print_settings(console: Console, options: Sequence[Option]) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("option", style="bold", no_wrap=True)
    table.add_column("default", max_width=26)
    table.add_column("range", style="dim", max_width=24)
    table.add_column("what it is", ratio=1)
    for option in options:
        late = " [dim](may change at use)[/]" if option.runtime else ""
        table.add_row(option.name, _value(option.default).replace(",", ", "), _range(option), option.help + late)
    console.print(Padding(table, (0, 4), expand=False))


def _grid(pairs: Iterable[tuple[str, str]]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, sentence in pairs:
        table.add_row(name.replace("[", "\\["), sentence.replace("[", "\\["))
    return Padding(table, (0, 0, 0, 4), expand=False)


def _flag(option: Option, repeated: bool) -> str:
    value = {"bool": "", "int": " N", "float": " X"}.get(option.type, " " + option.name.upper())
    if isinstance(option, Parameter) and option.count == 2:
        value = " LOW HIGH"
    return f"--{option.name.replace('_', '-')}{value}{' ...' if repeated else ''}"


def _group_options(options: Sequence[Option]) -> dict[str, list[Option]]:
    """The options under the headings of their groups; where no option has a group, there is no heading."""
    grouped: dict[str, list[Option]] = {}
    for option in options:
        grouped.setdefault(option.group if isinstance(option, Parameter) else "", []).append(option)
    if len(grouped) > 1:
        grouped[REST] = grouped.pop("", [])
    return grouped


def _describe_option(option: Option) -> str:
    """An option's sentence; of a parameter of a generation, its choices, default and short name as well."""
    if not isinstance(option, Parameter):
        return option.help
    facts = []
    if option.choices is not None:
        facts.append(f"one of {', '.join(map(str, option.choices))}")
    if option.default not in (None, ""):
        default = option.default if isinstance(option.default, tuple) else (option.default,)
        facts.append(f"default {' '.join(f'{one:g}' if isinstance(one, float) else str(one) for one in default)}")
    facts += [f"short: --{alias}" for alias in option.aliases]
    return f"{option.help} ({'; '.join(facts)})" if facts else option.help


def _range(option: Option) -> str:
    if option.choices is not None:
        return " | ".join(map(str, option.choices))
    if option.span is not None:
        return f"{option.span[0]:,} to {option.span[1]:,}"
    return "yes or no" if option.type == "bool" else ""


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {one}" for key, one in value.items())
    return "" if value in (None, "") else str(value)


def _lexicons(emotion: str) -> dict[str, str]:
    """What each of the package's lexicons writes for an emotion."""
    return {
        name: str(registry.load_table("lexicons", name).get(emotion, "")) for name in registry.list_names("lexicons")
    }


def _vocabulary(base: str) -> list[str]:
    """The words of a base that has a vocabulary of its own, and lies in the package."""
    table = registry.load_table("bases", base)
    file = Path(table.get("source", "")) / table.get("vocabulary", "")
    return sorted(file.read_text(encoding="utf8").split()) if file.is_file() else []


def format_doctor(facts: Mapping[str, Any]) -> str:
    """What `doctor` found, to be read by people."""
    device, disk = facts["device"], facts["disk"]
    cards = ", ".join(f"{card['name']} ({card['gigabytes']:g} GB)" for card in device.get("cards", ()))
    cores = f"{device['cores']} cores, {device['threads']} threads"
    works = [name for name, fits in facts["dtypes"].items() if fits]
    rows = [
        (
            "device",
            f"{device['name']} {cards or device['system']}, {cores}",
        ),
        ("dtypes", ", ".join(works)),
        *((f"{name}", value or "missing") for name, value in facts["versions"].items()),
        *((f"extra {name}", "there" if one["there"] else one["command"]) for name, one in facts["extras"].items()),
        *((one["name"], one["place"] if one["there"] else one["command"]) for one in facts["models"]),
        ("disk", f"{disk['free_gigabytes']:g} GB free at {disk['cache']}"),
        ("hub", "HF_HUB_OFFLINE is set: nothing is fetched" if facts["offline"] else "asked where it is needed"),
    ]
    wide = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{wide}}  {value}" for name, value in rows)
