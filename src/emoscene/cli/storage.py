"""What lies around and takes room: run folders below a folder, and emoscene's models in the hub's cache.

    emoscene ls runs                emoscene ls cache
    emoscene clean runs             emoscene clean cache --yes

Nothing is removed that a person may want: of runs, what a killed process left half written and checkpoints of runs that
are done (with `--unfinished`, also those of runs that are not, which then begin anew); of the cache, which other
programs share, broken-off downloads and older revisions of the models that emoscene's own tables name. A link is never
followed, so nothing outside of these folders is touched.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import DeleteCacheStrategy, HFCacheInfo, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from emoscene.cli.options import STORED
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError, unknown_name
from emoscene.core.folder_lock import is_locked, read_owner
from emoscene.core.idle_options import check_idle, list_changed
from emoscene.core.plain_text import escape_unprintable, format_bytes, format_count
from emoscene.diffusion import hub

DEPTH = 6  # folders below the first in which runs are looked for
MODELS = ("pretrained", "captioner", "emotion_clip", "begun", "blip", "clip")
"""Settings of tables that name a model."""
STATES = ("not finished", "done")
USES = ("a revision that emoscene does not name", "as emoscene uses it")


@dataclass(frozen=True)
class StoredItem:
    """A folder or file that takes room: how many bytes, and what it is in a few words."""

    path: Path
    size: int
    about: str


@dataclass(frozen=True)
class Removal:
    """What is to be removed.

    Attributes:
        items: All parts.
        size: The bytes that are free afterwards.
        paths: Those of the parts that are removed here.
        strategy: What huggingface_hub removes, of its cache.
        busy: Runs that are at work, of which nothing goes.
    """

    items: Sequence[StoredItem]
    size: int
    paths: Sequence[Path]
    strategy: DeleteCacheStrategy | None = None
    busy: Sequence[Path] = ()

    def execute(self) -> None:
        """Remove all.

        Raises:
            EmosceneError: A part cannot be removed.
        """
        for path in self.paths:
            _remove(path)
        if self.strategy is not None:
            self.strategy.execute()


def list_runs(root: str | Path = ".") -> list[StoredItem]:
    """List the run folders below a folder.

    Args:
        root: The folder.

    Returns:
        Each with what it holds, and whether it is done.

    Raises:
        UsageError: There is no such folder.
    """
    runs = []
    for folder in _find_runs(root):
        runs.append(StoredItem(folder, _measure(folder), _describe_run(folder)))
    return runs


def list_cache() -> list[StoredItem]:
    """List the models of the hub's cache that emoscene's tables name.

    Returns:
        Each revision that is there, and whether a table names it.
    """
    return [item for item, _, _ in _cached_revisions()]


def clean(
    place: str = "runs",
    *,
    root: str | Path = ".",
    unfinished: bool = False,
    yes: bool = False,
    on_message: Callable[[str], None] = print,
) -> None:
    """Free the room that is taken by what nobody needs. It says what, and asks first.

    Args:
        place: `runs` or `cache`.
        root: The folder below which runs are looked for.
        unfinished: Also the checkpoints of runs that are not done, which then cannot go on.
        yes: Remove it without a question; without a terminal and without this, nothing is removed.
        on_message: Receives a sentence on each part.

    Raises:
        UsageError: There is no such place or folder.
        EmosceneError: A part cannot be removed.
    """
    if place not in STORED:
        raise unknown_name("place", place, STORED)
    check_idle("clean", list_changed(clean, {"root": root, "unfinished": unfinished}) | {"place": place})
    plan = _plan_runs(root, unfinished) if place == "runs" else _plan_cache()
    for line in format_lines(plan.items):
        on_message(line)
    for folder in plan.busy:
        on_message(escape_unprintable(f"{folder} stays as it is: {read_owner(folder)} is at work there"))
    total = format_bytes(plan.size)
    if not plan.items:
        on_message("there is nothing to free")
    elif yes or _agrees(f"remove {format_count(len(plan.items), 'item')}, {total}?"):
        plan.execute()
        on_message(f"{total} are free")
    else:
        on_message(f"nothing was removed: --yes frees {total}")


def format_lines(items: Sequence[StoredItem]) -> list[str]:
    """Write what lies around for people to read.

    Args:
        items: What was found.

    Returns:
        A line each.
    """
    lines = []
    for item in items:
        lines.append(escape_unprintable(f"{format_bytes(item.size):>9}  {item.path}  ({item.about})"))
    return lines


def _find_runs(root: str | Path) -> Iterator[Path]:
    """Folders with a manifest of ours; links are not followed."""
    if not Path(root).is_dir():
        raise UsageError(f"{root} is not a folder: give the one below which the runs are (--root)")
    for folder, inside, files in os.walk(root):
        here = Path(folder)
        hidden = [name for name in inside if name.startswith(".")]
        if run_dir.MANIFEST in files and _is_run(here):
            inside.clear()
            yield here
        elif len(here.relative_to(root).parts) >= DEPTH:
            inside.clear()
        inside[:] = sorted(set(inside) - set(hidden))


def _is_run(folder: Path) -> bool:
    try:
        run_dir.read_manifest(folder)
    except (UsageError, EmosceneError, OSError):
        return False
    return True


def _describe_run(folder: Path) -> str:
    manifest = run_dir.read_manifest(folder)
    what = str(manifest.get("config", {}).get("learner") or manifest["kind"])
    return what if manifest["state"] == "done" else f"{what}, not finished"


def _known_models() -> dict[str, set[str]]:
    """The hub's models that the tables of bases and recipes name, and the commits that they are pinned to."""
    known: dict[str, set[str]] = {}
    for kind in ("bases", "recipes"):
        for name in registry.list_names(kind):
            table = registry.load_table(kind, name)
            places = [str(table.get(key, "")) for key in MODELS]
            if "source" in table and "revision" in table:
                places.append(f"{table['source']}@{table['revision']}")
            for place in places:
                named = hub.ID.fullmatch(place)
                if named and named[2]:
                    known.setdefault(named[1], set()).add(named[2])
    return known


