"""What the first pass learns of every image: a `ImageNote`, kept in Arrow by shard, from which the plan is made.

    notes/notes-00000-of-00012.arrow      the notes of the first thousand images of a source, and so on

A note holds no pixels, so those of millions of images are read in seconds, and all processes make the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from emoscene.core.errors import EmosceneError
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, Weights
from emoscene.data.duplicates import HASHES

SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "id": pa.string(),
        "origin": pa.string(),
        "weights": pa.list_(pa.float32(), len(EMOTIONS)),
        "scene": pa.string(),
        "split": pa.string(),
        "role": pa.string(),
        "worded": pa.string(),
        "digest": pa.binary(),
        "words": pa.binary(),
        "rendered": pa.bool_(),
        "looks": pa.list_(pa.uint64(), HASHES),
        "mended": pa.list_(pa.string()),
        "reason": pa.string(),
    }
)

PANORAMA = "a panorama, of which less than half is kept"
"""What is said of an image in `mended` where the cut to the wanted size takes most of it."""


@dataclass(frozen=True)
class ImageNote:
    """One image: its number in the source, where it lies, its labels, and how it was found.

    split: the data set's own (train, val, test), or empty; role: empty unless the source deals roles itself; worded:
    where its caption comes from (own, attributes, none); digest, words: sha256 of its file and of its captions;
    rendered: whether it carries the miniature world's mark; looks: its perceptual hashes; mended: what is unusual about
    it; reason: why it is refused, empty if it is sound.
    """

    number: int
    id: str = ""
    origin: str = ""
    weights: Weights = NO_EMOTION
    scene: str = ""
    split: str = ""
    role: str = ""
    worded: str = "none"
    digest: bytes = b""
    words: bytes = b""
    rendered: bool = False
    looks: tuple[int, ...] = (0,) * HASHES
    mended: tuple[str, ...] = ()
    reason: str = ""


def save_notes(notes: Iterable[ImageNote], path: Path) -> None:
    """Write a shard of notes as an Arrow stream.

    Args:
        notes: The notes.
        path: The file to write.
    """
    table = pa.Table.from_pylist([asdict(note) for note in notes], schema=SCHEMA)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        writer.write_table(table)


def load_notes(paths: Sequence[Path]) -> pa.Table:
    """Load all notes in order, memory-mapped.

    Args:
        paths: The files that `save_notes` wrote.

    Returns:
        A table with the columns of `SCHEMA`.

    Raises:
        EmosceneError: A file is damaged.
    """
    tables = []
    for path in paths:
        with _open_notes(path) as stream:
            tables.append(stream.read_all())
    return pa.concat_tables(tables)


def has_form(path: Path) -> bool:
    """Tell whether a file holds what this version notes of an image.

    Args:
        path: A file that `save_notes` wrote, perhaps that of an older version.

    Returns:
        Whether its columns are those of `SCHEMA`.

    Raises:
        EmosceneError: The file is damaged.
    """
    with _open_notes(path) as stream:
        return bool(stream.schema.equals(SCHEMA))


@contextmanager
def _open_notes(path: Path) -> Iterator[pa.ipc.RecordBatchStreamReader]:
    try:
        with pa.memory_map(str(path)) as file:
            yield pa.ipc.open_stream(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise EmosceneError(f"{path} is damaged ({error}): delete it, and call again as before") from error
