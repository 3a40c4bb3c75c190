"""The files of a folder of scores, `scores.json`, `verdicts.jsonl` and `draws.npz`, as anybody may have written them.

The report formats figures, multiplies costs and looks names up, and the card of an export quotes them. So the form of
both files is a schema here, and is checked once, where they are read.
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired
from zipfile import BadZipFile, ZipFile

import numpy as np
from annotated_types import Len
from typing_extensions import TypedDict

from emoscene.core.errors import UsageError
from emoscene.core.file_reading import FileRefused, check_value, describe_fault, read_json, read_json_lines
from emoscene.core.migration import migrate_scores
from emoscene.core.paths import resolve_inside
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import Array

SCORES, VERDICTS, DRAWN = "scores.json", "verdicts.jsonl", "draws.npz"
MOST_DRAWN = 2**20  # bytes of all draws together
AGAIN = "delete the folder, and evaluate into it again"
SIDE = len(EMOTIONS)
Number = float | int


class Figure(TypedDict):
    """A figure with its interval and the number of images; null where it could not be measured."""

    n: int
    value: Number | None
    low: Number | None
    high: Number | None


class Metric(Figure):
    """A figure by what is no judge, and by what."""

    by: str


class EmotionFigures(TypedDict):
    """The figures of one emotion that are shown."""

    f1: Number


class JudgeTables(TypedDict):
    """What a judge has beside its figures."""

    per_emotion: NotRequired[dict[str, EmotionFigures]]
    confusion: NotRequired[Annotated[list[Annotated[list[Number], Len(SIDE, SIDE)]], Len(SIDE, SIDE)]]
    reliability: NotRequired[list[Annotated[list[Number], Len(3, 3)]]]
    not_judged: NotRequired[list[str]]


class Costs(TypedDict):
    """What training and generating cost; null where nobody counted."""

    trainable: NotRequired[Number | None]
    bytes: NotRequired[Number | None]
    training_images: NotRequired[Number | None]
    training_seconds: NotRequired[Number | None]
    seconds_per_image: NotRequired[Number | None]
    images_per_second: NotRequired[Number | None]
    peak_memory_mb: NotRequired[Number | None]


class Scores(Costs):
    """What every `scores.json` has, in today's form; those of a folder of images say nothing of a method."""

    images: int
    judges: Annotated[dict[str, dict[str, Any]], Len(1)]
    metrics: dict[str, Metric]
    shortcuts: NotRequired[dict[str, Metric]]
    needs: NotRequired[dict[str, str]]
    method: NotRequired[str | None]
    base: NotRequired[str | None]
    sampler: NotRequired[str | None]
    emotion_scale: NotRequired[Number | None]
    guidance_scale: NotRequired[Number | None]
    num_inference_steps: NotRequired[int | None]
    prompts: NotRequired[list[Any] | None]
    seeds: NotRequired[list[int] | None]
    adapters: NotRequired[list[str | None]]
    loras: NotRequired[list[str]]
    settings: NotRequired[dict[str, Any] | None]
    judged_by: NotRequired[dict[str, str | None]]
    cost: NotRequired[Costs]
    robustness: NotRequired[dict[str, dict[str, Figure]]]
    missing: NotRequired[dict[str, str]]
    faults: NotRequired[list[str]]
    cautions: NotRequired[list[str]]
    remarks: NotRequired[list[str]]


class Verdict(TypedDict):
    """A row of `verdicts.jsonl`: an image, what was asked of it, and the emotion that each judge sees."""

    file: Any
    prompt: str
    seed: int
    asked: Literal["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"] | None
    scene: str | None
    kept: Number | None
    object: NotRequired[str | None]
    object_kept: NotRequired[Number | None]
    seen: dict[str, str]


def read_scores(folder: Path) -> dict[str, Any]:
    """Read the `scores.json` of a folder, of any version.

    Args:
        folder: What `evaluate` made.

    Returns:
        Its content, in today's form.

    Raises:
        FileRefused: It cannot be read, or is not what `evaluate` writes.
    """
    file = resolve_inside(folder, SCORES)
    table: dict[str, Any] = read_json(file, remedy=AGAIN)
    try:
        scores = migrate_scores(table)
    except UsageError as error:
        raise FileRefused(f"{file} is damaged ({error}): {AGAIN}") from error
    check_value(scores, Scores, file, AGAIN)
    for name, judge in scores["judges"].items():
        check_judge(judge, f"{file}, judge {name!r},", AGAIN)
    return scores


def check_judge(judge: Mapping[str, Any], where: str, remedy: str) -> None:
    """Check the figures of a judge.

    Args:
        judge: The figures and tables.
        where: Where they stand, for the error.
        remedy: What to do, for the error.

    Raises:
        FileRefused: They are not what `evaluate` writes.
    """
    tables, figures = {}, {}
    for key, value in judge.items():
        if key in JudgeTables.__annotations__:
            tables[key] = value
        else:
            figures[key] = value
    check_value(tables, JudgeTables, where, remedy)
    check_value(figures, dict[str, Figure | None], where, remedy)


def read_verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the `verdicts.jsonl` of a folder.

    Args:
        folder: What `evaluate` made.

    Yields:
        The rows; none where there is no such file.

    Raises:
        FileRefused: It cannot be read, or a row is not what `evaluate` writes.
    """
    file = resolve_inside(folder, VERDICTS)
    if file.exists():
        for _, row in read_json_lines(file, Verdict, AGAIN):
            yield row


def save_draws(file: Path, draws: Mapping[str, Array]) -> None:
    """Write bootstrap draws.

    Args:
        file: The file to write.
        draws: The value and the draws of each figure [1 + K], by its name.
    """
    with file.open("wb") as opened:
        np.savez_compressed(opened, **draws)  # type: ignore[arg-type]


def read_draws(folder: Path) -> dict[str, Array]:
    """Read the bootstrap draws of a folder.

    Args:
        folder: What `evaluate` made.

    Returns:
        The value and the draws of each figure [1 + K], by its name; none where an earlier version kept none.

    Raises:
        FileRefused: The file is not what `evaluate` writes.
    """
    file = resolve_inside(folder, DRAWN)
    if not file.is_file():
        return {}
    draws: dict[str, Array] = {}
    try:
        with ZipFile(file) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > MOST_DRAWN:
            raise ValueError(f"it unpacks to {size} bytes")
        with np.load(file, allow_pickle=False) as opened:
            for name in opened.files:
                draws[name] = opened[name]
                if draws[name].ndim != 1 or draws[name].dtype != np.float64 or not len(draws[name]):
                    raise ValueError(f"{name!r} is no row of numbers")
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise FileRefused(f"{file} is damaged ({describe_fault(error)}): {AGAIN}") from error
    return draws
