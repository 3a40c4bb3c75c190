"""The verb `prepare`: a source's pictures, captions, latents and vectors, in a folder that `datasets` opens.

    prepared/
        manifest.json  README.md  card/                                  what it is, and a look at it
        dataset_info.json  state.json  data-00000-of-00012.arrow ...     as datasets.load_from_disk expects
        pictures/00000/ID.png                                            a folder for each shard
        notes/  quarantine.jsonl  duplicates.jsonl                       what the first pass found
        logs/files.json                                                  the files' sizes and times: see `listing`
        misfits/00000.jsonl                                              captions that were dropped, if that was asked

Two passes, both in shards that any number of processes share (`crew`). The first reads every picture, checks and hashes
it. Then each process makes the same plan of all notes: duplicates grouped, roles dealt, a sample taken. The second
pass encodes what the plan took. Only pictures of one shard are ever in memory.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from emoscene import config as configs
from emoscene import device as devices
from emoscene import plugins, stage
from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.data import encoding, estimate, notes, splits
from emoscene.data.cautions import list_cautions
from emoscene.data.checks import quiet
from emoscene.data.crew import Crew
from emoscene.data.encoding import Networks
from emoscene.data.finishing import finish
from emoscene.data.fitting import Fitting
from emoscene.data.listing import check_files, check_listing, digest_listing
from emoscene.data.notes import Note
from emoscene.data.planning import Plan, plan, refused
from emoscene.data.shapes import buckets
from emoscene.data.sources.base import Source
from emoscene.encoders.base import located, opened
from emoscene.encoders.emotion_clip import worded
from emoscene.errors import Failure, Usage
from emoscene.world.marks import is_miniature

SHARD = 1024  # pictures
LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Config:
    """What is done with any source's pictures."""

    captioner: str = option("", "a BLIP, folder or hub id, for pictures without a caption; empty or base: the base's")
    emotion_clip: str = option("", "folder of the EmotionCLIP whose vectors are kept; empty: the base's own, if any")
    balanced: bool = option(False, "a --limit is shared equally by the emotions, and not as they are found")
    alike: int = option(4, "bits of 64 in which near duplicates may differ; -1: exact ones alone", span=(-1, 8))
    spoilt: float = option(0.2, "share of refused pictures above which the job stops", span=(0.0, 1.0), late=True)
    kind: str = option("png", "format of the pictures kept", choices=("png", "jpeg", "webp"))
    flips: bool = option(False, "keep the latents of the mirrored pictures too; training then takes either")
    buckets: bool = option(False, "cut to the nearest of a few shapes of about equal area, not to the middle square")
    misfits: float = option(0.0, "share of captions that fit least, dropped with their pictures", span=(0.0, 0.9))
    clip: str = option("", "folder of the CLIP that tells how captions fit; empty: the EmotionCLIP")


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
    device: str | None = None,
    tell: Callable[[str], None] = print,
    watch: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Path:
    """Prepare a source's pictures for training; returns the folder. The same call goes on where it stopped.

    limit, per_emotion: at most so many, in all and of each emotion. split: `roles`, `official` or shares such as
    `methods:0.8,heldout:0.2`. dry_run: say what it would be, and write nothing. device: the best there is, if left out.
    watch: hears done and total of each pass. settings: fields of `Config` here and of the source's own. Raises Usage
    for words that are off, Failure for what could not be done.
    """
    cls: type[Source] = plugins.find("sources", source)
    config, own = configs.parted(settings, Config(), cls.Config())
    for word, number in (("--limit", limit), ("--per-emotion", per_emotion)):
        if number is not None and number < 1:
            raise Usage(f"{word} {number} leaves no picture: give 1 or more")
    if cls.deals and (split != "roles" or per_emotion):
        raise Usage(f"{source} deals its pictures itself: leave out --split and --per-emotion, and see its settings")
    splits.read(split)
    place = devices.chosen(device)
    with devices.explain_full_memory(devices.NO_ROOM.format(base=base)):
        backbone = Backbone.load(base, place)
    eyes, voice = companions(backbone, config.emotion_clip, config.captioner)
    mark = {"emotion_clip": stage.fingerprint(located(eyes))} if eyes else {}
    call = {"source": source, "root": root, "limit": limit, "per_emotion": per_emotion, "split": split, "base": base}
    call |= {**_lasting(config), **_lasting(own), **mark, "captioner": voice}
    call |= {"captioner_asked": True} if is_miniature(voice) and config.captioner else {}
    pictures = cls(None if root is None else Path(root), own, backbone.size, limit)
    if not len(pictures):
        raise Usage(f"{source} has no picture at {root}: is it the right folder?")
    if config.buckets:
        pictures.sizes = buckets(backbone.size, backbone.unit)
    call |= {**pictures.facts(), **digest_listing(pictures)}  # a hub's commit above all, and what its files held
    eyed = _networks(config, backbone, eyes, voice)
    if dry_run:
        taken = estimate.taken(len(pictures), limit, per_emotion)
        for line in estimate.lines(pictures, eyed, taken):
            tell(line)
        return Path(out)
    with quiet(), _writable(Path(out)):
        check_listing(Path(out), call)
        begun = stage.Stage.open(out, "prepared", call)
        check_files(begun.path, pictures, _notes(begun.path, len(pictures)), tell)
        if not begun.done:
            share = {"split": split, "limit": None if cls.deals else limit, "each": per_emotion}
            share |= {"balanced": config.balanced}
            _run(Job(begun, pictures, eyed, config, share, source, mark, tell, watch or _unwatched))
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
    watch: Callable[[int, int], None]

    def counter(self, total: int, there: int, world: int) -> Callable[[int], None]:
        """Hears how many pictures more are done, and says how many that makes if all processes are as fast."""
        done = there

        def count(more: int) -> None:
            nonlocal done
            done = min(total, done + more * world)
            self.watch(done, total)

        return count


