"""What a job will take, before it is begun: pictures by split and emotion, disk, and time measured on a few of them."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.cautions import list_cautions
from emoscene.data.encoding import BATCH, Item, Networks, batch_by_shape, encode_file
from emoscene.data.image_checks import silence_pillow
from emoscene.data.sources.base import Source

LOOKED = 512  # pictures whose labels are counted
BYTES = {"png": 1.5, "jpeg": 0.5, "webp": 0.4}  # of a pixel, as a photograph takes; the order of magnitude
NOTED = 2000  # bytes of a row and its note, beside latent and vector


def check_disk_space(folder: Path, pictures: int, size: int, kind: str) -> None:
    """Raises Failure where the disk has clearly no room for what is still to come."""
    there = sum(1 for _ in folder.glob("pictures/*/*"))
    wanted = max(0, pictures - there) * int(size * size * BYTES[kind] / 2 + NOTED)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise EmosceneError(
            f"{folder} has {free / 1e9:.1f} GB free, and about {wanted / 1e9:.1f} GB are to be written: make room, and "
            "call again as before, or take fewer into another folder (--limit)"
        )


def limit_plan(found: int, limit: int | None, each: int | None) -> int:
    """At most so many pictures."""
    return min(found, limit or found, each * (len(EMOTIONS) + 1) if each else found)


def report_lines(source: Source, networks: Networks, pictures: int) -> Iterator[str]:
    """The report of `--dry-run`; at most `pictures` are taken."""
    total = len(source)
    numbers = [int((place + 0.5) * total / min(LOOKED, total)) for place in range(min(LOOKED, total))]
    began = time.perf_counter()
    with silence_pillow():
        found = list(source.survey(numbers))
    checking = (time.perf_counter() - began) / len(found)
    sound = [note for note in found if not note.reason]
    yield f"{total} pictures, of which at most {pictures} are taken; {len(found)} were looked at for what follows"
    if len(sound) < len(found):
        first = next(note for note in found if note.reason)
        yield f"refused: {len(found) - len(sound)} of {len(found)}, such as {first.origin}: {first.reason}"
    yield _format_shares("emotions", [_weights_name(note.weights) for note in sound])
    for word, values in (("splits", [n.split for n in sound]), ("roles", [n.role for n in sound])):
        if any(values):
            yield _format_shares(word, values)
    yield _format_shares("captions", [note.worded for note in sound])
    rendered = np.array([note.rendered for note in sound], dtype=bool)
    yield from list_cautions(networks, rendered, np.array([note.worded for note in sound], dtype=str))
    encoding, size = _measure_batch(source, networks, [note.number for note in sound])
    seconds = total * checking + pictures * encoding
    yield f"disk: about {pictures * size / 1e9:.2f} GB"
    yield (
        f"time: about {_format_seconds(seconds)} for one process here ({checking * 1000:.0f} ms to check and "
        f"{encoding * 1000:.0f} ms to encode a picture); processes share it"
    )


def _measure_batch(source: Source, networks: Networks, numbers: Sequence[int]) -> tuple[float, float]:
    """Seconds and bytes of a picture, by one batch that is not kept."""
    if not numbers:
        raise EmosceneError("not one of the pictures looked at is sound: mend the data first")
    networks.encode_batch(list(_read_items(source, numbers[:1])))
    began = time.perf_counter()
    parts = list(batch_by_shape(_read_items(source, numbers[:BATCH])))
    rows = [record for part in parts for record, _ in networks.encode_batch(part)]
    seconds = (time.perf_counter() - began) / (BATCH * len(parts))  # a batch that is not full takes as long
    files = [encode_file(picture, networks.kind) for part in parts for _, _, picture in part]
    kept = len(rows[0].latent) + len(rows[0].mirrored) + len(rows[0].vector)
    return seconds, sum(map(len, files)) / len(files) + kept + NOTED


def _read_items(source: Source, numbers: Sequence[int]) -> Iterator[Item]:
    return ((place, record, image) for place, (record, image) in enumerate(source.pictures(numbers)))


def _format_shares(word: str, values: Sequence[str]) -> str:
    counts = Counter(values)
    told = (f"{name or 'none'} {100 * count / len(values):.0f}%" for name, count in sorted(counts.items()))
    return f"{word}: {', '.join(told)}"


def _weights_name(weights: Sequence[float]) -> str:
    return EMOTIONS[max(range(len(weights)), key=weights.__getitem__)] if any(weights) else "none"


def _format_seconds(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
