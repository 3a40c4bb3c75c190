"""Gradio's queue, with three more rules.

Fairness    of the calls that wait, the next is of the client that was served longest ago; a client has at most `SHARE`
            waiting.
Attendance  a call whose answer nobody has listened to for `GRACE` seconds is dropped: it stops at its next step, or is
            never begun. `RequestFilter` (door.py) says who listens.
Text        every sentence that reaches the page passes `send_message`. The page shows such sentences as HTML, and they
            quote file names and what images say of themselves, so they are escaped there.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

from gradio.queueing import Event, Queue

from emoscene.web.login_brake import CLIENTS, client_key

GRACE = 10.0  # seconds that a call waits for somebody who listens
SHARE = 16  # calls of one client that may wait
MARKUP = ("error", "title", "log")
"""The fields of a message that the page shows as HTML."""


class FairQueue(Queue):
    """The queue of the page's calls."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.listeners: Counter[str] = Counter()  # of each session or call
        self.served: OrderedDict[str, float] = OrderedDict()  # when each client's last call began
        self.since: WeakKeyDictionary[Event, float] = WeakKeyDictionary()  # when each call was first seen here

    @contextmanager
    def listening(self, key: str) -> Iterator[None]:
        """Note that somebody listens to a session or call while this lasts."""
        self.listeners[key] += 1
        try:
            yield
        finally:
            self.listeners[key] -= 1
            if not self.listeners[key]:
                del self.listeners[key]

    def is_attended(self, event: Event) -> bool:
        """Tell whether somebody listens to a call, or may still begin to."""
        now = time.monotonic()
        young = now - self.since.setdefault(event, now) <= GRACE
        return young or bool(self.listeners[event.session_hash] or self.listeners[event._id])

    def drop_unattended(self) -> None:
        """Take the calls that nobody listens to out of the queue."""
        for line in self.event_queue_per_concurrency_id.values():
            gone = [event for event in line.queue if not self.is_attended(event)]
            for event in gone:
                line.queue.remove(event)
                self.event_ids_to_events.pop(event._id, None)
                self._end(event)

    def _end(self, event: Event) -> None:
        """End a call that nobody listens to, and drop the messages that wait for its listener."""
        event.alive = False
        waiting = self.pending_event_ids_session.get(event.session_hash, set())
        waiting.discard(event._id)
        if not waiting:
            self.pending_event_ids_session.pop(event.session_hash, None)
            if event.session_hash in self.pending_messages_per_session:
                del self.pending_messages_per_session[event.session_hash]

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Queue a call, unless its client has too many already."""
        self.drop_unattended()
        client = client_of(request)
        waiting = [event for line in self.event_queue_per_concurrency_id.values() for event in line.queue]
        mine = [event for event in waiting if client_of(event.request) == client]
        if len(mine) >= SHARE:
            return False, f"{SHARE} calls from this address are waiting: wait until one of them is done", "queue_full"
        return await super().push(body, request, username)

    def get_events(self) -> Any:
        """Return the next call, of the client that was served longest ago."""
        self.drop_unattended()
        for line in self.event_queue_per_concurrency_id.values():
            line.queue.sort(key=lambda event: self.served.get(client_of(event.request), 0.0))
        chosen = super().get_events()
        if chosen is not None:
            client = client_of(chosen[0][0].request)
            self.served[client] = time.monotonic()
            self.served.move_to_end(client)
            while len(self.served) > CLIENTS:
                self.served.popitem(last=False)
        return chosen

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:
        """Return no figures: Gradio would count all calls so far anew after each, for a page that is shut here."""
        return {}

    def send_message(self, event: Event, event_message: Any) -> None:
        """Send a message to the page with its sentences escaped; what nobody listens to ends with it."""
        if event.alive and not self.is_attended(event):
            self._end(event)
        for holder in (event_message, getattr(event_message, "output", None)):
            escape_fields(holder)
        super().send_message(event, event_message)


def escape_fields(holder: Any) -> None:
    """Escape, in place, the fields of a message or of a failure that the page shows as HTML.

    Args:
        holder: A message of Gradio's, or what a completed message carries. Values of components are left alone: each
            component says for itself what is HTML in it.
    """
    if isinstance(holder, dict):
        texts = {name: holder[name] for name in MARKUP if isinstance(holder.get(name), str)}
        holder.update({name: escape(text, quote=False) for name, text in texts.items()})
        return
    for name in MARKUP:
        if isinstance(text := getattr(holder, name, None), str):
            setattr(holder, name, escape(text, quote=False))


def client_of(request: Any) -> str:
    """Return the word for the client that sent a request."""
    return client_key(request.client.host if request.client else "")
