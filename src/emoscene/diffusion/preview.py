"""What an image will be, shown while it is generated: a tiny decoder in the autoencoder's place.

Any folder of an `AutoencoderTiny` will do (TAESD, Boer Bohan 2023: `madebyollin/taesd` for Stable Diffusion v1). It
takes 6 % of the autoencoder's work, and what it shows is a sketch. Without one a preview is decoded as an image is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors import SafetensorError
from torch import Tensor

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion.loading import check_finite
from emoscene.diffusion.model import DiffusionModel


class Preview:
    """Latents in, sketches of images out."""

    def __init__(self, base: DiffusionModel, folder: str | Path | None = None) -> None:
        self.base = base
        self.decoder = None
        if folder is not None:
            self.decoder = load_tiny_decoder(base, Path(folder))

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """Decode latents to previews.

        Args:
            latents: Latents [B, 4, h, w], scaled to unit variance.

        Returns:
            Images [B, 3, H, W], about in [-1, 1].
        """
        if self.decoder is None:
            return self.base.decode_latents(latents)
        decoded: Tensor = self.decoder.decode(latents.to(self.base.dtype) / self.decoder.config.scaling_factor).sample
        return decoded


def load_tiny_decoder(base: DiffusionModel, folder: Path) -> AutoencoderTiny:
    """Load the tiny decoder in a folder (TAESD, Boer Bohan 2023).

    Args:
        base: The base whose latents it decodes.
        folder: The folder that `AutoencoderTiny.save_pretrained` wrote.

    Returns:
        The decoder, on the base's device.

    Raises:
        UsageError: There is none for these latents.
        EmosceneError: A file is damaged.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"no tiny decoder in {folder}: give the folder that AutoencoderTiny.save_pretrained wrote")
    try:
        decoder = AutoencoderTiny.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (SafetensorError, EOFError, ValueError, OSError) as error:
        raise EmosceneError(f"{folder} is damaged or incomplete ({type(error).__name__}): fetch it again") from error
    theirs = decoder.config.latent_channels, 2 ** (len(decoder.config.decoder_block_out_channels) - 1)
    if theirs != (base.vae.config.latent_channels, base.vae_scale_factor):
        raise UsageError(f"the tiny decoder in {folder} reads other latents than those of the base '{base.name}'")
    decoder = decoder.to(base.device, base.dtype).requires_grad_(False).eval()
    check_finite(decoder.state_dict(), folder, "fetch it again")
    return decoder
