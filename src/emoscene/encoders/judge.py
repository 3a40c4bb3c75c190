"""A judge: a vision transformer (Dosovitskiy et al. 2021) or another image model, which tells an image's emotion, or
its scene, or the object in it.

It only ever judges: it learns from images that no method trains on, and no method may import it. Its folder is an
ordinary Hugging Face image classifier, which `AutoModelForImageClassification.from_pretrained` loads with its labels by
name. Its features, for distances, are the mean over all patches of the last hidden state: the class token has learnt to
forget all but the label, the patches have not.

On photographs it starts from a published image model (`pretrained=`: a DINOv2, ViT, ConvNeXt, CLIP, or whatever else
transformers classifies images with) and gets a new last layer. `freeze_backbone=yes` trains that layer alone: a linear
probe. That of a CLIP stands on its image vectors, as the field's own probe does (EmoGen's `emo_classifier`, Yang et al.
2024: 768 numbers of ViT-L/14 -> 8 emotions); such a folder is emoscene's to load, for transformers' classifier of
CLIP stands on the mean patch.

Where the data says more of an image than its label (the rendered world knows every cue it rendered), such `hints` teach
the patches what there is to see, which takes far fewer images than the label alone (learning with privileged
information, Vapnik and Vashist 2009). They help while learning and are not kept.

While it learns, images are flipped, shifted by a few pixels, and made a little brighter, darker, softer, coarser or
grainier, each from the sample's own randomness: what a decoder or a JPEG does to an image should not change the
verdict. A judge can be made `firm` in this: it sees each image twice, blemished differently, and is told to say the
same of both (R-Drop's loss, Liang et al. 2021), also of images that have no emotion to be right about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    ViTConfig,
    ViTForImageClassification,
)

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import (
    Encoder,
    PixelFormat,
    load_pretrained,
    locate_model,
    mean_place,
    measure_accuracy,
    parse_description,
    read_model_config,
    resize_square,
)
from emoscene.learning.learner import CARD, Batch, soft_targets

SHIFT = 6  # pixels, at most, either way
HINTS = 0.2  # weight of the hints in the loss
HEAD = "classifier"  # the last layer, by the name that transformers' image classifiers give it
HEAD_RATE = 20.0  # its learning rate where all of a published model trains, in multiples of lr: it alone is new
CLIPS = {"clip", "clip_vision_model"}
NEW = ("side", "patch", "width", "layers", "heads", "hints")
"""Settings of a judge that is not pretrained."""


@final
class Judge(Encoder):
    """Reads emotion, scene or object from an image."""

    @dataclass(frozen=True)
    class Config:
        """What to tell apart, and how large a transformer does it."""

        target: str = option("emotion", "what it tells", choices=("emotion", "scene", "object"))
        labels: tuple[str, ...] = option((), "the names it tells apart; empty: all that its data has")
        pretrained: str = option(
            "", "an image model to start from, a folder or a hub id; empty: a new one of these sizes"
        )
        freeze_backbone: bool = option(False, "train the last layer alone: a linear probe of `pretrained`")
        side: int = option(128, "images are brought to this side, in pixels", span=(32, 1024))
        patch: int = option(16, "side of a patch, in pixels", span=(4, 64))
        width: int = option(144, "size of the hidden state", span=(16, 4096))
        layers: int = option(6, "transformer blocks", span=(1, 48))
        heads: int = option(4, "attention heads", span=(1, 64))
        smoothing: float = option(0.05, "share of each label spread over all others", span=(0.0, 0.5))
        soft_labels: bool = option(
            False, "learn from the viewers' votes instead of the label, where the data have them"
        )
        hints: int = option(0, "how many yes-or-no facts of each image help it learn", span=(0, 4096))
        firm: float = option(0.0, "weight of saying the same of two blemished views; 0: one view", span=(0.0, 10.0))
        again: bool = option(False, "the data bring the second view, such as what a decoder made of the image")
        shape: str = option("", "a pretrained one's own config.json as text; set when it starts, and enough to load it")

    config: Config
    borrows: ClassVar[str] = "pretrained"
    columns: ClassVar[tuple[str, ...]] = ("image", "weights", "scene")
    files: ClassVar[dict[str, tuple[str, str]]] = {"model.safetensors": ("model.", "")}

    def __init__(self, config: Config, model: nn.Module | None = None) -> None:
        if config.target == "emotion" and config.labels != EMOTIONS:
            raise UsageError(
                f"a judge of emotions has the labels {', '.join(EMOTIONS)}, in this order: leave labels out"
            )
        super().__init__(config)
        self.labels, self.target = config.labels, config.target
        more = ("hints",) * bool(config.hints) + ("again",) * (config.again and config.firm > 0)
        more += ("votes",) * config.soft_labels
        told = "object" if config.target == "object" else "scene"
        self.columns = ("image", "weights", told, *more)  # type: ignore[misc]
        if config.hints:
            self.hints = nn.Linear(config.width, config.hints)
        self.model: Any = model or make_transformer(config)
        self.pixels = PixelFormat(config.side)
        if config.shape:
            self.pixels = PixelFormat.from_config(parse_description(config.shape), f"the shape in {CARD}")
        if config.freeze_backbone:
            self.model.requires_grad_(False)
            self.model.get_submodule(HEAD).requires_grad_(True)

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """A new judge; of scenes or objects, one that knows those of its data.

        Raises UsageError where `pretrained` is no image model.
        """
        if not config.labels:
            labels = EMOTIONS
            if config.target != "emotion":
                labels = tuple(sorted(set(data.column(config.target)) - {""}))
            config = replace(config, labels=labels)
        if config.shape:
            return cls(config, build_backbone(parse_description(config.shape), len(config.labels)))
        if not config.pretrained:
            if config.freeze_backbone:
                raise UsageError("freeze_backbone=yes is a probe of a published model: give pretrained=MODEL as well")
            return cls(config)
        for name in NEW:
            if getattr(config, name) != getattr(cls.Config(), name):
                raise UsageError(
                    f"{name} is of a new judge, and this one starts from {config.pretrained}: leave out {name}, or "
                    "give pretrained= without a model"
                )
        model, pixels = load_backbone(config.pretrained, config.labels)
        wants = {"crop_size": pixels.side, "image_mean": pixels.mean, "image_std": pixels.deviation}
        published: Any = model.config
        shape = {**published.to_dict(), **wants}
        return cls(replace(config, side=pixels.side, shape=json.dumps(shape, default=str)), model)

    def train(self, mode: bool = True) -> Self:
        """Set the mode. What was pretrained stays in evaluation: drop-out and running means are no sample's own.

        Args:
            mode: Whether to train.

        Returns:
            The judge itself.
        """
        super().train(mode)
        if self.config.shape:
            self.model.eval()
        return self

    def lr_multiplier(self, name: str) -> float:
        """The new last layer of a published model learns faster than the rest of it."""
        whole = self.config.shape and not self.config.freeze_backbone
        return HEAD_RATE if whole and name.startswith(f"model.{HEAD}.") else 1.0

    def validate(self, data: Any) -> dict[str, Any]:
        """Share of right answers, over the images of one emotion alone."""
        if self.target != "emotion":
            return {}
        return measure_accuracy(self, data)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Cross entropy with the (soft) labels [B], of both views where it is to be firm, and how far these disagree.

        An image without a label counts nothing in the cross entropy.
        """
        images = resize_square(batch["image"], self.config.side)
        loss, logits = self._view_loss(augment(images, batch), batch)
        if not self.config.firm:
            return loss
        if self.config.again:
            images = resize_square(batch["again"], self.config.side)
        second_loss, second_logits = self._view_loss(augment(images, batch, " again"), batch)
        return (loss + second_loss) / 2 + self.config.firm * symmetric_kl(logits, second_logits)

    def _view_loss(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The cross entropy of one view, hints included [B], and its logits [B, K]."""
        seen, logits = self._look(images)
        if self.config.soft_labels and self.config.target == "emotion":
            target = soft_targets(batch)
        elif self.config.target == "emotion":
            target = batch["weights"]
        else:
            target = self._one_hot(batch[self.config.target], logits)
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
        seen, logits = self._look(resize_square(images, self.config.side))
        if self.config.shape:
            return logits.softmax(1), mean_place(seen)
        return logits.softmax(1), seen[:, 1:].mean(1)

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last hidden state, [B, N, D] or [B, D, h, w], and the logits [B, K] of images of its side in [-1, 1]."""
        if self.config.shape:
            found = self.model(self.pixels.transform(images), output_hidden_states=True)
            return found.hidden_states[-1], found.logits.float()
        seen = self.model.vit(pixel_values=images).last_hidden_state
        return seen, self.model.classifier(seen[:, 0]).float()

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
            "image_mean": [*self.pixels.mean],
            "image_std": [*self.pixels.deviation],
        }
        about = self.model.config.to_dict() | {"architectures": [type(self.model).__name__], "dtype": "float32"}
        return {"config.json": about, "preprocessor_config.json": processor}

    def _one_hot(self, names: list[str], like: Tensor) -> Tensor:
        """The labels of names [B, K]; 0 in the row of a name that is none of them."""
        target = torch.zeros_like(like)
        for row, name in enumerate(names):
            if name in self.labels:
                target[row, self.labels.index(name)] = 1
        return target


