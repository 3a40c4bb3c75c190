"""The person at the terminal, as a long job knows them: messages, and a bar to look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from emoscene.core.callbacks import Callbacks, ignore_event
from emoscene.core.plain_text import escape_unprintable


@contextmanager
def progress_bar(
    word: str, done: int, total: int, visible: bool = True
) -> Iterator[Callable[[int, Callable[[], str]], None]]:
    """Show a progress bar on stderr, where that is a terminal, updated at most twice a second.

    Args:
        word: The label.
        done: The number of steps done before.
        total: The number of all steps.
        visible: Whether to show anything.

    Yields:
        A function that takes the number of steps done, and a function that describes the state.
    """
    console = Console(stderr=True)
    if not (visible and console.is_terminal):  # rich would print the last state of a bar into a pipe or a log
        yield ignore_event
        return
    with _make_bar(console) as progress:
        task, last = progress.add_task(word, total=total, completed=done), 0.0

        def show(number: int, describe: Callable[[], str]) -> None:
            nonlocal last
            if time.monotonic() > last + 0.5 or number == total:
                last = time.monotonic()
                progress.update(task, completed=number, description=describe())

        yield show


@contextmanager
def terminal_callbacks() -> Iterator[Callbacks]:
    """Report a verb's events on stderr: a message is a line, progress a bar where stderr is a terminal.

    Yields:
        The callbacks; the bar is gone afterwards.
    """
    console = Console(stderr=True, highlight=False)
    progress = _make_bar(console, transient=True)
    tasks: list[TaskID] = []

    def print_message(message: str) -> None:
        # What reads a pipe has no width. Signs between colons are a path's, not the name of an emoji.
        console.print(escape_unprintable(message), markup=False, emoji=False, soft_wrap=not console.is_terminal)

    def move_bar(done: int, total: int) -> None:
        if not console.is_terminal:
            return
        if not tasks:
            progress.start()
            tasks.append(progress.add_task("", total=total))
        progress.update(tasks[0], completed=done, total=total)

    try:
        yield Callbacks(on_message=print_message, on_progress=move_bar)
    finally:
        if tasks:
            progress.stop()


def _make_bar(console: Console, transient: bool = False) -> Progress:
    """A bar that is not on the screen yet; a transient one leaves nothing there."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient)
