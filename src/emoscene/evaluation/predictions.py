"""Pictures under the judges' eyes: samples in, readings out, and the scores that metrics make of them.

judges = judges_of("mini")                see `panel`
made = readings(samples, judges)          what each emotion judge (and the scene judge) read
score(made, real)                         the "judges" and "metrics" of scores.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from emoscene.core import registry
from emoscene.core.errors import EmosceneError
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.encoders.base import Encoder, to_tensor
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.evaluation.metrics.base import Array, Predictions, Value, hits, predicted_labels
from emoscene.evaluation.metrics.calibration import reliability_curve
from emoscene.evaluation.metrics.editing import ssim
from emoscene.evaluation.metrics.emotion import count_confusions, per_emotion
from emoscene.evaluation.metrics.sharpness import gradient_magnitude, power_spectrum, psnr
from emoscene.evaluation.perceptual import Perceptual
from emoscene.methods.base import Method
from emoscene.pipeline.pipeline import EmotionPipeline

CHUNK = 64  # pictures held in memory at once
GuidanceClassifier = Callable[[Sequence[Image.Image]], Array]
"""Pictures of one size in, their eight probabilities [N, 8] out."""
VERDICTS = ("emotion", "polarity", "affect", "calibration")
"""The metrics that every judge has for itself."""


@dataclass(frozen=True)
class Sample:
    """A picture to judge: its file, which prompt and seed made it, the number of the emotion asked (-1: none).

    scene: the scene asked, text: the prompt's words, original: the picture that it is an edit of, where known.
    """

    file: Path
    prompt: int
    seed: int
    asked: int = -1
    scene: str = ""
    text: str = ""
    original: Path | None = None


@torch.no_grad()
def encode_texts(clip: EmotionCLIP, texts: Sequence[str]) -> Array:
    """The vectors of texts [N, D], of unit length; each text is read once."""
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
    """What each emotion judge read, the scene judge's reading beside it; a file is read once, however often asked.

    through: what is done to each picture before it is read. clip: what reads pictures and their words as vectors.
    guide: what the method that painted them finds in pictures itself. perceptual: how far apart an edit and its
    picture look. seen: what `predict_images` saw in each file, where the files were not kept. Pictures may be of
    several sizes, but then they have no common spectrum.
    """
    files = list(dict.fromkeys(sample.file for sample in samples))
    order = {file: place for place, file in enumerate(files)}
    places = np.array([order[sample.file] for sample in samples], np.int64)
    seen = predict_files(files, judges, through, clip, guide) if seen is None else seen
    seen = {name: values[places] for name, values in seen.items()}
    shared: dict[str, Any] = {
        "prompt": np.array([sample.prompt for sample in samples]),
        "seed": np.array([sample.seed for sample in samples]),
        "asked": np.array([sample.asked for sample in samples]),
        "file": places,
        "gradient": seen["gradient"],
        "spectrum": seen["spectrum"],
    }
    scenes, objects, space = (_first_with_target(judges, target) for target in ("scene", "object", ""))
    if scenes:
        labels = judges[scenes].labels
        shared |= {"scene": seen[f"likely {scenes}"], "scene_by": scenes}
        shared["place"] = np.array([labels.index(s.scene) if s.scene in labels else -1 for s in samples])
    if objects:
        shared |= {"objects": seen[f"likely {objects}"], "object_by": objects}
    if clip is not None:
        words = [sample.text for sample in samples]
        shared |= {"vectors": seen["vectors"], "clip": clip.config.begun}
        shared |= {"texts": encode_texts(clip, words)} if all(words) else {}
    shared |= {"guide": seen["guide"]} if guide else {}
    befores: dict[str, Predictions] = {}
    edits = [place for place, sample in enumerate(samples) if sample.original]
    if through is None and edits:
        befores, closeness = predict_edits([samples[place] for place in edits], judges, clip, perceptual)
        shared |= {"edits": np.array(edits), **closeness}
    return {
        name: Predictions(
            **shared,
            originals=befores.get(name),
            likely=seen[f"likely {name}"],
            features=seen[f"features {space or name}"],
            space=space or name,
            says=judge.explains,
            by=name,
        )
        for name, judge in judges.items()
        if judge.target == "emotion"
    }


def guidance_classifier(pipe: EmotionPipeline) -> GuidanceClassifier | None:
    """What the method that paints finds felt in pictures itself; None where none of its methods looks."""
    if all(type(method).classify is Method.classify for method in pipe.chain.methods):
        return None

    def guide(pictures: Sequence[Image.Image]) -> Array:
        told = pipe.chain.classify(pipe.base.encode_images(to_tensor(pictures)))
        assert told is not None, "a method that looks has an opinion"
        return told.exp().cpu().numpy()

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
    """What is seen in each file, by what `predict_images` calls it."""
    seen: dict[str, list[Array]] = {}
    back: list[int] = []
    for group in group_by_size(files):
        opened = [open_image(files[place]) for place in group]
        opened = [through(picture) for picture in opened] if through else opened
        for name, part in predict_images(opened, judges, clip, guide).items():
            seen.setdefault(name, []).append(part)
        back += group
    if len({part.shape[1] for part in seen["spectrum"]}) > 1:
        seen["spectrum"] = [np.zeros((len(files), 0))]
    return {name: np.concatenate(parts)[np.argsort(back)] for name, parts in seen.items()}


def predict_images(
    pictures: Sequence[Image.Image],
    judges: Mapping[str, Encoder],
    clip: EmotionCLIP | None = None,
    guide: GuidanceClassifier | None = None,
) -> dict[str, Array]:
    """What is seen in pictures of one size: gradient, spectrum, vectors, guide, `likely JUDGE` and `features JUDGE`."""
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    parts = {"gradient": gradient_magnitude(pixels), "spectrum": power_spectrum(pixels)}
    parts |= {"vectors": clip.read(pictures).features} if clip else {}
    parts |= {"guide": guide(pictures)} if guide else {}
    for name, judge in judges.items():
        read = judge.read(pictures)
        parts |= {f"likely {name}": read.probabilities, f"features {name}": read.features}
    return parts


def predict_edits(
    samples: Sequence[Sample],
    judges: Mapping[str, Encoder],
    clip: EmotionCLIP | None = None,
    perceptual: Perceptual | None = None,
) -> tuple[dict[str, Predictions], dict[str, Array]]:
    """What the judges read of the pictures that samples are edits of; SSIM, PSNR and LPIPS with them [N] by field."""
    originals = [replace(sample, file=sample.original or sample.file, original=None) for sample in samples]
    near: dict[str, list[float]] = {"alike": [], "near": [], **({"lpips": []} if perceptual else {})}
    for sample, original in zip(samples, originals, strict=True):
        after, before = open_image(sample.file), open_image(original.file)
        before = before.resize(after.size, Image.Resampling.LANCZOS)
        pair = [np.asarray(picture)[None] for picture in (after, before)]
        near["alike"].append(ssim(*pair)[0])
        near["near"].append(psnr(*pair)[0])
        if perceptual:
            near["lpips"].append(perceptual.distance(after, before))
    return predict(originals, judges, clip=clip), {name: np.array(values) for name, values in near.items()}


def group_by_size(files: Sequence[Path]) -> Iterator[list[int]]:
    """The places of the files in groups of one size, none larger than is held in memory at once."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for place, file in enumerate(files):
        sizes.setdefault(open_image(file).size, []).append(place)
    for group in sizes.values():
        yield from (group[first : first + CHUNK] for first in range(0, len(group), CHUNK))


