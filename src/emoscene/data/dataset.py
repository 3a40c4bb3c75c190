"""Reading a prepared folder: memory-mapped, a batch of rows at a time, one role's pictures or all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from datasets import Dataset, load_from_disk
from torch import Tensor

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError, unknown_name
from emoscene.core.images import open_image
from emoscene.core.paths import resolve_inside
from emoscene.data.aspect_buckets import crop_square
from emoscene.data.records import FEATURES, unpack_arrays
from emoscene.encoders.base import to_tensor


class PreparedDataset:
    """A prepared folder, or the part of it that a role may learn from."""

    def __init__(self, folder: str | Path, role: str | None = None) -> None:
        self.folder = Path(folder)
        manifest = run_dir.read_manifest(self.folder, "prepared")
        if manifest["state"] != "done":
            raise UsageError(
                f"{folder} is not finished: call `emoscene prepare` again as before, it goes on where it stopped"
            )
        _check_parts(self.folder)
        try:
            opened = load_from_disk(str(folder))
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise EmosceneError(f"{folder} is damaged ({error}): prepare it again") from error
        self.fingerprint: str = manifest["fingerprint"]
        self.vae_fingerprint: str = manifest.get("vae_fingerprint") or manifest["encoder"]  # as version 0.1 called it
        self.emotion_clip: str | None = manifest.get("emotion_clip")
        self.side: int = manifest["size"]
        self.flips: bool = manifest.get("flips", False)
        self.table: Dataset = opened.with_format("arrow")
        roles = self.table.select_columns(["role"])[:]["role"].to_numpy(zero_copy_only=False)
        self.places = np.flatnonzero(roles == role) if role else np.arange(len(roles))
        if not len(self.places):
            raise UsageError(f"{folder} has no pictures for {role}: prepare more, or with a larger share (--split)")

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def rows_by_shape(self) -> list[np.ndarray]:
        """The rows of each shape that there is, which go together in a batch."""
        columns = self.table.select_columns(["shape"])[:]["shape"].combine_chunks().flatten().to_numpy()
        which = np.unique(columns.reshape(-1, 3)[self.places], axis=0, return_inverse=True)[1].reshape(-1)
        return [np.flatnonzero(which == one) for one in range(which.max() + 1)]

    def read(self, indices: Sequence[int], columns: Sequence[str], mirrored: Sequence[bool] = ()) -> dict[str, Any]:
        """The named columns of these rows, in their order.

        latent [B, 4, h, w] (all rows of one shape; where `mirrored` says so, the mirrored picture's), vector [B, D]
        (unit length), weights [B, 8], emotion [B] are tensors, so is `picture` [B, 3, side, side] in [-1, 1], the
        middle square of its file; all others are lists. Raises Usage for a column that nobody knows, for vectors that
        were not prepared, and for latents of several shapes.
        """
        for column in columns:
            if column not in (known := [*FEATURES, "picture"]):
                raise unknown_name("column", column, known)
        if "vector" in columns and not self.emotion_clip:
            raise UsageError(
                f"{self.folder} has no EmotionCLIP vectors: prepare the pictures into another folder, with a base that "
                "has an emotion_clip or with emotion_clip=FOLDER (emoscene train emotion_clip makes one)"
            )
        stored = {"file" if column == "picture" else column for column in columns}
        stored |= {"shape"} if "latent" in columns else set()
        stored |= {"mirrored"} if "latent" in columns and any(mirrored) else set()
        some = self.table.select_columns(sorted(stored))[self.places[np.asarray(indices, dtype=np.int64)]]
        found = {column: READERS.get(column, _read_list)(self, some, column) for column in columns}
        if "mirrored" in stored and "latent" in columns:
            turned = torch.tensor(mirrored)[:, None, None, None]
            found["latent"] = torch.where(turned, _read_latents(self, some, "mirrored"), found["latent"])
        return found

    def column(self, column: str) -> Any:
        """One column of every row."""
        return self.read(range(len(self)), [column])[column]


def _check_parts(folder: Path) -> None:
    """Raises Failure where `state.json`, which `datasets` follows, names a file outside of the folder."""
    try:
        about = run_dir.parse_json((folder / "state.json").read_text(encoding="utf8"))
        names = [part["filename"] for part in about["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmosceneError(f"{folder} is damaged ({error}): prepare it again") from error
    for name in names:
        resolve_inside(folder, name, str(folder / "state.json"))


def _read_list(data: PreparedDataset, some: pa.Table, column: str) -> Any:
    return some[column].to_pylist()


def _read_latents(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    shapes = some["shape"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
    if (shapes != shapes[0]).any():
        raise UsageError(
            f"{data.folder} has latents of several shapes: read those of one at a time, as `rows_by_shape` lists them"
        )
    return torch.from_numpy(unpack_arrays(some[column].to_pylist(), shapes[0].tolist()))


def _read_vectors(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    stored = some["vector"].to_pylist()
    halves = len(stored[0]) // 2  # of two bytes each
    return F.normalize(torch.from_numpy(unpack_arrays(stored, (halves,))), dim=1)


def _read_numbers(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    values = some[column].to_pylist()
    return torch.tensor(values, dtype=torch.int64 if column == "emotion" else torch.float32)


def _read_images(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    opened = (open_image(resolve_inside(data.folder, file)) for file in some["file"].to_pylist())
    side = (data.side, data.side)
    return to_tensor(image if image.size == side else crop_square(image, data.side) for image in opened)


READERS: dict[str, Callable[[PreparedDataset, pa.Table, str], Any]] = {
    "latent": _read_latents,
    "vector": _read_vectors,
    "weights": _read_numbers,
    "emotion": _read_numbers,
    "picture": _read_images,
}
