"""The verb `prepare`: a source's images, captions, latents and vectors, in a folder that `datasets` opens.

    prepared/
        manifest.json  README.md  card/                                  what it is, and a look at it
        dataset_info.json  state.json  data-00000-of-00012.arrow ...     as datasets.load_from_disk expects
        pictures/00000/ID.png                                            a folder for each shard
        notes/  quarantine.jsonl  duplicates.jsonl                       what the first pass found
        logs/files.json                                                  the files' sizes and times: see `listing`
        misfits/00000.jsonl                                              captions that were dropped, if that was asked

Two passes, both in shards, which the workers of a Ray cluster may share (`core.cluster`). The first reads every image,
checks and hashes it. Then each process makes the same plan of all notes: duplicates grouped, roles assigned, a sample
taken. The second pass encodes what the plan took. Only images of one shard are ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from emoscene.core import config as configs
from emoscene.core import paths, registry, run_dir
from emoscene.core.callbacks import Callbacks, ignore_event
from emoscene.core.cluster import Cluster, Make, check_address, complete_parts, open_cluster
from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.image_origin import is_of_rendered_world
from emoscene.core.plain_text import format_count
from emoscene.core.processes import BY_RAY, check_single
from emoscene.data import encoding, estimate, notes, splits
from emoscene.data.aspect_buckets import bucket_sizes
from emoscene.data.caption_filter import CaptionFilter
from emoscene.data.cautions import list_cautions
from emoscene.data.contradictions import refuse_contradictions, report_contradictions
from emoscene.data.dataset import check_parts
from emoscene.data.encoding import Networks
from emoscene.data.finishing import finish_dataset
from emoscene.data.image_checks import silence_pillow
from emoscene.data.listing import check_files, check_form, check_listing, check_outside, digest_listing, report_unused
from emoscene.data.networks import check_filter, choose_auxiliary_models, load_networks
from emoscene.data.notes import ImageNote
from emoscene.data.planning import QUARANTINE, Plan, list_refused, make_plan
from emoscene.data.sources.base import SIDE_UNKNOWN, Source
from emoscene.diffusion import hub
from emoscene.diffusion.base_spec import check_base, find_spec
from emoscene.diffusion.device import NO_ROOM, explain_base, explain_full_memory
from emoscene.diffusion.device_choice import choose_device, choose_dtype
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import check_encoder, locate_model
from emoscene.encoders.emotion_clip import load_text_clip

SHARD = 1024  # images


@dataclass(frozen=True)
class Config:
    """What is done with any source's images."""

    captioner: str = option("", "a BLIP, folder or hub id, for images without a caption; empty or base: the base's")
    emotion_clip: str = option("", "folder of the EmotionCLIP whose vectors are kept; empty: the base's own, if any")
    balanced: bool = option(False, "a --limit is shared equally by the emotions, and not as they are found")
    alike: int = option(4, "bits of 64 in which near duplicates may differ; -1: exact ones alone", span=(-1, 8))
    spoilt: float = option(0.2, "share of refused images above which the job stops", span=(0.0, 1.0), runtime=True)
    kind: str = option("png", "format of the images kept", choices=("png", "jpeg", "webp"))
    flips: bool = option(False, "keep the latents of the mirrored images too; training then takes either")
    buckets: bool = option(False, "cut to the nearest of a few shapes of about equal area, not to the middle square")
    misfits: float = option(0.0, "share of captions that fit least, dropped with their images", span=(0.0, 0.9))
    clip: str = option("", "folder of the CLIP that tells how captions fit; empty: the EmotionCLIP")


