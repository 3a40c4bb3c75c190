"""Filters requests before Gradio sees them: known paths, known hosts, bounded bodies, no outside addresses.

Gradio serves the page, and offers more than one page needs: it answers whatever host and page a request names, some of
its routes ask for no password, its log-in may be tried without end, it has routes that fetch any public address for
anybody, it sets no bound on a request's size, and a mounted app of it does not check that a file named in a request was
uploaded (setting `has_launched` turns that check on).

    allowed_hosts.py   by which name, and from which page, a request may come
    content_policy.py  what the browser may run and request
    login_brake.py     how often a password may be tried
    uploads.py         how much may be uploaded
    fair_queue.py      whose call is next
    server.py          the server in front of the filter
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

from emoscene.core.file_reading import parse_json
from emoscene.core.image_files import MAX_MEGABYTES
from emoscene.web.allowed_hosts import AllowedHosts
from emoscene.web.content_policy import PolicySender, make_headers
from emoscene.web.login_brake import LoginBrake, client_key
from emoscene.web.page import STYLE, THEME, build_page
from emoscene.web.session import Session
from emoscene.web.uploads import (
    TOO_MUCH,
    UPLOAD_BYTES,
    Body,
    Refused,
    TemporarySpace,
    deadline,
    pieces,
    read_upload,
    replay,
)

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
UNDERSTOOD = "/gradio_api/info says what is understood"


class RequestFilter:
    """An ASGI app in front of another.

    Attributes:
        app: The other app.
        events: Numbers of the functions that may be called.
        hosts: Names of this page.
        space: Where uploads go.
        queue: Where calls wait, if it should know who listens.
        brake: Slows down guessing of the password; None where there is no password.
        is_user: Tells whether a request carries a log-in; None where nobody needs one.
        root_path: The path under which a proxy serves the page; a proxy may leave it in a request's path.
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
        root_path: str = "",
    ) -> None:
        self.app, self.events = app, {str(event) for event in events}
        self.hosts = hosts or AllowedHosts()
        self.space = space or TemporarySpace(get_upload_folder())
        self.queue, self.brake, self.is_user = queue, brake, is_user
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Let a request through, or answer in one sentence why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        body = Body(receive)
        scope = clean_scope(scope, self.root_path)
        try:
            self._check_head(scope)
            await self._forward(scope, body, PolicySender(send))
        except Refused as refused:
            await _send_refusal(body, send, refused)

    async def _forward(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Read a request's body, and hand the request on. Raises Refused before anything is answered."""
        path = scope["path"]
        if scope["method"] != "POST":
            with self._listening(scope):
                await self.app(scope, receive, send)
        elif path == "/gradio_api/upload":
            await self._upload(scope, receive, send)
        elif path.startswith("/login"):
            await self._log_in(scope, receive, send)
        else:
            body = await _read_body(receive)
            self._check_call(body, path)
            if path != "/gradio_api/cancel":
                await self.space.measure()
            await self.app(scope, _replay_body(body, receive), send)

    def _check_head(self, scope: Scope) -> None:
        """Raises Refused for a request whose method, path or headers are not allowed."""
        headers = every_header(scope)
        method, path = scope["method"], scope["path"]
        refusal = self.hosts.refuse(method, path, headers)
        if refusal:
            raise Refused(*refusal)
        paths = {"GET": LOOK, "HEAD": LOOK, "POST": SEND}
        if method not in paths:
            raise Refused(405, f"{method} is not understood here")
        if not paths[method].fullmatch(path) or is_too_long(path):
            raise Refused(404, "there is nothing here: the page is at /")
        if headers["content-length"] and headers["transfer-encoding"]:
            raise Refused(400, "a request says its length or comes in chunks, and not both")
        private = path.startswith("/gradio_api/") and path not in OPEN
        if private and self.is_user and not self.is_user(scope):
            raise Refused(401, "this page asks for a password: log in at / first")

    def _check_call(self, body: bytes, path: str) -> None:
        """Raises Refused for a body that is no call of the page's functions."""
        try:
            call = parse_json(body)
            text = json.dumps(call, ensure_ascii=False)
            text.encode()  # an answer that repeats NaN or half a character cannot be written
        except (ValueError, RecursionError) as error:
            sentence = f"this is not JSON of whole characters and finite numbers: {UNDERSTOOD}"
            raise Refused(400, sentence) from error
        if not isinstance(call, dict):
            raise Refused(400, f"this is no JSON object: {UNDERSTOOD}")
        if json_depth(call) > JSON_DEPTH:
            raise Refused(400, f"this is nested more than {JSON_DEPTH} deep: {UNDERSTOOD}")
        if FETCHED.search(text):
            raise Refused(400, "this page fetches nothing from elsewhere: upload the image itself")
        if "/queue/join" in path and str(call.get("fn_index")) not in self.events:
            raise Refused(400, "there is no such function: /gradio_api/info lists them")

    async def _upload(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Read an upload whole, and hand it on."""
        headers = every_header(scope)
        length = ",".join(headers["content-length"])
        if not length.isdigit():
            raise Refused(411, "an upload must say how long it is (Content-Length)")
        if int(length) > UPLOAD_BYTES:
            raise Refused(413, TOO_MUCH)
        await self.space.measure()
        with self.space.receiving() as add:
            body = await read_upload(receive, "".join(headers["content-type"]), self.space, add)
            with body:
                await self.app(scope, replay(body, receive), send)

    async def _log_in(self, scope: Scope, receive: Ask, send: Answer) -> None:
        """Try a password, unless this client has to wait."""
        body = await _read_body(receive)
        receive = _replay_body(body, receive)
        brake = self.brake
        if brake is None:
            await self.app(scope, receive, send)
            return
        client = client_key((scope.get("client") or ("",))[0])
        wait = brake.wait(client)
        if wait:
            raise Refused(429, f"too many wrong passwords: the next try is in {wait:.0f} s")

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < 400:
                    brake.forget(client)
                else:
                    brake.report_failure(client)
            await send(message)

        await self.app(scope, receive, send_and_count)

    def _listening(self, scope: Scope) -> AbstractContextManager[None]:
        """Count a listener of a call, while this lasts. Raises Refused where there is nothing to listen to."""
        match = LISTEN.fullmatch(scope["path"])
        if not match or self.queue is None:
            return nullcontext()
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        key = match["event"] or session
        if not self.queue.knows(key):
            raise Refused(404, "there is no such call: it was never made, or its answer has been taken")
        listening: AbstractContextManager[None] = self.queue.listening(key)
        return listening


def every_header(scope: Scope) -> defaultdict[str, list[str]]:
    """Read the headers of a request.

    Args:
        scope: The request, as ASGI has it.

    Returns:
        All values of each header, by its name in lower case.
    """
    headers: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in scope["headers"]:
        headers[name.decode("latin-1").lower()].append(value.decode("latin-1"))
    return headers


def clean_scope(scope: Scope, root_path: str = "") -> Scope:
    """Remove what a request says of the page's own address.

    Anybody could tell Gradio by the header `X-Gradio-Server` that its address is another. The path of a proxy is known
    (`root_path`), so it is taken off where the proxy left it.

    Args:
        scope: The request, as ASGI has it.
        root_path: The path under which a proxy serves the page.

    Returns:
        A copy.
    """
    headers = [pair for pair in scope["headers"] if pair[0].lower() != b"x-gradio-server"]
    path = scope["path"]
    if root_path and path.startswith(f"{root_path}/"):
        path = path.removeprefix(root_path)
    return {**scope, "headers": headers, "path": path}


def is_too_long(path: str) -> bool:
    """Tell whether a path is longer than one on the disk may be.

    Args:
        path: Of a request.

    Returns:
        Whether the path has more than `PATH_BYTES` bytes, or a part of it more than `PART_BYTES`.
    """
    encoded = path.encode("utf8", "surrogateescape")
    return len(encoded) > PATH_BYTES or max(map(len, encoded.split(b"/"))) > PART_BYTES


def json_depth(value: Any) -> int:
    """Measure how deep lists and objects are nested.

    Args:
        value: What `json.loads` returned.

    Returns:
        1 for a value that is neither a list nor an object.
    """
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
    return depth


async def _read_body(receive: Ask) -> bytes:
    """The whole body. Raises Refused where it is too long, too slow, or incomplete."""
    body = b""
    async with deadline(JSON_SECONDS):
        async for piece in pieces(receive):
            body += piece
            if len(body) > JSON_BYTES:
                remedy = "images go through /upload"
                raise Refused(413, f"the request is longer than {JSON_BYTES // 1024} kB: {remedy}")
    return body


def _replay_body(body: bytes, receive: Ask) -> Ask:
    """A `receive` that returns a body that was read, and then goes on with the request's own."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        if unread:
            return unread.pop()
        return await receive()

    return receive_again


async def _send_refusal(body: Body, send: Answer, refused: Refused) -> None:
    """Answer with a sentence, and close; the rest of the request is read first, or the client would lose the answer."""
    content = json.dumps({"detail": refused.sentence}).encode()
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
        *make_headers(),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": head})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    await body.drain()
    await send({"type": "http.response.body", "body": b""})


def mount_page(
    session: Session,
    password: str | None = None,
    hosts: AllowedHosts | None = None,
    report: Callable[[str], None] = print,
    root_path: str = "",
) -> RequestFilter:
    """Build the page behind its filter.

    Args:
        session: What generates and judges.
        password: Of the user `emoscene`; None where nobody is asked for one.
        hosts: Names of the page, loopback's if left out.
        report: Takes a sentence for whoever runs the page.
        root_path: The path under which a proxy serves the page.

    Returns:
        An ASGI app.
    """
    page = build_page(session)
    auth = None
    if password is not None:
        auth = "emoscene", password
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=auth,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        show_error=True,
        max_file_size=MAX_MEGABYTES * 2**20,
        theme=THEME,
        css_paths=[STYLE],
        root_path=root_path,
    )
    page.has_launched = True
    space = TemporarySpace(get_upload_folder())
    request_filter = RequestFilter(app, page.fns, hosts, space, page._queue, root_path=root_path)
    if password is not None:
        inner: Any = next(route.app for route in app.routes if isinstance(route, Mount))
        request_filter.brake, request_filter.is_user = LoginBrake(report), partial(has_token, inner)
    return request_filter


def has_token(app: Any, scope: Scope) -> bool:
    """Tell whether a request carries a cookie that Gradio gave to somebody who knew the password.

    Args:
        app: Gradio's app.
        scope: The request, as ASGI has it.

    Returns:
        Whether one of its cookies is a token of the app.
    """
    cookies = Request(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)
