"""The verb `evaluate`: prompts x emotions x seeds are painted, judges read them, `scores.json` says what came of it.

    scores/
        manifest.json  scores.json
        verdicts.jsonl                  a row a picture: what was asked and what each judge saw
        pictures/*.png  pictures/pictures.jsonl

Every figure has an interval that resamples prompts and seeds, crossed. The base alone knows no emotion, so it paints a
prompt and a seed once, and that picture is held against each of the eight. The same call goes on where it stopped.
Any number of processes may be launched for one call: they share the painting, and one of them judges.
A metric that could not be measured leaves a sentence under "missing"; all others are written before the call fails.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from emoscene import gallery, loras, stage
from emoscene import learner as learners
from emoscene.adapters import adapter_of, at_use
from emoscene.config import read_toml
from emoscene.data import crew
from emoscene.data.dataset import Prepared
from emoscene.emotions import EMOTIONS, describe
from emoscene.errors import Failure, Usage
from emoscene.judging import Sample, guide_of, readings, robustness, score, verdicts
from emoscene.panel import Eyes
from emoscene.pictures import Row, read_row
from emoscene.sampling import Pipe, load

PROMPTS = Path(__file__).parent / "mini/prompts.toml"
PAINTING = ("steps", "cfg", "cfg_low", "cfg_high", "sampler", "size", "negative")
TOLD = 8  # batches between two messages
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclass(frozen=True)
class Prompt:
    """A prompt and, where it is known, the scene that a judge should find in its picture."""

    text: str
    scene: str = ""
    object: str = ""
    held_out: bool = False


def evaluate(
    *,
    out: str | Path,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    lora: str | Path | Sequence[str | Path] | None = None,
    strength: float = 1.0,
    prompts: str | Path | Sequence[Prompt] = PROMPTS,
    seeds: str | Iterable[int] = "0:4",
    judge: str | Path | Sequence[str | Path] | None = None,
    data: str | Path | None = None,
    pictures: str | Path | None = None,
    clip: str | Path | None = None,
    semantics: str | Path | None = None,
    features: str | Path | None = None,
    lpips: str | None = None,
    robust: bool = False,
    batch: int = 8,
    device: str | None = None,
    tell: Callable[[str], None] = print,
    **painting: Any,
) -> Path:
    """Score a method, or any folder of `pictures`; returns the folder with `scores.json`.

    judge: beside the base's own, folders or hub ids (see `panel`). data: a prepared folder, whose held-out pictures
    give the judges' ceiling and the distances. clip: a CLIP, for the alignment with the words and semantic diversity;
    semantics: a classifier of objects, for semantic clarity; features: a vision model in whose space distances are
    measured, or `inception`; lpips: the network of LPIPS between edits and their pictures. robust: judge the pictures
    again after JPEG 75 and a small blur. lora: LoRAs that the base wears. painting: the words in `PAINTING`, and
    settings of the method that may change at use.
    Raises Usage for words that are off and for a judge akin to what it judges, Failure once all is written if a metric
    could not be measured.
    """
    asked = prompts_of(prompts)
    late = {key: painting.pop(key) for key in list(painting) if key not in PAINTING}
    call: dict[str, Any] = {"method": method, "adapter": _paths(adapter), "base": base, "strength": strength}
    call |= {"prompts": [prompt.text for prompt in asked], "seeds": span(seeds), "judge": _paths(judge)}
    call |= {"data": data, "pictures": pictures, "settings": late, **painting}
    readers: dict[str, Any] = {"clip": clip, "semantics": semantics, "features": features, "lpips": lpips}
    readers |= {"robust": robust, "lora": _worn(lora)}
    call |= {key: value for key, value in readers.items() if value}
    device = crew.settled(device)
    pipe = None if pictures else load(base, method=method, adapter=adapter, lora=lora, device=device, **late)
    planned = [] if pipe is None else plan(pipe, asked, call["seeds"], strength=strength, **painting)
    samples = found(Path(pictures)) if pictures else []
    eyes = Eyes.of(call, [] if pipe is None else _adapters(pipe, call["adapter"]), device or "cpu")
    scores = stage.Stage.open(out, "scores", call, parents=_stages([*call["adapter"], data, pictures]))
    if not scores.done:
        if pipe is not None:
            samples = paint(pipe, planned, scores.path / "pictures", batch, tell)
        write = partial(_write, scores, call, eyes, samples, pipe, planned)
        with crew.Crew(scores.path) as together:
            together.close(lambda: stage.read(scores.path)["state"] == "done", write)
    return _complete(scores.path)


def _write(
    scores: stage.Stage,
    call: Mapping[str, Any],
    eyes: Eyes,
    samples: Sequence[Sample],
    pipe: Pipe | None,
    planned: Sequence[tuple[Sample, Row]],
) -> None:
    """Write what the judges saw in each picture, and the scores that come of it; then the folder is done."""
    about = {"from": str(call["pictures"])} if pipe is None else _about(pipe, planned, scores.path / "pictures", call)
    guide = None if pipe is None else guide_of(pipe)
    made = readings(samples, eyes.judges, clip=eyes.clip, guide=guide, perceptual=eyes.perceptual)
    real = readings(real_pictures(Path(call["data"])), eyes.judges) if call["data"] else None
    treated = {"robustness": robustness(samples, eyes.judges)} if call.get("robust") else {}
    lines = (json.dumps(row) for row in verdicts(samples, made, scores.path))
    stage.write(scores.path / "verdicts.jsonl", "".join(f"{line}\n" for line in lines).encode())
    about |= {"judged_by": eyes.marks, **treated}
    told = {**about, **score(made, real), "peak_memory_mb": peak_memory()}
    stage.write(scores.path / "scores.json", json.dumps(told, indent=1).encode())
    scores.finish(pictures=len(samples))


def _complete(folder: Path) -> Path:
    """The folder of scores, finished. Raises Failure where a metric is missing in them."""
    if missing := json.loads((folder / "scores.json").read_text(encoding="utf8"))["missing"]:
        raise Failure(f"{folder} holds all scores but {len(missing)}: {'; '.join(missing.values())}")
    return folder


def _stages(folders: Iterable[str | Path | None]) -> list[str | Path]:
    """Those of the folders that know their own history."""
    return [folder for folder in folders if folder is not None and (Path(folder) / stage.MANIFEST).is_file()]


def prompts_of(prompts: str | Path | Sequence[Prompt]) -> list[Prompt]:
    """The prompts of a file: a line each, or a TOML of `prompt = [{ text, scene, object, held_out }]`."""
    if not isinstance(prompts, str | Path):
        return list(prompts)
    path = Path(prompts)
    if path.suffix == ".toml":
        return [Prompt(**row) for row in read_toml(path)["prompt"]]
    if not path.is_file():
        raise Usage(f"no prompts in {path}: it is not there")
    lines = [Prompt(line.strip()) for line in path.read_text(encoding="utf8").splitlines() if line.strip()]
    if not lines:
        raise Usage(f"no prompts in {path}: write one a line")
    return lines


def span(seeds: str | Iterable[int]) -> list[int]:
    """Seeds from "0:8" (eight of them), "3,5" or numbers."""
    if not isinstance(seeds, str):
        return [int(seed) for seed in seeds]
    try:
        first, colon, last = seeds.partition(":")
        numbers = list(range(int(first or 0), int(last))) if colon else [int(part) for part in seeds.split(",")]
    except ValueError:
        numbers = []
    if not numbers:
        raise Usage(f"--seeds {seeds} is off: write 0:8 for eight seeds, or 3,5,7")
    return numbers


def plan(
    pipe: Pipe, prompts: Sequence[Prompt], seeds: Sequence[int], *, emotions: Sequence[str] = EMOTIONS, **asked: Any
) -> list[tuple[Sample, Row]]:
    """Every sample and the row it is painted from; the base alone has one row for all emotions."""
    alone = pipe.method == "none" or asked.get("strength", 1.0) == 0
    planned = []
    for (number, prompt), name, seed in product(enumerate(prompts), emotions, seeds):
        row = pipe.rows(prompt.text, emotion=None if alone else name, seed=seed, **asked)[0]
        file = f"{number:03d}-{describe(row.emotion) or 'base'}-{seed:04d}.png"
        sample = Sample(Path(file), number, seed, EMOTIONS.index(name), prompt.scene, prompt.text)
        planned.append((sample, replace(row, file=file)))
    return planned


def paint(
    pipe: Pipe,
    planned: Sequence[tuple[Sample, Row]],
    folder: Path,
    batch: int = 8,
    tell: Callable[[str], None] = print,
) -> list[Sample]:
    """Paint what is not in the folder yet (`gallery.paint`); the samples come back with their files' places."""
    rows = list({row.file: row for _, row in planned}.values())

    def watch(done: int, total: int) -> None:
        if done % (TOLD * batch) == 0 or done == total:
            tell(f"{done} of {total} pictures painted")

    gallery.paint(pipe.draw, rows, folder, batch, watch)
    return [replace(sample, file=folder / row.file) for sample, row in planned]


