"""Pictures under the judges' eyes: samples in, readings out, and the scores that metrics make of them.

    judges = judges_of("mini")
    made = readings(samples, judges)          what each emotion judge (and the scene judge) read
    score(made, real)                         the "judges" and "metrics" of scores.json

A judge that an adapter was guided or picked by may not judge it: `judges_of` refuses a judge whose fingerprint stands
in an adapter's history.
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

from emoscene import learner as learners
from emoscene import plugins, stage
from emoscene.backbone import spec
from emoscene.emotions import EMOTIONS
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.encoders.judge import Judge
from emoscene.errors import Failure, Usage
from emoscene.metrics.base import Array, Readings, Value, hits, unit
from emoscene.metrics.calibration import curve
from emoscene.metrics.editing import ssim
from emoscene.metrics.emotion import confusion, per_emotion
from emoscene.metrics.sharpness import gradient, psnr, spectrum
from emoscene.pictures import open_picture

HOME = Path(__file__).parent
CHUNK = 64  # pictures held in memory at once
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


def judges_of(base: str, more: Sequence[str] = (), adapters: Sequence[str] = ()) -> dict[str, Judge]:
    """The base's own judges and `more` from folders, by name.

    Raises Usage for a folder that holds none, and for a judge akin to an adapter.
    """
    folders = _folders(base, more)
    found = {}
    for name, folder in folders.items():
        _unrelated(folder, adapters)
        judge = learners.load("encoders", folder, None)
        if not isinstance(judge, Judge):
            raise Usage(f"{folder} is no judge: emoscene train judge makes one")
        found[name] = judge
    if not any(judge.config.target == "emotion" for judge in found.values()):
        raise Usage(f"the base {base!r} has no judge of emotions: give one with --judge DIR")
    return found


def fingerprints(base: str, more: Sequence[str] = ()) -> dict[str, str]:
    """The fingerprints of the judges by name: scores by other judges do not compare."""
    return {name: stage.fingerprint(folder) for name, folder in _folders(base, more).items()}


def _folders(base: str, more: Sequence[str]) -> dict[str, Path]:
    own = {name: HOME / folder for name, folder in spec(base).judges.items()}
    return own | {Path(folder).name: Path(folder) for folder in more}


def _unrelated(folder: Path, adapters: Sequence[str]) -> None:
    """Raises Usage where what judges stands in the history of what it would judge."""
    histories = "".join(_history(Path(adapter)) for adapter in adapters)
    if (mark := stage.fingerprint(folder)) in histories:
        raise Usage(f"{folder} helped to make the adapter ({mark[:12]}) and cannot judge it: give another --judge")


def _history(folder: Path) -> str:
    files = (folder / name for name in (learners.CARD, stage.MANIFEST))
    return "".join(file.read_text(encoding="utf8") for file in files if file.is_file())


def clip_of(folder: str | Path, adapters: Sequence[str] = ()) -> EmotionCLIP:
    """The CLIP in a folder, any that `CLIPModel.save_pretrained` wrote with its tokenizer.

    Raises Usage where there is none, and for one that helped to make an adapter.
    """
    _unrelated(Path(folder), adapters)
    clip = EmotionCLIP.start(EmotionCLIP.Config(begun=str(folder)), None)
    return clip.requires_grad_(False).eval()


@torch.no_grad()
def told(clip: EmotionCLIP, texts: Sequence[str]) -> Array:
    """The vectors of texts [N, D], of unit length; each text is read once."""
    distinct = list(dict.fromkeys(texts))
    assert clip.tokenizer is not None, "clip_of brings the tokenizer along"
    words = clip.tokenizer(distinct, padding=True, truncation=True, max_length=clip.length, return_tensors="pt")
    vectors = clip.model.get_text_features(**words).pooler_output.float().numpy()
    return unit(vectors)[[distinct.index(text) for text in texts]]


def readings(
    samples: Sequence[Sample],
    judges: Mapping[str, Judge],
    through: Callable[[Image.Image], Image.Image] | None = None,
    clip: EmotionCLIP | None = None,
) -> dict[str, Readings]:
    """What each emotion judge read, the scene judge's reading beside it; a file is read once, however often asked.

    through: what is done to each picture before it is read. clip: what reads pictures and their words as vectors.
    Pictures may be of several sizes, but then they have no common spectrum.
    """
    files = list(dict.fromkeys(sample.file for sample in samples))
    order = {file: place for place, file in enumerate(files)}
    places = np.array([order[sample.file] for sample in samples], np.int64)
    seen = {name: values[places] for name, values in look(files, judges, through, clip).items()}
    shared: dict[str, Any] = {
        "prompt": np.array([sample.prompt for sample in samples]),
        "seed": np.array([sample.seed for sample in samples]),
        "asked": np.array([sample.asked for sample in samples]),
        "gradient": seen["gradient"],
        "spectrum": seen["spectrum"],
    }
    scenes = next((name for name, judge in judges.items() if judge.config.target == "scene"), None)
    if scenes is not None:
        labels = judges[scenes].labels
        shared["scene"] = seen[f"likely {scenes}"]
        shared["place"] = np.array([labels.index(s.scene) if s.scene in labels else -1 for s in samples])
    if clip is not None:
        words = [sample.text for sample in samples]
        shared |= {"vectors": seen["vectors"], "clip": clip.config.begun}
        shared |= {"texts": told(clip, words)} if all(words) else {}
    befores: dict[str, Readings] = {}
    if through is None and all(sample.original for sample in samples):
        befores, shared["alike"], shared["near"] = edited(samples, judges, clip)
    return {
        name: Readings(
            **shared,
            originals=befores.get(name),
            likely=seen[f"likely {name}"],
            features=seen[f"features {name}"],
            by=name,
        )
        for name, judge in judges.items()
        if judge.config.target == "emotion"
    }


def look(
    files: Sequence[Path],
    judges: Mapping[str, Judge],
    through: Callable[[Image.Image], Image.Image] | None,
    clip: EmotionCLIP | None,
) -> dict[str, Array]:
    """What is seen in each file: gradient, spectrum, vectors, each judge's `likely NAME` and `features NAME`."""
    seen: dict[str, list[Array]] = {}
    back: list[int] = []
    for group in alike(files):
        opened = [open_picture(files[place]) for place in group]
        opened = [through(picture) for picture in opened] if through else opened
        pixels = np.stack([np.asarray(picture) for picture in opened])
        parts = {"gradient": gradient(pixels), "spectrum": spectrum(pixels)}
        parts |= {"vectors": clip.read(opened).features} if clip else {}
        for name, judge in judges.items():
            read = judge.read(opened)
            parts |= {f"likely {name}": read.probabilities, f"features {name}": read.features}
        for name, part in parts.items():
            seen.setdefault(name, []).append(part)
        back += group
    if len({part.shape[1] for part in seen["spectrum"]}) > 1:
        seen["spectrum"] = [np.zeros((len(files), 0))]
    return {name: np.concatenate(parts)[np.argsort(back)] for name, parts in seen.items()}


