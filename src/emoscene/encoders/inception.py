"""Inception's features, the space of FID (Heusel et al. 2017), by torch-fidelity, whose network papers' figures are of.

    pip install 'emoscene[perceptual]'
    emoscene evaluate --features inception ...
    emoscene evaluate --features inception:weights-inception-2015-12-05-6726825d.pth ...

Unconfirmed: torch-fidelity imports torchvision, of which there is no build for the machines that this was written on.
Tested is what is handed over, and what is made of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, final

from torch import Tensor

from emoscene.core.config import option
from emoscene.core.errors import UsageError, import_extra
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import Encoder
from emoscene.learning.learner import Batch

POOLED = "2048"  # torch-fidelity's name of the layer that FID is measured at


@final
class Inception(Encoder):
    """Reads features."""

    @dataclass(frozen=True)
    class Config:
        """Whose weights."""

        model: str = option("", "a file of torch-fidelity's Inception; nothing: it fetches its own")

    config: Config
    borrows: ClassVar[str] = "model"
    target = ""
    explains = ()

    def __init__(self, config: Config, model: Any) -> None:
        super().__init__(config)
        self.model = model

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """torch-fidelity's network. Raises UsageError for a file that is not there, EmosceneError without the extra."""
        if config.model and not Path(config.model).is_file():
            raise UsageError(f"no weights of Inception in {config.model}: --features inception fetches them")
        package = import_extra("torch_fidelity.feature_extractor_inceptionv3", "perceptual")
        own = {}
        if config.model:
            own["feature_extractor_weights_path"] = config.model
        return cls(config, package.FeatureExtractorInceptionV3("inception-v3-compat", [POOLED], **own))

    def compute_loss(self, batch: Batch) -> Tensor:
        """It is used as it is."""
        raise NotImplementedError("Inception's features have nothing to learn here")

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """No probabilities [B, 0], and features [B, 2048]; it brings images of any size to its own side itself."""
        (features,) = self.model((images * 127.5 + 127.5).round().clamp(0, 255).byte())
        return images.new_zeros(len(images), 0), features.float()
