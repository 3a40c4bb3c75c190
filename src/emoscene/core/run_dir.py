"""A stage is a folder that explains itself: what every verb leaves behind, and how it goes on where it stopped.

    stage = Stage.open(out, "pictures", config, parents=["runs/lora"], seed=7)
    if not stage.done:
        write(stage.path / "0001.png", picture)     # each part complete, or not there at all
        stage.finish(pictures=1)                    # the done mark comes last

`manifest.json` says it all: kind, config, the parents' own manifests, versions, seed, state, and the fingerprint of
what is inside. The folder is open from the start; each part is written aside, flushed to the disk and renamed. So the
same call goes on, another call is refused with the first setting that differs, and nobody's own folder is touched.
"""

import errno
import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from emoscene.core.errors import EmosceneError, UsageError

S = TypeVar("S")
T = TypeVar("T")
MANIFEST = "manifest.json"
HISTORY = "history.jsonl"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
TEMPORARY_PREFIX = ".aside-"
TRANSIENT = (f"{LOGS}/", f"{CHECKPOINTS}/")
SHOWN = 60  # characters of a value in a message
DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT}
FULL_WORDS = ("No space left", "not enough space on the disk")  # safetensors' errors have no number
UNFLUSHABLE = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP}
"""What systems say that open no folder (Windows) or flush none (some network file systems)."""
WAITS = (0.01, 0.05, 0.2, 0.5, 1.0) if os.name == "nt" else ()
"""Seconds between attempts to replace a file: Windows refuses while somebody else has it open."""
PACKAGES = ("emoscene", "torch", "diffusers", "transformers", "peft", "numpy", "pillow")


class RunDir:
    """A folder with a manifest, open or done."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(
        cls,
        out: Path | str,
        kind: str,
        config: Mapping[str, Any],
        parents: Sequence[Path | str | Mapping[str, Any]] = (),
        seed: int | None = None,
        migrate_config: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> "RunDir":
        """Begin the stage, or go on with it.

        today: what a config that is there means now, where an older version may have written it.
        """
        path = Path(out)
        lineage = [read_manifest(parent) if isinstance(parent, str | Path) else dict(parent) for parent in parents]
        call = {"kind": kind, "config": config, "seed": seed, "parents": lineage}
        asked: dict[str, Any] = json.loads(json.dumps(call, default=str))
        if not _is_run_dir(path):
            stage = cls(path, {**asked, "versions": read_versions(), "state": "open"})
            path.mkdir(parents=True, exist_ok=True)
            stage._write_manifest()
            return stage
        there = read_manifest(path)
        try:
            before = _call_identity({**there, "config": migrate_config(there["config"])})
        except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise EmosceneError(f"{path / MANIFEST} is damaged: make the folder again") from error
        if apart := find_difference(before, _call_identity(asked)):
            raise UsageError(f"{path} is another call's: {apart}; choose another folder, or call as before")
        return cls(path, there)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.manifest["state"] == "done")

    def finish(self, **facts: Any) -> None:
        """Put the done mark, with the fingerprint of what is inside and these facts."""
        for aside in sorted(self.path.rglob(f"{TEMPORARY_PREFIX}*"), reverse=True):
            _remove(aside)
        self.manifest |= {**facts, "fingerprint": fingerprint_folder(self.path), "state": "done"}
        self._write_manifest()

    def _write_manifest(self) -> None:
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False, default=str)
        write_atomic(self.path / MANIFEST, f"{text}\n".encode("utf8", "backslashreplace"))


def parse_json(text: str | bytes) -> Any:
    """JSON that somebody may have written by hand, as Python's values.

    Raises:
        ValueError: for what is no JSON, for numbers that are not finite (`NaN`, `Infinity`, `1e999`), which JSON does
            not know either, and for lists within lists without end.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("its lists lie too deep in one another") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def as_list(given: str | Path | Sequence[str | Path] | None) -> list[str]:
    """One folder or file, some of them or none, as a list."""
    if given is None:
        return []
    return [str(given)] if isinstance(given, str | Path) else [str(one) for one in given]


def read_manifest(folder: Path | str, kind: str | None = None) -> dict[str, Any]:
    """The manifest of a stage, which must be of this kind."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        what = "is not a folder of emoscene's" if Path(folder).exists() else "is not there"
        raise UsageError(f"{folder} {what}: it has no {MANIFEST}")
    try:
        manifest: dict[str, Any] = parse_json(path.read_text(encoding="utf8"))
        found = manifest["kind"], manifest["state"]
        check_parents(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise EmosceneError(f"{path} is damaged: make the folder again") from error
    if kind not in {None, found[0]}:
        raise UsageError(f"{folder} holds {found[0]}, and {kind} is wanted")
    return manifest


def check_parents(manifest: dict[str, Any]) -> None:
    """Check that a manifest's parents are manifests. Raises KeyError or TypeError where they are none."""
    if not isinstance(manifest.get("config", {}), dict) or not isinstance(manifest.get("parents", []), list):
        raise TypeError("config is a table, and parents a list")
    for parent in manifest.get("parents", []):
        parent["kind"]
        check_parents(parent)


