"""The miniature's judges, trained from nothing on pictures of the world that nothing else learns from.

    build(work, out, tokenizer)     renders the judges' own seeds into `work`, trains each into `out`/judge-NAME
    torchrun --nproc_per_node=4 -m emoscene_mini.judges WORK OUT TOKENIZER [OLDER]     the same, once rendered, on four

All learn from the same pictures. One in eight of these shows a scene and an object that no other training data puts
together, so that the judges are as sure of such a picture as of any other. The judges of scenes and of objects start
where the one before ended, because all must see the same things; poses and faces are among the facts that teach them.

The second judge of emotions is of another kind: an EmotionCLIP, which has learnt pictures and captions, and emotions as
words among others. What both judges see is not one network's peculiarity.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch

from emoscene.core import run_dir, seeds
from emoscene.core.callbacks import Callbacks
from emoscene.core.taxonomy import EMOTIONS
from emoscene.encoders.base import Encoder
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.encoders.judge import Judge
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners
from emoscene.training import loop, state
from emoscene_mini import image_cache
from emoscene_mini.image_cache import RenderedImages
from emoscene_mini.rounding import round_files
from emoscene_mini.world import roles
from emoscene_mini.world.captions import captions
from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.faces import EXPRESSIONS
from emoscene_mini.world.moods import COMPOSITIONS, PALETTES, TIMES, WEATHERS
from emoscene_mini.world.objects import OBJECTS, POSES
from emoscene_mini.world.plan import Plan, plan
from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.things import THINGS

PICTURES = 26_000
CHECKED = 1000
SETTINGS = state.Config(
    steps=4000,
    batch_size=64,
    lr=1e-3,
    muon=10.0,
    weight_decay=0.05,
    ema_decay=0.998,
    seed=1,
    checkpoint_every=500,
    checkpoints_total_limit=1,
)
TARGETS = {"emotion": 1.0, "scene": 0.3, "object": 0.3}
"""What each judge tells, and its share of the steps; in this order."""
FIRM = replace(SETTINGS, steps=2400, lr=3e-4)
"""How the judge of emotions goes on, once it knows them: every other picture stands beside what the base's autoencoder
makes of it, which is no emotion and should be none to a judge of what comes out of that autoencoder."""
DECODED = 6_500  # pictures seen so
CLIP = EmotionCLIP.Config(emotion=1.0, role="judges")
WORDED = replace(SETTINGS, steps=1200, batch_size=128, ema_decay=0.996, seed=2, checkpoint_every=200)
"""The second judge of emotions, and how it learns."""


FACE = "face"
"""What a portrait shows, beside the names of `OBJECTS`."""
LABELS = {"emotion": EMOTIONS, "scene": tuple(sorted(SCENES)), "object": (*sorted(OBJECTS), FACE)}
"""What each judge tells apart."""


class JudgeData:
    """The cache's pictures as a judge reads them: viewers' votes as `weights`, every cue as `hints`, both captions, and
    the `object`, which is empty where there is none.
    """

    def __init__(self, pictures: RenderedImages) -> None:
        self.pictures, self.count = pictures, len(pictures)

    @cached_property
    def plans(self) -> list[Plan]:
        """What was painted in each picture."""
        return [plan(**draw_orders(note["seed"])) for note in self.pictures.notes]

    @cached_property
    def hints(self) -> torch.Tensor:
        """The same, fact by fact [N, H]."""
        return torch.tensor([encode_cues(drawn) for drawn in self.plans], dtype=torch.uint8)

    @cached_property
    def votes(self) -> torch.Tensor:
        """What viewers named, as shares [N, 8]; of an image of several emotions or of none its own weights.

        The shares say more of an image than its label: they teach a judge how sure to be (Peterson et al. 2019).
        """
        rows = []
        for drawn in self.plans:
            rows.append(drawn.votes if drawn.intended else drawn.weights)
        return torch.tensor(rows)

    def __len__(self) -> int:
        return self.count

    def first(self, count: int) -> Self:
        """Take the first of these images.

        Args:
            count: How many at most.

        Returns:
            Data with these images.
        """
        some = copy(self)
        some.count = min(count, len(self))
        return some

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """Read columns of some rows.

        Args:
            indices: B rows.
            columns: The names of the columns.

        Returns:
            Tensors [B, ...], or lists of B values, by column.
        """
        drawn = {"hints", "weights", "object", "caption", "caption_long"} & {*columns}
        found = self.pictures.read(indices, [column for column in columns if column not in drawn])
        if "hints" in drawn:
            found["hints"] = self.hints[list(indices)].float()
        if "weights" in drawn:
            found["weights"] = self.votes[list(indices)]
        if "object" in drawn:
            found["object"] = [name_object(self.plans[index]) for index in indices]
        for place, column in enumerate(("caption", "caption_long")):
            if column in drawn:
                found[column] = [captions(self.plans[index])[place] for index in indices]
        return found


def name_object(drawn: Plan) -> str:
    """Name what a judge of objects is to tell.

    Args:
        drawn: The image's plan.

    Returns:
        The object, a portrait's face, or "" for a scene without an object.
    """
    if drawn.scene == "portrait":
        return FACE
    return drawn.object


def draw_orders(seed: int) -> dict[str, Any]:
    """Write what the world is asked for: one image in eight is of a pair that other training never shows.

    Args:
        seed: The image's seed.

    Returns:
        The arguments of `plan`.
    """
    return {"seed": seed, "held_out": seed % 8 == 0}


def encode_cues(drawn: Plan) -> list[bool]:
    """Write what an image shows, fact by fact: palettes, time, weather, things, event, view, pose and so on.

    Args:
        drawn: The image's plan.

    Returns:
        Whether each of H facts holds.
    """
    lights = {name for name, _ in drawn.palette}
    return [
        *(name in lights for name in PALETTES),
        *(name == drawn.time for name in TIMES),
        *(name == drawn.weather for name in WEATHERS),
        *(name in drawn.things for name in THINGS),
        *(name == drawn.event for name in EVENTS),
        *(name == drawn.composition for name in COMPOSITIONS),
        *(bool(drawn.figure) and name == drawn.pose for name in POSES),
        *(name == drawn.expression for name in EXPRESSIONS),
        *(name == drawn.scene for name in SCENES),
        *(name == drawn.object for name in OBJECTS),
    ]


def train_judges(
    work: Path,
    out: Path,
    tokenizer: Path,
    *,
    pictures: int = PICTURES,
    checked: int = CHECKED,
    settings: state.Config = SETTINGS,
    worded: state.Config = WORDED,
    workers: int | None = None,
    older: Path | None = None,
    on_message: Callable[[str], None] = print,
) -> None:
    """Train the judges that are not in `out` yet; a run that was stopped goes on.

    Args:
        work: Where images and checkpoints are kept.
        out: Where the finished judges go.
        tokenizer: The folder of the tokenizer of the second judge.
        pictures: How many images the judges learn from.
        checked: How many images the accuracy on their cards is of.
        settings: How the judges of emotions and scenes are trained.
        worded: How the judge that has learnt captions is trained.
        workers: Processes that render; one for each core if None.
        older: A judge of emotions whose weights the new one begins with; none: from nothing.
        on_message: Called with each message.
    """
    data = JudgeData(image_cache.build_cache(work / "pictures", "judges", pictures, workers, on_message, draw_orders))
    check = JudgeData(image_cache.build_cache(work / "check", "selector", checked, workers, on_message, draw_orders))
    before: Judge | None = None
    if older is not None:
        before = cast(Judge, learners.load_learner("encoders", older, None))
    for target, share in TARGETS.items():
        folder, saved = out / f"judge-{target}", work / target
        if (folder / learners.CARD).is_file():
            before = cast(Judge, learners.load_learner("encoders", folder, None))
            continue
        began, own = time.time(), replace(settings, steps=max(1, round(share * settings.steps)))
        judge = _warm_start(target, data, own.seed, before)
        again = bool(checkpoints.list_checkpoints(saved))
        loop.run_training(judge, data, own, saved, resume=again, callbacks=_report_steps(target, on_message))
        before = judge.without_hints()
        _save_judge(before, folder, check, on_message, time.time() - began, own)
    train_clip_judge(data, check, work / "clip", out / "judge-clip", tokenizer, worded, on_message)
    train_firm_judge(
        data,
        check,
        work / "firm",
        out / "judge-emotion",
        replace(FIRM, steps=min(FIRM.steps, settings.steps)),
        on_message,
    )


def train_firm_judge(
    data: JudgeData,
    check: JudgeData,
    saved: Path,
    folder: Path,
    settings: state.Config,
    on_message: Callable[[str], None],
) -> None:
    """Go on with the finished judge of emotions, unless that was done."""
    before = cast(Judge, learners.load_learner("encoders", folder, None))
    if before.config.firm:
        return
    began = time.time()
    decoded = data.pictures.decoded
    if decoded is not None:
        data = data.first(2 * len(decoded))
    judge = Judge(replace(before.config, firm=1.0, again=decoded is not None))
    judge.load_state_dict(before.state_dict())
    again = bool(checkpoints.list_checkpoints(saved))
    loop.run_training(judge, data, settings, saved, resume=again, callbacks=_report_steps("firm", on_message))
    _save_judge(judge.without_hints(), folder, check, on_message, time.time() - began, settings)


def train_clip_judge(
    data: JudgeData,
    check: JudgeData,
    saved: Path,
    folder: Path,
    tokenizer: Path,
    settings: state.Config,
    on_message: Callable[[str], None],
) -> None:
    """The judge that reads emotions as words, unless it is there; a run that was stopped goes on."""
    if (folder / learners.CARD).is_file():
        return
    began = time.time()
    seeds.seed_torch(settings.seed, "judge", "clip")
    judge = EmotionCLIP.from_scratch(replace(CLIP, tokenizer=str(tokenizer)), None)
    judge.save_dtype = torch.float16  # type: ignore[misc]
    again = bool(checkpoints.list_checkpoints(saved))
    loop.run_training(judge, data, settings, saved, resume=again, callbacks=_report_steps("clip", on_message))
    _save_judge(judge, folder, check, on_message, time.time() - began, settings)


def _warm_start(target: str, data: JudgeData, seed: int, before: Judge | None) -> Judge:
    """A new judge, which begins to see as the one before it does."""
    seeds.seed_torch(seed, "judge", target)
    config = Judge.Config(target=target, labels=LABELS[target], hints=data.hints.shape[1])
    judge = Judge.from_scratch(config, None, data)
    if before is not None:
        judge.model.vit.load_state_dict(before.model.vit.state_dict())
    return judge


def judge_accuracy(judge: Encoder, data: JudgeData) -> float:
    """Measure the share of right answers.

    Args:
        judge: A judge of emotions, of scenes or of objects.
        data: Rendered images; a judge of emotions sees those of one emotion alone, one of objects those with one.

    Returns:
        The share, from 0 to 1.
    """
    if judge.target == "emotion":
        places = [place for place, note in enumerate(data.pictures.notes) if max(note["weights"]) == 1]
        truth = [int(np.argmax(data.pictures.notes[place]["weights"])) for place in places]
    else:
        names = data.read(range(len(data)), [judge.target])[judge.target]
        places = [place for place, name in enumerate(names) if name]
        truth = [judge.labels.index(names[place]) for place in places]
    with torch.no_grad():
        parts = [data.read(places[i : i + 64], ["image"])["image"] for i in range(0, len(places), 64)]
        answers = torch.cat([judge.encode(part)[0].argmax(1) for part in parts])
    return float((answers == torch.tensor(truth)).float().mean())


def _save_judge(
    judge: Encoder,
    folder: Path,
    check: JudgeData,
    on_message: Callable[[str], None],
    seconds: float,
    settings: state.Config,
) -> None:
    """Write the judge's folder whole or not at all, with its score; the first of several processes does."""
    if int(os.environ.get("RANK", 0)):
        return
    score = judge_accuracy(judge, check)
    on_message(f"{folder.name}: {score:.3f} on the selector's pictures")
    cost = {"seconds": round(seconds), "pictures": settings.steps * settings.batch_size}
    aside = folder.with_name(f"{run_dir.TEMPORARY_PREFIX}{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    data = f"world seeds {roles.ROLES['judges']}"
    kind = "judge" if isinstance(judge, Judge) else "emotion_clip"
    learners.save_learner(judge, kind, aside, None, cost=cost, accuracy=round(score, 4), data=data)
    round_files(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _report_steps(target: str, on_message: Callable[[str], None]) -> Callbacks:
    """Pass messages on, with one on every hundredth step."""
    losses: list[float] = []

    def on_step(step: state.Step) -> None:
        losses.append(step.loss)
        if step.number % 100 == 0:
            on_message(f"{target} {step.number}: loss {np.mean(losses[-100:]):.4f}, {step.seconds:.3f} s a step")

    return Callbacks(on_message=on_message, on_step=on_step)


if __name__ == "__main__":
    work, out, tokenizer, *older = map(Path, sys.argv[1:])
    train_judges(work, out, tokenizer, older=older[0] if older else None)
