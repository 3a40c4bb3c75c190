"""Anybody's images: a folder of them becomes samples to judge, and what could not be read is said.

What was asked of an image is told in three ways, the later above the earlier:

    awe/1.png                 the name of the folder that it lies in
    emoscene's own chunk      in a PNG
    images.jsonl, *.csv       a row an image, anywhere in the folder; `file` counts from where the list lies

Beside `file` a list may have the columns emotion, emotion_scale, prompt, seed, scene, and image, what this image
is an edit of. An emotion was asked where one alone has a weight above 0, at a scale above 0: what a judge sees in a
mixture, or in less of an emotion, is neither right nor wrong.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import TABLE, digest_file, read_json_lines, read_utf8
from emoscene.core.image_files import FORMATS, IMAGE_ENDINGS
from emoscene.core.images import open_image, read_image, read_params, read_texts
from emoscene.core.migration import RENAMED_IN_2
from emoscene.core.paths import fault_of_name, is_inside, is_network_name, resolve_inside
from emoscene.core.plain_text import format_count, show_value
from emoscene.core.request import read_number
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, Weights, emotion_weights
from emoscene.evaluation.predictions import Sample
from emoscene.pipeline.image_folder import INDEX, OLD_INDEX

SMALLEST = 16  # pixels of a side
LISTS = (INDEX, OLD_INDEX, "*.csv")
ALSO = {"file_name": "file", "label": "emotion", "caption": "prompt", "text": "prompt"}
"""What others call our columns."""


def find_samples(folder: Path) -> tuple[list[Sample], dict[str, str]]:
    """Find the images of any folder.

    Args:
        folder: The folder.

    Returns:
        The images, and sentences for the part "missing" of the scores.

    Raises:
        UsageError: The folder has no images, or a list cannot be used.
        EmosceneError: A list is damaged.
    """
    if not folder.exists():
        raise UsageError(f"no images in {folder}: it is not there, give a folder of images")
    if not folder.is_dir():
        raise UsageError(f"no images in {folder}: it is a file, give the folder that it lies in")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    outside = [file for file in files if not is_inside(folder, file)]
    files = [file for file in files if file not in outside]
    if not files:
        raise UsageError(f"no images in {folder}: {', '.join(FORMATS)} are read, and no links that lead out")
    lists: list[Path] = []
    for name in LISTS:
        lists += folder.rglob(name)
    listed: dict[Path, dict[str, Any]] = {}
    for path in sorted(lists):
        listed.update(read_list(check_list(folder, path)))
    originals = set()
    for row in listed.values():
        if "image" in row and is_inside(folder, Path(row["place"], row["image"])):
            originals.add(real_path(Path(row["place"], row["image"])))
    files = [file for file in files if real_path(file) in listed or real_path(file) not in originals]
    samples, texts, lost, gone = list[Sample](), dict[str, int](), dict[Path, str](), list[str]()
    for number, file in enumerate(files):
        try:
            columns = read_chunk(file) | listed.pop(real_path(file), {})
        except (UsageError, EmosceneError) as error:
            lost[file] = str(error.__cause__ or error)
            continue
        if "image" in columns:
            original = original_of(columns)
            if original is None:
                gone.append(columns.pop("image"))
            else:
                columns["image"] = str(original)
        prompt = number
        if "prompt" in columns:
            prompt = texts.setdefault(columns["prompt"], len(files) + len(texts))
        samples.append(make_sample(file, columns, prompt))
    if not samples:
        first = next(iter(lost))
        raise UsageError(f"no images in {folder}: none of {len(files)} can be read, such as {first}: {lost[first]}")
    for file in outside:
        lost[file] = "it is a link that leads out of the folder"
    for file in listed:
        lost[file] = "it is in a list and not in the folder"
    return samples, missing_sentences(lost, gone, len(files) + len(outside) + len(listed))


def make_sample(file: Path, columns: Mapping[str, Any], prompt: int) -> Sample:
    """Make a sample of an image.

    Args:
        file: The image.
        columns: The columns that its chunk and its row in a list give.
        prompt: The number of its prompt.

    Returns:
        The sample; without an emotion in `told`, the name of the folder counts.
    """
    name = file.parent.name.lower()
    asked, original = -1, None
    if name in EMOTIONS:
        asked = EMOTIONS.index(name)
    weights = columns.get("emotion", NO_EMOTION)
    if any(weights):
        asked = -1
        above = [place for place, weight in enumerate(weights) if weight > 0]
        if len(above) == 1 and columns.get("emotion_scale", 1.0) > 0:
            asked = above[0]
    if "image" in columns:
        original = Path(columns["image"])
    return Sample(
        file, prompt, columns.get("seed", 0), asked, columns.get("scene", ""), columns.get("prompt", ""), original
    )


def read_chunk(file: Path) -> dict[str, Any]:
    """Read the settings in an image's own chunk.

    Args:
        file: The image.

    Returns:
        The columns; empty where there is no chunk.

    Raises:
        UsageError: The file is not an image, or too small to be judged.
    """
    read = read_image(file, enough=1)
    if min(read.size) < SMALLEST:
        raise UsageError("it has {} x {} pixels, fewer than {} a side".format(*read.size, SMALLEST))
    if "emoscene" not in read_texts(read.image):
        return {}
    row = read_params(file)
    return {**read_columns(row.to_dict(), str(file)), "place": str(file.parent)}


def real_path(path: Path) -> Path:
    """Resolve the links of a path; a circular link stays as it is.

    Args:
        path: The path.

    Returns:
        The resolved path.
    """
    return Path(os.path.realpath(path))


def check_list(folder: Path, path: Path) -> Path:
    """Check the path of a list.

    Args:
        folder: The folder of images.
        path: The list.

    Returns:
        The path.

    Raises:
        EmosceneError: It is not a file, or a link that leads out of the folder.
    """
    resolve_inside(folder, path.relative_to(folder).as_posix())
    if not path.is_file():
        raise EmosceneError(f"{path} is no file: take it away")
    return path


def read_list(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read a list.

    Args:
        path: The list.

    Yields:
        The files that it names, and the columns of each.

    Raises:
        UsageError: A row names no file, or a value is wrong.
        EmosceneError: The list is damaged.
    """
    for number, row in enumerate(read_list_rows(path), 1):
        columns = read_columns(row, f"{path}, row {number}")
        if "file" not in columns:
            raise UsageError(
                f"{path}, row {number} names no file: name the column `file` (it has {', '.join(map(str, row))}), or "
                "take the list away"
            )
        file = resolve_inside(path.parent, columns.pop("file"), f"{path}, row {number}")
        if "image" in columns:
            columns["place"] = str(path.parent)
        yield real_path(file), columns


