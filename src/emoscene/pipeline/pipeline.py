"""One sampler, and the ways to use it.

    pipe = load("mini", method="lora")
    result = pipe("a village by a lake", emotion="awe", seed=7)      pictures of one call
    result = pipe(image="lake.jpg", strength=0.5, emotion="awe")         a picture, changed
    for row, image in pipe.draw(rows): ...                           pictures of any rows, lazily, in order
    for x in pipe.latents(rows): pipe.preview(x)                     what they will be, after each step

A picture is a function of its `GenerationParams`: its noise comes from a generator seeded with the row's own seed,
exactly as diffusers draws it, so a batch may mix prompts, emotions, strengths and seeds.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, product
from operator import attrgetter
from pathlib import Path
from typing import Any, Unpack

import torch
from PIL import Image
from torch import Tensor

from emoscene.core.parameter import CALL
from emoscene.core.params import GenerationParams, read_prompts
from emoscene.core.request import Emotion, GenerationRequest, list_parameters, read_number, read_seeds
from emoscene.core.request_types import GenerationWords
from emoscene.core.taxonomy import EMOTIONS, Weights, emotion_weights, weights_at
from emoscene.diffusion.decoding import ImageDecoder, to_pil
from emoscene.diffusion.device import OutOfMemoryFallback
from emoscene.diffusion.model import LENGTH, Condition, DiffusionModel
from emoscene.diffusion.preview import Preview
from emoscene.methods.base import EMOTION_VECTOR, Method, MethodChain
from emoscene.pipeline.image_inputs import ImageInputs, num_steps_run
from emoscene.pipeline.samplers import make_scheduler, sample

SHARED = list_parameters(CALL).keys() & {field.name for field in dataclasses.fields(GenerationParams)}
"""What an image takes over from its request, where nothing below says it for the image alone."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The pictures of one call and the rows that make them again."""

    images: list[Image.Image]
    params: list[GenerationParams]


