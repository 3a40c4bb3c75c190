"""The contract of a source: it tells how many images there are, describes each, and yields them.

Preparing numbers the images 0 .. len - 1 and asks for some of them, in any process, again after a crash: so a
source is a function of (root, config, number), with no state of its own. It is asked twice:

    survey        first pass: a `ImageNote` of every image, its labels, whether it is sound, what it is like
    read_images   second pass: those that the plan took, at the wanted size

What it lists (`rows_listed`) is part of the call, and its files (`paths`) are compared with the notes when the same
call continues: see `listing`. One bad file costs one image at most; the reason is that of an `ImageRefused`.

A data set that consists of files only says what its entries are and where their bytes are: see `FileSource`. Another
package adds a source by an entry point in the group `emoscene.sources`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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

from emoscene.core import processes
from emoscene.core.config import option
from emoscene.core.errors import EmosceneError, UsageError, unknown_name
from emoscene.core.image_files import ImageRefused, read_image_file
from emoscene.core.image_origin import is_rendered
from emoscene.core.paths import LEADS_OUT, fault_of_name, is_inside
from emoscene.core.plain_text import escape_unprintable, format_count, show_value
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, Weights, emotion_weights
from emoscene.data.aspect_buckets import crop_to_bucket, share_kept
from emoscene.data.captions import caption_source, clean_text, digest_words
from emoscene.data.duplicates import hash_looks
from emoscene.data.image_checks import open_checked
from emoscene.data.notes import PANORAMA, ImageNote
from emoscene.data.records import Record

S = TypeVar("S")
T = TypeVar("T")
TOGETHER = 32  # images under way at once, a batch of the networks
STEM = 100  # bytes of an id that are the path's own
SIDE_UNKNOWN = 0  # pixels of an image, as long as the base is not loaded
LEAST_KEPT = 0.5  # share of an image below which the cut to a size is said


class Source(ABC):
    """Images with labels. A subclass is final and its file bears its name.

    Config: a frozen dataclass whose defaults run. licence: a sentence for the card. deals: whether it gives its
    images their roles itself, and makes only as many as are asked for. searches: whether it takes what lies below its
    root, so that nothing else may be written there.
    """

    Config: ClassVar[type]
    licence: ClassVar[str] = "The source states no licence: ask its authors before you pass anything on."
    deals: ClassVar[bool] = False
    searches: ClassVar[bool] = False

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        """root: where it reads; side: the wanted side of an image in pixels; limit: at most so many images.

        Its lists are read here, before the base is loaded: `side` is `SIDE_UNKNOWN` until then, and is set before any
        image is read.

        `sizes` holds the sizes (W, H) that an image may have: the square alone, unless buckets are asked for. `noted`
        holds the notes of the first pass in the second, where an image has to be the one that was noted.
        """
        self.root, self.config, self.side, self.limit = root, config, side, limit
        self.sizes: Sequence[tuple[int, int]] = ((side, side),)
        self.noted: pa.Table | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are; the limit is considered by a source that deals."""

    @abstractmethod
    def survey(self, numbers: Sequence[int]) -> Iterator[ImageNote]:
        """Describe images without keeping their pixels (first pass).

        Args:
            numbers: The images, each from 0 to len - 1.

        Yields:
            A note for each image, in order.
        """

    @abstractmethod
    def read_images(self, numbers: Sequence[int]) -> Iterator[tuple[Record, Image.Image]]:
        """Load images (second pass).

        Args:
            numbers: The images, each from 0 to len - 1.

        Yields:
            For each image, in order, its record and its pixels (RGB, one of `sizes`). The record's `caption` is the
            set's own or empty, its `caption_long` a longer caption or the attributes in words; `file` and `latent`
            are empty.
        """

    def facts(self) -> dict[str, Any]:
        """Summarize how the source was read, for the report.

        Returns:
            Entries of the manifest; empty by default.
        """
        return {}

    def official_splits(self) -> set[str] | None:
        """List the official splits that the images are in.

        Returns:
            Their names, an empty one for images in none; None where only the images themselves tell.
        """
        return None

    def rows_listed(self) -> Iterator[Any]:
        """List what the source's lists say of each image.

        Returns:
            Its name, label and words, as values that JSON can hold; nothing for a source without lists.
        """
        return iter(())

    def paths(self) -> Iterator[Path]:
        """List the files of this machine that images and words are read from.

        Returns:
            The paths; nothing for a source without files.
        """
        return iter(())

    def unused_files(self) -> list[Path]:
        """List the files that lie among the images and are neither images nor their words.

        Returns:
            The paths; nothing for a source that a list names every file of.
        """
        return []


