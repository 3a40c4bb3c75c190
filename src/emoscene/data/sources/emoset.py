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

from emoscene.core.errors import UsageError
from emoscene.core.file_reading import ANYTHING, MOST_LISTED_BYTES, parse_json, read_json
from emoscene.core.image_files import ImageRefused
from emoscene.core.paths import resolve_inside
from emoscene.data.captions import describe_attributes
from emoscene.data.records import Record
from emoscene.data.sources.base import (
    Entry,
    FileSource,
    ids_of_paths,
    read_file,
    read_text_file,
    require_root,
    weights_of_label,
)

SPLITS = ("train", "val", "test")


class EmoSet(FileSource):
    """EmoSet's lists in order: train, val, test."""

    licence: ClassVar[str] = "EmoSet states no licence for its images: for research only, never to be passed on."

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        super().__init__(root, config, side, limit)
        self.folder = require_root(root, "EmoSet's folder, with train.json, val.json and test.json")
        numbers = _read_label_numbers(self.folder / "info.json")
        self.rows: list[tuple[str, str, str, str]] = []
        for split in SPLITS:
            path = self.folder / f"{split}.json"
            resolve_inside(self.folder, path.name)
            rows = _read_json(path)
            if not isinstance(rows, list):
                raise UsageError(f"{path} is not a list of rows: put EmoSet's own file there")
            for number, row in enumerate(rows):
                self.rows.append((split, *_parse_row(row, numbers, f"{path}, row {number}")))
        images = [image for _, _, image, _ in self.rows]
        self.ids = ids_of_paths([PurePosixPath(image).name for image in images])
        if len(set(self.ids)) < len(self.ids):
            self.ids = ids_of_paths(images)
        if len(set(self.ids)) < len(self.ids):
            raise UsageError(f"an image stands twice in the lists of {self.folder}: take its second row out")

    def __len__(self) -> int:
        return len(self.rows)

    def read_entry(self, number: int) -> Entry:
        """A row and its annotation."""
        split, emotion, image, annotation = self.rows[number]
        about = {}
        if annotation:
            about = _read_attributes(self.folder, annotation)
        scene = about.get("scene")
        if not isinstance(scene, str):
            scene = ""
        record = Record(
            id=self.ids[number],
            weights=weights_of_label(emotion, image),
            caption_long=describe_attributes(about),
            scene=scene.strip(),
        )
        return Entry(record, str(self.folder / image), split)

    def read_bytes(self, number: int) -> bytes:
        """The image's file."""
        return read_file(self.folder, self.rows[number][2])

    def official_splits(self) -> set[str]:
        """The lists that have rows."""
        return {split for split, *_ in self.rows}

    def rows_listed(self) -> Iterator[Any]:
        """The rows of the lists."""
        return iter(self.rows)

    def paths(self) -> Iterator[Path]:
        """Images and annotations."""
        for _, _, image, annotation in self.rows:
            yield self.folder / image
            if annotation:
                yield self.folder / annotation


def _parse_row(row: Any, numbers: dict[str, str], where: str) -> tuple[str, str, str]:
    """Emotion's name, image and annotation of a row in either form."""
    if not isinstance(row, list) or len(row) not in {3, 4}:
        raise UsageError(f"{where} is not [emotion, id, image, annotation], nor that without the id: mend the list")
    emotion, image, annotation = numbers.get(str(row[0]), str(row[0])), row[-2], row[-1]
    weights_of_label(emotion, where)
    if not isinstance(image, str):
        raise UsageError(f"{where} has no path of an image: mend the list")
    if not isinstance(annotation, str):
        annotation = ""
    return emotion.strip().lower(), image, annotation


def _read_label_numbers(path: Path) -> dict[str, str]:
    """Names of the emotions' numbers, from either form of `info.json`; none where there is no such file."""
    if not path.exists():
        return {}
    about = _read_json(path)
    labels = None
    if isinstance(about, dict):
        about = about.get("emotion", about)
    if isinstance(about, dict):
        labels = about.get("idx2label")
    if not isinstance(labels, dict):
        raise UsageError(f"{path} does not say its labels (idx2label of emotion): put EmoSet's own file there")
    for name in labels.values():
        weights_of_label(name, str(path))
    return {str(number): str(name) for number, name in labels.items()}


def _read_attributes(root: Path, path: str) -> dict[str, Any]:
    try:
        about = parse_json(read_text_file(root, path, "annotation"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ImageRefused(f"its annotation {root / path} is not JSON") from error
    if isinstance(about, dict):
        return about
    return {}


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"{path} is missing: give --root, the folder that holds EmoSet's lists")
    return read_json(path, ANYTHING, "take it from EmoSet's archive again", MOST_LISTED_BYTES)