def read_list_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a list.

    Args:
        path: A CSV file or JSON lines.

    Returns:
        The rows.

    Raises:
        EmosceneError: The list is damaged.
    """
    remedy = "write it again, or take it away"
    if path.suffix != ".csv":
        return [row for _, row in read_json_lines(path, TABLE, remedy)]
    try:
        return list(csv.DictReader(StringIO(read_utf8(path), newline="")))
    except csv.Error as error:
        raise EmosceneError(f"{path} cannot be read ({error}): {remedy}") from error


def read_columns(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read the known columns of a row; empty values are left out.

    Args:
        row: The row.
        where: Where it stands, for the error.

    Returns:
        The values by column.

    Raises:
        UsageError: A value is wrong.
    """
    called = ALSO if "version" in row else {**ALSO, **RENAMED_IN_2}  # without one, `strength` was the emotion scale
    named = {called.get(key, key): value for key, value in row.items() if value not in (None, "")}
    columns = {}
    for key, kind in COLUMNS.items():
        if key in named:
            try:
                columns[key] = kind(named[key])
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from error
            except (TypeError, ValueError) as error:
                raise UsageError(f"{where}: {show_value(named[key])} is no {key}; mend it, or leave it out") from error
    return columns


def parse_emotion_cell(emotion: str | Mapping[str, float] | Sequence[float]) -> Weights:
    """Convert an emotion to weights.

    Args:
        emotion: A name, a mixture in words, a mapping, or 8 numbers.

    Returns:
        8 weights; zeros for `neutral`.

    Raises:
        UsageError: The emotion is not understood.
    """
    if isinstance(emotion, str) and emotion.strip().lower() == "neutral":
        return NO_EMOTION
    return emotion_weights(emotion)


def words(value: Any) -> str:
    """Convert a value to text.

    Args:
        value: Text or a number.

    Returns:
        The text.

    Raises:
        TypeError: It is a table or a list.
    """
    if not isinstance(value, str | int | float):
        raise TypeError(value)
    return str(value)


def plain_words(value: Any) -> str:
    """Convert a value to text that models and files can take.

    Args:
        value: Text or a number.

    Returns:
        The text, halves of characters replaced.

    Raises:
        TypeError: It is a table or a list.
    """
    return words(value).encode("utf8", "replace").decode()


def whole(value: Any) -> int:
    """Convert a value to a whole number.

    Args:
        value: The value.

    Returns:
        The number.

    Raises:
        TypeError: It is of another type.
        ValueError: It is not a number.
    """
    if isinstance(value, bool | float):
        raise TypeError(value)
    return int(value)


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "file": words,
    "emotion": parse_emotion_cell,
    "emotion_scale": partial(read_number, "emotion_scale"),
    "prompt": plain_words,
    "seed": whole,  # other programs have longer seeds than ours
    "scene": plain_words,
    "image": words,
    "digests": dict,
}
"""The columns that are read, and what reads them."""


def original_of(columns: Mapping[str, Any]) -> Path | None:
    """Find the image that an edit was made from.

    A name is relative to the folder of the list or image that gives it, and must stay inside, because a third party may
    have written it. With the sha256 of the file beside it, as `generate` records it, it may be anywhere.

    Args:
        columns: The columns of the edit.

    Returns:
        The file; None where it does not exist, has changed, or must not be read.
    """
    name, digest = columns["image"], columns.get("digests", {}).get(columns["image"])
    place = Path(columns["place"])
    file = None
    if not fault_of_name(name):
        file = place / name
    if file is None or not is_inside(place, file) or not os.path.isfile(file):  # noqa: PTH113  long names too
        if digest is None or "\0" in name or is_network_name(name):
            return None
        file = Path(name)
    try:
        open_image(file)
    except (UsageError, OSError, ValueError):  # a name that is too long or no text
        return None
    if digest in (None, digest_file(file)):
        return file
    return None


def missing_sentences(lost: Mapping[Path, str], gone: Sequence[str], count: int) -> dict[str, str]:
    """Describe what was left out.

    Args:
        lost: Why each file cannot be read.
        gone: The originals that were not found.
        count: The number of images.

    Returns:
        Sentences for the part "missing" of the scores.
    """
    sentences = {}
    if lost:
        names = [f"{file} ({reason})" for file, reason in lost.items()]
        of_all = f"{len(lost)} of {format_count(count, 'image')}"
        verb = "was" if len(lost) == 1 else "were"
        sentences["images"] = f"{of_all} cannot be read and {verb} left out: {', '.join(names)}"
    if gone:
        sentences["originals"] = (
            f"the images that {format_count(len(gone), 'edit was', 'edits were')} made from are gone, or no longer the "
            f"same, or lie outside of the folder without their sha256: bring back {gone[0]}"
        )
    return sentences
