"""A folder of images: begun by a call, filled by one process or by the workers of a cluster, with an index of its rows.

    opened = open_folder("out", rows, settings, weights)     another call's folder is refused
    fill_folder(opened, pipe.generate, rows)                 an image that is there is not generated again

`images.jsonl` has a line for each image. Each worker of a cluster keeps an `images-NAME.jsonl` of its own; these are
gathered before the done mark is written. Files are encoded and flushed to the disk in a thread, beside the images that
are computed next.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self

from PIL import Image
from typing_extensions import TypedDict

from emoscene.core import run_dir
from emoscene.core.callbacks import ignore_event
from emoscene.core.cluster import Cluster, complete_parts
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import encode_image, find_format, read_params, save_image
from emoscene.core.migration import migrate_row
from emoscene.core.params import GenerationParams
from emoscene.core.request import read_number

INDEX = "images.jsonl"
OLD_INDEX = "pictures.jsonl"  # of version 0.1
ANEW = "remove that file, and the same call writes it anew"


class IndexRow(TypedDict):
    """What is read of a row of the index; the rest of it is read by `GenerationParams`."""

    file: NotRequired[str]
    seconds: NotRequired[float | None]


Generate = Callable[[Sequence[GenerationParams], int], Iterator[tuple[GenerationParams, Image.Image]]]
Finish = Callable[[Callable[[], None]], None]
"""What takes work that is to be finished beside generation, such as encoding and writing a PNG."""


def open_folder(
    out: str | Path,
    rows: Sequence[GenerationParams],
    settings: Mapping[str, Any],
    weights: Mapping[str, str],
    update: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
    provenance: str = "xmp",
) -> run_dir.RunDir:
    """Open the folder of a call, a new one or one to continue.

    Args:
        out: The folder.
        rows: The parameters of its images, their files named.
        settings: The methods' settings that were given.
        weights: The fingerprints of the base and of each method's weights, by name.
        update: Takes a call as an older version recorded it, and returns it in today's form.
        provenance: What the files say of their origin.

    Returns:
        The folder.

    Raises:
        UsageError: The folder belongs to another call.
        EmosceneError: The folder is damaged.
    """
    call: dict[str, Any] = {"rows": [row.to_dict() for row in rows], "settings": settings, "weights": weights}
    call["provenance"] = provenance

    def migrate(there: Mapping[str, Any]) -> dict[str, Any]:
        """Rows of an older version lack fields; where it noted no weights, it noted no settings in rows either.

        One that noted no provenance is gone on with by default alone.
        """
        migrated = []
        for recorded in there["rows"]:
            row = GenerationParams.from_dict(recorded)
            if "weights" not in there:
                row = replace(row, settings=rows[0].settings)
            migrated.append(row.to_dict())
        return {**call, "provenance": "xmp", **update(there), "rows": json.loads(json.dumps(migrated))}

    return run_dir.RunDir.open(out, "pictures", call, migrate_config=migrate)


def fill_folder(
    opened: run_dir.RunDir,
    generate: Generate,
    rows: Sequence[GenerationParams],
    batch: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
    facts: Mapping[str, Any] | None = None,
    cluster: Cluster | None = None,
    provenance: str = "xmp",
) -> None:
    """Generate all images of a folder, and write the done mark.

    Args:
        opened: The folder.
        generate: `EmotionPipeline.generate`.
        rows: The parameters of its images.
        batch: Images at once, 1 to 1024.
        on_progress: Takes the number of images done, and of all.
        facts: What the manifest says beside.
        cluster: The workers, which load a `generate` of their own; this process if left out.
        provenance: What the files say of their origin, as `core.images.encode_image` has it.

    Raises:
        UsageError: The batch size is off.
    """
    generate_missing(generate, rows, opened.path, batch, on_progress, cluster, provenance)
    gather_rows(opened.path, [row.file for row in rows])
    opened.finish(pictures=len(rows), **(facts or {}))


def generate_missing(
    generate: Generate,
    rows: Sequence[GenerationParams],
    folder: Path,
    batch: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
    cluster: Cluster | None = None,
    provenance: str = "xmp",
) -> None:
    """Generate what is not in the folder yet.

    Batches are the same whoever generates them and wherever a run was stopped, and so are the images.

    Args:
        generate: `EmotionPipeline.generate`.
        rows: The parameters of all images of the folder.
        folder: The folder; made if it is not there.
        batch: Images at once, 1 to 1024.
        on_progress: Takes an image's place among all, from 1 on, and the number of all, once its file is there; of a
            cluster, the number of images that are there.
        cluster: The workers, which load a `generate` of their own; this process if left out.
        provenance: What the files say of their origin, as `core.images.encode_image` has it.

    Raises:
        UsageError: The batch size is off.
    """
    batch = read_number("batch", batch)
    folder.mkdir(parents=True, exist_ok=True)
    batches, parts = [], []
    for first in range(0, len(rows), batch):
        batches.append(rows[first : first + batch])
        parts.append(_last_missing_file(folder, batches[-1]))
    make = partial(_generate_batches, folder, batches, batch, provenance)
    complete_batches(batches, parts, make, generate, on_progress or ignore_event, cluster)


def _generate_batches(
    folder: Path,
    batches: Sequence[Sequence[GenerationParams]],
    size: int,
    provenance: str,
    on_progress: Callable[[int, int], None],
    generate: Generate,
    numbers: Sequence[int],
    worker: str,
) -> Iterator[int]:
    """Generate these batches; yield their numbers once all images are there."""
    index, total = name_index(folder, worker), sum(map(len, batches))

    def write(place: int, row: GenerationParams, image: Image.Image) -> None:
        if not (folder / row.file).exists():
            run_dir.append_row(index, row.to_dict())
            save_image(image, folder / row.file, row, provenance)
            on_progress(place, total)

    with BackgroundWriter() as finish:
        for number in numbers:
            for place, (row, image) in enumerate(generate(batches[number], size), number * size + 1):
                finish(partial(write, place, row, image))
    yield from numbers


def _last_missing_file(folder: Path, rows: Sequence[GenerationParams]) -> Path:
    """The file with which a batch is complete: the last that is not there yet, else its last."""
    for row in reversed(rows):
        if not (folder / row.file).exists():
            return folder / row.file
    return folder / rows[-1].file


class BackgroundWriter:
    """A thread that finishes what was generated, in order, while the next images are computed.

    Leaving it waits until all is finished; an error of its work is raised there, or at the next call, and what comes
    after it is not begun.

    Args:
        ahead: How much may wait to be finished before a call waits.
    """

    def __init__(self, ahead: int = 32) -> None:
        self.ahead = ahead
        self.waiting: deque[Future[None]] = deque()
        self.failed = False

    def __enter__(self) -> Self:
        self.pool = ThreadPoolExecutor(1)
        return self

    def __call__(self, work: Callable[[], None]) -> None:
        """Finish something in the thread.

        Args:
            work: What finishes it.
        """
        while self.waiting and (self.waiting[0].done() or len(self.waiting) >= self.ahead):
            self.waiting.popleft().result()
        self.waiting.append(self.pool.submit(self._finish, work))

    def _finish(self, work: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            work()
        except BaseException:
            self.failed = True
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown()
        if error is None:
            for one in self.waiting:
                one.result()


def complete_batches(
    batches: Sequence[Sequence[GenerationParams]],
    parts: Sequence[Path],
    make: Callable[..., Iterator[int]],
    job: Any,
    on_progress: Callable[[int, int], None],
    cluster: Cluster | None = None,
) -> None:
    """Make the batches that are not there.

    Args:
        batches: The rows of each batch.
        parts: The last file of each batch.
        make: Takes what reports progress, and then as `core.cluster.Make` does.
        job: What `make` needs in this process.
        on_progress: Takes an image's place among all and their number; of a cluster, how many there are.
        cluster: The workers; this process if left out.
    """
    done = 0
    for rows, part in zip(batches, parts, strict=True):
        if part.exists():
            done += len(rows)
    report = on_progress
    if cluster is not None:
        report = ignore_event  # in the workers
    for number in complete_parts(parts, partial(make, report), job, cluster):
        done += len(batches[number])
        if cluster is not None:
            on_progress(done, sum(map(len, batches)))


def name_index(folder: Path, worker: str) -> Path:
    """Name the index that a process appends its rows to.

    Args:
        folder: The folder.
        worker: The name of the worker; empty for the process that gathers the rows.

    Returns:
        The file.
    """
    if worker:
        return folder / f"images-{worker}.jsonl"
    return folder / INDEX


def save_images(
    images: Sequence[Image.Image], rows: Sequence[GenerationParams], folder: Path, provenance: str = "xmp"
) -> list[Path]:
    """Write images that are in memory into a folder, and their rows into its index.

    Args:
        images: The images.
        rows: Their parameters, their files named.
        folder: The folder; made if it is not there. What it holds already stays.
        provenance: What the files say of their origin, as `core.images.encode_image` has it.

    Returns:
        The files.

    Raises:
        UsageError: A file of one of these names holds another image.
        EmosceneError: The folder's index is damaged.
    """
    contents = {}
    for image, row in zip(images, rows, strict=True):
        path = folder / row.file
        contents[path] = encode_image(image, row, find_format(path), provenance)
        signed = provenance == "c2pa"  # anew each time
        if path.exists() and not signed and path.read_bytes() != contents[path]:
            raise UsageError(f"{path} is there already and is another image: give another folder")

    folder.mkdir(parents=True, exist_ok=True)
    index = read_index(folder)
    for row, (path, content) in zip(rows, contents.items(), strict=True):
        index[row.file] = row.to_dict()
        run_dir.write_atomic(path, content)
    run_dir.write_atomic(folder / INDEX, run_dir.to_jsonl(list(index.values())))
    return list(contents)


def read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the rows of a folder's images, from its indexes of this and of older versions.

    Args:
        folder: The folder.

    Returns:
        The rows by file.

    Raises:
        EmosceneError: An index is damaged.
    """
    rows: dict[str, dict[str, Any]] = {}
    for path in _list_indexes(folder):
        for row in run_dir.read_jsonl(path, IndexRow, ANEW):
            try:
                rows[row.get("file", "")] = migrate_row(row)
            except UsageError as error:
                raise EmosceneError(f"{path} is damaged ({error}): {ANEW}") from error
    return rows


def _list_indexes(folder: Path) -> list[Path]:
    """The indexes in a folder, the older version's first: one, and one of each process that is at work."""
    return [*sorted(folder.glob("pictures*.jsonl")), *sorted(folder.glob("images*.jsonl"))]


def gather_rows(folder: Path, files: Sequence[str]) -> list[dict[str, Any]]:
    """Gather the rows of a folder's images into one index.

    Args:
        folder: The folder.
        files: The images' names, in order; the row of one that is in no index is read from its file.

    Returns:
        Their rows, in this order.

    Raises:
        EmosceneError: An index is damaged.
    """
    index = read_index(folder)
    rows = []
    for file in files:
        if file not in index:
            index[file] = read_params(folder / file).to_dict()
        rows.append(index[file])
    run_dir.write_atomic(folder / INDEX, run_dir.to_jsonl(rows))
    for path in _list_indexes(folder):
        if path.name != INDEX:
            path.unlink(missing_ok=True)
    return rows