class ClipProbe(nn.Module):
    """A CLIP's vision tower and a linear layer on its image vectors, called as transformers' classifiers are."""

    def __init__(self, clip: CLIPVisionModelWithProjection, labels: int) -> None:
        super().__init__()
        self.clip, self.config = clip, clip.config
        self.classifier = nn.Linear(clip.config.projection_dim, labels)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = True) -> SimpleNamespace:
        """Classify images.

        Args:
            pixel_values: Normalized images [B, 3, H, H].
            output_hidden_states: Always so.

        Returns:
            `logits` [B, K] and `hidden_states`, the last of them [B, N, D].
        """
        seen = self.clip(pixel_values)
        return SimpleNamespace(logits=self.classifier(seen.image_embeds), hidden_states=[seen.last_hidden_state])


def make_transformer(config: Judge.Config) -> ViTForImageClassification:
    """Make a new vision transformer.

    Args:
        config: Its sizes and labels.

    Returns:
        The transformer, without drop-out.
    """
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.side,
            patch_size=config.patch,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **_name_labels(config.labels),
        )
    )


def load_backbone(place: str, labels: tuple[str, ...]) -> tuple[nn.Module, PixelFormat]:
    """Load a published image model and give it a new last layer.

    Args:
        place: A folder or a hub id.
        labels: K names that it is to tell apart.

    Returns:
        The model, and how it wants its images.

    Raises:
        UsageError: There is no image model.
    """
    folder = locate_model(place)
    pixels = PixelFormat.from_folder(folder)
    if read_model_config(folder).get("model_type") in CLIPS:
        clip, _ = load_pretrained(CLIPVisionModelWithProjection, place, "CLIP")
        return ClipProbe(clip, len(labels)), pixels
    model, _ = load_pretrained(AutoModelForImageClassification, place, "image model", spare=HEAD)
    head = getattr(model, HEAD, None)
    if not isinstance(head, nn.Linear):
        raise UsageError(f"{place} ends in no linear {HEAD}: give a CLIP, DINOv2, ViT, Swin or ConvNeXt")
    model.classifier = nn.Linear(head.in_features, len(labels))
    for key, value in _name_labels(labels).items():
        setattr(model.config, key, value)
    return model, pixels


def build_backbone(shape: dict[str, Any], labels: int) -> nn.Module:
    """Build an image model of a known shape, whose weights are loaded next.

    Args:
        shape: Its `config.json`.
        labels: K, how many names it tells apart.

    Returns:
        The model.
    """
    if shape["model_type"] in CLIPS:
        return ClipProbe(CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(shape)), labels)
    model = AutoModelForImageClassification.from_config(AutoConfig.for_model(**shape))
    model.classifier = nn.Linear(model.classifier.in_features, labels)
    return model


def _name_labels(labels: tuple[str, ...]) -> dict[str, Any]:
    """The labels as transformers' configs have them."""
    numbered = dict(enumerate(labels))
    return {"id2label": numbered, "label2id": {name: number for number, name in numbered.items()}}


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
