"""A record: what a prepared folder holds of one image, and how it lies in Arrow.

The columns are those that scripts rely on: `id, file, emotion` (a ClassLabel in EmoSet's order), `weights` (eight
floats: soft labels), `votes` (eight shares of the viewers who named each emotion, all 0 where they are not known),
`caption, caption_long, scene, role, latent, shape, mirrored, vector`. A neutral image has emotion -1, which is the way
of `datasets` to say "no label", and weights of zero; of a mixture, `emotion` is the strongest.

The latent is the mean of the autoencoder's posterior. Its deviation is not kept, because there is next to nothing in
it: see `docs/scaling.md` for the figures, and `benchmarks.prepare posterior` for the command.

It is kept as raw half-precision bytes with its shape beside it: `datasets` reads such a column ten times as fast as an
array, and 16 bits are finer than the autoencoder's own error. So are `mirrored`, the latent of the mirrored image
where flips were asked for, and the vector, EmotionCLIP's of the image's middle square where there was an EmotionCLIP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from datasets import ClassLabel, Features, List, Value
from pyarrow import Table
from torch import Tensor

from emoscene.core.errors import EmosceneError
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, Weights

ROLES = ("methods", "selector", "judges", "heldout")
LONGEST = 120  # bytes of an id, which names a file
FEATURES = Features(
    {
        "id": Value("string"),
        "file": Value("string"),
        "emotion": ClassLabel(names=list(EMOTIONS)),
        "weights": List(Value("float32"), length=len(EMOTIONS)),
        "votes": List(Value("float32"), length=len(EMOTIONS)),
        "caption": Value("string"),
        "caption_long": Value("string"),
        "scene": Value("string"),
        "role": Value("string"),
        "latent": Value("binary"),
        "shape": List(Value("int32"), length=3),
        "mirrored": Value("binary"),
        "vector": Value("binary"),
    }
)


@dataclass(frozen=True)
class Record:
    """One image and what is known of it; `file` is relative to the prepared folder, `role` who may learn from it."""

    id: str
    weights: Weights = NO_EMOTION
    votes: Weights = NO_EMOTION
    caption: str = ""
    caption_long: str = ""
    scene: str = ""
    role: str = "methods"
    file: str = ""
    latent: bytes = b""
    shape: tuple[int, ...] = (0, 0, 0)
    mirrored: bytes = b""
    vector: bytes = b""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]{1,120}", self.id) or len(self.id.encode()) > LONGEST:
            raise EmosceneError(
                f"{self.id!r} is no id: letters, digits, dots, dashes and underscores, at most {LONGEST} bytes"
            )
        if self.role not in ROLES:
            raise EmosceneError(f"{self.id} has the role {self.role!r}: there is {', '.join(ROLES)}")

    @property
    def emotion(self) -> int:
        """The number of the strongest emotion, -1 if there is none."""
        if any(self.weights):
            return int(np.argmax(self.weights))
        return -1


def pack_arrays(latents: np.ndarray) -> list[tuple[bytes, tuple[int, ...]]]:
    """Convert arrays to bytes in half precision.

    Args:
        latents: Latents [B, 4, h, w], or vectors [B, D].

    Returns:
        For each row its bytes and its shape.
    """
    half = latents.astype("<f2")
    return [(latent.tobytes(), latent.shape) for latent in half]


def unpack_arrays(latents: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    """Convert bytes in half precision to numbers, the inverse of `pack_arrays`; torch converts faster than NumPy.

    Args:
        latents: The bytes of each row [B].
        shape: The shape of one row.

    Returns:
        float32 [B, *shape].

    Raises:
        EmosceneError: The rows have different lengths.
    """
    if len({len(latent) for latent in latents}) > 1:
        raise EmosceneError(
            "the latents or vectors of one batch have several sizes: prepare the images again, at one size"
        )
    half = np.frombuffer(bytearray().join(latents), "<f2").reshape(-1, *shape)
    return torch.from_numpy(half).float()


def records_table(records: Iterable[Record]) -> Table:
    """Convert records to an Arrow table with the columns of `FEATURES`.

    Args:
        records: The records.

    Returns:
        The table.
    """
    rows = []
    for record in records:
        rows.append(asdict(record) | {"emotion": record.emotion})
    return Table.from_pylist(rows, schema=FEATURES.arrow_schema)
