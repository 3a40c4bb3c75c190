"""Reading a prepared folder: memory-mapped, a batch of rows at a time, one role's images or all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from datasets import Dataset, load_from_disk
from torch import Tensor
from typing_extensions import TypedDict

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError, unknown_name
from emoscene.core.file_reading import TABLE, describe_fault, read_json
from emoscene.core.images import open_image
from emoscene.core.paths import resolve_inside
from emoscene.data.aspect_buckets import crop_square
from emoscene.data.contradictions import refuse_contradictions
from emoscene.data.notes import load_notes
from emoscene.data.planning import QUARANTINE, explain_refused, list_refused
from emoscene.data.records import FEATURES, unpack_arrays
from emoscene.encoders.base import to_tensor

AGAIN = "delete the folder, and prepare it again"
COLUMNS = ("id", "file", "emotion", "weights", "caption", "role", "latent", "shape")
"""What every version wrote."""


class PreparedManifest(TypedDict):
    """What the manifest of a prepared folder says of it; version 0.1 called `vae_fingerprint` `encoder`."""

    fingerprint: str
    size: int
    vae_fingerprint: NotRequired[str | None]
    encoder: NotRequired[str]
    emotion_clip: NotRequired[str | None]
    flips: NotRequired[bool]


class DataFile(TypedDict):
    """A shard."""

    filename: str


class DatasetState(TypedDict):
    """What `datasets` follows in the `state.json` of a folder."""

    _data_files: list[DataFile]


class PreparedDataset:
    """A prepared folder, or the part of it that one role may learn from.

    Args:
        folder: The folder that `emoscene prepare` wrote.
        role: One of `records.ROLES`; all images if left out.

    Raises:
        UsageError: The folder is not finished, or has no images for the role.
        EmosceneError: The folder is damaged.

    Example:
        >>> data = PreparedDataset("prepared", role="methods")
        >>> batch = data.read([0, 1, 2], ["latent", "caption", "weights"])
        >>> batch["latent"].shape
        torch.Size([3, 4, 16, 16])
    """

    def __init__(self, folder: str | Path, role: str | None = None) -> None:
        self.folder = Path(folder)
        manifest = run_dir.read_manifest(self.folder, "prepared", PreparedManifest)
        if manifest["state"] != "done":
            raise UsageError(f"{folder} is not finished: {_explain_unfinished(self.folder)}")
        check_parts(self.folder)
        try:
            opened = load_from_disk(str(folder))
        except Exception as error:  # damaged files make the library raise nearly everything
            raise EmosceneError(f"{folder} is damaged ({describe_fault(error)}): {AGAIN}") from error
        _check_columns(self.folder, opened)
        self.fingerprint: str = manifest["fingerprint"]
        self.vae_fingerprint: str = manifest.get("vae_fingerprint") or manifest.get("encoder", "")
        self.emotion_clip: str | None = manifest.get("emotion_clip")
        self.side: int = manifest["size"]
        self.flips: bool = manifest.get("flips", False)
        self.table: Dataset = opened.with_format("arrow")
        self.selected: dict[tuple[str, ...], Dataset] = {}
        roles = self.table.select_columns(["role"])[:]["role"].to_numpy(zero_copy_only=False)
        if role:
            self.places = np.flatnonzero(roles == role)
        else:
            self.places = np.arange(len(roles))
        if not len(self.places):
            remedy = "prepare more, or with a larger share (--split)"
            if role == "judges":
                remedy = "prepare them with --split roles, or use a published judge (--judge)"
            raise UsageError(f"{folder} has no images for {role}: {remedy}")

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def rows_by_shape(self) -> list[np.ndarray]:
        """The rows of each shape that there is, which go together in a batch."""
        columns = self.table.select_columns(["shape"])[:]["shape"].combine_chunks().flatten().to_numpy()
        which = np.unique(columns.reshape(-1, 3)[self.places], axis=0, return_inverse=True)[1].reshape(-1)
        rows = []
        for shape in range(which.max() + 1):
            rows.append(np.flatnonzero(which == shape))
        return rows

    def read(self, indices: Sequence[int], columns: Sequence[str], mirrored: Sequence[bool] = ()) -> dict[str, Any]:
        """Read the named columns of some rows, in the given order.

        Args:
            indices: The rows [B], each from 0 to len - 1.
            columns: Names of `records.FEATURES`, or `image` for the pixels of the file.
            mirrored: For each row, whether to read the latent of the mirrored image [B]; none if left out.

        Returns:
            Tensors for `latent` [B, 4, h, w], `vector` [B, D] (unit length), `weights` and `votes` [B, 8], `emotion`
            [B] (-1 for none) and `image` [B, 3, side, side] in [-1, 1], the central square; lists of B values for
            all other columns.

        Raises:
            UsageError: A column does not exist, the vectors were not prepared, or the latents have several shapes.
        """
        for column in columns:
            if column not in (known := [*FEATURES, "image"]):
                raise unknown_name("column", column, known)
        if "vector" in columns and not self.emotion_clip:
            raise UsageError(
                f"{self.folder} has no EmotionCLIP vectors: prepare the images into another folder, with a base that "
                "has an emotion_clip or with emotion_clip=FOLDER (emoscene train emotion_clip makes one)"
            )
        stored = set(columns)
        if "image" in stored:
            stored = (stored - {"image"}) | {"file"}
        if "latent" in columns:
            stored |= {"shape"}
        if "latent" in columns and any(mirrored):
            stored |= {"mirrored"}
        some = self._select(tuple(sorted(stored)))[self.places[np.asarray(indices, dtype=np.int64)]]
        values = {column: READERS.get(column, _read_list)(self, some, column) for column in columns}
        if "mirrored" in stored and "latent" in columns:
            turned = torch.tensor(mirrored)[:, None, None, None]
            values["latent"] = torch.where(turned, _read_latents(self, some, "mirrored"), values["latent"])
        return values

    def _select(self, columns: tuple[str, ...]) -> Dataset:
        """The table of some columns; making it takes as long as reading two hundred latents from it."""
        if columns not in self.selected:
            self.selected[columns] = self.table.select_columns(list(columns))
        return self.selected[columns]

    def check_soft_labels(self, settings: Any) -> None:
        """Check that viewers' votes are known where a learner is to learn from them.

        Args:
            settings: The learner's settings, of which `soft_labels` says it.

        Raises:
            UsageError: Nobody voted, or a version prepared the folder that kept no votes.
        """
        if not getattr(settings, "soft_labels", False):
            return
        if "votes" not in self.table.column_names or not self.column("votes").any():
            raise UsageError(
                f"soft_labels=yes learns from viewers' votes, and {self.folder} has none: write the shares of the "
                "people who named each emotion into a column `votes` of metadata.jsonl or metadata.csv, and prepare "
                "the images again"
            )

    def column(self, column: str) -> Any:
        """Read one column of all rows.

        Args:
            column: Its name, as for `read`.

        Returns:
            A tensor [N, ...] or a list of N values.
        """
        return self.read(range(len(self)), [column])[column]


def _check_columns(folder: Path, opened: Any) -> None:
    """Raises EmosceneError where a column is missing that every prepared folder has."""
    found = getattr(opened, "column_names", ())
    for column in COLUMNS:
        if column not in found:
            raise EmosceneError(f"{folder} is damaged (it has no column {column!r}): {AGAIN}")


def _explain_unfinished(folder: Path) -> str:
    """What to do about a folder that was begun: the same call would be refused again where it refused the images."""
    found = sorted((folder / "notes").glob("notes-*.arrow"))
    if (folder / QUARANTINE).is_file() and found and not any(folder.glob("data-*.arrow")):
        noted = refuse_contradictions(load_notes(found))
        if list_refused(noted):
            return explain_refused(noted)
    return "call `emoscene prepare` again as before, it goes on where it stopped"


def check_parts(folder: Path) -> None:
    """Check the files that `datasets` follows in a prepared folder.

    Args:
        folder: The prepared folder.

    Raises:
        EmosceneError: A file is missing or damaged, or lies outside of the folder.
    """
    state = folder / "state.json"
    for part in read_json(state, DatasetState, AGAIN)["_data_files"]:
        file = resolve_inside(folder, part["filename"], str(state))
        if not file.is_file():
            raise EmosceneError(f"{file} is no file: {AGAIN}")
    for name in ("state.json", "dataset_info.json"):
        read_json(resolve_inside(folder, name), TABLE, AGAIN)


def _read_list(data: PreparedDataset, some: pa.Table, column: str) -> Any:
    return some[column].to_pylist()


def _read_latents(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    shapes = some["shape"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
    if (shapes != shapes[0]).any():
        raise UsageError(
            f"{data.folder} has latents of several shapes: read those of one at a time, as `rows_by_shape` lists them"
        )
    return unpack_arrays(some[column].to_pylist(), shapes[0].tolist())


def _read_vectors(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    stored = some["vector"].to_pylist()
    halves = len(stored[0]) // 2  # of two bytes each
    return F.normalize(unpack_arrays(stored, (halves,)), dim=1)


def _read_numbers(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    dtype = torch.float32
    if column == "emotion":
        dtype = torch.int64
    return torch.tensor(some[column].to_pylist(), dtype=dtype)


def _read_images(data: PreparedDataset, some: pa.Table, column: str) -> Tensor:
    images = []
    for file in some["file"].to_pylist():
        image = open_image(resolve_inside(data.folder, file))
        if image.size != (data.side, data.side):
            image = crop_square(image, data.side)
        images.append(image)
    return to_tensor(images)


READERS: dict[str, Callable[[PreparedDataset, pa.Table, str], Any]] = {
    "latent": _read_latents,
    "vector": _read_vectors,
    "weights": _read_numbers,
    "votes": _read_numbers,
    "emotion": _read_numbers,
    "image": _read_images,
}
