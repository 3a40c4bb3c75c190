"""A base that is ready to use, with its methods, its judges and the safety checker.

    session = Session("mini")
    for view in session.generate(request):      what can be shown, after every step
        view.share, view.previews, view.finished

Previews decode the sampler's present estimate of x_0, reduced to at most `PREVIEW_SIDE` latents a side, and at most
every `PAUSE` seconds, so they cost little. The work goes on only while somebody iterates over the views. Steps of
several requests may alternate, but the base computes one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, product
from pathlib import Path
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.image_origin import caution_for, is_rendered
from emoscene.core.images import PAPER, GeneratedImage, contact_sheet, name_files
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest
from emoscene.core.taxonomy import AFFECT, EMOTIONS, parse_emotion
from emoscene.diffusion.device import explain_base, load_model
from emoscene.encoders.base import Encoder
from emoscene.evaluation.judges import load_judges, name_miniature
from emoscene.pipeline.adapters import check_call, folders_by_method
from emoscene.pipeline.generate import load
from emoscene.pipeline.image_inputs import num_steps_run
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.web.form import REDUCED, SIDE, check_budget, check_cost, open_uploads
from emoscene.web.safety_filter import SafetyFilter

PREVIEW_SIDE = 32  # latents a side that a preview is decoded from
PAUSE = 0.4  # seconds between previews
BATCH = 4  # images generated at once
MAX_CELLS = 64  # images of a comparison
MAX_PIPELINES = 8  # combinations of methods kept in memory
FOREIGN_IMAGE = caution_for(
    "this image is", "what its judges say of it means nothing", "emoscene web --judge takes another judge"
)
FinishedImage = tuple[GenerationParams, Image.Image]


@dataclass(frozen=True)
class View:
    """What can be shown after a step.

    Attributes:
        share: How much of the work is done, from 0 to 1.
        previews: Images in progress; empty where none is due.
        finished: Images that are finished, with their parameters.
        cautions: What limits the result, a sentence each.
    """

    share: float
    previews: list[Image.Image]
    finished: list[FinishedImage]
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on an image.

    Attributes:
        image: The image.
        likely: The probability of each emotion.
        place: Valence and arousal, from -1 to 1: the mean of the emotions' places, weighted by their probabilities.
        caution: What limits the verdict; empty if nothing does.
    """

    image: Image.Image
    likely: dict[str, float]
    place: tuple[float, float]
    caution: str = ""


