"""What the judges predict: samples in, predictions out.

judges = load_judges("mini")              see `judges`
made = predict(samples, judges)           what each emotion judge, and those of scenes and objects, read
score_predictions(made, real)             the "judges" and "metrics" of scores.json, see `scoring`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from emoscene.core.images import open_image, read_image_size
from emoscene.encoders.base import Encoder, to_tensor
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.evaluation.colours import six_numbers
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions
from emoscene.evaluation.metrics.editing import ssim
from emoscene.evaluation.metrics.sharpness import gradient_magnitude, match_spectra, power_spectrum, psnr
from emoscene.evaluation.perceptual import Perceptual
from emoscene.methods.base import Method
from emoscene.pipeline.pipeline import EmotionPipeline

CHUNK = 64  # images held in memory at once
CHUNK_PIXELS = CHUNK * 512 * 512  # of these images together
MOST_PIXELS = 4_000_000  # of an image; a larger one, such as a camera's, is judged at this size
MOST_SIDE = math.isqrt(MOST_PIXELS)
GuidanceClassifier = Callable[[Sequence[Image.Image]], Array]
"""Images of one size in, their eight probabilities [N, 8] out."""


@dataclass(frozen=True)
class Sample:
    """An image to judge: its file, which prompt and seed made it, the number of the emotion asked (-1: none).

    scene, object: those asked, text: the prompt's words, original: the image that it is an edit of, where known.
    """

    file: Path
    prompt: int
    seed: int
    asked: int = -1
    scene: str = ""
    text: str = ""
    original: Path | None = None
    object: str = ""


@torch.no_grad()
def encode_texts(clip: EmotionCLIP, texts: Sequence[str]) -> Array:
    """Encode texts, each distinct one once.

    Args:
        clip: The CLIP.
        texts: N texts.

    Returns:
        Unit vectors [N, D].
    """
    distinct = list(dict.fromkeys(texts))
    vectors: Array = clip.encode_texts(distinct).cpu().numpy()
    return vectors[[distinct.index(text) for text in texts]]


def predict(
    samples: Sequence[Sample],
    judges: Mapping[str, Encoder],
    through: Callable[[Image.Image], Image.Image] | None = None,
    clip: EmotionCLIP | None = None,
    guide: GuidanceClassifier | None = None,
    perceptual: Perceptual | None = None,
    seen: Mapping[str, Array] | None = None,
) -> dict[str, Predictions]:
    """Let all judges read the samples; a file is read once, however many samples it has.

    Args:
        samples: N images.
        judges: The judges and other models, by name.
        through: Applied to each image before it is read.
        clip: Encodes images and their texts.
        guide: The guidance classifier of the method that generated the images.
        perceptual: Measures LPIPS between edits and originals.
        seen: What `predict_images` returned for each file, where the files were not kept.

    Returns:
        The predictions of each emotion judge, with those of the scene judge beside them.
    """
    files = list(dict.fromkeys(sample.file for sample in samples))
    order = dict(zip(files, range(len(files)), strict=True))
    places = np.array([order[sample.file] for sample in samples], np.int64)
    if seen is None:
        seen = predict_files(files, judges, through, clip, guide)
    seen = {name: values[places] for name, values in seen.items()}
    shared = _shared_columns(samples, places, seen, judges, clip, guide)
    space = _first_with_target(judges, "")
    befores: dict[str, Predictions] = {}
    edits = []
    for place, sample in enumerate(samples):
        if sample.original:
            edits.append(place)
    if through is None and edits:
        befores, closeness = predict_edits([samples[place] for place in edits], judges, clip, perceptual)
        shared |= {"edits": np.array(edits), **closeness}
    result = {}
    for name, judge in judges.items():
        if judge.target == "emotion":
            result[name] = Predictions(
                **shared,
                originals=befores.get(name),
                likely=seen[f"likely {name}"],
                features=seen[f"features {space or name}"],
                space=space or name,
                says=judge.explains,
                by=name,
            )
    return result


def _shared_columns(
    samples: Sequence[Sample],
    places: Array,
    seen: Mapping[str, Array],
    judges: Mapping[str, Encoder],
    clip: EmotionCLIP | None,
    guide: GuidanceClassifier | None,
) -> dict[str, Any]:
    """What the predictions of all judges share: what was asked, and what the other models saw."""
    shared: dict[str, Any] = {
        "prompt": np.array([sample.prompt for sample in samples]),
        "seed": np.array([sample.seed for sample in samples]),
        "asked": np.array([sample.asked for sample in samples]),
        "file": places,
        "gradient": seen["gradient"],
        "spectrum": seen["spectrum"],
    }
    if "colours" in seen:  # parts of a run that an earlier version began have none
        shared |= {"colours": seen["colours"]}
    scenes, objects = _first_with_target(judges, "scene"), _first_with_target(judges, "object")
    if scenes:
        shared |= {"scene": seen[f"likely {scenes}"], "scene_by": scenes}
        shared["place"] = _number_names([sample.scene for sample in samples], judges[scenes].labels)
    if objects:
        shared |= {"objects": seen[f"likely {objects}"], "object_by": objects}
        shared["thing"] = _number_names([sample.object for sample in samples], judges[objects].labels)
    if clip is not None:
        words = [sample.text for sample in samples]
        shared |= {"vectors": seen["vectors"], "clip": clip.config.begun}
        if all(words):
            shared |= {"texts": encode_texts(clip, words)}
    if guide:
        shared |= {"guide": seen["guide"]}
    return shared


def _number_names(names: Sequence[str], labels: Sequence[str]) -> Array:
    """The place of each name among the labels, -1 for one that is none of them [N]."""
    numbers = dict(zip(labels, range(len(labels)), strict=True))
    return np.array([numbers.get(name, -1) for name in names], np.int64)


def guidance_classifier(pipe: EmotionPipeline) -> GuidanceClassifier | None:
    """Get the classifier that guides a pipeline.

    Args:
        pipe: The pipeline.

    Returns:
        A function that classifies images; None where no method classifies.
    """
    if all(type(method).classify is Method.classify for method in pipe.chain.methods):
        return None

    def guide(images: Sequence[Image.Image]) -> Array:
        logs = pipe.chain.classify(pipe.base.encode_images(to_tensor(images)))
        assert logs is not None, "a method that classifies returns log-probabilities"
        return logs.exp().cpu().numpy()

    return guide


def _first_with_target(judges: Mapping[str, Encoder], target: str) -> str:
    """The name of the first that tells this; empty where none does."""
    return next((name for name, judge in judges.items() if judge.target == target), "")


def predict_files(
    files: Sequence[Path],
    judges: Mapping[str, Encoder],
    through: Callable[[Image.Image], Image.Image] | None = None,
    clip: EmotionCLIP | None = None,
    guide: GuidanceClassifier | None = None,
) -> dict[str, Array]:
    """Let all judges read files, which may have several sizes.

    Args:
        files: The N files.
        judges: The judges and other models, by name.
        through: Applied to each image before it is read.
        clip: Encodes images.
        guide: The guidance classifier.

    Returns:
        Arrays [N, ...], by the names of `predict_images`; spectra have as many rings as that of the smallest image.
    """
    seen: dict[str, list[Array]] = {}
    back: list[int] = []
    for group in group_by_size(files):
        opened = [open_judged(files[place]) for place in group]
        if through:
            opened = [through(image) for image in opened]
        for name, part in predict_images(opened, judges, clip, guide).items():
            seen.setdefault(name, []).append(part)
        back += group
    seen["spectrum"] = match_spectra(seen["spectrum"])
    return {name: np.concatenate(parts)[np.argsort(back)] for name, parts in seen.items()}


def predict_images(
    images: Sequence[Image.Image],
    judges: Mapping[str, Encoder],
    clip: EmotionCLIP | None = None,
    guide: GuidanceClassifier | None = None,
) -> dict[str, Array]:
    """Let all judges read images of one size.

    Args:
        images: N images.
        judges: The judges and other models, by name.
        clip: Encodes images.
        guide: The guidance classifier.

    Returns:
        Arrays [N, ...]: `gradient`, `spectrum`, `colours`, `vectors`, `guide`, and `likely JUDGE` and `features JUDGE`
        of each judge.
    """
    pixels = np.stack([np.asarray(image) for image in images])
    parts = {"gradient": gradient_magnitude(pixels), "spectrum": power_spectrum(pixels)}
    parts |= {"colours": six_numbers(list(pixels))}
    if clip:
        parts |= {"vectors": clip.read(images).features}
    if guide:
        parts |= {"guide": guide(images)}
    for name, judge in judges.items():
        read = judge.read(images)
        parts |= {f"likely {name}": read.probabilities, f"features {name}": read.features}
    return parts


def predict_edits(
    samples: Sequence[Sample],
    judges: Mapping[str, Encoder],
    clip: EmotionCLIP | None = None,
    perceptual: Perceptual | None = None,
) -> tuple[dict[str, Predictions], dict[str, Array]]:
    """Let all judges read the originals of edits.

    Args:
        samples: E edits.
        judges: The judges and other models, by name.
        clip: Encodes images.
        perceptual: Measures LPIPS.

    Returns:
        The predictions of the originals by judge, and SSIM (`alike`), PSNR (`near`) and LPIPS (`lpips`) [E].
    """
    originals = [replace(sample, file=sample.original or sample.file, original=None) for sample in samples]
    near: dict[str, list[float]] = {"alike": [], "near": []}
    if perceptual:
        near["lpips"] = []
    for sample, original in zip(samples, originals, strict=True):
        after, before = open_judged(sample.file), open_judged(original.file)
        before = before.resize(after.size, Image.Resampling.LANCZOS)
        edited, unedited = np.asarray(after)[None], np.asarray(before)[None]
        near["alike"].append(ssim(edited, unedited)[0])
        near["near"].append(psnr(edited, unedited)[0])
        if perceptual:
            near["lpips"].append(perceptual.distance(after, before))
    return predict(originals, judges, clip=clip), {name: np.array(values) for name, values in near.items()}


def group_by_size(files: Sequence[Path]) -> Iterator[list[int]]:
    """Group files by the size at which they are judged; their pixels are not decoded for it.

    Args:
        files: The files.

    Yields:
        Indices of at most `CHUNK` files of one size.
    """
    sizes: dict[tuple[int, int], list[int]] = {}
    for place, file in enumerate(files):
        size = _judged_size(read_image_size(file, enough=MOST_SIDE))
        sizes.setdefault(size, []).append(place)
    for (wide, high), group in sizes.items():
        count = min(CHUNK, max(1, CHUNK_PIXELS // (wide * high)))
        for first in range(0, len(group), count):
            yield group[first : first + count]


def open_judged(file: Path) -> Image.Image:
    """Open an image at the size at which it is judged.

    Args:
        file: The file.

    Returns:
        The image in RGB, of at most `MOST_PIXELS` pixels.

    Raises:
        UsageError: The file cannot be read.
    """
    image = open_image(file, enough=MOST_SIDE)
    size = _judged_size(image.size)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _judged_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which an image of this size is judged."""
    wide, high = size
    scale = MOST_SIDE / math.sqrt(wide * high)
    if scale >= 1:
        return size
    return max(1, round(wide * scale)), max(1, round(high * scale))
