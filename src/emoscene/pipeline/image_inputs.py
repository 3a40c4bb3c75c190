"""Editing: a picture comes in, is noised to a level, and is painted on from there (SDEdit, Meng et al. 2022).

`strength` S in [0, 1] is img2img's denoising strength: of the solver's steps only the last round(S steps) are run, from

    x_t = sqrt(alphabar_t) encode(x) + sqrt(1 - alphabar_t) (sqrt(c) eps_x + sqrt(1 - c) eps)

at the first of these, in the solver's own units. eps is the seed's noise, eps_x the picture's own: what the base would
have painted it from (DDIM backwards). With a share of c = min(.8, 8 (1 - S)) of that, the layout survives levels at
which light and colours are free to change, which is what another emotion asks for; noise of the seed alone must stay
below them (`docs/log.md`). S = 0 runs no step and gives decode(encode(x)); S = 1 runs all, from pure noise, and is what
would have been painted without x. What the words say stays too: the prompt, or else a caption.

The framing stays. A picture of up to four times the base's own area, and no less than it, comes back at its own size;
any other is brought to that bound at its own aspect ratio, or to the area of SIZE x SIZE (`--size SIZE`), or exactly to
WIDTH x HEIGHT where both are given. It is worked on at the nearest sides that the UNet can take, and then brought back.

An image may also lend its emotion alone (`--emotion-image`): EmotionCLIP reads it as a mixture and as a vector.
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

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.image_origin import caution_for, is_miniature, is_rendered
from emoscene.core.images import open_image, to_upright_rgb
from emoscene.core.params import GenerationParams
from emoscene.core.paths import is_network_name
from emoscene.core.request import DEFAULT_STRENGTH, ImageInput, read_number, read_size
from emoscene.core.taxonomy import Weights, format_emotion
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import load_encoder, locate_model, to_tensor
from emoscene.methods.base import Method
from emoscene.pipeline.samplers import invert_ddim, keep_last_steps, remaining_timesteps

OWN, ALL_OF_IT = 0.8, 0.1  # share of the image's own noise at most, and from which 1 - strength on
PIXELS = 4_000_000  # of one picture
ROOM = 4  # times the base's own area is the largest edit that was not asked for by its size
GLANCE = 512  # pixels of the longer side that a companion is shown
HELD = 64  # pictures kept in memory
COMPANIONS = {
    "captioner": "give a PROMPT that says what the picture shows",
    "emotion_clip": "say the emotion with --emotion, or with --valence and --arousal",
}
"""What reads a picture for a base, and what to do where the base has none."""


class ImageInputs:
    """The pictures that were given from outside, by name, and what the base's companions read in them."""

    def __init__(self, base: DiffusionModel, methods: Sequence[Method] = ()) -> None:
        self.base, self.methods = base, methods
        self.held: dict[str, Image.Image] = {}
        self.readings: dict[tuple[str, str], tuple[Weights, Tensor]] = {}
        self.companions: dict[str, Any] = {}

    def register(self, picture: ImageInput) -> tuple[str, str]:
        """A picture's name and sha256, by which `open_registered` finds it: a file's path, or a name for one in memory.

        Raises Usage for what is no picture.
        """
        return self._register(picture)[:2]

    def _register(self, picture: ImageInput) -> tuple[str, str, Image.Image]:
        if isinstance(picture, str | Path):
            return str(picture), _digest_file(picture), open_image(picture)
        if not isinstance(picture, Image.Image):
            raise UsageError(f"a {type(picture).__name__} is no picture: give a file's name or a PIL image")
        try:
            picture = to_upright_rgb(picture)
        except ValueError as error:
            raise UsageError(
                f"the picture cannot be used ({error}): give one with whole numbers as its pixels"
            ) from error
        digest = sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
        self.held[name := f"memory:{digest[:16]}"] = picture
        while len(self.held) > HELD:
            del self.held[next(iter(self.held))]
        return name, digest, picture

    def open_registered(self, name: str, digest: str = "") -> Image.Image:
        """The picture of this name. Raises Usage where it is gone, or no longer the one with this digest."""
        if name in self.held:
            return self.held[name]
        picture = open_image(name)
        if digest and digest != _digest_file(name):
            raise UsageError(f"{name} is not the picture that it was ({digest[:12]}): bring that one back")
        return picture

    def source_fields(
        self, image: ImageInput | None, strength: float | None, size: int | tuple[int, int] | None
    ) -> dict[str, Any]:
        """What a row says of the image that it is made from, if any: `image strength width height digests`.

        Raises UsageError for what is no image, a strength without an image, a size that cannot be generated.
        """
        if image is None:
            if strength is not None:
                raise UsageError("--strength says how much of an image changes: give the image with --image FILE")
            width, height = check_size(self.base, size)
            return {"width": width, "height": height, "digests": {}}
        name, digest, picture = self._register(image)
        width, height = output_size(self.base, picture.size, size)
        strength = DEFAULT_STRENGTH if strength is None else strength
        return {"image": name, "strength": strength, "width": width, "height": height, "digests": {name: digest}}

    def caption(self, name: str) -> str:
        """What a picture shows, by the base's captioner. Raises Usage where the base has none."""
        words: str = self._auxiliary("captioner").caption(self._small_view(name))[0]
        return words

    @torch.no_grad()
    def read_emotion(self, name: str, digest: str) -> tuple[Weights, Tensor]:
        """The emotion of a picture, by the base's EmotionCLIP: eight probabilities, and its vector [D], unit length.

        Raises Usage where the base has none, or one that an adapter which takes its vectors has never seen.
        """
        if (name, digest) not in self.readings:
            self._check_emotion_clip()
            likely, vector = self._auxiliary("emotion_clip").encode(self._small_view(name, digest))
            read = tuple(round(p, 4) for p in likely[0].tolist())
            self.readings[name, digest] = read, vector[0]
        return self.readings[name, digest]

    def emotion_vectors(self, rows: Sequence[GenerationParams]) -> Tensor | None:
        """The vectors of the pictures that rows are to feel like [B, D], zeros for a row without; None without any."""
        vectors = [
            self.read_emotion(*checked_reference(row, str(row.emotion_image)))[1] if row.emotion_image else None
            for row in rows
        ]
        some = next((vector for vector in vectors if vector is not None), None)
        return None if some is None else torch.stack([some * 0 if v is None else v for v in vectors])

    def start_latents(self, solver: Any, rows: Sequence[GenerationParams]) -> Tensor:
        """The latents that the solver starts from [B, 4, h, w], for rows that share steps, size and strength."""
        steps, count = rows[0].num_inference_steps, num_steps_run(rows[0])
        check_size(self.base, working_size(self.base, rows[0].size))
        noises = torch.stack([initial_noise(self.base, row) for row in rows]).to(self.base.device)
        if count == steps:
            return noises * solver.init_noise_sigma
        size = working_size(self.base, rows[0].size)
        pictures = (self.open_registered(*checked_reference(row, str(row.image))) for row in rows)
        x_0 = self.base.encode_images(
            to_tensor(picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures)
        ).float()
        if not count:
            return x_0
        level = keep_last_steps(solver, count).expand(len(rows))
        own = invert_ddim(
            self.base, self.base.encode_condition([row.prompt for row in rows]), x_0, remaining_timesteps(solver)
        )
        kept = 1 - (1.0 if rows[0].strength is None else rows[0].strength)
        share = OWN * min(1.0, kept / ALL_OF_IT)
        return solver.add_noise(x_0, share**0.5 * own + (1 - share) ** 0.5 * noises, level)

    def remarks(self, row: GenerationParams, prompt: str) -> list[str]:
        """What was done with the pictures that a row was given, a sentence each."""
        found = [f"{row.emotion_image} is felt as {format_emotion(row.emotion)}"] if row.emotion_image else []
        if row.image is None:
            return found
        if row.prompt != prompt:
            found.append(f"{row.image} shows {row.prompt!r}, and that is the prompt")
        was, at, now = self.open_registered(row.image).size, working_size(self.base, row.size), row.size
        if {was, at} != {now}:
            sizes = "is {}x{} pixels, is worked on at {}x{} and comes back as {}x{}".format(*was, *at, *now)
            found.append(f"{row.image} {sizes}")
        return found

    def cautions(self, row: GenerationParams, prompt: str) -> list[str]:
        """What must be known where the miniature's captioner or EmotionCLIP read an image not of its world."""
        found = []
        if row.image is not None and row.prompt != prompt and self._is_strange("captioner", row.image):
            what = f"its captioner's words {row.prompt!r} mean nothing"
            found.append(caution_for(f"{_display_name(row.image)} is", what, COMPANIONS["captioner"]))
        if row.emotion_image and self._is_strange("emotion_clip", row.emotion_image):
            what = f"what its EmotionCLIP reads there, {format_emotion(row.emotion)}, means nothing"
            found.append(caution_for(f"{_display_name(row.emotion_image)} is", what, COMPANIONS["emotion_clip"]))
        return found

    def _is_strange(self, kind: str, name: str) -> bool:
        """Whether a companion is the miniature's, and an image is not known to be of its world."""
        return is_miniature(self.base.auxiliary_model(kind)) and not is_rendered(self.open_registered(name))

    def _auxiliary(self, kind: str) -> Any:
        place = self.base.auxiliary_model(kind)
        if not place:
            raise UsageError(f"the base '{self.base.name}' has no {kind} of its own: {COMPANIONS[kind]}")
        if kind not in self.companions:
            self.companions[kind] = load_encoder(kind, place, self.base.device)
        return self.companions[kind]

    def _check_emotion_clip(self) -> None:
        """Raises Usage where an adapter takes EmotionCLIP's vectors, and learnt from another one's."""
        takers = [method for method in self.methods if "vector" in method.columns and method.history is not None]
        place = self.base.auxiliary_model("emotion_clip")
        if not takers or not place:
            return
        mark = run_dir.fingerprint_folder(locate_model(place))
        if any(mark not in str(method.history) for method in takers):
            raise UsageError(
                f"the adapter learnt from another EmotionCLIP than that of the base '{self.base.name}' ({mark[:12]}): "
                "say the emotion with --emotion, or prepare and train again with this one"
            )

    def _small_view(self, name: str, digest: str = "") -> Tensor:
        """A picture as companions see it [1, 3, H, W]."""
        picture = self.open_registered(name, digest).copy()
        picture.thumbnail((GLANCE, GLANCE))
        return to_tensor([picture]).to(self.base.device)