def edited(
    samples: Sequence[Sample], judges: Mapping[str, Judge], clip: EmotionCLIP | None = None
) -> tuple[dict[str, Readings], Array, Array]:
    """What the judges read of the pictures that samples are edits of, and SSIM and PSNR with them [N]."""
    originals = [replace(sample, file=sample.original or sample.file, original=None) for sample in samples]
    near = []
    for sample, original in zip(samples, originals, strict=True):
        after, before = open_picture(sample.file), open_picture(original.file)
        pair = [np.asarray(picture)[None] for picture in (after, before.resize(after.size, Image.Resampling.LANCZOS))]
        near.append((ssim(*pair)[0], psnr(*pair)[0]))
    both = np.array(near)
    return readings(originals, judges, clip=clip), both[:, 0], both[:, 1]


def alike(files: Sequence[Path]) -> Iterator[list[int]]:
    """The places of the files in groups of one size, none larger than is held in memory at once."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for place, file in enumerate(files):
        sizes.setdefault(open_picture(file).size, []).append(place)
    for group in sizes.values():
        yield from (group[first : first + CHUNK] for first in range(0, len(group), CHUNK))


def jpeg(picture: Image.Image) -> Image.Image:
    """The picture as a JPEG of quality 75 leaves it."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


def soft(picture: Image.Image) -> Image.Image:
    """The picture a little out of focus: a Gaussian of one part in 128 of its side."""
    return picture.filter(ImageFilter.GaussianBlur(min(picture.size) / 128))


