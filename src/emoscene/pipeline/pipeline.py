"""One sampler, and the ways to use it.

    pipe = load("mini", method="lora")
    result = pipe("a village by a lake", emotion="awe", seed=7)      pictures of one call
    result = pipe(image="lake.jpg", keep=0.5, emotion="awe")         a picture, changed
    for row, image in pipe.draw(rows): ...                           pictures of any rows, lazily, in order
    for x in pipe.latents(rows): pipe.preview(x)                     what they will be, after each step

A picture is a function of its `GenerationParams`: its noise comes from a generator seeded with the row's own seed, exactly as
diffusers draws it, so a batch may mix prompts, emotions, strengths and seeds.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.images import GenerationParams, read_prompts
from emoscene.core.limits import read_number, read_seeds
from emoscene.core.taxonomy import EMOTIONS, Weights, check_one_source, emotion_weights, weights_at
from emoscene.diffusion.decoding import ImageDecoder, to_pil
from emoscene.diffusion.device import OutOfMemoryFallback
from emoscene.diffusion.model import LENGTH, Condition, DiffusionModel
from emoscene.diffusion.preview import Preview
from emoscene.methods.base import Method, MethodChain
from emoscene.pipeline.image_inputs import ImageInput, ImageInputs, num_steps_run
from emoscene.pipeline.samplers import SCHEDULERS, make_scheduler, sample

Emotion = str | Mapping[str, float] | Sequence[float] | None


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

    def __call__(self, prompt: str | Sequence[str] = "", *, batch: int = 8, **asked: Any) -> Result:
        """Paint every prompt in every emotion; asked: whatever `params` takes. batch: pictures painted at once."""
        prompts = read_prompts(prompt)
        for remark in dict.fromkeys(remark for words in prompts for remark in self.remarks(words)):
            warnings.warn(remark, stacklevel=2)
        rows = self.plan(prompts, **asked)
        for row in rows[:1]:
            for remark in self.image_inputs.cautions(row, prompts[0]):
                warnings.warn(remark, stacklevel=2)
        drawn = list(self.generate(rows, batch))
        return Result([image for _, image in drawn], [row for row, _ in drawn])

    def plan(
        self,
        prompt: str | Sequence[str] = "",
        *,
        emotion: Emotion | list[Emotion] = None,
        valence: float | None = None,
        arousal: float | None = None,
        like: ImageInput | None = None,
        image: ImageInput | None = None,
        keep: float | None = None,
        seed: int = 0,
        num: int = 1,
        size: int | tuple[int, int] | None = None,
        cfg: float | None = None,
        **same: Any,
    ) -> list[GenerationParams]:
        """The rows that a call asks for: prompts x emotions x `num` seeds counted up from `seed`.

        emotion: a name, a mixture ("awe:0.7,fear:-0.3" or a mapping), eight weights, None for the base, or a list of
        these; or valence and arousal, in [-1, 1]; or like: a picture (or its file) that has it. image: a picture to
        change, keep: how much of it stays, in [0, 1]; its caption stands in for an empty prompt. size: the side, or
        (width, height), in pixels, multiples of the base's `unit`; of an edit, see `editing`. cfg: how closely to
        follow the words.
        same: `strength` (0 the base, 1 the method as trained, above extrapolates, below suppresses), `negative`,
        `steps`, `sampler`, `cfg_low` and `cfg_high` (the noise levels t / T between which `cfg` acts). Raises Usage for
        words that are off.
        """
        check_one_source(emotion, valence, arousal, like)
        if (low := same.get("cfg_low", 0.0)) > (high := same.get("cfg_high", 1.0)):
            raise UsageError(f"cfg_low={low} is above cfg_high={high}: --cfg acts from high down to low")
        source = self.image_inputs.source_fields(image, keep, size)
        prompts = read_prompts(prompt)
        if image is not None and not all(prompts):
            caption = self.image_inputs.caption(source["image"])
            prompts = [words or caption for words in prompts]
        asked = [w for one in (emotion if isinstance(emotion, list) else [emotion]) for w in emotion_sets(one)]
        if valence is not None and arousal is not None:
            asked = [weights_at(valence, arousal)]
        if like is not None:
            name, digest = self.image_inputs.register(like)
            asked = [self.image_inputs.read_emotion(name, digest)[0]]
            source |= {"like": name, "digests": {**source["digests"], name: digest}}
        shared = {
            "method": self.method,
            "base": self.base.name,
            "adapters": self.adapters,
            "loras": self.base.loras,
            "settings": self.settings,
            "cfg": self.base.spec.guidance_scale if cfg is None else cfg,
            **source,
            **same,
        }
        seeds = read_seeds(seed, num)
        return [
            check_params(GenerationParams(prompt=p, emotion=e, seed=s, **shared))
            for p, e, s in product(prompts, asked, seeds)
        ]

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

        Only neighbours that share steps, sampler, size, `keep` and guidance's interval share a batch. Each row comes
        back with its seconds. Where memory runs out it goes on with less (`OutOfMemoryFallback`).
        """
        batch = read_number("batch", batch)
        for _, alike in groupby(rows, key=batching_key):
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
        """The latents [B, 4, h, w] after each step, for rows that share all that `batching_key` says."""
        return (x for x, _ in self.denoise_with_x0(rows))

    def denoise_with_x0(self, rows: Sequence[GenerationParams]) -> Iterator[tuple[Tensor, Tensor]]:
        """The latents after each step, and what they promise to become, both [B, 4, h, w]: for previews.

        Where all of a picture is kept there is no step, and its own latents are all that comes.
        """
        solver = make_scheduler(self.base, rows[0].sampler, rows[0].steps)
        x = self.image_inputs.start_latents(solver, rows)
        if not num_steps_run(rows[0]):
            return iter([(x, x)])
        positive, negative = self.encode_conditions(rows)
        cfg = torch.tensor([row.cfg for row in rows], device=self.base.device)
        interval = rows[0].cfg_low, rows[0].cfg_high
        return sample(self.base, self.chain, positive, negative, cfg, x, solver, interval)

    @torch.no_grad()
    def encode_conditions(self, rows: Sequence[GenerationParams]) -> tuple[Condition, Condition | None]:
        """What these rows lead towards, and away from; None where no row asks for guidance."""
        device = self.base.device
        strengths = torch.tensor([[row.strength] for row in rows], device=device)
        a = torch.tensor([row.emotion for row in rows], device=device) * strengths
        plain = self.base.encode_condition([row.prompt for row in rows], a)
        vectors = self.image_inputs.emotion_vectors(rows)
        if vectors is not None:
            plain = dataclasses.replace(plain, extra={"like": vectors})
        positive = self.chain.condition(plain)
        if all(row.cfg == 1 for row in rows):
            return positive, None
        away = self.base.encode_condition([row.negative for row in rows], (-a).clamp(min=0), plain.emotion_gain)
        if vectors is not None:
            away = dataclasses.replace(away, extra={"like": torch.zeros_like(vectors)})
        return positive, self.chain.condition(away)


def check_params(row: GenerationParams) -> GenerationParams:
    """The row, whose numbers are in bounds. Raises Usage for a sampler that nobody knows."""
    if row.sampler not in SCHEDULERS:
        raise unknown_name("sampler", row.sampler, SCHEDULERS)
    return row


def batching_key(row: GenerationParams) -> tuple[Any, ...]:
    """What rows must have in common to be painted at once."""
    return row.steps, row.sampler, row.size, row.keep, row.cfg_low, row.cfg_high


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
