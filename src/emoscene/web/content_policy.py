"""The headers that tell the browser what the page may do: which scripts run, and that nothing is requested elsewhere.

The page is one HTML document of Gradio's with a few scripts in it, and the policy names each of them by its SHA-256
(W3C, Content Security Policy Level 3). So markup that got into the page by any other way runs nothing: no script, no
`onerror=`, no `javascript:` link. Gradio compiles templates and the small functions of buttons in the browser, so
`unsafe-eval` has to stay: without it the page is blank. Styles may stand in the document, as Gradio writes them there.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Answer = Callable[[Message], Awaitable[None]]

SCRIPT = re.compile(rb"<script(?![^>]*\ssrc\s*=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
"""A script whose text stands in the document."""
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
OTHER_HEADERS = [(b"referrer-policy", b"no-referrer"), (b"x-content-type-options", b"nosniff")]


def make_headers(html: bytes = b"") -> list[tuple[bytes, bytes]]:
    """Make the headers of a response.

    Args:
        html: Its document; empty where it is none.

    Returns:
        Pairs of name and value.
    """
    hashes = ""
    for text in SCRIPT.findall(html):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        hashes += f" 'sha256-{digest}'"
    return [(b"content-security-policy", POLICY.format(hashes=hashes).encode()), *OTHER_HEADERS]


class PolicySender:
    """An ASGI `send` that adds the headers; a document is held until it is whole, as the policy names its scripts.

    Args:
        send: Of the request.
    """

    def __init__(self, send: Answer) -> None:
        self.send = send
        self.head: Message | None = None
        self.document = b""

    async def __call__(self, message: Message) -> None:
        """Send a message, or hold it.

        Args:
            message: Of the response.
        """
        if message["type"] == "http.response.start" and is_document(message):
            self.head = message
        elif message["type"] == "http.response.start":
            await self._send_head(message)
        elif self.head is None:
            await self.send(message)
        else:
            self.document += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_head(self.head, self.document)
                await self.send({"type": "http.response.body", "body": self.document})

    async def _send_head(self, message: Message, html: bytes = b"") -> None:
        message["headers"] = [*message.get("headers", []), *make_headers(html)]
        await self.send(message)


def is_document(start: Message) -> bool:
    """Tell whether a response is an HTML document.

    Args:
        start: The message that begins the response.

    Returns:
        Whether its content type is text/html.
    """
    for name, value in start.get("headers", []):
        if name.lower() == b"content-type":
            return bytes(value).lower().startswith(b"text/html")
    return False
