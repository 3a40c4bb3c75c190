"""The verb `prepare`: a source's pictures, captions, latents and vectors, in a folder that `datasets` opens.

    prepared/
        manifest.json  README.md  card/                                  what it is, and a look at it
        dataset_info.json  state.json  data-00000-of-00012.arrow ...     as datasets.load_from_disk expects
        pictures/00000/ID.png                                            a folder for each shard
        notes/  quarantine.jsonl  duplicates.jsonl                       what the first pass found

Two passes, both in shards that any number of processes share (`crew`). The first reads every picture, checks and hashes
it. Then each process makes the same plan of all notes: duplicates grouped, roles dealt, a sample taken. The second
pass encodes what the plan took. Only pictures of one shard are ever in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import DatasetInfo

from emoscene import config as configs
from emoscene import plugins, stage
from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.data import card, encoding, estimate, notes, splits
from emoscene.data.checks import quiet
from emoscene.data.crew import Crew
from emoscene.data.encoding import Networks
from emoscene.data.planning import Plan, plan, refused
from emoscene.data.records import FEATURES
from emoscene.data.sources.base import Source
from emoscene.encoders.base import located, opened
from emoscene.errors import Usage

SHARD = 1024  # pictures


@dataclass(frozen=True)
class Config:
    """What is done with any source's pictures."""

    captioner: str = option("", "a BLIP, folder or hub id, for pictures without a caption; empty: the base's; or none")
    emotion_clip: str = option("", "folder of the EmotionCLIP whose vectors are kept; empty: the base's own, if any")
    balanced: bool = option(False, "a --limit is shared equally by the emotions, and not as they are found")
    alike: int = option(4, "bits of 64 in which near duplicates may differ; -1: exact ones alone", span=(-1, 8))
    spoilt: float = option(0.2, "share of refused pictures above which the job stops", span=(0.0, 1.0), late=True)
    kind: str = option("png", "format of the pictures kept", choices=("png", "jpeg", "webp"))


def prepare(
    source: str,
    *,
    out: str | Path,
    root: str | Path | None = None,
    limit: int | None = None,
    per_emotion: int | None = None,
    split: str = "roles",
    dry_run: bool = False,
    base: str = "mini",
    device: str = "cpu",
    tell: Callable[[str], None] = print,
    **settings: Any,
) -> Path:
    """Prepare a source's pictures for training; returns the folder. The same call goes on where it stopped.

    limit, per_emotion: at most so many, in all and of each emotion. split: `roles`, `official` or shares such as
    `methods:0.8,heldout:0.2`. dry_run: say what it would be, and write nothing. settings: fields of `Config` here and
    of the source's own. Raises Usage for words that are off, Failure for what could not be done.
    """
    cls: type[Source] = plugins.find("sources", source)
    config, own = _settings(cls, settings)
    for word, number in (("--limit", limit), ("--per-emotion", per_emotion)):
        if number is not None and number < 1:
            raise Usage(f"{word} {number} leaves no picture: give 1 or more")
    if cls.deals and (split != "roles" or per_emotion):
        raise Usage(f"{source} deals its pictures itself: leave out --split and --per-emotion, and see its settings")
    splits.read(split)
    backbone = Backbone.load(base, _own(device))
    eyes, voice = companions(backbone, config.emotion_clip, config.captioner)
    mark = {"emotion_clip": stage.fingerprint(located(eyes))} if eyes else {}
    call = {"source": source, "root": root, "limit": limit, "per_emotion": per_emotion, "split": split, "base": base}
    call |= {**_lasting(config), **_lasting(own), **mark, "captioner": voice}
    pictures = cls(None if root is None else Path(root), own, backbone.size, limit)
    if not len(pictures):
        raise Usage(f"{source} has no picture at {root}: is it the right folder?")
    eyed = networks(backbone, eyes, voice, config.kind)
    if dry_run:
        taken = estimate.taken(len(pictures), limit, per_emotion)
        for line in estimate.lines(pictures, eyed, taken):
            tell(line)
        return Path(out)
    begun = stage.Stage.open(out, "prepared", call)
    if not begun.done:
        share = {"split": split, "limit": None if cls.deals else limit, "each": per_emotion}
        job = Job(begun, pictures, eyed, config, {**share, "balanced": config.balanced}, source, mark, tell)
        with quiet():
            _run(job)
    return begun.path


@dataclass(frozen=True)
class Job:
    """One call of the verb under way."""

    stage: stage.Stage
    pictures: Source
    networks: Networks
    config: Config
    choice: Mapping[str, Any]
    source: str
    mark: Mapping[str, str]
    tell: Callable[[str], None]


