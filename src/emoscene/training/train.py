"""The verb `train`: a learner's name and a prepared folder in, an artifact out.

    artifact/
        manifest.json  learner.json      where it comes from, and what is needed to load it
        *.safetensors                    the weights
        history.jsonl  progress/         its loss on unseen images, and sheets of images, as it learnt
        logs/                            a tracker's own

Here it is settled what a run stands on: its base, data that suit both, its settings. `training` does the work,
`callbacks` look on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image

from emoscene.core import config as configs
from emoscene.core import paths, registry, run_dir, seeds
from emoscene.core.callbacks import Callbacks, ignore_event
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.images import contact_sheet
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.diffusion.base_spec import check_base, find_spec, read_default_size
from emoscene.diffusion.device import (
    choose_precision,
    compile_unet,
    explain_full_memory,
    round_weights,
)
from emoscene.diffusion.device_choice import PINNED, check_dtype, choose_device, explain_choice, peak_device_memory
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners
from emoscene.learning.learner import Learner
from emoscene.learning.optimizers import check_optimizer
from emoscene.learning.precision import join_processes
from emoscene.methods.base import Method
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.training import dry_run as dry_runs
from emoscene.training.callbacks import TrainingCallbacks
from emoscene.training.cautions import caution_data
from emoscene.training.checks import check_learner, check_resumed, check_size, lacks_images, trains_through_unet
from emoscene.training.launcher import apply_launcher, read_launcher_device, remark_config_file
from emoscene.training.loop import run_training
from emoscene.training.provision import check_captioner, describe_preparation, list_lacking
from emoscene.training.state import Config, TrainingState

UNSEEN = "selector"
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NO_ROOM = (
    "out of memory with the base, the optimizer and a batch on the device: checkpointing=yes, precision=bf16, a "
    "smaller batch or a smaller learner takes less"
)
SCENES = 3  # captions that a sheet of images shows


@dataclass(frozen=True)
class TrainJob:
    """One call of the verb, settled: a learner, its settings, what it stands on and what it learns from."""

    name: str
    cls: type[Learner]
    config: Config
    own: Any
    backbone: DiffusionModel
    data: PreparedDataset
    callbacks: Callbacks
    device: str | None = None  # as it was asked for; the base knows which it came to

    def make_learner(self) -> Learner:
        """Make the learner, its first weights a function of the seed.

        Returns:
            The learner, untrained.
        """
        seeds.seed_torch(self.config.seed, "start")
        return self.cls.from_scratch(self.own, self.backbone, self.data)


def train(
    name: str,
    *,
    data: str | Path,
    out: str | Path,
    base: str = "mini",
    device: str | None = None,
    resume: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    on_message: Callable[[str], None] = print,
    on_step_end: Callable[[TrainingState], bool | None] | None = None,
    **settings: Any,
) -> Path:
    """Train a method or an encoder on a prepared folder.

    Example:
        `emoscene.train("lora", data="prepared", out="runs/lora", steps=900)`

    Args:
        name: The learner: inversion, lora, guidance, multimodal, judge, emotion_clip, captioner or a plug-in.
        data: A folder that `prepare` made.
        out: The artifact's folder.
        base: A base's name, a folder, a file or a hub id.
        device: `cuda`, `cuda:1`, `xpu`, `mps` or `cpu`; the best there is if left out.
        resume: Go on with a run that was stopped, exactly.
        dry_run: Say what it would take, by a few steps, and write nothing.
        yes: Make what the data lack for this learner, captions or EmotionCLIP's vectors, in a folder beside them; not
            in a dry run.
        on_message: Receives sentences about the progress.
        on_step_end: Receives the run's state before the first step and after each; True ends the run, its work kept.
        **settings: Fields of `training.state.Config` or of the learner's own `Config`.

    Returns:
        The artifact's folder.

    Raises:
        UsageError: The call's words are off, or the data are not for this base.
        EmosceneError: It was interrupted, the work saved; memory or disk are full.
        TrainingDiverged: Loss or gradient stayed non-finite.
    """
    cls, out = find_learner(name), paths.check_utf8(out)
    device = read_launcher_device(device)
    place = choose_device(device)
    callbacks = Callbacks(on_message=on_message, on_step_end=on_step_end or ignore_event)
    run_dir.read_manifest(data, "prepared")
    check_base(base)  # of a model of the hub the configs are fetched: its architecture chooses the recipe
    config, own = configs.split_settings({**find_recipe(name, base), **settings}, Config(), cls.Config())
    check_optimizer(config.optimizer, config.lr)
    config = apply_launcher(config)
    choose_precision(config.precision, place)  # refuses what is not for this device
    if config.precision != "auto":
        check_dtype(PRECISIONS[config.precision], place, "precision={}")
    check_learner(name, cls, config)
    if not dry_run:
        run_dir.check_out(out, "artifact")
    remark_config_file(on_message)
    join_processes(place)
    whole = provide_data(name, cls, Path(data), base, place, yes and not dry_run, on_message)
    prepared = PreparedDataset(whole, role=getattr(own, "role", cls.split))
    if "latent" in cls.columns:  # before weights of gigabytes are fetched
        check_size(whole, (prepared.side, prepared.side), base, read_default_size(find_spec(base)))
    if "steps" not in settings:
        config = dry_runs.suit_steps(config, len(prepared), on_message)
    resolved = {"learner": name, "base": base, "training": configs.to_dict(config), "own": configs.to_dict(own)}
    migrate = partial(migrate_call, cls=cls)
    if not dry_run:
        check_resumed(out, run_dir.RunDir.find(out, "artifact", resolved, [whole], config.seed, migrate), resume)
    with explain_full_memory(NO_ROOM):
        backbone = load_training_model(base, config, cls, place)
    job = TrainJob(name, cls, config, own, backbone, prepared, callbacks, device)
    check_data(job)
    if dry_run:
        unseen = find_unseen(prepared)
        cautions = caution_data(config, len(prepared), min(config.validation_images, len(unseen or ())))
        for line in dry_runs.report_lines(job.make_learner(), job.data, config, out, cautions, place):
            on_message(line)
        return out
    opened = run_dir.RunDir.open(out, "artifact", resolved, parents=[whole], seed=config.seed, migrate_config=migrate)
    with opened.hold():
        if not opened.is_done:
            _train_job(job, opened, resume)
    if PartialState().is_main_process:  # once the done mark is there, also a killed call's
        checkpoints.remove_all(out / run_dir.CHECKPOINTS)
    return out


def _train_job(job: TrainJob, opened: run_dir.RunDir, resume: bool) -> None:
    """Train the learner into its folder, and put the done mark."""
    out, config, saved = opened.path, job.config, opened.path / run_dir.CHECKPOINTS
    check_resumed(out, opened, resume)
    learner = job.make_learner()
    where, on_message = job.backbone.device, job.callbacks.on_message
    kind = choose_precision(config.precision, where, learner.models)
    steps, images = format_count(config.steps, "step"), format_count(len(job.data), "image")
    on_message(f"{job.name}: {steps} of {config.batch_size}, {images}")
    on_message(explain_choice("training", where, kind, job.device, None if config.precision == "auto" else kind))
    dry_runs.check_disk_space(learner, config, out)
    unseen = find_unseen(job.data)
    history = TrainingCallbacks(out, config, unseen, make_sheet_generator(job, learner, unseen), on_message)
    if PartialState().is_main_process:
        history.warn_of_data(len(job.data))
    base = recorded_base(saved, job.backbone) if resume else job.backbone.fingerprint
    cost: dict[str, float] = {"trainable": sum(p.numel() for p in learner.trainable.values())}

    def end_step(state: TrainingState) -> bool:
        enough = history.on_step_end(state)
        cost.update(pictures=state.step * config.batch_size, seconds=round(state.seconds, 1))
        return bool(job.callbacks.on_step_end(state)) or enough

    callbacks = replace(job.callbacks, on_step=history.on_step, on_step_end=end_step)
    about = {"learner": job.name, "base": base}
    with explain_full_memory(NO_ROOM):
        run_training(learner, job.data, config, saved, resume=resume, callbacks=callbacks, about=about, device=where)
    history.close()
    if PartialState().is_main_process:
        about_data: dict[str, Any] = {"data": job.data.fingerprint}
        proof = learner.validate(unseen) if unseen else {}
        if proof:
            about_data["proof"] = proof
        learners.save_learner(learner, job.name, out, job.backbone, **about_data)
        facts: dict[str, Any] = {"cost": cost, "history": history.rows}
        held = peak_device_memory(where)
        if held is not None:
            cost["peak_gb"] = round(held / 1e9, 2)
        cautions = history.list_cautions()
        if cautions:
            facts["cautions"] = cautions
        opened.finish(**facts)


def find_unseen(data: PreparedDataset) -> PreparedDataset | None:
    """Find the images that a run validates on.

    Args:
        data: What it learns from.

    Returns:
        The selector's images of the same folder; None where there are none.
    """
    if UNSEEN not in data.table.unique("role"):
        return None
    return PreparedDataset(data.folder, UNSEEN)


def migrate_call(recorded: Mapping[str, Any], cls: type[Learner]) -> dict[str, Any]:
    """Restate the call that a run's manifest recorded, where an older version may have begun it.

    Args:
        recorded: The call: learner, base, the settings of the training and the learner's own.
        cls: The learner's class.

    Returns:
        The call with today's names; a setting that there was not yet has its default.
    """
    training = configs.read_saved_fields(Config(), recorded["training"])
    own = configs.read_saved_fields(cls.Config(), recorded["own"])
    today = {**recorded, "training": configs.to_dict(training), "own": configs.to_dict(own)}
    plain: dict[str, Any] = json.loads(json.dumps(today))
    return plain


def recorded_base(saved: Path, base: DiffusionModel) -> str:
    """Read the base's fingerprint as the newest valid checkpoint has it, in the form of the version that began the run.

    Args:
        saved: The folder of the run's checkpoints.
        base: The one that is trained on now.

    Returns:
        What was recorded where that is this base, else its fingerprint in today's form.
    """
    for target in reversed(checkpoints.list_checkpoints(saved)):
        if checkpoints.find_fault(target) is None:
            before = checkpoints.read_state(target).get("about", {}).get("base")
            return before if isinstance(before, str) and base.matches(before) else base.fingerprint
    return base.fingerprint


def load_training_model(
    base: str, config: Config, cls: type[Learner], device: torch.device | None = None
) -> DiffusionModel:
    """Load the base to train on it: in the precision that it computes in, compiled or checkpointed if asked.

    What training does not use stays in main memory, such as the autoencoder: latents are prepared.

    Args:
        base: A name, a folder, a file or a hub id.
        config: How it trains.
        cls: What trains.
        device: Where it trains; the best there is if left out.

    Returns:
        The base, frozen, on the device of training.
    """
    device = device or choose_device()
    through_unet = trains_through_unet(cls)
    dtype = torch.float32
    if device.type != "cpu":
        dtype = PRECISIONS[choose_precision(config.precision, device)]
    backbone = DiffusionModel.load(base, device, dtype, cls.base_parts)
    if device.type in PINNED:
        backbone.unet.to(memory_format=torch.channels_last)
    elif (
        device.type == "cpu" and through_unet and choose_precision(config.precision, device, [backbone.unet]) == "bf16"
    ):
        round_weights(backbone, torch.bfloat16)
    if config.checkpointing:
        backbone.enable_gradient_checkpointing()
    if config.compile:
        compile_unet(backbone, blocks=True)
    return backbone


def check_data(job: TrainJob) -> None:
    """Check that the data's latents are the base's, and that there are votes where it is to learn from them.

    Args:
        job: The call.

    Raises:
        UsageError: They come from another autoencoder, or from images of another size, or nobody voted.
    """
    job.data.check_soft_labels(job.own)
    if "latent" not in job.cls.columns:
        return
    folder, base = job.data.folder, job.backbone
    if job.data.vae_fingerprint != base.vae_fingerprint:
        raise UsageError(
            f"{folder} holds latents of another autoencoder than --base {base.name}'s: prepare it with that base"
        )
    high, wide = job.data.read([0], ["latent"])["latent"].shape[2:]
    size = wide * base.vae_scale_factor, high * base.vae_scale_factor
    check_size(folder, size, base.name, base.default_size)


def provide_data(
    name: str,
    cls: type[Learner],
    data: Path,
    base: str,
    device: torch.device,
    yes: bool,
    on_message: Callable[[str], None],
) -> Path:
    """Provide a prepared folder that has all that the learner reads.

    Args:
        name: The learner's name.
        cls: Its class.
        data: The prepared folder that was given.
        base: The base's name.
        device: Where it is prepared.
        yes: Prepare what lacks, in a folder beside it, where the images still lie.
        on_message: Receives sentences about the progress.

    Returns:
        The folder that was given, or the one beside it.

    Raises:
        UsageError: Something lacks and `yes` is not given, or the base cannot caption these images.
    """
    there, call = PreparedDataset(data), run_dir.read_manifest(data, "prepared")["config"]
    lacking = list_lacking(cls, there)
    if not lacking:
        return data
    ready, clip = data.with_name(f"{data.name}-{name}"), data.with_name(f"{data.name}-emotion_clip")
    trains = "emotion_clip" in lacking and not find_spec(base).emotion_clip
    if not yes:
        origin = f" from what lies in {call['root']}" if call.get("root") else ""
        first = f"trains an EmotionCLIP on it in {clip}, then " if trains else ""
        raise UsageError(
            f"{data} lacks {' and '.join(lacking.values())}: --yes {first}prepares {ready} with them{origin}, "
            "and trains"
        )
    given, place = describe_preparation(call, lacking), str(device)
    if trains:
        vision = train("emotion_clip", data=data, out=clip, base=base, device=place, on_message=on_message)
        given["emotion_clip"] = str(vision)
    if "captioner" in lacking:
        check_captioner(data, there, base)
    on_message(f"preparing {ready}, with {' and '.join(lacking.values())}")
    return prepare(out=ready, base=call["base"], device=place, on_message=on_message, **given)


def make_sheet_generator(
    job: TrainJob, learner: Learner, unseen: PreparedDataset | None
) -> Callable[[], Image.Image] | None:
    """Make what generates the sheets of images of a run.

    Args:
        job: The call.
        learner: The method that trains.
        unseen: Where the captions come from; None for the data that it learns from.

    Returns:
        A function that generates an image of each of the first captions, with the base alone and in each emotion, as
        the learner then is; None where no sheet is asked for.

    Raises:
        UsageError: Sheets are asked for, and the learner generates no images.
    """
    if not job.config.images_every:
        return None
    if not isinstance(learner, Method):
        raise lacks_images(job.name)
    pipe, source = EmotionPipeline(job.backbone, {job.name: learner}), unseen or job.data
    captions = source.read(range(min(SCENES, len(source))), ["caption"])["caption"]
    emotions: list[Any] = [None, *EMOTIONS]

    def make_sheet() -> Image.Image:
        rows = pipe.plan(captions, emotion=emotions)
        images = [image for _, image in pipe.generate(rows, len(emotions))]
        lines = []
        for first in range(0, len(images), len(emotions)):
            lines.append(images[first : first + len(emotions)])
        return contact_sheet(lines, columns=["base", *EMOTIONS])

    return make_sheet


def find_learner(name: str) -> type[Learner]:
    """Find the class of a learner.

    Args:
        name: A method or an encoder.

    Returns:
        Its class.

    Raises:
        UsageError: Nobody knows it, or it has nothing to learn.
    """
    kinds = {}
    for kind in ("encoders", "methods"):
        for known in registry.list_names(kind):
            kinds[known] = kind
    if name not in kinds:
        raise unknown_name("learner", name, kinds, hint="emoscene ls methods, emoscene ls encoders")
    cls: type[Learner] = registry.load_plugin(kinds[name], name)
    if not cls.columns:
        raise UsageError(f"{name} has nothing to learn: generate uses it as it is")
    return cls


def find_recipe(name: str, base: str = "mini") -> dict[str, Any]:
    """Find the settings that suit a learner on a base, by the base's architecture.

    A recipe is called NAME_ARCHITECTURE, such as `lora_mini`; a base of another architecture has Stable Diffusion's,
    `lora_sd15`.

    Args:
        name: The learner.
        base: The base.

    Returns:
        The settings; none where there is no recipe.

    Raises:
        UsageError: Nobody knows the base.
    """
    known = registry.list_names("recipes")
    for architecture in (find_spec(base).architecture, "sd15"):
        if f"{name}_{architecture}" in known:
            return registry.load_table("recipes", f"{name}_{architecture}")
    return {}
