"""Any folder of images: a folder per emotion, or Hugging Face's `imagefolder` with metadata.jsonl, .csv or .parquet.

    ROOT/awe/*.jpg  ROOT/fear/*.png           or with a split above: ROOT/train/awe/*.jpg
    ROOT/awe/1.txt                            the caption of 1.jpg, as other trainers keep it
    ROOT/awe/caption.txt                      the caption of those images in awe/ that have none of their own
    ROOT/metadata.jsonl                       {"file_name": "awe/1.png", "label": "awe", "caption": "..."}

A label is one of the eight names, `neutral`, or a mixture (`awe:0.7,fear:0.3`). A number is not an emotion until
`labels=` names them in order, because every data set counts its own way. Where several people named the emotion of an
image, the column `votes` has how many named each, or their shares (`awe:12,fear:8`, or eight numbers in our order).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pyarrow import parquet

from emoscene.core.config import option
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import MOST_LISTED_BYTES, describe_fault, read_json_lines, read_utf8
from emoscene.core.image_files import IMAGE_ENDINGS, ImageRefused
from emoscene.core.plain_text import SHOWN, shorten_text
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION
from emoscene.data.records import Record
from emoscene.data.sources.base import (
    Entry,
    FileSource,
    ids_of_paths,
    read_file,
    read_text_file,
    require_root,
    resolve_inside_root,
    shares_of_votes,
    weights_of_any,
    weights_of_label,
)
from emoscene.data.splits import official_split

SPLITS = {"train", "val", "test"}
TEXTS = ("caption", "caption_long", "scene")
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FOLDER_TEXT = "caption.txt"
FORK, FORKS = "._", "__MACOSX"  # how macOS names the second file that it makes of each, and its folder in an archive
LABELS = {*EMOTIONS, "neutral"}
ROLES = {"file_name": ("file_name", "file", "image"), "label": ("label", "emotion"), "caption": ("caption", "text")}


class ImageFolder(FileSource):
    """The images that the metadata list, or those in the emotions' folders, in the order of their paths."""

    searches: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Config(FileSource.Config):
        """What the metadata call things, where they call them otherwise."""

        label: str = option("", "the column of the emotion; empty: label or emotion")
        caption: str = option("", "the column of the caption; empty: caption or text")
        labels: tuple[str, ...] = option((), "names of the labels' numbers from 0 on, as in labels=awe,fear,sadness")

    config: Config

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        super().__init__(root, config, side, limit)
        self.folder = require_root(root, "a folder with a folder per emotion, or with metadata.jsonl, .csv or .parquet")
        lists: list[Path] = []
        for name in METADATA:
            lists += filter(self._is_list, self.folder.rglob(name))
        self.lists = lists
        self.rows: list[dict[str, Any]] = []
        for path in sorted(lists):
            self.rows += self._read_listing(path)
        if not lists:
            self.rows += self._scan_folders()
        if lists and not self.rows:
            raise UsageError(f"{sorted(lists)[0]} lists no image: give each a row, or take the file away")
        if not self.rows:
            raise UsageError(
                f"{root} has neither metadata nor folders of images named {', '.join(EMOTIONS)}: name them so"
            )
        self.ids = ids_of_paths([row["file_name"] for row in self.rows])
        if len(set(self.ids)) < len(self.ids):
            raise UsageError(f"an image stands twice in the metadata of {root}: take its second row out")

    def __len__(self) -> int:
        return len(self.rows)

    def read_entry(self, number: int) -> Entry:
        """A row of the metadata."""
        row = self.rows[number]
        text: dict[str, Any] = {}
        for key in TEXTS:
            text[key] = str(row.get(key) or "").strip()
        if row.get("text_file"):
            text["caption"] = " ".join(read_text_file(self.folder, row["text_file"], "caption").split())
        record = Record(id=self.ids[number], weights=row["weights"], votes=row.get("votes", NO_EMOTION), **text)
        return Entry(record, str(self.folder / row["file_name"]), row["split"])

    def read_bytes(self, number: int) -> bytes:
        """The image's file."""
        return read_file(self.folder, self.rows[number]["file_name"])

    def official_splits(self) -> set[str]:
        """Those of folders and metadata."""
        return {row["split"] for row in self.rows}

    def rows_listed(self) -> Iterator[Any]:
        """Each image's path, label, split and words."""
        keys = ("file_name", "weights", "split", "text_file", *TEXTS)
        for row in self.rows:
            listed = []
            for key in keys:
                if key == "weights":
                    listed.append(row[key])
                else:
                    listed.append(str(row.get(key) or ""))
            if any(row.get("votes", NO_EMOTION)):
                listed.append(row["votes"])
            yield listed

    def paths(self) -> Iterator[Path]:
        """The images, and the texts beside them."""
        for row in self.rows:
            yield self.folder / row["file_name"]
            if row.get("text_file"):
                yield self.folder / row["text_file"]

    def unused_files(self) -> list[Path]:
        """Whatever else lies below the root, without hidden files."""
        used = {*self.lists, *self.paths()}
        unused = []
        for path in sorted(self.folder.rglob("*")):
            is_hidden = any(part.startswith(".") for part in path.relative_to(self.folder).parts)
            if path not in used and not is_hidden and path.is_file():
                unused.append(path)
        return unused

    def _is_list(self, path: Path) -> bool:
        """Whether metadata lie there. Raises UsageError for a link that leaves the folder."""
        try:
            return resolve_inside_root(self.folder, path.relative_to(self.folder).as_posix()).is_file()
        except ImageRefused as error:
            raise UsageError(f"{path} is no list of this folder: {error}") from error

    def _scan_folders(self) -> Iterator[dict[str, Any]]:
        """A folder per emotion, perhaps below a folder per split."""
        for folder, split in _class_folders(self.folder):
            weights = weights_of_label(folder.name, f"the folder {folder}")
            files = sorted(path for path in folder.rglob("*") if not path.is_dir())
            found = [path for path in files if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(FORK)]
            if not found:
                raise UsageError(f"{folder} holds no image: fill it, or take the folder away")
            texts = {path for path in files if path.suffix == ".txt"}
            for path in found:
                _check_deeper_folders(folder, path)
                text_file = ""
                for text in (path.with_suffix(".txt"), path.with_name(FOLDER_TEXT)):
                    if text in texts and not text_file:
                        text_file = text.relative_to(self.folder).as_posix()
                yield {
                    "file_name": path.relative_to(self.folder).as_posix(),
                    "weights": weights,
                    "split": split,
                    "text_file": text_file,
                }

    def _read_listing(self, path: Path) -> Iterator[dict[str, Any]]:
        """The rows of a file of metadata, whose paths count from where it lies."""
        place = path.parent.relative_to(self.folder)
        wanted = {"label": self.config.label, "caption": self.config.caption}
        for number, row in enumerate(_read_table(path), 1):
            where = f"{path}, row {number}"
            if number == 1:
                columns = {}
                for key in ROLES:
                    columns[key] = _find_column(row, key, wanted.get(key, ""), path)
            file, label = row.get(columns["file_name"]), row.get(columns["label"])
            if not isinstance(file, str) or not Path(file).name or label is None:
                raise UsageError(f"{where} has no file_name or no label: mend it, or take the row out")
            if row.get("split"):
                split = official_split(str(row["split"]))
            else:
                split = _split_of_file(place, file)
            yield {
                **row,
                "file_name": (place / file).as_posix(),
                "weights": weights_of_any(label, self.config.labels, where),
                "votes": shares_of_votes(row.get("votes"), where),
                "caption": row.get(columns["caption"]),
                "split": split,
            }


