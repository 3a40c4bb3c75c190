"""The contract of an encoder: images in, a row each out.

What an encoder reads of an image is a `Reading`: how likely it finds each of its labels, and a vector of features that
distances are measured in. Metrics are pure functions of readings, so a metric never runs a network and any encoder can
stand behind any metric.

`load_encoder` loads every finished encoder: a folder that `train` made, or a third party's model of its kind, as a
folder or from the hub.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, NotRequired, final

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Gt, Interval, Len
from PIL import Image
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from typing_extensions import TypedDict

from emoscene.core import config as configs
from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_files_of, check_value, describe_fault, parse_json, read_json
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion import hub
from emoscene.diffusion.device import explain_full_memory
from emoscene.diffusion.loading import check_finite, silence_libraries
from emoscene.diffusion.transfer import move_to_device
from emoscene.learning import learner as learners
from emoscene.learning.learner import AGAIN, CARD, Learner

LARGEST_SIDE = 4096  # pixels of the square that a model reads
MOST_LAYERS = 1000
UNPADDED = {"padding": None, "truncation": None}
"""What a saved `tokenizer.json` says of both: tokenizers keeps those of the last batch, which a resumed run lacks."""


@dataclass(frozen=True)
class Reading:
    """What an encoder saw in N images: probabilities [N, K] of its K labels, features [N, D]."""

    probabilities: np.ndarray
    features: np.ndarray


class Encoder(Learner):
    """A learner that reads images. It learns from the judges' own part of the data.

    target: what its labels are, `emotion` (then all eight in their order), `scene`, `object`, or nothing. says: the
    emotions that it has a word for; what it cannot say, it does not judge.
    """

    split: ClassVar[str] = "judges"
    labels: tuple[str, ...] = ()
    target: str = "emotion"
    explains: tuple[str, ...] = EMOTIONS

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images.

        Args:
            images: Images [B, 3, H, W] in [-1, 1], of any size.

        Returns:
            Probabilities [B, K] of the K labels, and features [B, D].
        """

    @final
    @torch.no_grad()
    def read(self, images: Iterable[Image.Image], batch: int = 64) -> Reading:
        """Read Pillow's images, a batch at a time.

        Args:
            images: The images; those of one batch have one size.
            batch: The size of a batch, at least 1.

        Returns:
            What was read of all images.

        Raises:
            EmosceneError: Memory does not suffice.
        """
        device = next(self.parameters()).device
        probabilities, features, source = [], [], iter(images)
        while True:
            some = list(islice(source, batch))
            if not some:
                break
            count = format_count(len(some), "image")
            with explain_full_memory(f"memory does not suffice to read {count} at once: give --device cpu"):
                likely, seen = self.encode(to_tensor(some).to(device))
            probabilities.append(likely.float().cpu().numpy())
            features.append(seen.float().cpu().numpy())
        if not probabilities:
            return Reading(np.zeros((0, len(self.labels)), np.float32), np.zeros((0, 1), np.float32))
        return Reading(np.concatenate(probabilities), np.concatenate(features))


def mean_place(hidden: Tensor) -> Tensor:
    """Average a hidden state over all places.

    Args:
        hidden: [B, N, D] of a transformer, or [B, D, h, w] of a convolutional network.

    Returns:
        The means [B, D].
    """
    if hidden.ndim == 4:
        return hidden.flatten(2).mean(2)
    return hidden.mean(1)


@torch.no_grad()
def measure_accuracy(encoder: Encoder, data: Any) -> dict[str, Any]:
    """Measure an encoder of emotions on images that it did not learn from.

    Args:
        encoder: The encoder.
        data: These images, a `PreparedDataset`.

    Returns:
        `accuracy`, the share of right answers over the images of one emotion alone, and `pictures`, how many these are.
    """
    device = next(encoder.parameters()).device
    right, counted = 0, 0
    for first in range(0, len(data), 64):
        rows = data.read(range(first, min(first + 64, len(data))), ["image", "weights"])
        answers = encoder.encode(rows["image"].to(device))[0].argmax(1).cpu()
        pure = rows["weights"].max(1).values == 1
        right += int((answers == rows["weights"].argmax(1))[pure].sum())
        counted += int(pure.sum())
    return {"accuracy": round(right / max(counted, 1), 4), "pictures": counted}


