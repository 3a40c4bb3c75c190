"""The one way in which finished latents become images: decoded, checked, rounded.

Numbers that are not finite look like success: nan becomes black when it is rounded to a byte. So what leaves here is
finite, or there is an error that names what to change. Half precision ends at 65504, and there are autoencoders whose
decoder goes past it on sound latents (Stable Diffusion XL's is the known one); those are decoded once more in single
precision, which is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emoscene.core.errors import EmosceneError
from emoscene.diffusion.model import DiffusionModel


class ImageDecoder:
    """Latents in, images out, by a base's autoencoder; it remembers whether it has said what it had to say."""

    def __init__(self, base: DiffusionModel, on_message: Callable[[str], None]) -> None:
        self.base, self.on_message = base, on_message
        self.has_told = False

    def __call__(self, latents: Tensor, seeds: Sequence[int]) -> list[Image.Image]:
        """Decode finished latents.

        The latents are looked at on their device and the verdict is put into the pixels, which go to the CPU anyway:
        so a device is waited for once.

        Args:
            latents: [B, 4, h, w], scaled to unit variance.
            seeds: the seed of each, for the message.

        Returns:
            B images.

        Raises:
            EmosceneError: where latents are not finite, or what the autoencoder makes of them is not.
        """
        pixels = _mark_image(self.base.decode_latents(latents), latents)
        if pixels.isfinite().all():
            return to_pil(pixels)
        self._check_latents(latents, seeds)
        if self.base.dtype != torch.float32:
            self._tell_once()
            pixels = _mark_image(self.base.decode_in_float32(latents), latents)
        if not pixels.isfinite().all():
            raise EmosceneError(
                f"the autoencoder of the base '{self.base.name}' makes numbers that are not finite of sound latents, "
                "in float32 as well: fetch the base again, or give another --base"
            )
        return to_pil(pixels)

    def _check_latents(self, latents: Tensor, seeds: Sequence[int]) -> None:
        sound = latents.isfinite().flatten(1).all(1).tolist()
        lost = []
        for seed, fine in zip(seeds, sound, strict=True):
            if not fine:
                lost.append(str(seed))
        if not lost:
            return
        precision = ""
        if self.base.dtype != torch.float32:
            precision = ", or give --dtype float32"
        raise EmosceneError(
            f"the image of seed {', '.join(lost)} came out as numbers that are not finite: lower --emotion-scale, the "
            f"emotion's weights, --cfg or the method's settings, leave out a --lora{precision}"
        )

    def _tell_once(self) -> None:
        if not self.has_told:
            precision = str(self.base.dtype).removeprefix("torch.")
            self.on_message(
                f"the autoencoder of '{self.base.name}' overflows in {precision}: it decodes in float32 instead"
            )
        self.has_told = True


def _mark_image(pixels: Tensor, latents: Tensor) -> Tensor:
    """Pixels [B, 3, H, W] on the CPU in single precision, nan throughout where the latents are not finite.

    A normalisation may turn an infinite latent into a grey image, which would pass for a finished one.
    """
    sound = latents.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(sound, pixels.float(), torch.nan).cpu()


def to_pil(images: Tensor) -> list[Image.Image]:
    """Convert pixels to Pillow's images, rounded as diffusers does.

    Args:
        images: Finite pixels [B, 3, H, W] in [-1, 1]; others are clipped.

    Returns:
        B images.
    """
    pixels = (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    converted = []
    for image in pixels:
        converted.append(Image.fromarray(np.round(image * 255).astype(np.uint8)))
    return converted