def prepare(
    source: str,
    *,
    out: str | Path,
    root: str | Path | None = None,
    limit: int | None = None,
    per_emotion: int | None = None,
    split: str | None = None,
    dry_run: bool = False,
    base: str = "mini",
    device: str | None = None,
    dtype: str | None = None,
    ray: str | None = None,
    on_message: Callable[[str], None] = print,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Path:
    """Prepare a source's images for training. The same call continues where it stopped.

    Args:
        source: The name of the source, such as `emoset`, `imagefolder`, `hub` or `mini`.
        out: The folder to write.
        root: Where the source reads: a folder or a hub id.
        limit: The largest number of images, at least 1; all if left out.
        per_emotion: The largest number of images of each emotion, at least 1; all if left out.
        split: `no-judge` (if left out) leaves judges no image, `roles` as many as methods; `official`; or shares such
            as `methods:0.8,heldout:0.2`.
        dry_run: Report what would be done, and write nothing.
        base: The base whose autoencoder encodes the images.
        device: `cuda`, `cuda:1`, `xpu`, `mps` or `cpu`; the best there is if left out.
        dtype: `float32`, `float16` or `bfloat16`, in which the autoencoder computes; single if left out, since latents
            are made once.
        ray: The Ray cluster whose workers share the images: `auto`, or its address.
        on_message: Receives sentences about the progress.
        on_progress: Receives the numbers of images done and in total, in each pass.
        settings: Fields of `Config` and of the source's own `Config`.

    Returns:
        The prepared folder.

    Raises:
        UsageError: An argument is wrong.
        EmosceneError: The job cannot be done.

    Example:
        >>> prepare("imagefolder", root="photos", out="prepared", limit=1000)
        PosixPath('prepared')
    """
    check_single("prepare", BY_RAY)
    check_address(ray)
    if ray is None or dry_run:
        where = _choose_place(device, dtype)
    else:
        where = _choose_place("cpu", None)  # GPUs are the workers'
    folder = paths.check_utf8(out)
    open_call = partial(_open_call, SHARD, source, folder, root, limit, per_emotion, split, base, settings)
    asked = open_call()
    call = {"source": source, "root": root, "limit": limit, "per_emotion": per_emotion}
    call |= {"base": base, **asked.describe()}
    if dtype not in {None, "float32"}:
        call["dtype"] = dtype
    if dry_run:
        networks = _load_job(asked, *where).networks
        taken = estimate.limit_plan(len(asked.images), limit, per_emotion)
        for line in estimate.report_lines(asked.images, networks, taken):
            on_message(line)
        return Path(out)
    with silence_pillow(), estimate.check_writable(Path(out)):
        check_outside(asked.folder, asked.images)
        check_listing(asked.folder, call)
        run_dir.RunDir.find(out, "prepared", call)  # refuses another call's folder before the base is loaded
        job = replace(_load_job(asked, *where), callbacks=Callbacks(on_message, on_progress or ignore_event))
        with open_cluster(ray, partial(_load_worker, open_call, device, dtype), device) as cluster:
            begun = run_dir.RunDir.open(out, "prepared", call)
            with begun.hold():
                check_files(begun.path, asked.images, job.notes, on_message)
                report_unused(asked.images, on_message)
                if begun.is_done:
                    check_parts(begun.path)
                else:
                    check_form(asked.folder, job.notes)
                if not begun.is_done and cluster is None:
                    on_message(explain_base(job.networks.backbone, device, dtype or "float32", "preparing"))
                if not begun.is_done:
                    _run_job(job, begun, cluster)
    return begun.path


def _choose_place(device: str | None, dtype: str | None) -> tuple[torch.device, torch.dtype]:
    """Where and in what precision the networks compute."""
    place = choose_device(device)
    return place, choose_dtype(dtype or "float32", place)


@dataclass(frozen=True)
class PrepareCall:
    """What a call asks for: its words are checked and its source is listed, and no weights are loaded.

    shard: images in a shard; emotion_clip, captioner: their places, empty for none.
    """

    shard: int
    folder: Path
    images: Source
    config: Config
    choice: Mapping[str, Any]
    source: str
    base: str
    emotion_clip: str
    captioner: str

    @cached_property
    def mark(self) -> dict[str, str]:
        """Which EmotionCLIP it is, if any."""
        if not self.emotion_clip:
            return {}
        return {"emotion_clip": run_dir.fingerprint_folder(locate_model(self.emotion_clip))}

    def describe(self) -> dict[str, Any]:
        """Describe what was asked for, which a continued folder is held against.

        Returns:
            The settings, and what the source is: a hub's commit above all, and what its files held.
        """
        call = {
            "split": self.choice["split"],
            **configs.list_lasting(self.config),
            **configs.list_lasting(self.images.config),
            **self.mark,
        }
        call["captioner"] = self.captioner
        if is_of_rendered_world(self.captioner) and self.config.captioner:
            call["captioner_asked"] = True
        return {**call, **self.images.facts(), **digest_listing(self.images)}


def _open_call(
    shard: int,
    source: str,
    folder: Path,
    root: str | Path | None,
    limit: int | None,
    per_emotion: int | None,
    split: str | None,
    base: str,
    settings: Mapping[str, Any],
) -> PrepareCall:
    """Check the words of a call, then list its source: all that can be refused before the base is loaded."""
    cls: type[Source] = registry.load_plugin("sources", source)
    config, own = configs.split_settings(settings, Config(), cls.Config())
    split = _choose_split(source, cls, limit, per_emotion, split)
    splits.check_balanced(config.balanced, source, cls.deals, limit)
    if root is not None and not Path(root).exists() and not hub.ID.fullmatch(str(root)):
        raise UsageError(f"{root} is not there: give --root, where {source} reads its images")
    run_dir.check_out(folder, "prepared")
    check_base(base)
    emotion_clip, captioner = choose_auxiliary_models(find_spec(base), config.emotion_clip, config.captioner)
    check_encoder("emotion_clip", emotion_clip)
    check_encoder("captioner", captioner)
    check_filter(config.misfits, config.clip, emotion_clip)
    images = _open_source(source, cls, root, own, limit)
    choice = {"split": split, "limit": limit, "each": per_emotion, "balanced": config.balanced}
    if cls.deals:
        choice["limit"] = None
    there = images.official_splits()
    if there is not None and not cls.deals:
        splits.split_shares(split, there)
    return PrepareCall(shard, folder, images, config, choice, source, base, emotion_clip, captioner)


def _load_worker(open_call: Callable[[], PrepareCall], device: str | None, dtype: str | None) -> PrepareJob:
    """All that a worker of a cluster needs to make shards."""
    where = _choose_place(device, dtype)
    return _load_job(open_call(), *where)


def _load_job(asked: PrepareCall, device: torch.device, dtype: torch.dtype) -> PrepareJob:
    """Load the networks of a call; its images are then cut to the sizes of the base."""
    with explain_full_memory(NO_ROOM.format(base=asked.base)):
        backbone = DiffusionModel.load(asked.base, device, dtype)
    side = backbone.default_size
    asked.images.side, asked.images.sizes = side, ((side, side),)
    if asked.config.buckets:
        asked.images.sizes = bucket_sizes(side, backbone.size_multiple)
    return PrepareJob(asked, _load_networks(asked, backbone))


def _choose_split(source: str, cls: type[Source], limit: int | None, per_emotion: int | None, split: str | None) -> str:
    """The split. Raises UsageError for a choice of images that leaves none, or that the source does not offer."""
    for word, number in (("--limit", limit), ("--per-emotion", per_emotion)):
        if number is not None and number < 1:
            raise UsageError(f"{word} {number} leaves no image: give 1 or more")
    if not cls.deals:
        splits.parse_shares(split or splits.DEFAULT)
        return split or splits.DEFAULT
    if split not in {None, "roles"} or per_emotion:
        raise UsageError(f"{source} deals its images itself: leave out --split and --per-emotion, and see its settings")
    return "roles"


def _open_source(name: str, cls: type[Source], root: str | Path | None, own: Any, limit: int | None) -> Source:
    """The source, listed. Raises UsageError where it has no images."""
    folder = None
    if root is not None:
        folder = Path(root)
    source = cls(folder, own, SIDE_UNKNOWN, limit)
    if not len(source):
        raise UsageError(f"{name} has no image at {root}: is it the right folder?")
    return source


@dataclass(frozen=True)
class PrepareJob:
    """One call of the verb under way, in the process that was called or in a worker."""

    asked: PrepareCall
    networks: Networks
    callbacks: Callbacks = field(default_factory=Callbacks)

    @property
    def notes(self) -> list[Path]:
        """The files of the first pass."""
        paths = []
        for name in encoding.shard_names(len(self.asked.images), self.asked.shard):
            paths.append(self.asked.folder / "notes" / name.replace("data", "notes"))
        return paths

    @property
    def parts(self) -> list[Path]:
        """The files of the second pass."""
        names = encoding.shard_names(len(self.plan), self.asked.shard)
        return [self.asked.folder / name for name in names]

    @cached_property
    def all_notes(self) -> pa.Table:
        """The notes, once all are there; a file that stands under two emotions is refused in them."""
        return refuse_contradictions(notes.load_notes(self.notes))

    @cached_property
    def plan(self) -> Plan:
        """What is made of the notes; the images are held against them from then on."""
        asked = self.asked
        asked.images.noted = self.all_notes
        return make_plan(self.all_notes, **asked.choice, alike=asked.config.alike, spoilt=asked.config.spoilt)

    def complete(
        self, parts: Sequence[Path], make: Make, total: int, what: str | None, cluster: Cluster | None
    ) -> None:
        """Make the shards of a pass that are not there, and say how far it is.

        Args:
            parts: The files.
            make: `survey_shards` or `encode_shards`.
            total: The number of images.
            what: What is said of them after their number; nothing is said for None.
            cluster: The workers, if others than this process.
        """
        there = _count_existing(parts)
        for done, _ in enumerate(complete_parts(parts, make, self, cluster), there + 1):
            images = min(total, self.asked.shard * done)
            if cluster is not None:  # this process counts image by image
                self.callbacks.on_progress(images, total)
            if what is not None:
                self.callbacks.on_message(f"{images} of {format_count(total, 'image')}{what}")

    def count_progress(self, parts: Sequence[Path], total: int) -> Callable[[int], None]:
        """Make a function that counts images and reports progress.

        Args:
            parts: The files of the pass; those that are there count as done.
            total: The number of images.

        Returns:
            A function that takes the number of further images done.
        """
        done = self.asked.shard * _count_existing(parts)

        def count(more: int) -> None:
            nonlocal done
            done = min(total, done + more)
            self.callbacks.on_progress(done, total)

        return count


def _run_job(job: PrepareJob, begun: run_dir.RunDir, cluster: Cluster | None) -> None:
    asked, found = job.asked, job.notes
    total = len(asked.images)
    if not all(path.exists() for path in found):
        job.callbacks.on_message(f"{asked.source}: checking {format_count(total, 'image')}")
    found[0].parent.mkdir(exist_ok=True)
    job.complete(found, survey_shards, total, None if asked.images.deals else " checked", cluster)
    _report_plan(job)
    estimate.check_disk_space(asked.folder, len(job.plan), job.networks.backbone.default_size, asked.config.kind)
    job.complete(job.parts, encode_shards, len(job.plan), "", cluster)
    about = {"source": asked.source, **asked.mark}
    finish_dataset(begun, job.plan, job.parts, job.networks, asked.images, about)


def _count_existing(parts: Sequence[Path]) -> int:
    return sum(part.exists() for part in parts)


def survey_shards(job: PrepareJob, shards: Sequence[int], worker: str) -> Iterator[int]:
    """Check and note the images of some shards: the first pass.

    Args:
        job: The job.
        shards: The numbers of the shards.
        worker: The name of the process.

    Yields:
        The number of each shard that is written.
    """
    images = job.asked.images
    paths, total = job.notes, len(images)
    count = job.count_progress(paths, total)

    def count_notes(run: range) -> Iterator[ImageNote]:
        for note in images.survey(run):
            yield note
            count(1)

    for shard in shards:
        run = range(shard * job.asked.shard, min((shard + 1) * job.asked.shard, total))
        run_dir.write_atomic(paths[shard], lambda path, run=run: notes.save_notes(count_notes(run), path))  # type: ignore[misc]
        yield shard


def encode_shards(job: PrepareJob, shards: Sequence[int], worker: str) -> Iterator[int]:
    """Encode and write the images of some shards: the second pass.

    Args:
        job: The job.
        shards: The numbers of the shards.
        worker: The name of the process.

    Yields:
        The number of each shard that is written.
    """
    asked = job.asked
    count = job.count_progress(job.parts, len(job.plan))
    yield from encoding.encode_shards(asked.folder, asked.images, job.plan, asked.shard, shards, job.networks, count)


def _report_plan(job: PrepareJob) -> None:
    """Make the plan; say what was refused and what is alike, also where that is too much."""
    bad, said = list_refused(job.all_notes), job.callbacks.on_message
    quarantine = job.asked.folder / QUARANTINE
    run_dir.write_atomic(quarantine, run_dir.to_jsonl(bad))
    report_contradictions(job.all_notes, said)
    chosen = job.plan
    if bad:
        said(f"{format_count(len(bad), 'image is', 'images are')} refused: {quarantine} says which and why")
    for line in [
        *chosen.report_lines(),
        *list_cautions(job.networks, chosen.find_rendered(), chosen.list_caption_sources()),
    ]:
        said(line)
    sizes = ", ".join(f"{wide}x{high}" for wide, high in job.asked.images.sizes)
    taken = format_count(len(chosen), "image")
    said(f"{taken} of {sizes} pixels: words, latents by {job.networks.backbone.name}, vectors")


def _load_networks(asked: PrepareCall, backbone: DiffusionModel) -> Networks:
    """All that reads an image, which of it is the miniature's, and whether its captioner is spared other images."""
    config, places = asked.config, {"emotion_clip": asked.emotion_clip, "captioner": asked.captioner}
    fitting = None
    if config.misfits:
        places["clip"] = config.clip or asked.emotion_clip
        fitting = CaptionFilter(load_text_clip(places["clip"], backbone.device), config.misfits)
    return replace(
        load_networks(backbone, asked.emotion_clip, asked.captioner, config.kind),
        flips=config.flips,
        fitting=fitting,
        miniature=tuple(name for name, place in places.items() if is_of_rendered_world(place)),
        spares=is_of_rendered_world(asked.captioner) and not config.captioner,
    )
