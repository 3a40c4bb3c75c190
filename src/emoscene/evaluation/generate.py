"""Generates what is to be measured: prompts x emotions x seeds become samples and rows, and rows a folder of images.

    planned = plan(pipe, prompts_of("prompts.txt"), span("0:4"))
    samples = generate_samples(pipe, planned, folder)

The base alone knows no emotion, so it has one row for all eight. An interrupted folder is continued, by this process or
by the workers of a cluster, in the same batches and to the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
from PIL import Image
from typing_extensions import TypedDict

from emoscene.core import registry, run_dir
from emoscene.core.cluster import Cluster
from emoscene.core.config import read_toml
from emoscene.core.errors import UsageError
from emoscene.core.file_reading import FileRefused, find_fault, read_utf8
from emoscene.core.params import GenerationParams
from emoscene.core.plain_text import format_count, show_value
from emoscene.core.request import read_number, read_seed_list
from emoscene.core.taxonomy import EMOTIONS, format_emotion
from emoscene.diffusion.base_spec import find_spec
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.predictions import Sample
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import find_adapter, folders_by_method
from emoscene.pipeline.pipeline import EmotionPipeline

EVERYDAY = "everyday"
TOLD = 8  # batches between two messages
See = Callable[[Sequence[Image.Image]], dict[str, Array]]
"""Images in, whatever is seen in them out, a row an image."""


@dataclass(frozen=True)
class Prompt:
    """A prompt and, where it is known, the scene that a judge should find in its image."""

    text: str
    scene: str = ""
    object: str = ""
    held_out: bool = False


class PromptRow(TypedDict):
    """A prompt as a TOML file has it."""

    text: str
    scene: NotRequired[str]
    object: NotRequired[str]
    held_out: NotRequired[bool]


def default_prompts(base: str) -> str:
    """Choose the prompts where none are given.

    Args:
        base: The base.

    Returns:
        The name of the set that its package registers under its architecture's name, else that of the everyday prompts.
    """
    architecture = find_spec(base).architecture
    if architecture in registry.list_names("prompts"):
        return architecture
    return EVERYDAY


def load_prompts(prompts: str | Path | Sequence[Prompt | str]) -> list[Prompt]:
    """Load prompts.

    Args:
        prompts: The name of a set that a package registers (`emoscene ls prompts`), a text file with a prompt a line, a
            TOML file of `prompt = [{ text, scene, object, held_out }]`, or a list of prompts or their texts.

    Returns:
        The prompts.

    Raises:
        UsageError: There are none, or a row is wrong.
    """
    if not isinstance(prompts, str | Path):
        return [_make_prompt(one) for one in prompts]
    named = str(prompts) in registry.list_names("prompts") and not Path(prompts).exists()
    path = Path(prompts)
    if named:
        path = registry.source_file("prompts", str(prompts))
    if path.suffix == ".toml":
        return _read_prompt_table(path)
    if not path.exists():
        known = ", ".join(registry.list_names("prompts"))
        raise UsageError(
            f"no prompts in {path}: it is not there, give a file with one a line, or a set of them ({known})"
        )
    try:
        text = read_utf8(path)
    except FileRefused as error:
        raise UsageError(f"no prompts: {error}") from error
    lines = []
    for line in text.splitlines():
        if line.strip():
            lines.append(Prompt(line.strip()))
    if not lines:
        raise UsageError(f"no prompts in {path}: write one a line")
    return lines


def _make_prompt(given: Any) -> Prompt:
    """A prompt from itself or its text. Raises UsageError for anything else."""
    if isinstance(given, Prompt):
        return given
    if not isinstance(given, str):
        raise UsageError(f"prompts={show_value(given)} is off: give a file, a name, or a list of texts")
    return Prompt(given)


def _read_prompt_table(path: Path) -> list[Prompt]:
    """The prompts of a TOML file. Raises UsageError for one that has none, or says of one what no prompt has."""
    rows = read_toml(path).get("prompt")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"no prompts in {path}: write prompt = [{{ text = ... }}]")
    known = {field.name for field in fields(Prompt)}
    for number, row in enumerate(rows, 1):
        fault = find_fault(row, PromptRow)
        if not fault and not row.keys() <= known:
            fault = f"{sorted(row.keys() - known)[0]} is nothing that a prompt has"
        if fault:
            raise UsageError(
                f"{path}, prompt {number} is off ({fault}): it has a text, and perhaps a scene, an object and held_out"
            )
    return [Prompt(**row) for row in rows]


def parse_seeds(seeds: str | Iterable[int]) -> list[int]:
    """Parse seeds.

    Args:
        seeds: "0:8" for eight seeds, "3,5" for two, or numbers.

    Returns:
        The seeds.

    Raises:
        UsageError: They are not understood or out of range.
    """
    numbers: Iterable[Any] = seeds
    if isinstance(seeds, str):
        first, colon, last = seeds.partition(":")
        try:
            if colon:
                numbers = range(int(first or 0), int(last))
            else:
                numbers = [int(part) for part in seeds.split(",")]
        except ValueError:
            numbers = []
        if not numbers:
            raise UsageError(f"--seeds {seeds} is off: write 0:8 for eight seeds, or 3,5,7")
    return read_seed_list(numbers)


def plan_samples(
    pipe: EmotionPipeline,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    *,
    emotions: Sequence[str] = EMOTIONS,
    **asked: Any,
) -> list[tuple[Sample, GenerationParams]]:
    """Plan which images to generate; the base alone has one image for all emotions.

    Args:
        pipe: The pipeline.
        prompts: The prompts.
        seeds: The seeds.
        emotions: The emotions.
        asked: Other parameters of the generation.

    Returns:
        Every sample, with the parameters of its image.
    """
    alone = pipe.method == "none" or asked.get("emotion_scale", 1.0) == 0
    planned = []
    for (number, prompt), name, seed in product(enumerate(prompts), emotions, seeds):
        emotion: str | None = name
        if alone:
            emotion = None
        row = pipe.plan(prompt.text, emotion=emotion, seed=seed, **asked)[0]
        file = f"{number:03d}-{format_emotion(row.emotion) or 'base'}-{seed:04d}.png"
        sample = Sample(Path(file), number, seed, EMOTIONS.index(name), prompt.scene, prompt.text)
        sample = replace(sample, object=prompt.object)
        planned.append((sample, replace(row, file=file)))
    return planned


def generate_samples(
    pipe: EmotionPipeline,
    planned: Sequence[tuple[Sample, GenerationParams]],
    folder: Path,
    batch: int = 8,
    on_message: Callable[[str], None] = print,
    cluster: Cluster | None = None,
) -> list[Sample]:
    """Generate the images that are not in the folder yet.

    Args:
        pipe: The pipeline.
        planned: The samples and the parameters of their images.
        folder: Where to write.
        batch: The size of a batch, at least 1.
        on_message: Receives a sentence every few batches.
        cluster: Workers that generate; this process if left out.

    Returns:
        The samples, with the paths of their files.
    """
    image_folder.generate_missing(
        pipe.generate, _planned_params(planned), folder, batch, _progress_callback(batch, on_message), cluster
    )
    return _place_samples(planned, folder)


def generate_and_predict(
    pipe: EmotionPipeline,
    planned: Sequence[tuple[Sample, GenerationParams]],
    folder: Path,
    see: See,
    batch: int = 8,
    on_message: Callable[[str], None] = print,
    alone: bool = False,
    cluster: Cluster | None = None,
) -> tuple[list[Sample], dict[str, Array]]:
    """Generate images and keep only their parameters and what was read of them.

    Args:
        pipe: The pipeline.
        planned: The samples and the parameters of their images.
        folder: Where to write.
        see: Reads images.
        batch: The size of a batch, at least 1.
        on_message: Receives a sentence every few batches.
        alone: Whether `see` uses the pipeline's base, and so must not read while it generates.
        cluster: Workers that generate and read, of which each loads these three of its own; this process if left out.

    Returns:
        The samples, and what was read: arrays with a row for each image, in the order in which the samples first
        name them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batch = read_number("batch", batch)
    rows, on_progress = _planned_params(planned), _progress_callback(batch, on_message)
    batches, parts = [], []
    for number, first in enumerate(range(0, len(rows), batch)):
        batches.append(rows[first : first + batch])
        parts.append(folder / f"seen-{batch}-{number:06d}.npz")
    make = partial(_predict_batches, folder, batches, parts, batch)
    image_folder.complete_batches(batches, parts, make, (pipe.generate, see, alone), on_progress, cluster)
    found = []
    for part in parts:
        with np.load(part) as file:
            found.append(dict(file))
    together = {}
    for name in found[0]:
        together[name] = np.concatenate([seen[name] for seen in found])
    return _place_samples(planned, folder), together