def found(folder: Path) -> list[Sample]:
    """The pictures of any folder; what was asked is read from emoscene's own chunk, else from a folder named so."""
    if not folder.is_dir():
        raise Usage(f"no pictures in {folder}: it is not there")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise Usage(f"no pictures in {folder}: {', '.join(sorted(SUFFIXES))} are read")
    samples, texts = [], dict[str, int]()
    for number, file in enumerate(files):
        name = file.parent.name.lower()
        sample = Sample(file, number, 0, EMOTIONS.index(name) if name in EMOTIONS else -1, text=file.name)
        if row := _row(file):
            asked = int(np.argmax(row.emotion)) if max(row.emotion) > 0 else sample.asked
            prompt = texts.setdefault(row.prompt, len(files) + len(texts))
            sample = replace(sample, prompt=prompt, seed=row.seed, asked=asked, text=row.prompt)
            if row.image and Path(row.image).is_file():
                sample = replace(sample, original=Path(row.image))
        samples.append(sample)
    return samples


def _row(file: Path) -> Row | None:
    try:
        return read_row(file)
    except Usage:
        return None


def real_pictures(folder: Path) -> list[Sample]:
    """The held-out pictures of a prepared folder, each a prompt of its own."""
    prepared = Prepared(folder, "heldout")
    rows = prepared.rows(range(len(prepared)), ["file", "weights", "emotion", "scene"])
    pure = rows["weights"].max(1).values == 1
    asked = [int(label) if one else -1 for label, one in zip(rows["emotion"], pure, strict=True)]
    files = enumerate(zip(rows["file"], asked, rows["scene"], strict=True))
    return [Sample(folder / file, number, 0, label, scene) for number, (file, label, scene) in files]