class Session:
    """What the page generates and judges with.

    Args:
        base: A name that `emoscene ls bases` lists, a folder, a file or a hub id.
        adapter: Folders that `train` made.
        judge: More judges: folders that `train` made, or hub ids.
        screen: Whether the base's safety checker looks at images, where the base has one.
        device: Where to compute; the best device here, if left out.
        dtype: The precision; the device's own, if left out.
    """

    def __init__(
        self,
        base: str = "mini",
        adapter: str | Path | Sequence[str | Path] | None = None,
        judge: Sequence[str] = (),
        screen: bool = True,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        check_call(base, adapter=adapter)
        self.base = load_model(base, device, dtype)
        self.where = explain_base(self.base, device, dtype)
        self.adapters = {name: str(folder) for name, folder in folders_by_method(adapter).items()}
        self.methods = tuple(dict.fromkeys([*self.adapters, *self.base.spec.adapters, "prompt", "none"]))
        self.more_judges = tuple(judge)
        self.screen = SafetyFilter(self.base, screen)
        self.lock = Lock()
        self.pipes: dict[str, EmotionPipeline] = {}
        self.pipe(self.methods[0])

    @property
    def remarks(self) -> list[str]:
        """What a user should know, a sentence each."""
        if self.screen.remark:
            return [self.screen.remark]
        return []

    @cached_property
    def judges(self) -> dict[str, Encoder]:
        """The judges of emotions, by name."""
        judges = load_judges(self.base.name, self.more_judges, list(self.adapters.values()))
        return {name: judge for name, judge in judges.items() if judge.target == "emotion"}

    def pipe(self, method: str) -> EmotionPipeline:
        """Load the base with a method, or with a pair of methods.

        Args:
            method: A name in `methods`, or two joined by a plus sign.

        Returns:
            The pipeline, from memory if it was used lately.

        Raises:
            UsageError: For a method that this session does not have.
        """
        names = method.split("+")
        for name in names:
            if name not in self.methods:
                raise unknown_name("method", name, self.methods)
        with self.lock:
            pipe = self.pipes.pop(method, None)
            if pipe is None:
                adapters = [folder for name, folder in self.adapters.items() if name in names]
                pipe = load(self.base, method=method, adapter=adapters)
            self.pipes[method] = pipe  # the last; the first is the least recently used
            while len(self.pipes) > MAX_PIPELINES:
                del self.pipes[next(iter(self.pipes))]
            return pipe

    def plan(self, request: GenerationRequest) -> list[GenerationParams]:
        """Plan the images that a request means.

        Args:
            request: The request.

        Returns:
            The parameters of each image.

        Raises:
            UsageError: Where they cost more than one call may, and for a method that this session does not have.
        """
        check_cost(request, self.base.default_size)
        pipe = self.pipe(request.method or "none")
        planned = name_files(pipe.plan_request(request))
        return check_budget(planned, self.base.default_size, pipe.image_inputs.working_size)

    def generate(self, request: GenerationRequest) -> Iterator[View]:
        """Generate the images of a request.

        Args:
            request: The request.

        Returns:
            A view after every step; the last one has all images.

        Raises:
            UsageError: As `plan`, before the first step.
        """
        return self.generate_views(self.plan(request))

    def compare(
        self, request: GenerationRequest, methods: Sequence[str], emotions: Sequence[str], scales: Sequence[float]
    ) -> Grid:
        """Plan a comparison of methods, emotions and emotion scales.

        Args:
            request: What the images have in common.
            methods: Down.
            emotions: Across; "" is no emotion.
            scales: Emotion scales, down within each method.

        Returns:
            The grid, whose images are generated while its `views` are iterated over.

        Raises:
            UsageError: Where one of the three is empty, and where the grid costs too much.
        """
        return Grid(self, request, methods, emotions, scales)

    def edit(self, request: GenerationRequest, file: str) -> tuple[Image.Image, Iterator[View]]:
        """Give an image another emotion.

        Args:
            request: The emotion, the denoising strength and the rest.
            file: The path of the image; "" where none was uploaded.

        Returns:
            The image at the size at which it is edited, and a view after every step.

        Raises:
            UsageError: For no image, for a file that is none, and as `plan`.
        """
        files = [file] if file else []
        [image] = open_uploads(files)
        rows = self.plan(replace(request, num_images_per_prompt=1, image=image))
        pipe = self.pipe(rows[0].method)
        cautions = (*pipe.row_remarks(rows), *pipe.image_inputs.cautions(rows[0], str(request.prompt)))
        if max(image.size) == SIDE:
            cautions += (REDUCED,)
        return image.resize(rows[0].size, Image.Resampling.LANCZOS), self._edit_views(rows, cautions)

    def _edit_views(self, rows: list[GenerationParams], cautions: tuple[str, ...]) -> Iterator[View]:
        """Views of an edit; the image that was given is kept in memory until the last one."""
        try:
            for view in self.generate_views(rows):
                yield replace(view, cautions=cautions)
        finally:
            for row in rows:
                self.pipe(row.method).image_inputs.held.pop(str(row.image), None)

    def judge(self, files: Sequence[str]) -> dict[str, list[Verdict]]:
        """Let each judge read images.

        Args:
            files: Their paths.

        Returns:
            A verdict for each image, by the name of the judge.

        Raises:
            UsageError: For no file, for too many, and for a file that is no image.
        """
        images = open_uploads(files)
        places = np.array([AFFECT[name] for name in EMOTIONS])
        miniature = name_miniature(self.base.name, self.more_judges)
        verdicts: dict[str, list[Verdict]] = {}
        for name, judge in self.judges.items():
            verdicts[name] = []
            for image in images:
                with self.lock:
                    [probabilities] = judge.read([image]).probabilities
                valence, arousal = (probabilities @ places).tolist()
                likely = dict(zip(judge.labels, probabilities.tolist(), strict=True))
                caution = ""
                if name in miniature and not is_rendered(image):
                    caution = FOREIGN_IMAGE
                verdicts[name].append(Verdict(image, likely, (valence, arousal), caution))
        return verdicts

    def generate_views(self, rows: Sequence[GenerationParams]) -> Iterator[View]:
        """Generate planned images, `BATCH` at a time.

        Args:
            rows: The parameters of each image.

        Yields:
            A view after every step; the last one has all images.
        """
        total = sum(max(1, num_steps_run(row)) for row in rows)
        finished: list[FinishedImage] = []
        done, last_preview = 0, 0.0
        for group in group_params(rows):
            pipe, start = self.pipe(group[0].method), time.perf_counter()
            with self.lock:
                steps = pipe.denoise_with_x0(group)
            while (step := self._next_step(steps)) is not None:
                x, x_0 = step
                done += len(group)
                previews: list[Image.Image] = []
                is_due = time.perf_counter() - last_preview > PAUSE
                if is_due:
                    previews = self._preview(pipe, x_0)
                yield View(done / total, previews, list(finished))
                if is_due:
                    last_preview = time.perf_counter()
            with self.lock:
                images = pipe.decode(x, group)
            finished += self._finish_group(group, images, time.perf_counter() - start)
        yield View(1.0, [], finished)

    def _next_step(self, steps: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor] | None:
        with self.lock:
            return next(steps, None)

    def _preview(self, pipe: EmotionPipeline, x_0: Tensor) -> list[Image.Image]:
        """Images of latents [B, 4, h, w] in progress, decoded small; blank where the safety checker withholds one."""
        factor = max(1, max(x_0.shape[-2:]) // PREVIEW_SIDE)
        with self.lock, torch.no_grad():
            images = pipe.preview(F.avg_pool2d(x_0, factor))
        for place, allowed in enumerate(self.screen(images)):
            if not allowed:
                images[place] = blank_image(images[place].size)
        return [GeneratedImage.from_preview(image) for image in images]

    def _finish_group(
        self, group: Sequence[GenerationParams], images: Sequence[Image.Image], seconds: float
    ) -> list[FinishedImage]:
        """Images at their size with the seconds they took; blank where the safety checker withholds one."""
        finished = []
        for row, image, allowed in zip(group, images, self.screen(images), strict=True):
            settings, state = dict(row.settings), self.screen.state
            if not allowed:
                image, state = blank_image(row.size), "withheld"
            if image.size != row.size:
                image = image.resize(row.size, Image.Resampling.LANCZOS)
            if state:
                settings["safety_checker"] = state
            finished.append((replace(row, seconds=round(seconds / len(group), 4), settings=settings), image))
        return finished


class Grid:
    """A comparison: methods and emotion scales down, emotions across, one prompt and one seed.

    Args:
        session: What generates.
        request: What the images have in common.
        methods: Down.
        emotions: Across; "" is no emotion.
        scales: Emotion scales, down within each method.

    Attributes:
        lines: The method and the emotion scale of each line.
        columns: The headings of the columns.
        rows: The parameters of each image, line by line.

    Raises:
        UsageError: Where one of the three is empty, and where the grid costs too much.
    """

    def __init__(
        self,
        session: Session,
        request: GenerationRequest,
        methods: Sequence[str],
        emotions: Sequence[str],
        scales: Sequence[float],
    ) -> None:
        for name, side in (("method", methods), ("emotion", emotions), ("emotion scale", scales)):
            if not side:
                raise UsageError(f"a comparison needs one {name} at least: choose some")
        cells = len(methods) * len(emotions) * len(scales)
        if cells > MAX_CELLS:
            raise UsageError(f"a comparison of {cells} images is too large: {MAX_CELLS} at most")
        self.session, self.title = session, str(request.prompt)
        self.columns = [emotion_heading(emotion) for emotion in emotions]
        self.lines = list(product(methods, scales))
        rows = []
        for method, scale in self.lines:
            line = replace(request, method=method, emotion_scale=scale, num_images_per_prompt=1)
            for emotion in emotions:
                rows += session.plan(replace(line, emotion=emotion or None))
        self.rows = check_budget(name_files(rows), session.base.default_size)

    def views(self) -> Iterator[View]:
        """Generate the images, line by line.

        Returns:
            A view after every step; the last one has all images.
        """
        return self.session.generate_views(self.rows)

    def sheet(self, finished: Sequence[FinishedImage]) -> Image.Image:
        """Put the images on one sheet, with headings at the side and on top.

        Args:
            finished: The first images of the grid, or all; the others are left blank.

        Returns:
            The sheet.
        """
        images = [image for _, image in finished]
        images += [blank_image(row.size) for row in self.rows[len(images) :]]
        has_several_scales = len({scale for _, scale in self.lines}) > 1
        names, lines = [], []
        for number, (method, scale) in enumerate(self.lines):
            names.append(f"{method}  {scale:g}" if has_several_scales else method)
            start = number * len(self.columns)
            lines.append(images[start : start + len(self.columns)])
        return contact_sheet(lines, names, self.columns, self.title)


def emotion_heading(emotion: str) -> str:
    """Write an emotion as a heading.

    Args:
        emotion: A name or a mixture, as `parse_emotion` reads it; "" is no emotion.

    Returns:
        The names, joined by plus signs, each with its weight if that is not 1; `none` for no emotion.
    """
    if not emotion:
        return "none"
    parts = []
    for name, weight in parse_emotion(emotion).items():
        parts.append(name if weight == 1 else f"{name} {weight:g}")
    return " + ".join(parts)


def blank_image(size: tuple[int, int]) -> Image.Image:
    """Make an image of the colour of paper.

    Args:
        size: Width and height, in pixels.

    Returns:
        The image.
    """
    return Image.new("RGB", size, PAPER)


def group_params(rows: Sequence[GenerationParams]) -> Iterator[list[GenerationParams]]:
    """Group neighbours that can be generated in one batch.

    Args:
        rows: The parameters of each image.

    Yields:
        At most `BATCH` of them, with one method and one batching key.
    """
    for _, alike in groupby(rows, key=lambda row: (row.method, *row.batching_key)):
        group = list(alike)
        for start in range(0, len(group), BATCH):
            yield group[start : start + BATCH]
