"""A folder that explains itself: what every verb leaves behind, and how it continues where it stopped.

    opened = RunDir.open(out, "pictures", config, parents=["runs/lora"], seed=7)
    with opened.hold():                                         # other processes wait outside
        if not opened.is_done:
            write_atomic(opened.path / "0001.png", content)     # each part complete, or not there at all
            opened.finish(pictures=1)                           # the done mark comes last

`manifest.json` says it all: kind, config, the parents' own manifests, versions, seed, state, and the fingerprint of
what is inside. The folder is open from the start; each part is written aside, flushed to the disk and renamed. So the
same call goes on, another call is refused with the first setting that differs, and other folders are never touched.
"""

import errno
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NotRequired, TypeVar

from typing_extensions import TypedDict

from emoscene.core.call_identity import find_difference, identify_call
from emoscene.core.errors import EmosceneError, UsageError, suggest_folder
from emoscene.core.file_reading import MOST_LISTED_BYTES, TABLE, check_value, digest_file, read_json, read_json_lines
from emoscene.core.folder_lock import LOCK, OWNER, lock_folder
from emoscene.core.paths import LEADS_OUT, is_inside
from emoscene.core.plain_text import cut_name
from emoscene.core.processes import read_rank

S = TypeVar("S")
T = TypeVar("T")
MANIFEST = "manifest.json"
HISTORY = "history.jsonl"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
MAKE_AGAIN = "make the folder again"
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


class ParentManifest(TypedDict):
    """What the manifest of a run folder has, as its children keep it."""

    kind: str
    config: NotRequired[dict[str, Any]]
    parents: NotRequired[list["ParentManifest"]]
    versions: NotRequired[dict[str, str]]
    fingerprint: NotRequired[str | None]


