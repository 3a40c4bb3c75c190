"""RAF-DB, faces in the wild with seven expressions (Li & Deng 2019, IEEE Trans. Image Processing 28).

    ROOT/basic/Image/aligned/train_00001_aligned.jpg   ROOT/basic/EmoLabel/list_patition_label.txt ("train_00001.jpg 5")
    ROOT/DATASET/train/1..7/*.jpg                      the same in folders, another layout that is passed around

Its labels are Ekman's and not Mikels': fear, disgust, sadness and anger carry over. What happiness, surprise and
neutral become is a rule, `emotions.EKMAN`, by which judges with such labels are read too; a setting changes it. The
report counts the images that each rule touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from emoscene.core.config import option
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.file_reading import read_utf8
from emoscene.core.taxonomy import EKMAN, NO_EMOTION, Weights, emotion_weights
from emoscene.data.records import Record
from emoscene.data.sources.base import Entry, FileSource, read_file, require_root, unique_ids

LABELS = {"1": "surprise", "2": "fear", "3": "disgust", "4": "happiness", "5": "sadness", "6": "anger", "7": "neutral"}
OUT = "none"
WORDS = "a close portrait of a face"
WHAT = "RAF-DB's folder, which holds basic/EmoLabel/list_patition_label.txt, or train/1 to 7 and test/1 to 7"


class RAFDB(FileSource):
    """RAF-DB's faces, those that a rule leaves out not counted."""

    @dataclass(frozen=True)
    class Config(FileSource.Config):
        """What each of Ekman's labels becomes: a mixture, `neutral` for none at all, or `none` to leave it out."""

        surprise: str = option("", "what surprise becomes; empty: as emotions.EKMAN has it")
        fear: str = option("", "what fear becomes; empty: as emotions.EKMAN has it")
        disgust: str = option("", "what disgust becomes; empty: as emotions.EKMAN has it")
        happiness: str = option("", "what happiness becomes; empty: as emotions.EKMAN has it")
        sadness: str = option("", "what sadness becomes; empty: as emotions.EKMAN has it")
        anger: str = option("", "what anger becomes; empty: as emotions.EKMAN has it")
        neutral: str = option("", "what neutral becomes; empty: as emotions.EKMAN has it")

    config: Config
    licence: ClassVar[str] = "RAF-DB is for non-commercial research only; its images must not be passed on."

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        super().__init__(root, config, side, limit)
        self.said = {name: getattr(config, name) or EKMAN[name] or OUT for name in LABELS.values()}
        self.rules = {name: _parse_rule(text.strip()) for name, text in self.said.items()}
        self.folder = require_root(root, WHAT)
        listed = _find_images(self.folder)
        self.counts = Counter(label for _, label in listed)
        self.rows = [(path, label) for path, label in listed if self.rules[label] is not None]
        if not self.rows:
            raise UsageError(f"the rules leave no image of {root}: say what becomes of a label, as in neutral=neutral")
        self.files: list[str] = []
        self.splits: list[str] = []
        stems = []
        for path, _ in self.rows:
            split = _split(path)
            self.files.append(path.relative_to(self.folder).as_posix())
            self.splits.append(split)
            stems.append(_stem(path, split))
        self.ids = unique_ids(stems, self.files)
        if len(set(self.ids)) < len(self.ids):
            raise UsageError(f"a face stands twice in the list of {root}: take its second row out")

    def __len__(self) -> int:
        return len(self.rows)

    def read_entry(self, number: int) -> Entry:
        """A face; its split is its name's beginning, or its folder's."""
        path, label = self.rows[number]
        record = Record(id=self.ids[number], weights=self.rules[label] or NO_EMOTION, caption_long=WORDS)
        return Entry(record, str(path), self.splits[number])

    def read_bytes(self, number: int) -> bytes:
        """The face's file."""
        return read_file(self.folder, self.files[number])

    def official_splits(self) -> set[str]:
        """Those that names and folders tell."""
        return set(self.splits)

    def rows_listed(self) -> Iterator[Any]:
        """Every face's file and label."""
        for file, (_, label) in zip(self.files, self.rows, strict=True):
            yield [file, label]

    def paths(self) -> Iterator[Path]:
        """The faces' files."""
        for path, _ in self.rows:
            yield path

    def facts(self) -> dict[str, Any]:
        """How many images each rule touched."""
        said = {}
        for name, text in self.said.items():
            if text.strip() == OUT:
                said[name] = "left out"
            else:
                said[name] = text
        return {"rules": {f"{name} -> {rule}": self.counts[name] for name, rule in said.items()}}


def _parse_rule(text: str) -> Weights | None:
    if text == OUT:
        return None
    if text == "neutral":
        return NO_EMOTION
    return emotion_weights(text)


def _split(path: Path) -> str:
    if "test" in (path.stem.partition("_")[0], path.parent.parent.name):
        return "test"
    return "train"


def _stem(path: Path, split: str) -> str:
    """What a face is called, wherever it lies: `train_00001`."""
    name = path.stem.removesuffix("_aligned")
    if name.startswith(split):
        return name
    return f"{split}-{path.parent.name}-{name}"


def _find_images(root: Path) -> list[tuple[Path, str]]:
    """Every image and its label's name, in either layout."""
    for folder in (root / "basic", root):
        if (folder / "EmoLabel/list_patition_label.txt").is_file():
            return _read_listing(folder, folder / "EmoLabel/list_patition_label.txt")
    for folder in (root / "DATASET", root):
        if (folder / "train").is_dir():
            return _scan_folders(folder)
    raise UsageError(f"{root} is not laid out as RAF-DB: give --root, {WHAT}")


def _read_listing(folder: Path, path: Path) -> list[tuple[Path, str]]:
    aligned = (folder / "Image/aligned").is_dir()
    place, ending = "Image/original", ".jpg"
    if aligned:
        place, ending = "Image/aligned", "_aligned.jpg"
    listed = []
    for number, line in enumerate(read_utf8(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        stem = Path(name.strip()).name.removesuffix(".jpg")
        if label not in LABELS or not stem:
            raise UsageError(f"{path}, line {number} is not a name and a label from 1 to 7: mend the list")
        listed.append((folder / place / f"{stem}{ending}", LABELS[label]))
    return listed


def _scan_folders(root: Path) -> list[tuple[Path, str]]:
    images = []
    folders = [path for path in [*(root / "train").glob("*"), *(root / "test").glob("*")] if path.is_dir()]
    for folder in sorted(folders):
        if folder.name not in LABELS:
            raise unknown_name("label of RAF-DB", folder.name, LABELS, hint=str(folder))
        inside = sorted(path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith("."))
        if not inside:
            raise UsageError(f"{folder} holds no image: fill it, or take the folder away")
        images += [(path, LABELS[folder.name]) for path in inside]
    return images
