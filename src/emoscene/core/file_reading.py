"""Reads files that anybody may have written: the one place where their size, form and content are checked.

    read_json(folder / "scores.json", Scores, "evaluate again")

What is not a regular file (a pipe, a device) is refused before it is opened, so that nothing waits for it. A file that
is too large is refused before it is read. JSON and TOML hold finite numbers of 64 bits at most, and lists not too deep
in one another. What the content has to be is a schema, a `TypedDict` beside the code that owns the file; what a schema
does not name is left as it is, for later versions may have added it. Every refusal is one sentence with the file, the
field and the remedy. Names of files that stand in such a file are another matter: `paths.resolve_inside`.
"""

import hashlib
import json
import math
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from io import BufferedReader
from pathlib import Path, PurePath
from typing import Any

from emoscene.core.errors import EmosceneError
from emoscene.core.plain_text import SHOWN, shorten_text

MOST_BYTES = 256 * 2**20
"""Of a file that is read whole: a table, a list of prompts, the settings of a model."""
MOST_LISTED_BYTES = 4 * 2**30
"""Of a file with a line or an entry for each image, of which there may be a million."""
MOST_LINE_BYTES = 16 * 2**20
BLOCK_BYTES = 16 * 2**20
"""Read at once of a text file; a smaller one with NUL in it is left to its parser, which names the line."""
DEEPEST = 100  # lists and tables in one another
LARGEST_INT = 2**64  # seeds of other programs have 64 bits
ANYTHING = object
KINDS = {
    "dict_type": "is no table",
    "list_type": "is no list",
    "string_type": "is no text",
    "int_type": "is no whole number",
    "float_type": "is no number",
    "bool_type": "is neither true nor false",
    "none_required": "is not null",
}
"""What pydantic finds, in the words of these files."""
TABLE = dict[str, Any]
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class FileRefused(EmosceneError):
    """A file that cannot be read, or does not hold what it has to."""


class NotAFileError(OSError):
    """A folder, a pipe or a device where a file is wanted."""


class FileTooLargeError(OSError):
    """A file of more bytes than are read."""


def open_file(path: PurePath | str) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file.

    Returns:
        The open file.

    Raises:
        NotAFileError: It is a folder, a pipe or a device, which is not opened.
        OSError: It cannot be opened.
    """
    try:
        _check_regular(Path(path).stat().st_mode, path)
        handle = os.open(path, FLAGS)
    except ValueError as error:  # NUL, or half a character
        raise FileNotFoundError(0, f"no file can have that name ({error})", repr(path)) from error
    try:
        _check_regular(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _check_regular(mode: int, path: PurePath | str) -> None:
    if stat.S_ISDIR(mode):
        raise NotAFileError(0, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise NotAFileError(0, "it is no regular file", str(path))


def check_files_of(folder: Path) -> None:
    """Check that a folder's own files are files, before a library opens them by names of its own.

    Args:
        folder: The folder; nothing is checked where there is none.

    Raises:
        FileRefused: There is a pipe or a device among them, which a library would wait for.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.exists() and not path.is_dir() and not path.is_file():
            raise FileRefused(f"{path} is no regular file: take it away")


def read_bytes(path: PurePath | str, most: int = MOST_BYTES) -> bytes:
    """Read a regular file whole; its size is looked at first.

    Args:
        path: The file.
        most: The bytes that it may have.

    Returns:
        Its bytes.

    Raises:
        NotAFileError: It is a folder, a pipe or a device.
        FileTooLargeError: It is larger.
        OSError: It cannot be read.
    """
    with _open_bounded(path, most) as (file, too_large):
        data = file.read(most + 1)
    if len(data) > most:
        raise too_large
    return data


@contextmanager
def _open_bounded(path: PurePath | str, most: int) -> Iterator[tuple[BufferedReader, FileTooLargeError]]:
    """Open a file whose size is not above a bound, and give the error for it if it grows."""
    with open_file(path) as file:
        too_large = FileTooLargeError(0, f"it is larger than {most / 2**20:,.0f} MB", str(path))
        if os.fstat(file.fileno()).st_size > most:
            raise too_large
        yield file, too_large


