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

from emoscene.core import config as configs
from emoscene.core import registry, run_dir
from emoscene.core.callbacks import Callbacks, ignore_event
from emoscene.core.cluster import Cluster, Make, check_address, complete_parts, open_cluster
from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.image_origin import is_of_rendered_world
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
from emoscene.data.notes import ImageNote
from emoscene.data.planning import Plan, list_refused, make_plan
from emoscene.data.sources.base import Source
from emoscene.diffusion import hub
from emoscene.diffusion.base_spec import check_base
from emoscene.diffusion.device import NO_ROOM, explain_base, explain_full_memory
from emoscene.diffusion.device_choice import choose_device, choose_dtype
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import load_encoder, locate_model
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
    load = partial(_load_job, SHARD, source, Path(out), root, limit, per_emotion, split, base, settings)
    if ray is None or dry_run:
        job = load(device, dtype)
    else:
        job = load("cpu", None)  # GPUs are the workers'
    job = replace(job, callbacks=Callbacks(on_message=on_message, on_progress=on_progress or ignore_event))
    call = {"source": source, "root": root, "limit": limit, "per_emotion": per_emotion}
    call |= {"base": base, **job.describe_call()}
    if dtype not in {None, "float32"}:
        call["dtype"] = dtype
    if dry_run:
        taken = estimate.limit_plan(len(job.images), limit, per_emotion)
        for line in estimate.report_lines(job.images, job.networks, taken):
            on_message(line)
        return Path(out)
    with silence_pillow(), estimate.check_writable(Path(out)):
        check_outside(job.folder, job.images)
        check_listing(job.folder, call)
        with open_cluster(ray, partial(load, device, dtype), device) as cluster:
            begun = run_dir.RunDir.open(out, "prepared", call)
            with begun.hold():
                check_files(begun.path, job.images, job.notes, on_message)
                report_unused(job.images, on_message)
                if begun.is_done:
                    check_parts(begun.path)
                else:
                    check_form(job.folder, job.notes)
                if not begun.is_done and cluster is None:
                    on_message(explain_base(job.networks.backbone, device, dtype or "float32", "preparing"))
                if not begun.is_done:
                    _run_job(job, begun, cluster)
    return begun.path


def _load_job(
    shard: int,
    source: str,
    folder: Path,
    root: str | Path | None,
    limit: int | None,
    per_emotion: int | None,
    split: str | None,
    base: str,
    settings: Mapping[str, Any],
    device: str | None,
    dtype: str | None,
) -> PrepareJob:
    """All that a process needs to make shards, from the words of the call."""
    cls: type[Source] = registry.load_plugin("sources", source)
    config, own = configs.split_settings(settings, Config(), cls.Config())
    split = _choose_split(source, cls, limit, per_emotion, split)
    if root is not None and not Path(root).exists() and not hub.ID.fullmatch(str(root)):
        raise UsageError(f"{root} is not there: give --root, where {source} reads its images")
    check_base(base)
    place = choose_device(device)
    precision = choose_dtype(dtype or "float32", place)
    with explain_full_memory(NO_ROOM.format(base=base)):
        backbone = DiffusionModel.load(base, place, precision)
    emotion_clip, captioner = auxiliary_models(backbone, config.emotion_clip, config.captioner)
    images = _open_source(source, cls, root, own, config, backbone, limit)
    choice = {"split": split, "limit": limit, "each": per_emotion, "balanced": config.balanced}
    if cls.deals:
        choice["limit"] = None
    networks = _networks(config, backbone, emotion_clip, captioner)
    return PrepareJob(shard, folder, images, networks, config, choice, source, emotion_clip, captioner)


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


def _open_source(
    name: str,
    cls: type[Source],
    root: str | Path | None,
    own: Any,
    config: Config,
    backbone: DiffusionModel,
    limit: int | None,
) -> Source:
    """The source, with the sizes that its images are cut to. Raises UsageError where it has no images."""
    folder = None
    if root is not None:
        folder = Path(root)
    source = cls(folder, own, backbone.default_size, limit)
    if not len(source):
        raise UsageError(f"{name} has no image at {root}: is it the right folder?")
    if config.buckets:
        source.sizes = bucket_sizes(backbone.default_size, backbone.size_multiple)
    return source


