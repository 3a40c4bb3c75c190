"""Models of the Hugging Face hub: an id `owner/name`, or `owner/name@revision`, is a folder of this machine's cache.

What is fetched is safetensors, JSON and text, never a pickle. A pinned commit that lies whole in the cache asks no
network. A download that breaks off goes on from its last byte, five times in a row; after that the same call goes on
with the files that are missing (huggingface_hub keeps no half file). Where the hub cannot be reached, what the cache
holds is used, and that is said; where it holds nothing, one sentence names the remedy.
`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE` and `hf auth login` mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from emoscene.core.errors import EmosceneError, UsageError, download_command
from emoscene.core.paths import SNAPSHOTS
from emoscene.core.run_dir import DISK_FULL_ERRORS

ID = re.compile(r"(?![^@]*(?:--|\.\.))(\w(?:[\w.-]*\w)?/\w(?:[\w.-]{0,94}\w)?(?<!\.git))(?:@([\w./-]+))?")
"""What the hub takes for an id: no part begins or ends with a dot or a dash, none of these is doubled, and the name has
96 letters at most. So `./typo` is a path.
"""
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = ("*.json", "*.txt", "*model.safetensors")
"""A model's files in full precision: not the half-precision twins (`model.fp16.safetensors`), nor the pipeline again in
one file. fnmatch's star passes folders, so these hold for a pipeline's parts too."""

CONFIGS = ("*.json", "*.txt")
"""A few kilobytes that tell what a model is."""
ARTIFACT = ("*.json", "*.txt", "*.safetensors")
"""A folder that `train` made, whose files are all small and all read."""


def resolve_folder(place: str | Path, wanted: Sequence[str] = WEIGHTS) -> Path:
    """Find the folder of a model.

    Args:
        place: A folder of this machine, or a hub id.
        wanted: Patterns of the files to download.

    Returns:
        The folder, which may not exist if `place` is not a hub id.

    Raises:
        UsageError: The hub does not know the model or the revision.
        EmosceneError: The model cannot be downloaded.
    """
    named = ID.fullmatch(str(place))
    if Path(place).exists() or not named:
        return Path(place)
    return fetch(named[1], named[2], wanted)


def name_snapshot(folder: Path) -> str:
    """Name a folder as a row of images does.

    Args:
        folder: The folder.

    Returns:
        `owner/name@COMMIT` for one of the hub's cache, else the folder's own name.
    """
    kind, _, model = folder.parent.parent.name.partition("--")
    if folder.parent.name == SNAPSHOTS and kind == "models":
        return f"{model.replace('--', '/')}@{folder.name}"
    return folder.name


def find_cached(source: str, revision: str | None = None, wanted: Sequence[str] = WEIGHTS) -> Path | None:
    """Find a model in the cache, without using the network.

    Args:
        source: The hub id.
        revision: A commit, tag or branch; the main branch if left out.
        wanted: Patterns of the files that must be there.

    Returns:
        The folder; None where the model is not complete.
    """
    try:
        found = snapshot_download(source, revision=revision, allow_patterns=[*wanted], local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def fetch(source: str, revision: str | None = None, wanted: Sequence[str] = WEIGHTS) -> Path:
    """Find a model in the cache or download it, with progress bars on stderr.

    Args:
        source: The hub id.
        revision: A commit, tag or branch; the main branch if left out.
        wanted: Patterns of the files to download.

    Returns:
        The folder.

    Raises:
        UsageError: The hub does not know the model or the revision, or it has no safetensors.
        EmosceneError: The model cannot be downloaded.
    """
    kept = find_cached(source, revision, wanted)
    if kept is not None and COMMIT.fullmatch(revision or ""):
        return kept
    try:
        HfApi().model_info(source, revision=revision)  # snapshot_download would pass over a hub that does not answer
        found = Path(snapshot_download(source, revision=revision, allow_patterns=[*wanted]))
    except (HTTPError, OSError) as error:
        if kept is None or _http_status(error) == 404:
            raise _explain_failure(source, revision, wanted, error) from error
        print(f"emoscene: {source} is taken from the cache, for {_describe_reason(error)}", file=sys.stderr)
        return kept
    if any(name.endswith(".safetensors") for name in wanted) and not any(found.rglob("*.safetensors")):
        raise UsageError(
            f"{source} at {found.name[:12]} has no safetensors, and pickles are not read: name another revision"
        )
    return found


def fetch_configs(source: str, revision: str | None = None) -> Path | None:
    """Fetch what tells what a model is, before its weights are.

    Args:
        source: The hub id.
        revision: A commit, tag or branch; the main branch if left out.

    Returns:
        The folder; None where the hub does not give it, which `fetch` explains.
    """
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=[*CONFIGS]))
    except (HTTPError, OSError):
        return find_cached(source, revision, CONFIGS)


def _explain_failure(source: str, revision: str | None, wanted: Sequence[str], error: Exception) -> Exception:
    """What to say, by what went wrong; the remedy comes last."""
    if isinstance(error, RevisionNotFoundError):
        return UsageError(
            f"{source} has no revision {revision}: write {source}@ and a commit, tag or branch of its page"
        )
    if isinstance(error, RepositoryNotFoundError) or _http_status(error) in {401, 403}:
        return UsageError(
            f"the hub shows no model {source} ({_http_status(error)}): check the name or, for one that is private or "
            "has terms to accept, run `hf auth login`"
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRORS:
        return EmosceneError(
            f"the disk is full at {constants.HF_HUB_CACHE}: make room, or name another disk with HF_HOME"
        )
    return EmosceneError(
        f"{source} is not whole in the cache, and {_describe_reason(error)}: the same call goes on with what is "
        f"missing, and `{download_command(source, revision, wanted)}` fetches it where there is a network (--base mini "
        "needs none)"
    )


def _describe_reason(error: Exception) -> str:
    """Why the hub was of no help, as half a sentence."""
    if any(isinstance(one, OfflineModeIsEnabled) for one in _error_chain(error)):
        return "HF_HUB_OFFLINE is set"
    status = _http_status(error)
    if status:
        return f"the hub answers {status}"
    return f"the hub cannot be reached ({type(error).__name__})"


def _http_status(error: Exception) -> int | None:
    """The status that the hub answered with, if it answered."""
    for cause in _error_chain(error):
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            return int(cause.response.status_code)
    return None


def _error_chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