TREATED: dict[str, Callable[[Image.Image], Image.Image]] = {"jpeg75": jpeg, "blur": soft}
"""What a picture should survive: a gain that vanishes here was noise that only the judge could see."""


def robustness(samples: Sequence[Sample], judges: Mapping[str, Judge]) -> dict[str, dict[str, Any]]:
    """Each judge's emotion accuracy once the pictures went through each treatment; nothing where it has none."""
    found: dict[str, dict[str, Any]] = {}
    for name, treatment in TREATED.items():
        for judge, read in readings(samples, judges, treatment).items():
            if accuracy := _told(("emotion",), read, None, {}).get("emotion_accuracy"):
                found.setdefault(judge, {})[name] = accuracy
    return found


def score(made: Mapping[str, Readings], real: Mapping[str, Readings] | None = None) -> dict[str, Any]:
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
        there = None if real is None else real[name]
        judges[name] = _told(VERDICTS if labelled else (), read, there, missing, f" of {name}")
        if "emotion_accuracy" in judges[name]:
            judges[name]["per_emotion"] = per_emotion(read.likely, read.asked)
            judges[name]["confusion"] = confusion(read.likely, read.asked).astype(int).tolist()
        if "calibration_error" in judges[name] and there is not None:
            judges[name]["reliability"] = curve(there.likely, there.asked)
    first = next(iter(made))
    rest = [name for name in plugins.names("metrics") if name not in VERDICTS]
    metrics = _told(rest, made[first], None if real is None else real[first], missing)
    return {
        "pictures": len(made[first]),
        "emotions": list(EMOTIONS),
        "judges": judges,
        "metrics": metrics,
        "missing": missing,
    }


def _told(
    names: Iterable[str], made: Readings, real: Readings | None, missing: dict[str, str], whose: str = ""
) -> dict[str, Any]:
    """What the metrics of these names say; the sentence of one that could not goes to `missing`."""
    found: dict[str, Any] = {}
    for name in names:
        try:
            found |= _plain(plugins.find("metrics", name)(made, real))
        except Failure as error:
            missing[f"{name}{whose}"] = str(error)
    return found


def verdicts(samples: Sequence[Sample], made: Mapping[str, Readings], folder: Path) -> list[dict[str, Any]]:
    """A row a sample: what was asked, what every judge saw, and whether the scene is there; for paired comparisons."""
    first = next(iter(made.values()))
    kept = hits(first.scene, first.place) if first.scene.size else None
    rows = []
    for place, sample in enumerate(samples):
        inside = sample.file.is_relative_to(folder)
        rows.append(
            {
                "file": str(sample.file.relative_to(folder) if inside else sample.file),
                "prompt": sample.text or str(sample.prompt),
                "seed": int(sample.seed),
                "asked": EMOTIONS[sample.asked] if sample.asked >= 0 else None,
                "scene": sample.scene or None,
                "kept": None if kept is None or first.place[place] < 0 else int(kept[place]),
                "likely": {name: [round(float(p), 4) for p in read.likely[place]] for name, read in made.items()},
            }
        )
    return rows


def _plain(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: value.asdict() for name, value in values.items()}
