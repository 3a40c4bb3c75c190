"""emoscene: words and an emotion in, images out.

    import emoscene

    pipe = emoscene.load("mini", method="lora")
    pipe("a village by a lake", emotion="awe", seed=7).images[0].save("awe.png")

Every verb of the command line is a function here, with the same name and arguments. Each is looked up when it is first
used, so that importing the package (and `emoscene --help`) costs nothing. A verb that takes a `recipe=` (a name or a
file) takes its words from there, and what the call says itself comes before them.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.metadata import entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

MODULES = {
    "load": "pipeline.generate",
    "generate": "pipeline.generate",
    "train": "training.train",
    "evaluate": "evaluation.evaluate",
    "tune": "tuning.tune",
    "report": "reporting.page",
    "export": "exports.export",
    "prepare": "data.preparation",
    "doctor": "cli.doctor",
    "web": "web",
    "ls": "cli.help",
    "study": "cli.study",
    "verify": "cli.verify",
    "clean": "cli.storage",
    "show": "cli.help",
}
"""Where each function lives. `web` is a package as well, and callable: the package itself is the verb."""
PLUGGED = ("demo", "mini")
"""Verbs of the miniature, which registers them as any package may: entry points of the group `emoscene.verbs`."""
VERBS = (*MODULES, *PLUGGED)
RECIPES = {"generate", "prepare", "train", "evaluate", "tune"}
"""The verbs that take a recipe."""

__all__ = ["__version__", *VERBS]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        return _load_verb(name)
    room = import_module(f"emoscene.{MODULES[name]}")
    verb: Any = room if MODULES[name] == name else getattr(room, name)
    return _with_recipe(name, verb) if name in RECIPES else verb


def _load_verb(name: str) -> Any:
    """The verb that an installed package registers under this name."""
    for point in entry_points(group="emoscene.verbs"):
        if point.name == name:
            return point.load()
    if name in PLUGGED:
        raise AttributeError(f"no installed package registers the verb {name!r}: install emoscene again")
    raise AttributeError(f"module 'emoscene' has no attribute {name!r}")


def _with_recipe(name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, whose words a recipe may say as well."""

    @wraps(verb)
    def call(*words: Any, recipe: str | Path | None = None, **given: Any) -> Any:
        options, settings = import_module("emoscene.cli.calls").read_recipe(name, str(recipe)) if recipe else ({}, {})
        return verb(*words, **{**settings, **options, **given})

    own = signature(verb)
    *first, rest = own.parameters.values()
    extra = Parameter("recipe", Parameter.KEYWORD_ONLY, default=None, annotation="str | Path | None")
    call.__signature__ = own.replace(parameters=[*first, extra, rest])  # type: ignore[attr-defined]
    return call


def __dir__() -> list[str]:
    return sorted({*globals(), *VERBS})
