"""The second pass: what the frozen networks make of an image, shard by shard, in batches of one fixed size.

A shard is a part of the plan, and its batches start with it; each has images of one shape, and the last ones are
padded. So a row's bytes depend neither on how many images were asked for after it nor on how many workers share the
work. Its captions, latents and vectors are computed in one go from pixels that are decoded once; threads of the source
decode ahead of them. A shard is written whole after its images, and one that lies there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from emoscene.core import run_dir
from emoscene.core.image_origin import encode_mark, is_rendered
from emoscene.data.caption_filter import CaptionFilter
from emoscene.data.captions import settle_captions
from emoscene.data.planning import Plan
from emoscene.data.records import Record, pack_arrays, records_table
from emoscene.data.sources.base import Source, map_threads
from emoscene.diffusion.device import explain_full_memory
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import to_tensor
from emoscene.encoders.captioner import Captioner
from emoscene.encoders.emotion_clip import EmotionCLIP

BATCH = 32  # images encoded at once
KINDS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"quality": 95},
}
MISFITS = "misfits"

Item = tuple[int, Record, Image.Image]
"""An image's place in its shard, what the source says of it, and its pixels."""


@dataclass(frozen=True)
class Networks:
    """What reads the images: an autoencoder, perhaps EmotionCLIP, a captioner, and a CLIP that tells what fits.

    kind: of the files kept; flips: whether mirrored images are encoded too. miniature: which of emotion_clip,
    captioner and clip (that tells what fits) are the miniature's own, and know its world alone; spares: whether such a
    captioner is asked of that world's images alone.
    """

    backbone: DiffusionModel
    reader: EmotionCLIP | None = None
    captioner: Captioner | None = None
    kind: str = "png"
    flips: bool = False
    fitting: CaptionFilter | None = None
    miniature: tuple[str, ...] = ()
    spares: bool = False

    @torch.no_grad()
    def encode_batch(self, part: list[Item]) -> list[tuple[Record, float]]:
        """Encode images and complete their records.

        Args:
            part: Up to `BATCH` items, whose images all have one size.

        Returns:
            For each item its record, with captions, latent and vector, and the cosine of caption and image.

        Raises:
            EmosceneError: Memory does not suffice.
        """
        with explain_full_memory(f"memory does not suffice to encode {BATCH} images at once: give --device cpu"):
            return self._read(part)

    def _read(self, part: list[Item]) -> list[tuple[Record, float]]:
        records = [record for _, record, _ in part]
        images = pad_batch([image for _, _, image in part]).to(self.backbone.device)
        inside = center_square(images)
        said = self._caption(part, images)
        latents = pack_arrays(_source_numbers(self.backbone.encode_images(images)))
        if self.flips:
            mirrored = pack_arrays(_source_numbers(self.backbone.encode_images(images.flip(-1))))
        else:
            mirrored = [(b"", ())] * BATCH
        if self.reader:
            vectors = pack_arrays(_source_numbers(self.reader.encode(inside)[1]))
        else:
            vectors = [(b"", ())] * BATCH
        made = []
        for record, words, (latent, shape), (other, _), (vector, _) in zip(
            records, said, latents, mirrored, vectors, strict=False
        ):
            made.append(
                replace(settle_captions(record, words), latent=latent, shape=shape, mirrored=other, vector=vector)
            )
        captions = [record.caption for record in made]
        if self.fitting is None:
            fits = [0.0] * len(made)
        else:
            fits = self.fitting.score(inside[: len(made)], captions)
        return list(zip(made, fits, strict=True))

    def _caption(self, part: list[Item], images: Tensor) -> list[str]:
        """What the captioner says of each image that has no caption; nothing of those that it is spared."""
        asked = []
        for _, record, image in part:
            asked.append(not record.caption and (is_rendered(image) or not self.spares))
        if self.captioner is None or not any(asked):
            return [""] * len(part)
        captions = self.captioner.caption(images)
        words = []
        for caption, wanted in zip(captions, asked, strict=False):
            if wanted:
                words.append(caption)
            else:
                words.append("")
        return words