def _read_text_bytes(path: PurePath | str, most: int) -> bytes:
    """Read a text file whole, and no further than its first NUL: text has none, and a sparse file is full of them."""
    blocks, total = [], 0
    with _open_bounded(path, most) as (file, too_large):
        while block := file.read(BLOCK_BYTES):
            total += len(block)
            if total > most:
                raise too_large
            blocks.append(block)
            if len(block) == BLOCK_BYTES and b"\0" in block:
                raise NotAFileError(0, "it holds NUL, and is no text", str(path))
    return b"".join(blocks)


def digest_file(path: Path | str) -> str:
    """Digest a regular file.

    Args:
        path: The file.

    Returns:
        The SHA-256 digest, 64 hexadecimal digits.

    Raises:
        OSError: It is no regular file, or cannot be read.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_utf8(path: Path | str, most: int = MOST_BYTES) -> str:
    """Read a text file.

    Args:
        path: The file.
        most: The bytes that it may have.

    Returns:
        The text, without a byte order mark.

    Raises:
        FileRefused: The file cannot be read, is too large, or is not UTF-8.
    """
    try:
        data = _read_text_bytes(path, most)
    except OSError as error:
        raise FileRefused(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileRefused(f"{path} is not UTF-8 (line {line}): save it as UTF-8") from error


def parse_json(text: str | bytes, finite: bool = True) -> Any:
    """Parse JSON that anybody may have written.

    Args:
        text: The JSON; bytes are UTF-8.
        finite: Whether numbers have to be finite.

    Returns:
        Python's values.

    Raises:
        ValueError: It is not JSON, holds numbers that are not finite (`NaN`, `Infinity`, `1e999`) or have more than
            64 bits, or is nested too deep.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        read_float = _read_float if finite else float
        value = json.loads(text, parse_constant=read_float, parse_float=read_float, parse_int=_read_int)
    except RecursionError as error:
        raise ValueError("its lists lie too deep in one another") from error
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    return value


def _read_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shorten_text(text, SHOWN)} is not a finite number")
    return number


def _read_int(text: str) -> int:
    number = int(text)
    _check_int(number)
    return number


def _check_int(number: int) -> None:
    if abs(number) > LARGEST_INT:
        raise ValueError("a number has more than 64 bits")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        deeper: list[Any] = []
        for outer in level:
            deeper += _list_inside(outer)
        if not deeper:
            return
        level = deeper
    raise ValueError("its lists lie too deep in one another")


def _list_inside(value: Any) -> list[Any]:
    """The lists and tables in a list or table."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list):
        inside = value
    return [one for one in inside if isinstance(one, dict | list)]


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML that anybody may have written.

    Args:
        text: The TOML.

    Returns:
        Its table.

    Raises:
        ValueError: It is not TOML, or holds what `parse_json` refuses.
    """
    try:
        table = tomllib.loads(text, parse_float=_read_float)
    except RecursionError as error:
        raise ValueError("its lists lie too deep in one another") from error
    _check_depth(table)
    _check_ints(table)
    return table


