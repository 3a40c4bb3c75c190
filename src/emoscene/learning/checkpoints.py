"""Checkpoints: folders `step-N` of tensors with digests, complete or not there, the newest valid one found again.

A checkpoint is written aside, flushed to the disk and renamed, so a kill at any moment leaves either it or nothing. Old
ones go only once a newer one is there and has been read back. Resuming falls back past a damaged one and says which and
why; one that is damaged is no reason not to write it, and does not count among those that are kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.paths import resolve_inside

Parts = Mapping[str, Mapping[str, Tensor]]


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
    digests = {file.name: _digest(file) for file in sorted(aside.iterdir())}
    (aside / "state.json").write_bytes(json.dumps({**facts, "sha256": digests}, indent=1).encode())


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
    about = json.loads((target / "state.json").read_text(encoding="utf8"))
    parts = {}
    for name in about["sha256"]:
        file = resolve_inside(target, name)
        parts[file.stem] = {key: value.clone() for key, value in load_file(str(file)).items()}
    return about, parts


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run.

    Args:
        folder: The run's checkpoints; it need not exist.

    Returns:
        Their folders, that of the first step first, damaged ones among them.
    """
    return sorted(folder.glob("step-*"), key=_step_number)


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
        digests = json.loads((target / "state.json").read_text(encoding="utf8"))["sha256"]
        for name, digest in digests.items():
            if _digest(resolve_inside(target, name)) != digest:
                return f"{name} does not match its digest"
    except (OSError, ValueError, KeyError, EmosceneError) as error:
        return f"{type(error).__name__}: {error}"
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
    """
    for target in reversed(list_checkpoints(folder)):
        reason = find_fault(target)
        if reason is None:
            return target
        on_message(f"skipped {target}: {reason}")
    raise UsageError(f"nothing to resume in {folder}: no valid checkpoint; leave out --resume to start")


def remove_partial(folder: Path) -> None:
    """Remove what a killed process left half written.

    Args:
        folder: The run's checkpoints.
    """
    for aside in folder.glob(f"{run_dir.TEMPORARY_PREFIX}*"):
        shutil.rmtree(aside)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
