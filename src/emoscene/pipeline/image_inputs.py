"""Editing: an image is noised to a level and denoised from there (SDEdit, https://arxiv.org/abs/2108.01073).

`strength` S in [0, 1] is img2img's denoising strength: of the solver's steps only the last round(S steps) are run, from

    x_t = sqrt(alphabar_t) encode(x) + sqrt(1 - alphabar_t) (sqrt(c) eps_x + sqrt(1 - c) eps)

at the first of these, in the solver's own units. eps is the seed's noise, eps_x the image's own: what the base would
have generated it from (DDIM backwards). With a share of c = min(.8, 8 (1 - S)) of that, the layout survives levels at
which light and colours are free to change, which is what another emotion asks for; noise of the seed alone must stay
below them (`docs/log.md`). S = 0 runs no step and gives decode(encode(x)); S = 1 runs all, from pure noise, and is what
would have been generated without x. What the words say stays too: the prompt, or else a caption.

The framing stays, and an image comes back at its own size; or at the area of SIZE x SIZE in its own aspect ratio
(`--size SIZE`), or exactly at WIDTH x HEIGHT where both are given. It is worked on at the nearest sides that the UNet
can take, and then scaled. An image that keeps its own size is worked on at no less than the base's own area and at no
more than four times that: a UNet that is shown many times the area it learnt invents several of everything.

The emotion alone can be taken from an image too (`--emotion-image`): EmotionCLIP reads it as a mixture and as a vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from emoscene.core import run_dir, seeds
from emoscene.core.errors import UsageError
from emoscene.core.file_reading import digest_file
from emoscene.core.image_files import to_upright_rgb
from emoscene.core.image_origin import caution_for, is_of_rendered_world, is_rendered
from emoscene.core.images import read_image
from emoscene.core.params import GenerationParams
from emoscene.core.paths import is_network_name
from emoscene.core.request import DEFAULT_STRENGTH, ImageInput, read_number, read_size
from emoscene.core.taxonomy import Weights, format_emotion
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import load_encoder, locate_model, to_tensor
from emoscene.methods.base import Method
from emoscene.pipeline.samplers import (
    invert_ddim,
    keep_last_steps,
    noise_to_level,
    remaining_timesteps,
    scale_first_noise,
)

OWN, ALL_OF_IT = 0.8, 0.1  # share of the image's own noise at most, and from which 1 - strength on
STRENGTH_ALONE = "--strength says how much of an image changes: give the image with --image FILE"
PIXELS = 4_000_000  # of one image
LARGEST_EDIT = 4  # times the base's own area, at which an image that keeps its size is worked on at most
READING_SIDE = 512  # pixels of the longer side at which an auxiliary model reads an image
IMAGES_HELD = 64  # in memory
AUXILIARY_MODELS = {
    "captioner": "give a PROMPT that says what the image shows",
    "emotion_clip": "say the emotion with --emotion, or with --valence and --arousal",
}
"""What reads an image for a base, and what to do where the base has none."""


class ImageInputs:
    """The images that were given from outside, by name, and what the base's auxiliary models read in them.

    Args:
        base: The base, whose captioner and EmotionCLIP are loaded when they are needed.
        methods: The methods on it.
    """

    def __init__(self, base: DiffusionModel, methods: Sequence[Method] = ()) -> None:
        self.base, self.methods = base, methods
        self.held: dict[str, Image.Image] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.readings: dict[tuple[str, str], tuple[Weights, Tensor]] = {}
        self.auxiliary: dict[str, Any] = {}

    def register(self, image: ImageInput) -> tuple[str, str]:
        """Take in an image.

        Args:
            image: A file, or an image in memory, of which the last 64 are held.

        Returns:
            Its name, by which `open_registered` finds it (the file's path, or `memory:...`), and its sha256.

        Raises:
            UsageError: It is no image, or its file cannot be used.
        """
        return self._register(image)[:2]

    def _register(self, image: ImageInput) -> tuple[str, str, tuple[int, int]]:
        if isinstance(image, str | Path):
            self._read(str(image), 1)
            return str(image), digest_file(image), self.sizes[str(image)]
        if not isinstance(image, Image.Image):
            raise UsageError(f"a {type(image).__name__} is no image: give a file's name or a PIL image")
        try:
            image = to_upright_rgb(image)
        except ValueError as error:
            raise UsageError(f"the image cannot be used ({error}): give it as an 8-bit image without EXIF") from error
        digest = sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        name = f"memory:{digest[:16]}"
        self.held[name] = image
        while len(self.held) > IMAGES_HELD:
            del self.held[next(iter(self.held))]
        return name, digest, image.size

    def _read(self, name: str, enough: int | None) -> Image.Image:
        """Open a file, whose size is noted."""
        read = read_image(name, enough)
        self.sizes[name] = read.size
        return read.image

    def size_of(self, name: str) -> tuple[int, int]:
        """Find the size of an image.

        Args:
            name: As `register` returned it.

        Returns:
            Width and height in pixels, upright.

        Raises:
            UsageError: It is gone.
        """
        if name in self.held:
            return self.held[name].size
        if name not in self.sizes:
            self._read(name, 1)
        return self.sizes[name]

    def open_registered(self, name: str, digest: str = "", enough: int | None = None) -> Image.Image:
        """Open an image by its name.

        Args:
            name: As `register` returned it.
            digest: The sha256 that it must have; any if left out.
            enough: The side in pixels that it is needed at; see `decode_image`.

        Returns:
            The image in RGB.

        Raises:
            UsageError: It is gone, or is not the one with this digest.
        """
        if name in self.held:
            return self.held[name]
        image = self._read(name, enough)
        if digest and digest != digest_file(name):
            raise UsageError(f"{name} is not the image that it was ({digest[:12]}): bring that one back")
        return image

    def source_fields(
        self, image: ImageInput | None, strength: float | None, size: int | tuple[int, int] | None
    ) -> dict[str, Any]:
        """Work out what a row says of the image that it is made from.

        Args:
            image: The image to change; None for none.
            strength: The denoising strength in [0, 1]; `DEFAULT_STRENGTH` if left out.
            size: Width and height, the side of a square, or None.

        Returns:
            The fields `image strength width height digests`; of these the last three without an image.

        Raises:
            UsageError: It is no image, there is a strength without an image, or the size cannot be generated.
        """
        if image is None:
            if strength is not None:
                raise UsageError(STRENGTH_ALONE)
            width, height = check_size(self.base, size)
            return {"width": width, "height": height, "digests": {}}
        name, digest, own = self._register(image)
        width, height = output_size(self.base, own, size)
        if strength is None:
            strength = DEFAULT_STRENGTH
        return {"image": name, "strength": strength, "width": width, "height": height, "digests": {name: digest}}

    def caption(self, name: str) -> str:
        """Caption an image by the base's captioner.

        Args:
            name: The image's name.

        Returns:
            The caption.

        Raises:
            UsageError: The base has no captioner.
        """
        words: str = self._auxiliary("captioner").caption(self._small_view(name))[0]
        return words

    @torch.no_grad()
    def read_emotion(self, name: str, digest: str) -> tuple[Weights, Tensor]:
        """Read the emotion of an image by the base's EmotionCLIP.

        Args:
            name: The image's name.
            digest: Its sha256.

        Returns:
            The eight emotions' probabilities, rounded to four places, and the image's vector [D] of unit length.

        Raises:
            UsageError: The base has no EmotionCLIP, or an adapter was trained with the vectors of another one.
        """
        if (name, digest) not in self.readings:
            self._check_emotion_clip()
            probabilities, vector = self._auxiliary("emotion_clip").encode(self._small_view(name, digest))
            weights = tuple(round(p, 4) for p in probabilities[0].tolist())
            self.readings[name, digest] = weights, vector[0].cpu()
        return self.readings[name, digest]

    def emotion_vectors(self, rows: Sequence[GenerationParams]) -> Tensor | None:
        """Read the vectors of the rows' emotion images.

        Args:
            rows: B rows.

        Returns:
            The vectors in main memory [B, D], zeros for a row without an emotion image; None where no row has one.

        Raises:
            UsageError: As `read_emotion`, and for an image that is not the one that the row was planned with.
        """
        vectors: dict[int, Tensor] = {}
        for place, row in enumerate(rows):
            if row.emotion_image:
                name, digest = checked_reference(row, row.emotion_image)
                vectors[place] = self.read_emotion(name, digest)[1]
        if not vectors:
            return None
        nothing = torch.zeros_like(next(iter(vectors.values())))
        return torch.stack([vectors.get(place, nothing) for place in range(len(rows))])

    def start_latents(self, solver: Any, rows: Sequence[GenerationParams]) -> Tensor:
        """Make the latents that the solver starts from; where an image is changed, let it run its last steps alone.

        Args:
            solver: The scheduler, set for the rows' steps.
            rows: B rows that share steps, size and denoising strength.

        Returns:
            The latents, in the solver's own units [B, 4, h, w].

        Raises:
            UsageError: The size cannot be generated, or a source image is not the one that was planned with.
        """
        steps, count = rows[0].num_inference_steps, num_steps_run(rows[0])
        size = check_size(self.base, self.working_size(rows[0]))
        noises = torch.stack([initial_noise(self.base, row, size) for row in rows]).to(self.base.device)
        if count == steps:
            return scale_first_noise(solver, noises)
        x_0 = self._encode_sources(rows, size)
        if not count:
            return x_0
        level = keep_last_steps(solver, count)
        words = self.base.encode_condition([row.prompt for row in rows])
        own = invert_ddim(self.base, words, x_0, remaining_timesteps(solver))
        kept = 0.0
        if rows[0].strength is not None:
            kept = 1 - rows[0].strength
        share = OWN * min(1.0, kept / ALL_OF_IT)
        return noise_to_level(solver, x_0, share**0.5 * own + (1 - share) ** 0.5 * noises, level)

    def working_size(self, row: GenerationParams) -> tuple[int, int]:
        """Find the size at which a row is worked on.

        Args:
            row: The row.

        Returns:
            Width and height in pixels. Rows of one batch must agree in it.

        Raises:
            UsageError: A source image is gone.
        """
        if row.image is not None and row.size == self.size_of(checked_reference(row, row.image)[0]):
            return working_size(self.base, bound_edit(self.base, row.size))
        return working_size(self.base, row.size)

    def _encode_sources(self, rows: Sequence[GenerationParams], size: tuple[int, int]) -> Tensor:
        """The latents [B, 4, h, w] of the rows' source images, scaled to a size."""
        sources = []
        for row in rows:
            source = self.open_registered(*checked_reference(row, str(row.image)), max(size))
            sources.append(source.resize(size, Image.Resampling.LANCZOS))
        return self.base.encode_images(to_tensor(sources)).float()

    def remarks(self, row: GenerationParams, prompt: str) -> list[str]:
        """Say what was read in the images that a row was given, and at which size it is worked on.

        Args:
            row: The row.
            prompt: The prompt of the call.

        Returns:
            Sentences.
        """
        remarks = []
        if row.emotion_image:
            remarks.append(f"{row.emotion_image} is read as {format_emotion(row.emotion)}")
        if row.image is None:
            return remarks
        if row.prompt != prompt:
            remarks.append(f"{row.image} shows {row.prompt!r}, and that is the prompt")
        was, at, now = self.size_of(row.image), self.working_size(row), row.size
        if {was, at} != {now}:
            sizes = "is {}x{} pixels, is worked on at {}x{} and comes back as {}x{}".format(*was, *at, *now)
            remarks.append(f"{row.image} {sizes}")
        return remarks

    def cautions(self, row: GenerationParams, prompt: str) -> list[str]:
        """Warn where a model that knows only a rendered world reads an image that is not known to be of it.

        Args:
            row: The row.
            prompt: The prompt of the call.

        Returns:
            Sentences.
        """
        cautions = []
        if row.image is not None and row.prompt != prompt and self._is_strange("captioner", row.image):
            what = f"its captioner's words {row.prompt!r} mean nothing"
            cautions.append(caution_for(f"{_display_name(row.image)} is", what, AUXILIARY_MODELS["captioner"]))
        if row.emotion_image and self._is_strange("emotion_clip", row.emotion_image):
            what = f"what its EmotionCLIP reads there, {format_emotion(row.emotion)}, means nothing"
            whose = f"{_display_name(row.emotion_image)} is"
            cautions.append(caution_for(whose, what, AUXILIARY_MODELS["emotion_clip"]))
        return cautions

    def _is_strange(self, kind: str, name: str) -> bool:
        """Whether an auxiliary model knows only a rendered world, and an image is not known to be of it."""
        if not is_of_rendered_world(self.base.auxiliary_model(kind)):
            return False
        return not is_rendered(self.open_registered(name, enough=1))

    def _auxiliary(self, kind: str) -> Any:
        place = self.base.auxiliary_model(kind)
        if not place:
            raise UsageError(f"the base '{self.base.name}' has no {kind} of its own: {AUXILIARY_MODELS[kind]}")
        if kind not in self.auxiliary:
            self.auxiliary[kind] = load_encoder(kind, place, self.base.device)
        return self.auxiliary[kind]

    def _check_emotion_clip(self) -> None:
        """Raises UsageError where an adapter takes EmotionCLIP's vectors, and was trained with another one's."""
        place = self.base.auxiliary_model("emotion_clip")
        for method in self.methods:
            if not place or "vector" not in method.columns or method.history is None:
                continue
            mark = run_dir.fingerprint_folder(locate_model(place))
            if mark not in method.history:
                raise UsageError(
                    f"the adapter learnt from another EmotionCLIP than that of the base '{self.base.name}' "
                    f"({mark[:12]}): say the emotion with --emotion, or prepare and train again with this one"
                )

    def _small_view(self, name: str, digest: str = "") -> Tensor:
        """An image as auxiliary models read it [1, 3, H, W]."""
        image = self.open_registered(name, digest, READING_SIDE).copy()
        image.thumbnail((READING_SIDE, READING_SIDE))
        return to_tensor([image]).to(self.base.device)


def check_image(image: object) -> None:
    """Check that the file of an image can be read, before a base is loaded to use it.

    Args:
        image: A file's name; anything else, None among it, is looked at when it is used.

    Raises:
        UsageError: It is not there, or is no image that can be used.
    """
    if isinstance(image, str | Path):
        read_image(image, enough=1)


def _display_name(name: str) -> str:
    if name.startswith("memory:"):
        return "the image"
    return name


def checked_reference(row: GenerationParams, name: str) -> tuple[str, str]:
    """Look up the sha256 of an image that a row names; without one it is not opened, as a stranger may have named it.

    Args:
        row: The row.
        name: The image's name.

    Returns:
        The name and the sha256.

    Raises:
        UsageError: The row has no sha256 of it, or the name is of another machine.
    """
    digest = row.digests.get(name, "")
    if not digest or is_network_name(name):
        raise UsageError(
            f"the row names {name[:80]!r} without its sha256, so that is not opened: give the image yourself"
        )
    return name, digest


def num_steps_run(row: GenerationParams) -> int:
    """Count the steps that a row runs: all, or the last round(strength * steps) where an image is changed.

    Args:
        row: The row.

    Returns:
        Their number, from 0 to `num_inference_steps`.
    """
    if row.strength is None:
        return row.num_inference_steps
    return round(row.strength * row.num_inference_steps)


def initial_noise(base: DiffusionModel, row: GenerationParams, size: tuple[int, int]) -> Tensor:
    """Draw the noise that an image starts from, as diffusers draws it from the seed.

    Args:
        base: The base.
        row: The row.
        size: Width and height at which it is worked on, in pixels.

    Returns:
        The noise [4, h, w], on the CPU.
    """
    width, height = size
    shape = (1, 4, height // base.vae_scale_factor, width // base.vae_scale_factor)
    return torch.randn(shape, generator=seeds.image_generator(row.seed))[0]


def check_size(base: DiffusionModel, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Read a size to generate at.

    Args:
        base: The base.
        size: Width and height, the side of a square, or None for the base's own.

    Returns:
        Width and height in pixels.

    Raises:
        UsageError: They are no multiples of the base's `size_multiple`, or more than four megapixels.
    """
    if size is None:
        size = base.default_size
    if isinstance(size, Iterable):
        wide, high = read_size(size)
    else:
        wide, high = read_size((size, size))
    step = base.size_multiple
    if wide < step or high < step or wide % step or high % step or wide * high > PIXELS:
        most = f"and {PIXELS / 1e6:.0f} megapixels at most"
        raise UsageError(f"size {wide}x{high} is off: both sides must be multiples of {step}, {most}")
    return int(wide), int(high)


def working_size(base: DiffusionModel, size: tuple[int, int]) -> tuple[int, int]:
    """Find the size at which an image is worked on: the nearest that the UNet can take.

    Args:
        base: The base.
        size: Width and height of the image.

    Returns:
        Width and height, multiples of the base's `size_multiple`.
    """
    step = base.size_multiple
    wide, high = size
    return max(1, round(wide / step)) * step, max(1, round(high / step)) * step


def output_size(
    base: DiffusionModel, size: tuple[int, int], asked: int | tuple[int, int] | None = None
) -> tuple[int, int]:
    """Find the size in which a changed image comes back.

    Args:
        base: The base.
        size: Width and height of the source image.
        asked: Width and height; or the side of a square whose area it shall have at its own aspect ratio; or None.

    Returns:
        Width and height in pixels.

    Raises:
        UsageError: It cannot be generated.
    """
    if asked is None:
        check_size(base, working_size(base, bound_edit(base, size)))
        return size
    if isinstance(asked, Iterable):
        return check_size(base, asked)
    framed = scale_to_area(size, read_number("width", asked) ** 2)
    check_size(base, working_size(base, framed))
    return framed


def bound_edit(base: DiffusionModel, size: tuple[int, int]) -> tuple[int, int]:
    """Bring the size of an image that is edited between the base's own area and `LARGEST_EDIT` times that.

    Args:
        base: The base.
        size: Width and height of the image in pixels.

    Returns:
        Width and height in pixels, of the same aspect ratio.
    """
    own, area = base.default_size**2, size[0] * size[1]
    if own <= area <= LARGEST_EDIT * own:
        return size
    return scale_to_area(size, min(max(area, own), LARGEST_EDIT * own))


def scale_to_area(size: tuple[int, int], area: float) -> tuple[int, int]:
    """Scale a size.

    Args:
        size: Width and height in pixels.
        area: The area wanted, in square pixels.

    Returns:
        Width and height of about that area and the same aspect ratio.
    """
    scale = math.sqrt(area / (size[0] * size[1]))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
