"""Checkpoints: folders `step-N` of tensors with digests, complete or not there, the newest valid one found again.

A checkpoint is written aside, flushed to the disk and renamed, so a kill at any moment leaves either it or nothing. Old
ones go only once a newer one is there and has been read back. Resuming falls back past a damaged one and says which and
why; one that is damaged is no reason not to write it, and does not count among those that are kept.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NotRequired

from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import TypedDict

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import digest_file, read_json
from emoscene.core.paths import resolve_inside
from emoscene.core.plain_text import format_count

STATE = "state.json"
NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})")
"""What a checkpoint is called; a folder of another name, such as a copy `step-3.bak`, is the user's."""
Parts = Mapping[str, Mapping[str, Tensor]]


class CheckpointState(TypedDict):
    """What every `state.json` has: the step, and the digest of each file beside it."""

    step: int
    sha256: dict[str, str]
    about: NotRequired[dict[str, Any]]


def save_checkpoint(folder: Path, step: int, parts: Parts, keep: int, **facts: Any) -> Path:
    """Write `folder/step-N`, each part a file of tensors, and remove all but the newest valid checkpoints.

    Args:
        folder: The run's checkpoints.
        step: How many steps are done, from 0 on.
        parts: The tensors by name, of each part such as `weights` and `moments`.
        keep: How many valid checkpoints stay, this one among them, from 1 on.
        **facts: What stands beside the digests in `state.json`.

    Returns:
        The checkpoint's folder; one of this step that is valid stays as it is.

    Raises:
        EmosceneError: The disk is full, or gives back other bytes than it was given; older checkpoints then stay.
    """
    target = folder / f"step-{step}"
    if target.exists() and find_fault(target):
        shutil.rmtree(target)
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    run_dir.write_atomic(target, partial(_write_parts, parts, {"step": step, **facts}))
    if reason := find_fault(target):
        raise EmosceneError(f"{target} cannot be read back ({reason}): look after the disk, then go on with --resume")
    _remove_old(folder, target, keep)
    return target


def _write_parts(parts: Parts, facts: Mapping[str, Any], aside: Path) -> None:
    """Fill the folder `aside` with the tensors, and with `state.json` that holds the facts and all digests."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, tensors in parts.items():
        whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(whole, str(aside / f"{name}.safetensors"))
    digests = {file.name: digest_file(file) for file in sorted(aside.iterdir())}
    (aside / STATE).write_bytes(json.dumps({**facts, "sha256": digests}, indent=1).encode())


def _remove_old(folder: Path, newest: Path, keep: int) -> None:
    """Remove what is damaged, and what is older than the newest `keep` valid checkpoints."""
    valid = 1  # the newest
    for old in reversed(list_checkpoints(folder)):
        if old == newest:
            continue
        if valid < keep and not find_fault(old):
            valid += 1
        else:
            shutil.rmtree(old)


def read_checkpoint(target: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read a checkpoint.

    Args:
        target: Its folder.

    Returns:
        What `state.json` says, and the tensors by name of each part, in memory of their own.

    Raises:
        EmosceneError: A name in it leads out of the folder.
    """
    about = read_state(target)
    parts = {}
    for name in about["sha256"]:
        file = resolve_inside(target, name)
        parts[file.stem] = {key: value.clone() for key, value in load_file(str(file)).items()}
    return about, parts


def read_state(target: Path) -> dict[str, Any]:
    """Read what a checkpoint says beside its tensors.

    Args:
        target: Its folder.

    Returns:
        The content of `state.json`.

    Raises:
        EmosceneError: It is damaged.
    """
    state: dict[str, Any] = read_json(target / STATE, CheckpointState, "it is left aside", finite=False)
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run.

    Args:
        folder: The run's checkpoints; it need not exist.

    Returns:
        Their folders, that of the first step first, damaged ones among them.
    """
    found = [target for target in folder.glob("step-*") if NAME.fullmatch(target.name) and target.is_dir()]
    return sorted(found, key=_step_number)


def _step_number(target: Path) -> int:
    return int(target.name.removeprefix("step-"))


def find_fault(target: Path) -> str | None:
    """Look for a reason not to use a checkpoint.

    Args:
        target: Its folder.

    Returns:
        The reason, such as a file that does not match its SHA-256 digest; None where it is valid.
    """
    try:
        for name, digest in read_state(target)["sha256"].items():
            if digest_file(resolve_inside(target, name)) != digest:
                return f"{name} does not match its digest"
    except (OSError, EmosceneError) as error:
        return str(error)
    return None


def find_newest(folder: Path, on_message: Callable[[str], None]) -> Path:
    """Find the newest valid checkpoint.

    Args:
        folder: The run's checkpoints.
        on_message: Receives a sentence on each damaged one that is passed over.

    Returns:
        Its folder.

    Raises:
        UsageError: There is none.
        EmosceneError: Each is damaged.
    """
    found = list_checkpoints(folder)
    for target in reversed(found):
        reason = find_fault(target)
        if reason is None:
            return target
        on_message(f"skipped {target}: {reason}")
    if not found:
        raise UsageError(f"nothing to resume in {folder}: leave out --resume to start")
    raise EmosceneError(
        f"nothing to resume: {folder} holds {format_count(len(found), 'checkpoint')}, and none is whole; "
        "delete that folder, then the "
        "same call without --resume begins anew"
    )


def remove_all(folder: Path) -> None:
    """Remove all checkpoints of a run; what else somebody put beside them stays.

    Args:
        folder: The run's checkpoints, which need not exist.
    """
    if not folder.is_dir():
        return
    remove_partial(folder)
    for target in list_checkpoints(folder):
        shutil.rmtree(target)
    if not any(folder.iterdir()):
        folder.rmdir()


def remove_partial(folder: Path) -> None:
    """Remove what a killed process left half written.

    Args:
        folder: The run's checkpoints.
    """
    for aside in folder.glob(f"{run_dir.TEMPORARY_PREFIX}*"):
        shutil.rmtree(aside)
