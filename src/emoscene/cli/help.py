"""What there is, in tables: the plug-ins by kind, and one thing at a time. Nothing heavy is imported.

emoscene ls [KIND]    emoscene ls runs|cache    emoscene show NAME
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from emoscene.cli.options import STORED
from emoscene.core import registry
from emoscene.core.config import Option
from emoscene.core.errors import unknown_name
from emoscene.core.idle_options import check_idle, list_changed
from emoscene.core.plain_text import format_bytes, format_count
from emoscene.core.taxonomy import AFFECT, EMOTIONS

KINDS = (*registry.KINDS, "emotions")
ROOMS = {
    "training": ("training/state", "what any training run may set"),
    "tuning": ("tuning/objective", "how `tune` searches; for what is searched, write LOW..HIGH or A,B,C"),
}
"""What can be shown beside the plug-ins: a file whose `Config` it is, and a sentence."""
WIDTH = 110  # signs of a line that read well
UNWRAPPED = 10_000  # signs of a line where another program reads: as long as any row


def ls(kind: str | None = None, *, root: str | Path = ".", as_json: bool = False) -> None:
    """Print the names of a kind, or of all kinds; or what lies on the disk.

    Args:
        kind: The kind, such as `methods`; all if left out. `runs` and `cache` are what takes room.
        root: The folder below which `runs` are looked for.
        as_json: Print one JSON object.

    Raises:
        UsageError: There is no such kind or folder.
    """
    check_idle("ls", list_changed(ls, {"kind": kind, "root": root}))
    if kind in STORED:
        _print_stored(kind, root, as_json)
        return
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind", kind, (*KINDS, *STORED), hint="emoscene ls")
    wanted = KINDS if kind is None else (kind,)
    names = {each: describe_names(each) for each in wanted}
    if as_json:
        print(json.dumps(names))
        return
    console = _make_console()
    for each, described in names.items():
        if described:
            console.print(f"\n[bold]{each}[/]", _make_grid(described.items()), sep="\n")
        elif kind:
            console.print(f"\n[bold]{each}[/]\n    none yet")
    console.print()


def _print_stored(kind: str, root: str | Path, as_json: bool) -> None:
    """Print the run folders below a folder, or emoscene's models in the hub's cache, with their sizes."""
    from emoscene.cli import storage

    items = storage.list_runs(root) if kind == "runs" else storage.list_cache()
    if as_json:
        facts = [{"path": str(item.path), "bytes": item.size, "about": item.about} for item in items]
        print(json.dumps({kind: facts}))
    else:
        total = format_bytes(sum(item.size for item in items))
        print("\n".join([*storage.format_lines(items), f"{total:>9}  in all"]))


def show(name: str, as_json: bool = False) -> None:
    """Print everything that has a name.

    Args:
        name: A plug-in, an emotion, `training` or `tuning`.
        as_json: Print one JSON object.

    Raises:
        UsageError: Nothing has this name.
    """
    things = _find_things(name)
    if not things:
        raise unknown_name("thing called", name, list_things(), hint="emoscene ls")
    if as_json:
        facts = {kind: _collect_facts(kind, one) for kind, one in things.items()}
        print(json.dumps(facts, default=str))
        return
    for kind in sorted(things, key=lambda kind: kind != "bases"):
        PAGES.get(kind, _print_plugin)(_make_console(), kind, things[kind])


def list_things() -> list[str]:
    """List what can be shown.

    Returns:
        The names, each once.
    """
    names = {*ROOMS}
    for kind in KINDS:
        names.update(describe_names(kind))
    return sorted(names)


def describe_names(kind: str) -> dict[str, str]:
    """Describe what there is of a kind.

    Args:
        kind: The kind.

    Returns:
        A sentence by name.
    """
    sentences = {}
    if kind == "emotions":
        for name, (valence, arousal) in AFFECT.items():
            sentences[name] = f"valence {valence:+.1f}  arousal {arousal:+.1f}"
        return sentences
    for name in registry.list_names(kind):
        sentences[name] = registry.describe_plugin(kind, name)
    return sentences


def format_doctor(facts: Mapping[str, Any]) -> str:
    """Write what `doctor` found for people to read.

    Args:
        facts: What it returned.

    Returns:
        A line a fact.
    """
    device, disk = facts["device"], facts["disk"]
    cards = [f"{card['name']} ({card['gigabytes']:g} GB)" for card in device.get("cards", ())]
    machine = ", ".join(cards) or device["system"]
    cores, threads = format_count(device["cores"], "core"), format_count(device["threads"], "thread")
    rows = {"device": f"{device['name']} {machine}, {cores}, {threads}"}
    rows["dtypes"] = ", ".join([name for name, works in facts["dtypes"].items() if works])
    for name, version in facts["versions"].items():
        rows[name] = version or "missing"
    for name, extra in facts["extras"].items():
        rows[f"extra {name}"] = extra.get("command", "there")
    for model in facts["models"]:
        rows[model["name"]] = model.get("command", model["place"])
    rows["disk"] = f"{disk['free_gigabytes']:g} GB free at {disk['cache']}"
    rows["hub"] = "asked where it is needed"
    if facts["offline"]:
        rows["hub"] = "HF_HUB_OFFLINE is set: nothing is fetched"
    wide = max(map(len, rows))
    return "\n".join([f"{name:<{wide}}  {value}" for name, value in rows.items()])


def _find_things(name: str) -> dict[str, str]:
    """What has this name: the name as its kind writes it, by kind."""
    things = {}
    if name.lower() in EMOTIONS:
        things["emotions"] = name.lower()
    for kind in registry.KINDS:
        if name.replace("-", "_") in registry.list_names(kind):
            things[kind] = name
    if name in ROOMS:
        things["rooms"] = name
    return things


def _make_console() -> Console:
    """As wide as the terminal, up to what reads well; where there is none, each row is one line."""
    console = Console(highlight=False)
    if console.is_terminal:
        return Console(highlight=False, width=min(console.width, WIDTH))
    return Console(highlight=False, width=UNWRAPPED)


def _collect_facts(kind: str, name: str) -> dict[str, Any]:
    if kind == "emotions":
        valence, arousal = AFFECT[name]
        return {"valence": valence, "arousal": arousal, "words": _read_lexicons(name)}
    if kind == "bases":
        return {**registry.load_table(kind, name), "vocabulary": _read_vocabulary(name)}
    if kind in PAGES:
        return registry.load_table(kind, name)
    return {"options": [vars(option) for option in _list_options(kind, name)]}


def _list_options(kind: str, name: str) -> list[Option]:
    if kind == "rooms":
        return registry.list_room_options(ROOMS[name][0])
    options = registry.list_options(kind, name)
    if kind == "sources":
        options = options + registry.list_room_options("data/preparation")
    return options


def _print_plugin(console: Console, kind: str, name: str) -> None:
    options = _list_options(kind, name)
    if kind == "rooms":
        _print_heading(console, kind, name, ROOMS[name][1])
    else:
        _print_heading(console, kind, name, registry.describe_plugin(kind, name))
    if options:
        _print_settings(console, options)
    else:
        console.print(Padding("It has nothing to set.", (0, 4), expand=False))
    if kind == "methods" and not all(option.runtime for option in options):
        sentence = f"emoscene train {name} also takes the settings of `emoscene show training`."
        console.print(Padding(sentence, (0, 4), expand=False))
    console.print()


def _print_table(console: Console, kind: str, name: str) -> None:
    rows = {}
    for key, value in registry.load_table(kind, name).items():
        rows[key] = _format_value(value)
    _print_heading(console, kind, name, registry.describe_plugin(kind, name))
    console.print(_make_grid(rows.items()))
    words = []
    if kind == "bases":
        words = _read_vocabulary(name)
    if words:
        console.print(f"\n    [bold]its {format_count(len(words), 'word')}[/]\n")
        console.print(Padding(Columns(words, padding=(0, 2)), (0, 4)), width=min(console.width, WIDTH))
    console.print()


def _print_emotion(console: Console, kind: str, name: str) -> None:
    valence, arousal = AFFECT[name]
    pleasure = ("unpleasant", "pleasant")[valence > 0]
    activity = ("calm", "excited")[arousal > 0]
    _print_heading(console, kind, name, f"{pleasure} and {activity}: valence {valence:+.1f}, arousal {arousal:+.1f}")
    rows = {}
    for lexicon, words in _read_lexicons(name).items():
        rows[f"in {lexicon}"] = words
    console.print(_make_grid(rows.items()))
    console.print(f"\n    emoscene generate PROMPT --emotion {name}\n")


PAGES: dict[str, Callable[[Console, str, str], None]] = {
    "bases": _print_table,
    "recipes": _print_table,
    "samplers": _print_table,
    "lexicons": _print_table,
    "emotions": _print_emotion,
}
"""What prints a thing of a kind, where that is not a plug-in with a `Config`."""


def _print_heading(console: Console, kind: str, name: str, sentence: str) -> None:
    console.print(f"\n[bold]{name}[/]  [dim]{registry.name_singular(kind)}[/]")
    console.print(Padding(sentence, (0, 0, 1, 4), expand=False), markup=False)


def _print_settings(console: Console, options: Sequence[Option]) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("option", style="bold", no_wrap=True)
    most = {"default": 26, "range": 24} if console.is_terminal else {}
    table.add_column("default", max_width=most.get("default"))
    table.add_column("range", style="dim", max_width=most.get("range"))
    table.add_column("what it is", ratio=1)
    for option in options:
        sentence = option.help
        if option.runtime:
            sentence += " [dim](may change at use)[/]"
        table.add_row(option.name, _format_value(option.default).replace(",", ", "), _format_range(option), sentence)
    console.print(Padding(table, (0, 4), expand=False))


def _make_grid(rows: Iterable[tuple[str, str]]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, sentence in rows:
        table.add_row(escape(name), escape(sentence))
    return Padding(table, (0, 0, 0, 4), expand=False)


def _format_range(option: Option) -> str:
    if option.choices is not None:
        return " | ".join(map(str, option.choices))
    if option.span is not None:
        return f"{option.span[0]:,} to {option.span[1]:,}"
    if option.type == "bool":
        return "yes or no"
    return ""


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join([f"{key} = {one}" for key, one in value.items()])
    if value is None:
        return ""
    return str(value)


def _read_lexicons(emotion: str) -> dict[str, str]:
    """What each lexicon writes for an emotion."""
    words = {}
    for name in registry.list_names("lexicons"):
        words[name] = str(registry.load_table("lexicons", name).get(emotion, ""))
    return words


def _read_vocabulary(base: str) -> list[str]:
    """The words of a base that has a vocabulary of its own, and lies in the package."""
    table = registry.load_table("bases", base)
    file = Path(table.get("source", "")) / table.get("vocabulary", "")
    if not file.is_file():
        return []
    return sorted(file.read_text(encoding="utf8").split())
