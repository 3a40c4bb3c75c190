"""A folder of pictures: begun by a call, filled by one process or by many, with an index of its rows.

    opened = begin("out", rows, settings, weights)     another call's folder is refused
    fill(opened, pipe.draw, rows)                      a picture that is there is not painted again

`pictures.jsonl` has a line a picture. Of many processes each but the first keeps a `pictures-RANK.jsonl` of its own
while they paint; the one that puts the done mark gathers them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from emoscene import stage
from emoscene.data.crew import Crew
from emoscene.errors import Failure
from emoscene.pictures import Row, read_row, save

INDEX = "pictures.jsonl"
Draw = Callable[[Sequence[Row], int], Iterator[tuple[Row, Image.Image]]]


def begin(
    out: str | Path,
    rows: Sequence[Row],
    settings: Mapping[str, Any],
    weights: Mapping[str, str],
    update: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> stage.Stage:
    """The folder of these rows, new or gone on with; weights: the fingerprints of what paints, by name.

    update: what the weights that an older version recorded are called now.
    Raises Usage for a folder of another call, Failure for a damaged one.
    """
    call = {"rows": [row.asdict() for row in rows], "settings": settings, "weights": weights}

    def today(there: Mapping[str, Any]) -> dict[str, Any]:
        """Rows of an older version lack fields; where it noted no weights, it noted no settings in rows either."""
        made = [Row.fromdict(row) for row in there["rows"]]
        made = made if "weights" in there else [replace(row, settings=rows[0].settings) for row in made]
        return {**call, **update(there), "rows": json.loads(json.dumps([row.asdict() for row in made]))}

    return stage.Stage.open(out, "pictures", call, today=today)


def fill(
    opened: stage.Stage,
    draw: Draw,
    rows: Sequence[Row],
    batch: int = 8,
    watch: Callable[[int, int], None] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Paint all rows, and put the done mark with these facts; other processes launched for it take their part."""
    paint(draw, rows, opened.path, batch, watch)

    def finish() -> None:
        gather(opened.path, [row.file for row in rows])
        opened.finish(pictures=len(rows), **(facts or {}))

    with Crew(opened.path) as together:
        together.close(lambda: stage.read(opened.path)["state"] == "done", finish)


def paint(
    draw: Draw,
    rows: Sequence[Row],
    folder: Path,
    batch: int = 8,
    watch: Callable[[int, int], None] | None = None,
) -> None:
    """Paint what is not in the folder yet, with whatever other processes were launched for it.

    Batches are the same whoever paints them and wherever a run was stopped, and so are the pictures.
    watch: told a picture's place among all, from 1 on, and how many there are, once it is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    lacking = [[folder / row.file for row in group if not (folder / row.file).exists()] for group in batches]
    parts = [(missing or [folder / group[-1].file])[-1] for group, missing in zip(batches, lacking, strict=True)]

    def keep(number: int, index: Path) -> None:
        for place, (row, image) in enumerate(draw(batches[number], batch), number * batch + 1):
            if not (folder / row.file).exists():
                stage.append_row(index, row.asdict())
                save(image, folder / row.file, row)
                if watch:
                    watch(place, len(rows))

    share(folder, parts, keep)


def share(folder: Path, parts: Sequence[Path], keep: Callable[[int, Path], None]) -> None:
    """Make the parts that are not there, among all processes: keep(number, index) makes one and its rows."""

    def make(numbers: list[int]) -> None:
        for number in numbers:
            keep(number, index)

    with Crew(folder) as together:
        index = folder / (f"pictures-{together.rank}.jsonl" if together.rank else INDEX)
        together.complete(parts, make)


def gather(folder: Path, files: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these pictures, gathered into one index in this order; one that is in none is read from its picture.

    Raises Failure where an index is damaged.
    """
    try:
        found = {row.get("file"): row for path in sorted(folder.glob("pictures*.jsonl")) for row in stage.rows(path)}
    except Failure as error:
        raise Failure(f"{error}; remove that file, and the same call writes it anew") from error
    rows = [found[file] if file in found else read_row(folder / file).asdict() for file in files]
    stage.write(folder / INDEX, stage.lines(rows))
    for path in folder.glob("pictures-*.jsonl"):
        path.unlink(missing_ok=True)
    return rows