def load_encoder(kind: str, place: str | Path, device: torch.device | str = "cpu", **settings: Any) -> Any:
    """Load a finished encoder.

    Args:
        kind: The name of the encoder, such as `judge` or `captioner`.
        place: A folder that `train` made, or a third party's model as a folder or a hub id.
        device: Where it computes.
        settings: Fields of its `Config`, for a third party's model.

    Returns:
        The encoder, frozen.

    Raises:
        UsageError: There is an encoder of another kind.
        EmosceneError: The hub cannot be reached.

    Example:
        >>> clip = load_encoder("emotion_clip", "runs/emotion_clip")
        >>> clip.read([Image.open("awe.png")]).probabilities.shape
        (1, 8)
    """
    cls = registry.load_plugin("encoders", kind)
    folder = locate_model(place)
    if (folder / learners.CARD).is_file():
        encoder = learners.load_learner("encoders", folder, None)
        if not isinstance(encoder, cls):
            raise _other_kind(kind, place)
    else:
        encoder = cls.from_scratch(configs.replace_fields(cls.Config(), {cls.borrows: str(folder), **settings}), None)
    return encoder.requires_grad_(False).eval().to(device)


def check_place(place: str | Path) -> None:
    """Check, before anything is loaded, that a model can be at a place.

    Args:
        place: A folder or a hub id.

    Raises:
        UsageError: It is neither.
    """
    if not Path(place).exists() and not hub.ID.fullmatch(str(place)):
        raise UsageError(f"no model in {place}, for there is no such folder: check the path")


def check_encoder(kind: str, place: str | Path) -> None:
    """Check a place for `load_encoder`, by its card alone.

    Args:
        kind: The name of the encoder.
        place: A folder or a hub id; nothing is checked for an empty one.

    Raises:
        UsageError: There is no such folder, or it holds an encoder of another kind.
        EmosceneError: Its card is damaged.
    """
    if not place:
        return
    check_place(place)
    if (Path(place) / CARD).is_file() and learners.read_card(Path(place))["learner"] != kind:
        raise _other_kind(kind, place)


def _other_kind(kind: str, place: str | Path) -> UsageError:
    cls = registry.load_plugin("encoders", kind)
    return UsageError(f"{place} is no {cls.__name__}: emoscene train {kind} makes one")


def locate_model(place: str | Path) -> Path:
    """Find the folder of a model.

    Args:
        place: A folder, or a hub id `owner/name` or `owner/name@revision`.

    Returns:
        The folder.
    """
    return hub.resolve_folder(place, hub.ARTIFACT)


def load_pretrained(cls: Any, place: str, what: str, spare: str = "") -> tuple[Any, set[str]]:
    """Load a third party's model in single precision.

    Args:
        cls: The class of transformers that loads it.
        place: A folder or a hub id.
        what: What it is, for the error.
        spare: The beginning of the names of weights that may be missing; transformers initializes them at random.

    Returns:
        The model, and the names of the weights that are missing in its files.

    Raises:
        UsageError: There is no such model, or other weights are missing.
    """
    options = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    folder = locate_model(place)
    check_files_of(folder)
    read_model_config(folder)
    try:
        with silence_libraries(remarks=False):  # what is missing is said below
            model, report = cls.from_pretrained(str(folder), **options)
    except Exception as error:  # damaged configs make transformers raise nearly everything
        raise UsageError(
            f"{place} holds no {what} ({describe_fault(error)}): give a folder or a hub id with its config.json and "
            "safetensors"
        ) from error
    missing = set(report["missing_keys"])
    lost = sorted(name for name in missing if not (spare and name.startswith(spare)))
    if lost:
        raise UsageError(f"{place} is no whole {what}: its weights lack {lost[0]}")
    loaded = {name: value for name, value in model.state_dict().items() if name not in missing}
    check_finite(loaded, place, AGAIN)
    return model, missing


def load_tokenizer(cls: Any, place: str, what: str) -> Any:
    """Load the tokenizer of a third party's model.

    Args:
        cls: The class of transformers that loads it.
        place: A folder or a hub id.
        what: What the model is, for the error.

    Returns:
        The tokenizer.

    Raises:
        UsageError: There is no tokenizer.
    """
    folder = locate_model(place)
    check_files_of(folder)
    try:
        tokenizer = cls.from_pretrained(str(folder), local_files_only=True)
        lost = len(tokenizer) <= len(
            tokenizer.all_special_ids
        )  # without files, transformers makes one of the marks alone
    except Exception:  # damaged files make transformers raise nearly everything; the sentence says what to do
        lost = True
    if lost:
        raise UsageError(f"the {what} in {place} lacks its tokenizer: save it there too")
    return tokenizer


def read_model_config(folder: Path) -> dict[str, Any]:
    """Read transformers' `config.json`.

    Args:
        folder: The folder of a model.

    Returns:
        Its content; empty where there is no such file.
    """
    file = folder / "config.json"
    if not file.is_file():
        return {}
    config: dict[str, Any] = read_json(file, ModelConfig, AGAIN)
    return config


