"""A data set of the hub, or parquet files of one's own, read where they lie: a row group at a time.

    emoscene prepare hub --root Woleek/EmoSet-118K --out prepared    revision= pins a commit; it is looked up and kept
    emoscene prepare hub --root FOLDER --out prepared

Images are a column of `datasets`' `Image` kind (bytes and path), labels one of names, of mixtures, or of `ClassLabel`
numbers whose names the file itself carries. A set that is no parquet is read from the hub's own conversion of it. No
code of the data set is run.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired

import pyarrow as pa
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError
from pyarrow import parquet
from typing_extensions import TypedDict

from emoscene.core.config import option
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_value, describe_fault, parse_json
from emoscene.core.image_files import ImageRefused
from emoscene.core.paths import resolve_inside
from emoscene.core.taxonomy import Weights
from emoscene.data.records import Record
from emoscene.data.sources.base import Entry, FileSource, weights_of_any
from emoscene.data.splits import official_split

CONVERTED = "refs/convert/parquet"
ROLES = {"image": ("image", "picture", "img"), "label": ("label", "emotion"), "caption": ("caption", "text")}
SPLITS = ("train", "val", "test")
SAY_LABELS = "name the numbers in order, as labels=awe,..."


class HubInfo(TypedDict):
    """What `datasets` says of the columns."""

    features: NotRequired[dict[str, Any]]


class HubNote(TypedDict):
    """What `datasets` keeps in the schema of a parquet file."""

    info: NotRequired[HubInfo]


class Hub(FileSource):
    """The rows of parquet files in order."""

    @dataclass(frozen=True)
    class Config(FileSource.Config):
        """Which rows of what, and what the columns are called."""

        revision: str = option("", "the commit, tag or branch to read; empty: the newest commit, which is then kept")
        subset: str = option("", "only files whose path holds this, as in subset=train")
        image: str = option("", "the column of the image; empty: image, picture or img")
        label: str = option("", "the column of the emotion; empty: label or emotion")
        caption: str = option("", "the column of the caption; empty: caption or text")
        labels: tuple[str, ...] = option((), "names of the labels' numbers from 0 on, where the file has none")

    config: Config

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        super().__init__(root, config, side, limit)
        if root is None:
            raise UsageError("give --root, a hub id such as Woleek/EmoSet-118K, or a folder of parquet files")
        if root.exists():
            self.files, self.commit = _local_files(root)
        else:
            self.files, self.commit = _remote_files(str(root), config.revision)
        self.files = [file for file in self.files if config.subset in file.path]
        if not self.files:
            named = ""
            if config.subset:
                named = f" with {config.subset!r} in its path"
            raise UsageError(f"{root} has no parquet file{named}: give --root, where some lie")
        self.ends = list(accumulate(file.rows for file in self.files))
        first = self.files[0]
        self.columns: dict[str, str] = {}
        for key in ROLES:
            self.columns[key] = first.find_column(key, getattr(config, key))
        self.labels = config.labels or _common_label_names(self.files, self.columns["label"])
        for file in self.files:
            file.find_column("image", self.columns["image"])
            file.find_column("label", self.columns["label"])
            if not self.commit:  # those of the hub would all be asked for a part of each
                self._check_labels(file)

    def __len__(self) -> int:
        return self.ends[-1]

    def read_entry(self, number: int) -> Entry:
        """A row."""
        place, row = self._read_row(number)
        file = self.files[place]
        within = number - (self.ends[place] - file.rows)
        where = f"{file.path}, row {within}"
        text: dict[str, Any] = {}
        for key in ("caption_long", "scene"):
            text[key] = str(row.get(key) or "").strip()
        text["caption"] = str(row.get(self.columns["caption"]) or "").strip()
        record = Record(id=f"row-{number:08d}", weights=self._read_weights(row, where), **text)
        return Entry(record, where, file.split)

    def read_bytes(self, number: int) -> bytes:
        """The image's bytes, which stand in the row."""
        cell = self._read_row(number)[1][self.columns["image"]]
        if isinstance(cell, dict):
            data = cell.get("bytes")
        else:
            data = cell
        if not isinstance(data, bytes):
            raise ImageRefused("the row holds no image's bytes")
        return data

    def facts(self) -> dict[str, Any]:
        """The commit that was read."""
        if self.commit:
            return {"revision": self.commit}
        return {}

    def official_splits(self) -> set[str]:
        """Those that files and folders are named after."""
        return {file.split for file in self.files if file.rows}

    def rows_listed(self) -> Iterator[Any]:
        """The files, and how many rows each has; what a commit's hold is told by the commit."""
        return ([file.path, file.rows] for file in self.files)

    def paths(self) -> Iterator[Path]:
        """The files, where they lie on this machine."""
        if self.commit:
            return
        for file in self.files:
            yield Path(file.path)

    def _check_labels(self, file: Parquet) -> None:
        """Raises UsageError for the first label of a file that is not understood."""
        column = file.read_column(self.columns["label"])
        seen: set[Any] = set()
        for row, label in enumerate(column):
            if not label.is_valid:
                continue
            with file.explain_damage():
                value = label.as_py()
            if isinstance(value, Hashable):
                if value in seen:
                    continue
                seen.add(value)
            weights_of_any(value, self.labels, f"{file.path}, row {row}")

    def _read_weights(self, row: dict[str, Any], where: str) -> Weights:
        label = row.get(self.columns["label"])
        if label is None:
            raise ImageRefused("the row has no label")
        return weights_of_any(label, self.labels, where)

    def _read_row(self, number: int) -> tuple[int, dict[str, Any]]:
        place = bisect_right(self.ends, number)
        return place, self.files[place].read_row(number - (self.ends[place] - self.files[place].rows))


