"""Which methods, with whose weights: names, folders and settings become methods on a base.

A method with weights takes them from the folder that was given for it, else from the base's own. Folders name their
method, so that `--adapter DIR` alone says enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emoscene import config as configs
from emoscene import learner as learners
from emoscene import plugins
from emoscene.backbone import Backbone
from emoscene.errors import Usage
from emoscene.methods.base import Method


def methods_of(
    base: Backbone,
    method: str | None,
    adapter: str | Path | Sequence[str | Path] | None,
    late: Mapping[str, Any],
) -> tuple[dict[str, Method], list[str]]:
    """The methods by name, and what each one's weights are called.

    method: names joined by `+`; left out, the folders say it. late: settings that may change at use.
    Raises Usage for names nobody knows and folders that do not fit, Failure for damaged files.
    """
    given = [adapter] if isinstance(adapter, str | Path) else list(adapter or ())
    folders: dict[str, Path] = {}
    for folder in map(Path, given):
        if (other := folders.setdefault(learners.card(folder)["learner"], folder)) is not folder:
            raise Usage(f"{other} and {folder} are both {learners.card(folder)['learner']}: give one of them")
    wanted = method.split("+") if method else list(folders)
    for name in wanted:
        plugins.source("methods", name)
    if strangers := [name for name in folders if name not in wanted]:
        raise Usage(f"{folders[strangers[0]]} is a {strangers[0]}, and --method {method} does not use it")
    names = [name for name in wanted if name != "none"]
    methods = {name: _method(name, base, folders, settings(name, names, late)) for name in names}
    own = {name: folder.name for name, folder in folders.items()}
    labels = [own.get(name, f"{base.name}:{name}") for name in methods if methods[name].reads]
    return methods, labels


def settings(name: str, names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings meant for one method: `key` alone where there is one method, `name.key` among several."""
    known = {option.name for option in plugins.options("methods", name)}
    mine = {key.removeprefix(f"{name}."): value for key, value in given.items() if key.startswith(f"{name}.")}
    rest = {key: value for key, value in given.items() if "." not in key and (len(names) == 1 or key in known)}
    return {**rest, **mine}


def _method(name: str, base: Backbone, folders: Mapping[str, Path], late: Mapping[str, Any]) -> Method:
    cls: type[Method] = plugins.find("methods", name)
    if not cls.reads:
        return cls.start(configs.replace(cls.Config(), late), base)
    loaded = learners.load("methods", adapter_of(name, base, folders), base, **late)
    assert isinstance(loaded, Method)
    return loaded


def adapter_of(name: str, base: Backbone, folders: Mapping[str, Path]) -> Path:
    """The folder of a method's weights: the one given, else the base's own. Raises Usage where there is neither."""
    if name in folders:
        return folders[name]
    if name not in base.spec.adapters:
        raise Usage(f"the base '{base.name}' has no {name} of its own: train one, and give it with --adapter DIR")
    return Path(__file__).parent / base.spec.adapters[name]