def peak_memory() -> float:
    """The largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _adapters(pipe: Pipe, given: Sequence[str]) -> list[Path]:
    """The folders of the weights that a pipe paints with: those given, else the base's own."""
    folders = {learners.card(Path(path))["learner"]: Path(path) for path in given}
    return [adapter_of(name, pipe.base, folders) for name, method in pipe.methods.items() if method.reads]


def _about(pipe: Pipe, planned: Sequence[tuple[Sample, Row]], folder: Path, call: Mapping[str, Any]) -> dict[str, Any]:
    """What was painted, how, and at what cost."""
    row, made = planned[0][1], gallery.gather(folder, sorted({row.file for _, row in planned}))
    seconds = [one["seconds"] for one in made]
    adapters = _adapters(pipe, call["adapter"])
    costs = [stage.read(path).get("cost", {}) for path in adapters]
    sizes = [part.stat().st_size for path in adapters for part in path.glob("*.safetensors")]
    return {
        "base": pipe.base.name,
        "method": pipe.method,
        "adapters": [stage.read(path).get("fingerprint") for path in adapters],
        "loras": row.loras,
        "strength": call["strength"],
        "cfg": row.cfg,
        "steps": row.steps,
        "sampler": row.sampler,
        "settings": _settings(pipe),
        "prompts": call["prompts"],
        "seeds": call["seeds"],
        "pictures_per_second": round(len(seconds) / max(sum(seconds), 1e-9), 3),
        "cost": {
            "trainable": sum(cost.get("trainable", 0) for cost in costs),
            "bytes": sum(sizes),
            "training_pictures": sum(cost.get("pictures", 0) for cost in costs),
            "training_seconds": sum(cost.get("seconds", 0) for cost in costs),
            "seconds_a_picture": round(float(np.mean(seconds)), 4) if seconds else None,
        },
    }


def _settings(pipe: Pipe) -> dict[str, Any]:
    """What may change at use in a pipe's methods, as it was; each under its method's name where there are several."""
    return {
        f"{name}.{key}" if len(pipe.methods) > 1 else key: value
        for name, method in pipe.methods.items()
        for key, value in at_use(method.config).items()
    }


def _paths(given: str | Path | Sequence[str | Path] | None) -> list[str]:
    if given is None:
        return []
    return [str(given)] if isinstance(given, str | Path) else [str(path) for path in given]


def _worn(given: str | Path | Sequence[str | Path] | None) -> list[str]:
    """The LoRAs that the base is to wear, by what is in them."""
    return [str(loras.asked(one)) for one in _paths(given)]
