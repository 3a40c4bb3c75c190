"""EmotionCLIP: a CLIP (Radford et al. 2021) whose space also knows the eight emotions.

Two contrasts train it, both within the batch that a process sees. Image and caption: every image finds its own
caption among the batch's, and every caption its image; equal captions count as one. Image and emotion: every image
finds its (soft) label among the texts of the eight emotions, such as "an image that conveys awe". The long caption
names the light, the weather and the things in an image, and so teaches what there is to see with far fewer images
than eight labels could.

An image's reading is the similarity to each emotion's texts, as probabilities, and the image's vector of unit
length, which `multimodal` turns into tokens. No judge may see the images that it learns from, so it takes those of
the methods; one that is itself to judge takes the judges' (`role=judges`). Its folder is an ordinary CLIP's, which
`CLIPModel.from_pretrained` loads.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import LENGTH, DiffusionModel
from emoscene.diffusion.transfer import move_to_device
from emoscene.encoders.base import (
    UNPADDED,
    Encoder,
    PixelFormat,
    load_pretrained,
    load_tokenizer,
    locate_model,
    measure_accuracy,
    parse_description,
    read_model_config,
)
from emoscene.learning.learner import Batch, soft_targets

TEMPLATES = ("a picture that conveys {}", "a picture full of {}", "{}")
SHARPEST = math.log(100)  # of the logit scale, as in CLIP


@final
class EmotionCLIP(Encoder):
    """Reads emotion from an image, and the vector that conveys it."""

    @dataclass(frozen=True)
    class Config:
        """Which CLIP to start from, or how large a new one is, and how the two contrasts mix."""

        begun: str = option("", "a CLIP to go on from, a folder or a hub id; empty: a new one of the sizes below")
        tokenizer: str = option("", "folder of a new one's tokenizer; empty: the base's")
        side: int = option(128, "images are brought to this side, in pixels", span=(32, 1024))
        patch: int = option(16, "side of a patch, in pixels", span=(4, 64))
        width: int = option(128, "size of the vision tower's hidden state", span=(16, 4096))
        layers: int = option(4, "blocks of the vision tower", span=(1, 48))
        text_width: int = option(128, "size of the text tower's hidden state", span=(16, 4096))
        text_layers: int = option(2, "blocks of the text tower", span=(1, 48))
        heads: int = option(4, "attention heads of each tower", span=(1, 64))
        vector: int = option(64, "numbers in an image's vector", span=(8, 4096))
        caption: float = option(1.0, "weight of the contrast with captions", span=(0.0, 100.0))
        emotion: float = option(0.5, "weight of the contrast with emotions", span=(0.0, 100.0))
        soft_labels: bool = option(
            False, "learn from the viewers' votes instead of the label, where the data have them"
        )
        long: float = option(0.8, "share of the samples that read the long caption", span=(0.0, 1.0))
        role: str = option("methods", "whose images it learns from; to judge, `judges`", choices=("methods", "judges"))
        shape: str = option("", "the CLIP's own config.json as text; set when it starts, and enough to load it")

    config: Config
    columns: ClassVar[tuple[str, ...]] = ("image", "weights", "caption", "caption_long")
    split: ClassVar[str] = "methods"
    files: ClassVar[dict[str, tuple[str, str]]] = {
        "model.safetensors": ("model.", ""),
        "emotions.safetensors": ("ids", "ids"),
    }
    borrows: ClassVar[str] = "begun"
    separable: ClassVar[bool] = False
    labels = EMOTIONS

    def __init__(self, config: Config, model: CLIPModel, tokenizer: CLIPTokenizer | None = None) -> None:
        super().__init__(config)
        if config.soft_labels:
            self.columns = (*self.columns, "votes")  # type: ignore[misc]
        self.model, self.tokenizer = model, tokenizer
        self.pixels = PixelFormat.for_clip(model.config.vision_config.image_size)
        self.length: int = model.config.text_config.max_position_embeddings
        texts = []
        for name in EMOTIONS:
            for template in TEMPLATES:
                texts.append(template.format(name))
        unread = torch.zeros(len(texts), self.length, dtype=torch.int64)
        self.ids: Tensor
        if tokenizer is None:
            self.register_buffer("ids", unread)
        else:
            self.register_buffer("ids", self._tokenize(texts, "max_length"))

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """The CLIP in the folder `begun`, or a new one that reads with its base's tokenizer.

        Raises UsageError where there is no CLIP in that folder, or no tokenizer at all.
        """
        if config.shape:
            return cls(config, CLIPModel(CLIPConfig.from_dict(parse_description(config.shape))))
        if config.begun:
            model, tokenizer = load_borrowed(config.begun)
        elif config.tokenizer:
            tokenizer = CLIPTokenizer.from_pretrained(config.tokenizer, local_files_only=True)  # nosec B615  # a folder
        elif base is not None:
            tokenizer = base.tokenizer
        else:
            raise UsageError("a new emotion_clip needs a tokenizer: give tokenizer=FOLDER, or a base")
        if not config.begun:
            model = CLIPModel(_clip_config(config, tokenizer))
        shape = json.dumps(model.config.to_diff_dict(), default=str)
        return cls(replace(config, shape=shape, vector=model.config.projection_dim, tokenizer=""), model, tokenizer)

    def compute_loss(self, batch: Batch) -> Tensor:
        """The two contrasts, weighted [B]; an image without an emotion has only its caption's."""
        images, die = batch["image"], batch.uniform("flip")[:, None, None, None]
        seen = self._encode_pixels(torch.where(die < 0.5, images, images.flip(-1)))
        captions = list(batch["caption"])
        for row, number in enumerate(batch.on_host.uniform("caption").tolist()):
            if number < self.config.long:
                captions[row] = batch["caption_long"][row]
        logits = self._similarities(seen, self.encode_texts(captions))
        numbers = torch.tensor([captions.index(caption) for caption in captions])
        same = move_to_device(numbers[:, None] == numbers, logits.device).to(logits)
        worded = contrastive_loss(logits, same) + contrastive_loss(logits.T, same)
        labels = batch["weights"].clamp(min=0)
        if self.config.soft_labels:
            labels = soft_targets(batch)
        felt = contrastive_loss(self._similarities(seen, self.emotion_vectors()), labels)
        return self.config.caption * worded / 2 + self.config.emotion * felt

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the eight emotions [B, 8] and vectors of unit length [B, D]."""
        seen = self._encode_pixels(images)
        return self._similarities(seen, self.emotion_vectors()).softmax(1), seen

    @cached_property
    def _length(self) -> int:
        """Tokens of the longest of the emotions' texts; a device is waited for once."""
        return int((self.ids != self.ids[:, -1:]).sum(1).max()) + 1

    def emotion_vectors(self) -> Tensor:
        """Encode the eight emotions, each as the mean of its texts.

        Returns:
            Unit vectors [8, D].
        """
        texts = self._encode_tokens(self.ids[:, : self._length]).unflatten(0, (len(EMOTIONS), -1))
        return F.normalize(texts.mean(1), dim=1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Encode texts.

        Args:
            texts: N texts.

        Returns:
            Unit vectors [N, D].
        """
        return self._encode_tokens(move_to_device(self._tokenize(texts), self.ids.device))

    def validate(self, data: Any) -> dict[str, Any]:
        """Share of right answers, over the images of one emotion alone."""
        return measure_accuracy(self, data)

    def extra_files(self) -> dict[str, dict[str, Any]]:
        """What transformers needs beside the weights; the tokenizer's files where it has just been trained."""
        square = {"height": self.pixels.side, "width": self.pixels.side}
        processor = {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": square,
            "resample": 3,
            "do_center_crop": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": self.pixels.mean,
            "image_std": self.pixels.deviation,
            "do_convert_rgb": True,
        }
        about = self.model.config.to_dict() | {"architectures": ["CLIPModel"], "dtype": "float32"}
        words = {}
        if self.tokenizer is not None:
            words = _tokenizer_files(self.tokenizer)
        return {"config.json": about, "preprocessor_config.json": processor, **words}

    def _similarities(self, seen: Tensor, texts: Tensor) -> Tensor:
        """Similarities, as CLIP scales them [B, K], in full precision even where the towers are not."""
        with torch.autocast(seen.device.type, enabled=False):
            return self.model.logit_scale.clamp(max=SHARPEST).exp() * seen @ texts.T

    def _tokenize(self, texts: list[str], padding: str = "longest") -> Tensor:
        assert self.tokenizer is not None, "a loaded EmotionCLIP reads images and learns no more"
        tokens = self.tokenizer(
            texts, padding=padding, truncation=True, max_length=min(self.length, LENGTH), return_tensors="pt"
        )
        return tokens["input_ids"]

    def _encode_tokens(self, ids: Tensor) -> Tensor:
        """Token numbers [B, L] -> unit vectors [B, D]."""
        return F.normalize(self.model.get_text_features(ids).pooler_output.float(), dim=1)

    def _encode_pixels(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] -> unit vectors [B, D]."""
        return F.normalize(self.model.get_image_features(self.pixels.transform(images)).pooler_output.float(), dim=1)


def load_text_clip(place: str | Path, device: torch.device | str = "cpu") -> EmotionCLIP:
    """Load a CLIP that encodes texts as well as images.

    Args:
        place: The folder that `CLIPModel.save_pretrained` wrote, with its tokenizer, or a hub id.
        device: Where it computes.

    Returns:
        The CLIP, frozen.

    Raises:
        UsageError: There is no CLIP, or no tokenizer.
    """
    clip = EmotionCLIP.from_scratch(EmotionCLIP.Config(begun=str(place)), None)
    return clip.requires_grad_(False).eval().to(device)


def load_borrowed(place: str) -> tuple[CLIPModel, CLIPTokenizer]:
    """Load a third party's CLIP in single precision.

    Args:
        place: A folder or a hub id.

    Returns:
        The model and its tokenizer.

    Raises:
        UsageError: There is no CLIP, or no tokenizer.
    """
    if read_model_config(locate_model(place)).get("model_type") != "clip":
        raise UsageError(f"{place} holds no CLIP: give the folder that CLIPModel.save_pretrained wrote, or a hub id")
    model, _ = load_pretrained(CLIPModel, place, "CLIP")
    return model, load_tokenizer(CLIPTokenizer, place, "CLIP")


def contrastive_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the cross entropy of each row with what it belongs to (Radford et al. 2021).

    Args:
        logits: Similarities [B, K].
        target: Weights, at least 0 [B, K]; each row is normalized.

    Returns:
        The loss [B]; 0 for a row without a target.
    """
    total = target.sum(1, keepdim=True)
    return F.cross_entropy(logits, target / total.clamp(min=1e-6), reduction="none") * (total[:, 0] > 0)


def _clip_config(config: EmotionCLIP.Config, tokenizer: CLIPTokenizer) -> CLIPConfig:
    """A new CLIP's, its vocabulary the tokenizer's."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.text_width,
        "intermediate_size": 4 * config.text_width,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.heads,
        "projection_dim": config.vector,
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "projection_dim": config.vector,
        "image_size": config.side,
        "patch_size": config.patch,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=config.vector)


def _tokenizer_files(tokenizer: CLIPTokenizer) -> dict[str, dict[str, Any]]:
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {}
        for path in sorted(Path(folder).glob("*.json")):
            files[path.name] = json.loads(path.read_text(encoding="utf8"))
    files["tokenizer.json"] |= UNPADDED
    return files
