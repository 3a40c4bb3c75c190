"""The contract of a source: it says how many pictures there are, what each is, and yields them in order.

Preparing numbers the pictures 0 .. len - 1 and asks for some of them, in any process, again after a crash: so a
source is a function of (root, config, number), with no state of its own. It is asked twice:

    survey     first pass: a `Note` of every picture, its labels, whether it is sound, what it is like
    pictures   second pass: those that the plan took, at the wanted size

What it lists (`rows_listed`) is part of the call, and its files (`paths`) are compared with the notes when the same
call goes on: see `listing`. One odd file costs one picture at most: what is wrong with it is a `Refused`'s reason.

A data set that lies in files only says what its entries are and where their bytes are: see `Files`. Another package
adds a source by an entry point in the group `emoscene.sources`.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeVar, final

import pyarrow as pa
import torch
from PIL import Image

from emoscene import stage
from emoscene.config import option
from emoscene.data.captions import clean_text, digest_words, worded
from emoscene.data.checks import Refused, opened
from emoscene.data.duplicates import look
from emoscene.data.notes import Note
from emoscene.data.records import Record
from emoscene.data.shapes import cut
from emoscene.emotions import EMOTIONS, NOTHING, Weights, weights
from emoscene.errors import Failure, Usage, unknown
from emoscene.paths import LEADS_OUT, fault_of_name, is_inside
from emoscene.pictures import MEGABYTES
from emoscene.world.marks import is_rendered

S = TypeVar("S")
T = TypeVar("T")
TOGETHER = 32  # pictures under way at once, a batch of the networks
STEM = 100  # bytes of an id that are the path's own


class Source(ABC):
    """Pictures with labels. A subclass is final and its file bears its name.

    Config: a frozen dataclass whose defaults run. licence: a sentence for the card. deals: whether it gives its
    pictures their roles itself, and makes only as many as are asked for.
    """

    Config: ClassVar[type]
    licence: ClassVar[str] = "The source states no licence: ask its authors before you pass anything on."
    deals: ClassVar[bool] = False

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        """root: where it reads; side: the wanted side of a picture in pixels; limit: at most so many pictures.

        `sizes` holds the sizes (W, H) that a picture may have: the square alone, unless buckets are asked for. `noted`
        holds the notes of the first pass in the second, where a picture has to be the one that was noted.
        """
        self.root, self.config, self.side, self.limit = root, config, side, limit
        self.sizes: Sequence[tuple[int, int]] = ((side, side),)
        self.noted: pa.Table | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are; the limit is considered by a source that deals."""

    @abstractmethod
    def survey(self, numbers: Sequence[int]) -> Iterator[Note]:
        """A note of each of these pictures, in order."""

    @abstractmethod
    def pictures(self, numbers: Sequence[int]) -> Iterator[tuple[Record, Image.Image]]:
        """These pictures, RGB and of one of `sizes`, each with its record (its `file` and `latent` still empty).

        A record's `caption` is the set's own or empty, `caption_long` its attributes as words or a longer caption.
        """

    def facts(self) -> dict[str, Any]:
        """What the report should say of how the source was read."""
        return {}

    def rows_listed(self) -> Iterator[Any]:
        """What the source's lists say of each picture: its name, label and words, as JSON; nothing where they vary."""
        return iter(())

    def paths(self) -> Iterator[Path]:
        """The files of this machine that its pictures and their words are read from."""
        return iter(())


@dataclass(frozen=True)
class Entry:
    """What a data set says of a picture: its record without pixels, where it lies, the split that it is in."""

    record: Record
    origin: str
    split: str = ""


class Files(Source):
    """A source whose pictures are somebody's files: each is checked, hashed, and brought to size."""

    @dataclass(frozen=True)
    class Config:
        """How files are read."""

        workers: int = option(-1, "pictures read at once; -1 as many as there are threads", span=(-1, 1024), late=True)

    config: Any

    @abstractmethod
    def entry(self, number: int) -> Entry:
        """What the set says of this picture. Raises Refused where it says something that cannot be used."""

    @abstractmethod
    def data(self, number: int) -> bytes:
        """The picture's file. Raises OSError where it cannot be read, Refused where it must not be."""

    @final
    def survey(self, numbers: Sequence[int]) -> Iterator[Note]:
        """Each picture read, checked and hashed; what cannot be used has a reason."""
        return self._each(self._note, numbers)

    @final
    def pictures(self, numbers: Sequence[int]) -> Iterator[tuple[Record, Image.Image]]:
        """The middle of each picture, in the nearest of `sizes`."""
        return self._each(self._picture, numbers)

    def _each(self, work: Callable[[int], T], numbers: Sequence[int]) -> Iterator[T]:
        """The work on each picture, in order, by threads where more than one is asked for."""
        asked: int = self.config.workers
        machine = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        return each(work, numbers, machine if asked < 0 else asked)

    def _note(self, number: int) -> Note:
        note = Note(number, origin=f"number {number}")
        try:
            entry = self._entry(number)
            record = entry.record
            note = Note(number, record.id, entry.origin, record.weights, record.scene, entry.split)
            note = replace(note, words=digest_words(record))
            data = self.data(number)
            image, mended = opened(data, entry.origin)
        except Refused as error:
            return replace(note, reason=escape_unprintable(str(error)))
        except OSError as error:
            return replace(note, reason=f"it cannot be read: {error.strerror or error}")
        digest, rendered = hashlib.sha256(data).digest(), is_rendered(image)
        return replace(note, mended=mended, worded=worded(record), digest=digest, rendered=rendered, look=look(image))

    def _picture(self, number: int) -> tuple[Record, Image.Image]:
        origin = f"number {number}"
        try:
            entry = self._entry(number)
            origin, data = entry.origin, self.data(number)
            image, _ = opened(data, origin)
        except (Refused, OSError) as error:
            reason = escape_unprintable(str(error))
            raise Failure(
                f"{origin} was sound and is no longer ({reason}): prepare into a new folder, from files that stay"
            ) from error
        found = {"digest": hashlib.sha256(data).digest(), "words": digest_words(entry.record)}
        if self.noted is not None and any(self.noted[key][number].as_py() != value for key, value in found.items()):
            raise Failure(f"{origin} has changed since it was checked: prepare into a new folder, from files that stay")
        return entry.record, cut(image, self.sizes)

    def _entry(self, number: int) -> Entry:
        """What the set says of this picture, in text that every file and every terminal can hold."""
        entry = self.entry(number)
        return replace(entry, record=clean_text(entry.record), origin=escape_unprintable(entry.origin))


