"""One process at a time in a folder that is written, and who that is.

The operating system holds the lock (flock on POSIX, msvcrt on Windows) and drops it when the process ends, however it
ends; nothing has to be cleaned up after a kill. A note beside the lock says whose it is, for whoever comes second.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from emoscene.core.errors import EmosceneError
from emoscene.core.file_reading import FileRefused, read_utf8

LOCK, OWNER = ".aside-lock", ".aside-owner"
"""The files of a lock; by their prefix they are no part of a run folder (`run_dir.TEMPORARY_PREFIX`)."""
SHOWN = 120  # characters of a note
MOST_NOTE_BYTES = 4096


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing a folder while this lasts.

    Args:
        folder: The folder, which exists.

    Yields:
        Nothing.

    Raises:
        EmosceneError: Another process has it, or what has the lock's name is no file.
    """
    if not _is_plain(folder / LOCK):
        raise EmosceneError(
            f"{folder / LOCK} is a link or no regular file, and no lock can be held on it: take it away"
        )
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise explain_lock(folder) from error
    try:
        _write_owner(folder / OWNER)
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def explain_lock(folder: Path) -> EmosceneError:
    """Make the error for a folder that another process writes.

    Args:
        folder: The folder.

    Returns:
        The error, with the process.
    """
    return EmosceneError(
        f"{folder} is being written by {read_owner(folder)}: wait until that is done, or choose another folder"
    )


def is_locked(folder: Path) -> bool:
    """Tell whether another process writes a folder.

    Args:
        folder: The folder, which exists.

    Returns:
        Whether one does.
    """
    if not (folder / LOCK).exists() or not _is_plain(folder / LOCK):
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def describe_process() -> str:
    """Describe this process, for the note.

    Returns:
        Its number, its machine and the time.
    """
    return f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"


def read_owner(folder: Path) -> str:
    """Read who has the lock of a folder.

    Args:
        folder: The folder.

    Returns:
        What `describe_process` returned there; `another process` where there is no such note yet.
    """
    if (folder / OWNER).is_symlink():
        return "another process"
    try:
        text = read_utf8(folder / OWNER, MOST_NOTE_BYTES)[:SHOWN]
    except FileRefused:
        return "another process"
    return "".join(filter(str.isprintable, text)) or "another process"


def _is_plain(lock: Path) -> bool:
    """Whether a lock is a regular file, or not there yet."""
    return not lock.is_symlink() and (lock.is_file() or not lock.exists())


def _write_owner(note: Path) -> None:
    """Write the note as a new file: a folder may be a stranger's, and what lies there a link or a pipe."""
    note.unlink(missing_ok=True)
    with note.open("x", encoding="utf8", newline="\n") as file:
        file.write(describe_process())
