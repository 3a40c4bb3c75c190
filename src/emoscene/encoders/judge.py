"""A judge: a small vision transformer (Dosovitskiy et al. 2021) that tells a picture's emotion, or its scene.

It only ever judges: it learns from pictures that no method trains on, and no method may import it. Its folder is an
ordinary Hugging Face image classifier, which `AutoModelForImageClassification.from_pretrained` loads with its labels by
name. Its features, for distances, are the mean over all patches of the last hidden state: the class token has learnt to
forget all but the label, the patches have not.

Where the data says more of a picture than its label (the painted world knows every cue it painted), such `hints` teach
the patches what there is to see, which takes far fewer pictures than the label alone (learning with privileged
information, Vapnik and Vashist 2009). They help while learning and are not kept.

While it learns, pictures are flipped, shifted by a few pixels, and made a little brighter, darker, softer, coarser or
grainier, each from the sample's own randomness: what a decoder or a JPEG does to a picture should not change the
verdict. A judge can be made `firm` in this: it sees each picture twice, blemished differently, and is told to say the
same of both (R-Drop's loss, Liang et al. 2021), also of pictures that have no emotion to be right about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.emotions import EMOTIONS
from emoscene.encoders.base import Encoder, sized
from emoscene.errors import Usage
from emoscene.learner import Batch

SHIFT = 6  # pixels, at most, either way
HINTS = 0.2  # weight of the hints in the loss


@final
class Judge(Encoder):
    """Reads emotion or scene from a picture."""

    @dataclass(frozen=True)
    class Config:
        """What to tell apart, and how large a transformer does it."""

        target: str = option("emotion", "what it tells", choices=("emotion", "scene"))
        labels: tuple[str, ...] = option((), "the names it tells apart; empty: all that its data has")
        side: int = option(128, "pictures are brought to this side, in pixels", span=(32, 1024))
        patch: int = option(16, "side of a patch, in pixels", span=(4, 64))
        width: int = option(144, "size of the hidden state", span=(16, 4096))
        layers: int = option(6, "transformer blocks", span=(1, 48))
        heads: int = option(4, "attention heads", span=(1, 64))
        smoothing: float = option(0.05, "share of each label spread over all others", span=(0.0, 0.5))
        hints: int = option(0, "how many yes-or-no facts of each picture help it learn", span=(0, 4096))
        firm: float = option(0.0, "weight of saying the same of two blemished views; 0: one view", span=(0.0, 10.0))
        again: bool = option(False, "the data bring the second view, such as what a decoder made of the picture")

    config: Config
    reads: ClassVar[tuple[str, ...]] = ("picture", "weights", "scene")
    files: ClassVar[dict[str, tuple[str, str]]] = {"model.safetensors": ("model.", "")}

    def __init__(self, config: Config) -> None:
        if config.target == "emotion" and config.labels != EMOTIONS:
            raise Usage(f"a judge of emotions has the labels {', '.join(EMOTIONS)}, in this order: leave labels out")
        super().__init__(config)
        self.labels, self.target = config.labels, config.target
        more = ("hints",) * bool(config.hints) + ("again",) * (config.again and config.firm > 0)
        self.reads = (*type(self).reads, *more)  # type: ignore[misc]
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
    def start(cls, config: Config, base: Backbone | None, data: Any = None) -> Self:
        """A new judge; of scenes, one that knows the scenes of its data."""
        if not config.labels:
            names = EMOTIONS if config.target == "emotion" else tuple(sorted(set(data.all("scene"))))
            config = replace(config, labels=names)
        return cls(config)

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy with the (soft) labels [B], of both views where it is to be firm, and how far these disagree.

        A picture without a label counts nothing in the cross entropy.
        """
        images = sized(batch["picture"], self.config.side)
        told, logits = self._told(blemished(images, batch), batch)
        if not self.config.firm:
            return told
        seconds = sized(batch["again"], self.config.side) if self.config.again else images
        again, others = self._told(blemished(seconds, batch, " again"), batch)
        return (told + again) / 2 + self.config.firm * disagreement(logits, others)

    def _told(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The cross entropy of one view, hints included [B], and its logits [B, K]."""
        seen = self.model.vit(pixel_values=images).last_hidden_state
        logits = self.model.classifier(seen[:, 0]).float()
        target = batch["weights"] if self.config.target == "emotion" else self._scenes(batch["scene"], logits)
        target = target.clamp(min=0)
        total = target.sum(1, keepdim=True)
        smooth = self.config.smoothing
        spread = (1 - smooth) * target / total.clamp(min=1e-6) + smooth / len(self.labels)
        told = F.cross_entropy(logits, spread, reduction="none") * (total[:, 0] > 0)
        return (told + HINTS * self._hinted(seen, batch) if self.config.hints else told), logits

    def _hinted(self, seen: Tensor, batch: Batch) -> Tensor:
        """Cross entropy of all hints, read from the mean patch [B]."""
        guesses = self.hints(seen[:, 1:].mean(1)).float()
        return F.binary_cross_entropy_with_logits(guesses, batch["hints"], reduction="none").sum(1)

    def plain(self) -> Self:
        """The same judge without what only helped it learn: what is kept."""
        judge = type(self)(replace(self.config, hints=0, again=False))
        judge.model.load_state_dict(self.model.state_dict())
        return judge.eval()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [B, K] and the mean of the last hidden state over all patches [B, D]."""
        seen = self.model.vit(pixel_values=sized(images, self.config.side)).last_hidden_state
        return self.model.classifier(seen[:, 0]).float().softmax(1), seen[:, 1:].mean(1)

    def notes(self) -> dict[str, dict[str, Any]]:
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
        numbers = [self.labels.index(name) if name in self.labels else -1 for name in names]
        target = torch.zeros_like(like)
        for row, number in enumerate(numbers):
            if number >= 0:
                target[row, number] = 1
        return target


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """The symmetric Kullback-Leibler divergence of two answers, given as logits [B, K]: [B]."""
    p, q = one.log_softmax(1), other.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1) / 2


def blemished(images: Tensor, batch: Batch, again: str = "") -> Tensor:
    """Flipped, shifted, and a little brighter, darker, softer, coarser or grainier; each picture by its own dice."""
    dice = batch.uniform(f"blemish{again}", 8)[:, :, None, None, None].unbind(1)
    images = torch.where(dice[0] < 0.5, images, images.flip(-1))
    side = images.shape[-1]
    padded = F.pad(images, (SHIFT,) * 4, mode="reflect")
    ways = [((2 * SHIFT + 1) * die).long().flatten().tolist() for die in dice[1:3]]
    images = torch.stack([p[:, y : y + side, x : x + side] for p, y, x in zip(padded, *ways, strict=True)])
    soft = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.lerp(images, soft, (2 * dice[3] - 1).clamp(min=0))
    coarse = F.interpolate(F.avg_pool2d(images, 2), (side, side), mode="bilinear", align_corners=False)
    images = torch.lerp(images, coarse, (2 * dice[7] - 1).clamp(min=0))
    images = images * (0.9 + 0.2 * dice[4]) + 0.2 * (dice[5] - 0.5)
    grain = batch.normal(f"grain{again}", 1, side, side) * 0.12 * (dice[6] - 0.5).clamp(min=0)
    return (images + grain).clamp(-1, 1)
