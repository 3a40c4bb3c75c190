"""EmoSet-118K (Yang et al. 2023, "EmoSet: A Large-scale Visual Emotion Dataset with Rich Attributes", ICCV).

    ROOT/ info.json  train.json val.json test.json  image/EMOTION/*.jpg  annotation/EMOTION/*.json

Both published forms are read. A row of a list is `[emotion, id, image, annotation]` or `[emotion, image, annotation]`;
`info.json` is `{attribute: {label2idx, idx2label}}` or, for the emotion alone, `{label2idx, idx2label}`. The id is the
image's name. Labels go by name and never by number. Any attribute may be absent, and so may the annotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from emoscene.data.captions import words
from emoscene.data.checks import Refused
from emoscene.data.records import Record
from emoscene.data.sources.base import Entry, Files, labelled, names, needed, read_file, read_text_file
from emoscene.errors import Failure, Usage
from emoscene.paths import resolve_inside
from emoscene.stage import parse_json

SPLITS = ("train", "val", "test")


class EmoSet(Files):
    """EmoSet's lists in order: train, val, test."""

    licence: ClassVar[str] = "EmoSet states no licence for its pictures: for research only, never to be passed on."

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        super().__init__(root, config, side, limit)
        self.folder = needed(root, "EmoSet's folder, with train.json, val.json and test.json")
        numbers = _numbers(self.folder / "info.json")
        self.rows: list[tuple[str, str, str, str]] = []
        for split in SPLITS:
            path = self.folder / f"{split}.json"
            resolve_inside(self.folder, path.name)
            rows = _read(path)
            if not isinstance(rows, list):
                raise Usage(f"{path} is not a list of rows: put EmoSet's own file there")
            for number, row in enumerate(rows):
                self.rows.append((split, *_row(row, numbers, f"{path}, row {number}")))
        self.ids = names([PurePosixPath(image).name for _, _, image, _ in self.rows])
        if len(set(self.ids)) < len(self.ids):
            self.ids = names([image for _, _, image, _ in self.rows])
        if len(set(self.ids)) < len(self.ids):
            raise Usage(f"a picture stands twice in the lists of {self.folder}: take its second row out")

    def __len__(self) -> int:
        return len(self.rows)

    def entry(self, number: int) -> Entry:
        """A row and its annotation."""
        split, emotion, image, annotation = self.rows[number]
        about = _attributes(self.folder, annotation) if annotation else {}
        scene = about.get("scene")
        record = Record(
            id=self.ids[number],
            weights=labelled(emotion, image),
            caption_long=words(about),
            scene=scene.strip() if isinstance(scene, str) else "",
        )
        return Entry(record, str(self.folder / image), split)

    def data(self, number: int) -> bytes:
        """The image's file."""
        return read_file(self.folder, self.rows[number][2])

    def rows_listed(self) -> Iterator[Any]:
        """The rows of the lists."""
        return iter(self.rows)

    def paths(self) -> Iterator[Path]:
        """Images and annotations."""
        for _, _, image, annotation in self.rows:
            yield self.folder / image
            if annotation:
                yield self.folder / annotation


def _row(row: Any, numbers: dict[str, str], where: str) -> tuple[str, str, str]:
    """Emotion's name, image and annotation of a row in either form."""
    if not isinstance(row, list) or len(row) not in {3, 4}:
        raise Usage(f"{where} is not [emotion, id, image, annotation], nor that without the id: mend the list")
    emotion, image, annotation = numbers.get(str(row[0]), str(row[0])), row[-2], row[-1]
    labelled(emotion, where)
    if not isinstance(image, str):
        raise Usage(f"{where} has no path of an image: mend the list")
    return emotion.strip().lower(), image, annotation if isinstance(annotation, str) else ""


def _numbers(path: Path) -> dict[str, str]:
    """Names of the emotions' numbers, from either form of `info.json`; none where there is no such file."""
    if not path.exists():
        return {}
    about = _read(path)
    about = about.get("emotion", about) if isinstance(about, dict) else {}
    found = about.get("idx2label") if isinstance(about, dict) else None
    if not isinstance(found, dict):
        raise Usage(f"{path} does not say its labels (idx2label of emotion): put EmoSet's own file there")
    for name in found.values():
        labelled(name, str(path))
    return {str(number): str(name) for number, name in found.items()}


def _attributes(root: Path, path: str) -> dict[str, Any]:
    try:
        about = parse_json(read_text_file(root, path, "annotation"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Refused(f"its annotation {root / path} is not JSON") from error
    return about if isinstance(about, dict) else {}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise Usage(f"{path} is missing: give --root, the folder that holds EmoSet's lists")
    try:
        return parse_json(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise Failure(f"{path} is damaged ({error}): take it from EmoSet's archive again") from error