class Parquet:
    """One parquet file; the last row group stays in memory, as rows are asked for in order."""

    def __init__(self, path: str, source: Any, split: str) -> None:
        self.path, self.split = path, split
        with self.explain_damage():
            self.file = parquet.ParquetFile(source)
        about = self.file.metadata
        self.rows: int = about.num_rows
        self.ends = list(accumulate(about.row_group(group).num_rows for group in range(about.num_row_groups)))
        self.lock, self.held, self.group = threading.Lock(), -1, pa.table({})

    def read_row(self, number: int) -> dict[str, Any]:
        """Read one row.

        Args:
            number: The row, from 0 to `rows` - 1.

        Returns:
            Its values by column.

        Raises:
            EmosceneError: The file is damaged.
        """
        group = bisect_right(self.ends, number)
        with self.explain_damage(), self.lock:
            if group != self.held:
                self.group, self.held = self.file.read_row_group(group), group
            start = 0
            if group:
                start = self.ends[group - 1]
            return dict(self.group.slice(number - start, 1).to_pylist()[0])

    def read_column(self, name: str) -> pa.ChunkedArray:
        """Read one column of all rows.

        Args:
            name: The column.

        Returns:
            Its values.

        Raises:
            EmosceneError: The file is damaged.
        """
        with self.explain_damage(), self.lock:
            return self.file.read([name]).column(name)

    @contextmanager
    def explain_damage(self) -> Iterator[None]:
        """Translate what pyarrow raises for damaged data, and for a value that Python has no type for.

        Yields:
            Nothing.

        Raises:
            EmosceneError: Something inside cannot be read.
        """
        try:
            yield
        except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
            raise EmosceneError(
                f"{self.path} cannot be read as parquet ({describe_fault(error)}): fetch it again"
            ) from error

    def find_column(self, key: str, named: str) -> str:
        """Find the name of a column.

        Args:
            key: What it holds: `image`, `label` or `caption`.
            named: The name that the user gave; empty to search for the usual ones.

        Returns:
            The name; empty for a caption that does not exist.

        Raises:
            UsageError: There is no such column.
        """
        columns = self.file.schema_arrow.names
        if named and named not in columns:
            raise UsageError(f"{self.path} has no column {named!r}: it has {', '.join(columns)}")
        column = named or next((name for name in ROLES[key] if name in columns), "")
        if not column and key != "caption":
            raise UsageError(
                f"{self.path} has no column {ROLES[key][0]!r}: say {key}=NAME, one of {', '.join(columns)}"
            )
        return column

    def label_names(self, column: str) -> tuple[str, ...]:
        """Read the names of a `ClassLabel`'s numbers, as `datasets` keeps them in the file.

        Args:
            column: The name of the column.

        Returns:
            The names from number 0 on; empty where the file has none.
        """
        about = (self.file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
        try:
            note = check_value(parse_json(about), HubNote, f"the note of `datasets` in {self.path}", SAY_LABELS)
        except ValueError as error:
            raise EmosceneError(f"the note of `datasets` in {self.path} is no JSON: {SAY_LABELS}") from error
        feature = note.get("info", {}).get("features", {}).get(column, {})
        names = None
        if isinstance(feature, dict):
            names = feature.get("names")
        return tuple(check_value(names or [], list[str], f"the note of `datasets` in {self.path}", SAY_LABELS))


def _common_label_names(files: Sequence[Parquet], column: str) -> tuple[str, ...]:
    """The names of the labels' numbers. Raises UsageError where two files count in different ways."""
    names: tuple[str, ...] = ()
    for file in files:
        own = file.label_names(column)
        if names and own and own != names:
            raise UsageError(
                f"{file.path} numbers its labels in another order than {files[0].path}: read them one by one, with "
                "subset=, or write the names in place of the numbers"
            )
        names = names or own
    return names


def _split_of_file(path: str) -> str:
    """The split that a file's name or folder tells, as `train-00000-of-00004.parquet` does."""
    words = []
    for part in PurePosixPath(path).parts:
        words.append(official_split(part.partition("-")[0].partition(".")[0]))
    return next((word for word in reversed(words) if word in SPLITS), "")


def _local_files(root: Path) -> tuple[list[Parquet], str]:
    if root.is_file():
        paths = [root]
    else:
        paths = sorted(path for path in root.rglob("*.parquet") if path.is_file())
    files = []
    for path in paths:
        part = path.name
        if root.is_dir():
            part = path.relative_to(root).as_posix()
            resolve_inside(root, part)
        files.append(Parquet(str(path), str(path), _split_of_file(part)))
    return files, ""


def _remote_files(name: str, revision: str) -> tuple[list[Parquet], str]:
    """The parquet files of a hub's data set at one commit."""
    if name.count("/") != 1:
        raise UsageError(f"{name} is neither there nor a hub id: give --root, such as Woleek/EmoSet-118K")
    try:
        commit = HfApi().dataset_info(name, revision=revision or None).sha or revision
        system = HfFileSystem()
        paths: Sequence[str] = sorted(system.glob(f"datasets/{name}@{commit}/**.parquet"))
        if not paths:
            commit = HfApi().dataset_info(name, revision=CONVERTED).sha or CONVERTED
            paths = sorted(system.glob(f"datasets/{name}@{commit}/**.parquet"))
        files = []
        for path in paths:
            files.append(Parquet(path, system.open(path), _split_of_file(path.partition("@")[2])))
        return files, commit
    except (HfHubHTTPError, OSError) as error:
        raise EmosceneError(
            f"the hub's data set {name} cannot be reached: fetch it where there is a network (hf download --repo-type "
            f"dataset {name}) and give that folder as --root; `emoscene prepare mini` needs none"
        ) from error
