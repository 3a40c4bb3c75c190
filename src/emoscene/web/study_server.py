"""Serves the page of a study and collects the answers: `emoscene study serve`.

    GET  /           the page, with the block that fewest raters have answered or begun
    POST /answers    what the page sends at its end; checked as `study analyse` checks it, and kept in `answers.sqlite`

Nothing else is served, no key, no answers. A body is bounded in size and time, and a client in how often it may ask.
Answers that are sent twice are kept once; others by the same rater are refused, so nothing is overwritten.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse

from emoscene.core.errors import EmosceneError
from emoscene.core.file_reading import parse_json
from emoscene.evaluation.study.answers import DATABASE, MOST_BYTES, TABLE, Answers, check_answers
from emoscene.evaluation.study.making import PAGE, Study, read_study
from emoscene.web import bind_socket
from emoscene.web.allowed_hosts import AllowedHosts, is_loopback
from emoscene.web.login_brake import client_key
from emoscene.web.server import serve_page

BODY_SECONDS = 20.0
WINDOW = 60.0  # seconds in which a client's requests are counted
LOOKS, SENDINGS = 60, 10
"""How many pages, and how many sets of answers, a client may ask for and send in a window."""
CLIENTS = 4096  # remembered at once
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class RateLimit:
    """Counts what each client asks for.

    Args:
        most: How often a client may ask in a window.
        clock: Returns the time in seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self.times: OrderedDict[str, deque[float]] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Count a request, unless there were too many.

        Args:
            client: What `client_key` returned.

        Returns:
            Whether it may pass.
        """
        now = self.clock()
        times = self.times.setdefault(client, deque())
        self.times.move_to_end(client)
        while times and now - times[0] > WINDOW:
            times.popleft()
        while len(self.times) > CLIENTS:
            self.times.popitem(last=False)
        if len(times) >= self.most:
            return False
        times.append(now)
        return True


class AnswerStore:
    """The database of a study's answers.

    Args:
        folder: The folder of the study.
        blocks: How many blocks the study has.
    """

    def __init__(self, folder: Path, blocks: int) -> None:
        self.file = folder / DATABASE
        self.begun = [0] * blocks
        with closing(sqlite3.connect(self.file, timeout=30)) as database, database:
            database.execute(TABLE)

    def add(self, answers: Answers, body: str) -> bool:
        """Keep the answers of a rater.

        Args:
            answers: The answers, checked.
            body: Their text.

        Returns:
            Whether they are kept: False where the rater has sent others before.
        """
        row = answers.rater, answers.block, datetime.now(UTC).isoformat(), body
        with closing(sqlite3.connect(self.file, timeout=30)) as database, database:
            database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)
            query = database.execute("SELECT body FROM answers WHERE rater = ?", (answers.rater,))
            (kept,) = query.fetchone()
        return bool(kept == body)

    def choose_block(self) -> int:
        """Choose the block for the next rater.

        Returns:
            The one with the fewest answers; of several, the one that was begun least often since the start.
        """
        counts = [0] * len(self.begun)
        with closing(sqlite3.connect(self.file, timeout=30)) as database:
            for block, count in database.execute("SELECT block, COUNT(*) FROM answers GROUP BY block"):
                if block in range(len(counts)):
                    counts[block] = count
        block = min(range(len(counts)), key=lambda number: (counts[number] + self.begun[number] / 2, number))
        self.begun[block] += 1
        return block


def build_app(
    folder: str | Path,
    hosts: AllowedHosts | None = None,
    on_message: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Build the app of a study.

    Args:
        folder: The folder that `study make` wrote.
        hosts: The names by which the page may be asked.
        on_message: Takes a sentence for each set of answers.
        clock: Returns the time in seconds.

    Returns:
        The app.

    Raises:
        UsageError: It is no study.
        EmosceneError: The study is damaged.
    """
    folder, study = Path(folder), read_study(folder)
    page = (folder / PAGE).read_text(encoding="utf8")
    store, names = AnswerStore(folder, len(study.blocks)), hosts or AllowedHosts()
    looks, sendings = RateLimit(LOOKS, clock), RateLimit(SENDINGS, clock)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def filter_request(request: Request, forward: Callable[[Request], Awaitable[Response]]) -> Response:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            headers.setdefault(name, []).append(value)
        refusal = names.refuse(request.method, request.url.path, headers)
        limit = sendings if request.method == "POST" else looks
        if refusal is None and not limit.allow(_name_client(request)):
            refusal = 429, "too many requests: wait a minute, and try again; the page keeps the answers"
        if refusal is not None:
            status, sentence = refusal
            return JSONResponse({"detail": sentence}, status, HEADERS)
        response = await forward(request)
        response.headers.update(HEADERS)
        return response

    def show_page() -> str:
        return page.replace('data-post="" data-block=""', f'data-post="answers" data-block="{store.choose_block()}"', 1)

    async def take_answers(request: Request) -> JSONResponse:
        try:
            body = await asyncio.wait_for(_read_body(request), BODY_SECONDS)
        except TimeoutError:
            return JSONResponse({"detail": "the answers came too slowly: send them again"}, 408)
        if body is None:
            return JSONResponse({"detail": f"the answers have more than {MOST_BYTES:,} bytes"}, 413)
        status, sentence = await run_in_threadpool(_keep, study, store, body)
        on_message(sentence)
        return JSONResponse({"detail": sentence}, status)

    app.middleware("http")(filter_request)
    app.get("/", response_class=HTMLResponse)(show_page)
    app.post("/answers")(take_answers)
    return app


def _keep(study: Study, store: AnswerStore, body: bytes) -> tuple[int, str]:
    """Check answers and keep them; the status and a sentence."""
    try:
        answers = check_answers(parse_json(body), study, "what was sent")
        text = body.decode()
    except ValueError:
        return 400, "what was sent is no JSON: send it as the page does"
    except EmosceneError as error:
        return 400, str(error)
    if not store.add(answers, text):
        return 409, f"rater {answers.rater} has sent other answers before, and those are kept"
    return 200, f"the answers of rater {answers.rater} to block {answers.block} are kept"


async def _read_body(request: Request) -> bytes | None:
    """The body of a request; None for one that is too large."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None
    return body


def _name_client(request: Request) -> str:
    if request.client is None:
        return "unknown"
    return client_key(request.client.host)


def serve_study(
    folder: str | Path, host: str, port: int, allow_host: Iterable[str], on_message: Callable[[str], None]
) -> None:
    """Serve a study until a signal ends it.

    Args:
        folder: The folder that `study make` wrote.
        host: The address to listen on.
        port: 0 to 65535, where 0 is any free port.
        allow_host: More names by which the page may be asked.
        on_message: Takes each sentence for whoever serves it.

    Raises:
        UsageError: It is no study, or the port is taken.
    """
    listener = bind_socket(host, port)
    with listener:
        address, port = listener.getsockname()[:2]
        app = build_app(folder, AllowedHosts.of(host, address, allow_host), on_message)
        if ":" in host:
            host = f"[{host}]"
        listener.listen()
        on_message(f"http://{host}:{port}/  (Ctrl-C ends it; answers go to {Path(folder) / DATABASE})")
        if not is_loopback(address):
            on_message("everybody who reaches this address can take part: put a proxy with TLS before it")
        serve_page(app, listener)
