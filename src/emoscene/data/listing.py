"""Whether the same call still means the same pictures: what a source lists, and what its files hold.

    digest_listing(source)      part of the call: names, labels and words of all pictures, as the source lists them
    check_files(...)            the files behind them, against the notes that the first pass took of each

Sizes and times of the files are kept in `logs/files.json`. As long as none differs, nothing is read; where one does,
every file is read and compared with its note. So a data set that was only copied back goes on, and one in which a
picture was exchanged is refused by that picture's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.data import notes
from emoscene.data.sources.base import Source

REMEDY = "give --out another folder, or delete this one and call again"
COMPARED = ("id", "split", "scene", "digest", "words", "reason")


def digest_listing(source: Source) -> dict[str, Any]:
    """How many pictures a source lists, and one digest of all that it says of them; nothing where it has no lists."""
    digest, count = hashlib.sha256(), 0
    for row in source.rows_listed():
        digest.update(f"{json.dumps(row)}\n".encode())
        count += 1
    return {"listing": {"pictures": count, "sha256": digest.hexdigest()}} if count else {}


def check_listing(folder: Path, call: Mapping[str, Any]) -> None:
    """Raises Usage where a folder was begun by this call, and the source listed other pictures then."""
    if "listing" not in call or not (folder / run_dir.MANIFEST).is_file():
        return
    here, there = json.loads(json.dumps(call, default=str)), run_dir.read_manifest(folder, "prepared")["config"]
    now, before = here.pop("listing"), there.pop("listing", None)
    if now == before or run_dir.find_difference(there, here):
        return
    if before is None:
        raise UsageError(f"{folder} was prepared by a version that did not note which pictures it read: {REMEDY}")
    counts = f" ({before['pictures']} pictures then, {now['pictures']} now)"
    raise UsageError(
        f"{folder} was prepared from other pictures, labels or captions than are there now{counts}: {REMEDY}"
    )


def check_files(folder: Path, source: Source, taken: Sequence[Path], on_message: Callable[[str], None]) -> None:
    """Raises Usage where a file of the source is not what one of the notes (those of `taken` that exist) says of it."""
    stamp, kept = stamp_files(source.paths()), folder / run_dir.LOGS / "files.json"
    if not stamp:
        return
    there = [path for path in taken if path.exists()]
    if there and not (kept.is_file() and kept.read_text(encoding="utf8") == stamp):
        on_message("sizes or times of the files are not what they were: comparing each with its note")
        changed = next(find_changes(source, notes.load_notes(there)), None)
        if changed:
            raise UsageError(f"{folder} was prepared from files that have changed since, such as {changed}: {REMEDY}")
    kept.parent.mkdir(exist_ok=True)
    run_dir.write_atomic(kept, stamp.encode())


def stamp_files(paths: Iterable[Path]) -> str:
    """One digest of all files' sizes and times, as JSON; empty where there are none."""
    digest, count = hashlib.sha256(), 0
    for path in paths:
        count += 1
        try:
            about = path.stat()
            row: list[Any] = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        except (OSError, ValueError) as error:  # it is quarantined, and why is in its note
            row = [type(error).__name__]
        digest.update(f"{row}\n".encode())
    return json.dumps({"files": count, "sha256": digest.hexdigest()}) if count else ""


def find_changes(source: Source, noted: pa.Table) -> Iterator[str]:
    """Where each picture lies whose file, label or words are not as they were noted."""
    weights = noted["weights"].to_pylist()
    before = noted.select(["number", *COMPARED]).to_pylist()
    found = source.survey([row["number"] for row in before])
    for row, felt, note in zip(before, weights, found, strict=True):
        same = all(getattr(note, key) == row[key] for key in COMPARED)
        if not same or not np.array_equal(np.asarray(note.weights, np.float32), np.asarray(felt, np.float32)):
            yield note.origin
