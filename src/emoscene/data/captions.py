"""The words of a picture: the set's own caption, a captioner's, or its attributes as words.

A caption says what is to be seen and names no mood, since any mood in it would be kept beside the one that is asked
for. So of EmoSet's attributes the facial expression is left out, and brightness and colourfulness count as what the eye
sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emoscene.data.records import Record

LEVELS = {"brightness": ("dark", "bright"), "colorfulness": ("pale colours", "vivid colours")}
LOW, HIGH = 0.2, 0.8


def describe_attributes(attributes: Mapping[str, Any]) -> str:
    """EmoSet's attributes as a phrase, such as "country road, with car and dog, running, bright"; perhaps empty."""
    objects = [name.lower() for name in _label_names(attributes.get("object"))]
    said = _label_names(attributes.get("scene"))[:1]
    if objects:
        said.append(("with " if said else "") + " and ".join(objects))
    said += _label_names(attributes.get("human_action"))
    for key, (low, high) in LEVELS.items():
        level = attributes.get(key)
        if isinstance(level, int | float) and not LOW < level < HIGH:
            said.append(low if level <= LOW else high)
    return ", ".join(said)


def caption_source(record: Record) -> str:
    """Where a source's record has its caption from: own, attributes (its long caption alone), or none."""
    return "own" if record.caption else "attributes" if record.caption_long else "none"


def clean_text(record: Record) -> Record:
    """The record with captions and scene that every file can hold: half of a surrogate pair becomes a question mark."""
    fields = ("caption", "caption_long", "scene")
    return replace(record, **{name: getattr(record, name).encode("utf8", "replace").decode() for name in fields})


def digest_words(record: Record) -> bytes:
    """One digest of what a source says in words of a picture."""
    words = "\0".join((record.caption, record.caption_long, record.scene))
    return hashlib.sha256(words.encode()).digest()


def settle_captions(record: Record, said: str = "") -> Record:
    """The record with both captions: its own, else what the captioner said, else its attributes."""
    known = record.caption_long
    caption = record.caption or said or known
    if record.caption:
        return replace(record, caption_long=known or caption)
    return replace(record, caption=caption, caption_long=f"{said}, {known}" if said and known else caption)


def _label_names(value: Any) -> list[str]:
    """An attribute's labels, however many there are: `"boxing "` -> ["boxing"], "country_road" -> ["country road"]."""
    values = value if isinstance(value, list) else [value]
    found = [one.replace("_", " ").strip() for one in values if isinstance(one, str)]
    return [name for name in found if name]
