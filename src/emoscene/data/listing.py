"""Whether the same call still means the same images: what a source lists, and what its files hold.

    digest_listing(source)      part of the call: names, labels and words of all images, as the source lists them
    check_files(...)            the files behind them, against the notes that the first pass took of each

Sizes and times of the files are kept in `logs/files.json`. As long as none differs, nothing is read; where one does,
every file is read and compared with its note. So a data set that was only copied back goes on, and one in which a
image was exchanged is refused by that image's name.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from emoscene.core import run_dir
from emoscene.core.call_identity import find_difference
from emoscene.core.errors import UsageError
from emoscene.core.paths import is_inside
from emoscene.core.plain_text import format_count
from emoscene.data import notes
from emoscene.data.sources.base import Source

REMEDY = "give --out another folder, or delete this one and call again"
COMPARED = ("id", "split", "scene", "digest", "words", "reason")


def digest_listing(source: Source) -> dict[str, Any]:
    """Digest what a source lists of its images.

    Args:
        source: The source.

    Returns:
        `{"listing": {"pictures": count, "sha256": digest}}`; an empty dict where the source has no lists.
    """
    digest, count = hashlib.sha256(), 0
    for row in source.rows_listed():
        digest.update(f"{json.dumps(row)}\n".encode())
        count += 1
    if count:
        return {"listing": {"pictures": count, "sha256": digest.hexdigest()}}
    return {}


def check_outside(folder: Path, source: Source) -> None:
    """Check that a new folder does not lie among the images that it is made from, as the same call would read them too.

    Args:
        folder: The prepared folder, which may not exist yet.
        source: The source.

    Raises:
        UsageError: It lies in the folder that the source searches.
    """
    root = source.root
    if root is None or not source.searches or (folder / run_dir.MANIFEST).is_file():
        return
    if is_inside(root, folder) and not (folder.exists() and root.samefile(folder)):
        raise UsageError(f"{folder} lies in {root}, which is searched for images: give --out a folder beside it")


def check_listing(folder: Path, call: Mapping[str, Any]) -> None:
    """Check that a folder was begun from the same list of images.

    Args:
        folder: The prepared folder, which may not exist yet.
        call: The arguments of the call, with what `digest_listing` returns.

    Raises:
        UsageError: The same call began this folder when the source listed other images.
    """
    if "listing" not in call or not (folder / run_dir.MANIFEST).is_file():
        return
    asked, recorded = json.loads(json.dumps(call, default=str)), run_dir.read_manifest(folder, "prepared")["config"]
    now, before = asked.pop("listing"), recorded.pop("listing", None)
    if now == before or find_difference(recorded, asked):
        return
    if before is None:
        raise UsageError(f"{folder} was prepared by a version that did not note which images it read: {REMEDY}")
    counts = f" ({format_count(before['pictures'], 'image')} then, {now['pictures']} now)"
    raise UsageError(
        f"{folder} was prepared from other images, labels or captions than are there now{counts}: {REMEDY}"
    )


def check_files(folder: Path, source: Source, taken: Sequence[Path], on_message: Callable[[str], None]) -> None:
    """Check that the files of a source have not changed since the first pass.

    Args:
        folder: The prepared folder.
        source: The source.
        taken: The files of the first pass, whether they exist or not.
        on_message: Receives a sentence where every file has to be compared.

    Raises:
        UsageError: A file is not what its note says.
    """
    stamp, kept = stamp_files(source.paths()), folder / run_dir.LOGS / "files.json"
    if not stamp:
        return
    existing = []
    for path in taken:
        if path.exists():
            existing.append(path)
    if existing and not (kept.is_file() and kept.read_bytes() == stamp.encode()):
        on_message("sizes or times of the files are not what they were: comparing each with its note")
        changed = next(find_changes(source, notes.load_notes(existing)), None)
        if changed:
            raise UsageError(f"{folder} was prepared from files that have changed since, such as {changed}: {REMEDY}")
    kept.parent.mkdir(exist_ok=True)
    run_dir.write_atomic(kept, stamp.encode())


def check_form(folder: Path, taken: Sequence[Path]) -> None:
    """Check that a pass that was begun can go on, which it cannot where another version compared images in another way.

    Args:
        folder: The prepared folder.
        taken: The files of the first pass, whether they exist or not.

    Raises:
        UsageError: Another version wrote one of them.
        EmosceneError: A file is damaged.
    """
    for path in taken:
        if path.exists() and not notes.has_form(path):
            raise UsageError(f"{folder} was begun by a version that compared images in another way: {REMEDY}")


def count_unused(source: Source) -> dict[str, int]:
    """Count the files that lie among a source's images and are not used.

    Args:
        source: The source.

    Returns:
        Their number by ending; "none" for files without one.
    """
    counts: Counter[str] = Counter()
    for path in source.unused_files():
        counts[path.suffix.lower() or "none"] += 1
    return dict(sorted(counts.items()))


def report_unused(source: Source, on_message: Callable[[str], None]) -> None:
    """Say how many files that lie among a source's images are not used.

    Args:
        source: The source.
        on_message: Receives the sentence, if there are such files.
    """
    files = source.unused_files()
    if files:
        counts = ", ".join(f"{ending} {count}" for ending, count in count_unused(source).items())
        number = format_count(len(files), "file is", "files are")
        on_message(f"{number} not used: neither image of this source nor caption ({counts}), such as {files[0]}")


def stamp_files(paths: Iterable[Path]) -> str:
    """Digest the sizes and times of files; no file is read.

    Args:
        paths: The files.

    Returns:
        The number of files and the digest, as JSON; empty where there are no files.
    """
    digest, count = hashlib.sha256(), 0
    for path in paths:
        count += 1
        try:
            about = path.stat()
            row: list[Any] = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        except (OSError, ValueError) as error:  # it is quarantined, and why is in its note
            row = [type(error).__name__]
        digest.update(f"{row}\n".encode())
    if count:
        return json.dumps({"files": count, "sha256": digest.hexdigest()})
    return ""


def find_changes(source: Source, noted: pa.Table) -> Iterator[str]:
    """Compare every image of a source with its note.

    Args:
        source: The source.
        noted: The notes of the first pass.

    Yields:
        Where each image lies whose file, label or words differ.
    """
    weights = noted["weights"].to_pylist()
    before = noted.select(["number", *COMPARED]).to_pylist()
    found = source.survey([row["number"] for row in before])
    for row, felt, note in zip(before, weights, found, strict=True):
        same = all(getattr(note, key) == row[key] for key in COMPARED)
        if not same or not np.array_equal(np.asarray(note.weights, np.float32), np.asarray(felt, np.float32)):
            yield note.origin