def _scan_cache() -> HFCacheInfo | None:
    """The hub's cache, as far as it holds emoscene's models; None where there is no cache."""
    known = _known_models()
    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return None
    except ValueError as error:
        raise EmosceneError(f"{constants.HF_HUB_CACHE} is no folder: take it away, or set HF_HOME") from error
    mine = [one for one in found.repos if one.repo_type == "model" and one.repo_id in known]
    return replace(found, repos=frozenset(mine))


def _cached_revisions() -> Iterator[tuple[StoredItem, str, bool]]:
    """Each revision of emoscene's models in the cache, its commit, and whether a table names it."""
    known, found = _known_models(), _scan_cache()
    if found is None:
        return
    for repository in sorted(found.repos, key=lambda one: one.repo_id):
        for revision in sorted(repository.revisions, key=lambda one: one.commit_hash):
            used = revision.commit_hash in known[repository.repo_id]
            about = f"{repository.repo_id}, {USES[used]}"
            yield StoredItem(revision.snapshot_path, revision.size_on_disk, about), revision.commit_hash, used


def _find_broken_downloads() -> list[StoredItem]:
    """What is left of downloads of emoscene's models that broke off."""
    found = []
    for model in sorted(_known_models()):
        blobs = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "blobs"
        for part in sorted(blobs.glob("*.incomplete")):
            found.append(StoredItem(part, part.lstat().st_size, f"a download of {model} that broke off"))
    return found


def _plan_runs(root: str | Path, unfinished: bool) -> Removal:
    """What goes of the runs below a folder; nothing of one that is at work."""
    items, busy = [], []
    for folder in _find_runs(root):
        if is_locked(folder):
            busy.append(folder)
            continue
        done = run_dir.read_manifest(folder)["state"] == "done"
        saved = folder / run_dir.CHECKPOINTS
        if saved.is_dir() and not saved.is_symlink() and (done or unfinished):
            items.append(StoredItem(saved, _measure(saved), f"checkpoints of a run that is {STATES[done]}"))
        if done:
            for aside in sorted(folder.glob(f"{run_dir.TEMPORARY_PREFIX}*")):
                items.append(StoredItem(aside, _measure(aside), "half written"))
    return Removal(items, sum(item.size for item in items), [item.path for item in items], busy=busy)


def _plan_cache() -> Removal:
    """What goes of the cache: a file that several revisions share goes with the last of them."""
    items, commits = [], []
    for item, commit, used in _cached_revisions():
        if not used:
            items.append(item)
            commits.append(commit)
    broken = _find_broken_downloads()
    size, strategy = sum(item.size for item in broken), None
    found = _scan_cache()
    if commits and found is not None:
        strategy = found.delete_revisions(*commits)
        size += strategy.expected_freed_size
    return Removal([*items, *broken], size, [item.path for item in broken], strategy)


def _measure(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; those that a link leads to do not count."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            total += Path(folder, file).lstat().st_size
    return total


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EmosceneError(
            f"{path} cannot be removed ({error.strerror}): look at its rights, and call again"
        ) from error


def _agrees(question: str) -> bool:
    """Whether the person at the terminal says yes; nobody there is a no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
