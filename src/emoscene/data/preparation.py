"""The verb `prepare`: a source's pictures, captions, latents and vectors, in a folder that `datasets` opens.

    prepared/
        manifest.json  README.md
        dataset_info.json  state.json  data-00000-of-00012.arrow ...     as datasets.load_from_disk expects
        pictures/ID.png

Latents are computed once, in batches of one fixed size (the last one padded), so that they do not depend on how many
pictures were asked for; in the same pass EmotionCLIP, where there is one, reads each picture's vector. A shard is
written whole after its pictures; one that lies there is not made again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import DatasetInfo, load_from_disk
from PIL import Image

from emoscene import __version__, plugins, stage
from emoscene import config as configs
from emoscene import learner as learners
from emoscene.backbone import Backbone
from emoscene.data.records import FEATURES, Record, packed, table
from emoscene.data.sources.base import Source
from emoscene.emotions import EMOTIONS
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.errors import Usage

HOME = Path(__file__).parent.parent
SHARD = 512  # pictures
BATCH = 32  # pictures encoded at once


def prepare(
    source: str,
    *,
    out: str | Path,
    root: str | Path | None = None,
    limit: int | None = None,
    base: str = "mini",
    emotion_clip: str | Path | None = None,
    device: str = "cpu",
    tell: Callable[[str], None] = print,
    **settings: Any,
) -> Path:
    """Prepare a source's pictures for training; returns the folder. The same call goes on where it stopped.

    emotion_clip: the folder of an EmotionCLIP, whose vectors `multimodal` learns from; left out, the base's own if it
    has one. settings: fields of the source's `Config`. Raises Usage for words that are off.
    """
    cls: type[Source] = plugins.find("sources", source)
    config = configs.replace(cls.Config(), settings)
    if limit is not None and limit < 1:
        raise Usage(f"--limit {limit} leaves no picture: give 1 or more")
    lasting = {field.name: getattr(config, field.name) for field in configs.fields(config) if not field.late}
    backbone = Backbone.load(base, device)
    own = HOME / backbone.spec.emotion_clip if backbone.spec.emotion_clip else None
    eyes = Path(emotion_clip) if emotion_clip else own
    reader = None if eyes is None else _reader(eyes, backbone)
    mark = {} if eyes is None else {"emotion_clip": stage.fingerprint(eyes)}
    call = {"source": source, "root": root, "limit": limit, "base": base, **mark, **lasting}
    pictures = cls(None if root is None else Path(root), config, backbone.size, limit)
    opened = stage.Stage.open(out, "prepared", call)
    if opened.done:
        return opened.path
    tell(f"{source}: {len(pictures)} pictures of {backbone.size} px, latents by {base}")
    _shards(opened.path, pictures, backbone, reader, tell)
    facts = {"pictures": len(pictures), "size": backbone.size, "encoder": backbone.encoder, **mark}
    _describe(opened.path, source, facts)
    opened.finish(**facts)
    return opened.path


def _reader(folder: Path, backbone: Backbone) -> EmotionCLIP:
    """What reads the vectors. Raises Usage for a folder that holds something else."""
    found = learners.load("encoders", folder, None)
    if not isinstance(found, EmotionCLIP):
        raise Usage(f"{folder} is no EmotionCLIP: emoscene train emotion_clip makes one")
    return found.to(backbone.device)


def _shards(
    folder: Path, source: Source, backbone: Backbone, reader: EmotionCLIP | None, tell: Callable[[str], None]
) -> None:
    """Every shard that is not there yet, then the two files that make a data set of them."""
    (folder / "pictures").mkdir(exist_ok=True)
    count = -(-len(source) // SHARD)
    names = [f"data-{shard:05d}-of-{count:05d}.arrow" for shard in range(count)]
    runs = [range(shard * SHARD, min((shard + 1) * SHARD, len(source))) for shard in range(count)]
    missing = [shard for shard in range(count) if not (folder / names[shard]).exists()]
    pictures = source.pictures([number for shard in missing for number in runs[shard]])
    for shard in missing:
        made = table(_encoded(folder, islice(pictures, len(runs[shard])), backbone, reader))
        stage.write(folder / names[shard], lambda path, made=made: _stream(made, path))  # type: ignore[misc]
        tell(f"{runs[shard].stop} of {len(source)} pictures")
    state: Mapping[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": stage.fingerprint(folder)[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    stage.write(folder / "state.json", json.dumps(state, indent=2).encode())
    buffer = BytesIO()
    DatasetInfo(features=FEATURES)._dump_info(buffer, pretty_print=True)
    stage.write(folder / "dataset_info.json", buffer.getvalue())


def _encoded(
    folder: Path, pictures: Iterator[tuple[Record, Image.Image]], backbone: Backbone, reader: EmotionCLIP | None
) -> Iterator[Record]:
    """The records, their pictures written and their latents and vectors filled in."""
    while part := list(islice(pictures, BATCH)):
        images = _padded([picture for _, picture in part]).to(backbone.device)
        latents = packed(_numbers(backbone.encode(images)))
        vectors = [(b"", ())] * BATCH if reader is None else packed(_numbers(_vectors(reader, images)))
        for (record, picture), (latent, shape), (vector, _) in zip(part, latents, vectors, strict=False):
            file = f"pictures/{record.id}.png"
            _keep(picture, folder / file)
            yield replace(record, file=file, latent=latent, shape=shape, vector=vector)


def _padded(pictures: Iterable[Image.Image]) -> torch.Tensor:
    """Pictures as a whole batch [BATCH, 3, H, W], the last one repeated where they are too few."""
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    whole = np.concatenate([pixels, np.repeat(pixels[-1:], BATCH - len(pixels), 0)])
    return torch.from_numpy(whole).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def _vectors(reader: EmotionCLIP, images: torch.Tensor) -> torch.Tensor:
    return reader.encode(images)[1]


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _keep(picture: Image.Image, path: Path) -> None:
    """Write a picture whole; the shard's own fsync comes after, and a picture without its shard is made again."""
    aside = path.with_name(f"{stage.ASIDE}{path.name}")
    picture.save(aside, "PNG", compress_level=4)
    aside.replace(path)


def _stream(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)


def _describe(folder: Path, source: str, facts: Mapping[str, Any]) -> None:
    """A card for people: what is in here, and how to open it."""
    columns = load_from_disk(str(folder)).select_columns(["role", "emotion"])[:]
    roles, emotions = Counter(columns["role"]), Counter(columns["emotion"])
    lines = [
        f"# {facts['pictures']} pictures from `{source}`, prepared for emoscene {__version__}",
        "",
        "Open it with `datasets.load_from_disk(FOLDER)` or `emoscene.data.dataset.Prepared(FOLDER)`.",
        f"Pictures are {facts['size']} px square; `latent` is raw half precision, to be shaped by `shape`.",
        "",
        *(f"- role `{role}`: {count}" for role, count in roles.items()),
        *(f"- {name}: {emotions[number]}" for number, name in enumerate(EMOTIONS)),
        f"- neutral (emotion -1): {emotions[-1]}",
        "",
    ]
    stage.write(folder / "README.md", "\n".join(lines).encode())
