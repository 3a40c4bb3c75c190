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
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.paths import resolve_inside

Parts = Mapping[str, Mapping[str, Tensor]]


def save_checkpoint(folder: Path, step: int, parts: Parts, keep: int, **facts: Any) -> Path:
    """Write `folder/step-N`, each part a file of tensors, and let go of all but the newest `keep` valid ones.

    Raises Failure where the disk is full, or gives back other bytes than it was given; older ones then stay.
    """
    target = folder / f"step-{step}"

    def pour(aside: Path) -> None:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, tensors in parts.items():
            whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(whole, str(aside / f"{name}.safetensors"))
        digests = {file.name: _digest(file) for file in sorted(aside.iterdir())}
        (aside / "state.json").write_bytes(json.dumps({"step": step, **facts, "sha256": digests}, indent=1).encode())

    if target.exists() and find_fault(target):
        shutil.rmtree(target)
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run_dir.write_atomic(target, pour)
        if reason := find_fault(target):
            raise EmosceneError(
                f"{target} cannot be read back ({reason}): look after the disk, then go on with --resume"
            )
        others = [one for one in list_checkpoints(folder) if one != target]
        kept = islice((one for one in reversed(others) if not find_fault(one)), keep - 1)
        for old in set(others) - set(kept):
            shutil.rmtree(old)
    return target


def read_checkpoint(target: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """What a checkpoint says of itself, and its parts, in memory of their own."""
    about = json.loads((target / "state.json").read_text(encoding="utf8"))
    files = [resolve_inside(target, name) for name in about["sha256"]]
    return about, {file.stem: {k: v.clone() for k, v in load_file(str(file)).items()} for file in files}


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def find_fault(target: Path) -> str | None:
    """Why a checkpoint cannot be used, or None."""
    try:
        digests = json.loads((target / "state.json").read_text(encoding="utf8"))["sha256"]
        wrong = [name for name, digest in digests.items() if _digest(resolve_inside(target, name)) != digest]
    except (OSError, ValueError, KeyError, EmosceneError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{wrong[0]} does not match its digest" if wrong else None


def find_newest(folder: Path, on_message: Callable[[str], None]) -> Path:
    """The newest valid checkpoint; damaged ones are named and passed over. Raises Usage where there is none."""
    for target in reversed(list_checkpoints(folder)):
        if not (reason := find_fault(target)):
            return target
        on_message(f"skipped {target}: {reason}")
    raise UsageError(f"nothing to resume in {folder}: no valid checkpoint; leave out --resume to start")


def remove_partial(folder: Path) -> None:
    """Clear away what a killed process left half written."""
    for aside in folder.glob(f"{run_dir.TEMPORARY_PREFIX}*"):
        shutil.rmtree(aside)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
