"""Options that have nothing to do in a call: they are refused, because whoever gives one expects something of it.

    check_idle("evaluate", {"images": "photos", "seeds": "0:8"})     --seeds has no effect: --images generates nothing

Some choices leave a verb only a part of its options. Each such choice is a rule here; the command line and Python ask
the same rules. The command line knows what was given by hand; Python, what differs from its default (`list_changed`).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emoscene.core.errors import UsageError

ALWAYS = frozenset({"json", "out", "settings"})
"""Options that act in every call; settings are named one by one."""
PLAIN = (str, int, float, Path)
NO_DEFAULT = object()


@dataclasses.dataclass(frozen=True)
class IdleRule:
    """A choice that leaves a verb only some of its options.

    Attributes:
        applies: Tells from the options given whether the choice was made.
        used: The options that still have an effect.
        reason: Why the others have none, as the end of a sentence.
    """

    applies: Callable[[Mapping[str, Any]], bool]
    used: frozenset[str]
    reason: str


RULES: Mapping[str, IdleRule] = {
    "evaluate": IdleRule(
        lambda given: given.get("images") is not None,
        frozenset(
            {"images", "base", "adapter", "judge", "data", "clip", "semantics", "features", "lpips", "robust", "device"}
        ),
        "--images has nothing to generate",
    ),
    "clean": IdleRule(
        lambda given: given.get("place") == "cache",
        frozenset({"place", "yes"}),
        "the cache is the hub's own folder, without runs",
    ),
    "ls": IdleRule(
        lambda given: given.get("kind") != "runs",
        frozenset({"kind"}),
        "`emoscene ls runs` alone looks below a folder",
    ),
}
"""The rule of each verb that has one."""


def check_idle(verb: str, given: Mapping[str, Any], spell: Callable[[str], str] | None = None) -> None:
    """Check that every option of a call has an effect.

    Args:
        verb: The verb.
        given: The arguments that were given, and the settings, by name.
        spell: Writes an argument as the caller spelt it; `--emotion-scale` for `emotion_scale` if left out.

    Raises:
        UsageError: One has no effect.
    """
    rule = RULES.get(verb)
    if rule is None or not rule.applies(given):
        return
    for name in given:
        if name not in rule.used and name not in ALWAYS:
            flag = (spell or _spell_option)(name)
            raise UsageError(f"{flag} has no effect here, because {rule.reason}: leave it out")


def list_changed(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """List the arguments of a call that differ from their defaults.

    Args:
        function: The function that was called.
        values: Its arguments, and keywords of its own, by name.

    Returns:
        Those that a caller must have given.
    """
    known = inspect.signature(function).parameters
    changed = {}
    for name, value in values.items():
        default = known[name].default if name in known else NO_DEFAULT
        is_plain = isinstance(value, PLAIN)  # an array compares with a number, and is not one truth
        if value is not default and not (is_plain and value == default):
            changed[name] = value
    return changed


def _spell_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