def _display_name(name: str) -> str:
    return "the image" if name.startswith("memory:") else name


def checked_reference(row: GenerationParams, name: str) -> tuple[str, str]:
    """A picture that a row names, and its sha256. Raises Usage for a row without it: a stranger may have written it."""
    digest = row.digests.get(name, "")
    if not digest or is_network_name(name):
        raise UsageError(
            f"the row names {name[:80]!r} without its sha256, so that is not opened: give the picture yourself"
        )
    return name, digest


def _digest_file(file: str | Path) -> str:
    return sha256(Path(file).read_bytes()).hexdigest()


def num_steps_run(row: GenerationParams) -> int:
    """How many of its steps a row runs: the last ones, of a picture that is kept in part."""
    steps = row.num_inference_steps
    return steps if row.strength is None else round(row.strength * steps)


def initial_noise(base: DiffusionModel, row: GenerationParams) -> Tensor:
    """The noise a picture starts from [4, h, w]: its seed's own, as diffusers draws it."""
    width, height = (side // base.vae_scale_factor for side in working_size(base, row.size))
    return torch.randn((1, 4, height, width), generator=torch.Generator().manual_seed(row.seed))[0]


def _pair(size: Any) -> Any:
    return size if isinstance(size, Iterable) else (size, size)


def check_size(base: DiffusionModel, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Width and height in pixels. Raises Usage unless both are whole latents, and few enough."""
    wide, high = (base.default_size, base.default_size) if size is None else read_size(_pair(size))
    step = base.size_multiple
    if wide < step or high < step or wide % step or high % step or wide * high > PIXELS:
        most = f"and {PIXELS / 1e6:.0f} megapixels at most"
        raise UsageError(f"size {wide}x{high} is off: both sides must be multiples of {step}, {most}")
    return int(wide), int(high)


def working_size(base: DiffusionModel, size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture of this size is worked on: the nearest that the UNet can take."""
    step = base.size_multiple
    wide, high = (max(1, round(side / step)) * step for side in size)
    return wide, high


def output_size(
    base: DiffusionModel, size: tuple[int, int], asked: int | tuple[int, int] | None = None
) -> tuple[int, int]:
    """The size in which a picture of this size comes back edited. Raises Usage for one that cannot be painted."""
    if isinstance(asked, Iterable):
        return check_size(base, asked)
    asked = None if asked is None else read_number("width", asked)
    own, area = base.default_size**2, size[0] * size[1]
    wanted = asked**2 if asked else min(max(area, own), ROOM * own)
    wide, high = (max(1, round(side * math.sqrt(wanted / area))) for side in size)
    check_size(base, working_size(base, (wide, high)))
    return wide, high
