"""Signals that ask a process to end: Ctrl-C, SIGTERM (a scheduler's or a container's), SIGHUP (a closed terminal).

    with handle_signals(): ...            each is a KeyboardInterrupt; the second one ends the process at once
    with defer_interrupts() as asked:     the first one is noted, and the step at hand is finished
        with allow_interrupt(asked): ...  long work that is no part of it asks `check_interrupt` whether to go on

A signal that the process was started to ignore stays ignored, as `nohup` does with SIGHUP. A process that was forked
has the default actions: a pool ends its workers by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""The signals; SIGHUP is POSIX's, and SIGBREAK is what Windows has in its place."""
WATCHED: list[Callable[[], bool]] = []
"""What tells `check_interrupt` that a signal was noted."""
STATUS = 130
"""The exit status of a process that was interrupted."""


class SignalHandler:
    """Interrupts the process at the first signal, and ends it at the second."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.count = 0

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal.

        Args:
            number: The signal.
            frame: What was interrupted.

        Raises:
            KeyboardInterrupt: For the first one.
        """
        if os.getpid() != self.process:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        self.count += 1
        if self.count > 1:
            os._exit(STATUS)
        raise KeyboardInterrupt


@contextmanager
def handle_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, and a second signal of any kind end the process at once.

    It is for a process that runs one verb; elsewhere than in the main thread it does nothing.

    Yields:
        Nothing.
    """
    with replace_handlers(SignalHandler()):
        yield


@contextmanager
def defer_interrupts() -> Iterator[Callable[[], bool]]:
    """Finish the step at hand when a signal arrives; the second one does what it did before.

    Yields:
        A function that tells whether to stop.
    """
    asked: list[int] = []
    outer = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) > 1 and callable(outer):
            outer(number, frame)
        elif len(asked) > 1:
            raise KeyboardInterrupt
        elif isinstance(outer, SignalHandler):
            outer.count += 1

    with replace_handlers(note):
        yield lambda: bool(asked)


@contextmanager
def allow_interrupt(asked: Callable[[], bool]) -> Iterator[None]:
    """Let `check_interrupt` interrupt the work inside, while signals are deferred.

    Args:
        asked: What `defer_interrupts` yields.

    Yields:
        Nothing.
    """
    WATCHED.append(asked)
    try:
        yield
    finally:
        WATCHED.remove(asked)


def check_interrupt() -> None:
    """Interrupt long work between two parts of it, where a signal was noted and `allow_interrupt` lets it.

    Raises:
        KeyboardInterrupt: It is so.
    """
    if any(asked() for asked in WATCHED):
        raise KeyboardInterrupt


@contextmanager
def replace_handlers(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle every signal that is not ignored by one function; elsewhere than in the main thread, do nothing.

    Args:
        handler: Takes the signal's number, and what it interrupted.

    Yields:
        Nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
