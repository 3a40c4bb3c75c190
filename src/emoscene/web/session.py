"""A base with everything on it that the page offers, held ready: methods, judges, the safety checker.

    studio = Studio("mini")
    for view in studio.generate(request):      what there is to see, after every step
        view.share, view.previews, view.finished

A view's previews are the sampler's present estimate of x_0, decoded from at most `GLANCE` latents a side and no more
often than every `PAUSE` seconds, so they stay cheap. Whoever stops asking stops the work: there is no step that nobody
asked for. Steps of several askers may alternate, but the base takes one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from emoscene.core import run_dir
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.image_origin import caution_for, is_rendered
from emoscene.core.images import PAPER, contact_sheet, name_files
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest
from emoscene.core.taxonomy import AFFECT, EMOTIONS, parse_emotion
from emoscene.diffusion.device import load_model
from emoscene.encoders.base import Encoder
from emoscene.evaluation.judges import load_judges, name_miniature
from emoscene.learning import learner as learners
from emoscene.pipeline.generate import load
from emoscene.pipeline.image_inputs import num_steps_run
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.web.form import check_budget, check_cost, open_uploads
from emoscene.web.safety_filter import SafetyFilter

GLANCE = 32  # latents a side that a preview is decoded from
PAUSE = 0.4  # seconds between previews
BATCH = 4  # pictures painted at once
CELLS = 64  # pictures of a comparison
HELD = 8  # combinations of methods held ready
STRANGE = caution_for(
    "this image is", "what its judges say of it means nothing", "emoscene web --judge takes another judge"
)
Painted = tuple[GenerationParams, Image.Image]


@dataclass(frozen=True)
class View:
    """What there is to see: the share of the work that is done, pictures in the making, and pictures that are made."""

    share: float
    previews: list[Image.Image]
    finished: list[Painted]
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a judge reads in a picture: how likely each emotion is, and where that lies on the plane."""

    picture: Image.Image
    likely: dict[str, float]
    place: tuple[float, float]
    caution: str = ""


