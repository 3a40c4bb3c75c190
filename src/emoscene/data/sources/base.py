"""The contract of a source: it says how many pictures there are, what each is, and yields them in order.

Preparing numbers the pictures 0 .. len - 1 and asks for some of them, in any process, again after a crash: so a
source is a function of (root, config, number), with no state of its own. It is asked twice:

    survey     first pass: a `Note` of every picture, its labels, whether it is sound, what it is like
    pictures   second pass: those that the plan took, at the wanted size

A data set that lies in files only says what its entries are and where their bytes are: see `Files`. Another package
adds a source by an entry point in the group `emoscene.sources`.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeVar, final

import torch
from PIL import Image

from emoscene import stage
from emoscene.config import option
from emoscene.data.captions import worded
from emoscene.data.checks import Refused, opened
from emoscene.data.duplicates import look
from emoscene.data.notes import Note
from emoscene.data.records import Record
from emoscene.data.shapes import cut
from emoscene.emotions import EMOTIONS, NOTHING, Weights, weights
from emoscene.errors import Failure, Usage, unknown
from emoscene.paths import LEADS_OUT, fault_of_name, is_inside

S = TypeVar("S")
T = TypeVar("T")
TOGETHER = 32  # pictures under way at once, a batch of the networks


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

        `sizes` holds the sizes (W, H) that a picture may have: the square alone, unless buckets are asked for.
        """
        self.root, self.config, self.side, self.limit = root, config, side, limit
        self.sizes: Sequence[tuple[int, int]] = ((side, side),)

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
            entry = self.entry(number)
            record = entry.record
            note = Note(number, record.id, entry.origin, record.weights, record.scene, entry.split)
            data = self.data(number)
            image, mended = opened(data, entry.origin)
        except Refused as error:
            return replace(note, reason=str(error))
        except OSError as error:
            return replace(note, reason=f"it cannot be read: {error.strerror or error}")
        digest = hashlib.sha256(data).digest()
        return replace(note, mended=mended, worded=worded(record), digest=digest, look=look(image))

    def _picture(self, number: int) -> tuple[Record, Image.Image]:
        entry = self.entry(number)
        try:
            image, _ = opened(self.data(number), entry.origin)
        except (Refused, OSError) as error:
            raise Failure(
                f"{entry.origin} was sound and is no longer ({error}): prepare into a new folder, from files that stay"
            ) from error
        return entry.record, cut(image, self.sizes)


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
    if fault and fault != LEADS_OUT:
        raise Refused(f"its path {path!r} {fault}")
    if fault or not is_inside(root, root / path):
        raise Refused(f"its path {path!r} leaves the data set's folder")
    return root / path


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
    stems = (PurePosixPath(path).with_suffix("").as_posix().replace("/", ".") for path in paths)
    plain = [re.sub(r"[^\w.-]", "_", stem) for stem in stems]
    found: list[str] = []
    counts: dict[str, int] = {}
    for name in plain:
        counts[name] = counts.get(name, 0) + 1
    for path, name in zip(paths, plain, strict=True):
        unique = counts[name] == 1 and len(name) <= 100
        found.append(name if unique else f"{name[:100]}-{hashlib.sha256(path.encode()).hexdigest()[:12]}")
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
