"""The form of `people.json`, which `study analyse` writes: the report reads it as anybody may have written it."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from emoscene.evaluation.score_files import Number

KIND, RESULT, JUDGE = "people", "people.json", "people"


class PeopleSource(TypedDict):
    """A method or folder that images were from."""

    name: str
    folder: str
    fingerprint: str


class PeopleVerdict(TypedDict):
    """What people said of a source: figures, and the emotion that most saw in each image."""

    figures: dict[str, Any]
    seen: dict[str, str]


class PeopleResult(TypedDict):
    """What is read of the file."""

    design: str
    raters: int
    left_out: int
    answers: int
    alpha: Number | None
    sources: list[PeopleSource]
    judged: list[PeopleVerdict]
    cautions: list[str]
