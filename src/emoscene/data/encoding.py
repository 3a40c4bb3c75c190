"""The second pass: what the frozen networks make of a picture, shard by shard, in batches of one fixed size.

A shard is a part of the plan, and its batches start with it; the last one is padded. So a row's bytes depend neither on
how many pictures were asked for after it nor on how many processes share the work. Its captions, latents and vectors
are computed in one go from pixels that are decoded once; threads of the source decode ahead of them. A shard is written
whole after its pictures, and one that lies there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from emoscene import stage
from emoscene.backbone import Backbone
from emoscene.data.captions import settled
from emoscene.data.planning import Plan
from emoscene.data.records import Record, packed, table
from emoscene.data.sources.base import Source
from emoscene.encoders.captioner import Captioner
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.errors import Failure

BATCH = 32  # pictures encoded at once
KINDS = {"png": {"compress_level": 4}, "jpeg": {"quality": 95, "subsampling": 0}, "webp": {"quality": 95}}


@dataclass(frozen=True)
class Networks:
    """What reads the pictures: an autoencoder, and perhaps EmotionCLIP and a captioner. kind: of the files kept."""

    backbone: Backbone
    reader: EmotionCLIP | None = None
    captioner: Captioner | None = None
    kind: str = "png"

    @torch.no_grad()
    def read(self, part: list[tuple[Record, Image.Image]]) -> list[Record]:
        """Up to BATCH records with their words, latents and vectors filled in."""
        images = padded([picture for _, picture in part]).to(self.backbone.device)
        latents = packed(_numbers(self.backbone.encode(images)))
        vectors = [(b"", ())] * BATCH if self.reader is None else packed(_numbers(self.reader.encode(images)[1]))
        silent = self.captioner is None or all(record.caption for record, _ in part)
        said = [""] * BATCH if silent or self.captioner is None else self.captioner.caption(images)
        return [
            replace(settled(record, words), latent=latent, shape=shape, vector=vector)
            for (record, _), words, (latent, shape), (vector, _) in zip(part, said, latents, vectors, strict=False)
        ]


def names(count: int, size: int) -> list[str]:
    """The shards' files, as `datasets` names them, for `count` pictures in shards of `size`."""
    shards = -(-count // size)
    return [f"data-{shard:05d}-of-{shards:05d}.arrow" for shard in range(shards)]


def encode(
    folder: Path,
    source: Source,
    plan: Plan,
    size: int,
    shards: list[int],
    networks: Networks,
    tell: Callable[[str], None],
) -> None:
    """Write these shards of `size` pictures, in order."""
    files = names(len(plan), size)
    runs = [range(shard * size, min((shard + 1) * size, len(plan))) for shard in shards]
    wanted = [int(plan.numbers[place]) for run in runs for place in run]
    pictures = source.pictures(wanted)
    for shard, run in zip(shards, runs, strict=True):
        place = f"pictures/{shard:05d}"
        (folder / place).mkdir(parents=True, exist_ok=True)
        roles = (plan.roles[number] for number in run)
        dealt = ((replace(record, role=role), image) for role, (record, image) in zip(roles, pictures, strict=False))
        made = table(_encoded(folder, place, islice(dealt, len(run)), networks))
        stage.write(folder / files[shard], lambda path, made=made: _stream(made, path))  # type: ignore[misc]
        tell(f"{run.stop} of {len(plan)} pictures")


def padded(pictures: Iterable[Image.Image]) -> torch.Tensor:
    """Pictures as a whole batch [BATCH, 3, H, W] in [-1, 1], the last one repeated where they are too few."""
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    whole = np.concatenate([pixels, np.repeat(pixels[-1:], BATCH - len(pixels), 0)])
    return torch.from_numpy(whole).permute(0, 3, 1, 2).float() / 127.5 - 1


def filed(picture: Image.Image, kind: str) -> bytes:
    """A picture as the file that is kept of it."""
    buffer = BytesIO()
    picture.save(buffer, kind, **KINDS[kind])
    return buffer.getvalue()


def _encoded(
    folder: Path, place: str, pictures: Iterator[tuple[Record, Image.Image]], networks: Networks
) -> Iterator[Record]:
    """The records of a shard, their pictures written."""
    while part := list(islice(pictures, BATCH)):
        for record, (_, picture) in zip(networks.read(part), part, strict=True):
            file = f"{place}/{record.id}.{networks.kind}"
            _keep(filed(picture, networks.kind), folder / file)
            yield replace(record, file=file)


def _keep(data: bytes, path: Path) -> None:
    """Write a picture whole; one without its shard is made again."""
    aside = path.with_name(f"{stage.ASIDE}{path.name}")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written ({error.strerror}): make room, and call again as before") from error


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _stream(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)
