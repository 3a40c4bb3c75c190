"""The web server: uvicorn on one socket, with a bound on the time that the first lines of a request take.

uvicorn waits for the first lines of a request without an end, so connections that say half a line would pile up until
no file can be opened. Its belief in X-Forwarded-For is off: whoever guesses passwords could write that header.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0


class Connection(H11Protocol):
    """HTTP/1.1, on which the first lines of each request come in time."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and go on waiting where they are not yet a request."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self.head_timer is None:
            self.head_timer = self.loop.call_later(HEAD_SECONDS, self._close_idle)

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _close_idle(self) -> None:
        self.head_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def serve_page(app: Any, place: socket.socket) -> None:
    """Serve an ASGI app on this socket until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        build_server(app).run(sockets=[place])


def build_server(app: Any) -> uvicorn.Server:
    """Build the server of an ASGI app."""
    settings = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
        proxy_headers=False,
    )
    return uvicorn.Server(settings)
