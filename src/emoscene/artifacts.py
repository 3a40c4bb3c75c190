"""The verb `train`: a learner's name and a prepared folder in, an artifact out.

    artifact/
        manifest.json  learner.json      where it comes from, and what is needed to load it
        *.safetensors                    the weights
        history.jsonl  progress/         its loss on unseen pictures, and sheets of pictures, as it learnt
        logs/                            a tracker's own

Here it is settled what a run stands on: its base, data that suit both, its settings. `training` does the work,
`journal` looks on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image

from emoscene import checkpoints, forecast, plugins, seeds, stage
from emoscene import config as configs
from emoscene import learner as learners
from emoscene.backbone import Backbone
from emoscene.basespec import located, spec
from emoscene.data.dataset import Prepared
from emoscene.data.preparation import prepare
from emoscene.device import compiled, explain_full_memory, round_weights
from emoscene.emotions import EMOTIONS
from emoscene.errors import Usage, unknown
from emoscene.hardware import device, precision
from emoscene.journal import Journal
from emoscene.learner import Learner
from emoscene.methods.base import Method
from emoscene.optimizers import maker
from emoscene.pictures import sheet
from emoscene.sampling import Pipe
from emoscene.training import Config, State, run
from emoscene.world.marks import caution, count_images, is_miniature, suggest_captioner

UNSEEN = "selector"
MINIATURE = "mini"
NO_ROOM = (
    "out of memory with the base, the optimizer and a batch on the device: checkpointing=yes, precision=bf16, a "
    "smaller batch or a smaller learner takes less"
)
SCENES = 3  # captions that a sheet of pictures shows


@dataclass(frozen=True)
class Job:
    """One call of the verb, settled."""

    name: str
    cls: type[Learner]
    config: Config
    own: Any
    backbone: Backbone
    data: Prepared
    tell: Callable[[str], None]

    def start(self) -> Learner:
        """The learner, new."""
        torch.manual_seed(seeds.number(self.config.seed, "start") % 2**31)
        return self.cls.start(self.own, self.backbone, self.data)


def train(
    name: str,
    *,
    data: str | Path,
    out: str | Path,
    base: str = "mini",
    resume: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    tell: Callable[[str], None] = print,
    look: Callable[[State], None] | None = None,
    **settings: Any,
) -> Path:
    """Train the learner `name` on a prepared folder; returns the artifact's folder.

    dry_run: say what it would take, by a few steps, and write nothing. yes: make what the data lack for this learner,
    captions or EmotionCLIP's vectors, in a folder beside them (not in a dry run). look: called with the run's state
    before the first step and after each. settings: fields of `training.Config` or of the learner's own. Raises Usage
    for words that are off, Failure when interrupted (the work is saved).
    """
    cls, out = learner_of(name), Path(out)
    located(spec(base))  # what comes from the hub does so now: its architecture chooses the recipe
    config, own = configs.parted({**recipe(name, base), **settings}, Config(), cls.Config())
    maker(config.optimizer, config.lr)
    PartialState(cpu=not torch.cuda.is_available())
    with explain_full_memory(NO_ROOM):
        backbone = based(base, config, cls)
    whole = provided(name, cls, Path(data), base, backbone, yes and not dry_run, tell)
    prepared = Prepared(whole, role=getattr(own, "role", cls.role))
    job = Job(name, cls, config, own, backbone, prepared, tell)
    check(job)
    resolved = {"learner": name, "base": base, "training": configs.asdict(config), "own": configs.asdict(own)}
    if dry_run:
        for line in forecast.lines(job.start(), job.data, config, out):
            tell(line)
        return out
    opened = stage.Stage.open(out, "artifact", resolved, parents=[whole], seed=config.seed)
    if not opened.done:
        _train(job, opened, resume, look)
    if PartialState().is_main_process:
        shutil.rmtree(out / stage.CHECKPOINTS, ignore_errors=True)  # once the done mark is there, also a killed call's
    return out


def _train(job: Job, opened: stage.Stage, resume: bool, look: Callable[[State], None] | None) -> None:
    out, config, saved = opened.path, job.config, opened.path / stage.CHECKPOINTS
    if checkpoints.found(saved) and not resume:
        raise Usage(f"{out} holds an unfinished run: give --resume to go on, or another --out")
    if resume and not checkpoints.found(saved):
        raise Usage(f"nothing to resume in {out}: leave out --resume to start")
    learner = job.start()
    where, total = device(), len(job.data)
    kind = precision(config.precision, where, learner.models)
    job.tell(f"{job.name}: {config.steps} steps of {config.batch}, {kind} on {where.type}, {total} pictures")
    forecast.room(learner, config, out)
    unseen = Prepared(job.data.folder, UNSEEN) if UNSEEN in job.data.table.unique("role") else None
    journal = Journal(out, config, unseen, painter(job, learner, unseen), job.tell)
    about = {"learner": job.name, "base": recorded_base(saved, job.backbone) if resume else job.backbone.fingerprint}
    cost: dict[str, float] = {"trainable": sum(p.numel() for p in learner.trainable.values())}

    def both(state: State) -> bool:
        enough = journal(state)
        cost.update(pictures=state.step * config.batch, seconds=round(state.seconds, 1))
        if look:
            look(state)
        return enough

    with explain_full_memory(NO_ROOM):
        run(learner, job.data, config, saved, again=resume, tell=job.tell, watch=journal.watch, look=both, about=about)
    journal.close()
    if PartialState().is_main_process:
        proof = learner.proof(unseen) if unseen else {}
        facts = {"data": job.data.fingerprint, **({"proof": proof} if proof else {})}
        learners.save(learner, job.name, out, job.backbone, **facts)
        if where.type == "cuda":
            cost["peak_gb"] = round(torch.cuda.max_memory_allocated(where) / 1e9, 2)
        opened.finish(cost=cost, history=journal.rows)


def recorded_base(saved: Path, base: Backbone) -> str:
    """Read the base's fingerprint as the newest valid checkpoint has it, in the form of the version that began the run.

    Args:
        saved: the folder of the run's checkpoints.
        base: the one that is trained on now.

    Returns:
        What was recorded where that is this base, else its fingerprint in today's form.
    """
    for target in reversed(checkpoints.found(saved)):
        if checkpoints.fault(target) is None:
            about = stage.parse_json((target / "state.json").read_text(encoding="utf8"))["about"]
            return str(about["base"]) if base.matches(about.get("base", "")) else base.fingerprint
    return base.fingerprint


def based(base: str, config: Config, cls: type[Learner]) -> Backbone:
    """The base where it is trained on, prepared for that: rounded where it computes in bf16, compiled or sparing if
    asked.
    """
    half = device().type == "cuda" and precision(config.precision, device()) == "bf16"
    backbone = Backbone.load(base, device(), torch.bfloat16 if half else torch.float32)
    through_unet = issubclass(cls, Method) and cls.trains_through_unet()
    if (config.checkpointing or config.compile) and not through_unet:
        raise Usage("checkpointing and compile are for methods that train through the UNet: leave them out here")
    if device().type == "cuda":
        backbone.unet.to(memory_format=torch.channels_last)
    elif through_unet and precision(config.precision, device(), [backbone.unet]) == "bf16":
        round_weights(backbone, torch.bfloat16)
    if config.checkpointing:
        backbone.spare()
    if config.compile:
        compiled(backbone, blocks=True)
    return backbone


def check(job: Job) -> None:
    """Raises Usage where the data's latents are not the base's."""
    if "latent" not in job.cls.reads:
        return
    folder, base = job.data.folder, job.backbone
    if job.data.vae_fingerprint != base.vae_fingerprint:
        raise Usage(
            f"{folder} holds latents of another autoencoder than --base {base.name}'s: prepare it with that base"
        )
    high, wide = job.data.rows([0], ["latent"])["latent"].shape[2:]
    if not 0.5 < (share := high * wide * base.factor**2 / base.size**2) < 2:
        raise Usage(
            f"{folder} holds pictures of {wide * base.factor} x {high * base.factor} pixels, {share:.1f} times what "
            f"--base {base.name} paints: prepare it with that base"
        )


def provided(
    name: str, cls: type[Learner], data: Path, base: str, backbone: Backbone, yes: bool, tell: Callable[[str], None]
) -> Path:
    """The prepared folder, or with `yes` one beside it that has what this learner needs and the data lack."""
    there, call = Prepared(data), stage.read(data, "prepared")["config"]
    lacking = {}
    if "vector" in cls.reads and not there.emotion_clip:
        lacking["emotion_clip"] = "EmotionCLIP's vectors"
    if issubclass(cls, Method) and "caption" in cls.reads and not any(there.all("caption")):
        lacking["captioner"] = "captions"
    if not lacking:
        return data
    ready, clip = data.with_name(f"{data.name}-{name}"), data.with_name(f"{data.name}-emotion_clip")
    trains = "emotion_clip" in lacking and not backbone.spec.emotion_clip
    if not yes:
        origin = f" from what lies in {call['root']}" if call.get("root") else ""
        first = f"trains an EmotionCLIP on it in {clip}, then " if trains else ""
        raise Usage(
            f"{data} lacks {' and '.join(lacking.values())}: --yes {first}prepares {ready} with them{origin}, "
            "and trains"
        )
    options = [*plugins.room("data/preparation"), *plugins.options("sources", call["source"])]
    known = {"source", "root", "limit", "per_emotion", "split", *(option.name for option in options)}
    given = {key: call[key] for key in call.keys() & (known - {"emotion_clip", *lacking})}
    if not given.get("captioner", True):
        given["captioner"] = "none"
    if is_miniature(given.get("captioner") or "") and not call.get("captioner_asked"):
        del given["captioner"]  # the base's, of the images that it knows
    if trains:
        given["emotion_clip"] = str(train("emotion_clip", data=data, out=clip, base=base, tell=tell))
    if "captioner" in lacking and not backbone.spec.captioner:
        raise Usage(f"--base {base} has no captioner: prepare {data} again with captioner=FOLDER or a BLIP's hub id")
    foreign = len(there.all("id")) - stage.read(data).get("rendered", 0)
    if "captioner" in lacking and foreign and is_miniature(backbone.companion("captioner")):
        whose, what = count_images(foreign, len(there)), "its captioner cannot caption them"
        raise Usage(caution(whose, what, f"prepare {data} again with captions, or {suggest_captioner()}"))
    tell(f"preparing {ready}, with {' and '.join(lacking.values())}")
    return prepare(out=ready, base=call["base"], tell=tell, **given)


def painter(job: Job, learner: Learner, unseen: Prepared | None) -> Callable[[], Image.Image] | None:
    """What draws some unseen captions in all emotions; None where nothing is to be drawn."""
    if not job.config.pictures_every:
        return None
    if not isinstance(learner, Method):
        raise Usage(f"pictures_every: {job.name} paints nothing; leave it out")
    pipe, source = Pipe(job.backbone, {job.name: learner}), unseen or job.data
    captions = source.rows(range(min(SCENES, len(source))), ["caption"])["caption"]

    columns: list[Any] = [None, *EMOTIONS]

    def paint() -> Image.Image:
        rows = pipe.rows(captions, emotion=columns)
        images = [image for _, image in pipe.draw(rows, len(columns))]
        lines = [images[first : first + len(columns)] for first in range(0, len(images), len(columns))]
        return sheet(lines, columns=["base", *EMOTIONS])

    return paint


def learner_of(name: str) -> type[Learner]:
    """The method or encoder of this name. Raises Usage where nobody knows it, or it has nothing to learn."""
    kinds = {known: kind for kind in ("encoders", "methods") for known in plugins.names(kind)}
    if name not in kinds:
        raise unknown("learner", name, kinds, hint="emoscene ls methods, emoscene ls encoders")
    cls: type[Learner] = plugins.find(kinds[name], name)
    if not cls.reads:
        raise Usage(f"{name} has nothing to learn: generate uses it as it is")
    return cls


def recipe(name: str, base: str = "mini") -> dict[str, Any]:
    """What suits a learner on this base, by the base's architecture; nothing where there is no recipe.

    `recipes/NAME_FAMILY.toml` comes first. `recipes/NAME.toml` is the miniature's, and any other base has Stable
    Diffusion's, `recipes/NAME_sd15.toml`, before it. Raises Usage for a base that nobody knows.
    """
    family = spec(base).family
    usual = [name] if family == MINIATURE else [f"{name}_sd15", name]
    known = plugins.names("recipes")
    for one in [f"{name}_{family}", *usual]:
        if one in known:
            return plugins.table("recipes", one)
    return {}
