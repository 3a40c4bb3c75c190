"""Gradio's queue with four more rules.

Fairness    the next call is one of the client that was served longest ago, and a client has at most `SHARE` waiting.
Attendance  a call whose answer nobody has listened to for `GRACE` seconds is dropped: it stops at its next step, or
            never starts. `RequestFilter` notes who listens.
Length      a call that has to wait is told how many wait.
Escaping    the page shows messages as HTML, and they quote file names and what an image's metadata says, so
            `send_message`, which every message passes, escapes them.
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
from gradio.server_messages import LogMessage

from emoscene.web.login_brake import CLIENTS, client_key

GRACE = 10.0  # seconds that a call waits for a listener
SHARE = 16  # calls of one client that may wait
HTML_FIELDS = ("error", "title", "log")
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
        """Count a listener of a session or call while this lasts.

        Args:
            key: The session's or the call's id.

        Yields:
            Nothing.
        """
        self.listeners[key] += 1
        try:
            yield
        finally:
            self.listeners[key] -= 1
            if not self.listeners[key]:
                del self.listeners[key]

    def knows(self, key: str) -> bool:
        """Tell whether there is something to listen to; Gradio finds out only after it has begun to answer.

        Args:
            key: The session's or the call's id.

        Returns:
            False for a session without messages, and for a call that was never made or whose answer was taken.
        """
        if key in self.pending_messages_per_session or key in self.event_ids_to_events:
            return True
        return any(key in calls for calls in self.pending_event_ids_session.values())

    def is_attended(self, event: Event) -> bool:
        """Tell whether somebody listens to a call, or may still begin to.

        Args:
            event: The call.

        Returns:
            False for a call older than `GRACE` without a listener.
        """
        now = time.monotonic()
        young = now - self.since.setdefault(event, now) <= GRACE
        return young or bool(self.listeners[event.session_hash] or self.listeners[event._id])

    def drop_unattended(self) -> None:
        """Take the calls that nobody listens to out of the queue."""
        for line in self.event_queue_per_concurrency_id.values():
            for event in list(line.queue):
                if not self.is_attended(event):
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
        """Queue a call, unless its client has too many already.

        Args:
            body: What is called, and with what.
            request: The HTTP request.
            username: Of who is logged in.

        Returns:
            Gradio's answer: whether it is queued, its id or a sentence, and a state.
        """
        self.drop_unattended()
        client = client_of(request)
        count = 0
        for line in self.event_queue_per_concurrency_id.values():
            count += sum(client_of(event.request) == client for event in line.queue)
        if count >= SHARE:
            return False, f"{SHARE} calls from this address are waiting: wait until one of them is done", "queue_full"
        answer = await super().push(body, request, username)
        others = len(self) - 1
        for job in self.active_jobs:
            others += job is not None
        event = self.event_ids_to_events.get(answer[1])
        if answer[0] and others and event is not None:
            self.send_message(event, LogMessage(log=describe_queue(others), level="info", title="Waiting"))
        return answer

    def get_events(self) -> Any:
        """Choose the next call: one of the client that was served longest ago.

        Returns:
            What Gradio's own method returns: calls, whether they are a batch, and their function; None for no call.
        """
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
        """Compute nothing: Gradio would go through all past calls after each one, for a page that is closed here.

        Args:
            records: The past calls.

        Returns:
            An empty table.
        """
        return {}

    def send_message(self, event: Event, event_message: Any) -> None:
        """Send a message to the page, its HTML fields escaped; a call that nobody listens to ends here.

        Args:
            event: The call.
            event_message: The message.
        """
        if event.alive and not self.is_attended(event):
            self._end(event)
        for holder in (event_message, getattr(event_message, "output", None)):
            escape_fields(holder)
        super().send_message(event, event_message)


def describe_queue(others: int) -> str:
    """Tell a new call how many calls there are beside it.

    Args:
        others: Their number, at least 1, that which is computed included.

    Returns:
        A sentence.
    """
    if others == 1:
        return "another call is being computed: yours begins after it"
    return f"{others} other calls are computed or wait: yours begins when its turn comes"


def escape_fields(holder: Any) -> None:
    """Escape, in place, the fields of a message or of a failure that the page shows as HTML.

    Args:
        holder: A message of Gradio's, or what a completed message carries. Values of components are left alone: each
            component says for itself what is HTML in it.
    """
    is_table = isinstance(holder, dict)
    for name in HTML_FIELDS:
        text = holder.get(name) if is_table else getattr(holder, name, None)
        if not isinstance(text, str):
            continue
        if is_table:
            holder[name] = escape(text, quote=False)
        else:
            setattr(holder, name, escape(text, quote=False))


def client_of(request: Any) -> str:
    """Name the client that sent a request.

    Args:
        request: The HTTP request.

    Returns:
        What `client_key` makes of its address.
    """
    host = ""
    if request.client:
        host = request.client.host
    return client_key(host)