class Manifest(ParentManifest):
    """What a `manifest.json` has; each kind of folder adds facts of its own."""

    state: str


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
        """Begin a run folder, or continue it.

        Args:
            out: The folder.
            kind: What it holds, such as `prepared` or `artifact`.
            config: The settings, which must be the same when it is continued.
            parents: Run folders, or their manifests, that it is made from.
            seed: The seed of the run, if it has one.
            migrate_config: Converts a recorded config that an older version may have written.

        Returns:
            The run folder.

        Raises:
            UsageError: The folder belongs to another call, or holds files that are not ours.
            EmosceneError: The manifest is damaged.
        """
        asked = _describe_call(kind, config, parents, seed)
        begun = cls._find(Path(out), asked, migrate_config)
        if begun is not None:
            return begun
        stage = cls(Path(out), {**asked, "versions": read_versions(), "state": "open"})
        stage.path.mkdir(parents=True, exist_ok=True)
        stage._write_manifest()
        return stage

    @classmethod
    def find(
        cls,
        out: Path | str,
        kind: str,
        config: Mapping[str, Any],
        parents: Sequence[Path | str | Mapping[str, Any]] = (),
        seed: int | None = None,
        migrate_config: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> "RunDir | None":
        """Look whether `open` would take a folder, before the work on it is prepared; nothing is written.

        Args:
            out: As `open` has it, and so are the next five.
            kind: What it holds.
            config: The settings.
            parents: What it is made from.
            seed: The seed.
            migrate_config: Converts an older config.

        Returns:
            The run folder that would be continued; None where a new one would be begun.

        Raises:
            UsageError: The folder belongs to another call, or holds files that are not ours.
            EmosceneError: The manifest is damaged.
        """
        return cls._find(Path(out), _describe_call(kind, config, parents, seed), migrate_config)

    @classmethod
    def _find(
        cls, path: Path, asked: Mapping[str, Any], migrate_config: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> "RunDir | None":
        if not _is_run_dir(path):
            return None
        recorded = read_manifest(path)
        try:
            before = identify_call({**recorded, "config": migrate_config(recorded["config"])})
        except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise EmosceneError(f"{path / MANIFEST} is damaged: {MAKE_AGAIN}") from error
        apart = find_difference(before, identify_call(asked))
        if apart:
            raise _refuse_other_call(path, apart)
        return cls(path, recorded)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.manifest["state"] == "done")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other calls out of the folder while this lasts; one that is done needs no lock.

        Of several processes that were launched for one call the first has it for all. Whether it is done is asked under
        the lock, as another process may just have finished it.

        Yields:
            Nothing.

        Raises:
            EmosceneError: Another process is at work in the folder, or a part of it is a link that leads elsewhere.
        """
        if self.is_done or read_rank():
            yield
            return
        check_links(self.path)
        with lock_folder(self.path):
            self.manifest = read_manifest(self.path)
            yield
        if self.manifest["state"] == "done":
            (self.path / LOCK).unlink(missing_ok=True)

    def finish(self, **facts: Any) -> None:
        """Mark the folder as done, with the fingerprint of its content.

        Args:
            facts: Further entries of the manifest.
        """
        for aside in sorted(self.path.rglob(f"{TEMPORARY_PREFIX}*"), reverse=True):
            if aside.name not in {LOCK, OWNER}:
                _remove(aside)
        self.manifest |= {**facts, "fingerprint": fingerprint_folder(self.path), "state": "done"}
        self._write_manifest()

    def _write_manifest(self) -> None:
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False, default=str)
        write_atomic(self.path / MANIFEST, f"{text}\n".encode("utf8", "backslashreplace"))


def check_links(folder: Path) -> None:
    """Check that what is written into a run folder stays in it; the folder itself may be a link to a larger disk.

    Args:
        folder: The run folder.

    Raises:
        EmosceneError: A folder in it is a link that leads out: its files would be written elsewhere, and neither the
            fingerprint nor `emoscene clean`, which follow no link, would know of them.
    """
    for part in sorted(folder.iterdir()):
        if part.is_symlink() and part.is_dir() and not is_inside(folder, part):
            raise EmosceneError(
                f"{part} is a link that {LEADS_OUT}, and nothing is written through it: take it away; to write on "
                f"another disk, make {folder} itself the link"
            )


def as_list(given: str | Path | Sequence[str | Path] | None) -> list[str]:
    """Convert one path, several or none to a list.

    Args:
        given: The paths.

    Returns:
        Their texts.
    """
    if given is None:
        return []
    if isinstance(given, str | Path):
        return [str(given)]
    return [str(one) for one in given]


def read_manifest(folder: Path | str, kind: str | None = None, schema: Any = None) -> dict[str, Any]:
    """Read the manifest of a run folder.

    Args:
        folder: The folder.
        kind: What it must hold; anything if left out.
        schema: The facts that a finished folder of this kind has beside those of `Manifest`; they are not looked at
            as long as the folder is not finished.

    Returns:
        The manifest.

    Raises:
        UsageError: There is no manifest, or one of another kind.
        EmosceneError: The manifest is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        if not Path(folder).exists():
            raise UsageError(f"{folder} is not there: {suggest_folder(kind)}")
        if not Path(folder).is_dir():
            raise UsageError(f"{folder} is a file: {suggest_folder(kind)}")
        raise UsageError(f"{folder} is not a folder of emoscene's, for it has no {MANIFEST}: {suggest_folder(kind)}")
    manifest: dict[str, Any] = read_json(path, Manifest, MAKE_AGAIN, MOST_LISTED_BYTES)
    found = manifest["kind"]
    if kind not in {None, found}:
        raise UsageError(f"{folder} holds {found}, and {kind} is wanted: {suggest_folder(kind)}")
    if schema is not None and manifest["state"] == "done":
        check_value(manifest, schema, path, MAKE_AGAIN)
    return manifest


def write_atomic(path: Path | str, data: bytes | Callable[[Path], object], flush: bool = True) -> None:
    """Write a file (or, by a function, a folder) so that it is either complete or does not exist.

    Args:
        path: The file.
        data: Its content, or a function that writes to a temporary path.
        flush: Flush it to the disk first; not needed for a part that is made again where a later one is missing.

    Raises:
        EmosceneError: The disk is full.
    """
    path = Path(path)
    aside = path.with_name(cut_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"))
    try:
        if isinstance(data, bytes):
            aside.write_bytes(data)
        else:
            data(aside)
        if flush:
            for part in [*aside.rglob("*"), aside]:
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
        size = "the file"
        if isinstance(data, bytes):
            size = f"{len(data):,} bytes"
        raise EmosceneError(
            f"the disk is full at {path}: {size} to write and {free:,} bytes free; make room, and call again as "
            "before: what is finished stays"
        ) from error


def fingerprint_folder(folder: Path | str, only: Sequence[str] = ("*",)) -> str:
    """Digest the files of a folder, equally on every system.

    Manifest, history and logs are left out, because they record times, and so are checkpoints, which are deleted
    later.

    Args:
        folder: The folder.
        only: Patterns of the files.

    Returns:
        The SHA-256 digest, 64 hexadecimal digits.
    """
    folder, digest = Path(folder), hashlib.sha256()
    paths = [path for path in folder.rglob("*") if path.is_file() and any(map(path.match, only))]
    for path in sorted(paths, key=lambda path: path.relative_to(folder).parts):
        name = path.relative_to(folder).as_posix()
        if path.name not in {MANIFEST, HISTORY} and TEMPORARY_PREFIX not in name and not name.startswith(TRANSIENT):
            digest.update(f"{name}\0{digest_file(path)}\n".encode("utf8", "surrogateescape"))
    return digest.hexdigest()


def append_row(path: Path | str, row: Mapping[str, Any]) -> None:
    """Append a line of JSON and flush it to the disk; an incomplete last line is removed first.

    Args:
        path: The file.
        row: The row.

    Raises:
        EmosceneError: A link, or what is no file, has that name.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise EmosceneError(f"{path} is a link or no regular file, and rows are not written through one: take it away")
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if file.read(1) not in {b"", b"\n"}:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(to_jsonl([row]))
        file.flush()
        os.fsync(file.fileno())


def to_jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Convert rows to lines of JSON.

    Args:
        rows: The rows.

    Returns:
        The content of the file.
    """
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return text.encode("utf8", "backslashreplace")  # half of a surrogate pair as JSON's own escape


def read_jsonl(
    path: Path | str, schema: Any = TABLE, remedy: str = "remove that line, or the file"
) -> Iterator[dict[str, Any]]:
    """Read lines of JSON; an incomplete last line is left out.

    Args:
        path: The file, which may not exist.
        schema: What a row has to hold.
        remedy: What to do with a damaged file, as the end of the sentence.

    Yields:
        The rows.

    Raises:
        FileRefused: A line is damaged.
    """
    if not Path(path).exists():
        return
    for _, row in read_json_lines(path, schema, remedy, whole=False):
        yield row


def read_versions() -> dict[str, str]:
    """Read the versions of Python and of the main packages, without importing them.

    Returns:
        Versions by name.
    """
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def check_out(out: Path | str, kind: str) -> None:
    """Check, before anything is loaded, that a folder can hold what a call makes; which call it is comes later.

    Args:
        out: The folder.
        kind: What the call makes, such as `pictures` or `scores`.

    Raises:
        UsageError: It is a file, or holds something else.
        EmosceneError: Its manifest is damaged.
    """
    path = Path(out)
    if _is_run_dir(path):
        found = read_manifest(path)["kind"]
        if found != kind:
            raise UsageError(f"{path} is another call's: it holds {found} and not {kind}; choose another folder")


def check_known(
    out: Path | str,
    kind: str,
    config: Mapping[str, Any],
    unknown: Sequence[str],
    migrate_config: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Check, before a base is loaded, that a folder is not another call's, as far as the call is known by then.

    Args:
        out: The folder.
        kind: What the call makes.
        config: The settings, without those that only the base tells.
        unknown: The names of those.
        migrate_config: Converts a recorded config, as `RunDir.open` has it.

    Raises:
        UsageError: It is a file, holds something else, or was begun with another setting.
        EmosceneError: Its manifest is damaged.
    """
    check_out(out, kind)
    path = Path(out)
    if not (path / MANIFEST).exists():
        return
    recorded = _migrate_config(path, read_manifest(path), migrate_config)
    before = {key: value for key, value in recorded.items() if key not in unknown}
    asked = json.loads(json.dumps(config, default=str))
    apart = find_difference({"config": before}, {"config": asked})
    if apart:
        raise _refuse_other_call(path, apart)


def _migrate_config(
    path: Path, recorded: Mapping[str, Any], migrate_config: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """The recorded settings in today's form. Raises EmosceneError where they have none."""
    try:
        return migrate_config(recorded["config"])
    except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise EmosceneError(f"{path / MANIFEST} is damaged: {MAKE_AGAIN}") from error


def _refuse_other_call(path: Path, apart: str) -> UsageError:
    return UsageError(f"{path} is another call's: {apart}; choose another folder, or call as before")


def _describe_call(
    kind: str, config: Mapping[str, Any], parents: Sequence[Path | str | Mapping[str, Any]], seed: int | None
) -> dict[str, Any]:
    """A call as its manifest records it."""
    lineage = []
    for parent in parents:
        if isinstance(parent, str | Path):
            lineage.append(read_manifest(parent))
        else:
            lineage.append(dict(parent))
    call = {"kind": kind, "config": config, "seed": seed, "parents": lineage}
    described: dict[str, Any] = json.loads(json.dumps(call, default=str))
    return described


def _is_run_dir(path: Path) -> bool:
    """Whether the folder is a stage already; one with someone's files in it is refused."""
    if "\0" in str(path):
        raise UsageError(f"{str(path)!r} cannot be the name of a folder: give another one")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: name a folder")
    if path.is_symlink() and not path.exists():
        raise UsageError(f"{path} is a link to {path.readlink()}, which is not there: name a folder")
    inside: list[str] = []
    if path.exists():
        inside = [part.name for part in path.iterdir()]
    if (path / MANIFEST).exists():  # looked for last: another process may be opening the same stage
        return True
    if any(not name.startswith(TEMPORARY_PREFIX) for name in inside):
        raise UsageError(f"{path} holds files that emoscene did not make: choose a new or an empty folder")
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