def shard_names(count: int, size: int) -> list[str]:
    """Name the files of the shards as `datasets` does.

    Args:
        count: The number of images.
        size: The number of images in a shard.

    Returns:
        The file names, in order.
    """
    shards = -(-count // size)
    names = []
    for shard in range(shards):
        names.append(f"data-{shard:05d}-of-{shards:05d}.arrow")
    return names


def encode_shards(
    folder: Path,
    source: Source,
    plan: Plan,
    size: int,
    shards: Sequence[int],
    networks: Networks,
    count: Callable[[int], None],
) -> Iterator[int]:
    """Encode some shards and write them, in order.

    Args:
        folder: The prepared folder.
        source: Where the images come from.
        plan: The images taken.
        size: The number of images in a shard.
        shards: The numbers of the shards to write.
        networks: The models that read the images.
        count: Receives the number of images encoded since its last call.

    Yields:
        The number of each shard that is written.
    """
    files = shard_names(len(plan), size)
    runs = [range(shard * size, min((shard + 1) * size, len(plan))) for shard in shards]
    wanted: list[int] = []
    for run in runs:
        wanted += plan.numbers[run.start : run.stop].tolist()
    images = source.read_images(wanted)
    for shard, run in zip(shards, runs, strict=True):
        (folder / f"pictures/{shard:05d}").mkdir(parents=True, exist_ok=True)
        dealt = (
            (place, replace(record, role=plan.roles[place]), image)
            for place, (record, image) in zip(run, images, strict=False)
        )
        made = records_table(_encode_shard(folder, shard, dealt, networks, count))
        run_dir.write_atomic(folder / files[shard], lambda path, made=made: _write_stream(made, path))  # type: ignore[misc]
        yield shard


def batch_by_shape(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Collect items in batches whose images have one size.

    Args:
        items: Images with their records.

    Yields:
        Lists of `BATCH` items as soon as they are full; the incomplete lists at the end.
    """
    waiting: dict[tuple[int, int], list[Item]] = {}
    for item in items:
        part = waiting.setdefault(item[2].size, [])
        part.append(item)
        if len(part) == BATCH:
            yield waiting.pop(item[2].size)
    yield from waiting.values()


def center_square(images: Tensor) -> Tensor:
    """Cut out the central squares.

    Args:
        images: Images [B, 3, H, W].

    Returns:
        Images [B, 3, min(H, W), min(H, W)].
    """
    high, wide = images.shape[-2:]
    side = min(high, wide)
    top, left = (high - side) // 2, (wide - side) // 2
    return images[..., top : top + side, left : left + side]


def pad_batch(images: list[Image.Image]) -> Tensor:
    """Stack images to a batch of fixed size; the last image is repeated where there are too few.

    Args:
        images: From 1 to `BATCH` images of one size (W, H).

    Returns:
        Images [BATCH, 3, H, W] in [-1, 1].
    """
    return to_tensor(images + images[-1:] * (BATCH - len(images)))


def encode_file(image: Image.Image, kind: str) -> bytes:
    """Encode an image as the file that the prepared folder keeps.

    Args:
        image: The image.
        kind: `png`, `jpeg` or `webp`.

    Returns:
        The bytes of the file.
    """
    buffer = BytesIO()
    image.save(buffer, kind, **KINDS[kind], **encode_mark(image))
    return buffer.getvalue()


def _encode_shard(
    folder: Path, shard: int, items: Iterable[Item], networks: Networks, count: Callable[[int], None]
) -> list[Record]:
    """The records of a shard in order, their images written; those whose captions fit least are left out."""
    records: dict[int, Record] = {}
    fits: dict[int, float] = {}

    def keep(item: Item) -> str:
        file = f"pictures/{shard:05d}/{item[1].id}.{networks.kind}"
        run_dir.write_atomic(
            folder / file, encode_file(item[2], networks.kind), flush=False
        )  # without its shard it is made again
        return file

    for part in batch_by_shape(items):
        files = map_threads(keep, part, torch.get_num_threads())
        for (place, _, _), (record, fit), file in zip(part, networks.encode_batch(part), files, strict=True):
            records[place] = replace(record, file=file)
            if record.caption and record.role != "heldout":
                fits[place] = fit
        count(len(part))
    if networks.fitting is not None:
        gone = networks.fitting.find_misfits(fits)
        rows = []
        for place in gone:
            rows.append({"id": records[place].id, "caption": records[place].caption, "fit": round(fits[place], 4)})
        (folder / MISFITS).mkdir(exist_ok=True)
        run_dir.write_atomic(folder / MISFITS / f"{shard:05d}.jsonl", run_dir.to_jsonl(rows))
        for place in gone:
            (folder / records.pop(place).file).unlink(missing_ok=True)
    return [records[place] for place in sorted(records)]


def _source_numbers(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _write_stream(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)