@dataclass(frozen=True)
class Entry:
    """What a data set says of an image: its record without pixels, where it lies, the split that it is in."""

    record: Record
    origin: str
    split: str = ""


class FileSource(Source):
    """A source whose images are somebody's files: each is checked, hashed, and brought to size."""

    @dataclass(frozen=True)
    class Config:
        """How files are read."""

        workers: int = option(-1, "images read at once; -1 as many as there are threads", span=(-1, 1024), runtime=True)

    config: Any

    @abstractmethod
    def read_entry(self, number: int) -> Entry:
        """Read what the set says of an image.

        Args:
            number: The image, from 0 to len - 1.

        Returns:
            Its record without pixels, and where it lies.

        Raises:
            ImageRefused: The entry cannot be used.
        """

    @abstractmethod
    def read_bytes(self, number: int) -> bytes:
        """Read the file of an image.

        Args:
            number: The image, from 0 to len - 1.

        Returns:
            The bytes of the file.

        Raises:
            OSError: The file cannot be read.
            ImageRefused: The file must not be read.
        """

    @final
    def survey(self, numbers: Sequence[int]) -> Iterator[ImageNote]:
        """Each image read, checked and hashed; what cannot be used has a reason."""
        return self._map_threads(self._survey_one, numbers)

    @final
    def read_images(self, numbers: Sequence[int]) -> Iterator[tuple[Record, Image.Image]]:
        """The middle of each image, in the nearest of `sizes`."""
        return self._map_threads(self._load_one, numbers)

    def _map_threads(self, work: Callable[[int], T], numbers: Sequence[int]) -> Iterator[T]:
        """The work on each image, in order, by threads where more than one is asked for."""
        asked: int = self.config.workers
        machine = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        return map_threads(work, numbers, machine if asked < 0 else asked)

    def _survey_one(self, number: int) -> ImageNote:
        note = ImageNote(number, origin=f"number {number}")
        try:
            entry = self._entry(number)
            record = entry.record
            note = ImageNote(number, record.id, entry.origin, record.weights, record.scene, entry.split)
            note = replace(note, words=digest_words(record))
            data = self.read_bytes(number)
            image, mended = open_checked(data, entry.origin, self._enough())
            if share_kept(image.size, self.sizes) < LEAST_KEPT:
                mended = (*mended, PANORAMA)
        except ImageRefused as error:
            return replace(note, reason=escape_unprintable(str(error)))
        except OSError as error:
            return replace(note, reason=f"it cannot be read: {error.strerror or error}")
        digest, rendered = hashlib.sha256(data).digest(), is_rendered(image)
        return replace(
            note,
            mended=mended,
            worded=caption_source(record),
            digest=digest,
            rendered=rendered,
            looks=hash_looks(image),
        )

    def _load_one(self, number: int) -> tuple[Record, Image.Image]:
        origin = f"number {number}"
        try:
            entry = self._entry(number)
            origin, data = entry.origin, self.read_bytes(number)
            image, _ = open_checked(data, origin, self._enough())
        except (ImageRefused, OSError) as error:
            reason = escape_unprintable(str(error))
            raise EmosceneError(
                f"{origin} was sound and is no longer ({reason}): prepare into a new folder, from files that stay"
            ) from error
        found = {"digest": hashlib.sha256(data).digest(), "words": digest_words(entry.record)}
        if self.noted is not None and any(self.noted[key][number].as_py() != value for key, value in found.items()):
            raise EmosceneError(
                f"{origin} has changed since it was checked: prepare into a new folder, from files that stay"
            )
        return entry.record, crop_to_bucket(image, self.sizes)

    def _enough(self) -> int:
        """The side in pixels at which any image suffices."""
        return max(max(size) for size in self.sizes)

    def _entry(self, number: int) -> Entry:
        """What the set says of this image, in text that every file and every terminal can hold."""
        entry = self.read_entry(number)
        return replace(entry, record=clean_text(entry.record), origin=escape_unprintable(entry.origin))


