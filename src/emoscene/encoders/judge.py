"""A judge: a small vision transformer (Dosovitskiy et al. 2021) that tells an image's emotion, or its scene.

It only ever judges: it learns from images that no method trains on, and no method may import it. Its folder is an
ordinary Hugging Face image classifier, which `AutoModelForImageClassification.from_pretrained` loads with its labels by
name. Its features, for distances, are the mean over all patches of the last hidden state: the class token has learnt to
forget all but the label, the patches have not.

Where the data says more of an image than its label (the rendered world knows every cue it rendered), such `hints` teach
the patches what there is to see, which takes far fewer images than the label alone (learning with privileged
information, Vapnik and Vashist 2009). They help while learning and are not kept.

While it learns, images are flipped, shifted by a few pixels, and made a little brighter, darker, softer, coarser or
grainier, each from the sample's own randomness: what a decoder or a JPEG does to an image should not change the
verdict. A judge can be made `firm` in this: it sees each image twice, blemished differently, and is told to say the
same of both (R-Drop's loss, Liang et al. 2021), also of images that have no emotion to be right about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import Encoder, resize_square
from emoscene.learning.learner import Batch

SHIFT = 6  # pixels, at most, either way
HINTS = 0.2  # weight of the hints in the loss


@final
class Judge(Encoder):
    """Reads emotion or scene from an image."""

    @dataclass(frozen=True)
    class Config:
        """What to tell apart, and how large a transformer does it."""

        target: str = option("emotion", "what it tells", choices=("emotion", "scene"))
        labels: tuple[str, ...] = option((), "the names it tells apart; empty: all that its data has")
        side: int = option(128, "images are brought to this side, in pixels", span=(32, 1024))
        patch: int = option(16, "side of a patch, in pixels", span=(4, 64))
        width: int = option(144, "size of the hidden state", span=(16, 4096))
        layers: int = option(6, "transformer blocks", span=(1, 48))
        heads: int = option(4, "attention heads", span=(1, 64))
        smoothing: float = option(0.05, "share of each label spread over all others", span=(0.0, 0.5))
        hints: int = option(0, "how many yes-or-no facts of each image help it learn", span=(0, 4096))
        firm: float = option(0.0, "weight of saying the same of two blemished views; 0: one view", span=(0.0, 10.0))
        again: bool = option(False, "the data bring the second view, such as what a decoder made of the image")

    config: Config
    columns: ClassVar[tuple[str, ...]] = ("picture", "weights", "scene")
    files: ClassVar[dict[str, tuple[str, str]]] = {"model.safetensors": ("model.", "")}

    def __init__(self, config: Config) -> None:
        if config.target == "emotion" and config.labels != EMOTIONS:
            raise UsageError(
                f"a judge of emotions has the labels {', '.join(EMOTIONS)}, in this order: leave labels out"
            )
        super().__init__(config)
        self.labels, self.target = config.labels, config.target
        more = ("hints",) * bool(config.hints) + ("again",) * (config.again and config.firm > 0)
        self.columns = (*type(self).columns, *more)  # type: ignore[misc]
        if config.hints:
            self.hints = nn.Linear(config.width, config.hints)
        self.model = ViTForImageClassification(
            ViTConfig(
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                image_size=config.side,
                patch_size=config.patch,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                id2label=dict(enumerate(config.labels)),
                label2id={name: number for number, name in enumerate(config.labels)},
            )
        )

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """A new judge; of scenes, one that knows the scenes of its data."""
        if config.labels:
            return cls(config)
        labels = EMOTIONS
        if config.target == "scene":
            labels = tuple(sorted(set(data.column("scene"))))
        return cls(replace(config, labels=labels))

    def compute_loss(self, batch: Batch) -> Tensor:
        """Cross entropy with the (soft) labels [B], of both views where it is to be firm, and how far these disagree.

        An image without a label counts nothing in the cross entropy.
        """
        images = resize_square(batch["picture"], self.config.side)
        loss, logits = self._view_loss(augment(images, batch), batch)
        if not self.config.firm:
            return loss
        if self.config.again:
            images = resize_square(batch["again"], self.config.side)
        second_loss, second_logits = self._view_loss(augment(images, batch, " again"), batch)
        return (loss + second_loss) / 2 + self.config.firm * symmetric_kl(logits, second_logits)

    def _view_loss(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The cross entropy of one view, hints included [B], and its logits [B, K]."""
        seen = self.model.vit(pixel_values=images).last_hidden_state
        logits = self.model.classifier(seen[:, 0]).float()
        if self.config.target == "emotion":
            target = batch["weights"]
        else:
            target = self._scenes(batch["scene"], logits)
        target = target.clamp(min=0)
        total = target.sum(1, keepdim=True)
        smooth = self.config.smoothing
        spread = (1 - smooth) * target / total.clamp(min=1e-6) + smooth / len(self.labels)
        loss = F.cross_entropy(logits, spread, reduction="none") * (total[:, 0] > 0)
        if self.config.hints:
            loss = loss + HINTS * self._hint_loss(seen, batch)
        return loss, logits

    def _hint_loss(self, seen: Tensor, batch: Batch) -> Tensor:
        """Cross entropy of all hints, read from the mean patch [B]."""
        guesses = self.hints(seen[:, 1:].mean(1)).float()
        return F.binary_cross_entropy_with_logits(guesses, batch["hints"], reduction="none").sum(1)

    def without_hints(self) -> Self:
        """Drop what only helped while learning.

        Returns:
            The judge that is saved.
        """
        judge = type(self)(replace(self.config, hints=0, again=False))
        judge.model.load_state_dict(self.model.state_dict())
        return judge.eval()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [B, K] and the mean of the last hidden state over all patches [B, D]."""
        seen = self.model.vit(pixel_values=resize_square(images, self.config.side)).last_hidden_state
        return self.model.classifier(seen[:, 0]).float().softmax(1), seen[:, 1:].mean(1)

    def extra_files(self) -> dict[str, dict[str, Any]]:
        """What transformers needs beside the weights."""
        processor = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.config.side, "width": self.config.side},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
        about = self.model.config.to_dict() | {"architectures": ["ViTForImageClassification"], "dtype": "float32"}
        return {"config.json": about, "preprocessor_config.json": processor}

    def _scenes(self, names: list[str], like: Tensor) -> Tensor:
        target = torch.zeros_like(like)
        for row, name in enumerate(names):
            if name in self.labels:
                target[row, self.labels.index(name)] = 1
        return target


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """Compute the symmetric Kullback-Leibler divergence of two predictions.

    Args:
        one: Logits [B, K].
        other: Logits [B, K].

    Returns:
        The divergence [B], at least 0.
    """
    p, q = one.log_softmax(1), other.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1) / 2


def augment(images: Tensor, batch: Batch, again: str = "") -> Tensor:
    """Flip, shift, brighten or darken, soften, coarsen and add grain, at random for each image.

    Args:
        images: Images [B, 3, H, H] in [-1, 1].
        batch: The batch, whose random numbers are used.
        again: A suffix that selects other random numbers.

    Returns:
        Images [B, 3, H, H] in [-1, 1].
    """
    corners = batch.on_host.uniform(f"blemish{again}", 8)[:, 1:3]
    dice = batch.uniform(f"blemish{again}", 8)[:, :, None, None, None].unbind(1)
    images = torch.where(dice[0] < 0.5, images, images.flip(-1))
    side = images.shape[-1]
    padded = F.pad(images, (SHIFT,) * 4, mode="reflect")
    tops, lefts = ((2 * SHIFT + 1) * corners).long().T.tolist()
    shifted = []
    for image, top, left in zip(padded, tops, lefts, strict=True):
        shifted.append(image[:, top : top + side, left : left + side])
    images = torch.stack(shifted)
    soft = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.lerp(images, soft, (2 * dice[3] - 1).clamp(min=0))
    coarse = F.interpolate(F.avg_pool2d(images, 2), (side, side), mode="bilinear", align_corners=False)
    images = torch.lerp(images, coarse, (2 * dice[7] - 1).clamp(min=0))
    images = images * (0.9 + 0.2 * dice[4]) + 0.2 * (dice[5] - 0.5)
    grain = batch.normal(f"grain{again}", 1, side, side) * 0.12 * (dice[6] - 0.5).clamp(min=0)
    return (images + grain).clamp(-1, 1)
