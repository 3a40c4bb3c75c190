"""What may go in and out of the page: a closed list of ways, known askers, bounded bodies, no outside addresses.

Gradio does the serving. In front of it stands this door, because Gradio's own are wider than one page needs: it
answers whatever name and page a request comes from, some of its routes ask for no password, its log-in may be tried
without end, it has routes that fetch any public address for whoever asks, no bound on a request's words, and a mounted
app of it does not check that a file named in a request was uploaded (`has_launched` stands for that check). A policy in
each answer's header keeps the browser from asking anyone else for anything.

    hosts.py        whose requests they may be
    brake.py        how often a password may be tried
    uploads.py      how much may be uploaded
    fair_queue.py   whose call is next
    server.py       the server behind which all that stands
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_upload_folder
from starlette.requests import Request
from starlette.routing import Mount

from emoscene.core.images import MAX_MEGABYTES
from emoscene.web.allowed_hosts import AllowedHosts
from emoscene.web.form import UPLOADS
from emoscene.web.login_brake import LoginBrake, client_key
from emoscene.web.page import STYLE, THEME, build_page
from emoscene.web.session import Session
from emoscene.web.uploads import UPLOAD_BYTES, Body, Refused, TemporarySpace, deadline, pieces, read_upload, replay

Message = MutableMapping[str, Any]
Ask = Callable[[], Awaitable[Message]]
Answer = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]

CALLS = "call/(v2/)?(generate|compare|edit|judge|restore)"
LOOK = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/login_check/?|/(static|assets)/.*"
    r"|/gradio_api/(info/?|startup-events|theme\.css|queue/data|heartbeat/\w+|upload_progress|login_check/?"
    rf"|file=(?![a-z]{{2,}}:).*|{CALLS}/\w+)"
)
SEND = re.compile(rf"/login/?|/gradio_api/(queue/join/?|cancel|reset/?|upload|{CALLS}/?)")
FETCHED = re.compile(r'"path"\s*:\s*"\s*[a-z][a-z0-9+.-]+:', re.IGNORECASE)
LISTEN = re.compile(rf"/gradio_api/(queue/data|{CALLS}/(?P<event>\w+))")
OPEN = {"/gradio_api/login_check", "/gradio_api/login_check/", "/gradio_api/theme.css"}  # without a password, too
PATH_BYTES = 2048  # of a request's path; the disk knows no longer ones
PART_BYTES = 255  # of what stands between two slashes
JSON_BYTES = 64 * 1024
JSON_DEPTH = 32
JSON_SECONDS = 30.0
HEADERS = {
    "content-security-policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class RequestFilter:
    """An ASGI app in front of another.

    Attributes:
        app: The other.
        events: Numbers of the functions that may be called.
        hosts: Names of this page.
        space: Where uploads go.
        queue: Where calls wait, if it should know who listens.
        brake: On guessing the password; None where there is none.
        is_user: Tells whether a request carries a log-in; None where nobody needs one.
    """

    def __init__(
        self,
        app: Any,
        events: Iterable[int],
        hosts: AllowedHosts | None = None,
        space: TemporarySpace | None = None,
        queue: Any = None,
        brake: LoginBrake | None = None,
        is_user: Callable[[Scope], bool] | None = None,
    ) -> None:
        self.app, self.events = app, {str(event) for event in events}
        self.hosts = hosts or AllowedHosts()
        self.space = space or TemporarySpace(get_upload_folder())
        self.queue, self.brake, self.is_user = queue, brake, is_user

    async def __call__(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Let a request through, or say in one sentence why not."""
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _shut(send))
            return
        body = Body(receive)
        try:
            self._check_head(scope)
            await self._pass(clean_scope(scope), body, _add_headers(send))
        except Refused as refused:
            await _say(body, send, refused.status, refused.sentence)

    async def _pass(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Read what a request says, and hand it on. Raises Refused, before anything is answered."""
        path = scope["path"]
        if scope["method"] != "POST":
            with self._listening(scope):
                await self.app(scope, receive, send)
        elif path == "/gradio_api/upload":
            await self._upload(scope, receive, send)
        elif path.startswith("/login"):
            await self._log_in(scope, receive, send)
        else:
            body = await _read(receive)
            self._check_words(body, path)
            if path != "/gradio_api/cancel":
                await self.space.measure()
            await self.app(scope, _replay_body(body, receive), send)

    def _check_head(self, scope: Scope) -> None:
        """Raise Refused for a request that its first lines give away."""
        headers = every_header(scope)
        refused = self.hosts.refuse(scope["method"], scope["path"], headers)
        if refused:
            raise Refused(*refused)
        ways = {"GET": LOOK, "HEAD": LOOK, "POST": SEND}
        if scope["method"] not in ways:
            raise Refused(405, f"{scope['method']} is not understood here")
        if not ways[scope["method"]].fullmatch(scope["path"]) or is_too_long(scope["path"]):
            raise Refused(404, "there is nothing here: the page is at /")
        if headers["content-length"] and headers["transfer-encoding"]:
            raise Refused(400, "a request says its length or comes in chunks, and not both")
        private = scope["path"].startswith("/gradio_api/") and scope["path"] not in OPEN
        if private and self.is_user and not self.is_user(scope):
            raise Refused(401, "this page asks for a password: log in at / first")

    def _check_words(self, body: bytes, path: str) -> None:
        """Raise Refused for words that are off."""
        try:
            asked = json.loads(body)
            text = json.dumps(asked, ensure_ascii=False)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "this is not JSON: /gradio_api/info says what is understood") from error
        if not isinstance(asked, dict):
            raise Refused(400, "this is no JSON object: /gradio_api/info says what is understood")
        if json_depth(asked) > JSON_DEPTH:
            raise Refused(400, f"this is nested more than {JSON_DEPTH} deep: /gradio_api/info says what is understood")
        if FETCHED.search(text):
            raise Refused(400, "this page fetches nothing from elsewhere: upload the picture itself")
        if "/queue/join" in path and str(asked.get("fn_index")) not in self.events:
            raise Refused(400, "there is no such function: /gradio_api/info lists them")

    async def _upload(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Read an upload whole, and hand it on."""
        headers = every_header(scope)
        length = ",".join(headers["content-length"])
        if not length.isdigit():
            raise Refused(411, "an upload must say how long it is (Content-Length)")
        if int(length) > UPLOAD_BYTES:
            raise Refused(413, f"that is too much: {UPLOADS} pictures of {MAX_MEGABYTES} MB at once")
        await self.space.measure()
        with self.space.receiving() as add:
            body = await read_upload(receive, "".join(headers["content-type"]), self.space, add)
            with body:
                await self.app(scope, replay(body, receive), send)

    async def _log_in(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Try a password, unless this client has to wait."""
        body = await _read(receive)
        client = client_key((scope.get("client") or ("",))[0])
        wait = self.brake.wait(client) if self.brake else 0.0
        if wait:
            raise Refused(429, f"too many wrong passwords: the next try is in {wait:.0f} s")

        async def watched(message: Message) -> None:
            if self.brake and message["type"] == "http.response.start":
                (self.brake.succeed if message["status"] < 400 else self.brake.fail)(client)
            await send(message)

        await self.app(scope, _replay_body(body, receive), watched)

    def _listening(self, scope: Scope) -> AbstractContextManager[None]:
        """Note who listens to a call, while this lasts."""
        match = LISTEN.fullmatch(scope["path"])
        if not match or self.queue is None:
            return nullcontext()
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        listening: AbstractContextManager[None] = self.queue.listening(match["event"] or session)
        return listening


def every_header(scope: Scope) -> defaultdict[str, list[str]]:
    """Return every value of every header, by its name in lower case."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in scope["headers"]:
        found[name.decode("latin-1").lower()].append(value.decode("latin-1"))
    return found


def clean_scope(scope: Scope) -> Scope:
    """Return a request without the header by which anyone could tell Gradio another address of its own."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != b"x-gradio-server"]}


def is_too_long(path: str) -> bool:
    """Tell whether a path is longer than the disk's may be."""
    said = path.encode("utf8", "surrogateescape")
    return len(said) > PATH_BYTES or max(map(len, said.split(b"/"))) > PART_BYTES


def json_depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
        level = inner
    return depth


async def _read(receive: Ask) -> bytes:
    """Return the body, whole. Raises Refused where it is too long, too slow, or broken off."""
    body = b""
    async with deadline(JSON_SECONDS):
        async for piece in pieces(receive):
            body += piece
            if len(body) > JSON_BYTES:
                remedy = "pictures go through /upload"
                raise Refused(413, f"the request is longer than {JSON_BYTES // 1024} kB: {remedy}")
    return body


def _replay_body(body: bytes, receive: Ask) -> Ask:
    """A body that was read, to be read again."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def _add_headers(send: Answer) -> Answer:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *((k.encode(), v.encode()) for k, v in HEADERS.items())]
        await send(message)

    return marked


async def _say(body: Body, send: Answer, status: int, sentence: str) -> None:
    """Answer with a sentence, and close; what the client still sends is let by, or it would lose the answer."""
    said = json.dumps({"detail": sentence}).encode()
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(said)).encode()),
        (b"connection", b"close"),
        *((k.encode(), v.encode()) for k, v in HEADERS.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": said, "more_body": True})
    await body.drain()
    await send({"type": "http.response.body", "body": b""})


async def _shut(send: Answer) -> None:
    await send({"type": "websocket.close", "code": 1003})


def mount_page(
    studio: Session,
    password: str | None = None,
    hosts: AllowedHosts | None = None,
    report: Callable[[str], None] = print,
) -> RequestFilter:
    """Build the page behind its door.

    Args:
        studio: What paints.
        password: Of the user `emoscene`; None where nobody is asked for one.
        hosts: Names of the page, loopback's if left out.
        report: Takes a sentence for whoever runs the page.

    Returns:
        An ASGI app.
    """
    page = build_page(studio)
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=None if password is None else ("emoscene", password),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        show_error=True,
        max_file_size=MAX_MEGABYTES * 2**20,
        theme=THEME,
        css_paths=[STYLE],
    )
    page.has_launched = True
    door = RequestFilter(app, page.fns, hosts, TemporarySpace(get_upload_folder()), page._queue)
    if password is not None:
        inner: Any = next(route.app for route in app.routes if isinstance(route, Mount))
        door.brake, door.is_user = LoginBrake(report), partial(has_token, inner)
    return door


def has_token(app: Any, scope: Scope) -> bool:
    """Tell whether a request carries a cookie that Gradio's app gave to whoever knew the password."""
    cookies = Request(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)