def map_threads(work: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """Apply a function to items in order, in threads where more than one is asked for.

    Beside a GPU the threads work ahead. On a CPU the networks compute on the same cores, so there one batch is done
    at a time, and no thread works while the networks compute.

    Args:
        work: The function.
        items: Its inputs.
        threads: The number of threads; at most 1 means none.

    Yields:
        The results, in order.
    """
    if threads <= 1:
        yield from map(work, items)
    elif torch.cuda.is_available():
        yield from processes.prefetch_map(work, items, threads, -(-2 * TOGETHER // threads))
    else:
        waiting = iter(items)
        with ThreadPoolExecutor(threads) as pool:
            while part := list(islice(waiting, TOGETHER)):
                yield from pool.map(work, part)


def require_root(root: Path | None, what: str) -> Path:
    """Check the folder of a source.

    Args:
        root: The folder that the user named, if any.
        what: What to name, for the error.

    Returns:
        The folder.

    Raises:
        UsageError: No folder was named, or it does not exist, or is a file.
    """
    if root is None:
        raise UsageError(f"give --root, {what}")
    if not root.exists():
        raise UsageError(f"{root} is not there: give --root, {what}")
    if not root.is_dir():
        raise UsageError(f"{root} is a file: give --root, {what}")
    return root


def resolve_inside_root(root: Path, path: str) -> Path:
    """Resolve a path of a list, which must stay below the root.

    Args:
        root: The data set's folder.
        path: The path, relative to the root.

    Returns:
        The path on this machine.

    Raises:
        ImageRefused: The path leaves the root, directly or by a link.
    """
    fault = fault_of_name(path)
    if fault == LEADS_OUT:
        raise ImageRefused(f"its path {path!r} leaves the data set's folder")
    if fault:
        raise ImageRefused(f"its path {path!r} {fault}")
    if not is_inside(root, root / path):
        raise ImageRefused(f"its path {path!r} is a link that leaves the data set's folder: put the file itself there")
    return root / path


def read_file(root: Path, path: str) -> bytes:
    """Read a file below the root.

    Args:
        root: The data set's folder.
        path: The path, relative to the root.

    Returns:
        The bytes of the file.

    Raises:
        ImageRefused: The path leaves the root, is not a regular file (a pipe would never end), or the file is too
            large.
        OSError: The file cannot be read.
    """
    return read_image_file(resolve_inside_root(root, path))


def read_text_file(root: Path, path: str, what: str) -> str:
    """Read a text file below the root.

    Args:
        root: The data set's folder.
        path: The path, relative to the root.
        what: What the file holds, for the error.

    Returns:
        The text.

    Raises:
        ImageRefused: As for `read_file`, and for a file that is not UTF-8.
        OSError: The file cannot be read.
    """
    try:
        return read_file(root, path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageRefused(f"its {what} {root / path} is not UTF-8: save it as such") from error


def weights_of_label(name: Any, where: str) -> Weights:
    """Convert the name of an emotion to weights.

    Args:
        name: One of `EMOTIONS`, or `neutral`.
        where: Where the name stands, for the error.

    Returns:
        8 weights; zeros for `neutral`.

    Raises:
        UsageError: The name is not known.
    """
    text = str(name).strip().lower()
    if text == "neutral":
        return NO_EMOTION
    if text not in EMOTIONS:
        raise unknown_name("emotion", str(name), [*EMOTIONS, "neutral"], hint=where)
    return emotion_weights(text)


def ids_of_paths(paths: Sequence[str]) -> list[str]:
    """Make an id for each image from its path.

    Args:
        paths: Relative paths.

    Returns:
        The path as one word, with a digest where that word is too long or not unique.
    """
    return unique_ids([PurePosixPath(path).with_suffix("").as_posix().replace("/", ".") for path in paths], paths)


def unique_ids(stems: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Make an id for each stem. Ids name files, so they must differ in more than upper and lower case.

    Args:
        stems: The wanted ids [N].
        paths: The path of each image [N], whose digest is appended where a stem is too long or not unique.

    Returns:
        The ids [N], at most `records.LONGEST` bytes each.
    """
    plain = [re.sub(r"[^\w.-]", "_", stem) for stem in stems]
    keys = [unicodedata.normalize("NFC", name).casefold() for name in plain]
    counts = Counter(keys)
    ids: list[str] = []
    for path, name, key in zip(paths, plain, keys, strict=True):
        encoded = name.encode()
        if counts[key] > 1 or len(encoded) > STEM:
            digest = hashlib.sha256(path.encode("utf8", "surrogatepass")).hexdigest()[:12]
            name = f"{encoded[:STEM].decode(errors='ignore')}-{digest}"
        ids.append(name)
    return ids


def weights_of_any(label: Any, numbered: Sequence[str], where: str) -> Weights:
    """Convert any label to weights.

    Args:
        label: A name, a mixture such as `awe:0.7,fear:0.3` or `awe,fear` (half each), 8 numbers, or a number that
            `numbered` names.
        numbered: The names of the numbers from 0 on; may be empty.
        where: Where the label stands, for the error.

    Returns:
        8 weights.

    Raises:
        UsageError: The label is not understood.
    """
    text = str(label).strip()
    if isinstance(label, list | tuple) or ":" in text or "," in text:
        return _weights_of_mixture(label, where)
    if text.lstrip("-").isdigit():
        if not numbered:
            raise UsageError(
                f"{where}: nobody knows which emotion {text} is, so name the numbers in order: labels=awe,..."
            )
        if not 0 <= int(text) < len(numbered):
            raise UsageError(
                f"{where}: {format_count(len(numbered), 'label is', 'labels are')} named, and none is {text}"
            )
        return weights_of_label(numbered[int(text)], where)
    return weights_of_label(text, where)


def shares_of_votes(votes: Any, where: str) -> Weights:
    """Convert the votes of an image's viewers to shares.

    Args:
        votes: How many viewers named each emotion, or their shares: 8 numbers in the order of `EMOTIONS`, names with
            numbers such as `awe:12,fear:8`, a table of these, or a text in JSON; empty where nobody was asked.
        where: Where they stand, for the error.

    Returns:
        8 shares that sum to 1; zeros where nobody was asked.

    Raises:
        UsageError: The votes are not understood, or one is below 0.
    """
    given = votes
    if isinstance(votes, str) and votes.strip()[:1] in ("[", "{"):
        try:
            given = json.loads(votes)
        except ValueError as error:
            raise UsageError(f"{where}: the votes {show_value(votes)} are no JSON: mend them") from error
    if given is None or (isinstance(given, str) and not given.strip()):
        return NO_EMOTION
    if not isinstance(given, str | list | tuple | dict):
        raise UsageError(
            f"{where}: the votes {show_value(votes)} name no emotion: write a number for each, such as awe:12,fear:8, "
            "or leave the column out"
        )
    try:
        numbers = emotion_weights(given)
    except UsageError as error:
        raise UsageError(f"{where}: votes: {error}") from error
    total = sum(numbers)
    if min(numbers) < 0 or not total:
        raise UsageError(
            f"{where}: the votes {show_value(votes)} are no shares of viewers: write numbers above 0, such as "
            "awe:12,fear:8, or leave them empty"
        )
    return tuple(number / total for number in numbers)


def _weights_of_mixture(label: Any, where: str) -> Weights:
    """A mixture in any form; the error says where it stands."""
    try:
        weights = emotion_weights(label)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if not all(0 <= weight <= 1 for weight in weights):
        raise UsageError(
            f"{where}: the label {show_value(label)} has a share that is not from 0 to 1: write shares such as "
            "awe:0.7,fear:0.3"
        )
    return weights