def each(work: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """The work on each item, in order; by threads where more than one is asked for.

    Beside a GPU the threads work ahead. Where networks compute on the same cores, a thread at work makes all others of
    theirs wait for the one that it shares a core with; there a whole batch is done at once, and then none.
    """
    if threads <= 1:
        yield from map(work, items)
    elif torch.cuda.is_available():
        yield from stage.ahead(work, items, threads, -(-2 * TOGETHER // threads))
    else:
        waiting = iter(items)
        with ThreadPoolExecutor(threads) as pool:
            while part := list(islice(waiting, TOGETHER)):
                yield from pool.map(work, part)


def needed(root: Path | None, what: str) -> Path:
    """The source's folder. Raises Usage where none was given, or there is none."""
    if root is None:
        raise Usage(f"give --root, {what}")
    if not root.exists():
        raise Usage(f"{root} is not there: give --root, {what}")
    return root


def inside(root: Path, path: str) -> Path:
    """A path of a list, under the root. Raises Refused for one that leaves it, links followed."""
    fault = fault_of_name(path)
    if fault == LEADS_OUT:
        raise Refused(f"its path {path!r} leaves the data set's folder")
    if fault:
        raise Refused(f"its path {path!r} {fault}")
    if not is_inside(root, root / path):
        raise Refused(f"its path {path!r} is a link that leaves the data set's folder: put the file itself there")
    return root / path


def read_file(root: Path, path: str) -> bytes:
    """The bytes of a file under the root.

    Raises Refused for a path that leaves it, for what is no regular file (a pipe would never end) and for too large a
    file, OSError for one that cannot be read.
    """
    handle = os.open(inside(root, path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Refused("it is no regular file")
        if about.st_size > MEGABYTES * 2**20:
            raise Refused(f"it is larger than {MEGABYTES} MB")
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def read_text_file(root: Path, path: str, what: str) -> str:
    """The text of a file under the root. Raises as `read_file` does, and Refused for what is not UTF-8."""
    try:
        return read_file(root, path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"its {what} {root / path} is not UTF-8: save it as such") from error


def escape_unprintable(text: str) -> str:
    """Text whose control and bidirectional characters, and bytes that are no UTF-8, stand as Python's escapes."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def labelled(name: Any, where: str) -> Weights:
    """Eight weights of a label's name; `neutral` is nothing. Raises Usage for a label nobody knows."""
    text = str(name).strip().lower()
    if text == "neutral":
        return NOTHING
    if text not in EMOTIONS:
        raise unknown("emotion", str(name), [*EMOTIONS, "neutral"], hint=where)
    return weights(text)


def names(paths: Sequence[str]) -> list[str]:
    """A picture's id for each path: the path as one word, with a digest where that alone is too long or not unique."""
    return unique_ids([PurePosixPath(path).with_suffix("").as_posix().replace("/", ".") for path in paths], paths)


def unique_ids(stems: Sequence[str], paths: Sequence[str]) -> list[str]:
    """An id for each stem: a digest of its path follows where the stem is too long, or another has it too.

    Ids name files, so two are the same if they differ in case alone, and their length is counted in bytes.
    """
    plain = [re.sub(r"[^\w.-]", "_", stem) for stem in stems]
    keys = [unicodedata.normalize("NFC", name).casefold() for name in plain]
    counts = Counter(keys)
    found: list[str] = []
    for path, name, key in zip(paths, plain, keys, strict=True):
        encoded = name.encode()
        if counts[key] > 1 or len(encoded) > STEM:
            digest = hashlib.sha256(path.encode("utf8", "surrogatepass")).hexdigest()[:12]
            name = f"{encoded[:STEM].decode(errors='ignore')}-{digest}"
        found.append(name)
    return found


def mixed(label: Any, numbered: Sequence[str], where: str) -> Weights:
    """Eight weights of any label: a name, a mixture such as `awe:0.7,fear:0.3`, eight numbers, or a number that
    `numbered` names. Raises Usage, with `where` it stands.
    """
    text = str(label).strip()
    if isinstance(label, list | tuple):
        return weights(label)
    if text.lstrip("-").isdigit():
        if not numbered:
            raise Usage(f"{where}: nobody knows which emotion {text} is, so name the numbers in order: labels=awe,...")
        if not 0 <= int(text) < len(numbered):
            raise Usage(f"{where}: there are {len(numbered)} labels, and none is {text}")
        return labelled(numbered[int(text)], where)
    return weights(text) if ":" in text else labelled(text, where)