@dataclass(frozen=True)
class PrepareJob:
    """One call of the verb under way, in the process that was called or in a worker.

    shard: images in a shard; emotion_clip, captioner: their places, empty for none.
    """

    shard: int
    folder: Path
    images: Source
    networks: Networks
    config: Config
    choice: Mapping[str, Any]
    source: str
    emotion_clip: str
    captioner: str
    callbacks: Callbacks = field(default_factory=Callbacks)

    @cached_property
    def mark(self) -> dict[str, str]:
        """Which EmotionCLIP it is, if any."""
        if not self.emotion_clip:
            return {}
        return {"emotion_clip": run_dir.fingerprint_folder(locate_model(self.emotion_clip))}

    def describe_call(self) -> dict[str, Any]:
        """Describe what was asked for, which a continued folder is held against.

        Returns:
            The settings, and what the source is: a hub's commit above all, and what its files held.
        """
        call = {
            "split": self.choice["split"],
            **_identity_config(self.config),
            **_identity_config(self.images.config),
            **self.mark,
        }
        call["captioner"] = self.captioner
        if is_of_rendered_world(self.captioner) and self.config.captioner:
            call["captioner_asked"] = True
        return {**call, **self.images.facts(), **digest_listing(self.images)}

    @property
    def notes(self) -> list[Path]:
        """The files of the first pass."""
        paths = []
        for name in encoding.shard_names(len(self.images), self.shard):
            paths.append(self.folder / "notes" / name.replace("data", "notes"))
        return paths

    @property
    def parts(self) -> list[Path]:
        """The files of the second pass."""
        return [self.folder / name for name in encoding.shard_names(len(self.plan), self.shard)]

    @cached_property
    def all_notes(self) -> pa.Table:
        """The notes, once all are there; a file that stands under two emotions is refused in them."""
        return refuse_contradictions(notes.load_notes(self.notes))

    @cached_property
    def plan(self) -> Plan:
        """What is made of the notes; the images are held against them from then on."""
        self.images.noted = self.all_notes
        return make_plan(self.all_notes, **self.choice, alike=self.config.alike, spoilt=self.config.spoilt)

    def complete(self, parts: Sequence[Path], make: Make, total: int, what: str, cluster: Cluster | None) -> None:
        """Make the shards of a pass that are not there, and say how far it is.

        Args:
            parts: The files.
            make: `survey_shards` or `encode_shards`.
            total: The number of images.
            what: What is said of them; nothing is if it is empty.
            cluster: The workers, if others than this process.
        """
        there = _count_existing(parts)
        for done, _ in enumerate(complete_parts(parts, make, self, cluster), there + 1):
            images = min(total, self.shard * done)
            if cluster is not None:  # this process counts image by image
                self.callbacks.on_progress(images, total)
            if what:
                self.callbacks.on_message(f"{images} of {total} {what}")

    def count_progress(self, parts: Sequence[Path], total: int) -> Callable[[int], None]:
        """Make a function that counts images and reports progress.

        Args:
            parts: The files of the pass; those that are there count as done.
            total: The number of images.

        Returns:
            A function that takes the number of further images done.
        """
        done = self.shard * _count_existing(parts)

        def count(more: int) -> None:
            nonlocal done
            done = min(total, done + more)
            self.callbacks.on_progress(done, total)

        return count


def _run_job(job: PrepareJob, begun: run_dir.RunDir, cluster: Cluster | None) -> None:
    total, found = len(job.images), job.notes
    if not all(path.exists() for path in found):
        job.callbacks.on_message(f"{job.source}: checking {total} images")
    found[0].parent.mkdir(exist_ok=True)
    checked = "images checked"
    if job.images.deals:
        checked = ""
    job.complete(found, survey_shards, total, checked, cluster)
    _report_plan(job)
    estimate.check_disk_space(job.folder, len(job.plan), job.networks.backbone.default_size, job.config.kind)
    job.complete(job.parts, encode_shards, len(job.plan), "images", cluster)
    finish_dataset(begun, job.plan, job.parts, job.networks, job.images, {"source": job.source, **job.mark})


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
    paths, total = job.notes, len(job.images)
    count = job.count_progress(paths, total)

    def count_notes(run: range) -> Iterator[ImageNote]:
        for note in job.images.survey(run):
            yield note
            count(1)

    for shard in shards:
        run = range(shard * job.shard, min((shard + 1) * job.shard, total))
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
    count = job.count_progress(job.parts, len(job.plan))
    yield from encoding.encode_shards(job.folder, job.images, job.plan, job.shard, shards, job.networks, count)


