"""Pictures under the judges' eyes: samples in, readings out, and the scores that metrics make of them.

    judges = judges_of("mini")
    made = readings(samples, judges)          what each emotion judge (and the scene judge) read
    score(made, real)                         the "judges" and "metrics" of scores.json

A judge that an adapter was guided or picked by may not judge it: `judges_of` refuses a judge whose fingerprint stands
in an adapter's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emoscene import learner as learners
from emoscene import stage
from emoscene.backbone import spec
from emoscene.emotions import EMOTIONS
from emoscene.encoders.judge import Judge
from emoscene.errors import Usage
from emoscene.metrics.base import Readings, Value
from emoscene.metrics.content import content
from emoscene.metrics.distance import distance
from emoscene.metrics.diversity import diversity
from emoscene.metrics.emotion import confusion, emotion, per_emotion
from emoscene.metrics.sharpness import gradient, sharpness, spectrum
from emoscene.pictures import open_picture

HOME = Path(__file__).parent
CHUNK = 64  # pictures held in memory at once


@dataclass(frozen=True)
class Sample:
    """A picture to judge: its file, which prompt and seed made it, the number of the emotion asked (-1: none)."""

    file: Path
    prompt: int
    seed: int
    asked: int = -1
    scene: str = ""


def judges_of(base: str, more: Sequence[str] = (), adapters: Sequence[str] = ()) -> dict[str, Judge]:
    """The base's own judges and `more` from folders, by name.

    Raises Usage for a folder that holds none, and for a judge akin to an adapter.
    """
    folders = {name: HOME / folder for name, folder in spec(base).judges.items()} | {
        Path(p).name: Path(p) for p in more
    }
    histories = "".join(_history(Path(folder)) for folder in adapters)
    found = {}
    for name, folder in folders.items():
        if (mark := stage.fingerprint(folder)) in histories:
            raise Usage(f"{folder} helped to make the adapter ({mark[:12]}) and cannot judge it: give another --judge")
        judge = learners.load("encoders", folder, None)
        if not isinstance(judge, Judge):
            raise Usage(f"{folder} is no judge: emoscene train judge makes one")
        found[name] = judge
    if not any(judge.config.target == "emotion" for judge in found.values()):
        raise Usage(f"the base {base!r} has no judge of emotions: give one with --judge DIR")
    return found


def _history(folder: Path) -> str:
    files = (folder / name for name in (learners.CARD, stage.MANIFEST))
    return "".join(file.read_text(encoding="utf8") for file in files if file.is_file())


def readings(samples: Sequence[Sample], judges: Mapping[str, Judge]) -> dict[str, Readings]:
    """What each emotion judge read, the scene judge's reading beside it; a file is read once, however often asked."""
    files = list(dict.fromkeys(sample.file for sample in samples))
    order = {file: place for place, file in enumerate(files)}
    places = np.array([order[sample.file] for sample in samples], np.int64)
    gradients, spectra = [], []
    read: dict[str, list[Any]] = {name: [] for name in judges}
    for first in range(0, len(files), CHUNK):
        opened = [open_picture(file) for file in files[first : first + CHUNK]]
        pixels = np.stack([np.asarray(picture) for picture in opened])
        gradients.append(gradient(pixels))
        spectra.append(spectrum(pixels))
        for name, judge in judges.items():
            read[name].append(judge.read(opened))
    scenes = next((name for name, judge in judges.items() if judge.config.target == "scene"), None)
    shared: dict[str, Any] = {
        "prompt": np.array([sample.prompt for sample in samples]),
        "seed": np.array([sample.seed for sample in samples]),
        "asked": np.array([sample.asked for sample in samples]),
        "gradient": np.concatenate(gradients)[places],
        "spectrum": np.concatenate(spectra)[places],
    }
    if scenes is not None:
        labels = judges[scenes].labels
        known = [labels.index(s.scene) if s.scene in labels else -1 for s in samples]
        shared["scene"] = np.concatenate([part.probabilities for part in read[scenes]])[places]
        shared["place"] = np.array(known)
    return {
        name: Readings(
            **shared,
            likely=np.concatenate([part.probabilities for part in read[name]])[places],
            features=np.concatenate([part.features for part in read[name]])[places],
            by=name,
        )
        for name, judge in judges.items()
        if judge.config.target == "emotion"
    }


def score(made: Mapping[str, Readings], real: Mapping[str, Readings] | None = None) -> dict[str, Any]:
    """The parts "judges" and "metrics" of `scores.json`; distances are measured with the first judge's features."""
    judges = {}
    for name, read in made.items():
        there = None if real is None else real[name]
        judges[name] = {
            **_plain(emotion(read, there)),
            "per_emotion": per_emotion(read.likely, read.asked),
            "confusion": confusion(read.likely, read.asked).astype(int).tolist(),
        }
    first = next(iter(made))
    there = None if real is None else real[first]
    metrics: dict[str, Value] = {}
    for metric in (content, distance, diversity, sharpness):
        metrics |= metric(made[first], there)
    return {"pictures": len(made[first]), "emotions": list(EMOTIONS), "judges": judges, "metrics": _plain(metrics)}


def _plain(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: value.asdict() for name, value in values.items()}