def recompress_jpeg(picture: Image.Image) -> Image.Image:
    """The picture as a JPEG of quality 75 leaves it."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


def blur(picture: Image.Image) -> Image.Image:
    """The picture a little out of focus: a Gaussian of one part in 128 of its side."""
    return picture.filter(ImageFilter.GaussianBlur(min(picture.size) / 128))


TREATED: dict[str, Callable[[Image.Image], Image.Image]] = {"jpeg75": recompress_jpeg, "blur": blur}
"""What a picture should survive: a gain that vanishes here was noise that only the judge could see."""


def measure_robustness(
    samples: Sequence[Sample], judges: Mapping[str, Encoder], seen: Mapping[str, Array] | None = None
) -> dict[str, dict[str, Any]]:
    """Each judge's emotion accuracy once the pictures went through each treatment; nothing where it has none.

    seen: what each judge saw of them, each name after its treatment's, where the files were not kept.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, treatment in TREATED.items():
        own = seen and {key.removeprefix(f"{name} "): part for key, part in seen.items() if key.startswith(f"{name} ")}
        for judge, read in predict(samples, judges, treatment, seen=own).items():
            if accuracy := _run_metrics(("emotion",), read.only_judged, None, {}).get("emotion_accuracy"):
                found.setdefault(judge, {})[name] = accuracy
    return found


