"""Rows and scores that older versions wrote, brought to today's names.

A row says by `version` which form it has, and so does a `scores.json`:

    1    emoscene 0.1: `strength` was the emotion scale, `keep` = 1 - strength, and `negative like size steps cfg ...`
    2    the names of diffusers and A1111
    3    of scores alone: `images`, `images_per_second`, and costs per image, where form 2 still said `pictures`
"""

from collections.abc import Callable, Mapping
from typing import Any

from emoscene.core.config import Option
from emoscene.core.errors import UsageError

VERSION = 2
"""The form of a row."""
SCORES_VERSION = 3
"""The form of a `scores.json`."""

KEEP = Option("keep", "float", 0.5, "share of an image that stays", span=(0.0, 1.0))
RENAMED_IN_2 = {
    "negative": "negative_prompt",
    "strength": "emotion_scale",
    "like": "emotion_image",
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
}
"""What fields of a row of version 1 are called since."""


def migrate_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a row of any version into the form of today's.

    Args:
        row: The row, as a file has it; without `version` it is of version 1.

    Returns:
        The same values under today's names.

    Raises:
        UsageError: for a version that is no number, and for a value of an old row that is off.
    """
    migrated = dict(row)
    for form in range(_read_version(row), VERSION):
        migrated = MIGRATIONS[form](migrated)
    return migrated


def _read_version(table: Mapping[str, Any]) -> int:
    """The form of a row or of scores; the first did not say it."""
    version: Any = table.get("version", 1)
    if type(version) is not int or version < 1:
        raise UsageError(f"version={version!r} is off: it is 1 or more")
    return version


def _migrate_1_to_2(row: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1: `strength` was the emotion scale, and `keep` the share of an image that stays."""
    old = {"keep", "size", "cfg_low", "cfg_high"}
    migrated = {RENAMED_IN_2.get(key, key): value for key, value in row.items() if key not in old}
    if row.get("keep") is not None:
        migrated["strength"] = 1 - KEEP.read(row["keep"])
    if "size" in row:
        migrated["width"], migrated["height"] = _read_sides(row["size"])
    if "cfg_low" in row or "cfg_high" in row:
        migrated["guidance_interval"] = (row.get("cfg_low", 0.0), row.get("cfg_high", 1.0))
    return {**migrated, "version": 2}


def _read_sides(size: Any) -> list[Any]:
    if type(size) is int:
        return [size, None]  # of a call: a square
    sides = list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2:
        raise UsageError(f"size={size} is off: it is a width and a height in pixels")
    return sides


MIGRATIONS: dict[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {1: _migrate_1_to_2}
"""From each version to the next."""


RENAMED_SCORES: dict[int, dict[str, str]] = {
    1: {"strength": "emotion_scale", "cfg": "guidance_scale", "steps": "num_inference_steps"},
    2: {"pictures": "images", "pictures_per_second": "images_per_second"},
}
"""By the form of a `scores.json`: what its keys are called in the next form."""
RENAMED_PARTS = {
    "cost": {"training_pictures": "training_images", "seconds_a_picture": "seconds_per_image"},
    "missing": {"pictures": "images"},
}
"""The keys of tables within it that form 3 renamed."""


def migrate_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the table of a `scores.json` of any version into the form of today's.

    Args:
        scores: The table, as the file has it; without `version` it is of form 1, or judges a folder of images.

    Returns:
        The same values under today's names, and the version of today's form.

    Raises:
        UsageError: for a version that is no number.
    """
    version = _read_version(scores)
    if version >= SCORES_VERSION:
        return dict(scores)

    migrated = dict(scores)
    for form in range(version, SCORES_VERSION):
        migrated = _rename_keys(migrated, RENAMED_SCORES[form])
    for part, names in RENAMED_PARTS.items():
        if isinstance(migrated.get(part), dict):
            migrated[part] = _rename_keys(migrated[part], names)
    return {**migrated, "version": SCORES_VERSION}


def _rename_keys(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in table.items()}


def check_search(call: Mapping[str, Any], place: str) -> None:
    """Refuse to go on with a search for settings that version 0.1 began.

    Its trials stand in a database under the names that settings had then, and its adapters in folders that are named by
    a digest of these names: brought to today's, a study would be another one, for which every adapter is trained again.

    Args:
        call: The call that the folder or the study recorded.
        place: What it is, for the sentence.

    Raises:
        UsageError: Version 0.1 began it.
    """
    if "cfg" in call.get("default", ()):  # today's `guidance_scale`
        raise UsageError(
            f"{place} was begun by emoscene 0.1, whose settings had other names: "
            "finish it with that version, or search anew with another --out (and --storage, where one was given)"
        )
