"""The web server: uvicorn on one socket, with a bound on how long the head of a request may take.

uvicorn waits for a request's head without an end, so connections that send half a line would pile up until no file can
be opened. Trust in X-Forwarded-For is off: whoever guesses passwords could write that header.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from emoscene.core.interrupts import replace_handlers

HEAD_SECONDS = 20.0


class Connection(H11Protocol):
    """An HTTP/1.1 connection that closes if the head of a request does not arrive in `HEAD_SECONDS`."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first request.

        Args:
            transport: Of the connection.
        """
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and go on waiting where they do not complete a head.

        Args:
            data: The bytes.
        """
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting.

        Args:
            exc: Why the connection ended, if it broke.
        """
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


class PageServer(uvicorn.Server):
    """A server that ends at Ctrl-C, SIGTERM and SIGHUP, and then returns to its caller, who removes the page's files.

    uvicorn's own knows no SIGHUP, and raises the signal again once it has ended.
    """

    should_exit: bool
    force_exit: bool

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the server runs.

        Yields:
            Nothing.
        """
        with replace_handlers(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Ask the server to end; a second signal lets it wait for no answer that is under way.

        Args:
            sig: The signal.
            frame: What was interrupted.
        """
        self.force_exit = self.should_exit
        self.should_exit = True


def serve_page(app: Any, listener: socket.socket) -> None:
    """Serve an ASGI app until a signal ends it.

    Args:
        app: The app.
        listener: A socket that is bound.
    """
    build_server(app).run(sockets=[listener])


def build_server(app: Any) -> PageServer:
    """Build the server of an ASGI app.

    Args:
        app: The app.

    Returns:
        The server, not started.
    """
    settings = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
        proxy_headers=False,
    )
    return PageServer(settings)
