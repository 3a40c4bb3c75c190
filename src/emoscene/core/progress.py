"""The person at the terminal, as a long job knows them: a bar to look at, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def defer_interrupts() -> Iterator[Callable[[], bool]]:
    """Finish the step at hand when Ctrl-C or SIGTERM arrives; a second one interrupts at once.

    Yields:
        A function that tells whether to stop.
    """
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(
    word: str, done: int, total: int, visible: bool = True
) -> Iterator[Callable[[int, Callable[[], str]], None]]:
    """Show a progress bar on stderr, updated at most twice a second.

    Args:
        word: The label.
        done: The number of steps done before.
        total: The number of all steps.
        visible: Whether to show anything.

    Yields:
        A function that takes the number of steps done, and a function that describes the state.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not visible, console=Console(stderr=True)) as progress:
        task, last = progress.add_task(word, total=total, completed=done), 0.0

        def show(number: int, describe: Callable[[], str]) -> None:
            nonlocal last
            if visible and (time.monotonic() > last + 0.5 or number == total):
                last = time.monotonic()
                progress.update(task, completed=number, description=describe())

        yield show
