"""When two calls are the same: what a folder's manifest records of one, compared with what another asks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoscene.core.plain_text import SHOWN, shorten_text

SEPARATORS = {"/", os.sep}


def identify_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a call to what makes two of them the same: their words, and what their parents hold.

    Args:
        call: A call, as its manifest records it.

    Returns:
        A table; equal for calls that are the same.
    """
    parents = []
    for parent in call["parents"]:
        parents.append(parent.get("fingerprint") or identify_call(parent))
    return {"kind": call["kind"], "config": call["config"], "seed": call["seed"], "parents": parents}


def find_difference(recorded: Any, asked: Any, where: str = "") -> str:
    """Find the first setting in which two calls differ; of long lists, the element is named.

    Args:
        recorded: The settings of one call.
        asked: The settings of the other.
        where: The name of the setting.

    Returns:
        The setting and both values; empty where the calls are the same.
    """
    if (
        isinstance(recorded, list)
        and isinstance(asked, list)
        and max(map(len, map(json.dumps, (recorded, asked)))) > SHOWN
    ):
        recorded, asked = dict(enumerate(recorded)), dict(enumerate(asked))
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*recorded, *asked]):
            difference = find_difference(recorded.get(key), asked.get(key), f"{where}.{key}".lstrip("."))
            if difference:
                return difference
        return ""
    if recorded == asked or _is_same_place(where, recorded, asked):
        return ""
    one, other = (shorten_text(json.dumps(value, ensure_ascii=False), SHOWN) for value in (recorded, asked))
    return f"{where} is {one} there and {other} here"


def _is_same_place(where: str, recorded: Any, asked: Any) -> bool:
    """Whether two values, or two lists of them, name the same file or folder that is there: `data`, `./data/`."""
    if isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        pairs = zip(recorded, asked, strict=True)
        return all(one == other or _is_same_place(where, one, other) for one, other in pairs)
    if not (isinstance(recorded, str) and isinstance(asked, str) and recorded and asked):
        return False
    name = where.rpartition(".")[2]
    if name == "base" and not (SEPARATORS & set(recorded) and SEPARATORS & set(asked)):
        return False  # a bare word is a base's name, whatever folder has the same one
    try:
        return Path(recorded).samefile(asked)
    except (OSError, ValueError):  # one is no path, or not there
        return False