def write_atomic(path: Path | str, data: bytes | Callable[[Path], object], flush: bool = True) -> None:
    """Write a file (or, by a function, a folder) so that it is either complete or not there.

    flush: see it to the disk first; a part that is made again where a later one is missing can do without. Raises
    Failure for a full disk.
    """
    path = Path(path)
    aside = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        aside.write_bytes(data) if isinstance(data, bytes) else data(aside)
        for part in [*aside.rglob("*"), aside] if flush else ():
            _flush(part)
        _replace(aside, path)
        if flush:
            _flush(path.parent)
    except BaseException as error:
        _remove(aside)
        if getattr(error, "errno", None) not in DISK_FULL_ERRORS and not any(
            words in str(error) for words in FULL_WORDS
        ):
            raise
        free = shutil.disk_usage(path.parent).free
        size = f"{len(data):,} bytes" if isinstance(data, bytes) else "the file"
        raise EmosceneError(
            f"the disk is full at {path}: {size} to write and {free:,} bytes free; make room, and call again as "
            "before: what is finished stays"
        ) from error


def fingerprint_folder(folder: Path | str, only: Sequence[str] = ("*",)) -> str:
    """One digest of the files whose names fit; manifest, history and logs, which tell of times, are left out, and
    checkpoints, which stay until the done mark is there. It is the same on every system: Windows would sort the names
    as if all were in small letters.
    """
    folder, digest = Path(folder), hashlib.sha256()
    paths = [path for path in folder.rglob("*") if path.is_file() and any(map(path.match, only))]
    for path in sorted(paths, key=lambda path: path.relative_to(folder).parts):
        name = path.relative_to(folder).as_posix()
        if path.name not in {MANIFEST, HISTORY} and TEMPORARY_PREFIX not in name and not name.startswith(TRANSIENT):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def append_row(path: Path | str, row: Mapping[str, Any]) -> None:
    """Add a line of JSON and see it to the disk; a line torn by an earlier crash is cut off first."""
    line = json.dumps(row, ensure_ascii=False).encode("utf8", "backslashreplace") + b"\n"
    with Path(path).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if file.read(1) not in {b"", b"\n"}:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def to_jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as lines of JSON, for `write_atomic`."""
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return text.encode("utf8", "backslashreplace")  # half of a surrogate pair as JSON's own escape


def read_jsonl(path: Path | str) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines, without the one that a crash may have torn; no file is no rows."""
    if not Path(path).exists():
        return
    for number, line in enumerate(Path(path).read_bytes().splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            try:
                row = parse_json(line)
            except ValueError as error:
                raise EmosceneError(f"{path}:{number} is damaged: it is not a line of JSON") from error
            if not isinstance(row, dict):
                raise EmosceneError(f"{path}:{number} is damaged: it is not a row")
            yield row


def shard(items: Iterable[T], rank: int, world: int) -> list[T]:
    """One process's part of the work: every `world`-th item, so that all shares are about as long."""
    return list(items)[rank::world]


def prefetch_map(work: Callable[[S], T], items: Iterable[S], threads: int, depth: int) -> Iterator[T]:
    """`map` by some threads, in order, at most `threads * depth` items ahead of the reader."""
    under_way: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) > threads * depth:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for waiting in under_way:
                waiting.cancel()


def read_versions() -> dict[str, str]:
    """What this runs on, read without importing it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _is_run_dir(path: Path) -> bool:
    """Whether the folder is a stage already; one with someone's files in it is refused."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: name a folder")
    inside = [part.name for part in path.iterdir()] if path.exists() else []
    if (path / MANIFEST).exists():  # looked for last: another process may be opening the same stage
        return True
    if any(not name.startswith(TEMPORARY_PREFIX) for name in inside):
        raise UsageError(f"{path} holds files that emoscene did not make: choose a new or an empty folder")
    return False


def _call_identity(call: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two calls the same: their words, and what their parents hold."""
    parents = [parent.get("fingerprint") or _call_identity(parent) for parent in call["parents"]]
    return {"kind": call["kind"], "config": call["config"], "seed": call["seed"], "parents": parents}


def find_difference(there: Any, here: Any, where: str = "") -> str:
    """The first setting in which two calls differ, and its two values; "" where they are the same.

    A long list is gone into, a short one is shown as a whole.
    """
    if isinstance(there, list) and isinstance(here, list) and max(map(len, map(json.dumps, (there, here)))) > SHOWN:
        there, here = dict(enumerate(there)), dict(enumerate(here))
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list(dict.fromkeys([*there, *here]))
        tries = (find_difference(there.get(key), here.get(key), f"{where}.{key}".lstrip(".")) for key in keys)
        return next(filter(None, tries), "")
    return "" if there == here else f"{where} is {_shorten(there)} there and {_shorten(here)} here"


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _replace(aside: Path, path: Path) -> None:
    for seconds in WAITS:
        try:
            aside.replace(path)
            return
        except PermissionError:
            time.sleep(seconds)
    aside.replace(path)


def _flush(path: Path) -> None:
    """See a file's content, or a folder's entries, to the disk."""
    if path.is_dir():
        _flush_folder(path)
        return
    with path.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """See a folder's entries to the disk, where the system can; where it cannot, its own journal keeps them."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNFLUSHABLE:
            raise
