"""The end of `prepare`: the files that make a data set of the shards, the reports, the card, and the done mark.

The shards are read again, because they may hold less than was planned: captions that fit least were dropped there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import DatasetInfo, load_from_disk

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError
from emoscene.data import card
from emoscene.data.cautions import count_captions, list_cautions
from emoscene.data.encoding import Networks
from emoscene.data.listing import count_unused
from emoscene.data.planning import Plan, count_classes, list_gaps, list_refused
from emoscene.data.records import FEATURES
from emoscene.data.sources.base import Source


def finish_dataset(
    opened: run_dir.RunDir,
    chosen: Plan,
    parts: list[Path],
    networks: Networks,
    images: Source,
    facts: Mapping[str, Any],
) -> None:
    """Write the files beside the shards, and mark the folder as done.

    Args:
        opened: The prepared folder.
        chosen: The plan that was carried out.
        parts: The shards' files.
        networks: The models that read the images.
        images: The source of the images.
        facts: Entries for the manifest, beside those found here.
    """
    folder = opened.path
    run_dir.write_atomic(folder / "quarantine.jsonl", run_dir.to_jsonl(list_refused(chosen.notes)))
    run_dir.write_atomic(folder / "duplicates.jsonl", run_dir.to_jsonl(chosen.duplicate_rows()))
    write_index(folder, parts)
    kept = _load_columns(folder, parts, ["role", "emotion", "weights", "shape"])
    count, factor = len(kept["role"]), networks.backbone.vae_scale_factor
    shapes = Counter(f"{wide * factor}x{high * factor}" for _, high, wide in kept["shape"])
    about = {**chosen.facts(), **count_classes(kept["role"], kept["emotion"]), **facts, **images.facts()}
    if networks.captioner is not None:
        about["captions"] = count_captions(chosen, networks.spares)
    if networks.fitting is not None:
        about["captions"]["dropped"] = len(chosen) - count
    about |= {"pictures": count, "size": networks.backbone.default_size, "shapes": dict(shapes.most_common())}
    about |= {"mixtures": sum(sum(map(bool, weights)) > 1 for weights in kept["weights"])}
    if gaps := list_gaps(kept["role"], np.asarray(kept["weights"]), chosen.expected):
        about["gaps"] = gaps
    if unused := count_unused(images):
        about["unused"] = unused
    about |= {"flips": networks.flips, "vae_fingerprint": networks.backbone.vae_fingerprint}
    if sentences := list_cautions(networks, chosen.find_rendered(), chosen.list_caption_sources()):
        about["cautions"] = sentences
    card.write_card(folder, images.licence, about)
    opened.finish(**about)


def _load_columns(folder: Path, parts: list[Path], columns: list[str]) -> dict[str, Any]:
    """Columns of all shards. Raises EmosceneError where a shard, perhaps of a call that was killed, is damaged."""
    for part in parts:
        try:
            with pa.memory_map(str(part)) as file:
                pa.ipc.open_stream(file).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise EmosceneError(f"{part} is damaged ({error}): delete it, and call again as before") from error
    found: dict[str, Any] = load_from_disk(str(folder)).select_columns(columns)[:]
    return found


def write_index(folder: Path, parts: list[Path]) -> None:
    """Write the two files by which `datasets` reads the shards as one data set.

    Args:
        folder: The prepared folder.
        parts: The shards' files.
    """
    state: Mapping[str, Any] = {
        "_data_files": [{"filename": path.name} for path in parts],
        "_fingerprint": _digest_shards(parts),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    run_dir.write_atomic(folder / "state.json", json.dumps(state, indent=2).encode())
    buffer = BytesIO()
    DatasetInfo(features=FEATURES)._dump_info(buffer, pretty_print=True)
    run_dir.write_atomic(folder / "dataset_info.json", buffer.getvalue())


def _digest_shards(parts: list[Path]) -> str:
    """One digest of all shards, for `datasets`."""
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