class EmotionPipeline:
    """A base with methods on it, ready to paint. `load` makes one."""

    def __init__(
        self,
        base: DiffusionModel,
        methods: Mapping[str, Method],
        adapters: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        tiny: str | Path | None = None,
    ) -> None:
        self.base, self.methods, self.adapters = base, dict(methods), tuple(adapters)
        self.settings = dict(settings or {})  # those that are not the methods' own
        self.method = "+".join(methods) or "none"
        self.trained = [name for name, method in methods.items() if method.columns]
        self.adapter_remarks = [method.remark for method in methods.values() if method.remark]
        self.chain = MethodChain(list(methods.values()))
        self.image_inputs = ImageInputs(base, self.chain.methods)
        self.preview_decoder = Preview(base, tiny)
        self.on_message: Callable[[str], None] = _warn_user
        self.memory_policy = OutOfMemoryFallback(base, lambda remark: self.on_message(remark))
        self.decoder = ImageDecoder(base, lambda remark: self.on_message(remark))

    def __call__(self, prompt: str | Sequence[str] = "", *, batch: int = 8, **asked: Unpack[GenerationWords]) -> Result:
        """Generate every prompt in every emotion.

        Args:
            prompt: one, or a list of them.
            batch: images at once, 1 to 1024; it changes the speed and not the images.
            asked: the parameters of `core.request.GenerationRequest`.

        Returns:
            The images and their parameters, prompt by prompt, emotion by emotion, seed by seed.

        Raises:
            UsageError: for a keyword that nobody knows, and for a value that is off.
        """
        prompts = read_prompts(prompt)
        for remark in dict.fromkeys(remark for words in prompts for remark in self.remarks(words)):
            warnings.warn(remark, stacklevel=2)
        rows = self.plan(prompts, **asked)
        for row in rows[:1]:
            for remark in self.image_inputs.cautions(row, prompts[0]):
                warnings.warn(remark, stacklevel=2)
        drawn = list(self.generate(rows, batch))
        return Result([image for _, image in drawn], [row for row, _ in drawn])

    def plan(self, prompt: str | Sequence[str] = "", **asked: Unpack[GenerationWords]) -> list[GenerationParams]:
        """The images that a call asks for: prompts x emotions x `num_images_per_prompt` seeds counted up from `seed`.

        Args:
            prompt: one, or a list of them; the image's caption stands in for an empty one.
            asked: the parameters of `core.request.GenerationRequest`. emotion: a name, a mixture ("awe:0.7,fear:-0.3"
                or a mapping), eight weights, None for the base, or a list of these. width, height: multiples of the
                base's `size_multiple`; of an edit, see `image_inputs`.

        Raises:
            UsageError: for a keyword that nobody knows, and for a value that is off.
        """
        return self.plan_request(GenerationRequest.from_words({"prompt": prompt, **asked}))

    def plan_request(self, request: GenerationRequest) -> list[GenerationParams]:
        """The images of a request, whose `method` is left aside: a pipeline has its own. Raises UsageError as
        `plan`.
        """
        source = self.image_inputs.source_fields(request.image, request.strength, request.size)
        prompts = read_prompts(request.prompt)
        if request.image is not None and not all(prompts):
            caption = self.image_inputs.caption(source["image"])
            prompts = [words or caption for words in prompts]
        emotions = self._read_emotions(request)
        if request.emotion_image is not None:
            name, digest = self.image_inputs.register(request.emotion_image)
            emotions = [self.image_inputs.read_emotion(name, digest)[0]]
            source |= {"emotion_image": name, "digests": {**source["digests"], name: digest}}

        own_scale = self.base.spec.guidance_scale
        shared = {
            **{name: getattr(request, name) for name in SHARED},
            "method": self.method,
            "base": self.base.name,
            "adapters": self.adapters,
            "loras": self.base.loras,
            "settings": self.settings,
            "guidance_scale": own_scale if request.guidance_scale is None else request.guidance_scale,
            **source,
        }
        seeds = read_seeds(request.seed, request.num_images_per_prompt)
        return [
            GenerationParams(**{**shared, "prompt": prompt, "emotion": emotion, "seed": seed})
            for prompt, emotion, seed in product(prompts, emotions, seeds)
        ]

    def _read_emotions(self, request: GenerationRequest) -> list[Weights]:
        """The weights of each emotion that is asked by name or by its place on the plane."""
        if request.valence is not None and request.arousal is not None:
            return [weights_at(request.valence, request.arousal)]
        asked = request.emotion if isinstance(request.emotion, list) else [request.emotion]
        return [weights for one in asked for weights in emotion_sets(one)]

    def remarks(self, prompt: str) -> list[str]:
        """What is odd about a prompt, a sentence each: words the base does not know, or has no room for.

        And about any prompt here: adapters that were trained on another base.
        """
        found, base = list(self.adapter_remarks), self.base
        if odd := unknown_words(base, prompt):
            words = ", ".join(map(repr, odd))
            found.append(f"the base '{base.name}' does not know {words}: emoscene show {base.name} lists its words")
        room = LENGTH - 2 - max((method.num_tokens for method in self.chain.methods), default=0)
        if (length := len(base.tokenize(prompt, 2000))) > room:
            found.append(
                f"the prompt is {length} tokens long and {self.method} has room for {room}: its end is not read"
            )
        return found

    def generate(
        self, rows: Iterable[GenerationParams], batch: int = 8
    ) -> Iterator[tuple[GenerationParams, Image.Image]]:
        """The pictures of these rows, lazily and in order, at most `batch` at a time.

        Only neighbours with the same `batching_key` share a batch. Each row comes
        back with its seconds. Where memory runs out it goes on with less (`OutOfMemoryFallback`).
        """
        batch = read_number("batch", batch)
        for _, alike in groupby(rows, key=attrgetter("batching_key")):
            while group := list(islice(alike, batch)):
                began = time.perf_counter()
                images = self.memory_policy(self._generate_group, group)
                seconds = round((time.perf_counter() - began) / len(group), 4)
                for row, image in zip(group, images, strict=True):
                    sized = image if image.size == row.size else image.resize(row.size, Image.Resampling.LANCZOS)
                    sized.info["emoscene"] = json.dumps(row.to_dict())  # in memory too it says where it comes from
                    yield dataclasses.replace(row, seconds=seconds), sized

    def _generate_group(self, rows: Sequence[GenerationParams]) -> list[Image.Image]:
        *_, x = self.denoise(rows)
        return self.decode(x, rows)

    def decode(self, x: Tensor, rows: Sequence[GenerationParams]) -> list[Image.Image]:
        """The finished images of latents [B, 4, h, w]; rows: what they were made from. Raises as `ImageDecoder`."""
        return self.decoder(x, [row.seed for row in rows])

    def preview(self, latents: Tensor) -> list[Image.Image]:
        """What latents [B, 4, h, w] between two steps look like, by the tiny decoder where one was given."""
        return to_pil(
            self.preview_decoder(latents).nan_to_num()
        )  # a finished image is checked, a sketch is shown as it is

    def denoise(self, rows: Sequence[GenerationParams]) -> Iterator[Tensor]:
        """The latents [B, 4, h, w] after each step, for rows that share all that their `batching_key` says."""
        return (x for x, _ in self.denoise_with_x0(rows))

    def denoise_with_x0(self, rows: Sequence[GenerationParams]) -> Iterator[tuple[Tensor, Tensor]]:
        """The latents after each step, and what they promise to become, both [B, 4, h, w]: for previews.

        Where all of a picture is kept there is no step, and its own latents are all that comes.
        """
        solver = make_scheduler(self.base, rows[0].sampler, rows[0].num_inference_steps)
        x = self.image_inputs.start_latents(solver, rows)
        if not num_steps_run(rows[0]):
            return iter([(x, x)])
        positive, negative = self.encode_conditions(rows)
        cfg = torch.tensor([row.guidance_scale for row in rows], device=self.base.device)
        return sample(self.base, self.chain, positive, negative, cfg, x, solver, rows[0].guidance_interval)

    @torch.no_grad()
    def encode_conditions(self, rows: Sequence[GenerationParams]) -> tuple[Condition, Condition | None]:
        """What these rows lead towards, and away from; None where no row asks for guidance."""
        device = self.base.device
        strengths = torch.tensor([[row.emotion_scale] for row in rows], device=device)
        a = torch.tensor([row.emotion for row in rows], device=device) * strengths
        plain = self.base.encode_condition([row.prompt for row in rows], a)
        vectors = self.image_inputs.emotion_vectors(rows)
        if vectors is not None:
            plain = dataclasses.replace(plain, extra={EMOTION_VECTOR: vectors})
        positive = self.chain.condition(plain)
        if all(row.guidance_scale == 1 for row in rows):
            return positive, None
        away = self.base.encode_condition([row.negative_prompt for row in rows], (-a).clamp(min=0), plain.emotion_gain)
        if vectors is not None:
            away = dataclasses.replace(away, extra={EMOTION_VECTOR: torch.zeros_like(vectors)})
        return positive, self.chain.condition(away)


def emotion_sets(emotion: Emotion) -> list[Weights]:
    """One row of weights for what was asked; "all" is each emotion in turn."""
    if emotion == "all":
        return [emotion_weights(name) for name in EMOTIONS]
    return [emotion_weights(emotion)]


def _warn_user(remark: str) -> None:
    """Tell whoever listens to warnings."""
    warnings.warn(remark, stacklevel=2)


def unknown_words(base: DiffusionModel, prompt: str) -> list[str]:
    """The words of a prompt that a base with a vocabulary of its own does not know."""
    if not base.spec.vocabulary:
        return []
    known = set((base.folder / base.spec.vocabulary).read_text(encoding="utf8").split())
    return [word for word in dict.fromkeys(re.findall(r"[a-z]+", prompt.lower())) if word not in known]
