"""A folder of pictures: begun by a call, filled by one process or by many, with an index of its rows.

    opened = begin("out", rows, settings, weights)     another call's folder is refused
    fill(opened, pipe.draw, rows)                      a picture that is there is not painted again

`images.jsonl` has a line an image. Of many processes each but the first keeps an `images-RANK.jsonl` of its own
while they paint; the one that puts the done mark gathers them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError
from emoscene.core.images import read_params, save_image
from emoscene.core.migration import migrate_row
from emoscene.core.params import GenerationParams
from emoscene.core.request import read_number
from emoscene.data.workers import WorkerGroup

INDEX = "images.jsonl"
OLD_INDEX = "pictures.jsonl"  # of version 0.1
Draw = Callable[[Sequence[GenerationParams], int], Iterator[tuple[GenerationParams, Image.Image]]]


def open_folder(
    out: str | Path,
    rows: Sequence[GenerationParams],
    settings: Mapping[str, Any],
    weights: Mapping[str, str],
    update: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> run_dir.RunDir:
    """The folder of these rows, new or gone on with; weights: the fingerprints of what paints, by name.

    update: what the weights that an older version recorded are called now.
    Raises Usage for a folder of another call, Failure for a damaged one.
    """
    call = {"rows": [row.to_dict() for row in rows], "settings": settings, "weights": weights}

    def today(there: Mapping[str, Any]) -> dict[str, Any]:
        """Rows of an older version lack fields; where it noted no weights, it noted no settings in rows either."""
        made = [GenerationParams.from_dict(row) for row in there["rows"]]
        made = made if "weights" in there else [replace(row, settings=rows[0].settings) for row in made]
        return {**call, **update(there), "rows": json.loads(json.dumps([row.to_dict() for row in made]))}

    return run_dir.RunDir.open(out, "pictures", call, migrate_config=today)


def fill_folder(
    opened: run_dir.RunDir,
    draw: Draw,
    rows: Sequence[GenerationParams],
    batch: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Paint all rows, and put the done mark with these facts; other processes launched for it take their part."""
    generate_missing(draw, rows, opened.path, batch, on_progress)

    def finish() -> None:
        gather_rows(opened.path, [row.file for row in rows])
        opened.finish(pictures=len(rows), **(facts or {}))

    with WorkerGroup(opened.path) as together:
        together.close(lambda: run_dir.read_manifest(opened.path)["state"] == "done", finish)


def generate_missing(
    draw: Draw,
    rows: Sequence[GenerationParams],
    folder: Path,
    batch: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Paint what is not in the folder yet, with whatever other processes were launched for it.

    Batches are the same whoever paints them and wherever a run was stopped, and so are the pictures.
    on_progress: told a picture's place among all, from 1 on, and how many there are, once it is there.
    """
    batch = read_number("batch", batch)
    folder.mkdir(parents=True, exist_ok=True)
    batches = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    lacking = [[folder / row.file for row in group if not (folder / row.file).exists()] for group in batches]
    parts = [(missing or [folder / group[-1].file])[-1] for group, missing in zip(batches, lacking, strict=True)]

    def keep(number: int, index: Path) -> None:
        for place, (row, image) in enumerate(draw(batches[number], batch), number * batch + 1):
            if not (folder / row.file).exists():
                run_dir.append_row(index, row.to_dict())
                save_image(image, folder / row.file, row)
                if on_progress:
                    on_progress(place, len(rows))

    share_parts(folder, parts, keep)


def share_parts(folder: Path, parts: Sequence[Path], keep: Callable[[int, Path], None]) -> None:
    """Make the parts that are not there, among all processes: keep(number, index) makes one and its rows."""

    def make(numbers: list[int]) -> None:
        for number in numbers:
            keep(number, index)

    with WorkerGroup(folder) as together:
        index = folder / (f"images-{together.rank}.jsonl" if together.rank else INDEX)
        together.complete(parts, make)


def read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of a folder's images by file, from its indexes of this and of older versions.

    Raises:
        EmosceneError: for an index that is damaged.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        for path in _list_indexes(folder):
            found |= {row.get("file", ""): migrate_row(row) for row in run_dir.read_jsonl(path)}
    except EmosceneError as error:
        raise EmosceneError(f"{error}; remove that file, and the same call writes it anew") from error
    return found


def _list_indexes(folder: Path) -> list[Path]:
    """The indexes in a folder, the older version's first: one, and one of each process that is at work."""
    return [*sorted(folder.glob("pictures*.jsonl")), *sorted(folder.glob("images*.jsonl"))]


def gather_rows(folder: Path, files: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these images, gathered into one index in this order; one that is in none is read from its image.

    Raises:
        EmosceneError: for an index that is damaged.
    """
    found = read_index(folder)
    rows = [found[file] if file in found else read_params(folder / file).to_dict() for file in files]
    run_dir.write_atomic(folder / INDEX, run_dir.to_jsonl(rows))
    for path in _list_indexes(folder):
        if path.name != INDEX:
            path.unlink(missing_ok=True)
    return rows
