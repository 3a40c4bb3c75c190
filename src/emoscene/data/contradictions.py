"""The same file under two emotions: nobody knows which label is right, so none of its copies is used.

Two labels of one file are a mistake of whoever sorted it, or two opinions. A majority or the first label would be a
guess that every later score inherits. A person who means both says so with one row and a mixture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emoscene.core.taxonomy import EMOTIONS, format_emotion

CONTRADICTION = "the same file has another label elsewhere"
"""How the reason begins for which such an image is refused."""


def refuse_contradictions(notes: pa.Table) -> pa.Table:
    """Refuse every image whose file also stands under other labels.

    Args:
        notes: The notes of all images.

    Returns:
        The notes, in which each such image has a reason.
    """
    reasons, digests = notes["reason"].to_pylist(), notes["digest"].to_pylist()
    sound = [place for place, reason in enumerate(reasons) if not reason and digests[place]]
    copies = Counter(digests[place] for place in sound)
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for place in sound:
        if copies[digests[place]] > 1:
            places[digests[place]].append(place)
    if not places:
        return notes
    weights = pc.list_flatten(notes["weights"]).to_numpy().reshape(-1, len(EMOTIONS))
    for some in places.values():
        _refuse_copies(notes, weights, some, reasons)
    column = notes.schema.get_field_index("reason")
    return notes.set_column(column, notes.schema.field(column), pa.array(reasons, pa.string()))


def count_contradictions(notes: pa.Table) -> int:
    """Count the images that are refused because their file stands under other labels too.

    Args:
        notes: What `refuse_contradictions` returned.

    Returns:
        Their number.
    """
    return int(pc.sum(pc.starts_with(notes["reason"], CONTRADICTION)).as_py() or 0)


def report_contradictions(notes: pa.Table, on_message: Callable[[str], None]) -> None:
    """Say how many images are refused because their file stands under other labels too.

    Args:
        notes: What `refuse_contradictions` returned.
        on_message: Receives the sentence, if there are such images.
    """
    count = count_contradictions(notes)
    if count:
        on_message(
            f"{count} images are files that stand under several emotions, and none of them is used, as nobody knows "
            "which label is right: give each file one label, or one mixture"
        )


def _refuse_copies(notes: pa.Table, weights: np.ndarray, places: list[int], reasons: list[str]) -> None:
    """Write a reason for each copy of one file, if their labels differ."""
    for place in places:
        other = next((each for each in places if (weights[each] != weights[place]).any()), None)
        if other is None:
            return
        here, there = _name_label(weights[place]), _name_label(weights[other])
        reasons[place] = (
            f"{CONTRADICTION}: {here} here, {there} as {notes['origin'][other].as_py()}; "
            "give it one label, or one mixture such as awe:0.5,fear:0.5"
        )


def _name_label(weights: np.ndarray) -> str:
    return format_emotion([round(float(weight), 4) for weight in weights]) or "neutral"