def score_predictions(made: Mapping[str, Predictions], real: Mapping[str, Predictions] | None = None) -> dict[str, Any]:
    """The parts "judges", "metrics" and "missing" of `scores.json`.

    Metrics are the plug-ins of that kind; all but those of a judge's verdict see the first judge's features. One that
    could not be measured leaves its sentence under "missing".
    """
    missing: dict[str, str] = {}
    judges: dict[str, dict[str, Any]] = {}
    labelled = any((read.asked >= 0).any() for read in made.values())
    if not labelled:
        missing["emotion"] = "no emotion was asked of any picture: name their folders after emotions"
    for name, read in made.items():
        read, there = read.only_judged, None if real is None else real[name].only_judged
        judges[name] = _run_metrics(VERDICTS if labelled else (), read, there, missing, f" of {name}")
        if len(read.says) < len(EMOTIONS):
            judges[name]["not_judged"] = [emotion for emotion in EMOTIONS if emotion not in read.says]
        if "emotion_accuracy" in judges[name]:
            judges[name]["per_emotion"] = per_emotion(read.likely, read.asked)
            judges[name]["confusion"] = count_confusions(read.likely, read.asked).astype(int).tolist()
        if "calibration_error" in judges[name] and there is not None:
            judges[name]["reliability"] = reliability_curve(there.likely, there.asked)
    first = next(iter(made))
    rest = [name for name in registry.list_names("metrics") if name not in VERDICTS]
    metrics = _run_metrics(rest, made[first], None if real is None else real[first], missing)
    return {
        "pictures": len(made[first]),
        "emotions": list(EMOTIONS),
        "judges": judges,
        "metrics": metrics,
        "missing": missing,
    }


def _run_metrics(
    names: Iterable[str], made: Predictions, real: Predictions | None, missing: dict[str, str], whose: str = ""
) -> dict[str, Any]:
    """What the metrics of these names say; the sentence of one that could not goes to `missing`."""
    found: dict[str, Any] = {}
    for name in names:
        try:
            found |= _plain_value(registry.load_plugin("metrics", name)(made, real))
        except EmosceneError as error:
            missing[f"{name}{whose}"] = str(error)
    return found


def verdict_rows(samples: Sequence[Sample], made: Mapping[str, Predictions], folder: Path) -> list[dict[str, Any]]:
    """A row a sample: what was asked, what each judge that can say it saw, whether the scene is there; for pairing."""
    first = next(iter(made.values()))
    kept = hits(first.scene, first.place) if first.scene.size else None
    seen = {name: predicted_labels(read.likely, read.asked) for name, read in made.items()}
    rows = []
    for place, sample in enumerate(samples):
        inside = sample.file.is_relative_to(folder)
        asked = EMOTIONS[sample.asked] if sample.asked >= 0 else None
        rows.append(
            {
                "file": (sample.file.relative_to(folder) if inside else sample.file).as_posix(),
                "prompt": sample.text or sample.file.name,
                "seed": int(sample.seed),
                "asked": asked,
                "scene": sample.scene or None,
                "kept": None if kept is None or first.place[place] < 0 else int(kept[place]),
                "seen": {
                    name: EMOTIONS[seen[name][place]]
                    for name, read in made.items()
                    if asked in (None, *read.says) and np.isfinite(read.likely[place]).all()
                },
                "likely": {name: _round_all(read.likely[place]) for name, read in made.items()},
            }
        )
    return rows


def _round_all(numbers: Array) -> list[float | None]:
    return [round(float(number), 4) if np.isfinite(number) else None for number in numbers]


def _plain_value(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: value.to_dict() for name, value in values.items()}
