"""The answers of raters, as the page saves them, read and checked.

    {"study": ID, "version": 1, "rater": "9f3c...", "block": 2, "began": "2026-...", "ended": "...",
     "screen": [360, 740], "answers": [{"trial": "t12", "value": 1, "ms": 2310}, ...], "checksum": "1a2b3c4d"}

One file is one rater. The checksum finds what was changed by hand or damaged on its way; it is no protection against
somebody who computes it anew. What is left out is told, a sentence each, and the other answers count.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len
from typing_extensions import TypedDict

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_value, parse_json, read_utf8
from emoscene.core.plain_text import show_value
from emoscene.evaluation.study.design import is_answer
from emoscene.evaluation.study.making import Study

MOST_BYTES = 1_000_000
DATABASE = "answers.sqlite"
DATABASE_ENDINGS = (".sqlite", ".db")
TABLE = "CREATE TABLE IF NOT EXISTS answers (rater TEXT PRIMARY KEY, block INTEGER, received TEXT, body TEXT)"
ANEW = "ask the rater for the file as the page saved it"


class Answer(TypedDict):
    """The answer to one trial."""

    trial: Annotated[str, Len(1, 32)]
    value: Any
    ms: Annotated[int, Ge(0)]


class Table(TypedDict):
    """What a rater sends."""

    study: str
    version: Literal[1]
    rater: Annotated[str, Len(8, 64)]
    block: int
    began: str
    ended: str
    screen: list[int]
    answers: list[Answer]
    checksum: str


@dataclass(frozen=True)
class Answers:
    """One rater's answers.

    Attributes:
        rater: The rater's random number.
        block: The block that was shown.
        values: The answers by trial and by check.
        ms: How long each took, in milliseconds.
        checksum: Over all of it.
    """

    rater: str
    block: int
    values: dict[str, Any]
    ms: dict[str, int]
    checksum: str


def check_answers(table: Any, study: Study, where: str) -> Answers:
    """Check what a rater sent.

    Args:
        table: What was sent, as JSON gives it.
        study: The study.
        where: What it is called in an error.

    Returns:
        The answers.

    Raises:
        EmosceneError: They are damaged, were changed by hand, or belong to another study.
    """
    check_value(table, Table, where, ANEW)
    if table["study"] != study.id:
        raise EmosceneError(
            f"{where} is of another study ({show_value(table['study'])}, and this one is {study.id}): leave it out"
        )
    if compute_checksum(table) != table["checksum"]:
        raise EmosceneError(f"{where} was changed after the page saved it: {ANEW}")
    names = [answer["trial"] for answer in table["answers"]]
    expected: list[str] = []
    if 0 <= table["block"] < len(study.blocks):
        expected = [*study.blocks[table["block"]], *study.checks]
    if sorted(names) != sorted(expected):
        raise EmosceneError(f"{where} does not answer each question of its block once: {ANEW}")
    for answer in table["answers"]:
        trial = study.trials.get(answer["trial"])
        if trial is not None and not is_answer(study.design, trial.items, answer["value"]):
            value = show_value(answer["value"])
            raise EmosceneError(f"{where} answers {answer['trial']} with {value}, which is no answer: {ANEW}")
    values = {answer["trial"]: answer["value"] for answer in table["answers"]}
    ms = {answer["trial"]: answer["ms"] for answer in table["answers"]}
    return Answers(table["rater"], table["block"], values, ms, table["checksum"])


def compute_checksum(table: Mapping[str, Any]) -> str:
    """Compute the checksum of answers as the page does.

    Args:
        table: What a rater sends.

    Returns:
        CRC-32 in eight hexadecimal digits.
    """
    lines = [f"{table['study']}|{table['rater']}|{table['block']}|{table['began']}|{table['ended']}"]
    for answer in table["answers"]:
        value = json.dumps(answer["value"], separators=(",", ":"))
        lines.append(f"{answer['trial']}={value}={answer['ms']}")
    return f"{zlib.crc32(chr(10).join(lines).encode()):08x}"


def read_answers(
    places: Iterable[str | Path], study: Study, on_message: Callable[[str], None] = print
) -> list[Answers]:
    """Read the answers of all raters; what cannot be used is told and left out.

    Args:
        places: Files that the page saved, folders of these, or the database of `study serve`.
        study: The study.
        on_message: Takes a sentence for what is left out.

    Returns:
        The answers, one for each rater.

    Raises:
        UsageError: A place is not there, or nothing can be used.
    """
    found: dict[str, tuple[Answers, str]] = {}
    for where, read in _list_texts(places):
        try:
            answers = check_answers(parse_json(read()), study, where)
        except ValueError as error:
            on_message(f"{where} is no JSON ({error}): {ANEW}; it is left out")
            continue
        except EmosceneError as error:
            on_message(f"{error}; it is left out")
            continue
        before = found.get(answers.rater)
        if before is None:
            found[answers.rater] = answers, where
        elif before[0].checksum == answers.checksum:
            on_message(f"{where} holds the same answers as {before[1]}: they count once")
        else:
            on_message(f"{where} is by the same rater as {before[1]}, with other answers: the first count")
    if not found:
        raise UsageError("no answers can be used: give the files that the page saved, or the database of study serve")
    return [answers for answers, _ in found.values()]


def _list_texts(places: Iterable[str | Path]) -> Iterator[tuple[str, Callable[[], str]]]:
    """What each text is called, and what reads it."""
    for place in map(Path, places):
        if place.is_dir():
            files = sorted([*place.glob("*.json"), *place.glob("*.sqlite")])
            files = [file for file in files if file.name not in {"study.json", "manifest.json"}]
            if not files:
                raise UsageError(f"{place} has no answers: give the folder of the files that the page saved")
            yield from _list_texts(files)
        elif not place.is_file():
            raise UsageError(f"{place} is not there: give files of answers, or a folder of them")
        elif place.suffix in DATABASE_ENDINGS:
            yield from _list_rows(place)
        else:
            yield str(place), _reader(place)


def _reader(place: Path) -> Callable[[], str]:
    return lambda: read_utf8(place, MOST_BYTES)


def _list_rows(place: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    for rater, body in read_database(place):
        text = str(body)
        yield f"{place}, rater {show_value(rater)},", lambda text=text: text  # type: ignore[misc]


def read_database(place: Path) -> Sequence[tuple[str, str]]:
    """Read the database of `study serve`.

    Args:
        place: The file.

    Returns:
        The rater and the text of each answer, in the order in which they came.

    Raises:
        EmosceneError: It is no such database.
    """
    try:
        with closing(sqlite3.connect(f"{place.resolve().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT rater, body FROM answers ORDER BY received, rater").fetchall()
    except sqlite3.Error as error:
        raise EmosceneError(f"{place} cannot be read ({error}): give the database that study serve wrote") from error
    return [(str(rater), str(body)) for rater, body in rows]