def _run(job: Job) -> None:
    folder, total = job.stage.path, len(job.pictures)
    with Crew(folder) as crew:
        if crew.rank:
            job = replace(job, tell=_silent, watch=_unwatched)
        found = _notes(folder, total)
        if not all(path.exists() for path in found):
            job.tell(f"{job.source}: checking {total} pictures")
        found[0].parent.mkdir(exist_ok=True)
        crew.complete(found, partial(_note, job, found, job.counter(total, SHARD * _there(found), crew.world)))
        job.pictures.noted = notes.load(found)
        chosen = _plan(job, job.pictures.noted, crew.rank == 0)
        estimate.room(folder, len(chosen), job.networks.backbone.size, job.config.kind)
        parts = [folder / name for name in encoding.names(len(chosen), SHARD)]
        count = job.counter(len(chosen), SHARD * _there(parts), crew.world)
        crew.complete(
            parts,
            lambda mine: encoding.encode(folder, job.pictures, chosen, SHARD, mine, job.networks, job.tell, count),
        )
        crew.close(
            lambda: stage.read(folder)["state"] == "done",
            lambda: finish(job.stage, chosen, parts, job.networks, job.pictures, {"source": job.source, **job.mark}),
        )


def _notes(folder: Path, total: int) -> list[Path]:
    """The files of the first pass."""
    return [folder / "notes" / name.replace("data", "notes") for name in encoding.names(total, SHARD)]


def _there(parts: Sequence[Path]) -> int:
    return sum(part.exists() for part in parts)


def _note(job: Job, paths: list[Path], count: Callable[[int], None], shards: list[int]) -> None:
    """The first pass over these shards."""

    def counted(run: range) -> Iterator[Note]:
        for note in job.pictures.survey(run):
            yield note
            count(1)

    for shard in shards:
        run = range(shard * SHARD, min((shard + 1) * SHARD, len(job.pictures)))
        stage.write(paths[shard], lambda path, run=run: notes.save(counted(run), path))  # type: ignore[misc]
        if not job.pictures.deals:
            job.tell(f"{run.stop} of {len(job.pictures)} pictures checked")


def _plan(job: Job, found: pa.Table, first: bool) -> Plan:
    """The plan; the first process reports on what was refused and what is alike, also where that is too much."""
    bad = refused(found)
    if first:
        stage.write(job.stage.path / "quarantine.jsonl", stage.lines(bad))
    chosen = plan(found, **job.choice, alike=job.config.alike, spoilt=job.config.spoilt)
    if bad:
        job.tell(f"{len(bad)} pictures are refused: {job.stage.path / 'quarantine.jsonl'} says which and why")
    for line in [*chosen.lines(), *list_cautions(job.networks, chosen.rendered(), chosen.worded())]:
        job.tell(line)
    backbone = job.networks.backbone
    sizes = ", ".join(f"{wide}x{high}" for wide, high in job.pictures.sizes)
    job.tell(f"{len(chosen)} pictures of {sizes} pixels: words, latents by {backbone.name}, vectors")
    return chosen


def _lasting(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in configs.fields(config) if not field.late}


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Raises Failure, with what to do, where the folder must not be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in LOCKED:
            raise
        raise Failure(
            f"{error.filename or out} cannot be written ({error.strerror}): give --out a folder that may be written, "
            "or see to its permissions and call again as before; what is finished stays"
        ) from error


def _unwatched(done: int, total: int) -> None:
    """Nobody looks."""


def _silent(sentence: str) -> None:
    """The first process speaks for all."""


def _networks(config: Config, backbone: Backbone, eyes: str, voice: str) -> Networks:
    """All that reads a picture, which of it is the miniature's, and whether its captioner is spared other images."""
    places = {"emotion_clip": eyes, "captioner": voice, "clip": (config.clip or eyes) if config.misfits else ""}
    return replace(
        networks(backbone, eyes, voice, config.kind),
        flips=config.flips,
        fitting=_fitting(config, eyes, backbone),
        miniature=tuple(name for name, place in places.items() if is_miniature(place)),
        spares=is_miniature(voice) and not config.captioner,
    )


def _fitting(config: Config, eyes: str, backbone: Backbone) -> Fitting | None:
    """What tells how captions fit, where some are to be dropped. Raises Usage where there is no CLIP."""
    if not config.misfits:
        return None
    if not (config.clip or eyes):
        raise Usage("misfits= needs a CLIP that tells how captions fit: give clip=FOLDER, or an emotion_clip=")
    return Fitting(worded(config.clip or eyes, backbone.device), config.misfits)


def companions(backbone: Backbone, emotion_clip: str, captioner: str) -> tuple[str, str]:
    """Where EmotionCLIP and the captioner are; nothing where there is none, or none is wanted."""
    voices = {"": backbone.companion("captioner"), "base": backbone.companion("captioner"), "none": ""}
    voice = voices.get(captioner, captioner)
    return emotion_clip or backbone.companion("emotion_clip"), voice


def networks(backbone: Backbone, eyes: str, voice: str, kind: str = "png") -> Networks:
    """All that reads a picture, from its place. Raises Usage for a place that holds something else."""
    reader = opened("emotion_clip", eyes, backbone.device) if eyes else None
    return Networks(backbone, reader, opened("captioner", voice, backbone.device) if voice else None, kind)
