"""Reads uploads whole before Gradio sees them, each within a size, all within what the folder may hold.

Gradio writes what arrives into its folder at once, and leaves it there if the client disconnects. So an upload first
goes to a file without a name, which vanishes with the request. Its bytes are counted as they are read, whatever its
headers say; its parts are counted as well, since Gradio opens a file for each; a silent client is disconnected.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from emoscene.core.image_files import MAX_MEGABYTES
from emoscene.web.form import UPLOADS

Message = MutableMapping[str, Any]
Ask = Callable[[], Awaitable[Message]]

UPLOAD_MEGABYTES = 4 * MAX_MEGABYTES  # of all files of one request
UPLOAD_BYTES = UPLOAD_MEGABYTES * 2**20 + 2**16
FOLDER_BYTES = 2 * 2**30  # of the temporary folder, uploads in progress included
SILENCE = 20.0  # seconds without a byte, after which a client is disconnected
SECONDS = 900.0  # of a whole upload
PIECE = 2**16
DRAIN_BYTES, DRAIN_SECONDS = 8 * 2**20, 2.0  # that are read of a request after its refusal
TOO_MUCH = f"that is too much: {UPLOADS} images of {MAX_MEGABYTES} MB, and {UPLOAD_MEGABYTES} MB at once"


class Refused(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        sentence: Why, and what to do instead.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Body:
    """A request's `receive`, which knows whether its body has ended."""

    def __init__(self, receive: Ask) -> None:
        self.receive, self.ended = receive, False

    async def __call__(self) -> Message:
        """Receive the next message."""
        message = await self.receive()
        self.ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read a little more of the body, and discard it."""
        read = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.ended and read < DRAIN_BYTES:
                    read += len((await self()).get("body", b""))


class TemporarySpace:
    """The folder of the page's files, and how much it may hold.

    Bytes that are arriving count twice, as Gradio copies them before the upload is deleted.

    Args:
        folder: Where Gradio keeps uploads and results.
        limit: Bytes.
    """

    def __init__(self, folder: str | Path, limit: int = FOLDER_BYTES) -> None:
        self.folder, self.limit = Path(folder), limit
        self.arriving = 0
        self.stored = 0

    async def measure(self) -> None:
        """Measure how much the folder holds.

        Raises:
            Refused: Where the folder is full.
        """
        self.stored = await asyncio.to_thread(folder_bytes, self.folder)
        self.check()

    def check(self) -> None:
        """Compare what the folder holds with its limit.

        Raises:
            Refused: Where the folder is full.
        """
        if self.stored + 2 * self.arriving >= self.limit:
            gigabytes = f"{self.limit / 2**30:.2g} GB"
            raise Refused(507, f"this page's files have filled their {gigabytes}: they go after an hour, try then")

    @contextmanager
    def receiving(self) -> Iterator[Callable[[int], None]]:
        """Count the bytes of one upload while it arrives.

        Yields:
            A function that takes the length of each piece, and raises Refused where it is too much.
        """
        mine = 0

        def add(length: int) -> None:
            nonlocal mine
            mine += length
            self.arriving += length
            if mine > UPLOAD_BYTES:
                raise Refused(413, TOO_MUCH)
            self.check()

        try:
            yield add
        finally:
            self.arriving -= mine
            self.stored += mine


class PartCounter:
    """Parses a multipart body, and refuses one with too many parts or with parts that are no files.

    Args:
        content_type: Of the request.

    Raises:
        Refused: Where that is not multipart/form-data with a boundary.
    """

    def __init__(self, content_type: str) -> None:
        kind, words = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not words.get(b"boundary"):
            raise Refused(400, "an upload is multipart/form-data, with its files as parts named files")
        self.parts = 0
        self.complete = False
        self.header, self.value = b"", b""
        calls = {
            "on_part_begin": self._begin,
            "on_header_field": self._read_field,
            "on_header_value": self._read_value,
            "on_header_end": self._end_header,
            "on_end": self._end,
        }
        try:
            self.parser = MultipartParser(words[b"boundary"], calls)  # type: ignore[arg-type]
        except FormParserError as error:
            raise Refused(400, "the upload's boundary is too long: send it with a shorter one") from error

    def write(self, piece: bytes) -> None:
        """Parse one more piece of the body.

        Args:
            piece: The bytes.

        Raises:
            Refused: Where the body is damaged, or a part is not allowed.
        """
        try:
            self.parser.write(piece)
        except FormParserError as error:
            raise Refused(400, "the upload's multipart body is damaged: send it again") from error

    def finish(self) -> None:
        """Check that the body is complete.

        Raises:
            Refused: Where it ended too early.
        """
        if not self.complete:
            raise Refused(400, "the upload's multipart body is damaged: send it again")

    def _begin(self) -> None:
        self.parts += 1
        if self.parts > UPLOADS:
            raise Refused(413, TOO_MUCH)

    def _read_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _end_header(self) -> None:
        if self.header.lower() == b"content-disposition":
            _, words = parse_options_header(self.value)
            if words.get(b"name") != b"files" or b"filename" not in words:
                raise Refused(400, "every part of an upload is a file, and is named files")
        self.header, self.value = b"", b""

    def _end(self) -> None:
        self.complete = True


async def read_upload(receive: Ask, content_type: str, space: TemporarySpace, add: Callable[[int], None]) -> IO[bytes]:
    """Read an upload whole.

    Args:
        receive: Of the request.
        content_type: Of the request.
        space: Where the file without a name lies.
        add: What `TemporarySpace.receiving` yields.

    Returns:
        The body, at its start. The caller closes it.

    Raises:
        Refused: Where it is too large, damaged, too slow, or incomplete.
    """
    counter = PartCounter(content_type)
    space.folder.mkdir(parents=True, exist_ok=True)
    body = SpooledTemporaryFile(2**20, dir=str(space.folder))  # noqa: SIM115
    try:
        async with deadline(SECONDS):
            async for piece in pieces(receive):
                add(len(piece))
                counter.write(piece)
                body.write(piece)
        counter.finish()
        body.seek(0)
    except OSError as error:
        body.close()
        raise Refused(507, f"the disk does not take the upload: {error.strerror or error}") from error
    except BaseException:
        body.close()
        raise
    return body


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Limit how long the block under `async with` may take.

    Args:
        seconds: The limit.

    Yields:
        Nothing.

    Raises:
        Refused: Where it takes longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Refused(408, "the request took too long: send it again") from error


async def pieces(receive: Ask) -> AsyncIterator[bytes]:
    """Read a request's body piece by piece.

    Args:
        receive: Of the request.

    Yields:
        The pieces.

    Raises:
        Refused: Where the client disconnects or falls silent.
    """
    more = True
    while more:
        try:
            async with asyncio.timeout(SILENCE):
                message = await receive()
        except TimeoutError as error:
            raise Refused(408, "the request fell silent: send it again") from error
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request broke off")
        more = message.get("more_body", False)
        yield message.get("body", b"")


def replay(body: IO[bytes], receive: Ask) -> Ask:
    """Make a `receive` that returns a body that was read, and then goes on with the request's own.

    Args:
        body: The body, at its start.
        receive: Of the request.

    Returns:
        The function.
    """
    ended = False

    async def receive_again() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        piece = body.read(PIECE)
        ended = len(piece) < PIECE
        return {"type": "http.request", "body": piece, "more_body": not ended}

    return receive_again


def folder_bytes(folder: Path) -> int:
    """Measure a folder.

    Args:
        folder: The folder.

    Returns:
        How many bytes its files have together, those of inner folders included.
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # Gradio removes files meanwhile
                total += os.lstat(Path(place) / name).st_size
    return total