Side = Annotated[int, Interval(ge=1, le=LARGEST_SIDE)]
Layers = Annotated[int, Interval(ge=0, le=MOST_LAYERS)]
Sides = Side | Annotated[list[Side], Len(1)] | Annotated[dict[str, Side], Len(1)]
Colours = Annotated[list[float], Len(3, 3)]


class VisionConfig(TypedDict):
    """What is read of the part of a `config.json` that describes the image encoder."""

    image_size: NotRequired[Sides | None]
    num_hidden_layers: NotRequired[Layers]


class TextConfig(TypedDict):
    """What is read of the part of a `config.json` that describes the text encoder."""

    num_hidden_layers: NotRequired[Layers]


class ModelConfig(VisionConfig):
    """What is read of a `config.json`; transformers reads the rest."""

    model_type: NotRequired[str]
    vision_config: NotRequired[VisionConfig | None]
    text_config: NotRequired[TextConfig | None]


class PixelConfig(TypedDict):
    """What is read of a `preprocessor_config.json`."""

    crop_size: NotRequired[Sides | None]
    size: NotRequired[Sides | None]
    image_size: NotRequired[Sides | None]
    image_mean: NotRequired[Colours | None]
    image_std: NotRequired[Annotated[list[Annotated[float, Gt(0)]], Len(3, 3)] | None]


def parse_description(text: str) -> dict[str, Any]:
    """Parse the description of a model that a card keeps as a setting.

    Args:
        text: JSON, as transformers writes a config.

    Returns:
        Its table.

    Raises:
        EmosceneError: It is damaged.
    """
    try:
        description = parse_json(text)
    except ValueError as error:
        raise EmosceneError(f"the shape in {CARD} is damaged ({describe_fault(error)}): {AGAIN}") from error
    table: dict[str, Any] = check_value(description, ModelConfig, f"the shape in {CARD}", AGAIN)
    return table


@dataclass(frozen=True)
class PixelFormat:
    """How a model wants its images: the side of a square, and each colour's mean and deviation."""

    side: int = 224
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def from_folder(cls, folder: Path) -> PixelFormat:
        """Read `preprocessor_config.json`; what it leaves out is the model's own size, and the defaults of this class.

        Args:
            folder: The folder of a model.

        Returns:
            The format.
        """
        file = folder / "preprocessor_config.json"
        config: dict[str, Any] = {}
        if file.is_file():
            config = read_json(file, PixelConfig, AGAIN)
        model = read_model_config(folder)
        side = model.get("image_size") or (model.get("vision_config") or {}).get("image_size") or cls.side
        config.setdefault("image_size", side)
        return cls.from_config(config, str(file))

    @classmethod
    def from_config(cls, config: dict[str, Any], where: str) -> PixelFormat:
        """Read the words of a `preprocessor_config.json`.

        Args:
            config: What it says; `image_size` is the side where it says none.
            where: What says it, for the error.

        Returns:
            The format.

        Raises:
            EmosceneError: It says something else than a size and three colours.
        """
        check_value(config, PixelConfig, where, AGAIN)
        size = config.get("crop_size") or config.get("size") or config.get("image_size", cls.side)
        if isinstance(size, dict):
            size = next(iter(size.values()))
        if isinstance(size, list):
            size = size[0]
        mean = tuple(config.get("image_mean") or cls.mean)
        deviation = tuple(config.get("image_std") or cls.deviation)
        return cls(int(size), mean, deviation)

    @classmethod
    def for_clip(cls, side: int) -> PixelFormat:
        """Make the format of CLIP, which BLIP uses as well.

        Args:
            side: The side of the square in pixels.

        Returns:
            The format.
        """
        return cls(side, tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD))

    def transform(self, images: Tensor) -> Tensor:
        """Convert images to the format.

        Args:
            images: Images [B, 3, H, W] in [-1, 1].

        Returns:
            Normalized images [B, 3, side, side].
        """
        images = resize_square(images, self.side)
        numbers = torch.tensor([self.mean, self.deviation], dtype=images.dtype)
        mean, deviation = move_to_device(numbers, images.device).view(2, 3, 1, 1)
        return (images / 2 + 0.5 - mean) / deviation


def resize_square(images: Tensor, side: int) -> Tensor:
    """Resize images to a square; the aspect ratio is not kept.

    Args:
        images: Images [B, 3, H, W] in [-1, 1].
        side: The side of the square in pixels.

    Returns:
        Images [B, 3, side, side] in [-1, 1].
    """
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def to_tensor(images: Iterable[Image.Image]) -> Tensor:
    """Convert Pillow's images to a tensor.

    Args:
        images: Images of one size (W, H).

    Returns:
        Images [B, 3, H, W] in [-1, 1].
    """
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