def _report_plan(job: PrepareJob) -> None:
    """Make the plan; say what was refused and what is alike, also where that is too much."""
    bad, said = list_refused(job.all_notes), job.callbacks.on_message
    quarantine = job.folder / "quarantine.jsonl"
    run_dir.write_atomic(quarantine, run_dir.to_jsonl(bad))
    report_contradictions(job.all_notes, said)
    chosen = job.plan
    if bad:
        said(f"{len(bad)} images are refused: {quarantine} says which and why")
    for line in [
        *chosen.report_lines(),
        *list_cautions(job.networks, chosen.find_rendered(), chosen.list_caption_sources()),
    ]:
        said(line)
    sizes = ", ".join(f"{wide}x{high}" for wide, high in job.images.sizes)
    said(f"{len(chosen)} images of {sizes} pixels: words, latents by {job.networks.backbone.name}, vectors")


def _identity_config(config: Any) -> dict[str, Any]:
    identity = {}
    for each in configs.list_options(config):
        if not each.runtime:
            identity[each.name] = getattr(config, each.name)
    return identity


def _networks(config: Config, backbone: DiffusionModel, emotion_clip: str, captioner: str) -> Networks:
    """All that reads an image, which of it is the miniature's, and whether its captioner is spared other images."""
    places = {"emotion_clip": emotion_clip, "captioner": captioner}
    if config.misfits:
        places["clip"] = config.clip or emotion_clip
    return replace(
        load_networks(backbone, emotion_clip, captioner, config.kind),
        flips=config.flips,
        fitting=_make_caption_filter(config, emotion_clip, backbone),
        miniature=tuple(name for name, place in places.items() if is_of_rendered_world(place)),
        spares=is_of_rendered_world(captioner) and not config.captioner,
    )


def _make_caption_filter(config: Config, emotion_clip: str, backbone: DiffusionModel) -> CaptionFilter | None:
    """What tells how captions fit, where some are to be dropped. Raises UsageError where there is no CLIP."""
    if not config.misfits:
        return None
    if not (config.clip or emotion_clip):
        raise UsageError("misfits= needs a CLIP that tells how captions fit: give clip=FOLDER, or an emotion_clip=")
    return CaptionFilter(load_text_clip(config.clip or emotion_clip, backbone.device), config.misfits)


def auxiliary_models(backbone: DiffusionModel, emotion_clip: str, captioner: str) -> tuple[str, str]:
    """Find the EmotionCLIP and the captioner to use.

    Args:
        backbone: The base.
        emotion_clip: A folder; the base's own if empty.
        captioner: A folder or hub id; the base's own if empty or `base`, none if `none`.

    Returns:
        The places of both; empty where there is none.
    """
    own = backbone.auxiliary_model("captioner")
    places = {"": own, "base": own, "none": ""}
    return emotion_clip or backbone.auxiliary_model("emotion_clip"), places.get(captioner, captioner)


def load_networks(backbone: DiffusionModel, emotion_clip: str, captioner: str, kind: str = "png") -> Networks:
    """Load the models that read images.

    Args:
        backbone: The base.
        emotion_clip: The place of the EmotionCLIP; empty for none.
        captioner: The place of the captioner; empty for none.
        kind: The format of the files kept: `png`, `jpeg` or `webp`.

    Returns:
        The models.

    Raises:
        UsageError: A place holds something else.
    """
    reader = None
    if emotion_clip:
        reader = load_encoder("emotion_clip", emotion_clip, backbone.device)
    writer = None
    if captioner:
        writer = load_encoder("captioner", captioner, backbone.device)
    return Networks(backbone, reader, writer, kind)
