"""Anybody's pictures: a folder of them becomes samples to judge, and what could not be read is said.

What was asked of a picture is told in three ways, the later above the earlier:

    awe/1.png                 the name of the folder that it lies in
    emoscene's own chunk      in a PNG
    images.jsonl, *.csv       a row an image, anywhere in the folder; `file` counts from where the list lies

Beside `file` a list may have the columns emotion, emotion_scale, prompt, seed, scene, and image, the picture that this
one is an edit of. An emotion was asked where one alone has a weight above 0, at a scale above 0: what a judge sees in a
mixture, or in less of an emotion, is neither right nor wrong.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import open_image, read_params
from emoscene.core.migration import RENAMED_IN_2
from emoscene.core.paths import fault_of_name, is_inside, is_network_name, resolve_inside
from emoscene.core.request import read_number
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, Weights, emotion_weights
from emoscene.evaluation.predictions import Sample
from emoscene.pipeline.image_folder import INDEX, OLD_INDEX

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
LISTS = (INDEX, OLD_INDEX, "*.csv")
ALSO = {"file_name": "file", "label": "emotion", "caption": "prompt", "text": "prompt"}
"""What others call our columns."""


def find_samples(folder: Path) -> tuple[list[Sample], dict[str, str]]:
    """The pictures of any folder, and sentences for the part "missing" of its scores.

    Raises Usage for a folder without pictures and for a list that cannot be followed, Failure for a damaged list.
    """
    if not folder.is_dir():
        raise UsageError(f"no pictures in {folder}: it is not there")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    outside = [file for file in files if not is_inside(folder, file)]
    files = [file for file in files if file not in outside]
    if not files:
        raise UsageError(f"no pictures in {folder}: {', '.join(sorted(SUFFIXES))} are read, and no links that lead out")
    lists = sorted(path for name in LISTS for path in folder.rglob(name))
    listed = {file: row for path in lists for file, row in read_list(check_list(folder, path))}
    named = [(row["place"], row["image"]) for row in listed.values() if "image" in row]
    originals = {real_path(Path(place, name)) for place, name in named if is_inside(folder, Path(place, name))}
    files = [file for file in files if real_path(file) in listed or real_path(file) not in originals]
    samples, texts, lost, gone = list[Sample](), dict[str, int](), list[Path](), list[str]()
    for number, file in enumerate(files):
        try:
            told = read_chunk(file) | listed.pop(real_path(file), {})
        except (UsageError, EmosceneError):
            lost.append(file)
            continue
        if "image" in told and (original := original_of(told)) is None:
            gone.append(told.pop("image"))
        elif "image" in told:
            told["image"] = str(original)
        prompt = texts.setdefault(told["prompt"], len(files) + len(texts)) if "prompt" in told else number
        samples.append(make_sample(file, told, prompt))
    if not samples:
        raise UsageError(f"no pictures in {folder}: none of {len(files)} can be read, such as {lost[0]}")
    lost += outside
    return samples, missing_sentences([*lost, *listed], gone, len(files) + len(outside) + len(listed))


def make_sample(file: Path, told: Mapping[str, Any], prompt: int) -> Sample:
    """The picture as a sample; a row that names no emotion leaves the word to the folder."""
    name = file.parent.name.lower()
    asked = EMOTIONS.index(name) if name in EMOTIONS else -1
    if any(felt := told.get("emotion", NO_EMOTION)):
        above = [place for place, weight in enumerate(felt) if weight > 0]
        asked = above[0] if len(above) == 1 and told.get("emotion_scale", 1.0) > 0 else -1
    original = Path(told["image"]) if "image" in told else None
    return Sample(file, prompt, told.get("seed", 0), asked, told.get("scene", ""), told.get("prompt", ""), original)


def read_chunk(file: Path) -> dict[str, Any]:
    """What a picture's own chunk tells, nothing where it has none. Raises Usage for a file that is no picture."""
    try:
        row = read_params(file)
    except UsageError:
        open_image(file)
        return {}
    return {**read_columns(row.to_dict(), str(file)), "place": str(file.parent)}


def real_path(path: Path) -> Path:
    """Return a path with its links followed; one in a circle stays as it is."""
    return Path(os.path.realpath(path))


