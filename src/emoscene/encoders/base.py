"""The contract of an encoder: pictures in, a row each out.

What an encoder reads of a picture is a `Reading`: how likely it finds each of its labels, and a vector of features that
distances are measured in. Metrics are pure functions of readings, so a metric never runs a network and any encoder can
stand behind any metric.

`load_encoder` is the one way to a finished encoder: a folder that `train` made, or anybody's model of its kind, as a folder
or from the hub.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from emoscene.core import config as configs
from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion import hub
from emoscene.diffusion.device import explain_full_memory
from emoscene.diffusion.loading import check_finite, silence_libraries
from emoscene.learning import learner as learners
from emoscene.learning.learner import AGAIN, Learner


@dataclass(frozen=True)
class Reading:
    """What an encoder saw in N pictures: probabilities [N, K] of its K labels, features [N, D]."""

    probabilities: np.ndarray
    features: np.ndarray


class Encoder(Learner):
    """A learner that reads pictures. It learns from the judges' own part of the data.

    target: what its labels are, `emotion` (then all eight in their order), `scene`, `object`, or nothing. says: the
    emotions that it has a word for; what it cannot say, it does not judge.
    """

    split: ClassVar[str] = "judges"
    labels: tuple[str, ...] = ()
    target: str = "emotion"
    explains: tuple[str, ...] = EMOTIONS

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W] in [-1, 1], of any size -> probabilities [B, K], features [B, D]."""

    @final
    @torch.no_grad()
    def read(self, pictures: Iterable[Image.Image], batch: int = 64) -> Reading:
        """Read Pillow's pictures (one size within a batch), a batch at a time. Raises Failure where memory runs out."""
        device = next(self.parameters()).device
        probabilities, features, source = [], [], iter(pictures)
        while some := list(islice(source, batch)):
            with explain_full_memory(
                f"memory does not suffice to read {len(some)} pictures at once: give --device cpu"
            ):
                likely, seen = self.encode(to_tensor(some).to(device))
            probabilities.append(likely.float().cpu().numpy())
            features.append(seen.float().cpu().numpy())
        if not probabilities:
            return Reading(np.zeros((0, len(self.labels)), np.float32), np.zeros((0, 1), np.float32))
        return Reading(np.concatenate(probabilities), np.concatenate(features))


def load_encoder(kind: str, place: str | Path, device: torch.device | str = "cpu", **settings: Any) -> Any:
    """The encoder of this kind at a place: a folder that `train` made, else anybody's model, a folder or a hub id.

    settings: of anybody's model. Raises Usage for what is of another kind, Failure for a hub id that cannot be reached.
    """
    cls = registry.load_plugin("encoders", kind)
    folder = locate_model(place)
    if (folder / learners.CARD).is_file():
        found = learners.load_learner("encoders", folder, None)
        if not isinstance(found, cls):
            raise UsageError(f"{place} is no {cls.__name__}: emoscene train {kind} makes one")
    else:
        found = cls.from_scratch(configs.replace_fields(cls.Config(), {cls.borrows: str(folder), **settings}), None)
    return found.requires_grad_(False).eval().to(device)


def locate_model(place: str | Path) -> Path:
    """The folder of a model: the one named, or the snapshot of a hub id, `owner/name` or `owner/name@revision`."""
    return hub.resolve_folder(place, hub.ARTIFACT)


def load_pretrained(cls: Any, place: str, what: str, spare: str = "") -> tuple[Any, set[str]]:
    """Somebody's model in single precision, by transformers' class for it, and what of its weights is not in its files.

    spare: the beginning of the names of weights that may be missing; transformers would draw them by chance. Raises
    Usage where there is no such model, or others are missing.
    """
    options = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    folder = str(locate_model(place))
    try:
        with silence_libraries(remarks=False):  # what is missing is said below
            model, report = cls.from_pretrained(folder, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(
            f"{place} holds no {what}: give a folder or a hub id with its config.json and safetensors"
        ) from error
    missing = set(report["missing_keys"])
    if lost := sorted(name for name in missing if not (spare and name.startswith(spare))):
        raise UsageError(f"{place} is no whole {what}: its weights lack {lost[0]}")
    check_finite({name: value for name, value in model.state_dict().items() if name not in missing}, place, AGAIN)
    return model, missing


def load_tokenizer(cls: Any, place: str, what: str) -> Any:
    """The tokenizer of somebody's model, by transformers' class for it. Raises Usage where there is none."""
    folder = str(locate_model(place))
    try:
        found = cls.from_pretrained(folder, local_files_only=True)
        lost = len(found) <= len(found.all_special_ids)  # without files, transformers makes one of the marks alone
    except (OSError, ValueError):
        lost = True
    if lost:
        raise UsageError(f"the {what} in {place} lacks its tokenizer: save it there too")
    return found


def read_model_config(folder: Path) -> dict[str, Any]:
    """What transformers' `config.json` says of the model in a folder; nothing where there is none."""
    file = folder / "config.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf8")) if file.is_file() else {}
    return found


@dataclass(frozen=True)
class PixelFormat:
    """How a model wants its pictures: the side of a square, and each colour's mean and deviation."""

    side: int = 224
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def from_folder(cls, folder: Path) -> PixelFormat:
        """As `preprocessor_config.json` has it; where it says nothing, the model's own side, and the values above."""
        file = folder / "preprocessor_config.json"
        said = json.loads(file.read_text(encoding="utf8")) if file.is_file() else {}
        size = said.get("crop_size") or said.get("size") or read_model_config(folder).get("image_size", cls.side)
        side = next(iter(size.values())) if isinstance(size, dict) else size
        mean, deviation = (tuple(said.get(f"image_{name}", (0.5,) * 3)) for name in ("mean", "std"))
        return cls(int(side), mean, deviation)

    @classmethod
    def for_clip(cls, side: int) -> PixelFormat:
        """As CLIP wants them, and after it BLIP."""
        return cls(side, tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD))

    def transform(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] as the model wants them [B, 3, side, side]."""
        images = resize_square(images, self.side)
        mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.deviation))
        return (images / 2 + 0.5 - mean) / deviation


def resize_square(images: Tensor, side: int) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] brought to a square [B, 3, side, side]."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def to_tensor(pictures: Iterable[Image.Image]) -> Tensor:
    """Pillow's pictures as [B, 3, H, W] in [-1, 1]."""
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
