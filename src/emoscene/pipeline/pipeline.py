"""One sampler, and the ways to use it.

    pipe = load("mini", method="lora")
    result = pipe("a village by a lake", emotion="awe", seed=7)      the images of one call
    result = pipe(image="lake.jpg", strength=0.5, emotion="awe")     an image, changed
    for row, image in pipe.generate(rows): ...                       images of any rows, lazily, in order
    for x in pipe.denoise(rows): pipe.preview(x)                     what they will be, after each step

An image is a function of its `GenerationParams`: its noise comes from a generator seeded with the row's own seed,
exactly as diffusers draws it, so a batch may mix prompts, emotions, emotion scales and seeds.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any, Unpack

import torch
from PIL import Image
from torch import Tensor

from emoscene.core.errors import UsageError
from emoscene.core.images import SUFFIXES, GeneratedImage, name_files, save_image
from emoscene.core.parameter import CALL
from emoscene.core.params import GenerationParams, read_prompts
from emoscene.core.request import (
    Emotion,
    GenerationRequest,
    GenerationWords,
    list_parameters,
    read_number,
    read_seeds,
)
from emoscene.core.taxonomy import EMOTIONS, Weights, emotion_weights, weights_at
from emoscene.diffusion.decoding import ImageDecoder, to_pil
from emoscene.diffusion.device import OutOfMemoryFallback
from emoscene.diffusion.model import LENGTH, Condition, DiffusionModel
from emoscene.diffusion.preview import Preview
from emoscene.methods.base import EMOTION_VECTOR, Method, MethodChain
from emoscene.pipeline import image_folder
from emoscene.pipeline.image_inputs import STRENGTH_ALONE, ImageInputs, num_steps_run
from emoscene.pipeline.remarks import remark_prompts, remark_rows
from emoscene.pipeline.samplers import make_scheduler, sample

SHARED = list_parameters(CALL).keys() & {field.name for field in dataclasses.fields(GenerationParams)}
"""What an image takes over from its request, where nothing below says it for the image alone."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The images of one call, and the parameters that make them again.

    Attributes:
        images: The images; what `save` writes carries its parameters and its origin (`core.images.GeneratedImage`).
        params: The parameters of each.

    Example:
        >>> result = load("mini", method="lora")("a lake", emotion=["awe", "fear"])
        >>> result.images[0].save("awe.png")
        >>> result.save("images")
    """

    images: list[Image.Image]
    params: list[GenerationParams]

    def save(self, place: str | Path, provenance: str = "xmp") -> list[Path]:
        """Write the images.

        Args:
            place: A file, such as `awe.png`, for one image; or a folder, whose files `emoscene generate` would name
                alike and write with the same bytes, and whose `images.jsonl` gets a row for each.
            provenance: What the files say of their origin: `xmp`, `c2pa` or `none`, as `generate` has it.

        Returns:
            The files.

        Raises:
            UsageError: Several images are to go into one file, or a file of the folder holds another image.
        """
        place = Path(place)
        if place.suffix.lower() not in Image.registered_extensions():
            return image_folder.save_images(self.images, name_files(self.params), place, provenance)
        if len(self.images) != 1:
            raise UsageError(f"{place} is one file and there are {len(self.images)} images: give a folder")
        if place.suffix.lower() in {*SUFFIXES.values(), ".jpeg"}:
            save_image(self.images[0], place, self.params[0], provenance)
        else:
            self.images[0].save(place)
        return [place]


class EmotionPipeline:
    """A base with methods on it, ready to generate; `load` makes one.

    Args:
        base: The diffusion model.
        methods: Methods loaded on it, by name.
        adapters: What the weights of each trained one are called in an image's row.
        settings: The methods' settings that are not their own or those that they were trained with, as `method.key`.
        tiny: The folder of an AutoencoderTiny that decodes previews; the base's own estimate if left out.
    """

    def __init__(
        self,
        base: DiffusionModel,
        methods: Mapping[str, Method],
        adapters: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        tiny: str | Path | None = None,
    ) -> None:
        self.base, self.methods, self.adapters = base, dict(methods), tuple(adapters)
        self.settings = dict(settings or {})
        self.method = "+".join(methods) or "none"
        self.trained: list[str] = []
        self.adapter_remarks: list[str] = []
        for name, method in methods.items():
            if method.columns:
                self.trained.append(name)
            if method.remark:
                self.adapter_remarks.append(method.remark)
        self.chain = MethodChain(list(methods.values()))
        self.image_inputs = ImageInputs(base, self.chain.methods)
        self.preview_decoder = Preview(base, tiny)
        self.on_message: Callable[[str], None] = _warn_user
        self.memory_policy = OutOfMemoryFallback(base, lambda remark: self.on_message(remark))
        self.decoder = ImageDecoder(base, lambda remark: self.on_message(remark))

    def __call__(self, prompt: str | Sequence[str] = "", *, batch: int = 8, **asked: Unpack[GenerationWords]) -> Result:
        """Generate every prompt in every emotion.

        Args:
            prompt: One, or a list of them.
            batch: Images at once, 1 to 1024; it changes the speed and not the images.
            asked: The parameters of `core.request.GenerationRequest`.

        Returns:
            The images and their parameters, prompt by prompt, emotion by emotion, seed by seed.

        Raises:
            UsageError: A keyword is not known, or a value is off.

        Example:
            >>> load("mini", method="lora")("a village by a lake", emotion="awe", seed=7).images[0].size
            (128, 128)
        """
        prompts = read_prompts(prompt)
        rows = self.plan(prompts, **asked)
        for remark in self.row_remarks(rows):
            warnings.warn(remark, stacklevel=2)
        if rows:
            for remark in self.image_inputs.cautions(rows[0], prompts[0]):
                warnings.warn(remark, stacklevel=2)

        result = Result([], [])
        for row, image in self.generate(rows, batch):
            result.images.append(image)
            result.params.append(row)
        return result

    def plan(self, prompt: str | Sequence[str] = "", **asked: Unpack[GenerationWords]) -> list[GenerationParams]:
        """Plan the images of a call: prompts x emotions x `num_images_per_prompt` seeds counted up from `seed`.

        Args:
            prompt: One, or a list of them; the caption of the image stands in for an empty one.
            asked: The parameters of `core.request.GenerationRequest`. emotion: a name, a mixture ("awe:0.7,fear:-0.3"
                or a mapping), eight weights, None for the base, or a list of these. width, height: multiples of the
                base's `size_multiple`; of an edit, see `image_inputs`.

        Returns:
            The parameters of each image.

        Raises:
            UsageError: A keyword is not known, or a value is off.
        """
        return self.plan_request(GenerationRequest.from_words({"prompt": prompt, **asked}))

    def plan_request(self, request: GenerationRequest) -> list[GenerationParams]:
        """Plan the images of a request.

        Args:
            request: What is asked; its `method` is ignored, because a pipeline has its own.

        Returns:
            The parameters of each image.

        Raises:
            UsageError: A value does not suit the base or the image.
        """
        source = self.image_inputs.source_fields(request.image, request.strength, request.size)
        prompts = read_prompts(request.prompt)
        if request.image is not None and not all(prompts):
            caption = self.image_inputs.caption(source["image"])
            prompts = [words or caption for words in prompts]
        emotions = read_emotions(request)
        if request.emotion_image is not None:
            name, digest = self.image_inputs.register(request.emotion_image)
            emotions = [self.image_inputs.read_emotion(name, digest)[0]]
            source |= {"emotion_image": name, "digests": {**source["digests"], name: digest}}

        shared = {**self._shared_fields(request), **source}
        seeds = read_seeds(request.seed, request.num_images_per_prompt)
        rows = []
        for prompt, emotion, seed in product(prompts, emotions, seeds):
            rows.append(GenerationParams(**{**shared, "prompt": prompt, "emotion": emotion, "seed": seed}))
        return rows

    def _shared_fields(self, request: GenerationRequest) -> dict[str, Any]:
        """The fields that all images of a request have in common, apart from those of a source image."""
        fields: dict[str, Any] = {name: getattr(request, name) for name in SHARED}
        fields["method"] = self.method
        fields["base"] = self.base.name
        fields["adapters"] = self.adapters
        fields["loras"] = self.base.loras
        fields["settings"] = self.settings
        if request.guidance_scale is None:
            fields["guidance_scale"] = self.base.spec.guidance_scale
        return fields

    def remarks(self, prompt: str) -> list[str]:
        """Say what a user should know about a prompt: words out of vocabulary, or more tokens than are read.

        And, whatever the prompt: adapters that were trained on another base.

        Args:
            prompt: The prompt.

        Returns:
            Sentences.
        """
        return [*self.adapter_remarks, *remark_prompts(self.base, self.room, [prompt], self.method)]

    def row_remarks(self, rows: Sequence[GenerationParams]) -> list[str]:
        """Say what a user should know about planned images, as `remarks` does, and what else would be lost in silence.

        Args:
            rows: The parameters of each image.

        Returns:
            Sentences, each once.
        """
        if not rows:
            return list(self.adapter_remarks)
        return [*self.adapter_remarks, *remark_rows(self.base, self.room, rows)]

    @property
    def room(self) -> int:
        """How many tokens of a prompt are read beside the methods' own."""
        return LENGTH - 2 - max((method.num_tokens for method in self.chain.methods), default=0)

    def generate(
        self, rows: Iterable[GenerationParams], batch: int = 8
    ) -> Iterator[tuple[GenerationParams, Image.Image]]:
        """Generate the images of some rows, lazily and in order.

        Only neighbours with the same `batching_key` share a batch. Where memory runs out it continues with less
        (`OutOfMemoryFallback`).

        Args:
            rows: The parameters of each image.
            batch: Images at once, 1 to 1024.

        Yields:
            Each row with the seconds it took, and its image, whose `info` carries the row as a PNG does.

        Raises:
            UsageError: The batch size is off, or an image that a row names is not there any more.
            EmosceneError: Memory does not suffice, or an image came out as numbers that are not finite.
        """
        batch = read_number("batch", batch)
        for _, alike in groupby(rows, key=self._group_key):
            while group := list(islice(alike, batch)):
                began = time.perf_counter()
                images = self.memory_policy(self._generate_group, group)
                seconds = round((time.perf_counter() - began) / len(group), 4)
                for row, image in zip(group, images, strict=True):
                    if image.size != row.size:
                        image = image.resize(row.size, Image.Resampling.LANCZOS)
                    yield dataclasses.replace(row, seconds=seconds), GeneratedImage.from_image(image, row)

    def _group_key(self, row: GenerationParams) -> tuple[Any, ...]:
        """What the rows of a batch share."""
        return row.batching_key, self.image_inputs.working_size(row)

    def _generate_group(self, rows: Sequence[GenerationParams]) -> list[Image.Image]:
        *_, x = self.denoise(rows)
        return self.decode(x, rows)

    def decode(self, x: Tensor, rows: Sequence[GenerationParams]) -> list[Image.Image]:
        """Decode finished latents.

        Args:
            x: Latents [B, 4, h, w].
            rows: What they were generated from, for messages.

        Returns:
            B images, at the size that was worked on.

        Raises:
            EmosceneError: Numbers are not finite.
        """
        return self.decoder(x, [row.seed for row in rows])

    def preview(self, latents: Tensor) -> list[Image.Image]:
        """Show roughly what latents look like, by the tiny decoder where one was given.

        Args:
            latents: Latents between two steps [B, 4, h, w].

        Returns:
            B images; unlike those of `decode` they are not checked, and a number that is not finite is black.
        """
        return to_pil(self.preview_decoder(latents).nan_to_num())

    def denoise(self, rows: Sequence[GenerationParams]) -> Iterator[Tensor]:
        """Run the sampler.

        Args:
            rows: B rows with the same `batching_key`.

        Returns:
            An iterator over the latents after each step [B, 4, h, w].
        """
        return (x for x, _ in self.denoise_with_x0(rows))

    def denoise_with_x0(self, rows: Sequence[GenerationParams]) -> Iterator[tuple[Tensor, Tensor]]:
        """Run the sampler, with an estimate of the finished latents after each step, for previews.

        Args:
            rows: B rows with the same `batching_key`.

        Returns:
            An iterator over the latents x and the estimates x_0, both [B, 4, h, w]. At a denoising strength of 0 there
            is no step, and the latents of the source image are all that comes.
        """
        solver = make_scheduler(self.base, rows[0].sampler, rows[0].num_inference_steps)
        x = self.image_inputs.start_latents(solver, rows)
        if not num_steps_run(rows[0]):
            return iter([(x, x)])
        positive, negative = self.encode_conditions(rows)
        return sample(self.base, self.chain, positive, negative, x, solver, rows)

    @torch.no_grad()
    def encode_conditions(self, rows: Sequence[GenerationParams]) -> tuple[Condition, Condition | None]:
        """Encode what the UNet attends to in the two halves of classifier-free guidance.

        Args:
            rows: B rows.

        Returns:
            The positive half; and the negative half, or None where no row asks for guidance. Suppressed emotions stand
            in the negative half with their sign turned.
        """
        scales = torch.tensor([[row.emotion_scale] for row in rows])
        a = torch.tensor([row.emotion for row in rows]) * scales
        plain = self.base.encode_condition([row.prompt for row in rows], a)
        vectors = self.image_inputs.emotion_vectors(rows)
        if vectors is not None:
            plain = dataclasses.replace(plain, extra={EMOTION_VECTOR: vectors})
        positive = self.chain.condition(plain)
        if all(row.guidance_scale == 1 for row in rows):
            return positive, None
        prompts = [row.negative_prompt for row in rows]
        negative = self.base.encode_condition(prompts, (-a).clamp(min=0), plain.emotion_gain, is_null=True)
        if vectors is not None:
            negative = dataclasses.replace(negative, extra={EMOTION_VECTOR: torch.zeros_like(vectors)})
        return positive, self.chain.condition(negative)


