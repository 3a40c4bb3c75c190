"""What may go in and out of the page: a closed list of ways, bounded bodies, no outside addresses.

Gradio does the serving. In front of it stands this door, because Gradio's own are wider than one page needs: it has
routes that fetch any public address for whoever asks, no bound on a request's words, and a mounted app of it does not
check that a file named in a request was uploaded (`has_launched` stands for that check). A policy in each answer's
header keeps the browser from asking anyone else for anything.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

from emoscene.pictures import MEGABYTES
from emoscene.web.page import STYLE, THEME, build
from emoscene.web.studio import Studio
from emoscene.web.wish import UPLOADS

Message = MutableMapping[str, Any]
Ask = Callable[[], Awaitable[Message]]
Answer = Callable[[Message], Awaitable[None]]

CALLS = "call/(v2/)?(generate|compare|refeel|judge|restore)"
LOOK = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/login_check/?|/(static|assets)/.*"
    r"|/gradio_api/(info/?|startup-events|theme\.css|queue/data|heartbeat/\w+|upload_progress|login_check/?"
    rf"|file=(?![a-z]{{2,}}:).*|{CALLS}/\w+)"
)
SEND = re.compile(rf"/login/?|/gradio_api/(queue/join/?|cancel|reset/?|upload|{CALLS}/?)")
FETCHED = re.compile(r'"path"\s*:\s*"\s*[a-z][a-z0-9+.-]+:', re.IGNORECASE)
JSON_BYTES = 64 * 1024
UPLOAD_BYTES = UPLOADS * MEGABYTES * 2**20 + 2**16
HEADERS = {
    "content-security-policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Door:
    """An ASGI app in front of another."""

    def __init__(self, app: Any, events: Iterable[int]) -> None:
        self.app, self.events = app, {str(event) for event in events}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Ask, send: Answer) -> None:
        """Let a request through, or say in one sentence why not."""
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _shut(send))
            return
        upload = scope["path"] == "/gradio_api/upload"
        refused = self._refused(scope, upload)
        if not refused and scope["method"] == "POST" and not upload:
            body, refused = await _read(receive)
            odd = "" if refused or scope["path"].startswith("/login") else self._odd(body, scope["path"])
            refused = (400, odd) if odd else refused
            receive = _again(body, receive)
        if refused:
            await _say(send, *refused)
        else:
            await self.app(scope, receive, _marked(send))

    def _odd(self, body: bytes, path: str) -> str:
        """What is wrong with the words of a request, if anything."""
        try:
            asked = json.loads(body)
            text = json.dumps(asked, ensure_ascii=False)
        except (ValueError, RecursionError):
            return "this is not JSON: /gradio_api/info says what is understood"
        if not isinstance(asked, dict):
            return "this is no JSON object: /gradio_api/info says what is understood"
        if FETCHED.search(text):
            return "this page fetches nothing from elsewhere: upload the picture itself"
        if "/queue/join" in path and str(asked.get("fn_index")) not in self.events:
            return "there is no such function: /gradio_api/info lists them"
        return ""

    def _refused(self, scope: MutableMapping[str, Any], upload: bool) -> tuple[int, str] | None:
        """Status and sentence for a request that its first lines give away."""
        ways = {"GET": LOOK, "HEAD": LOOK, "POST": SEND}
        if scope["method"] not in ways:
            return 405, f"{scope['method']} is not understood here"
        if not ways[scope["method"]].fullmatch(scope["path"]):
            return 404, "there is nothing here: the page is at /"
        if upload:
            length = dict(scope["headers"]).get(b"content-length", b"")
            if not length.isdigit():
                return 411, "an upload must say how long it is (Content-Length)"
            if int(length) > UPLOAD_BYTES:
                return 413, f"that is too much: {UPLOADS} pictures of {MEGABYTES} MB at once"
        return None


async def _read(receive: Ask) -> tuple[bytes, tuple[int, str] | None]:
    """The body, whole, and what is wrong with its length, if anything."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body, (400, "the request broke off")
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > JSON_BYTES:
            return body, (413, f"the request is longer than {JSON_BYTES // 1024} kB: pictures go through /upload")
    return body, None


def _again(body: bytes, receive: Ask) -> Ask:
    """A body that was read, to be read again."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def _marked(send: Answer) -> Answer:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *((k.encode(), v.encode()) for k, v in HEADERS.items())]
        await send(message)

    return marked


async def _say(send: Answer, status: int, sentence: str) -> None:
    head = [(b"content-type", b"application/json"), *((k.encode(), v.encode()) for k, v in HEADERS.items())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps({"detail": sentence}).encode()})


async def _shut(send: Answer) -> None:
    await send({"type": "websocket.close", "code": 1003})


def mounted(studio: Studio, password: str | None = None) -> Door:
    """The page behind its door, as an ASGI app."""
    page = build(studio)
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=("emoscene", password) if password else None,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        show_error=True,
        max_file_size=MEGABYTES * 2**20,
        theme=THEME,
        css_paths=[STYLE],
    )
    page.has_launched = True
    return Door(app, page.fns)


def serve(app: Door, place: socket.socket) -> None:
    """Serve the page on this socket until Ctrl-C."""
    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(settings).run(sockets=[place])
