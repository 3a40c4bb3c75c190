"""Anybody's vision model as a space for distances, such as DINOv2 (Oquab et al. 2024): it reads features and no label.

    emoscene evaluate --features facebook/dinov2-base ...

The Frechet distance in DINOv2's features agrees better with people than that in Inception's (Stein et al. 2023). The
features are the model's pooled output where it was trained, else its first token. Figures say whose features they are
of, and none is called FID.

Unconfirmed with the published weights, for want of a network here: what was tested, on random weights, is that the
features are those of transformers' own model and processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from torch import Tensor
from transformers import AutoModel

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import Encoder, PixelFormat, load_pretrained, locate_model
from emoscene.learning.learner import Batch


@final
class Vision(Encoder):
    """Reads features."""

    @dataclass(frozen=True)
    class Config:
        """Whose model."""

        model: str = option("", "a vision model, a folder or a hub id")

    config: Config
    borrows: ClassVar[str] = "model"
    target = ""
    explains = ()

    def __init__(self, config: Config, model: Any, pixels: PixelFormat, pooled: bool) -> None:
        super().__init__(config)
        self.model, self.pixels, self.pooled = model, pixels, pooled

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """The model of this place. Raises UsageError where there is none that reads images alone."""
        model, missing = load_pretrained(AutoModel, config.model, "vision model", spare="pooler")
        if model.main_input_name != "pixel_values":
            raise UsageError(
                f"{config.model} does not read images alone: give a vision model, such as facebook/dinov2-base"
            )
        return cls(config, model, PixelFormat.from_folder(locate_model(config.model)), pooled=not missing)

    def compute_loss(self, batch: Batch) -> Tensor:
        """It is used as it is."""
        raise NotImplementedError("somebody's vision model has nothing to learn here")

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """No probabilities [B, 0], and features [B, D]."""
        seen = self.model(self.pixels.transform(images))
        pooled = getattr(seen, "pooler_output", None)
        features = seen.last_hidden_state[:, 0]
        if self.pooled and pooled is not None:
            features = pooled.flatten(1)
        return images.new_zeros(len(images), 0), features.float()