def emotion_sets(emotion: Emotion) -> list[Weights]:
    """Read what is asked as sets of weights, one for each image.

    Args:
        emotion: A name, a mixture, eight weights, None for the base; or "all", which is each emotion in turn.

    Returns:
        The weights of each set.

    Raises:
        UsageError: A name is not known, or a weight is off.
    """
    if emotion == "all":
        return [emotion_weights(name) for name in EMOTIONS]
    return [emotion_weights(emotion)]


def _warn_user(remark: str) -> None:
    warnings.warn(remark, stacklevel=2)


def check_request(words: Mapping[str, Any]) -> None:
    """Check what a call asks for, as far as that needs no base.

    Args:
        words: The prompt and the parameters of `core.request.GenerationRequest`.

    Raises:
        UsageError: A keyword is not known, or a value is off.
    """
    request = GenerationRequest.from_words(words)
    read_prompts(request.prompt)
    read_seeds(request.seed, request.num_images_per_prompt)
    read_emotions(request)
    if request.strength is not None and request.image is None:
        raise UsageError(STRENGTH_ALONE)


def read_emotions(request: GenerationRequest) -> list[Weights]:
    """Read the emotions that are asked by name or by their place on the plane.

    Args:
        request: The request.

    Returns:
        The weights of each.

    Raises:
        UsageError: A name is not known, or a weight is off.
    """
    if request.valence is not None and request.arousal is not None:
        return [weights_at(request.valence, request.arousal)]
    if not isinstance(request.emotion, list):
        return emotion_sets(request.emotion)
    weights: list[Weights] = []
    for one in request.emotion:
        weights += emotion_sets(one)
    if any(isinstance(one, str) and one == "all" for one in request.emotion):
        return list(dict.fromkeys(weights))  # what is named beside it is not generated twice
    return weights
