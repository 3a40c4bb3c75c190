"""Any folder of pictures: a folder per emotion, or Hugging Face's `imagefolder` with metadata.jsonl, .csv or .parquet.

    ROOT/awe/*.jpg  ROOT/fear/*.png           or with a split above: ROOT/train/awe/*.jpg
    ROOT/awe/1.txt                            the caption of 1.jpg, as other trainers keep it
    ROOT/metadata.jsonl                       {"file_name": "awe/1.png", "label": "awe", "caption": "..."}

A label is one of the eight names, `neutral`, or a mixture (`awe:0.7,fear:0.3`). A number is nobody's emotion until
`labels=` names them in order, because every data set counts its own way.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from emoscene import stage
from emoscene.config import option
from emoscene.data.checks import ENDINGS, Refused
from emoscene.data.records import Record
from emoscene.data.sources.base import (
    Entry,
    Files,
    inside,
    labelled,
    mixed,
    names,
    needed,
    read_file,
    read_text_file,
)
from emoscene.data.splits import official
from emoscene.emotions import EMOTIONS
from emoscene.errors import Failure, Usage

SPLITS = {"train", "val", "test"}
TEXTS = ("caption", "caption_long", "scene")
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
PICTURES = {ending for endings in ENDINGS.values() for ending in endings}
ROLES = {"file_name": ("file_name", "file", "image"), "label": ("label", "emotion"), "caption": ("caption", "text")}


class ImageFolder(Files):
    """The pictures that the metadata list, or those in the emotions' folders, in the order of their paths."""

    @dataclass(frozen=True)
    class Config(Files.Config):
        """What the metadata call things, where they call them otherwise."""

        label: str = option("", "the column of the emotion; empty: label or emotion")
        caption: str = option("", "the column of the caption; empty: caption or text")
        labels: tuple[str, ...] = option((), "names of the labels' numbers from 0 on, as in labels=awe,fear,sadness")

    config: Config

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        super().__init__(root, config, side, limit)
        self.folder = needed(root, "a folder with a folder per emotion, or with metadata.jsonl, .csv or .parquet")
        lists = sorted(path for name in METADATA for path in self.folder.rglob(name) if self._is_list(path))
        self.rows = [row for path in lists for row in self._listed(path)] if lists else list(self._foldered())
        if not self.rows:
            raise Usage(
                f"{root} has neither metadata nor folders of pictures named {', '.join(EMOTIONS)}: name them so"
            )
        self.ids = names([row["file_name"] for row in self.rows])
        if len(set(self.ids)) < len(self.ids):
            raise Usage(f"a picture stands twice in the metadata of {root}: take its second row out")

    def __len__(self) -> int:
        return len(self.rows)

    def entry(self, number: int) -> Entry:
        """A row of the metadata."""
        row = self.rows[number]
        text: dict[str, Any] = {key: str(row.get(key) or "").strip() for key in TEXTS}
        if row.get("text_file"):
            text["caption"] = " ".join(read_text_file(self.folder, row["text_file"], "caption").split())
        record = Record(id=self.ids[number], weights=row["weights"], **text)
        return Entry(record, str(self.folder / row["file_name"]), row["split"])

    def data(self, number: int) -> bytes:
        """The picture's file."""
        return read_file(self.folder, self.rows[number]["file_name"])

    def rows_listed(self) -> Iterator[Any]:
        """Each picture's path, label, split and words."""
        keys = ("file_name", "weights", "split", "text_file", *TEXTS)
        return ([row[key] if key == "weights" else str(row.get(key) or "") for key in keys] for row in self.rows)

    def paths(self) -> Iterator[Path]:
        """The pictures, and the texts beside them."""
        for row in self.rows:
            yield self.folder / row["file_name"]
            if row.get("text_file"):
                yield self.folder / row["text_file"]

    def _is_list(self, path: Path) -> bool:
        """Whether metadata lie there. Raises Usage for a link that leaves the folder."""
        try:
            return inside(self.folder, path.relative_to(self.folder).as_posix()).is_file()
        except Refused as error:
            raise Usage(f"{path} is no list of this folder: {error}") from error

    def _foldered(self) -> Iterator[dict[str, Any]]:
        """A folder per emotion, perhaps below a folder per split."""
        for folder, split in _classes(self.folder):
            weights = labelled(folder.name, f"the folder {folder}")
            files = sorted(path for path in folder.rglob("*") if not path.is_dir())
            found = [path for path in files if path.suffix.lower() in PICTURES]
            if not found:
                raise Usage(f"{folder} holds no picture: fill it, or take the folder away")
            texts = {path for path in files if path.suffix == ".txt"}
            for path in found:
                beside = path.with_suffix(".txt")
                yield {
                    "file_name": path.relative_to(self.folder).as_posix(),
                    "weights": weights,
                    "split": split,
                    "text_file": beside.relative_to(self.folder).as_posix() if beside in texts else "",
                }

    def _listed(self, path: Path) -> Iterator[dict[str, Any]]:
        """The rows of a file of metadata, whose paths count from where it lies."""
        place = path.parent.relative_to(self.folder)
        wanted = {"label": self.config.label, "caption": self.config.caption}
        for number, row in enumerate(_read(path), 1):
            where = f"{path}, row {number}"
            if not isinstance(row, dict):
                raise Usage(f"{where} is no object with columns: mend it, or take the row out")
            if number == 1:
                columns = {key: _column(row, key, wanted.get(key, ""), path) for key in ROLES}
            file, label = row.get(columns["file_name"]), row.get(columns["label"])
            if not isinstance(file, str) or not Path(file).name or label is None:
                raise Usage(f"{where} has no file_name or no label: mend it, or take the row out")
            split = official(str(row["split"])) if row.get("split") else _split(place, file)
            yield {
                **row,
                "file_name": (place / file).as_posix(),
                "weights": mixed(label, self.config.labels, where),
                "caption": row.get(columns["caption"]),
                "split": split,
            }


def _classes(root: Path) -> Iterator[tuple[Path, str]]:
    """The folders of emotions, and the split that each lies in."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    for folder in folders:
        if official(folder.name) not in SPLITS:
            yield folder, ""
            continue
        for deeper in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield deeper, official(folder.name)


def _split(place: Path, file: str) -> str:
    head = official("".join((place / file).parts[:1]))
    return head if head in SPLITS else ""


def _column(row: Mapping[str, Any], key: str, named: str, path: Path) -> str:
    """What a file of metadata calls this."""
    if named and named not in row:
        raise Usage(f"{path} has no column {named!r}: it has {', '.join(row)}")
    found = next((name for name in ROLES[key] if name in row), "")
    if not (named or found) and key != "caption":
        raise Usage(f"{path} has no column {ROLES[key][0]!r}: it has {', '.join(row)}")
    return named or found


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows by column, from any of the three kinds of file."""
    try:
        if path.suffix == ".parquet":
            yield from parquet.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file)
        else:
            with path.open(encoding="utf-8-sig") as file:
                yield from (stage.parse_json(line) for line in file if line.strip())
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 ({error}): save it as such") from error
    except (ValueError, csv.Error, pa.ArrowInvalid) as error:
        raise Failure(f"{path} is damaged ({error}): write it again") from error