def _class_folders(root: Path) -> Iterator[tuple[Path, str]]:
    """The folders of emotions, and the split that each lies in."""
    for folder in _list_folders(root):
        if official_split(folder.name) not in SPLITS:
            yield folder, ""
            continue
        for deeper in _list_folders(folder):
            yield deeper, official_split(folder.name)


def _list_folders(root: Path) -> list[Path]:
    """The folders directly in a folder, by name, without hidden ones and what macOS adds to an archive."""
    folders = []
    for path in root.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name != FORKS:
            folders.append(path)
    return sorted(folders)


def _check_deeper_folders(folder: Path, path: Path) -> None:
    """Raise UsageError where a folder below an emotion's says another emotion, or a split, which would be ignored."""
    for part in path.relative_to(folder).parts[:-1]:
        name = part.strip().lower()
        if name in LABELS and name != folder.name.strip().lower():
            raise UsageError(f"{path} lies in two emotions, {folder.name} and {part}: move it to one of them")
        if official_split(name) in SPLITS:
            raise UsageError(
                f"{path} lies in {part} below an emotion, where no split is read: put it above, as {part}/{folder.name}"
            )


def _split_of_file(place: Path, file: str) -> str:
    head = official_split("".join((place / file).parts[:1]))
    if head in SPLITS:
        return head
    return ""


def _find_column(row: Mapping[str, Any], key: str, named: str, path: Path) -> str:
    """What a file of metadata calls this."""
    if named and named not in row:
        raise UsageError(f"{path} has no column {named!r}: it has {_list_columns(row)}")
    found = next((name for name in ROLES[key] if name in row), "")
    if not (named or found) and key != "caption":
        raise UsageError(f"{path} has no column {ROLES[key][0]!r}: it has {_list_columns(row)}")
    return named or found


def _list_columns(row: Mapping[str, Any]) -> str:
    return shorten_text(", ".join(row), SHOWN)


def _read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Rows by column, from any of the three kinds of file."""
    try:
        if path.suffix == ".parquet":
            yield from parquet.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            reader = csv.DictReader(StringIO(read_utf8(path, MOST_LISTED_BYTES), newline=""), restkey="")
            names = list(reader.fieldnames or ())
            twice = [name for place, name in enumerate(names) if name and name in names[:place]]
            if twice:
                raise ValueError(f"it has two columns {twice[0]!r}")
            yield from reader
        else:
            for _, row in read_json_lines(path):
                yield row
    except (ValueError, OverflowError, csv.Error, pa.ArrowException) as error:
        raise EmosceneError(f"{path} is damaged ({describe_fault(error)}): write it again") from error