def _run(job: Job) -> None:
    folder, total = job.stage.path, len(job.pictures)
    with Crew(folder) as crew:
        found = [folder / "notes" / name.replace("data", "notes") for name in encoding.names(total, SHARD)]
        if not all(path.exists() for path in found):
            job.tell(f"{job.source}: checking {total} pictures")
        found[0].parent.mkdir(exist_ok=True)
        crew.complete(found, partial(_note, job, found))
        chosen = _plan(job, notes.load(found), crew.rank == 0)
        size, kind = job.networks.backbone.size, job.config.kind
        estimate.room(folder, len(chosen), size, kind)
        job.tell(f"{len(chosen)} pictures of {size} px, latents by {job.networks.backbone.name}")
        parts = [folder / name for name in encoding.names(len(chosen), SHARD)]
        crew.complete(
            parts, lambda mine: encoding.encode(folder, job.pictures, chosen, SHARD, mine, job.networks, job.tell)
        )
        crew.close(lambda: stage.read(folder)["state"] == "done", lambda: _finish(job, chosen, parts))


def _note(job: Job, paths: list[Path], shards: list[int]) -> None:
    """The first pass over these shards."""
    for shard in shards:
        run = range(shard * SHARD, min((shard + 1) * SHARD, len(job.pictures)))
        stage.write(paths[shard], lambda path, run=run: notes.save(job.pictures.survey(run), path))  # type: ignore[misc]
        if not job.pictures.deals:
            job.tell(f"{run.stop} of {len(job.pictures)} pictures checked")


def _plan(job: Job, found: pa.Table, first: bool) -> Plan:
    """The plan; the first process reports on what was refused and what is alike, also where that is too much."""
    bad = refused(found)
    if first:
        stage.write(job.stage.path / "quarantine.jsonl", _jsonl(bad))
    chosen = plan(found, **job.choice, alike=job.config.alike, spoilt=job.config.spoilt)
    if bad and first:
        job.tell(f"{len(bad)} pictures are refused: {job.stage.path / 'quarantine.jsonl'} says which and why")
    return chosen


def _finish(job: Job, chosen: Plan, parts: list[Path]) -> None:
    """The reports, the index, the card, and the done mark."""
    folder, networks = job.stage.path, job.networks
    stage.write(folder / "quarantine.jsonl", _jsonl(refused(chosen.notes)))
    stage.write(folder / "duplicates.jsonl", _jsonl(list(chosen.alike())))
    index(folder, parts)
    about = chosen.facts()
    if networks.captioner is not None:
        about["captions"] = {"own": about["captions"].get("own", 0)}
        about["captions"]["captioner"] = len(chosen) - about["captions"]["own"]
    about |= {"pictures": len(chosen), "size": networks.backbone.size, "encoder": networks.backbone.encoder}
    about |= {**job.mark, **job.pictures.facts()}
    card.write(folder, job.source, job.pictures.licence, about)
    job.stage.finish(**about)


def index(folder: Path, parts: list[Path]) -> None:
    """The two files that make a data set of the shards, as `datasets` reads them."""
    state: Mapping[str, Any] = {
        "_data_files": [{"filename": path.name} for path in parts],
        "_fingerprint": _digest(parts),
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


def _settings(cls: type[Source], settings: Mapping[str, Any]) -> tuple[Config, Any]:
    """The settings of this file, and the source's own."""
    mine, theirs = configs.fields(Config), configs.fields(cls.Config)
    asked = configs.read([*mine, *theirs], settings)
    here = {option.name for option in mine}
    config = configs.replace(Config(), {key: value for key, value in asked.items() if key in here})
    return config, configs.replace(cls.Config(), {key: value for key, value in asked.items() if key not in here})


def _lasting(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in configs.fields(config) if not field.late}


def _own(device: str) -> str:
    """Under a launcher each process of a machine takes its own device."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


def companions(backbone: Backbone, emotion_clip: str, captioner: str) -> tuple[str, str]:
    """Where EmotionCLIP and the captioner are; nothing where there is none, or none is wanted."""
    voice = "" if captioner == "none" else captioner or backbone.companion("captioner")
    return emotion_clip or backbone.companion("emotion_clip"), voice


def networks(backbone: Backbone, eyes: str, voice: str, kind: str = "png") -> Networks:
    """All that reads a picture, from its place. Raises Usage for a place that holds something else."""
    reader = opened("emotion_clip", eyes, backbone.device) if eyes else None
    return Networks(backbone, reader, opened("captioner", voice, backbone.device) if voice else None, kind)


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _digest(parts: list[Path]) -> str:
    """One digest of all shards, for `datasets`."""
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
