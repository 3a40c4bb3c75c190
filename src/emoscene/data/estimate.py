"""What a job will take, before it is begun: images by split and emotion, disk, and time measured on a few of them.

And whether the disk has room for it, and lets it write.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.core.plain_text import format_bytes, format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.cautions import list_cautions
from emoscene.data.encoding import BATCH, Item, Networks, batch_by_shape, encode_file
from emoscene.data.image_checks import silence_pillow
from emoscene.data.listing import report_unused
from emoscene.data.sources.base import Source

LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM}
LOOKED = 512  # images whose labels are counted
BYTES = {"png": 1.5, "jpeg": 0.5, "webp": 0.4}  # of a pixel, as a photograph takes; the order of magnitude
NOTED = 2000  # bytes of a row and its note, beside latent and vector


def check_disk_space(folder: Path, images: int, size: int, kind: str) -> None:
    """Check that the disk has room for the images that are still missing.

    Args:
        folder: The prepared folder.
        images: The number of images of the plan.
        size: The side of an image in pixels.
        kind: The file format: `png`, `jpeg` or `webp`.

    Raises:
        EmosceneError: There is clearly not enough room.
    """
    there = len(list(folder.glob("pictures/*/*")))
    wanted = max(0, images - there) * int(size * size * BYTES[kind] / 2 + NOTED)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise EmosceneError(
            f"{folder} has {format_bytes(free)} free, and about {format_bytes(wanted)} are to be written: make room, "
            "and call again as before, or take fewer into another folder (--limit)"
        )


@contextmanager
def check_writable(out: Path) -> Iterator[None]:
    """Explain, inside, that the folder must not be written.

    Args:
        out: The prepared folder.

    Yields:
        Nothing.

    Raises:
        EmosceneError: A file in it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in LOCKED:
            raise
        raise EmosceneError(
            f"{error.filename or out} cannot be written ({error.strerror}): give --out a folder that may be written, "
            "or see to its permissions and call again as before; what is finished stays"
        ) from error


def limit_plan(count: int, limit: int | None, each: int | None) -> int:
    """Compute the largest number of images that a plan can have.

    Args:
        count: The number of images of the source.
        limit: The largest number of images, if limited.
        each: The largest number of images of each emotion, if limited.

    Returns:
        The number of images.
    """
    if each:
        count = min(count, each * (len(EMOTIONS) + 1))
    return min(count, limit or count)


def report_lines(source: Source, networks: Networks, images: int) -> Iterator[str]:
    """Report what `prepare` would do (`--dry-run`), measured on a few images.

    Args:
        source: Where the images come from.
        networks: The models that read the images.
        images: The largest number of images that is taken.

    Yields:
        The lines of the report.

    Raises:
        EmosceneError: None of the images looked at is sound.
    """
    total = len(source)
    looked = min(LOOKED, total)
    numbers = [int((place + 0.5) * total / looked) for place in range(looked)]
    began = time.perf_counter()
    with silence_pillow():
        notes = list(source.survey(numbers))
    checking = (time.perf_counter() - began) / len(notes)
    sound = []
    for note in notes:
        if not note.reason:
            sound.append(note)
    on_message: list[str] = []
    report_unused(source, on_message.append)
    yield from on_message
    looked_at = format_count(len(notes), "was looked at", "were looked at")
    taken = format_count(images, "is taken", "are taken")
    yield f"{format_count(total, 'image')}, of which at most {taken}; {looked_at} for what follows"
    if len(sound) < len(notes):
        first = next(note for note in notes if note.reason)
        yield f"refused: {len(notes) - len(sound)} of {len(notes)}, such as {first.origin}: {first.reason}"
    yield _format_shares("emotions", [_weights_name(note.weights) for note in sound])
    for word, attribute in (("splits", "split"), ("roles", "role")):
        values = [getattr(note, attribute) for note in sound]
        if any(values):
            yield _format_shares(word, values)
    worded = [note.worded for note in sound]
    yield _format_shares("captions", worded)
    rendered = np.array([note.rendered for note in sound], dtype=bool)
    yield from list_cautions(networks, rendered, np.array(worded, dtype=str))
    encoding, size = _measure_batch(source, networks, [note.number for note in sound])
    seconds = total * checking + images * encoding
    yield f"disk: about {format_bytes(images * size)}"
    yield (
        f"time: about {_format_seconds(seconds)} for one process here ({checking * 1000:.0f} ms to check and "
        f"{encoding * 1000:.0f} ms to encode an image); with --ray, workers share it"
    )


def _measure_batch(source: Source, networks: Networks, numbers: Sequence[int]) -> tuple[float, float]:
    """Seconds and bytes of an image, by one batch that is not kept."""
    if not numbers:
        raise EmosceneError("not one of the images looked at is sound: mend the data first")
    networks.encode_batch(list(_read_items(source, numbers[:1])))
    began = time.perf_counter()
    parts = list(batch_by_shape(_read_items(source, numbers[:BATCH])))
    rows = []
    for part in parts:
        rows += networks.encode_batch(part)
    seconds = (time.perf_counter() - began) / (BATCH * len(parts))  # a batch that is not full takes as long
    files = []
    for part in parts:
        for _, _, image in part:
            files.append(encode_file(image, networks.kind))
    record, _ = rows[0]
    kept = len(record.latent) + len(record.mirrored) + len(record.vector)
    return seconds, sum(map(len, files)) / len(files) + kept + NOTED


def _read_items(source: Source, numbers: Sequence[int]) -> Iterator[Item]:
    for place, (record, image) in enumerate(source.read_images(numbers)):
        yield place, record, image


def _format_shares(word: str, values: Sequence[str]) -> str:
    counts = Counter(values)
    shares = []
    for name, count in sorted(counts.items()):
        shares.append(f"{name or 'none'} {100 * count / len(values):.0f}%")
    return f"{word}: {', '.join(shares)}"


def _weights_name(weights: Sequence[float]) -> str:
    if any(weights):
        return EMOTIONS[max(range(len(weights)), key=weights.__getitem__)]
    return "none"


def _format_seconds(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return format_count(seconds, "second", spec=".0f")