class Session:
    """What the page paints and judges with."""

    def __init__(
        self,
        base: str = "mini",
        adapter: str | Path | Sequence[str | Path] | None = None,
        judge: Sequence[str] = (),
        screen: bool = True,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.base = load_model(base, device, dtype)
        self.adapters = {learners.read_card(Path(folder))["learner"]: folder for folder in run_dir.as_list(adapter)}
        self.methods = tuple(dict.fromkeys([*self.adapters, *self.base.spec.adapters, "prompt", "none"]))
        self.more = tuple(judge)
        self.screen = SafetyFilter(self.base, screen)
        self.lock = Lock()
        self.pipes: dict[str, EmotionPipeline] = {}
        self.pipe(self.methods[0])

    @property
    def remarks(self) -> list[str]:
        """What whoever uses it should know, a sentence each."""
        return [self.screen.remark] if self.screen.remark else []

    @cached_property
    def judges(self) -> dict[str, Encoder]:
        """The judges of emotions, by name."""
        found = load_judges(self.base.name, self.more, list(self.adapters.values()))
        return {name: judge for name, judge in found.items() if judge.target == "emotion"}

    def pipe(self, method: str) -> EmotionPipeline:
        """The base with this method, or pair of methods, on it. Raises Usage for one that it has not."""
        for name in method.split("+"):
            if name not in self.methods:
                raise unknown_name("method", name, self.methods)
        with self.lock:
            if method not in self.pipes:
                mine = [folder for name, folder in self.adapters.items() if name in method.split("+")]
                self.pipes[method] = load(self.base, method=method, adapter=mine)
            while len(self.pipes) > HELD:
                del self.pipes[next(iter(self.pipes))]
            return self.pipes[method]

    def plan(self, request: GenerationRequest) -> list[GenerationParams]:
        """The images that a request means. Raises UsageError where they cost more than one call may."""
        check_cost(request, self.base.default_size)
        planned = self.pipe(request.method or "none").plan_request(request)
        return check_budget(name_files(planned), self.base.default_size)

    def generate(self, request: GenerationRequest) -> Iterator[View]:
        """The images of a request."""
        return self.generate_views(self.plan(request))

    def compare(
        self, request: GenerationRequest, methods: Sequence[str], emotions: Sequence[str], strengths: Sequence[float]
    ) -> Grid:
        """The grid of these, painted as its `views` are asked for. Raises Usage for an empty side."""
        return Grid(self, request, methods, emotions, strengths)

    def edit(self, request: GenerationRequest, file: str) -> tuple[Image.Image, Iterator[View]]:
        """A picture, as it is worked on, and the views of it with another emotion."""
        [picture] = open_uploads([file] if file else [])
        rows = self.plan(replace(request, num_images_per_prompt=1, image=picture))
        inputs = self.pipe(rows[0].method).image_inputs
        cautions = tuple(inputs.cautions(rows[0], str(request.prompt)))
        return picture.resize(rows[0].size, Image.Resampling.LANCZOS), self._keep_inputs(rows, cautions)

    def _keep_inputs(self, rows: list[GenerationParams], cautions: tuple[str, ...]) -> Iterator[View]:
        try:
            for view in self.generate_views(rows):
                yield replace(view, cautions=cautions)
        finally:
            for row in rows:
                self.pipe(row.method).image_inputs.held.pop(str(row.image), None)

    def judge(self, files: Sequence[str]) -> dict[str, list[Verdict]]:
        """What each judge reads in these pictures, by its name."""
        opened, found = open_uploads(files), {}
        places = np.array([AFFECT[name] for name in EMOTIONS])
        miniature = name_miniature(self.base.name, self.more)
        for name, judge in self.judges.items():
            with self.lock:
                likely = np.concatenate([judge.read([picture]).probabilities for picture in opened])
            found[name] = [
                Verdict(
                    picture,
                    dict(zip(judge.labels, p.tolist(), strict=True)),
                    tuple((p @ places).tolist()),
                    STRANGE if name in miniature and not is_rendered(picture) else "",
                )
                for picture, p in zip(opened, likely, strict=True)
            ]
        return found

    def generate_views(self, rows: Sequence[GenerationParams]) -> Iterator[View]:
        """Views of these rows after every step, `BATCH` rows at a time; the last has every picture."""
        total = sum(max(1, num_steps_run(row)) for row in rows)
        finished: list[Painted] = []
        done, shown = 0, 0.0
        for group in group_params(rows):
            pipe, began = self.pipe(group[0].method), time.perf_counter()
            with self.lock:
                steps = pipe.denoise_with_x0(group)
            while (step := self._next(steps)) is not None:
                x, x_0 = step
                done += len(group)
                due = time.perf_counter() - shown > PAUSE
                yield View(done / total, self._preview(pipe, x_0) if due else [], list(finished))
                shown = time.perf_counter() if due else shown
            with self.lock:
                images = pipe.decode(x, group)
            finished += self._finish_group(group, images, time.perf_counter() - began)
        yield View(1.0, [], finished)

    def _next(self, steps: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor] | None:
        with self.lock:
            return next(steps, None)

    def _preview(self, pipe: EmotionPipeline, x_0: Tensor) -> list[Image.Image]:
        """A cheap look at latents on their way [B, 4, h, w]."""
        factor = max(1, max(x_0.shape[-2:]) // GLANCE)
        with self.lock, torch.no_grad():
            images = pipe.preview(F.avg_pool2d(x_0, factor))
        fine = self.screen(images)
        return [image if good else blank_image(image.size) for image, good in zip(images, fine, strict=True)]

    def _finish_group(
        self, group: Sequence[GenerationParams], images: Sequence[Image.Image], seconds: float
    ) -> list[Painted]:
        """Rows with what they took, pictures at their size; what the screen withholds is paper."""
        made = []
        for row, image, fine in zip(group, images, self.screen(images), strict=True):
            image = image if image.size == row.size else image.resize(row.size, Image.Resampling.LANCZOS)
            state = self.screen.state if fine else "withheld"
            settings = {**row.settings, **({"safety_checker": state} if state else {})}
            row = replace(row, seconds=round(seconds / len(group), 4), settings=settings)
            made.append((row, image if fine else blank_image(row.size)))
        return made


class Grid:
    """Methods (at several strengths) down, emotions across, one prompt and one seed."""

    def __init__(
        self,
        studio: Session,
        request: GenerationRequest,
        methods: Sequence[str],
        emotions: Sequence[str],
        strengths: Sequence[float],
    ) -> None:
        for name, side in (("method", methods), ("emotion", emotions), ("strength", strengths)):
            if not side:
                raise UsageError(f"a comparison needs one {name} at least: choose some")
        if (cells := len(methods) * len(emotions) * len(strengths)) > CELLS:
            raise UsageError(f"a comparison of {cells} pictures is too large: {CELLS} at most")
        self.studio, self.columns, self.title = studio, [emotion_heading(e) for e in emotions], str(request.prompt)
        self.lines = [(method, strength) for method in methods for strength in strengths]
        rows = []
        for method, strength in self.lines:
            one = replace(request, method=method, emotion_scale=strength, num_images_per_prompt=1)
            for emotion in emotions:
                rows += studio.plan(replace(one, emotion=emotion or None))
        self.rows = check_budget(name_files(rows), studio.base.default_size)

    def views(self) -> Iterator[View]:
        """The pictures while they come, line by line."""
        return self.studio.generate_views(self.rows)

    def sheet(self, finished: Sequence[Painted]) -> Image.Image:
        """One picture of them all, with names at the side and on top; what is not made yet is paper."""
        images = [image for _, image in finished]
        images += [blank_image(row.size) for row in self.rows[len(images) :]]
        several = len({strength for _, strength in self.lines}) > 1
        names = [f"{method}  {strength:g}" if several else method for method, strength in self.lines]
        wide = len(self.columns)
        return contact_sheet(
            [images[at : at + wide] for at in range(0, len(images), wide)], names, self.columns, self.title
        )


def emotion_heading(emotion: str) -> str:
    """An emotion as a heading; none at all is the base."""
    return (
        " + ".join(f"{name} {weight:g}" if weight != 1 else name for name, weight in parse_emotion(emotion).items())
        if emotion
        else "none"
    )


def blank_image(size: tuple[int, int]) -> Image.Image:
    """What stands where a picture does not: paper."""
    return Image.new("RGB", size, PAPER)


def group_params(rows: Sequence[GenerationParams]) -> Iterator[list[GenerationParams]]:
    """Neighbours that can be painted together, at most `BATCH` of them."""
    for _, alike in groupby(rows, key=lambda row: (row.method, *row.batching_key)):
        while group := list(islice(alike, BATCH)):
            yield group