def _predict_batches(
    folder: Path,
    batches: Sequence[Sequence[GenerationParams]],
    parts: Sequence[Path],
    size: int,
    on_progress: Callable[[int, int], None],
    job: tuple[image_folder.Generate, See, bool],
    numbers: Sequence[int],
    worker: str,
) -> Iterator[int]:
    """Generate these batches and keep what is seen of them; yield their numbers once all is written."""
    (generate, see, alone), index = job, image_folder.name_index(folder, worker)
    total = sum(map(len, batches))

    def read(number: int, made: Sequence[tuple[GenerationParams, Image.Image]]) -> None:
        for row, _ in made:
            run_dir.append_row(index, row.to_dict())
        seen = see([image for _, image in made])
        run_dir.write_atomic(parts[number], lambda path: np.savez(path, **seen))  # type: ignore[arg-type]
        on_progress(number * size + len(made), total)

    with image_folder.BackgroundWriter() as finish:
        for number in numbers:
            made = list(generate(batches[number], size))
            if alone:
                read(number, made)
            else:
                finish(partial(read, number, made))
    yield from numbers


def _planned_params(planned: Sequence[tuple[Sample, GenerationParams]]) -> list[GenerationParams]:
    return list({row.file: row for _, row in planned}.values())


def _place_samples(planned: Sequence[tuple[Sample, GenerationParams]], folder: Path) -> list[Sample]:
    samples = []
    for sample, row in planned:
        samples.append(replace(sample, file=folder / row.file))
    return samples


def _progress_callback(batch: int, on_message: Callable[[str], None]) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        if done % (TOLD * batch) == 0 or done == total:
            on_message(f"{done} of {format_count(total, 'image')} generated")

    return on_progress


def adapter_folders(pipe: EmotionPipeline, given: Sequence[str]) -> list[Path]:
    """List the folders of the weights that a pipeline uses.

    Args:
        pipe: The pipeline.
        given: The adapters that the user named.

    Returns:
        The folders; the base's own for methods without one in `given`.
    """
    folders = folders_by_method(given)
    return [find_adapter(name, pipe.base, folders) for name in pipe.trained]