def _check_ints(value: Any) -> None:
    """The same bound as JSON's, for which tomllib has no hook."""
    if isinstance(value, int):
        _check_int(value)
    elif isinstance(value, dict):
        for inner in value.values():
            _check_ints(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_ints(inner)


def read_json(
    path: Path | str,
    schema: Any = TABLE,
    remedy: str = "write it again",
    most: int = MOST_BYTES,
    finite: bool = True,
) -> Any:
    """Read a JSON file of a known form.

    Args:
        path: The file.
        schema: What it has to hold: a `TypedDict`, or any other type.
        remedy: What to do with a damaged file, as the end of the sentence.
        most: The bytes that it may have.
        finite: Whether its numbers have to be finite.

    Returns:
        Its content, with what the schema does not name.

    Raises:
        FileRefused: The file cannot be read, or is damaged.
    """
    try:
        value = parse_json(_read_text_bytes(path, most), finite)
    except OSError as error:
        raise FileRefused(f"{path} cannot be read ({error.strerror or error}): {remedy}") from error
    except ValueError as error:
        raise FileRefused(f"{path} is damaged ({describe_fault(error)}): {remedy}") from error
    return check_value(value, schema, path, remedy)


def read_json_lines(
    path: Path | str, schema: Any = TABLE, remedy: str = "mend that line, or take it out", whole: bool = True
) -> Iterator[tuple[int, Any]]:
    """Read lines of JSON of a known form, one at a time; empty ones are left out.

    Args:
        path: The file.
        schema: What a line has to hold.
        remedy: What to do with a damaged file, as the end of the sentence.
        whole: Whether a last line without a line break counts; a writer that was killed leaves one that is torn.

    Yields:
        The number of a line, from 1 on, and its value.

    Raises:
        FileRefused: The file cannot be read, or a line is damaged.
    """
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size > MOST_LISTED_BYTES:
                raise FileTooLargeError(0, f"it is larger than {MOST_LISTED_BYTES / 2**30:.0f} GB", str(path))
            number = 0
            while line := file.readline(MOST_LINE_BYTES + 1):
                number += 1
                if not line.strip() or not (whole or line.endswith(b"\n")):
                    continue
                yield number, _read_line(line, schema, f"{path}:{number}", remedy)
    except OSError as error:
        raise FileRefused(f"{path} cannot be read ({error.strerror or error}): {remedy}") from error


def _read_line(line: bytes, schema: Any, where: str, remedy: str) -> Any:
    if len(line) > MOST_LINE_BYTES:
        raise FileRefused(f"{where} is damaged (a line of more than {MOST_LINE_BYTES // 2**20} MB): {remedy}")
    try:
        value = parse_json(line)
    except ValueError as error:
        raise FileRefused(f"{where} is damaged ({describe_fault(error)}): {remedy}") from error
    return check_value(value, schema, where, remedy)


def check_value(value: Any, schema: Any, where: Path | str, remedy: str) -> Any:
    """Check that a value has the form that a schema says.

    Args:
        value: What `parse_json` or `parse_toml` returned.
        schema: A `TypedDict`, or any other type. Nothing is converted: a number in quotes is no number, and neither
            is `true`.
        where: The file, for the error.
        remedy: What to do with a damaged file, as the end of the sentence.

    Returns:
        The value itself.

    Raises:
        FileRefused: It has another form; the sentence names the field.
    """
    fault = find_fault(value, schema)
    if fault:
        raise FileRefused(f"{where} is damaged ({fault}): {remedy}")
    return value


def find_fault(value: Any, schema: Any) -> str:
    """Find the first field of a value that is not as a schema says.

    Args:
        value: Any value of Python's own types.
        schema: A `TypedDict`, or any other type.

    Returns:
        The field and what is wrong with it; empty for a value of that form.
    """
    if schema is ANYTHING:
        return ""
    validate, refused = _make_validator(schema)
    try:
        validate(value, strict=True)
    except refused as error:
        return _describe_first(error.errors(include_url=False)[0])
    return ""


@cache
def _make_validator(schema: Any) -> tuple[Any, Any]:
    """pydantic's check of a schema, imported with the first file that is read: `--help` reads none."""
    pydantic = import_module("pydantic")
    return pydantic.TypeAdapter(schema).validate_python, pydantic.ValidationError


def _describe_first(fault: Mapping[str, Any]) -> str:
    field = ""
    for part in fault["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}"
    field = shorten_text(field.removeprefix("."), SHOWN)
    if fault["type"] == "missing":
        return f"{field} is missing"
    message = KINDS.get(fault["type"]) or str(fault["msg"]).removeprefix("Input ")
    return shorten_text(f"{field or 'it'} {message}", 2 * SHOWN)


def describe_fault(error: Exception) -> str:
    """Describe an error of a parser for a sentence.

    Args:
        error: The error.

    Returns:
        Its first line, shortened; for text that is not UTF-8, that.
    """
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    text = str(error) or type(error).__name__
    return shorten_text(text.splitlines()[0], SHOWN)