def check_list(folder: Path, path: Path) -> Path:
    """Return the path of a list. Raises Failure for one that is no file, or a link that leads out of the folder."""
    resolve_inside(folder, path.relative_to(folder).as_posix())
    if not path.is_file():
        raise EmosceneError(f"{path} is no file: take it away")
    return path


def read_list(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files that a list names, and what it tells of each. Raises Usage where it names none, or says what is off."""
    for number, row in enumerate(read_list_rows(path), 1):
        told = read_columns(row, f"{path}, row {number}")
        if "file" not in told:
            raise UsageError(
                f"{path}, row {number} names no file: name the column `file` (it has {', '.join(map(str, row))}), or "
                "take the list away"
            )
        file = resolve_inside(path.parent, told.pop("file"), f"{path}, row {number}")
        yield real_path(file), {**told, **({"place": str(path.parent)} if "image" in told else {})}


def read_list_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a list. Raises Failure where it is damaged."""
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return list(csv.DictReader(file))
        return [dict(run_dir.parse_json(line)) for line in path.read_text(encoding="utf8").split("\n") if line.strip()]
    except (ValueError, TypeError, csv.Error) as error:
        raise EmosceneError(f"{path} cannot be read ({error}): write it again, or take it away") from error


def read_columns(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a row says in the columns that are known; an empty one says nothing. Raises Usage for what is off."""
    called = ALSO if "version" in row else {**ALSO, **RENAMED_IN_2}  # without one, `strength` was the emotion scale
    named = {called.get(key, key): value for key, value in row.items() if value not in (None, "")}
    told = {}
    for key, kind in COLUMNS.items():
        if key in named:
            try:
                told[key] = kind(named[key])
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from error
            except (TypeError, ValueError) as error:
                raise UsageError(f"{where}: {named[key]!r} is no {key}; mend it, or leave it out") from error
    return told


def parse_emotion_cell(said: str | Mapping[str, float] | Sequence[float]) -> Weights:
    """Eight weights from a name, a mixture in words, a mapping or numbers; `neutral` is none."""
    return NO_EMOTION if isinstance(said, str) and said.strip().lower() == "neutral" else emotion_weights(said)


def words(said: Any) -> str:
    """Text; a number as its digits. Raises TypeError for a table or a list."""
    if not isinstance(said, str | int | float):
        raise TypeError(said)
    return str(said)


def whole(said: Any) -> int:
    """A whole number. Raises TypeError or ValueError for anything else."""
    if isinstance(said, bool | float):
        raise TypeError(said)
    return int(said)


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "file": words,
    "emotion": parse_emotion_cell,
    "emotion_scale": partial(read_number, "emotion_scale"),
    "prompt": words,
    "seed": whole,  # other programs have longer seeds than ours
    "scene": words,
    "image": words,
    "digests": dict,
}
"""The columns that are read, and what reads them."""


def original_of(told: Mapping[str, Any]) -> Path | None:
    """The picture that an edit was made from; None where it is gone, another one by now, or not to be followed.

    A name counts from the folder of the list or picture that says it, and does not leave it, for a stranger may have
    written it. Only with the sha256 of the file beside it, as `generate` notes it, may it lie anywhere: whoever knows
    that has seen the file.
    """
    name, digest = told["image"], told.get("digests", {}).get(told["image"])
    place = Path(told["place"])
    file = place / name if not fault_of_name(name) else None
    if file is None or not is_inside(place, file) or not os.path.isfile(file):  # noqa: PTH113  long names too
        if digest is None or "\0" in name or is_network_name(name):
            return None
        file = Path(name)
    try:
        open_image(file)
    except (UsageError, OSError, ValueError):  # a name that is too long or no text
        return None
    return file if digest in (None, sha256(file.read_bytes()).hexdigest()) else None


def missing_sentences(lost: Sequence[Path], gone: Sequence[str], count: int) -> dict[str, str]:
    """What is left out, in sentences."""
    told = {}
    if lost:
        names = ", ".join(str(file) for file in lost[:3]) + (", ..." if lost[3:] else "")
        told["pictures"] = f"{len(lost)} of {count} pictures cannot be read and were left out: {names}"
    if gone:
        told["originals"] = (
            f"the pictures that {len(gone)} edits were made from are gone, or no longer the same, or lie outside of "
            f"the folder without their sha256: bring back {gone[0]}"
        )
    return told
